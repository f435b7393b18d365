"""Performance as a feature: measured, explained, tuned and tested under load."""

"""Performance as a feature: where time goes, why, and what so many users do to it."""

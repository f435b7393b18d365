"""A transcript as a file that people and programs read."""

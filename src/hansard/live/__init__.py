"""Live sessions: heard while they are spoken, kept as recordings."""

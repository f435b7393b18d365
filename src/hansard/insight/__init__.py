"""What a meeting meant: summary, chapters, what was decided, and how it sounded."""

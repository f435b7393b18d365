"""From windows to a transcript: engines, the catalogue that lends them, joining."""

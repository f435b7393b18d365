"""Who spoke when, without torch; and with pyannote where it is installed."""

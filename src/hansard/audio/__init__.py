"""From any media file to speech in windows: probe, decode, levels, vad, windows."""

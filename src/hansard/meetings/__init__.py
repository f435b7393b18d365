"""Meetings: what hangs off a transcript, made by follow-up jobs and corrected by people."""

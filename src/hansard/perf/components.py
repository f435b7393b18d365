"""Which part of Hansard a stage of ``telemetry`` belongs to."""

from __future__ import annotations

_PARTS = {"engine": "stt", "prepare": "decode", "speakers": "diarize", "claim": "queue"}


def component_of(stage: str) -> str:
    """The component of a stage, by its first word."""
    first = stage.partition(".")[0]
    return "vad" if stage == "prepare.vad" else _PARTS.get(first, first)

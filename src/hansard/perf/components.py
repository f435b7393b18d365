"""Which part of Hansard a stage belongs to: the first word of its name, but for older names."""

from __future__ import annotations

from typing import Final

COMPONENTS: Final = (
    "capture",
    "decode",
    "vad",
    "features",
    "stt",
    "join",
    "diarize",
    "insight",
    "llm",
    "tts",
    "video",
    "search",
    "store",
    "api",
    "queue",
    "pipeline",
)
"""The pipeline is the whole: what holds the others, such as a unit of work."""

_STAGES: Final = {
    "prepare.decode": "decode",
    "prepare.vad": "vad",
    "engine.features": "features",
    "engine.upload_encode": "features",
    "submit.take_in": "capture",
    "submit.preflight": "capture",
    "submit.accept": "capture",
    "engine.read": "store",
    "finish": "store",
    "claim": "queue",
    "webhook.send": "queue",
}

_WORDS: Final = {
    "engine": "stt",
    "openai": "stt",
    "speakers": "diarize",
    "language_model": "llm",
    "embeddings": "search",
    "format": "store",
    "unit": "pipeline",
    "live": "capture",
    "webhook": "queue",
}


def component_of(stage: str) -> str:
    """The component of a stage; ``pipeline`` where its name says none."""
    word = stage.partition(".")[0]
    found = _STAGES.get(stage) or _WORDS.get(word) or word
    return found if found in COMPONENTS else "pipeline"

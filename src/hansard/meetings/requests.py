"""What follow-up jobs are asked: the JSON in ``jobs.request``."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta

from hansard.insight.findings import Kind
from hansard.model import Value

SPEAKERS: Final = "speakers"
INSIGHT: Final = "insight"

Count = Annotated[int, Meta(ge=1, le=50)]


class Speakers(Value, frozen=True):
    """Who speaks. A job that transcribes carries this as well, for what follows it."""

    diarize: bool | None = None
    """``None``: as the settings say."""
    min_speakers: Count | None = None
    max_speakers: Count | None = None
    then: str | None = None
    """See ``jobs.follow_ups``."""
    otherwise: str | None = None
    """See ``jobs.follow_ups``."""
    asked: float | None = None
    """When a person asked for it: an older answer will not do."""


class Insight(Value, frozen=True):
    """What it meant."""

    kinds: tuple[Kind, ...] = ()
    """What is to be found out; empty: what the settings say."""
    wording: int | None = None
    """The words that it is about, where they changed: what was found of these is good."""
    asked: float | None = None
    """When a person asked for it: what was found before will not do."""
    otherwise: str | None = None
    """See ``jobs.follow_ups``."""
    after: str | None = None
    """See ``jobs.follow_ups``."""
    instead: bool = False
    """See ``jobs.follow_ups``: nothing is to be found out, only told."""

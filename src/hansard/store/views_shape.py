"""What a job looks like to its owner, as far as both databases say it in the same words.

Shares and seconds are divided and rounded as whole numbers: both databases then come to the very
same figure, where the one rounds the binary fraction and the other fifteen decimal places of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from hansard.model import SAMPLE_RATE

PLACE = "/api/v1/transcriptions/"
"""Where a job is found by those who follow its links."""

_OWN = f"CASE WHEN jobs.parent IS NULL THEN '{PLACE}' ELSE '/api/v1/jobs/' END"
"""What follows a transcription is none itself."""

Fields = Mapping[str, "str | Fields"]
"""Names, and what they stand for in SQL."""

_PLAIN = (
    "id", "kind", "state", "step", "name", "priority", "created", "started", "finished",
    "seconds", "language", "engine", "model", "lane", "pool", "attempt", "recording",
)  # fmt: skip
"""Columns that are shown as they are."""

_MILLI = SAMPLE_RATE // 1000
"""Samples in a millisecond."""


def _seconds(samples: str) -> str:
    """Seconds to three places."""
    return f"CAST(({samples} + {_MILLI // 2}) / {_MILLI} AS double precision) / 1000"


_RATIO = (
    "(20000 * CAST(jobs.heard_samples AS bigint) + jobs.planned_samples) "
    "/ (2 * jobs.planned_samples)"
)
_SHARE = (
    "CAST(CASE WHEN jobs.finished IS NOT NULL THEN 10000 WHEN jobs.planned_samples = 0 THEN 0 "
    # All is heard, but the transcript is not written yet: 1 says that nothing is left to be done.
    f"WHEN {_RATIO} > 9990 THEN 9990 ELSE {_RATIO} END AS double precision) / 10000"
)


def fields(json: Callable[[str], str]) -> Fields:
    """A job's fields in their order; ``json`` makes JSON of a column that holds its text."""
    return {
        **{name: f"jobs.{name}" for name in _PLAIN},
        "retry_at": "CASE WHEN jobs.state = 'retrying' THEN jobs.not_before END",
        "options": json("jobs.options"),
        "progress": {
            "share": _SHARE,
            "prepared_seconds": _seconds("jobs.position"),
            "windows": "jobs.planned",
            "windows_done": "jobs.heard",
            "seconds": _seconds("jobs.planned_samples"),
            "seconds_done": _seconds("jobs.heard_samples"),
        },
        "error": json("jobs.failure"),
        # It changes the version of all that is kept ready about the job: none outlives the archive.
        "archived": "(SELECT archives.archived FROM archives WHERE archives.job = jobs.id)",
        "webhook_url": "jobs.webhook",
        "parent": "jobs.parent",
        # So that whatever is made of a status is made anew when its words or speakers change.
        "revision": "(SELECT meetings.revision FROM meetings WHERE meetings.job = jobs.id)",
        "links": {
            "self": f"{_OWN} || jobs.id",
            "events": f"'{PLACE}' || jobs.id || '/events'",
            "download": f"'{PLACE}' || coalesce(jobs.parent, jobs.id) || '/download'",
            "audio": f"'{PLACE}' || coalesce(jobs.parent, jobs.id) || '/audio'",
        },
    }


def written(function: str, given: Fields) -> str:
    """Fields as a call of the function that makes a JSON object of names and values."""
    pairs = (
        f"'{name}', {value if isinstance(value, str) else written(function, value)}"
        for name, value in given.items()
    )
    return f"{function}({', '.join(pairs)})"

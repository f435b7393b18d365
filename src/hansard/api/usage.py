"""How much was transcribed: seconds, calls and spend by key, day and engine."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Annotated

import msgspec
from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from hansard.api.answers import answer, described, errors
from hansard.api.auth import whose
from hansard.api.desk import desk
from hansard.errors import BadRequest
from hansard.store import usage
from hansard.store.database import Database
from hansard.store.usage import Group, Line

router = APIRouter(prefix="/api/v1", tags=["usage"])

_DAYS = 30
"""Days that are shown where none are named."""
_BY_DAY: tuple[Group, ...] = ("day",)


class Report(msgspec.Struct, frozen=True):
    """Usage between two days, both included, and what it comes to."""

    since: str = msgspec.field(name="from")
    to: str
    lines: tuple[Line, ...]
    total: Line


class UsageQuery(BaseModel):
    """Which days, and what to sum by."""

    model_config = ConfigDict(extra="forbid")

    since: date | None = Field(
        None, alias="from", description="First day, in UTC; 30 days ago if not given."
    )
    to: date | None = Field(None, description="Last day, in UTC; today if not given.")
    group: list[Group] = Field(
        default_factory=lambda: list(_BY_DAY),
        max_length=4,
        description="Sum by these; several may be named.",
    )


_LINE = {
    "day": "2026-01-31",
    "key": None,
    "engine": None,
    "tenant": None,
    "calls": 12,
    "seconds": 43_200.0,
    "cost": 4.32,
}


@router.get(
    "/usage",
    summary="How much was transcribed",
    responses={
        200: described(
            Report,
            "Sums, in the order of what they are grouped by.",
            {
                "from": "2026-01-01",
                "to": "2026-01-31",
                "lines": [_LINE],
                "total": {**_LINE, "day": None},
            },
        ),
        **errors(BadRequest),
    },
)
async def report(request: Request, query: Annotated[UsageQuery, Query()]) -> Response:
    """Transcriptions asked for, seconds of audio transcribed and money spent.

    A key sees its tenant's; the scope admin sees everybody's and may group by tenant. Seconds are
    counted when a transcription is completed, money whenever a job ends.
    """
    first, last = days(query.since, query.to)
    group = tuple(dict.fromkeys(query.group))
    at = desk(request)
    lines, total = await at.read(_sums, at.reader, first, last, group, whose(request))
    if len(lines) > usage.ROWS:
        raise BadRequest(
            f"That would be more than {usage.ROWS} lines.", hint="Ask for fewer days or groups."
        )
    return answer(Report(first, last, tuple(lines), total))


def days(first: date | None, last: date | None) -> tuple[str, str]:
    """A range of days as the store knows them, both included; the last thirty if none are named.

    Raises:
        BadRequest: the first is after the last.
    """
    to = last or datetime.now(UTC).date()
    since = first or date.fromordinal(max(1, to.toordinal() - _DAYS))
    if since > to:
        raise BadRequest(
            f"The first day, {since}, is after the last, {to}.", hint="Swap `from` and `to`."
        )
    return since.isoformat(), to.isoformat()


def _sums(
    reader: Database, first: str, last: str, group: tuple[Group, ...], tenant: str | None
) -> tuple[list[Line], Line]:
    with reader.read() as connection:
        total = usage.sums(connection, first, last, (), tenant)
        lines = usage.sums(connection, first, last, group, tenant) if group else []
    none = Line(0, 0.0, 0.0)
    return lines, total[0] if total else none

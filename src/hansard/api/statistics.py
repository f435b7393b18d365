"""What was transcribed over days and years: jobs, audio and time by day, engine, model and end."""

from __future__ import annotations

from datetime import date
from typing import Annotated

import msgspec
from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from hansard.api.answers import answer, described, errors
from hansard.api.auth import whose
from hansard.api.desk import desk
from hansard.api.usage import days
from hansard.errors import BadRequest
from hansard.store import statistics
from hansard.store.statistics import Tally

router = APIRouter(prefix="/api/v1", tags=["usage"])


class Statistics(msgspec.Struct, frozen=True):
    """Sums between two days, both included, the first day first."""

    since: str = msgspec.field(name="from")
    to: str
    lines: tuple[Tally, ...]


class StatisticsQuery(BaseModel):
    """Which days."""

    model_config = ConfigDict(extra="forbid")

    since: date | None = Field(
        None, alias="from", description="First day, in UTC; 30 days before the last if not given."
    )
    to: date | None = Field(None, description="Last day, in UTC; today if not given.")


_LINE = {
    "day": "2026-01-31",
    "engine": "whisper",
    "model": "small",
    "state": "completed",
    "jobs": 12,
    "seconds": 43_200.0,
    "busy": 5_400.5,
}


@router.get(
    "/statistics",
    summary="What was transcribed, day by day",
    responses={
        200: described(
            Statistics,
            "One line for each day, engine, model and end.",
            {"from": "2026-01-01", "to": "2026-01-31", "lines": [_LINE]},
        ),
        **errors(BadRequest),
    },
)
async def report(request: Request, query: Annotated[StatisticsQuery, Query()]) -> Response:
    """Jobs that have ended, by the day on which they were asked for.

    A key sees its tenant's; the scope admin sees everybody's. Removed jobs are not in it (`usage`
    has them). On PostgreSQL the sums are made every ten minutes.
    """
    first, last = days(query.since, query.to)
    at = desk(request)
    lines = await at.read(statistics.read, at.reader, whose(request), first, last)
    if len(lines) > statistics.ROWS:
        raise BadRequest(
            f"That would be more than {statistics.ROWS} lines.", hint="Ask for fewer days."
        )
    return answer(Statistics(first, last, tuple(lines)))

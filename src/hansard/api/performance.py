"""Performance: what was measured, what has changed, what is over its service level."""

from __future__ import annotations

import time
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from hansard.api.answers import answer, described, errors
from hansard.api.auth import demand
from hansard.api.desk import desk
from hansard.errors import NotAllowed
from hansard.perf import components
from hansard.perf.insights import Insights, Shift, insights
from hansard.perf.levels import Level
from hansard.perf.report import Operation, PerformanceReport, Slow, report

router = APIRouter(prefix="/api/v1", tags=["performance"])

Category = Literal[components.COMPONENTS]  # type: ignore[valid-type]  # the words of a tuple


class Window(BaseModel):
    """Which time."""

    model_config = ConfigDict(extra="forbid")

    hours: float = Field(
        1.0, ge=1 / 60, le=720, description="Hours until now: a minute to thirty days."
    )


class ReportQuery(Window):
    """Which time, of what."""

    category: Category | None = Field(None, description="Only this component.")


_OPERATION = Operation(
    stage="api.GET /api/v1/jobs/{job}", component="api", count=1200, failed=0, rate=0.33,
    share=0.02, mean=0.004, p50=0.003, p95=0.008, p99=0.02, longest=0.1, failures={},
)  # fmt: skip
_SLOW = Slow(_OPERATION.stage, 0.1, 1769817600.0, "0af7651916cd43dd8448eb211c80319c", "4f1c22e9")
_REPORT = PerformanceReport(
    since=1769814000.0, until=1769817600.0, category="api", count=1200, failed=0,
    success_rate=1.0, p50=0.003, p95=0.008, p99=0.02, operations=(_OPERATION,), slowest=(_SLOW,),
)  # fmt: skip
_INSIGHTS = Insights(
    before=1769810400.0,
    since=1769814000.0,
    until=1769817600.0,
    changes=(
        Shift(
            "slower",
            "engine.decode",
            "stt",
            "engine.decode is 2.1 times slower: half of its 400 times within 2.10 s, "
            "before within 1.00 s.",
            1.0,
            2.1,
            440.0,
        ),
    ),
    over=(Level("transcription", 0.3, 0.95, 40, 8, 0.41, 4.0),),
    incidents=(),
)


@router.get(
    "/performance/report",
    summary="What was measured, by operation",
    responses={
        200: described(PerformanceReport, "The window, the busiest operations first.", _REPORT),
        **errors(NotAllowed),
    },
)
async def read_report(request: Request, query: Annotated[ReportQuery, Query()]) -> Response:
    """Totals, percentiles and the slowest examples with their traces, of all processes.

    A window of more than two hours begins with a full hour, one of more than eight days with a
    full day. Figures are as fresh as `performance.interval`. Needs the scope admin.
    """
    demand(request, "admin")
    at = desk(request)
    found = await at.work(  # too long for those who only read a row
        report,
        at.house.database,
        seconds=query.hours * 3600,
        now=time.time(),
        category=query.category,
    )
    return answer(found)


@router.get(
    "/performance/insights",
    summary="What changed, and what is over its service level",
    responses={
        200: described(Insights, "Stages by name, what costs most first.", _INSIGHTS),
        **errors(NotAllowed),
    },
)
async def read_insights(request: Request, query: Annotated[Window, Query()]) -> Response:
    """The window against the one before it.

    A stage is named where it is slower by itself, not where something within it is. Needs the
    scope admin.
    """
    demand(request, "admin")
    at = desk(request)
    found = await at.work(
        insights, at.house.database, at.settings.levels, seconds=query.hours * 3600, now=time.time()
    )
    return answer(found)

"""``hansard performance``: where the time goes, how much fails, and what has changed."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hansard.cli.options import DataOption, JsonOption, settings
from hansard.errors import UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from hansard.config import Settings
    from hansard.perf.insights import Insights
    from hansard.perf.report import PerformanceReport
    from hansard.store.database import Database

_EVERY = 2.0
"""Seconds between two pictures."""


def performance(
    *,
    live: Annotated[bool, typer.Option("--live", help="Go on, until interrupted.")] = False,
    component: Annotated[
        str | None, typer.Option(help="Only this one, for example stt or api.")
    ] = None,
    minutes: Annotated[
        float, typer.Option(min=1, max=43_200, help="Minutes until now that are looked at.")
    ] = 30,
    export: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write it as JSON to a file, too.")
    ] = None,
    as_json: JsonOption = False,
    data: DataOption = None,
) -> None:
    """Show what all processes have measured: rates, failures, percentiles, share of the time.

    Figures come from the store, which every process adds its own to every few seconds. What
    changed against the same time before, and what is over its service level, stands below.
    """
    from hansard.perf.components import COMPONENTS
    from hansard.store import opening

    if component is not None and component not in COMPONENTS:
        raise UsageError(
            f"There is no component {component}.", hint=f"There are {', '.join(COMPONENTS)}."
        )
    configured = settings(data)
    database = opening.opened(configured.data, configured.database)
    try:
        if live and not as_json:
            _follow(database, configured, minutes * 60, component)
            return
        seen = _seen(database, configured, minutes * 60, component)
    finally:
        database.close()
    if export is not None:
        export.write_bytes(_json(*seen))
    if as_json:
        print(_json(*seen).decode())
        return
    _show(_picture(*seen))


def _seen(
    database: Database, configured: Settings, seconds: float, component: str | None
) -> tuple[PerformanceReport, Insights]:
    from hansard.perf.insights import insights
    from hansard.perf.report import report

    now = time.time()
    return (
        report(database, seconds=seconds, now=now, category=component),
        insights(database, configured.levels, seconds=seconds, now=now),
    )


def _json(report: PerformanceReport, insights: Insights) -> bytes:
    import msgspec

    return msgspec.json.format(msgspec.json.encode({"report": report, "insights": insights}))


def _follow(
    database: Database, configured: Settings, seconds: float, component: str | None
) -> None:
    from rich.live import Live

    first = _picture(*_seen(database, configured, seconds, component))
    with Live(first, screen=sys.stdout.isatty(), auto_refresh=False) as screen:
        while True:
            time.sleep(_EVERY)
            seen = _seen(database, configured, seconds, component)
            screen.update(_picture(*seen), refresh=True)


def _show(picture: RenderableType) -> None:
    from rich.console import Console

    # Where nobody watches, nothing is cut off to fit a terminal.
    Console(width=None if sys.stdout.isatty() else 140, highlight=False).print(picture)


def _picture(report: PerformanceReport, insights: Insights) -> RenderableType:
    from rich.console import Group
    from rich.table import Table

    minutes = (report.until - report.since) / 60
    head = (
        f"{report.count} records in {minutes:g} minutes, {report.failed} failed"
        f" ({report.success_rate:.2%} well)"
    )
    table = Table(title=head, title_justify="left", box=None, pad_edge=False)
    table.add_column("stage", overflow="fold")
    for name in ("count", "a minute", "failed", "p50", "p95", "p99", "share"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in report.operations:
        row: list[Any] = [one.stage, f"{one.count}", f"{one.rate * 60:.1f}", f"{one.failed or ''}"]
        row += [written(one.p50), written(one.p95), written(one.p99)]
        table.add_row(*row, f"{one.share:.1%}" if one.share else "")
    said: list[RenderableType] = [table]
    said += [f"! {change.message}" for change in insights.changes]
    said += [
        f"! {level.name} is over its level: {level.broken} of {level.count} broke "
        f"{written(level.bound)}; its budget burns {level.burn:.1f} times too fast."
        for level in insights.over
    ]
    for slow in report.slowest[:3]:
        said.append(
            f"slowest: {slow.stage} {written(slow.seconds)}, {slow.about or 'nobody'} "
            f"(trace {slow.trace or 'unknown'})"
        )
    return Group(*said)


def written(seconds: float) -> str:
    """A time as short as it can be read."""
    if seconds >= 100:
        return f"{seconds:.0f} s"
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.1f} ms"

"""``hansard plan``: what so much audio takes, in machines, connections, bytes and bits."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from hansard.cli.options import DataOption, JsonOption, lasting, settings

if TYPE_CHECKING:
    from hansard.config import Settings
    from hansard.jobs.capacity import Bases, Basis, Figure, Plan
    from hansard.jobs.past import Past
    from hansard.store.database import Database

_ENOUGH = 60.0
"""Seconds of audio from which on a speed is called measured."""

_ENOUGH_ROWS = 36_000.0
"""The same for what the database holds: one that is all but empty has megabytes, too."""

_ENOUGH_RECORDINGS = 30
"""From how many on it is known how much their lengths differ."""

_LENGTH = 1_800.0
_VARIABILITY = 1.0
_RTF = 0.5
_BYTES = 16_000
_ROWS = 1_000


def _hours(given: str | float) -> float:
    return lasting(str(given), "h") / 3600.0


def plan(
    *,
    hours_per_day: Annotated[float, typer.Option(min=0, help="Hours of audio a day.")],
    rtf: Annotated[
        float | None,
        typer.Option(
            min=0.0001,
            help="Seconds one worker takes for a second of audio. [default: as measured here]",
        ),
    ] = None,
    measured_with: Annotated[
        int, typer.Option(min=1, help="Workers that did the jobs that are measured.")
    ] = 1,
    busy_hours: Annotated[
        float, typer.Option(min=0.1, max=24, help="Hours of the day in which recordings come.")
    ] = 8.0,
    deadline: Annotated[
        float,
        typer.Option(
            parser=_hours, help="When a recording must be done, after it came: 2h, 45m; or hours."
        ),
    ] = 1.0,
    level: Annotated[
        float,
        typer.Option(min=0.5, max=0.9999, help="Share of the recordings that must be, by then."),
    ] = 0.95,
    longest: Annotated[float, typer.Option(min=0, help="Hours of the longest recording.")] = 2.0,
    people: Annotated[int, typer.Option(min=0, help="Who look on at the same time.")] = 50,
    live: Annotated[int, typer.Option(min=0, help="Live sessions at the same time.")] = 0,
    spare: Annotated[int, typer.Option(min=0, help="Workers that may be lost.")] = 1,
    explain: Annotated[bool, typer.Option("--explain", help="Show every formula.")] = False,
    json: JsonOption = False,
    data: DataOption = None,
) -> None:
    """Say how many workers, API processes, connections and bytes so much audio takes.

    It rests on what the store's own finished jobs took, or on `hansard benchmark --component
    pipeline`. Where there is neither, it says what it assumes instead.
    """
    from hansard.jobs import capacity
    from hansard.jobs.past import past
    from hansard.store.opening import opened

    configured = settings(data)
    database = opened(configured.data, configured.database)
    try:
        seen = past(database)
        benchmarked = None if rtf or seen.audio >= _ENOUGH else _benchmarked(database)
    finally:
        database.close()
    demand = capacity.Demand(
        hours_per_day, busy_hours, deadline, longest, people, live, spare, level
    )
    made = capacity.plan(demand, _bases(configured, seen, rtf, measured_with, benchmarked))
    if "rtf" in made.assumed:
        print(
            "warning: nothing was transcribed or benchmarked here yet: the speed is the documented "
            f"default (rtf {_RTF:g}), not this machine's. Measure it before you buy anything.",
            file=sys.stderr,
        )
    if json:
        _as_json(made)
    else:
        _show(made, explain=explain)


def _benchmarked(database: Database) -> Basis | None:
    """The newest `hansard benchmark` of the whole pipeline on a machine like this one."""
    from hansard.jobs.capacity import Basis
    from hansard.perf.benchmark_run import history

    for one in history(database, "pipeline", limit=10):
        if factor := one.real_time_factor:
            return Basis(factor, "measured", f"benchmark {one.id}: {one.name}, {one.model}")
    return None


def _bases(
    configured: Settings, seen: Past, rtf: float | None, workers: int, benchmarked: Basis | None
) -> Bases:
    from hansard.jobs.capacity import Bases, Basis

    enough = seen.audio >= _ENOUGH
    told = f"{seen.jobs} finished jobs, {seen.audio / 3600:.2f} hours of audio"
    if rtf is not None:
        speed = Basis(rtf, "given")
    elif enough and seen.busy > 0:
        speed = Basis(seen.busy * workers / seen.audio, "measured", f"{told}, by {workers}")
    elif benchmarked is not None:
        speed = benchmarked
    else:
        speed = Basis(_RTF, "assumed", "measure it: transcribe an hour here, or give --rtf")
    days = configured.retention.audio_days
    return Bases(
        speed,
        Basis(seen.bytes / seen.audio, "measured", told)
        if enough
        else Basis(_BYTES, "assumed", "128 kbit/s"),
        Basis(seen.database / seen.stored, "measured", f"{seen.stored / 3600:.2f} hours of audio")
        if seen.stored >= _ENOUGH_ROWS
        else Basis(_ROWS, "assumed"),
        Basis(configured.serve.connections, "setting"),
        Basis(configured.serve.lives, "setting"),
        Basis(configured.postgres.connections, "setting"),
        Basis(days, "setting") if days is not None else None,
        Basis(seen.audio / seen.jobs, "measured", told)
        if enough
        else Basis(_LENGTH, "assumed", "half an hour"),
        Basis(seen.variability, "measured", told)
        if seen.jobs >= _ENOUGH_RECORDINGS
        else Basis(_VARIABILITY, "assumed", "as unlike as if they ended by chance"),
    )


def _as_json(made: Plan) -> None:
    import msgspec

    print(
        msgspec.json.encode(
            {
                "demand": msgspec.to_builtins(made.demand),
                "bases": {name: msgspec.to_builtins(one) for name, one in _named(made.bases)},
                "assumed": made.assumed,
                "figures": {one.name: msgspec.to_builtins(one) for one in made.figures},
            }
        ).decode()
    )


def _show(made: Plan, *, explain: bool) -> None:
    for figure in made.figures:
        print(f"{figure.name.replace('_', ' '):<22}{_readable(figure):>14}")
        if explain:
            print(f"    = {figure.formula}\n    = {figure.worked}")
    print()
    for name, one in _named(made.bases):
        note = f": {one.note}" if one.note else ""
        print(f"{name.replace('_', ' '):<28}{one.value:>10.4g}  {one.origin}{note}")
    if made.assumed:
        listed = ", ".join(name.replace("_", " ") for name in made.assumed)
        print(f"\nAssumed, not measured: {listed}. The figures are as good as these.")


def _named(bases: Bases) -> list[tuple[str, Basis]]:
    pairs = [(name, getattr(bases, name)) for name in bases.__struct_fields__]
    return [(name, one) for name, one in pairs if one is not None]


def _readable(figure: Figure) -> str:
    if figure.unit == "bytes":
        return f"{figure.value / 1e9:,.1f} GB"
    if figure.unit == "bits/s":
        return f"{figure.value / 1e6:,.2f} Mbit/s"
    if figure.unit == "seconds":
        return f"{figure.value:,.1f} s"
    if figure.unit == "share":
        return f"{100 * figure.value:.2f} %"
    return f"{figure.value:,.0f}"

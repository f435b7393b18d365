"""``hansard optimise``: the best settings for this machine, measured, kept, shown and undone."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hansard.cli.options import DataOption, JsonOption, settings
from hansard.errors import UsageError

if TYPE_CHECKING:
    from hansard.perf.advice import Advice
    from hansard.perf.optimisation import Report


def optimise(
    *,
    recordings: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[FILE]...", help="Recordings to measure with. [default: a sample meeting]"
        ),
    ] = None,
    minutes: Annotated[float, typer.Option(min=0.1, help="How long to measure.")] = 10.0,
    component: Annotated[
        list[str] | None,
        typer.Option(help="Only this part: stt, vad, store, upload, memory; may be repeated."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Model to tune. [default: as `transcribe` would choose]")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Measure and say, but write nothing.")
    ] = False,
    show: Annotated[bool, typer.Option("--show", help="Show the profile that is there.")] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Put back what was before it.")] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Recommend what this does not change by itself.")
    ] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Do not ask the model hub.")] = False,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Measure this machine and its models, and keep the settings that are best here.

    They are written to tuned.toml in the data directory, below the environment and hansard.toml.
    Words must stay as they were; only what is faster beyond doubt is taken.
    """
    from hansard.config import load

    if show + undo + explain > 1:
        raise UsageError("--show, --undo and --explain are three things.", hint="Choose one.")
    given: dict[str, Any] = {"data": data} if data is not None else {}
    plain = load(tuned=False, **given, **({"offline": True} if offline else {}))
    if show:
        _show(plain.data, as_json=json)
    elif undo:
        _undo(plain.data)
    elif explain:
        _explain(settings(data, offline=offline), as_json=json)
    else:
        from hansard.perf import optimisation

        report = optimisation.run(
            plain,
            recordings or (),
            minutes=minutes,
            components=component or optimisation.COMPONENTS,
            model=model,
            say=lambda line: print(line, file=sys.stderr, flush=True),
        )
        where = None if dry_run else optimisation.keep(plain, report)
        _tell(report, where, as_json=json)


def _tell(report: Report, where: Path | None, *, as_json: bool) -> None:
    import msgspec

    report = msgspec.structs.replace(report, written=None if where is None else str(where))
    if as_json:
        print(msgspec.json.encode(report).decode())
        return
    print(f"Measured with {report.model}.")
    for outcome in report.outcomes:
        print(f"  {outcome.sentence()}")
        for name in sorted({*outcome.before, *outcome.after} if outcome.changed else ()):
            before, after = (one.get(name, "built in") for one in (outcome.before, outcome.after))
            print(f"      {name}: {before} -> {after}")
    for fit in report.fits:
        print(f"  memory: {', '.join(f'{name} {value}' for name, value in fit.values.items())}")
        print(f"      since {fit.why}")
    for name, why in report.left_out.items():
        print(f"  {name}: left out, {why}")
    if where is not None and report.values:
        print(f"Written to {where}. `hansard optimise --undo` takes it back.")
    elif where is not None:
        print(f"What is built in is best: {where} was removed. --undo puts it back.")
    elif report.changed:
        print("Nothing was written: --dry-run.")
    elif report.values:
        print("Nothing is better beyond doubt than the profile that is there: nothing was written.")
    else:
        print("Nothing is better beyond doubt than what is built in: nothing was written.")


def _show(data: Path, *, as_json: bool) -> None:
    import msgspec

    from hansard import tuned

    profile = tuned.read(data)
    if profile is None:
        print("null" if as_json else "There is no tuned profile: settings are as built in.")
        return
    why = tuned.misfit(profile.stamp, tuned.here())
    if as_json:
        body = msgspec.to_builtins(profile) | {"path": str(data / tuned.FILE), "misfit": why}
        print(msgspec.json.encode(body).decode())
        return
    print(f"{data / tuned.FILE}: " + ("applied" if why is None else f"NOT applied: {why}"))
    print(tuned.text(profile), end="")


def _undo(data: Path) -> None:
    from hansard import tuned

    back = tuned.undo(data)
    print("The profile before it is back." if back else "There is no tuned profile any more.")


def _explain(configured: Any, *, as_json: bool) -> None:
    import msgspec

    from hansard.perf import advice

    found: list[Advice] = advice.explain(configured)
    if as_json:
        print(msgspec.json.encode(found).decode())
        return
    if not found:
        print("There is nothing to recommend.")
    for one in found:
        print(f"{one.about}: {one.change}")
        print(f"    why:  {one.why}")
        print(f"    gain: {one.gain}")
        print(f"    undo: {one.undo}")

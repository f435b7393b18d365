"""``hansard loadtest``: so many users at a running service, and whether it keeps its levels."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from hansard.cli.options import DataOption, JsonOption, lasting, settings
from hansard.errors import CannotWrite, NobodyServes, UsageError

if TYPE_CHECKING:
    from hansard.jobs.presence import Notice
    from hansard.perf.loadtest_figures import Level, Moment, Order, Result, Step

_WARMUP = 10.0
"""Seconds that do not count, at most: a sixth of a short test."""


def loadtest(
    *,
    scenario: Annotated[
        Literal["upload", "poll", "search", "read", "mixed", "live"],
        typer.Option(help="What the users do."),
    ] = "mixed",
    users: Annotated[
        int, typer.Option(min=1, max=10_000, help="Users at the same time; the most, with --rate.")
    ] = 10,
    duration: Annotated[
        float | None,
        typer.Option(parser=lasting, help="How long is measured: 30s, 5m, 1h. [default: 60s]"),
    ] = None,
    requests: Annotated[
        int | None, typer.Option(min=1, help="So many visits instead, without a warm-up.")
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(
            min=0.001,
            help="Visits a second, whether the ones before were answered or not.",
        ),
    ] = None,
    think: Annotated[
        float, typer.Option(min=0, help="Seconds between an answer and the next visit.")
    ] = 1.0,
    url: Annotated[
        str | None,
        typer.Option(help="The service. [default: the one that runs on the data directory]"),
    ] = None,
    key: Annotated[
        str | None, typer.Option(help="Its key; -: the first line of standard input.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Model that uploads ask for.")] = None,
    clip: Annotated[
        float, typer.Option(min=1, max=600, help="Seconds of audio of an upload or live session.")
    ] = 20.0,
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="The same seed makes the same audio. [default: new each time]"),
    ] = None,
    soak: Annotated[
        bool, typer.Option("--soak", help="Watch the service's processes for growth, too.")
    ] = False,
    pid: Annotated[
        int | None, typer.Option(min=1, help="The service's first process, for --soak.")
    ] = None,
    capacity: Annotated[
        bool,
        typer.Option("--capacity", help="Find the most users, up to --users, at which it holds."),
    ] = False,
    report: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Write FILE, .html or .json. May be repeated."),
    ] = None,
    anywhere: Annotated[
        bool,
        typer.Option("--i-may-load-this-host", help="Aim at another machine than this one."),
    ] = False,
    json: JsonOption = False,
    data: DataOption = None,
) -> None:
    """Let users loose on a running service and hold it to its service levels.

    They upload, poll, search and read as fast as people do, with speech that is made for it. The
    exit code is 1 where a level was missed.
    """
    from hansard.jobs.presence import serving
    from hansard.perf.loadtest import need_locust
    from hansard.perf.loadtest_figures import Order, promised

    _sensible(capacity=capacity, soak=soak, requests=requests, duration=duration, rate=rate)
    _writable(report or [])
    need_locust()
    lasts = None if requests else duration or 60.0
    configured = settings(data)
    found = serving(configured.data)
    order = Order(
        scenario,
        _aimed(url, found),
        users=users,
        duration=lasts,
        requests=requests,
        rate=rate,
        think=think,
        warmup=min(_WARMUP, lasts / 6) if lasts else 0.0,
        clip=clip,
        model=model,
        key=sys.stdin.readline().strip() if key == "-" else key,
        seed=int(time.time()) if seed is None else seed,
    )
    watched = None
    if soak:
        watched = pid or (found.pid if found and found.url.rstrip("/") == order.url else None)
    result = _tested(
        order,
        promised(configured.levels),
        anywhere=anywhere,
        watched=watched,
        soak=soak,
        capacity=capacity,
    )
    _out(result, report or [], as_json=json)
    if not result.passed:
        raise typer.Exit(1)


def _sensible(
    *, capacity: bool, soak: bool, requests: int | None, duration: float | None, rate: float | None
) -> None:
    """Refuse what does not go together."""
    hint = "`hansard loadtest --help` says what each is for."
    if requests is not None and duration is not None:
        raise UsageError("It lasts for a time or for so many visits, not both.", hint=hint)
    if capacity and (rate is not None or requests is not None or soak):
        raise UsageError(
            "The search for the knee tries numbers of users, each for --duration.", hint=hint
        )
    if soak and requests is not None:
        raise UsageError("A soak lasts for a time: --duration.", hint=hint)


def _writable(reports: Sequence[Path]) -> None:
    for path in reports:
        if path.suffix not in {".html", ".json"}:
            raise UsageError(f"{path} is neither .html nor .json.", hint="Choose one of the two.")
        if not path.parent.is_dir():
            raise CannotWrite(f"There is no directory {path.parent}.", hint="Make it first.")


def _aimed(url: str | None, found: Notice | None) -> str:
    if url is None and found is None:
        raise NobodyServes(
            "No service runs on this data directory.",
            hint="Start one with `hansard serve`, or name one with --url.",
        )
    return (url or (found.url if found else "")).rstrip("/")


def _tested(
    order: Order,
    levels: tuple[Level, ...],
    *,
    anywhere: bool,
    watched: int | None,
    soak: bool,
    capacity: bool,
) -> Result:
    from msgspec.structs import replace

    from hansard.perf import loadtest as test

    local = test.aim(order.url, anywhere=anywhere)
    if soak and (watched is None or not local):
        raise UsageError(
            "A soak looks into the service's processes, and it is not known which they are.",
            hint="Run it on the service's machine; name its first process with --pid.",
        )
    test.reach(order)
    if capacity:
        return test.capacity(order, local=local, levels=levels, on_step=_step)
    lasts = order.warmup + (order.duration or 0.0)
    if watched is None:
        return test.run(order, local=local, levels=levels, on_moment=_Progress(lasts))
    from hansard.perf import loadtest_soak

    with loadtest_soak.watching(watched, max(1.0, lasts / 2000)) as watch:
        result = test.run(order, local=local, levels=levels, on_moment=_Progress(lasts))
    if watch.ended is not None:
        raise watch.ended
    return replace(result, growth=loadtest_soak.growths(watch.samples))


# ── while it runs, and after ─────────────────────────────────────────────────────────────────


class _Progress:
    """A line on a terminal, once a second; nothing where nobody looks."""

    def __init__(self, lasts: float) -> None:
        self._lasts = lasts
        self._shown = sys.stderr.isatty()

    def __call__(self, moment: Moment) -> None:
        """Show what the users saw."""
        if self._shown:
            done = sum(timing.count for timing in moment.timings.values())
            failed = sum(moment.counters.values())
            end = f" of {self._lasts:.0f}" if self._lasts else ""
            said = f"{moment.at + moment.seconds:.0f}{end} s, {moment.users} users"
            rate = done / max(moment.seconds, 1e-3)
            print(f"\r{said}, {rate:.0f} a second, {failed:.0f} failed   ", end="", file=sys.stderr)
            if not moment.users:
                print(file=sys.stderr)


def _step(step: Step) -> None:
    held = "held" if step.holds else "missed"
    sure = "" if step.sure else ", not sure"
    print(
        f"{step.users:>6} users for {step.seconds:.0f} s: levels {held}{sure}; "
        f"{step.worst} at {100 * step.load:.0f} % of its level",
        file=sys.stderr,
    )


def _out(result: Result, reports: Sequence[Path], *, as_json: bool) -> None:
    import msgspec

    from hansard.perf.loadtest_page import page

    whole = msgspec.json.encode(result).decode()
    for path in reports:
        try:
            path.write_text(page(result) if path.suffix == ".html" else whole + "\n", "utf-8")
        except OSError as error:
            raise CannotWrite(
                f"{path} cannot be written: {error.strerror or error}.", hint="Name another file."
            ) from error
    if as_json:
        print(whole)
    else:
        _show(result)


def _show(result: Result) -> None:
    from hansard.perf.loadtest_figures import unit_of
    from hansard.perf.loadtest_page import allowed, amount, knee_in_words, readable

    for one in result.operations:
        unit = unit_of(one.name)
        p50, p95, p99 = (readable(value, unit) for value in (one.p50, one.p95, one.p99))
        print(
            f"{one.name:<24}{one.requests:>8} requests {one.failed:>6} failed"
            f"   p50 {p50}, p95 {p95}, p99 {p99}"
        )
    print(f"\n{result.measured}\n")
    for told in result.verdicts:
        held = "held  " if told.holds else "MISSED"
        sure = "" if told.sure else "  (too few requests to be sure)"
        measured = readable(told.measured, told.unit)
        print(f"{held}  {told.operation:<18}{allowed(told):<26}{measured:>16}{sure}")
    for grown in result.growth:
        hourly = amount(grown.what, grown.an_hour)
        print(f"{grown.verdict:<8}{grown.what:<18}{hourly} an hour")
    if result.knee is not None:
        print(knee_in_words(result.knee))
    for note in result.notes:
        print(f"note: {note}")

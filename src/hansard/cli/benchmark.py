"""``hansard benchmark``: how fast each part is on this machine, and whether it became slower."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import typer.core

from hansard.cli.options import DataOption, JsonOption, settings

if TYPE_CHECKING:
    from hansard.perf.benchmark import Component, Result, Trial
    from hansard.perf.benchmark_compare import Comparison
    from hansard.perf.benchmark_run import Wanted
    from hansard.store.database import Database


class _Group(typer.core.TyperGroup):
    """``hansard benchmark`` alone, or with options only, measures."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and args[0] not in ("-h", "--help")):
            args = ["run", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_Group,
    help="Measure how fast each part is on this machine, and whether it has become slower.\n\n"
    "`hansard benchmark --component stt` is short for `hansard benchmark run --component stt`.",
    rich_markup_mode=None,
)


class Form(StrEnum):
    """How results are written."""

    json = "json"
    csv = "csv"
    md = "md"


class Part(StrEnum):
    """What can be named; ``perf.benchmark.Component`` says the same to the type checker."""

    pipeline = "pipeline"
    decode = "decode"
    vad = "vad"
    stt = "stt"
    diarize = "diarize"
    insight = "insight"
    llm = "llm"
    search = "search"
    store = "store"
    queue = "queue"
    api = "api"
    tts = "tts"
    video = "video"


PartOption = Annotated[
    list[Part] | None, typer.Option("--component", help="Only this part; may be given again.")
]
TimesOption = Annotated[int, typer.Option(min=1, max=1000, help="Runs that count, of each part.")]
AudioOption = Annotated[
    Path | None, typer.Option(help="Your own recording. [default: the sample meeting]")
]
ReferenceOption = Annotated[
    Path | None, typer.Option(help="A text file with what is said in it, for the WER.")
]
SecondsOption = Annotated[
    float | None, typer.Option(min=1, max=600, help="Only the first so many seconds of it.")
]
ModelOption = Annotated[str | None, typer.Option(help="Speech model. [default: as set]")]


@app.command("run")
def run(
    *,
    component: PartOption = None,
    iterations: TimesOption = 10,
    audio: AudioOption = None,
    reference: ReferenceOption = None,
    seconds: SecondsOption = None,
    model: ModelOption = None,
    output: Annotated[Path | None, typer.Option(help="Write the results to this file.")] = None,
    form: Annotated[Form, typer.Option("--format", help="Of that file.")] = Form.json,
    data: DataOption = None,
) -> None:
    """Measure: one run to warm up, then those that count; medians with 95 % intervals.

    Results go into the history of the store, for `compare` and `trend`. Nothing else of the store
    is touched: parts that need one get an empty one.
    """
    from hansard.perf import benchmark_pages, benchmark_run

    configured = settings(data)
    chosen = _components(component, configured.language_model.model is not None)
    wanted = _wanted(audio, reference, seconds, model)
    found = benchmark_run.measure(
        configured, chosen, wanted, iterations=iterations, say=_show_trial
    )
    with _history(data) as database:
        benchmark_run.keep(database, found)
    print(benchmark_pages.table(found), end="")
    if output is not None:
        _write(found, output, form)


@app.command("list")
def list_results(
    *,
    component: PartOption = None,
    all_machines: Annotated[
        bool, typer.Option("--all-machines", help="Those of other machines as well.")
    ] = False,
    json: JsonOption = False,
    data: DataOption = None,
) -> None:
    """List what was measured, the newest first."""
    import time

    import msgspec

    for one in _known(data, component, here=not all_machines):
        if json:
            print(msgspec.json.encode(one).decode())
            continue
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(one.created))
        print(
            f"{one.id}  {one.component:<9}  {one.seconds.median:>9.4f} s  {len(one.trials):>3} runs"
            f"  {when}  {one.build}  {one.name}"
        )


@app.command("compare")
def compare(
    baseline: Annotated[
        str | None,
        typer.Argument(
            help="An id, a build, a commit, or a JSON file of results. [default: the newest result "
            "of another build, else the one before]"
        ),
    ] = None,
    *,
    against: Annotated[
        str | None,
        typer.Option(
            help="Measure now, in turn with this build: a revision of the checkout, or a version."
        ),
    ] = None,
    component: PartOption = None,
    iterations: TimesOption = 12,
    audio: AudioOption = None,
    reference: ReferenceOption = None,
    seconds: SecondsOption = None,
    model: ModelOption = None,
    json: JsonOption = False,
    data: DataOption = None,
) -> None:
    """Say of each part whether it is faster, slower or neither, and which stage made it so.

    Ends with 1 where something became slower. Results of the history are compared by the
    Mann-Whitney test; with `--against`, the other build is installed beside this one and both are
    run in turn, which is surer: by a permutation test of the pairs.
    """
    import msgspec

    from hansard.perf import benchmark_pages

    if against is None:
        found = _compared(data, baseline, component)
    else:
        wanted = _wanted(audio, reference, seconds, model)
        found = _against(data, against, component, wanted, iterations)
    if json:
        for one in found:
            print(msgspec.json.encode(one).decode())
    else:
        print(benchmark_pages.compared(found), end="")
    if any(one.slower for one in found):
        raise typer.Exit(1)


@app.command("trend")
def trend(
    *,
    output: Annotated[Path, typer.Option(help="The SVG file to write.")] = Path("trend.svg"),
    component: PartOption = None,
    data: DataOption = None,
) -> None:
    """Draw how medians changed over time on this machine, with their intervals."""
    from hansard.errors import UnknownBenchmark
    from hansard.perf import benchmark_pages
    from hansard.store.files import room

    found = list(_known(data, component))
    if not found:
        raise UnknownBenchmark("Nothing was measured here yet.", hint="Run `hansard benchmark`.")
    with room(output.parent):
        output.write_bytes(benchmark_pages.trend(found))
    print(output)


@app.command("runner", hidden=True)
def runner(
    component: Annotated[Part, typer.Argument()],
    *,
    audio: AudioOption = None,
    reference: ReferenceOption = None,
    seconds: SecondsOption = None,
    model: ModelOption = None,
) -> None:
    """Do one part again for each line that comes in. `compare --against` starts it."""
    from hansard.perf import benchmark_run

    wanted = _wanted(audio, reference, seconds, model)
    chosen: Any = component.value
    benchmark_run.serve_runs(settings(), chosen, wanted, sys.stdin, sys.stdout)


# ── inside ───────────────────────────────────────────────────────────────────────────────────


def _components(named: Sequence[Part] | None, llm: bool = False) -> list[Component]:
    from hansard.perf.benchmark_parts import BUILT

    if named:
        chosen: list[Any] = [one.value for one in dict.fromkeys(named)]
        return chosen
    return [one for one in BUILT if one != "llm" or llm]


def _wanted(
    audio: Path | None, reference: Path | None, seconds: float | None, model: str | None
) -> Wanted:
    from hansard.errors import NotFound
    from hansard.perf.benchmark_run import Wanted

    for path in (audio, reference):
        if path is not None and not path.is_file():
            raise NotFound(f"There is no file {path}.", hint="Is the path right?")
    named = [None if path is None else str(path.absolute()) for path in (audio, reference)]
    return Wanted(named[0], named[1], seconds, model)


def _known(
    data: Path | None, named: Sequence[Part] | None, *, here: bool = True
) -> Iterator[Result]:
    from hansard.perf import benchmark_run

    with _history(data) as database:
        for one in benchmark_run.history(database, here=here):
            if not named or one.component in [part.value for part in named]:
                yield one


def _compared(
    data: Path | None, baseline: str | None, named: Sequence[Part] | None
) -> list[Comparison]:
    from hansard.perf import benchmark_compare

    results = list(_known(data, named))
    chosen = None if baseline is None else _baselines(data, baseline)
    return [
        benchmark_compare.compared(before, after)
        for before, after in benchmark_compare.pairs(results, chosen)
    ]


def _baselines(data: Path | None, named: str) -> list[Result]:
    import msgspec

    from hansard.errors import UnknownBenchmark
    from hansard.perf import benchmark_pages, benchmark_run

    path = Path(named)
    if path.is_file():
        try:
            return benchmark_pages.from_json(path.read_bytes())
        except msgspec.DecodeError as error:
            raise UnknownBenchmark(
                f"{named} holds no results: {error}.",
                hint="`hansard benchmark --output FILE` writes them.",
            ) from None
    with _history(data) as database:
        found = benchmark_run.named(database, named)
    if not found:
        raise UnknownBenchmark(
            f"Nothing is known by the name {named}.", hint="`hansard benchmark list` shows all."
        )
    return found


def _against(
    data: Path | None,
    build: str,
    named: Sequence[Part] | None,
    wanted: Wanted,
    iterations: int,
) -> list[Comparison]:
    import os

    from hansard.perf import benchmark_compare, benchmark_other, benchmark_run
    from hansard.perf.benchmark_run import Runner

    print(f"Making {build} ready", file=sys.stderr)
    other = benchmark_other.python_of(build)
    kept = {} if data is None else {"HANSARD_DATA": str(data.absolute())}
    found = []
    for component in _components(named):
        with (
            Runner(other, component, wanted, benchmark_other.environment() | kept) as before,
            Runner(sys.executable, component, wanted, os.environ | kept) as after,
        ):
            sides = benchmark_run.alternate(before, after, iterations=iterations, say=_show_trial)
        with _history(data) as database:
            benchmark_run.keep(database, sides)
        found.append(benchmark_compare.compared(*sides, paired=True))
    return found


def _show_trial(component: Component, number: int, trial: Trial) -> None:
    print(f"{component:<9} run {number:>3}  {trial.seconds:>9.4f} s", file=sys.stderr)


def _write(found: Sequence[Result], output: Path, form: Form) -> None:
    from hansard.perf import benchmark_pages
    from hansard.store.files import room

    made = {
        Form.json: benchmark_pages.as_json,
        Form.csv: benchmark_pages.as_csv,
        Form.md: benchmark_pages.as_markdown,
    }[form](found)
    with room(output.parent):
        output.write_bytes(made)
    print(output, file=sys.stderr)


@contextmanager
def _history(data: Path | None) -> Iterator[Database]:
    from hansard.store.files import room
    from hansard.store.opening import opened

    configured = settings(data)
    with room(configured.data):
        configured.data.mkdir(parents=True, exist_ok=True)
    database = opened(
        configured.data, configured.database, connections=configured.postgres.connections
    )
    try:
        yield database
    finally:
        database.close()

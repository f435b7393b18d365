"""``hansard models``: which models are here, and how to get more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hansard.cli.options import DataOption, JsonOption, settings
from hansard.errors import UsageError

if TYPE_CHECKING:
    from hansard.speech.catalog import ModelInfo

app = typer.Typer(
    help="List, pull, import and remove models.", no_args_is_help=True, rich_markup_mode=None
)

NameArgument = Annotated[str, typer.Argument(metavar="MODEL", help="Its name, like small.")]


@app.command("list")
def list_models(
    *,
    available: Annotated[
        bool, typer.Option("--available", help="Also those that could be pulled.")
    ] = False,
    json: JsonOption = False,
    data: DataOption = None,
) -> None:
    """List the models on this machine."""
    from hansard.speech import catalog

    configured = settings(data)
    found = catalog.installed(configured)
    if available:
        here = {info.name for info in found}
        found += [info for info in catalog.available(configured) if info.name not in here]
    for info in found:
        print(_json(info) if json else _line(info))


@app.command("info")
def info(name: NameArgument, *, json: JsonOption = False, data: DataOption = None) -> None:
    """Say all that is known about a model."""
    from hansard.speech import catalog

    if name == "auto":
        raise UsageError(
            "auto is no model but a choice among them, made for each recording.",
            hint="`hansard check FILE` says which; docs/models.md says how.",
        )
    found = catalog.info(name, settings(data))
    if json:
        print(_json(found))
        return
    print(f"name       {found.name}")
    print(f"engine     {found.engine}")
    print(f"here       {'yes' if found.installed else 'no'}")
    print(f"languages  {', '.join(found.languages) if found.languages else 'many'}")
    print(f"on disk    {_size(found.size)}")
    print(f"in memory  {_size(found.memory)}")
    if found.path:
        print(f"path       {found.path}")
    if found.problem:
        print(f"problem    {found.problem}")


@app.command("pull")
def pull(name: NameArgument, *, data: DataOption = None) -> None:
    """Fetch a Whisper model from the hub."""
    from hansard.speech import models

    with _bar(name) as progress:
        path = models.pull(name, settings(data), progress)
    print(f"{name} is in {path}")


@app.command("import")
def import_model(
    directory: Annotated[
        Path, typer.Argument(help="A CTranslate2 Whisper model, as faster-whisper uses it.")
    ],
    *,
    name: Annotated[
        str | None, typer.Option(help="What to call it. [default: the directory's name]")
    ] = None,
    data: DataOption = None,
) -> None:
    """Copy a model directory into the store: the way for machines without a network."""
    from hansard.speech import models

    called = name or directory.resolve().name
    path = models.import_directory(directory, called, settings(data))
    print(f"{called} is in {path}; use it with --model {called}")


@app.command("remove")
def remove(name: NameArgument, *, data: DataOption = None) -> None:
    """Delete a model from this disk."""
    from hansard.speech import models

    models.remove(name, settings(data))
    print(f"{name} is removed")


@contextmanager
def _bar(name: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar for a download, on standard error."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn(name), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("", total=None)

        def update(done: int, total: int) -> None:
            bars.update(task, completed=done, total=total)

        yield update


def _line(found: ModelInfo) -> str:
    state = found.problem or ("here" if found.installed else "not here")
    return f"{found.name:<24} {_size(found.size):>10}  {state}"


def _size(count: int | None) -> str:
    return "-" if count is None else f"{count / 1e6:,.0f} MB"


def _json(found: ModelInfo) -> str:
    import msgspec

    return msgspec.json.encode(found).decode()

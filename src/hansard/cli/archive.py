"""``hansard archive``: completed meetings into a cheaper place, and back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer
import typer.core

from hansard.cli.complaint import complain
from hansard.cli.options import DataOption, JsonOption, settings
from hansard.errors import HansardError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from hansard.store.archive import Archive, Entry
    from hansard.wiring import House

_ADD = "add"

_PAGE = 500


class _Commands(typer.core.TyperGroup):
    """``hansard archive --days 365`` and ``hansard archive JOB`` are ``hansard archive add …``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = [_ADD, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_Commands,
    help="Put completed meetings into the archive, list them, bring them back.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command(_ADD)
def add(
    jobs: Annotated[
        list[str] | None, typer.Argument(metavar="[JOB]...", help="Ids, or enough of them.")
    ] = None,
    *,
    days: Annotated[
        float | None, typer.Option(min=0, help="All that ended so many days ago, or earlier.")
    ] = None,
    with_audio: Annotated[
        bool,
        typer.Option(
            "--with-audio/--without-audio",
            help="Media go too, and are removed from the store; else they stay in it.",
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say which meetings would go.")
    ] = False,
    json: JsonOption = False,
    data: DataOption = None,
) -> None:
    """Put meetings into the archive; the word `add` may be left out.

    They stay in lists. Their transcripts are not there until they are restored.
    """
    if not jobs and days is None:
        raise UsageError(
            "Which meetings?", hint="Name jobs, or say how old: `hansard archive --days 365`."
        )
    with _opened(data) as (house, archive):
        chosen = _found(house, jobs) if jobs else _due(archive, days or 0.0)
        if dry_run:
            names = list(chosen)
            for name in names:
                print(name)
            typer.echo(f"{len(names)} would be archived", err=True)
            return
        if with_audio:
            archive.sweep()
        _each(chosen, lambda job: archive.put(job, audio=with_audio), "archived", json=json)


@app.command("restore")
def restore(
    jobs: Annotated[list[str], typer.Argument(metavar="JOB...", help="Ids, or enough of them.")],
    *,
    json: JsonOption = False,
    data: DataOption = None,
) -> None:
    """Bring meetings back as they were."""
    with _opened(data) as (house, archive):
        _each(_found(house, jobs), archive.restore, "restored", json=json)


@app.command("list")
def list_archived(*, json: JsonOption = False, data: DataOption = None) -> None:
    """List what is archived, the newest meeting first."""
    with _opened(data) as (_, archive):
        last: str | None = None
        while page := archive.listing(_PAGE, before=last):
            for entry in page:
                last = entry.job
                _say(entry, "archived", json=json)


@contextmanager
def _opened(data: Path | None) -> Iterator[tuple[House, Archive]]:
    from hansard.wiring import House

    with House(settings(data)) as house:
        yield house, house.archive


def _found(house: House, names: Iterable[str]) -> list[str]:
    from hansard.jobs import progress

    return list(dict.fromkeys(progress.find(house.database, name).id for name in names))


def _due(archive: Archive, days: float) -> Iterator[str]:
    from hansard.store.archive import DAY

    before, last = time.time() - days * DAY, ""
    while page := archive.due(before, _PAGE, after=last):
        yield from page
        last = page[-1]


def _each(jobs: Iterable[str], act: Callable[[str], Entry], did: str, *, json: bool) -> None:
    """One after the other; one that cannot be holds up no other."""
    worst = 0
    for job in jobs:
        try:
            entry = act(job)
        except HansardError as error:
            complain(error)
            worst = max(worst, error.exit_code)
        else:
            _say(entry, did, json=json)
    if worst:
        raise typer.Exit(worst)


def _say(entry: Entry, did: str, *, json: bool) -> None:
    import msgspec

    if json:
        print(msgspec.json.encode(entry).decode(), flush=True)
        return
    when = time.strftime("%Y-%m-%d", time.localtime(entry.created))
    media = ", with its media" if entry.audio else ""
    print(
        f"{entry.job}  {did}  {when}  {entry.segments:>6,} segments  {entry.size / 1e6:8.2f} MB"
        f"{media}  {entry.place}  {entry.name}",
        flush=True,
    )

"""``hansard database``: the care of the store, and its way from SQLite to PostgreSQL."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from hansard.cli.options import DataOption, JsonOption, settings
from hansard.errors import AlreadyServing, UsageError

if TYPE_CHECKING:
    from rich.progress import TaskID

    from hansard.config import Settings
    from hansard.store.move import Moved, Step

app = typer.Typer(
    help="Upgrade, check, index, vacuum and move the store.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_EVERY = 5.0
"""Seconds between two lines that say how far a move is."""


@app.command("upgrade")
def upgrade(
    *,
    to: Annotated[
        str | None, typer.Option(metavar="SCHEMA", help="Go to this one, even back.")
    ] = None,
    json: JsonOption = False,
    data: DataOption = None,
) -> None:
    """Bring the tables to the newest schema. Stop everything else that uses them first."""
    import msgspec

    from hansard.store import schema, upkeep

    configured = settings(data)
    _see_that_nobody_serves(configured, "change the tables under")
    if to is not None and to in schema.known() and to < schema.SCHEMA:
        typer.echo(
            f"Warning: schema {to} is for an older Hansard. What it does not know of is removed. "
            "Make a backup first; an SQLite store is upgraded again by the next command of this "
            "one.",
            err=True,
        )
    went = upkeep.bring(configured.data, configured.database, to)
    if json:
        print(msgspec.json.encode(went).decode())
    elif went.before == went.now:
        print(f"{went.place}: schema {went.now}, nothing to do")
    else:
        print(f"{went.place}: schema {went.before or 'none'} → {went.now}")


@app.command("check")
def check(
    *,
    deep: Annotated[
        bool, typer.Option("--deep", help="Read every recording and archive, and hash them.")
    ] = False,
    json: JsonOption = False,
    data: DataOption = None,
) -> None:
    """Say what is not as it should be. Nothing is changed; the exit code is 1 where there is."""
    import msgspec

    from hansard.store import opening
    from hansard.store.check import findings

    configured = settings(data)
    database = opening.opened(configured.data, configured.database)
    files = opening.files(configured, "check")
    count = 0
    try:
        for one in findings(configured, database, files, deep=deep):
            count += 1
            if json:
                print(msgspec.json.encode(one).decode(), flush=True)
            else:
                print(f"{one.message} [{one.code}]\n  {one.hint}", flush=True)
        place = database.place
    finally:
        files.close()
        database.close()
    if not json:
        print(f"{place}: {_findings(count)}")
    if count:
        raise typer.Exit(1)


@app.command("index")
def index(*, data: DataOption = None) -> None:
    """Index anew what was said, where a check says that it cannot be found."""
    from hansard.store import index as words
    from hansard.store import opening

    configured = settings(data)
    database = opening.opened(configured.data, configured.database)
    try:
        count = words.keep_all(database)
    finally:
        database.close()
    print(f"{database.place}: {count} meeting{'' if count == 1 else 's'} indexed")


@app.command("vacuum")
def vacuum(*, json: JsonOption = False, data: DataOption = None) -> None:
    """Give room back that removed rows took, and refresh what the planner knows."""
    import msgspec

    from hansard.store import opening, upkeep

    configured = settings(data)
    database = opening.opened(configured.data, configured.database)
    try:
        won = upkeep.vacuum(database)
    finally:
        database.close()
    if json:
        print(msgspec.json.encode(won).decode())
        return
    unit = "free pages" if configured.database is None else "dead rows"
    print(
        f"{won.place}: {won.before / 1e6:,.1f} → {won.now / 1e6:,.1f} MB, "
        f"{won.dead:,} {unit} cleared"
    )


@app.command("move")
def move(
    *,
    to: Annotated[
        str, typer.Option(metavar="ADDRESS", help="postgresql://user:password@host/name")
    ],
    anew: Annotated[
        bool,
        typer.Option("--anew", help="Empty what an earlier move filled, and begin again."),
    ] = False,
    json: JsonOption = False,
    data: DataOption = None,
) -> None:
    """Copy the SQLite store of a data directory into PostgreSQL, and compare every row.

    A move that was interrupted goes on with the same command. The exit code is 1 where a row
    differs. Recordings are files: they stay where they are.
    """
    from hansard.jobs.presence import owning
    from hansard.store import move as moving
    from hansard.store.postgres import Postgres
    from hansard.store.sqlite import Sqlite

    configured = settings(data)
    path = configured.data / "hansard.db"
    if not path.exists():
        raise UsageError(
            f"There is no SQLite store in {configured.data}.", hint="Name another with --data."
        )
    _see_that_nobody_serves(configured, "copy what changes under")
    # As if it served: no service begins meanwhile. Commands wait for the write lock, or give up.
    with owning(configured.data):
        target = Postgres(to)
        try:
            source = Sqlite(path)
            try:
                with _shown(json=json) as note:
                    moved = moving.move(source, target, note, anew=anew)
            finally:
                source.close()
        finally:
            target.close()
    _tell(moved, json=json)
    if moved.differing:
        raise typer.Exit(1)


def _see_that_nobody_serves(configured: Settings, what: str) -> None:
    from hansard.jobs.presence import serving

    found = serving(configured.data)
    if found is not None:
        raise AlreadyServing(
            f"The service at {found.url} has {configured.data}: one cannot {what} it.",
            hint="Stop it first; it goes on where it was.",
        )


def _tell(moved: Moved, *, json: bool) -> None:
    import msgspec

    if json:
        said = {"event": "moved"} | msgspec.to_builtins(moved)
        print(msgspec.json.encode(said).decode())
        return
    for table in moved.tables:
        if table.rows:
            print(f"{table.name:<15} {table.rows:>11,} rows  sha256 {table.sha256[:16]}…")
    for one in moved.differences:
        print(f"{one.table} {one.key} {one.what}")
    more = moved.differing - len(moved.differences)
    if more > 0:
        print(f"… and {more:,} more")
    rate = moved.rows / moved.seconds if moved.seconds else 0.0
    print(
        f"{moved.rows:,} rows, {moved.copied:,} of them copied now, in {moved.seconds:,.1f} s "
        f"({rate:,.0f} a second, {moved.compared_seconds:,.1f} s of it comparing)"
    )
    if moved.differing:
        print(f"{moved.differing:,} rows are not the same on both sides.")
        print("  Begin again with --anew, before anybody uses the new store.")
    else:
        print(f"Every row of {moved.source} is in {moved.target}, column for column.")
        print("  From now on: HANSARD_DATABASE=… on every machine; docs/database.md has the rest.")


def _findings(count: int) -> str:
    if not count:
        return "nothing to find fault with"
    return f"{count} finding{'' if count == 1 else 's'}"


# ── how far it is ────────────────────────────────────────────────────────────────────────────


@contextmanager
def _shown(*, json: bool) -> Iterator[Callable[[Step], None]]:
    """Bars on a terminal; elsewhere a line now and then; or JSON, as ``--json`` asks for."""
    if json:
        yield _as_json
    elif sys.stderr.isatty():
        with _bars() as note:
            yield note
    else:
        yield _as_lines()


def _as_json(step: Step) -> None:
    import msgspec

    said = {"event": "progress"} | msgspec.to_builtins(step)
    print(msgspec.json.encode(said).decode(), flush=True)


@contextmanager
def _bars() -> Iterator[Callable[[Step], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Remaining())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks: dict[tuple[str, str], TaskID] = {}

        def note(step: Step) -> None:
            key = (step.stage, step.table)
            if key not in tasks:
                tasks[key] = bars.add_task(f"{step.stage} {step.table}", total=step.of)
            bars.update(tasks[key], completed=step.rows)

        yield note


def _as_lines() -> Callable[[Step], None]:
    due = 0.0

    def note(step: Step) -> None:
        nonlocal due
        now = time.monotonic()
        if now >= due or step.rows == step.of:
            due = now + _EVERY
            print(
                f"{step.stage} {step.table}: {step.rows:,} of {step.of:,} rows",
                file=sys.stderr,
                flush=True,
            )

    return note

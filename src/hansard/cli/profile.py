"""``hansard profile``: where the time and the memory of a command, or of what runs, go."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import typer.core

from hansard.cli.options import DataOption, JsonOption, settings

if TYPE_CHECKING:
    from hansard.store.database import Database
    from hansard.store.files import Files
    from hansard.store.profiles import Kind, Profile

_ATTACH = "--attach"


class _Group(typer.core.TyperGroup):
    """``profile transcribe x`` is ``profile run transcribe x``; ``profile --attach`` is a word."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in {*self.commands, "-h", "--help"}:
            first = args.index(_ATTACH) if _ATTACH in args else None
            rest = [word for place, word in enumerate(args) if place != first]
            args = ["run" if first is None else "attach", *rest]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_Group,
    help="Say where the time and the memory of a command, or of what runs, go.\n\n"
    "`hansard profile COMMAND …` runs a command of Hansard; `hansard profile --attach` looks into "
    "the processes that run on the data directory, and `--attach PID` into any process.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

ProfileArgument = Annotated[str, typer.Argument(metavar="PROFILE", help="The id, or enough of it.")]
MemoryOption = Annotated[
    bool, typer.Option("--memory", help="What is allocated where, instead of time.")
]
FolderOption = Annotated[
    Path | None, typer.Option("--output", help="Write the pages into this directory as well.")
]


@app.command(
    "run", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False}
)
def run(
    command: Annotated[
        list[str], typer.Argument(metavar="COMMAND…", help="As it is written behind `hansard`.")
    ],
    *,
    memory: MemoryOption = False,
    output: FolderOption = None,
) -> None:
    """Run a command of Hansard and profile it. Ends as the command does.

    The profile is kept in the store that the command uses; the table goes to standard error.
    """
    import shlex

    from hansard.cli import app as commands
    from hansard.perf import profile_run

    kind: Kind = "memory" if memory else "cpu"
    if memory:
        from hansard.perf.profile_memory import see_that_it_is_here

        see_that_it_is_here()
    code, captures = profile_run.of_command(kind, lambda: commands.run(command))
    with _store(_data_of(command)) as (database, files):
        subject = f"hansard {shlex.join(command)}"
        kept = profile_run.kept(database, files, kind, subject, captures)
        _tell(files, kept, output, to_error=True)
    raise typer.Exit(code)


def _data_of(command: list[str]) -> Path | None:
    """The store that a command is told to use."""
    for place, word in enumerate(command):
        if word == "--data" and place + 1 < len(command):
            return Path(command[place + 1])
        if word.startswith("--data="):
            return Path(word.partition("=")[2])
    return None


@app.command("attach")
def attach(
    pid: Annotated[
        int | None, typer.Argument(help="One process. [default: all of the data directory]")
    ] = None,
    *,
    seconds: Annotated[float, typer.Option(min=0.1, max=300, help="For so long.")] = 10.0,
    memory: MemoryOption = False,
    output: FolderOption = None,
    data: DataOption = None,
) -> None:
    """Look into what runs: the API and the workers of a data directory, or one process.

    They take part by themselves; nothing is stopped and no right is needed beyond that to write
    to the directory. A process that is none of them is looked into by py-spy, from outside.
    """
    from hansard.perf import profile_run
    from hansard.perf.profile_crew import Asking
    from hansard.perf.profile_native import is_ours, look_into

    kind: Kind = "memory" if memory else "cpu"
    subject = "service" if pid is None else f"process {pid}"
    with _store(data) as (database, files):
        place = settings(data).data
        with Asking(place, kind, seconds, pid) as asking:
            if pid is None or memory or is_ours(pid):
                row = profile_run.begun(database, kind, subject, seconds)
                kept = profile_run.of_service(database, files, asking, row)
            else:
                captures = [look_into(pid, seconds)]
                kept = profile_run.kept(database, files, kind, subject, captures)
        _tell(files, kept, output)


@app.command("list")
def list_profiles(*, json: JsonOption = False, data: DataOption = None) -> None:
    """List profiles, the newest first."""
    import time

    import msgspec

    from hansard.store import profiles

    with _store(data) as (database, _):
        for one in profiles.listing(database):
            if json:
                print(msgspec.json.encode(one).decode())
                continue
            when = time.strftime("%Y-%m-%d %H:%M", time.localtime(one.created))
            print(
                f"{one.id}  {one.state:<9}  {one.kind:<6}  {one.seconds:>7.1f} s  {when}  "
                f"{one.subject}"
            )


@app.command("show")
def show(profile: ProfileArgument, *, json: JsonOption = False, data: DataOption = None) -> None:
    """Show the table of a profile: shares of components, stages and rooms, and hot functions."""
    import msgspec

    from hansard.store import profiles

    with _store(data) as (database, files):
        found = profiles.find(database, profile)
        if json:
            print(msgspec.json.encode(found).decode())
        else:
            _tell(files, found, None)


@app.command("save")
def save(
    profile: ProfileArgument,
    *,
    output: Annotated[Path, typer.Option("--output", help="Into this directory.")] = Path(),
    data: DataOption = None,
) -> None:
    """Write the flame graph (HTML), speedscope's JSON and the samples of a profile."""
    from hansard.store import profiles

    with _store(data) as (database, files):
        _write(files, profiles.find(database, profile), output)


@app.command("diff")
def diff(
    before: ProfileArgument,
    after: ProfileArgument,
    *,
    json: JsonOption = False,
    data: DataOption = None,
) -> None:
    """Say what has grown from one profile to another: stages, rooms and functions.

    Whole commands are compared in what they took, services in what was spent for each second that
    was looked at.
    """
    import msgspec

    from hansard.perf import profile_diff, profile_run
    from hansard.store import profiles

    with _store(data) as (database, files):
        rows = [profiles.find(database, one) for one in (before, after)]
        sides = [profile_run.samples(files, row) for row in rows]
    whole = all(row.subject.startswith("hansard ") for row in rows)
    found = profile_diff.difference(*sides, whole=whole)
    print(msgspec.json.encode(found).decode() if json else profile_diff.table(found), end="")


@app.command("delete")
def delete(profile: ProfileArgument, *, data: DataOption = None) -> None:
    """Delete a profile and its files."""
    from hansard.store import profiles

    with _store(data) as (database, files):
        found = profiles.find(database, profile)
        profiles.remove(database, files, found.id)
    print(f"{found.id} is deleted.")


# ── inside ───────────────────────────────────────────────────────────────────────────────────


@contextmanager
def _store(data: Path | None) -> Iterator[tuple[Database, Files]]:
    """The rows and the files of a store, without anybody who works on it."""
    import secrets

    from hansard.store import opening
    from hansard.store.files import room

    configured = settings(data)
    with room(configured.data):
        configured.data.mkdir(parents=True, exist_ok=True)
    database = opening.opened(
        configured.data, configured.database, connections=configured.postgres.connections
    )
    try:
        files = opening.files(configured, f"profile-{secrets.token_hex(8)}")
        try:
            yield database, files
        finally:
            files.close()
    finally:
        database.close()


def _tell(files: Files, profile: Profile, output: Path | None, *, to_error: bool = False) -> None:
    import sys

    import msgspec

    from hansard.perf import profile_pages
    from hansard.perf.profile import Summary

    out = sys.stderr if to_error else sys.stdout
    print(f"Profile {profile.id} ({profile.kind}, {profile.state}) of {profile.subject}", file=out)
    if profile.failure is not None:
        print(f"{profile.failure.message} [{profile.failure.code}]", file=out)
    if profile.summary is not None:
        summary = msgspec.json.decode(profile.summary, type=Summary)
        print(profile_pages.table(summary), end="", file=out)
    if output is not None:
        _write(files, profile, output, to_error=to_error)


def _write(files: Files, profile: Profile, folder: Path, *, to_error: bool = False) -> None:
    import sys

    from hansard.perf.profile_run import FILES
    from hansard.store import profiles
    from hansard.store.files import room

    with room(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for file in profile.files:
            path = folder / f"{profile.id}.{FILES[file.name][0]}"
            path.write_bytes(profiles.read(files, file))
            print(path, file=sys.stderr if to_error else sys.stdout)

"""The ``hansard`` command: its groups, and how errors reach a person.

``hansard --help`` must answer in under 0.3 s, so only Typer is imported here: the file of a
command is imported when that command is asked for. Each imports what it needs when it runs.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Annotated, Any

import typer
import typer.core
import typer.main

from hansard import __version__
from hansard.cli.complaint import complain
from hansard.errors import HansardError, Interrupted


class Deferred(typer.core.TyperCommand):
    """A command that is known by name and by one line of help until it is asked for.

    ``where`` is ``file:name`` below ``hansard.cli``: a function, or a Typer application of its own.
    ``text`` is the first line of its help (a test compares them).
    """

    def __init__(self, name: str, where: str, text: str, *, hidden: bool = False) -> None:
        super().__init__(name, help=text, hidden=hidden)
        self._where = where

    def load(self) -> Any:
        """The command itself, which is a Click command or group."""
        file, _, attribute = self._where.partition(":")
        found = getattr(import_module(f"hansard.cli.{file}"), attribute)
        above = typer.Typer(rich_markup_mode=None)
        if isinstance(found, typer.Typer):
            above.add_typer(found, name=self.name)
        else:
            above.command(self.name, hidden=self.hidden)(found)
        return typer.main.get_group(above).commands[self.name or ""]


COMMANDS = (
    Deferred("transcribe", "transcribe:transcribe", "Transcribe recordings."),
    Deferred(
        "check",
        "check:check",
        "Check recordings without transcribing them: tracks, length, damage, loudness, cost.",
    ),
    Deferred("export", "export:export", "Write the transcript of a finished job."),
    Deferred("jobs", "jobs:app", "List, show, cancel, retry and delete jobs."),
    Deferred("meetings", "meetings:app", "List, show, correct, analyse and export meetings."),
    Deferred("search", "search:search", "Find meetings by what was said in them."),
    Deferred("searches", "search:app", "Save searches, to be told of new meetings that match."),
    Deferred(
        "ask",
        "ask:ask",
        "Answer a question from what was said, and say where, or that it is not known.",
    ),
    Deferred(
        "serve",
        "serve:serve",
        "Run the service: the API and the workers, until it is told to stop.",
    ),
    Deferred(
        "worker",
        "worker:worker",
        "Work on what the queue of a data directory holds, until told to stop.",
    ),
    Deferred("api", "serve:api", "The API's process. `hansard serve` starts it.", hidden=True),
    Deferred("models", "models:app", "List, pull, import and remove models."),
    Deferred("keys", "keys:app", "Create, list and revoke keys of the API."),
    Deferred("database", "database:app", "Upgrade, check, index, vacuum and move the store."),
    Deferred(
        "archive",
        "archive:app",
        "Put completed meetings into the archive, list them, bring them back.",
    ),
    Deferred(
        "plan",
        "plan:plan",
        "Say how many workers, API processes, connections and bytes so much audio takes.",
    ),
    Deferred(
        "performance",
        "performance:performance",
        "Show what all processes have measured: rates, failures, percentiles, share of the time.",
    ),
    Deferred(
        "profile",
        "profile:app",
        "Say where the time and the memory of a command, or of what runs, go.",
    ),
    Deferred(
        "benchmark",
        "benchmark:app",
        "Measure how fast each part is on this machine, and whether it has become slower.",
    ),
    Deferred(
        "doctor",
        "doctor:doctor",
        "Say what this machine has, and warn about what will be trouble.",
    ),
)


class _Commands(typer.core.TyperGroup):
    """Typer ends with 1 where a reader went away, and says nothing of an interrupt."""

    def __init__(self, **attrs: Any) -> None:
        super().__init__(**attrs)
        self.commands = {command.name or "": command for command in COMMANDS}

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        return name, command.load() if isinstance(command, Deferred) else command, rest

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            # `| head` has seen enough: not an error, and nothing may be flushed to it at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit from error
        except KeyboardInterrupt as error:
            stopped = Interrupted("Interrupted.", hint="The same command goes on from here.")
            complain(stopped)
            raise typer.Exit(stopped.exit_code) from error


app = typer.Typer(
    name="hansard",
    cls=_Commands,
    help="Turn recordings into verbatim, searchable records.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def whole() -> Any:
    """The Click group with every command loaded: for its documentation and its tests."""
    group: Any = typer.main.get_command(app)
    group.commands = {name: command.load() for name, command in group.commands.items()}
    return group


def _version(wanted: bool) -> None:
    if wanted:
        print(f"hansard {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Turn recordings into verbatim, searchable records."""


def run(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code.

    2 usage, 3 bad input, 4 engine trouble, 5 this machine, 130 interrupted; 1 anything else.
    """
    try:
        app(args=arguments, prog_name="hansard")
    except SystemExit as end:
        return int(end.code or 0)
    except HansardError as error:
        complain(error)
        return error.exit_code
    return 0

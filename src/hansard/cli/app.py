"""The ``hansard`` command: its groups, and how errors reach a person.

Only Typer is imported here: ``hansard --help`` must answer in under 0.3 s. Each command imports
what it needs when it runs.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer
import typer.core

from hansard import __version__
from hansard.cli import (
    archive,
    ask,
    check,
    database,
    doctor,
    export,
    jobs,
    keys,
    meetings,
    models,
    plan,
    search,
    serve,
    transcribe,
    worker,
)
from hansard.cli.complaint import complain
from hansard.errors import HansardError, Interrupted


class _Commands(typer.core.TyperGroup):
    """Typer ends with 1 where a reader went away, and says nothing of an interrupt."""

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
app.command("transcribe")(transcribe.transcribe)
app.command("check")(check.check)
app.command("export")(export.export)
app.command("search")(search.search)
app.add_typer(search.app, name="searches")
app.command("ask")(ask.ask)
app.add_typer(jobs.app, name="jobs")
app.add_typer(meetings.app, name="meetings")
app.add_typer(models.app, name="models")
app.add_typer(keys.app, name="keys")
app.add_typer(database.app, name="database")
app.add_typer(archive.app, name="archive")
app.command("serve")(serve.serve)
app.command("worker")(worker.worker)
app.command("api", hidden=True)(serve.api)
app.command("plan")(plan.plan)
app.command("doctor")(doctor.doctor)


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

"""``hansard export``: a transcript from the store, in any format."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hansard.cli.options import DataOption, settings
from hansard.errors import InvalidState


def export(
    job: Annotated[str, typer.Argument(help="The job's id, or enough of it.")],
    *,
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", "-f", help="Output format; may be given several times."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File or directory. [default: standard output]"),
    ] = None,
    data: DataOption = None,
) -> None:
    """Write the transcript of a finished job."""
    from hansard.cli.output import Output
    from hansard.jobs import progress
    from hansard.wiring import House

    written = Output(formats or [], output)
    with House(settings(data)) as house:
        found = progress.find(house.database, job)
        transcript = house.transcript(found.id)
        if transcript is None:
            raise InvalidState(
                f"Job {found.id} is {found.state} and has no transcript.",
                hint=f"`hansard jobs show {found.id}` says how far it is.",
            )
        written.write(transcript[0].name, *transcript)

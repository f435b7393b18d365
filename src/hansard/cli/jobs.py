"""``hansard jobs``: what is queued, running and done."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from hansard.cli.options import DataOption, JsonOption, settings
from hansard.model import JobState

if TYPE_CHECKING:
    from hansard.model import Job

app = typer.Typer(
    help="List, show, cancel, retry and delete jobs.", no_args_is_help=True, rich_markup_mode=None
)

JobArgument = Annotated[str, typer.Argument(metavar="JOB", help="The id, or enough of it.")]


@app.command("list")
def list_jobs(
    *,
    state: Annotated[JobState | None, typer.Option(help="Only jobs in this state.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 50,
    before: Annotated[str | None, typer.Option(help="Go on behind this id.")] = None,
    json: JsonOption = False,
    data: DataOption = None,
) -> None:
    """List jobs, the newest first."""
    import msgspec

    from hansard.jobs import progress
    from hansard.wiring import House

    with House(settings(data)) as house:
        found = progress.listing(house.database, state=state, before=before, limit=limit)
        if json:
            for job in found:
                print(msgspec.json.encode(job).decode())
            return
        for job in found:
            print(
                f"{job.id}  {job.state:<9}  {progress.of(job).share:>4.0%}  {_when(job.created)}  "
                f"{_doing(job)}  {job.name}"
            )


@app.command("show")
def show(job: JobArgument, *, json: JsonOption = False, data: DataOption = None) -> None:
    """Show one job: options, progress, and every try that went wrong."""
    import msgspec

    from hansard.jobs import progress
    from hansard.wiring import House

    with House(settings(data)) as house:
        found = progress.find(house.database, job)
        now = progress.progress(house.database, found.id)
        tries = progress.history(house.database, found.id)
    if json:
        print(
            msgspec.json.encode(
                {
                    "progress": msgspec.to_builtins(now),
                    "attempts": [msgspec.to_builtins(one) for one in tries],
                }
            ).decode()
        )
        return
    _describe(found)
    print(f"windows    {now.windows_done} of {now.windows} ({now.share:.0%})")
    for one in tries:
        print(
            f"attempt {one.number}  {_when(one.ended)}  {one.step} by {one.owner}: "
            f"{one.failure.message} [{one.failure.code}]"
        )


@app.command("cancel")
def cancel(job: JobArgument, *, data: DataOption = None) -> None:
    """Cancel a job. What is done of it is kept for a retry."""
    from hansard.jobs import progress
    from hansard.wiring import House

    with House(settings(data)) as house:
        ended = house.queue.cancel(progress.find(house.database, job).id)
    print(f"{ended.id} is cancelled")


@app.command("retry")
def retry(job: JobArgument, *, data: DataOption = None) -> None:
    """Queue a failed or cancelled job again. Windows that are done stay done."""
    from hansard.jobs import progress
    from hansard.jobs.presence import serving
    from hansard.wiring import House

    with House(settings(data)) as house:
        again = house.queue.retry(progress.find(house.database, job).id, by="command line")
        worker = serving(house.settings.data)
    who = f"the service at {worker.url}" if worker else "the next `hansard transcribe` here"
    print(f"{again.id} is queued; {who} works on it")


@app.command("delete")
def delete(job: JobArgument, *, data: DataOption = None) -> None:
    """Delete a job, its transcript, and its recording where no other job is about it."""
    from hansard.jobs import progress
    from hansard.wiring import House

    with House(settings(data)) as house:
        found = progress.find(house.database, job)
        alone = house.queue.delete(
            None,
            found.id,
            forget=house.files.forget_recording,
            discard=house.archive.discard,
        )
    print(f"{found.id} is deleted{', and so is its recording' if alone else ''}")


def _doing(job: Job) -> str:
    """What a job is there for: its model, or what it finds out about another's transcript."""
    if job.parent is not None:
        return f"{job.kind} of {job.parent}"
    return f"{job.options.engine}/{job.options.model:<12}"


def _describe(job: Job) -> None:
    print(f"job        {job.id}")
    if job.parent is not None:
        print(f"kind       {job.kind}, of {job.parent}")
    print(f"state      {job.state}, step {job.step}")
    print(f"recording  {job.recording}")
    print(f"priority   {job.priority}, lane {job.lane}, for {job.tenant}")
    print(f"model      {job.options.engine}/{job.options.model}")
    print(f"language   {job.language or 'not known yet'}")
    print(f"created    {_when(job.created)}")
    if job.deadline and not job.finished:
        print(f"deadline   {_when(job.deadline)}")
    if job.finished:
        print(f"finished   {_when(job.finished)}")
    if job.failure:
        print(f"failure    {job.failure.message} [{job.failure.code}]")
        if job.failure.hint:
            print(f"hint       {job.failure.hint}")


def _when(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(moment))

"""``hansard meetings``: what transcripts became, who spoke, what it meant, and putting it right."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from hansard.cli.options import DataOption, JsonOption, settings

if TYPE_CHECKING:
    import sqlalchemy as sa

    from hansard.meetings.editing import Editor
    from hansard.meetings.reading import MeetingFinding
    from hansard.wiring import House

app = typer.Typer(
    help="List, show, correct, analyse and export meetings.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

MeetingArgument = Annotated[str, typer.Argument(metavar="MEETING", help="The id, or enough of it.")]
OutputOption = Annotated[
    Path | None, typer.Option("--output", "-o", help="File. [default: standard output]")
]
StatusName = Literal["new", "reviewing", "done"]

Names = dict[str, str]

_BY = "command line"


@app.command("list")
def list_meetings(
    *,
    status: Annotated[StatusName | None, typer.Option(help="Only with this status.")] = None,
    kind: Annotated[str | None, typer.Option(help="Only of this kind.")] = None,
    tag: Annotated[str | None, typer.Option(help="Only with this tag.")] = None,
    language: Annotated[str | None, typer.Option(help="Only in this language, like en.")] = None,
    text: Annotated[str | None, typer.Option(help="Only with this in the title.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 50,
    json: JsonOption = False,
    data: DataOption = None,
) -> None:
    """List meetings, the last held first."""
    import msgspec

    from hansard.model import LOCAL
    from hansard.store import meeting_views
    from hansard.wiring import House

    wanted = meeting_views.Filter(status, kind, tag, language, text=text)
    with House(settings(data)) as house:
        page = meeting_views.page(house.database, LOCAL, wanted, limit=limit)
    for one in msgspec.json.decode(page.items):
        if json:
            print(msgspec.json.encode(one).decode())
            continue
        tags = "".join(f" #{tag}" for tag in one["tags"])
        tags += " (in the archive)" if one["archived"] else ""
        print(
            f"{one['id']}  {one['status']:<9}  {_when(one['held'])}  {_length(one['seconds'])}  "
            f"{one['title']}{tags}"
        )


@app.command("show")
def show(meeting: MeetingArgument, *, json: JsonOption = False, data: DataOption = None) -> None:
    """Show one meeting: who spoke, and what was found out."""
    import msgspec

    from hansard.errors import NotMadeYet
    from hansard.insight.findings import KINDS
    from hansard.meetings import reading
    from hansard.store import meeting_views, meetings
    from hansard.wiring import House

    with House(settings(data)) as house:
        row = _find(house, meeting)
        with house.database.read() as connection:
            speakers = meetings.speakers_of(connection, row.job)
            tags = meetings.tags(connection, row.job)
        found: dict[str, MeetingFinding] = {}
        for kind in KINDS:
            try:
                found[kind] = reading.shown(house.database, row.tenant, row.job, kind)
            except NotMadeYet:
                continue
        whole = meeting_views.one(house.database, row.tenant, row.job)
    if json:
        made = {"meeting": msgspec.Raw(whole or b"null"), "speakers": speakers, "findings": found}
        print(msgspec.json.encode(made).decode())
        return
    print(f"meeting    {row.job}")
    print(f"title      {row.title}")
    print(f"kind       {row.kind}, {row.status}, {_length(row.seconds)}, {row.words:,} words")
    print(f"held       {_when(row.held)}")
    print(f"tags       {', '.join(tags) or 'none'}")
    for one in speakers:
        guess = f", maybe {one.proposed} ({one.confidence or 0:.0%})" if one.proposed else ""
        print(f"speaker    {one.label}  {_length(one.seconds)}  {one.name or 'not named'}{guess}")
    for kind in KINDS:
        _tell(kind, found.get(kind), {one.label: one.name for one in speakers if one.name}, row.job)


def _tell(kind: str, found: MeetingFinding | None, names: Names, job: str) -> None:
    if found is None:
        print(f"{kind:<10} not made yet: `hansard meetings insight {job}`")
        return
    stale = ", stale: words have changed since" if found.stale else ""
    print(f"{kind:<10} by {found.source.name}, version {found.version}{stale}")
    for note in found.source.notes:
        print(f"  note: {note}")
    for line in _LINES[kind](found, names):
        print(f"  {line}")


def _summary(found: MeetingFinding, _: Names) -> Iterator[str]:
    return (f"- {one.text}{_at(found, one.segments)}" for one in found.value.short)


def _chapters(found: MeetingFinding, _: Names) -> Iterator[str]:
    return (f"{_length(one.start)}  {one.title}" for one in found.value.chapters)


def _items(found: MeetingFinding, names: Names) -> Iterator[str]:
    for item in found.value.items:
        owner = f" [{names.get(item.owner, item.owner)}]" if item.owner else ""
        due = f" by {item.due}" if item.due else ""
        yield f"{item.kind}: {item.text}{owner}{due}{_at(found, item.segments)}"


def _sentiment(found: MeetingFinding, _: Names) -> Iterator[str]:
    yield f"{found.value.score:+.2f} on a scale from -1 to 1"


def _statistics(found: MeetingFinding, names: Names) -> Iterator[str]:
    for one in found.value.speakers:
        who = names.get(one.speaker, one.speaker)
        yield f"{who}: {one.share:.0%} of the talk, {one.turns} turns, {one.words} words"


_LINES: dict[str, Callable[[MeetingFinding, Names], Iterator[str]]] = {
    "summary": _summary,
    "chapters": _chapters,
    "items": _items,
    "sentiment": _sentiment,
    "statistics": _statistics,
}


def _at(found: MeetingFinding, cited: tuple[int, ...]) -> str:
    start = found.times.get(cited[0]) if cited else None
    return "" if start is None else f" ({_length(start)})"


@app.command("edit")
def edit(
    meeting: MeetingArgument,
    *,
    title: Annotated[str | None, typer.Option(help="What to call it.")] = None,
    kind: Annotated[str | None, typer.Option(help="A template's name.")] = None,
    status: Annotated[StatusName | None, typer.Option(help="How far you are with it.")] = None,
    segment: Annotated[
        int | None, typer.Option(min=0, help="Correct the segment at this place (from 0) …")
    ] = None,
    text: Annotated[str | None, typer.Option(help="… to these words …")] = None,
    speaker: Annotated[str | None, typer.Option(help="… and give it to this speaker.")] = None,
    data: DataOption = None,
) -> None:
    """Change what a meeting is called, or correct what was heard in it."""
    import msgspec

    from hansard.errors import UsageError
    from hansard.insight import templates
    from hansard.meetings import editing, makers
    from hansard.wiring import House

    named = {"title": title, "kind": kind, "status": status}
    given: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
    if (text is None and speaker is None) != (segment is None):
        raise UsageError(
            "--segment goes with --text, --speaker, or both.", hint="Segments count from 0."
        )
    if not given and segment is None:
        raise UsageError("Nothing is to be changed.", hint="Name --title, --segment or others.")
    with House(settings(data)) as house:
        row = _find(house, meeting)
        who = _editor(house, row.tenant)
        if kind is not None:
            templates.named(makers.templates_in(house.settings.data), kind)
        if given:
            editing.change(who, row.job, msgspec.convert(given, editing.Change))
        if segment is not None:
            editing.correct(who, row.job, segment, text=text, speaker=speaker)
    print(f"{row.job} is changed")


@app.command("tag")
def tag(
    meeting: MeetingArgument,
    tags: Annotated[list[str], typer.Argument(metavar="TAG...", help="-TAG takes one away.")],
    *,
    data: DataOption = None,
) -> None:
    """Give a meeting tags, or take some away: `hansard meetings tag ID -- budget -old`."""
    from hansard.meetings import editing
    from hansard.wiring import House

    add = [one for one in tags if not one.startswith("-")]
    remove = [one.removeprefix("-") for one in tags if one.startswith("-")]
    with House(settings(data)) as house:
        row = _find(house, meeting)
        editing.change_many(_editor(house, row.tenant), row.job, None, add, remove)
    print(f"{row.job} is changed")


@app.command("speakers")
def speakers(
    meeting: MeetingArgument,
    *,
    again: Annotated[bool, typer.Option("--again", help="Find out anew who speaks.")] = False,
    least: Annotated[
        int | None, typer.Option("--min-speakers", min=1, max=50, help="At least so many speak.")
    ] = None,
    most: Annotated[
        int | None, typer.Option("--max-speakers", min=1, max=50, help="At most so many speak.")
    ] = None,
    json: JsonOption = False,
    data: DataOption = None,
) -> None:
    """Show who speaks in a meeting; with --again, find it out anew first."""
    import msgspec

    from hansard.meetings import editing
    from hansard.meetings.requests import Speakers
    from hansard.store import meetings
    from hansard.wiring import House

    with House(settings(data)) as house:
        row = _find(house, meeting)
        if again:
            wanted = Speakers(None, least, most)
            _wait(house, editing.find_speakers(_editor(house, row.tenant), row.job, wanted))
        with house.database.read() as connection:
            found = meetings.speakers_of(connection, row.job)
    for one in found:
        if json:
            print(msgspec.json.encode(one).decode())
            continue
        guess = f"  maybe {one.proposed} ({one.confidence or 0:.0%})" if one.proposed else ""
        print(f"{one.label:<5} {_length(one.seconds)}  {one.name or ''}{guess}".rstrip())


@app.command("rename")
def rename(
    meeting: MeetingArgument,
    label: Annotated[str, typer.Argument(help="The speaker's label, like S1.")],
    name: Annotated[str, typer.Argument(help="Who it is; with --merge, another label.")],
    *,
    remember: Annotated[
        bool, typer.Option("--remember", help="Know the voice in later meetings.")
    ] = False,
    merge: Annotated[
        bool, typer.Option("--merge", help="It is the same person as that speaker.")
    ] = False,
    data: DataOption = None,
) -> None:
    """Give a speaker a name, or say that two speakers are one person."""
    from hansard.meetings import editing
    from hansard.wiring import House

    with House(settings(data)) as house:
        row = _find(house, meeting)
        who = _editor(house, row.tenant)
        if merge:
            editing.merge(who, row.job, label, name)
        else:
            editing.rename(who, row.job, label, name, remember=remember)
    print(f"{label} is {name}")


@app.command("insight")
def insight(
    meeting: MeetingArgument,
    kinds: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KIND]...", help="summary, chapters, items …; everything if none."),
    ] = None,
    *,
    data: DataOption = None,
) -> None:
    """Find out what a meeting meant, and wait for it."""
    from hansard.errors import UsageError
    from hansard.insight.findings import KINDS
    from hansard.meetings import editing
    from hansard.wiring import House

    wanted = [kind for kind in KINDS if kind in (kinds or KINDS)]
    for name in kinds or ():
        if name not in KINDS:
            raise UsageError(f"Nothing is called {name!r}.", hint=f"There is: {', '.join(KINDS)}.")
    with House(settings(data)) as house:
        row = _find(house, meeting)
        _wait(house, editing.find_out(_editor(house, row.tenant), row.job, wanted))
    show(row.job, data=data)


@app.command("minutes")
def minutes(
    meeting: MeetingArgument,
    *,
    form: Annotated[
        Literal["md", "docx"], typer.Option("--format", "-f", help="Markdown or Word.")
    ] = "md",
    output: OutputOption = None,
    data: DataOption = None,
) -> None:
    """Write the minutes: title, people, summary, decisions, actions, and the transcript."""
    from hansard.errors import UsageError
    from hansard.formats.output import whole
    from hansard.meetings import makers
    from hansard.meetings import minutes as made
    from hansard.wiring import House

    if form == "docx" and output is None and sys.stdout.isatty():
        raise UsageError("A Word document is nothing for a terminal.", hint="Name a file with -o.")
    with House(settings(data)) as house:
        row = _find(house, meeting)
        templates = makers.templates_in(house.settings.data)
        gathered = made.gathered(house.database, row.tenant, row.job, templates)
        if output is None:
            made.WRITERS[form](*gathered, sys.stdout.buffer)
        else:
            with whole(output) as out:
                made.WRITERS[form](*gathered, out)


@app.command("export")
def export(
    *,
    form: Annotated[
        Literal["jsonl", "zip"], typer.Option("--as", help="Lines of JSON, or a ZIP.")
    ] = "jsonl",
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", "-f", help="With --as zip: a format; several may be given."),
    ] = None,
    status: Annotated[StatusName | None, typer.Option(help="Only with this status.")] = None,
    tag: Annotated[str | None, typer.Option(help="Only with this tag.")] = None,
    output: OutputOption = None,
    data: DataOption = None,
) -> None:
    """Write all meetings, with what was found and corrected, to one file."""
    from hansard.errors import UsageError
    from hansard.formats import registry
    from hansard.formats.output import whole
    from hansard.meetings import export as bulk
    from hansard.model import LOCAL
    from hansard.store.meeting_views import Filter
    from hansard.wiring import House

    if form == "zip" and output is None and sys.stdout.isatty():
        raise UsageError("A ZIP is nothing for a terminal.", hint="Name a file with -o.")
    chosen = [registry.get(name) for name in formats or ["json"]]
    wanted = Filter(status=status, tag=tag)
    with House(settings(data)) as house:
        if form == "zip":
            pieces = bulk.packed(house.database, LOCAL, wanted, chosen)
        else:
            pieces = bulk.lines(house.database, LOCAL, wanted)
        if output is None:
            sys.stdout.buffer.writelines(pieces)
        else:
            with whole(output) as out:
                out.writelines(pieces)


@app.command("delete")
def delete(meeting: MeetingArgument, *, data: DataOption = None) -> None:
    """Delete a meeting, its transcript, and its recording where no other is about it."""
    from hansard.wiring import House

    with House(settings(data)) as house:
        row = _find(house, meeting)
        alone = house.queue.delete(
            None, row.job, forget=house.files.forget_recording, discard=house.archive.discard
        )
    print(f"{row.job} is deleted{', and so is its recording' if alone else ''}")


# ── inside ───────────────────────────────────────────────────────────────────────────────────


def _find(house: House, name: str) -> sa.Row[Any]:
    from hansard.store import meetings

    with house.database.read() as connection:
        return meetings.find(connection, name)


def _editor(house: House, tenant: str) -> Editor:
    from hansard.meetings.editing import Editor
    from hansard.model import Client

    return Editor(house.queue, house.settings.meetings, Client(tenant), _BY)


def _wait(house: House, job: str) -> None:
    """Have a follow-up done, by the service or in here, and see how it ended."""
    from hansard.errors import Cancelled, from_failure
    from hansard.wiring import AFTER

    house.entrust(lambda said: print(said, file=sys.stderr), AFTER)
    ended = house.wait(job)
    if ended.failure is not None:
        raise from_failure(ended.failure)
    if ended.state != "completed":
        raise Cancelled(f"Job {job} was cancelled.", hint="The same command asks again.")


def _when(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(moment))


def _length(seconds: float) -> str:
    minutes_, left = divmod(int(seconds), 60)
    hours, minutes_ = divmod(minutes_, 60)
    return f"{hours}:{minutes_:02d}:{left:02d}"

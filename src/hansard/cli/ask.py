"""`hansard ask`: a question about what was said."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from hansard.cli.options import DataOption, JsonOption, settings

if TYPE_CHECKING:
    from hansard.insight.ask import Reply


def ask(
    question: Annotated[str, typer.Argument(help="What to know: “what did we decide about …?”")],
    *,
    meeting: Annotated[
        str | None, typer.Option("--meeting", "-m", help="Only from this meeting; else from all.")
    ] = None,
    json: JsonOption = False,
    data: DataOption = None,
) -> None:
    """Answer a question from what was said, and say where, or that it is not known."""
    import msgspec

    from hansard.meetings import asking, makers
    from hansard.model import LOCAL
    from hansard.wiring import House

    with House(settings(data)) as house:
        if meeting is not None:
            from hansard.store import meetings

            with house.database.read() as connection:
                meeting = str(meetings.find(connection, meeting, LOCAL).job)
        reply = asking.ask(
            house.database,
            LOCAL,
            question,
            tools=makers.tools(house.settings),
            nearest=house.nearest(LOCAL),
            meeting=meeting,
        )
    if json:
        print(msgspec.json.encode(reply).decode())
        return
    _show(reply)


def _show(reply: Reply) -> None:
    from rich.console import Console
    from rich.text import Text

    from hansard.cli.display import clock

    console = Console(highlight=False)
    if not reply.known:
        console.print("It is not known from what was said." + (" Nearest:" * bool(reply.answer)))
    for told in reply.answer:
        where = ", ".join(f"{one.meeting} at {clock(one.start)}" for one in told.citations)
        console.print(Text(told.text), Text(f"[{where}]", style="dim"))
    for note in reply.source.notes:
        Console(stderr=True, highlight=False).print(Text(note, style="dim"))

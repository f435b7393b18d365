"""``hansard search`` and ``hansard searches``: what was said where, and being told of more."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from hansard.cli.options import DataOption, JsonOption, settings

if TYPE_CHECKING:
    from hansard.search.lookup import Answer, Asked, Hit
    from hansard.search.snippets import Snippet

app = typer.Typer(
    help="Save searches, to be told of new meetings that match.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

QueryArgument = Annotated[
    str,
    typer.Argument(
        metavar="QUERY",
        help='Words (all of them), "phrases", prefix*, -without, this OR that, and filters: kind: '
        "status: tag: language: speaker: before: after: mood:. Everything where none is given.",
    ),
]
_Several = list[str] | None


def search(
    query: QueryArgument = "",
    *,
    mode: Annotated[
        Literal["auto", "text", "semantic", "hybrid"],
        typer.Option(help="By words, by meaning, or both; auto is both as far as there are any."),
    ] = "auto",
    kind: Annotated[_Several, typer.Option(help="Only of this kind. May be repeated.")] = None,
    status: Annotated[_Several, typer.Option(help="Only in this status. Likewise.")] = None,
    tag: Annotated[_Several, typer.Option(help="Only with this tag. Likewise.")] = None,
    language: Annotated[_Several, typer.Option(help="Only in this language. Likewise.")] = None,
    speaker: Annotated[_Several, typer.Option(help="Only where they speak. Likewise.")] = None,
    after: Annotated[str | None, typer.Option(help="Held then or later: 2026, 2026-01-31.")] = None,
    before: Annotated[str | None, typer.Option(help="Held before then.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100, help="At most so many meetings.")] = 20,
    cursor: Annotated[str | None, typer.Option(help="Go on where a page ended.")] = None,
    facets: Annotated[bool, typer.Option("--facets", help="Count kinds, tags and more.")] = False,
    json: JsonOption = False,
    data: DataOption = None,
) -> None:
    """Find meetings by what was said in them."""
    import msgspec

    from hansard.model import LOCAL
    from hansard.search import lookup
    from hansard.search.query import Filters, Wish, narrowed, parse
    from hansard.wiring import House

    fields = (
        *(("kind", value) for value in kind or ()),
        *(("status", value) for value in status or ()),
        *(("tag", value) for value in tag or ()),
        *(("language", value) for value in language or ()),
        *(("speaker", value) for value in speaker or ()),
    )
    wishes = tuple(Wish(field, value) for field, value in fields)  # type: ignore[arg-type]
    spans = [
        parse(f"{name}:{value}").filters
        for name, value in (("after", after), ("before", before))
        if value is not None
    ]
    asked = lookup.Asked(query, mode, narrowed(Filters(wishes), *spans))
    with House(settings(data)) as house:
        found = lookup.search(
            house.database,
            LOCAL,
            asked,
            nearest=house.nearest(LOCAL),
            cursor=cursor,
            limit=limit,
            with_facets=facets,
        )
    if json:
        print(msgspec.json.encode(found).decode())
        return
    _show(found, asked)


@app.command("save")
def save(
    name: Annotated[str, typer.Argument(help="What to call it.")],
    query: QueryArgument,
    *,
    webhook: Annotated[
        str | None, typer.Option(metavar="URL", help="Tell this address of new matches.")
    ] = None,
    json: JsonOption = False,
    data: DataOption = None,
) -> None:
    """Save a search."""
    import msgspec

    from hansard.model import LOCAL
    from hansard.outbound import see_that_it_may_be_called
    from hansard.search import saved
    from hansard.wiring import House

    with House(settings(data)) as house:
        if webhook is not None:
            see_that_it_may_be_called(webhook, house.settings)
        with house.database.write() as connection:
            kept = saved.save(
                connection, LOCAL, name, query, webhook=webhook, key=None, now=time.time()
            )
    print(msgspec.json.encode(kept).decode() if json else f"{kept.id} is saved")


@app.command("list")
def list_searches(
    *,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 50,
    before: Annotated[str | None, typer.Option(help="Go on behind this id.")] = None,
    json: JsonOption = False,
    data: DataOption = None,
) -> None:
    """List saved searches, the newest first."""
    import msgspec

    from hansard.model import LOCAL
    from hansard.search import saved
    from hansard.wiring import House

    with House(settings(data)) as house, house.database.read() as connection:
        found = saved.listing(connection, LOCAL, before=before, limit=limit)
    for one in found:
        if json:
            print(msgspec.json.encode(one).decode())
        else:
            print(f"{one.id}  {one.matched:>5} matched  {one.name}: {one.q}")


@app.command("delete")
def delete(
    search: Annotated[str, typer.Argument(metavar="SEARCH", help="The id.")],
    *,
    data: DataOption = None,
) -> None:
    """Delete a saved search."""
    from hansard.model import LOCAL
    from hansard.search import saved
    from hansard.wiring import House

    with House(settings(data)) as house, house.database.write() as connection:
        saved.delete(connection, LOCAL, search)
    print(f"{search} is deleted")


# ── for people ───────────────────────────────────────────────────────────────────────────────


def _show(found: Answer, asked: Asked) -> None:
    for wrong, right in found.corrected.items():
        print(f"Nobody said {wrong}; this is what was found for {right}.")
    if found.reason is not None and asked.mode not in ("auto", "text"):
        print(f"Found by words alone. {found.reason}")
    more = "more than " if found.more else ""
    print(f"{more}{found.total} meeting{'' if found.total == 1 else 's'}")
    for hit in found.items:
        _show_hit(hit)
    if found.facets is not None:
        print()
        for name in found.facets.__struct_fields__:
            counted = getattr(found.facets, name)
            if counted:
                print(f"{name:<9} " + ", ".join(f"{one.value} {one.meetings}" for one in counted))
    if found.next is not None:
        print(f"\nfurther: --cursor {found.next}")


def _show_hit(hit: Hit) -> None:
    held = time.strftime("%Y-%m-%d", time.localtime(hit.held))
    print(f"\n{hit.id}  {held}  {hit.kind}  {_marked(hit.title)}")
    for passage in hit.passages:
        speaker = f"{passage.speaker}: " if passage.speaker else ""
        print(f"  {_clock(passage.start)}  {speaker}{_marked(passage.snippet)}")
    if hit.matches > len(hit.passages):
        print(f"  … {hit.matches} segments in all")


def _marked(snippet: Snippet) -> str:
    """What was found, between brackets: a terminal may have no colours, and a pipe has none."""
    parts, last = [], 0
    for start, end in snippet.marks:
        parts += [snippet.text[last:start], "[", snippet.text[start:end], "]"]
        last = end
    text = "".join([*parts, snippet.text[last:]])
    # What people said must not move the cursor or change colours.
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _clock(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"

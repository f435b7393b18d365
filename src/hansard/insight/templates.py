"""Kinds of meetings: what is found out about each, how long its summaries are, what minutes show.

Five are built in; others are TOML files, one each, in ``templates`` of the data directory::

    title = "Retrospective"
    findings = ["summary", "items", "statistics"]
    items = ["action", "decision"]
    short = 2

    [[sections]]
    show = "actions"
    heading = "What we change"
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal, get_args

import msgspec

from hansard.errors import BadSettings, UsageError
from hansard.insight.findings import ITEM_KINDS, KINDS, ItemKind, Kind
from hansard.model import Value

Shown = Literal[
    "people",
    "summary",
    "chapters",
    "decisions",
    "actions",
    "questions",
    "dates",
    "figures",
    "sentiment",
    "statistics",
    "transcript",
]
"""Parts of minutes."""

MOST_BYTES = 65_536
"""Of a file: a template is a page."""

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?")
_HINT = "docs/insight.md says what a template may have."


class Section(Value, frozen=True, forbid_unknown_fields=True):
    """A part of minutes, under a heading of its own."""

    show: Shown
    heading: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


_SECTIONS = (
    Section("people", "People"),
    Section("summary", "Summary"),
    Section("decisions", "Decisions"),
    Section("actions", "Action items"),
    Section("questions", "Questions"),
    Section("transcript", "Transcript"),
)


class Template(Value, frozen=True, forbid_unknown_fields=True):
    """A kind of meeting."""

    name: str
    title: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    findings: tuple[Kind, ...] = KINDS
    """What is found out by itself when a transcript is ready."""
    items: tuple[ItemKind, ...] = ITEM_KINDS
    """What is kept of what was said."""
    short: Annotated[int, msgspec.Meta(ge=1, le=10)] = 3
    """Sentences of the short summary."""
    long: Annotated[int, msgspec.Meta(ge=1, le=100)] = 12
    """Sentences of the long summary, at most."""
    chapter: Annotated[int, msgspec.Meta(ge=0, le=10)] = 2
    """Sentences of the summary of a chapter."""
    sections: tuple[Section, ...] = _SECTIONS
    """What minutes show, in this order."""
    focus: Annotated[str, msgspec.Meta(max_length=2000)] = ""
    """What matters in such a meeting, for a language model. The embedded extractors cannot read."""


BUILT_IN: Mapping[str, Template] = MappingProxyType(
    {
        template.name: template
        for template in (
            Template("meeting", "Meeting", focus="What was decided, who does what, and by when."),
            Template(
                "stand-up",
                "Stand-up",
                findings=("summary", "items", "statistics"),
                items=("action", "question", "date"),
                short=2,
                long=6,
                chapter=1,
                sections=(
                    Section("people", "Who was there"),
                    Section("summary", "In short"),
                    Section("actions", "Next steps"),
                    Section("questions", "Blocked or open"),
                    Section("transcript", "Transcript"),
                ),
                focus="What each person did, does next, and is held up by.",
            ),
            Template(
                "interview",
                "Interview",
                items=("question", "date", "figure"),
                long=20,
                chapter=3,
                sections=(
                    Section("people", "People"),
                    Section("summary", "Summary"),
                    Section("chapters", "Topics"),
                    Section("questions", "Questions asked"),
                    Section("transcript", "Transcript"),
                ),
                focus="What the person who is interviewed said about each topic.",
            ),
            Template(
                "hearing",
                "Hearing",
                long=30,
                chapter=3,
                sections=(
                    Section("people", "Present"),
                    Section("summary", "Summary"),
                    Section("chapters", "Proceedings"),
                    Section("decisions", "Decisions"),
                    Section("questions", "Questions"),
                    Section("figures", "Figures named"),
                    Section("transcript", "Verbatim record"),
                ),
                focus="Who testified to what, which motions were made, and how they were decided.",
            ),
            Template(
                "lecture",
                "Lecture",
                findings=("summary", "chapters", "items", "statistics"),
                items=("question", "date", "figure"),
                long=25,
                chapter=3,
                sections=(
                    Section("summary", "Summary"),
                    Section("chapters", "Chapters"),
                    Section("figures", "Figures"),
                    Section("questions", "Questions"),
                    Section("transcript", "Transcript"),
                ),
                focus="What is taught, in order, with the terms that are introduced.",
            ),
        )
    }
)


def load(folder: Path | None = None) -> dict[str, Template]:
    """All templates by name: those built in, and those of a folder, where there is one.

    Raises:
        BadSettings: a file does not make sense, or takes a name that is taken; the message says
            which and why.
    """
    templates = dict(BUILT_IN)
    if folder is None or not folder.is_dir():
        return templates
    for path in sorted(folder.glob("*.toml")):
        template = read(path)
        if template.name in templates:
            raise BadSettings(
                f"The template {path.name} calls itself “{template.name}”, as another one does.",
                hint="Give it a name of its own, in the file or as the file's.",
            )
        templates[template.name] = template
    return templates


def read(path: Path) -> Template:
    """A template from its file; without a name in it, it is named like the file.

    Raises:
        BadSettings: it cannot be read, or does not make sense.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise BadSettings(f"The template {path.name} is too large.", hint=_HINT)
        said = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadSettings(
            f"The template {path.name} cannot be read: {error}.", hint=_HINT
        ) from error
    try:
        template = msgspec.convert({"name": path.stem, **said}, Template)
    except msgspec.ValidationError as error:
        problem = str(error).replace("$.", "").replace("Object", "The table")
        raise BadSettings(
            f"The template {path.name} does not make sense: {problem}.", hint=_HINT
        ) from error
    _judge(template, path.name)
    return template


def _judge(template: Template, file: str) -> None:
    if not _NAME.fullmatch(template.name):
        raise BadSettings(
            f"The template {file} has a name that cannot be one: “{template.name}”.",
            hint="Small letters, digits and hyphens, at most 64.",
        )
    shown = [section.show for section in template.sections]
    for what, said in (
        ("findings", template.findings),
        ("items", template.items),
        ("sections", shown),
    ):
        if len(set(said)) < len(said):
            twice = sorted(one for one, times in Counter[str](said).items() if times > 1)
            raise BadSettings(f"The template {file} names {twice[0]} twice in {what}.", hint=_HINT)
    if template.short > template.long:
        raise BadSettings(
            f"In the template {file} the short summary is longer than the long one.", hint=_HINT
        )


def named(templates: Mapping[str, Template], name: str) -> Template:
    """The template of that name.

    Raises:
        UsageError: there is none.
    """
    if name not in templates:
        raise UsageError(
            f"There is no kind of meeting “{name}”.", hint=f"There are: {', '.join(templates)}."
        )
    return templates[name]


SHOWN: tuple[Shown, ...] = get_args(Shown)

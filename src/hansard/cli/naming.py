"""Which recordings a command is about, and what to call them so that each is known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hansard.errors import BadInput

if TYPE_CHECKING:
    from hansard.audio.source import Source


def expanded(inputs: Sequence[str]) -> tuple[list[Source], list[tuple[str, BadInput]]]:
    """The recordings that words of the command line name, each once, and those there are not.

    Raises:
        UsageError: a word that can never name a recording.
    """
    from hansard.audio.source import expand

    found: dict[str, Source] = {}
    missing: list[tuple[str, BadInput]] = []
    for word in inputs:
        try:
            found |= {source.location: source for source in expand([word])}
        except BadInput as error:
            missing.append((word, error))
    return list(found.values()), missing


def distinct(sources: Sequence[Source]) -> list[str]:
    """A name for each source: the file's own, and before it as many folders as it takes.

    ``2024/meeting.mp3`` and ``2025/meeting.mp3``, but ``speech.wav``. Addresses that differ in
    nothing but what follows a ``?`` are named in full.
    """
    names = [source.name for source in sources]
    folders = [source.location.split("?")[0].strip("/").split("/")[:-1] for source in sources]
    depth = 0
    while same := {name for name, count in Counter(names).items() if count > 1}:
        depth += 1
        if depth > max(len(above) for above in folders):
            return [
                source.location if name in same else name
                for source, name in zip(sources, names, strict=True)
            ]
        names = [
            "/".join([*above[-depth:], source.name]) if name in same else name
            for source, above, name in zip(sources, folders, names, strict=True)
        ]
    return names

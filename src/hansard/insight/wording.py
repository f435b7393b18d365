"""Sentences tidied for a list: without the words people start with, with a capital. Pure."""

from __future__ import annotations

import re

_LEAD_IN = re.compile(
    r"^(?:(?:so|okay|ok|well|um+|uh+|er+m?|ah|oh|right|alright|all right|yes|yeah|and|but|then|now|"
    r"good|fine|great|anyway|also|äh+m?|ja|und|also|euh|alors|bueno|"
    r"y)\b[\s,.;:–—-]*)+",  # noqa: RUF001  (dashes)
    re.IGNORECASE,
)
_MOST = 300
"""Characters of an item: longer sentences end in an ellipsis."""


def tidied(text: str) -> str:
    """The sentence as it reads best; its words in between stay as they were."""
    bare = " ".join(text.split())
    lead = _LEAD_IN.match(bare)
    if lead and len(bare[lead.end() :].split()) >= 3:
        bare = bare[lead.end() :]
    if len(bare) > _MOST:
        bare = f"{bare[:_MOST].rsplit(' ', 1)[0]}…"
    if bare and bare[-1] not in ".!?…\"'”’»)。！？":  # noqa: RUF001  (as other scripts write them)
        bare += "."
    return capital(bare)


def capital(text: str) -> str:
    """The first letter large, if that is one letter still."""
    large = text[:1].upper()
    return large + text[1:] if len(large) == 1 else text

"""Values as they are stored: JSON text that either database can take apart again."""

from __future__ import annotations

import re

import msgspec

_ZERO = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")
"""A zero byte as JSON writes it, and not a backslash that happens to stand before ``u0000``."""


def as_json(value: msgspec.Struct) -> str:
    """JSON of a value. PostgreSQL can have no zero bytes in a text: they become U+FFFD."""
    made = msgspec.json.encode(value).decode()
    return _ZERO.sub("\\1\ufffd", made) if "\\u0000" in made else made

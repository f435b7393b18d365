"""Texts made smaller for those who accept it: by Brotli, else by gzip."""

from __future__ import annotations

import asyncio
import gzip
from collections import OrderedDict
from collections.abc import Hashable
from functools import lru_cache
from typing import TYPE_CHECKING

import brotli

if TYPE_CHECKING:
    from hansard.api.desk import Desk

_QUALITY = 4
"""Of 11: where Brotli is still faster than gzip at 6, and smaller."""

_LEVEL = 5

_AT_ONCE = 16 * 1024
"""Bytes. Longer texts are compressed on another thread; both libraries let go of the GIL."""

_KEPT = 16 * 2**20
"""Bytes of compressed texts that are kept for the next who asks."""


@lru_cache(256)
def coding(accepted: bytes) -> str:
    """The coding that ``Accept-Encoding`` likes best of ``br`` and ``gzip``; empty for neither."""
    liked: dict[str, float] = {}
    for part in accepted.decode("latin-1").lower().split(","):
        name, _, parameter = part.partition(";")
        quality = parameter.strip().removeprefix("q=") if parameter else "1"
        try:
            liked[name.strip()] = float(quality)
        except ValueError:
            liked[name.strip()] = 0.0
    other = liked.get("*", 0.0)
    ours = {name: liked.get(name, other) for name in ("br", "gzip")}
    best = max(ours, key=lambda name: ours[name])  # of equals the first
    return best if ours[best] > 0 else ""


def compressed(text: bytes, chosen: str) -> bytes:
    """``text`` in a coding."""
    if chosen == "br":
        made: bytes = brotli.compress(bytes(text), mode=brotli.MODE_TEXT, quality=_QUALITY)
        return made
    return gzip.compress(text, _LEVEL, mtime=0)


class Compressed:
    """Compresses, and remembers what may be asked for again."""

    def __init__(self, most: int = _KEPT) -> None:
        self._most = most
        self._size = 0
        self._kept: OrderedDict[Hashable, bytes] = OrderedDict()
        self._under_way: dict[Hashable, asyncio.Task[bytes]] = {}

    async def of(self, desk: Desk, text: bytes, chosen: str, name: Hashable | None) -> bytes:
        """``text`` in a coding; ``name`` says which text this is, where it can come again."""
        if name is None:
            return await self._make(desk, text, chosen)
        name = (name, chosen, len(text))
        found = self._kept.get(name)
        if found is not None:
            self._kept.move_to_end(name)
            return found
        task = self._under_way.get(name)
        if task is None:
            task = self._under_way[name] = asyncio.create_task(
                self._make_and_keep(desk, text, chosen, name)
            )
        return await asyncio.shield(task)

    async def _make_and_keep(self, desk: Desk, text: bytes, chosen: str, name: Hashable) -> bytes:
        try:
            made = await self._make(desk, text, chosen)
        finally:
            del self._under_way[name]
        if len(made) <= self._most // 8:
            self._kept[name] = made
            self._size += len(made)
            while self._size > self._most:
                self._size -= len(self._kept.popitem(last=False)[1])
        return made

    @staticmethod
    async def _make(desk: Desk, text: bytes, chosen: str) -> bytes:
        if len(text) <= _AT_ONCE:
            return compressed(text, chosen)
        return await desk.work(compressed, text, chosen)

"""A transcript as a file that people and programs read.

``names()`` and ``get(name)`` find a format, ``save`` writes a file whole or not at all, and
``render`` gives the bytes of a transcript that is in memory. ``docs/formats.md`` describes each.
"""

from hansard.formats.data import read_json
from hansard.formats.layout import STANDARD, Layout, Segments, view
from hansard.formats.output import save, whole
from hansard.formats.registry import ALIASES, Format, get, names, of_path, render

__all__ = [
    "ALIASES",
    "STANDARD",
    "Format",
    "Layout",
    "Segments",
    "get",
    "names",
    "of_path",
    "read_json",
    "render",
    "save",
    "view",
    "whole",
]

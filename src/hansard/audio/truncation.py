"""Whether a file ends before its own header says it should: a few reads, whatever its size.

Each container says differently how long it means to be. Where it says so in bytes, the bytes
are compared with the file; where it says so in time, ``probe`` compares the clock of the last
packets. Formats written as they come (streamed WAV, MediaRecorder's WebM, raw MP3 and ADTS) do
not say, and then nothing is missing.

Layouts: RIFF (Microsoft, *Multimedia Programming Interface*, 1991) and RF64 (EBU Tech 3306);
AIFF (Apple, 1989); ISO base media boxes (ISO/IEC 14496-12, 4.2); EBML (RFC 8794) and Matroska
(RFC 9559); the Advanced Systems Format (Microsoft, revision 01.20, 3.2); Ogg pages (RFC 3533, 6).
"""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING, Final

from hansard.model import Value

if TYPE_CHECKING:
    from io import BufferedReader
    from pathlib import Path

SLACK: Final = 4096
"""Bytes that may be missing: a careless writer's padding, a tenth of a second of PCM."""

_UNSIZED: Final = (0, 0xFFFFFFFF)
"""What writers to a pipe leave in a 32-bit size they could not know."""
_FILE_PROPERTIES: Final = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_MOST_BOXES: Final = 200_000
"""Boxes of an MP4 looked at: a day in fragments of a second is half as many."""


class Ending(Value, frozen=True):
    """What the end of a file says about it."""

    missing: int = 0
    """Bytes the header promises that are not there (0 up to :data:`SLACK`)."""
    unfinished: bool = False
    """The writer never came back to write the index without which nothing can be read."""
    open_ended: bool = False
    """A stream without its end mark; all that is there can be used."""


WHOLE: Final = Ending()


def ending(path: Path) -> Ending:
    """Judge the end of a file by its container's own sizes."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(16)
        if head[:4] in (b"RIFF", b"RF64", b"BW64"):
            missing = _riff(file, head, size)
        elif head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
            missing = 8 + int.from_bytes(head[4:8], "big") - size
        elif head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"):
            return _boxes(file, size)
        elif head[:4] == b"\x1a\x45\xdf\xa3":
            missing = _matroska(file, size)
        elif head[:4] == b"\x30\x26\xb2\x75":
            missing = _asf(file, size)
        elif head[:4] == b"OggS":
            return Ending(open_ended=not _ogg_ends(file, size))
        else:
            return WHOLE
    return Ending(missing=missing) if missing > SLACK else WHOLE


def _riff(file: BufferedReader, head: bytes, size: int) -> int:
    """Bytes missing from the ``data`` chunk of a WAV, or from the last RIFF list of an AVI."""
    if head[8:12] != b"WAVE":
        return _riff_lists(file, size)
    at, long_data = 12, 0
    while at + 8 <= size:
        file.seek(at)
        name, length = struct.unpack("<4sI", file.read(8))
        if name == b"ds64" and length >= 16:
            long_data = struct.unpack("<8xQ", file.read(16))[0]
        if name == b"data":
            declared = long_data if length == 0xFFFFFFFF and long_data else length
            return 0 if declared in _UNSIZED else at + 8 + declared - size
        at += 8 + length + length % 2
    return 0


def _riff_lists(file: BufferedReader, size: int) -> int:
    """An AVI above 1 GB is several RIFF lists, one after the other (OpenDML 1.02)."""
    at = 0
    while at + 8 <= size:
        file.seek(at)
        name, length = struct.unpack("<4sI", file.read(8))
        if name != b"RIFF" or length in _UNSIZED:
            return 0
        at += 8 + length + length % 2
    return at - size


def _boxes(file: BufferedReader, size: int) -> Ending:
    """The boxes of an MP4 or MOV: each must fit, and one of them must be the index."""
    at, indexed = 0, False
    for _ in range(_MOST_BOXES):
        if at + 8 > size:
            break
        file.seek(at)
        length, name = struct.unpack(">I4s", file.read(8))
        indexed = indexed or name == b"moov"
        if length == 1:
            wide = file.read(8)
            length = int.from_bytes(wide, "big") if len(wide) == 8 else 16
        elif length == 0:  # to the end of the file
            at = size
            break
        if length < 8:
            break  # not a box: rubbish after the end, which players pass over
        at += length
    missing = at - size
    if missing > SLACK or (missing > 0 and not indexed):
        return Ending(missing=missing, unfinished=not indexed)
    return WHOLE if indexed else Ending(unfinished=True)


def _asf(file: BufferedReader, size: int) -> int:
    """The size in the File Properties Object near the start of a WMA or WMV; 0 in a broadcast."""
    file.seek(0)
    head = file.read(65_536)
    at = head.find(_FILE_PROPERTIES)
    if at < 0 or at + 48 > len(head):
        return 0
    declared = int.from_bytes(head[at + 40 : at + 48], "little")
    return declared - size


def _matroska(file: BufferedReader, size: int) -> int:
    """The EBML header, then one Segment, whose size may be unknown (live recordings)."""
    file.seek(4)
    length = _vint(file)
    if length is None:
        return 0
    file.seek(length, os.SEEK_CUR)
    if file.read(4) != b"\x18\x53\x80\x67":
        return 0
    segment = _vint(file)
    return 0 if segment is None else file.tell() + segment - size


def _vint(file: BufferedReader) -> int | None:
    """An EBML size; ``None`` where it is marked unknown or is none."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    extra = 8 - first[0].bit_length()
    value = int.from_bytes(bytes([first[0] & (0x7F >> extra)]) + file.read(extra), "big")
    return None if value == (1 << (7 * (extra + 1))) - 1 else value


def _ogg_ends(file: BufferedReader, size: int) -> bool:
    """Whether the last page carries the end-of-stream flag."""
    file.seek(max(0, size - 65_536 - 512))  # longer than any page
    tail = file.read()
    last = tail.rfind(b"OggS\x00")
    return last >= 0 and len(tail) > last + 5 and bool(tail[last + 5] & 4)

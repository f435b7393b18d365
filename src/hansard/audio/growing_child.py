"""The process that parses what a stranger streams: bytes in by standard input, samples out.

It opens nothing, writes no file, and may use so much memory and so much processor time between
two blocks of samples. What it reads can only end itself.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hansard.audio.growing import FRAME, LENGTH
from hansard.errors import HansardError, NotMedia

if TYPE_CHECKING:
    import numpy as np
    from av.packet import Packet
    from numpy.typing import NDArray

_CHUNK = 2400
"""Samples at the source's rate that are resampled at once: 50 ms at 48 kHz."""

_NAME = Path("The recording")


class _Incoming:
    """Standard input, as far as it has come: a read waits for one byte and gives what there is."""

    def read(self, size: int = 65_536) -> bytes:
        """At most ``size`` bytes; none at the end."""
        return os.read(0, size)


def main() -> None:
    """Decode until the input ends."""
    bounds = json.loads(sys.argv[2])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what it means
    out = os.dup(1)
    os.dup2(2, 1)  # whatever prints must not fall into the samples
    _bind(bounds["memory"])
    try:
        _bound(bounds["seconds"])
        for block in _packets() if bounds["codec"] == "opus" else _container():
            _write(out, FRAME.pack(block.nbytes) + block.tobytes())
            _bound(bounds["seconds"])
    except HansardError as error:
        said = {"code": error.code, "message": error.message, "hint": error.hint}
        _write(out, FRAME.pack(0) + json.dumps(said).encode())
    except BrokenPipeError:
        os._exit(0)  # nobody reads any more


def _bind(memory: int) -> None:
    import av  # noqa: F401  # before it may open nothing more
    import numpy as np  # noqa: F401

    from hansard.audio import decode  # noqa: F401

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    if sys.platform == "linux":  # elsewhere it counts what is only reserved, or nothing at all
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))


def _bound(seconds: float) -> None:
    """So much processor time from now on; asked for again with every block that comes out."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    until = int(used.ru_utime + used.ru_stime + seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (until, resource.RLIM_INFINITY))


def _write(out: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(out, view) :]


def _container() -> Iterator[NDArray[np.int16]]:
    from hansard.audio import decode
    from hansard.audio.container import flowing

    with flowing(_Incoming()) as container:
        yield from decode.flowing(container, _NAME, _CHUNK)


def _packets() -> Iterator[NDArray[np.int16]]:
    from hansard.audio import decode

    yield from decode.resampled(decode.packets(_split(), "opus", _HEAD), _CHUNK)


_HEAD = b"OpusHead\x01\x02\x00\x00\x80\xbb\x00\x00\x00\x00\x00"
"""RFC 7845, section 5.1: two channels (what is mono comes out the same on both), 48 kHz."""


def _split() -> Iterator[Packet[Any]]:
    import av

    waiting = bytearray()
    incoming = _Incoming()
    while more := incoming.read():
        waiting += more
        while len(waiting) >= LENGTH.size:
            (length,) = LENGTH.unpack_from(waiting)
            if len(waiting) < LENGTH.size + length:
                break
            yield av.Packet(bytes(waiting[LENGTH.size : LENGTH.size + length]))
            del waiting[: LENGTH.size + length]
    if waiting:
        raise NotMedia("The last packet is not whole.", hint="Send one packet in each message.")

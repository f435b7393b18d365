"""What is said of a file that broke the cage it was read in, and of a broken cage."""

from __future__ import annotations

import os
import signal

from hansard.audio.caged import Ask, End
from hansard.errors import CageBroken, HansardError, HostileMedia


def why(ask: Ask, end: End) -> HansardError:
    """What ended a fork before it had said all."""
    if not os.WIFSIGNALED(end.status):
        return hostile(ask, f"ended the process that read it (status {end.status >> 8})")
    number = os.WTERMSIG(end.status)
    if number == signal.SIGXCPU or (number == signal.SIGKILL and end.cpu >= ask.cpu):
        return hostile(ask, f"takes more than {ask.cpu:.0f} s of processor time to read")
    if number == signal.SIGALRM:
        return too_much_time(ask)
    if number == signal.SIGXFSZ:
        return hostile(ask, "made its reader try to write a file")
    if number == signal.SIGKILL:
        return hostile(ask, "was being read when the system ended that process, for its memory")
    return hostile(ask, f"crashed the process that read it ({signal.Signals(number).name})")


def too_much_time(ask: Ask) -> HostileMedia:
    """It fell silent."""
    return hostile(ask, f"gives nothing more for {ask.wall:.0f} s")


def too_much_memory(ask: Ask) -> HostileMedia:
    """It wanted more memory than it may have."""
    return hostile(ask, f"takes more than {ask.memory / 2**20:.0f} MB of memory to read")


def hostile(ask: Ask, what: str) -> HostileMedia:
    """The file did ``what``."""
    return HostileMedia(
        f"{ask.name} {what}.",
        hint="Convert it to a common format (WAV, FLAC, MP3, M4A) and try again; the settings "
        "cage.memory, cage.seconds and cage.factor set the limits.",
    )


def no_cage(why: str) -> CageBroken:
    """It is not the file's fault."""
    return CageBroken(
        f"The process that opens media cannot be used: {why}.",
        hint="The machine may be out of memory or of processes; the log says more.",
    )

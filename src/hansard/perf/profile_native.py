"""Any process of this machine, looked into from outside by py-spy, where the system allows it.

For what does not take part by itself (``profile_crew``): another program, or a Hansard that hangs.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from hansard.errors import MissingPart, NothingToProfile, ProfileRefused
from hansard.perf.profile import Capture, Stack, compacted
from hansard.perf.profile_cpu import INTERVAL, short_names

_LINE = re.compile(r"^(?P<stack>.*) (?P<count>\d+)$")
_FRAME = re.compile(r"^(?P<name>.*) \((?P<file>[^()]*):(?P<line>\d+)\)$")
_GRACE = 30.0
"""Seconds that it may take longer than it looks."""


def look_into(pid: int, seconds: float) -> Capture:
    """Sample a process for so long.

    Raises:
        NothingToProfile: there is no such process, or no Python in it.
        ProfileRefused: the system does not allow it.
        MissingPart: py-spy is not installed.
    """
    import psutil

    if not psutil.pid_exists(pid):
        raise NothingToProfile(f"There is no process {pid}.", hint="`ps` shows them.")
    with tempfile.TemporaryDirectory(prefix="hansard-profile-") as folder:
        out = Path(folder) / "stacks"
        done = subprocess.run(  # noqa: S603  our own command
            [
                *(_found(), "record", "--pid", str(pid), "--duration", str(max(1, round(seconds)))),
                *("--rate", str(round(1 / INTERVAL)), "--format", "raw", "--output", str(out)),
                *("--threads", "--nonblocking"),
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds + _GRACE,
        )
        if done.returncode or not out.exists():
            _refuse(pid, (done.stderr or done.stdout).strip())
        stacks = compacted(_stacks(out.read_text("utf-8", "replace")))
    return Capture(
        "cpu", f"process {pid}", seconds, stacks, looks=sum(one.samples for one in stacks)
    )


def is_ours(pid: int) -> bool:
    """Whether a process is the API or a worker of a Hansard, which takes part by itself."""
    import psutil

    try:
        words = psutil.Process(pid).cmdline()
    except psutil.Error:
        return False
    return "hansard" in " ".join(words[:3]) and bool({"api", "worker"} & set(words[1:4]))


def _refuse(pid: int, said: str) -> None:
    last = said.splitlines()[-1] if said else "py-spy said nothing"
    if "permission" in said.lower() or "not permitted" in said.lower():
        raise ProfileRefused(
            f"The system does not let this user look into process {pid}: {last}",
            hint="Run it as root, or allow it: sysctl kernel.yama.ptrace_scope, or the "
            "capability SYS_PTRACE of a container. A running Hansard takes part by itself: "
            "leave the number away.",
        )
    raise NothingToProfile(
        f"Process {pid} cannot be looked into: {last}", hint="Is it a Python, and still running?"
    )


def _found() -> str:
    """The command, also where the environment it is in was not activated."""
    beside = Path(sysconfig.get_path("scripts")) / "py-spy"
    found = str(beside) if os.access(beside, os.X_OK) else shutil.which("py-spy")
    if found is None:
        raise MissingPart(
            "Another process is looked into by py-spy, which is not installed.",
            hint="pip install 'hansard[profile]'",
        )
    return found


def _stacks(text: str) -> Iterator[Stack]:
    """py-spy's raw format: ``thread;frame;frame count`` in each line."""
    file = short_names().file
    for line in text.splitlines():
        found = _LINE.match(line)
        if found is None:
            continue
        head, *frames = found["stack"].split(";")
        count = int(found["count"])
        thread = head if head.startswith("thread") else ""
        frames = frames if thread else [head, *frames]
        yield Stack(
            *(thread, "", tuple(_renamed(frame, file) for frame in frames)),
            *(count, count * INTERVAL, count * INTERVAL),
        )


def _renamed(frame: str, file: Callable[[str], str]) -> str:
    found = _FRAME.match(frame)
    if found is None:
        return frame
    return f"{found['name']} ({file(found['file'])}:{found['line']})"

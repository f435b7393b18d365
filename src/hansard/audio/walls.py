"""What a process gives up before it opens a stranger's file: memory, time, files, the network.

Limits of the kernel (``setrlimit``) end a process that takes too much. On Linux a filter of
system calls (seccomp, in the kernel since 3.5) leaves it only those that decoding needs: none
that opens a file, makes a socket, starts a program or reaches another process. It fails them with
an error and kills nothing, so that a library which merely asks goes on without.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import resource
import signal
import struct
import sys
from pathlib import Path
from typing import Final

_DEATH_SIGNAL: Final = 1
_SECCOMP: Final = 22
_FILTER: Final = 2
_NO_NEW_PRIVILEGES: Final = 38
"""Operations of prctl(2)."""

_MACHINES: Final = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""AUDIT_ARCH of linux/audit.h."""

_CALLS: Final[dict[str, tuple[int, ...]]] = {
    # read write close fstat poll lseek mmap mprotect munmap brk rt_sigaction rt_sigprocmask
    # rt_sigreturn pread64 writev sched_yield mremap madvise nanosleep setitimer getpid exit
    # uname getrusage sigaltstack gettid futex sched_getaffinity restart_syscall clock_gettime
    # clock_getres clock_nanosleep exit_group set_robust_list getrandom membarrier rseq
    "x86_64": (0, 1, 3, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 17, 20, 24, 25, 28, 35, 38, 39, 60,
               63, 98, 131, 186, 202, 204, 219, 228, 229, 230, 231, 273, 318, 324, 334),
    "aarch64": (63, 64, 57, 80, 73, 62, 222, 226, 215, 214, 134, 135, 139, 67, 66, 124, 216,
                233, 101, 103, 172, 93, 160, 165, 132, 178, 98, 123, 128, 113, 114, 115, 94, 99,
                278, 283, 293),
}  # fmt: skip
"""Numbers of the system calls that are left (asm/unistd.h)."""
_STAT: Final = {"x86_64": 262, "aarch64": 79}
"""newfstatat, which the C library uses for descriptors too."""
_CLONE: Final = {"x86_64": 56, "aarch64": 220}
_CLONE3: Final = 435
_THREAD: Final = 0x10000
"""CLONE_THREAD: a thread may be made, a process may not."""

_LOAD, _EQUAL, _AT_LEAST, _BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
"""Instructions of the classic BPF (linux/filter.h): words, comparisons with a constant."""
_ALLOW: Final = 0x7FFF0000
_FAIL: Final = 0x00050000
_NOT_PERMITTED, _NO_SUCH_CALL = 1, 38
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16
"""Offsets in struct seccomp_data."""
_X32: Final = 0x40000000

_NICENESS: Final = 2
_FILES: Final = 16
_STACK: Final = 1024 * 1024
"""Bytes of the stack of a thread: filters start some, and each counts as allocated memory."""


def missing() -> tuple[str, ...]:
    """The walls that cannot stand on this machine, in words."""
    if not sys.platform.startswith("linux"):
        return (
            "a firm limit of memory: this system does not keep it",
            "the filter of system calls: it is Linux's own",
        )
    if platform.machine() not in _MACHINES:
        return (f"the filter of system calls: not written for {platform.machine()}",)
    return ()


def build(parent: int, *, memory: int, cpu: float, filtered: bool) -> None:
    """Give everything up that decoding does not need. There is no way back.

    Args:
        parent: the process with which this one ends.
        memory: bytes that may be allocated from here on.
        cpu: seconds of processor time.
        filtered: whether the filter of system calls is wanted.
    """
    linux = sys.platform.startswith("linux")
    if linux:
        _control(_DEATH_SIGNAL, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before we could ask to be told
            os._exit(0)
        _die_first()
        _small_stacks()
    os.nice(_NICENESS)
    seconds = int(cpu) + 2
    limits = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NOFILE: _FILES,
        resource.RLIMIT_CPU: seconds,
        resource.RLIMIT_DATA: _data() + memory,
    }
    for kind, wanted in limits.items():
        _, hard = resource.getrlimit(kind)
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        # The soft limit of time ends with a signal that says so; the hard one a second later.
        resource.setrlimit(kind, (most - (kind == resource.RLIMIT_CPU), most))
    if linux:
        _control(_NO_NEW_PRIVILEGES, 1)
        if filtered and platform.machine() in _MACHINES:
            _filter(platform.machine())


def _control(operation: int, value: int) -> None:
    if _libc().prctl(operation, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), f"prctl({operation})")


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _die_first() -> None:
    """When the machine runs out of memory, this process and not the service is to go."""
    with contextlib.suppress(OSError):  # a wish: not every container lets us say so
        Path("/proc/self/oom_score_adj").write_text("1000", "ascii")


def _data() -> int:
    """Bytes that this process has allocated already, as RLIMIT_DATA counts them."""
    try:
        status = Path("/proc/self/status").read_text("ascii")
    except OSError:
        return 0  # no Linux: the limit does not hold there anyway
    for line in status.splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) * 1024
    return 0


def _small_stacks() -> None:
    """The threads of this process get small stacks (glibc and musl)."""
    libc = _libc()
    if not hasattr(libc, "pthread_setattr_default_np"):
        return
    attributes = ctypes.create_string_buffer(256)
    libc.pthread_attr_init(attributes)
    libc.pthread_attr_setstacksize(attributes, ctypes.c_size_t(_STACK))
    libc.pthread_setattr_default_np(attributes)


def _filter(machine: str) -> None:
    """Leave only the system calls of ``machine`` that decoding needs."""
    program = _program(machine)
    code = ctypes.create_string_buffer(program, len(program))

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_void_p))

    whole = Program(len(program) // 8, ctypes.addressof(code))
    if _libc().prctl(_SECCOMP, _FILTER, ctypes.byref(whole), 0, 0):
        raise OSError(ctypes.get_errno(), "seccomp")


def _program(machine: str) -> bytes:
    """The filter in classic BPF: each instruction is a code, two jumps and a constant."""
    lines = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, _MACHINES[machine]),
        (_RETURN, 0, 0, _FAIL | _NOT_PERMITTED),
        (_LOAD, 0, 0, _NUMBER),
        (_AT_LEAST, 0, 1, _X32),  # the x32 numbers of the same calls
        (_RETURN, 0, 0, _FAIL | _NOT_PERMITTED),
    ]
    for call in (*_CALLS[machine], _STAT[machine]):
        lines += [(_EQUAL, 0, 1, call), (_RETURN, 0, 0, _ALLOW)]
    lines += [
        # clone3 hides its flags behind a pointer; without it the C library takes clone.
        (_EQUAL, 0, 1, _CLONE3),
        (_RETURN, 0, 0, _FAIL | _NO_SUCH_CALL),
        (_EQUAL, 0, 3, _CLONE[machine]),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_BIT, 0, 1, _THREAD),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _FAIL | _NOT_PERMITTED),
    ]
    return b"".join(struct.pack("<HBBI", *line) for line in lines)

"""Every way Hansard can say no. One root; each error has a stable code, a sentence and a hint.

The code, the message and the hint are the same in the command line, the API and the UI. Codes
are never reused or renamed; the table in ``docs/errors.md`` is generated from this file.
A class's docstring is its one-line meaning for that table.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from hansard.model import Failure

Trouble = Literal["permanent", "transient", "resource"]
"""What a worker does about it: give up; wait and try again; do with less and go on."""


class HansardError(Exception):
    """Something went wrong that has no better name."""

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500
    """HTTP status of the same refusal."""
    exit_code: ClassVar[int] = 1
    """2 usage, 3 bad input, 4 engine trouble, 5 this machine, 130 interrupt."""
    trouble: ClassVar[Trouble] = "permanent"

    def __init__(
        self, message: str, *, hint: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.retry_after = retry_after
        """Seconds that the other side asked us to wait, where it did."""

    def failure(self) -> Failure:
        """The value that is stored with a job."""
        return Failure(self.code, self.message, self.hint)


# ── usage: the words of the call are off ─────────────────────────────────────────────────────


class UsageError(HansardError):
    """The command or request asks for something that cannot be."""

    code = "usage"
    status = 422
    exit_code = 2


class UnknownFormat(UsageError):
    """No such output format."""

    code = "unknown_format"


class UnknownModel(UsageError):
    """No such model."""

    code = "unknown_model"
    status = 404


class UnknownJob(UsageError):
    """No job has this id."""

    code = "unknown_job"
    status = 404


class InvalidState(UsageError):
    """The job is not in a state that allows this."""

    code = "invalid_state"
    status = 409


class BadSettings(UsageError):
    """A setting does not make sense."""

    code = "bad_settings"


class NotSupported(UsageError):
    """The chosen engine cannot do what was asked."""

    code = "not_supported"


class CostTooHigh(UsageError):
    """The estimate is above the limit given."""

    code = "cost_too_high"
    status = 402


# ── bad input: the recording cannot be used ──────────────────────────────────────────────────


class BadInput(HansardError):
    """The recording cannot be used."""

    code = "bad_input"
    status = 422
    exit_code = 3


class NotFound(BadInput):
    """There is no such file."""

    code = "not_found"
    status = 404


class Unreadable(BadInput):
    """The file exists but may not be read."""

    code = "unreadable"


class EmptyFile(BadInput):
    """The file has no bytes."""

    code = "empty_file"


class NotMedia(BadInput):
    """The bytes are not audio or video that can be read."""

    code = "not_media"
    status = 415


class NoMediaInDirectory(BadInput):
    """A directory holds no media files."""

    code = "no_media_in_directory"


class NoAudio(BadInput):
    """The file is media but has no audio track."""

    code = "no_audio"


class NoSuchTrack(BadInput):
    """The file has audio, but not this track."""

    code = "no_such_track"


class ZeroLength(BadInput):
    """The audio lasts no time at all."""

    code = "zero_length"


class Truncated(BadInput):
    """The file ends before its own header says it should."""

    code = "truncated"


class SilentAudio(BadInput):
    """There is sound, but no speech in it."""

    code = "silent"


class TooLong(BadInput):
    """The recording lasts longer than allowed."""

    code = "too_long"
    status = 413


class TooLarge(BadInput):
    """The file is larger than allowed."""

    code = "too_large"
    status = 413


class FetchFailed(BadInput):
    """The address did not give a recording."""

    code = "fetch_failed"
    status = 502


class TooManyRedirects(FetchFailed):
    """The address redirects without end."""

    code = "too_many_redirects"


# ── engine trouble ───────────────────────────────────────────────────────────────────────────


class EngineError(HansardError):
    """The speech engine could not do its work."""

    code = "engine_failed"
    status = 502
    exit_code = 4


class ModelMissing(EngineError):
    """The model's weights are not on this machine."""

    code = "model_missing"
    status = 409


class ModelBroken(EngineError):
    """The model's files are there but cannot be loaded."""

    code = "model_broken"


class EngineUnreachable(EngineError):
    """The remote engine does not answer."""

    code = "engine_unreachable"
    status = 503
    trouble = "transient"


class EngineBusy(EngineError):
    """The remote engine asks us to slow down."""

    code = "engine_busy"
    status = 503
    trouble = "transient"


class EngineRefused(EngineError):
    """The remote engine rejects the request or the key."""

    code = "engine_refused"


class EngineDied(EngineError):
    """A process of the engine ended in the middle of its work."""

    code = "engine_died"
    trouble = "transient"


class OutOfMemory(EngineError):
    """The model does not fit, even with the smallest batch."""

    code = "out_of_memory"
    trouble = "resource"


# ── this machine ─────────────────────────────────────────────────────────────────────────────


class MachineError(HansardError):
    """This machine lacks something that the work needs."""

    code = "machine"
    status = 507
    exit_code = 5


class DiskFull(MachineError):
    """There is no room left on the disk."""

    code = "disk_full"
    trouble = "resource"


class NotEnoughMemory(MachineError):
    """There is not enough free memory for this model."""

    code = "not_enough_memory"


class StoreBroken(MachineError):
    """The store cannot be opened or was made by a newer Hansard."""

    code = "store_broken"


class StoreBusy(MachineError):
    """The store did not answer in time."""

    code = "store_busy"
    status = 503
    trouble = "transient"


class CannotWrite(MachineError):
    """The output file cannot be written."""

    code = "cannot_write"


# ── not an error of anybody's ────────────────────────────────────────────────────────────────


class LeaseLost(HansardError):
    """Somebody else owns this work now; what was done for it is not recorded."""

    code = "lease_lost"
    status = 409


class Interrupted(HansardError):
    """Stopped by the user; finished windows are kept."""

    code = "interrupted"
    status = 499
    exit_code = 130


class Cancelled(HansardError):
    """The job was cancelled before it was done."""

    code = "cancelled"
    status = 409


def from_failure(failure: Failure) -> HansardError:
    """The error that a stored failure was, so that it has its exit code and status again."""
    kinds = [HansardError]
    for kind in kinds:
        if kind.code == failure.code:
            return kind(failure.message, hint=failure.hint)
        kinds.extend(kind.__subclasses__())
    return HansardError(failure.message, hint=failure.hint)

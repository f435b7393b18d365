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


class BadRequest(UsageError):
    """The request is malformed."""

    code = "bad_request"
    status = 400


class InvalidField(BadRequest):
    """A field of the request is missing or does not make sense."""

    code = "invalid_field"

    field: str | None = None
    """Its name, where it is known."""


class BadQuery(BadRequest):
    """The search cannot be read; the message says where."""

    code = "bad_query"
    exit_code = 2


class UnknownSearch(UsageError):
    """No saved search has this id."""

    code = "unknown_search"
    status = 404


class UnknownAddress(UsageError):
    """There is nothing at this address."""

    code = "unknown_address"
    status = 404


class WrongMethod(UsageError):
    """This address does not take this method."""

    code = "wrong_method"
    status = 405


class WrongHost(UsageError):
    """The request was meant for another host."""

    code = "wrong_host"
    status = 421


class RequestTooLarge(UsageError):
    """The request's head or body is larger than any that makes sense here."""

    code = "request_too_large"
    status = 413


class HeadTooLarge(RequestTooLarge):
    """The request's address and headers are too long."""

    code = "head_too_large"
    status = 431


class TooSlow(UsageError):
    """The request did not come in within its time."""

    code = "too_slow"
    status = 408


class UnknownUpload(UsageError):
    """No upload has this id."""

    code = "unknown_upload"
    status = 404


class UnknownDelivery(UsageError):
    """No delivery of a webhook has this id."""

    code = "unknown_delivery"
    status = 404


class UnknownMeeting(UsageError):
    """No meeting has this id."""

    code = "unknown_meeting"
    status = 404


class UnknownVoice(UsageError):
    """No remembered voice has this id."""

    code = "unknown_voice"
    status = 404


class UnknownPlace(UsageError):
    """The meeting has no such segment, speaker or finding."""

    code = "unknown_place"
    status = 404


class Changed(UsageError):
    """Somebody else changed it meanwhile: the version that `If-Match` names is not in force."""

    code = "changed"
    status = 412


class NotMadeYet(UsageError):
    """The finding was not made yet, and is not being made."""

    code = "not_made_yet"
    status = 409


class Superseded(UsageError):
    """The same session goes on by another connection."""

    code = "superseded"
    status = 409


class UploadConflict(UsageError):
    """The bytes do not continue where the upload stands."""

    code = "upload_conflict"
    status = 409


class UploadBusy(UploadConflict):
    """Somebody else is writing to the upload."""

    code = "upload_busy"
    status = 423


class WrongContent(UsageError):
    """The body is not of the type that belongs here."""

    code = "wrong_content"
    status = 415


class WrongVersion(UsageError):
    """The request speaks a version of the protocol that is not spoken here."""

    code = "wrong_version"
    status = 412


class ChecksumMismatch(UsageError):
    """The bytes that came are not the bytes that were sent."""

    code = "checksum_mismatch"
    status = 460


class RangeOutside(UsageError):
    """The range asked for lies outside of the file."""

    code = "range_outside"
    status = 416


class IdempotencyConflict(UsageError):
    """The same Idempotency-Key came with another request."""

    code = "idempotency_conflict"
    status = 422


class AddressRefused(UsageError):
    """The address leads into a private network, and that is not allowed."""

    code = "address_refused"


class UnknownKey(UsageError):
    """No key has this id."""

    code = "unknown_key"
    status = 404


class UnknownProfile(UsageError):
    """No profile has this id, or it has no such file."""

    code = "unknown_profile"
    status = 404


class UnknownBenchmark(UsageError):
    """No run of a benchmark is known by this name."""

    code = "unknown_benchmark"
    status = 404


class NotInThisBuild(UsageError):
    """What is asked for is a part that this build of Hansard does not have."""

    code = "not_in_this_build"
    status = 501


class ProfileBusy(UsageError):
    """Something is being profiled here already; one at a time is all that tells anything."""

    code = "profile_busy"
    status = 409


class OptimiseBusy(UsageError):
    """Settings are being measured here already; two at once would measure each other."""

    code = "optimise_busy"
    status = 409


class NothingToProfile(UsageError):
    """There is no process that could be looked into."""

    code = "nothing_to_profile"
    status = 409


class ProfileRefused(UsageError):
    """The system does not let anybody look into that process."""

    code = "profile_refused"


class NotComparable(UsageError):
    """The two were not measured in the same way, so their difference says nothing."""

    code = "not_comparable"


class MissingPart(UsageError):
    """What is asked for needs a package that the plain installation leaves out."""

    code = "missing_part"


class NotYourHost(UsageError):
    """A load test is aimed at a machine that may not be yours."""

    code = "not_your_host"


class Archived(UsageError):
    """The transcript was put into the archive; it must be fetched back first."""

    code = "archived"
    status = 409


class WouldBeOpen(UsageError):
    """Everybody in the network could use the service without a key."""

    code = "would_be_open"


# ── who may ask, and how much ────────────────────────────────────────────────────────────────


class NotAllowed(HansardError):
    """The key is not enough for this."""

    code = "not_allowed"
    status = 403
    exit_code = 2


class KeyMissing(NotAllowed):
    """A key is needed, and none came."""

    code = "key_missing"
    status = 401


class KeyInvalid(NotAllowed):
    """The key is unknown, has expired or was revoked."""

    code = "key_invalid"
    status = 401


class CrossSite(NotAllowed):
    """A page of another site asks for a change, and nobody is known to have wanted it."""

    code = "cross_site"


class TooMuch(HansardError):
    """More was asked for than there is room for now."""

    code = "too_much"
    status = 429
    exit_code = 5
    trouble = "transient"


class RateLimited(TooMuch):
    """Too many requests in a short time."""

    code = "rate_limited"


class QuotaUsedUp(TooMuch):
    """The key's audio for today is used up."""

    code = "quota_used_up"


class QueueFull(TooMuch):
    """As many jobs wait as may."""

    code = "queue_full"


class TooManyUploads(TooMuch):
    """As many uploads are under way as may be."""

    code = "too_many_uploads"
    status = 503


class ShortOfMemory(TooMuch):
    """There is too little memory left to take new work."""

    code = "short_of_memory"
    status = 503


class TooManyConnections(TooMuch):
    """As many connections are held as may be."""

    code = "too_many_connections"
    status = 503


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


class TooManyTracks(BadInput):
    """The file has more audio tracks, or a track more channels, than allowed."""

    code = "too_many_tracks"
    status = 413


class HostileMedia(BadInput):
    """Examining the file broke the limits of memory or time, or ended the process that did."""

    code = "hostile_media"


class MediaGone(BadInput):
    """The recording's media were removed; its transcript is still here."""

    code = "media_gone"
    status = 410


class FetchFailed(BadInput):
    """The address did not give a recording."""

    code = "fetch_failed"


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


# ── language models ──────────────────────────────────────────────────────────────────────────


class LanguageModelError(HansardError):
    """The language model could not do its work."""

    code = "language_model_failed"
    status = 502
    exit_code = 4

    cost: float = 0.0
    """Money that was spent on it all the same."""


class LanguageModelUnreachable(LanguageModelError):
    """The language model does not answer."""

    code = "language_model_unreachable"
    status = 503
    trouble = "transient"


class LanguageModelBusy(LanguageModelError):
    """The language model asks us to slow down."""

    code = "language_model_busy"
    status = 503
    trouble = "transient"


class LanguageModelRefused(LanguageModelError):
    """The language model rejects the request or the key, or will not speak of this."""

    code = "language_model_refused"

    http: int = 0
    """Status of the answer, where that was the way it was said."""
    said: str = ""
    """What the far side names as its reason, in small letters."""


class BadAnswer(LanguageModelError):
    """The language model answers what is not asked for, twice, or nothing that cites its source."""

    code = "bad_answer"


class TextTooLong(LanguageModelError):
    """More text than the language model can take at once."""

    code = "text_too_long"
    trouble = "resource"


class EmbedderBroken(LanguageModelError):
    """What turns text into vectors is there but cannot be loaded."""

    code = "embedder_broken"


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


class CageBroken(MachineError):
    """The process that opens media files has ended, or cannot be started."""

    code = "cage_broken"
    status = 503
    trouble = "transient"


class StoreBusy(MachineError):
    """The store did not answer in time."""

    code = "store_busy"
    status = 503
    trouble = "transient"


class StoreGone(MachineError):
    """The database server cannot be reached; what was asked is tried again."""

    code = "store_gone"
    status = 503
    trouble = "transient"


class StoreOutdated(MachineError):
    """The database has the tables of an older Hansard, and others may be using it."""

    code = "store_outdated"


class FilesGone(MachineError):
    """The object storage cannot be reached, or does not do what is asked."""

    code = "files_gone"
    status = 503
    trouble = "transient"


class BrokerGone(MachineError):
    """The broker cannot be reached; jobs are kept, and are done as soon as it can."""

    code = "broker_gone"
    status = 503
    trouble = "transient"


class FilesMissing(MachineError):
    """No host that works has had the files of the job for a long time."""

    code = "files_missing"


class CannotWrite(MachineError):
    """The output file cannot be written."""

    code = "cannot_write"


class AlreadyServing(MachineError):
    """A service has this data directory already."""

    code = "already_serving"
    status = 409


class NobodyServes(MachineError):
    """No service answers at this address."""

    code = "no_service"
    status = 502


class CannotListen(MachineError):
    """The address cannot be listened on."""

    code = "cannot_listen"
    status = 409


# ── not an error of anybody's ────────────────────────────────────────────────────────────────


class TimedOut(HansardError):
    """The work took longer than its limit."""

    code = "timed_out"
    status = 504
    exit_code = 4


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

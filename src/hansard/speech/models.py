"""The Whisper models: which there are, which lie on this disk, and how they get there.

A model is a directory as CTranslate2 writes it, below ``<data>/models/whisper/<name>``. It comes
into being whole or not at all: it is pulled or copied beside its place, looked at, and renamed.
"""

from __future__ import annotations

import errno
import math
import os
import re
import shutil
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import msgspec

from hansard.config import Settings
from hansard.errors import (
    CannotWrite,
    DiskFull,
    HansardError,
    InvalidState,
    ModelBroken,
    ModelMissing,
    NotFound,
    NotSupported,
    UnknownModel,
)
from hansard.model import Value
from hansard.speech import hub

FILES = ("config.json", "preprocessor_config.json", "model.bin", "tokenizer.json", "vocabulary.*")
"""What a CTranslate2 Whisper model is made of; a repository on the hub may hold more."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Known(Value, frozen=True):
    """A published model. ``parameters`` are the figures of its model card.

    ``rung`` is the size of the ladder that ``auto`` climbs which this model can stand for.
    """

    repository: str
    parameters: int
    rung: str
    english_only: bool = False
    translates: bool = True


_M = 10**6
KNOWN: dict[str, Known] = {
    "tiny": Known("Systran/faster-whisper-tiny", 39 * _M, "tiny"),
    "tiny.en": Known("Systran/faster-whisper-tiny.en", 39 * _M, "tiny", english_only=True),
    "base": Known("Systran/faster-whisper-base", 74 * _M, "base"),
    "base.en": Known("Systran/faster-whisper-base.en", 74 * _M, "base", english_only=True),
    "small": Known("Systran/faster-whisper-small", 244 * _M, "small"),
    "small.en": Known("Systran/faster-whisper-small.en", 244 * _M, "small", english_only=True),
    "distil-small.en": Known(
        "Systran/faster-distil-whisper-small.en", 166 * _M, "small", english_only=True
    ),
    "medium": Known("Systran/faster-whisper-medium", 769 * _M, "medium"),
    "medium.en": Known("Systran/faster-whisper-medium.en", 769 * _M, "medium", english_only=True),
    "distil-medium.en": Known(
        "Systran/faster-distil-whisper-medium.en", 394 * _M, "medium", english_only=True
    ),
    "large-v1": Known("Systran/faster-whisper-large-v1", 1550 * _M, "large-v3"),
    "large-v2": Known("Systran/faster-whisper-large-v2", 1550 * _M, "large-v3"),
    "large-v3": Known("Systran/faster-whisper-large-v3", 1550 * _M, "large-v3"),
    "large-v3-turbo": Known(
        "mobiuslabsgmbh/faster-whisper-large-v3-turbo", 809 * _M, "large-v3-turbo", translates=False
    ),
    "distil-large-v2": Known(
        "Systran/faster-distil-whisper-large-v2", 756 * _M, "large-v3-turbo", english_only=True
    ),
    "distil-large-v3": Known(
        "Systran/faster-distil-whisper-large-v3", 756 * _M, "large-v3-turbo", english_only=True
    ),
    "distil-large-v3.5": Known(
        "distil-whisper/distil-large-v3.5-ct2", 756 * _M, "large-v3-turbo", english_only=True
    ),
}
"""Models on the hub that Hansard can pull; a test holds them against faster-whisper's own list."""

ALIASES = {"large": "large-v3", "turbo": "large-v3-turbo"}
"""faster-whisper's other names for some of them."""


class Weights(Value, frozen=True):
    """A model directory as :func:`look` found it."""

    path: str
    size: int
    """Bytes of all its files."""
    parameters: int
    """Numbers in the network, counted in ``model.bin``; quantised ones count as one each."""
    english_only: bool


# ── on this disk ─────────────────────────────────────────────────────────────────────────────


def root(settings: Settings) -> Path:
    """The directory that holds one directory a model."""
    return settings.data / "models" / "whisper"


def place(name: str, settings: Settings) -> Path:
    """Where a model of this name lies or would lie.

    Raises:
        UnknownModel: the name is not one a directory may have.
    """
    if not _NAME.fullmatch(name):
        raise UnknownModel(
            f"{name!r} cannot be the name of a model.",
            hint="Letters, digits, dots, dashes and underscores, at most 64.",
        )
    return root(settings) / ALIASES.get(name, name)


def directory(model: str, settings: Settings) -> Path:
    """Where the weights of a model are, named or given as the path of a directory."""
    return Path(model) if "/" in model else place(model, settings)


def names(settings: Settings) -> list[str]:
    """The models that lie on this disk by name; whether they are whole, :func:`look` tells."""
    held = root(settings)
    if not held.is_dir():
        return []
    return sorted(
        entry.name for entry in held.iterdir() if entry.is_dir() and _NAME.fullmatch(entry.name)
    )


def look(directory: Path) -> Weights:
    """See that a directory holds a whole CTranslate2 Whisper model, without loading it.

    ``model.bin`` is walked from variable to variable, so a file cut short is found at once and
    nothing but headers is read. The layout is that of ``ModelSpec._serialize`` in CTranslate2's
    ``specs/model_spec.py`` (binary version 6).

    Raises:
        NotFound: there is no such directory.
        NotSupported: it holds a model in another format.
        ModelBroken: files are missing, cut short or not a Whisper model.
    """
    if not directory.is_dir():
        raise NotFound(
            f"There is no directory {directory}.", hint="Check the spelling of the path."
        )
    if not (directory / "model.bin").is_file():
        _refuse_other_formats(directory)
        raise _broken(directory, "it has no model.bin")
    if not (directory / "tokenizer.json").is_file():
        raise _broken(directory, "it has no tokenizer.json")
    if not any(directory.glob("vocabulary.*")):
        raise _broken(directory, "it has no vocabulary")
    try:
        config = msgspec.json.decode((directory / "config.json").read_bytes())
        # Raw: seen to be whole JSON, thirty times faster than by building its 100 000 entries.
        msgspec.json.decode((directory / "tokenizer.json").read_bytes(), type=msgspec.Raw)
        english_only = len(config.get("lang_ids") or ()) <= 1 or _lacks_languages(directory)
        with (directory / "model.bin").open("rb") as file:
            parameters = _walk(file)
    except FileNotFoundError as problem:
        raise _broken(directory, f"it has no {Path(problem.filename).name}") from None
    except (ValueError, AttributeError) as problem:  # errors of JSON are ValueErrors
        raise _broken(directory, str(problem)) from None
    size = sum(file.stat().st_size for file in directory.rglob("*") if file.is_file())
    return Weights(str(directory), size, parameters, english_only)


def _lacks_languages(directory: Path) -> bool:
    """English-only models have a vocabulary of their own, one token shorter (51 864)."""
    path = directory / "vocabulary.json"
    return path.is_file() and len(msgspec.json.decode(path.read_bytes())) < 51_865


def _walk(file: BinaryIO) -> int:
    """Numbers in a ``model.bin``.

    Raises:
        ValueError: it is no Whisper model, or ends before its last variable.
    """

    def take(form: str) -> int:
        size = struct.calcsize(form)
        held = file.read(size)
        if len(held) < size:
            raise ValueError("model.bin is cut short")
        return int(struct.unpack(form, held)[0])

    end = os.fstat(file.fileno()).st_size
    take("<I")
    kind = file.read(take("<H")).rstrip(b"\0")
    if kind != b"WhisperSpec":
        raise ValueError("model.bin is not a Whisper model of CTranslate2")
    take("<I")
    total = 0
    for _ in range(take("<I")):
        name = file.read(take("<H"))
        shape = [take("<I") for _ in range(take("<B"))]
        take("<B")
        file.seek(take("<I"), os.SEEK_CUR)
        if file.tell() > end:
            raise ValueError("model.bin is cut short")
        if not name.endswith(b"_scale\0"):
            total += math.prod(shape)
    return total


def _broken(directory: Path, reason: str) -> ModelBroken:
    return ModelBroken(
        f"{directory} does not hold a whole Whisper model: {reason}.",
        hint="Remove it and pull or import it again.",
    )


def _refuse_other_formats(directory: Path) -> None:
    others = ("*.safetensors", "pytorch_model*.bin", "*.pt", "ggml-*.bin", "*.gguf")
    if any(any(directory.glob(pattern)) for pattern in others):
        raise NotSupported(
            f"{directory} holds a model in another format than CTranslate2's.",
            hint="Convert it with CTranslate2's own tool: ct2-transformers-converter --model "
            f"{directory} --output_dir converted --quantization float16 "
            "--copy_files tokenizer.json preprocessor_config.json",
        )


# ── coming and going ─────────────────────────────────────────────────────────────────────────


def import_directory(path: Path, name: str, settings: Settings) -> Path:
    """Copy a model directory into the data directory, whole or not at all.

    Raises:
        NotFound, NotSupported, ModelBroken: see :func:`look`.
        InvalidState: there is a model of this name.
        DiskFull, CannotWrite: it cannot be copied.
    """
    target = place(name, settings)
    weights = look(path)
    _see_room(weights.size, settings)
    with _arrival(target) as staging:
        if target.exists():
            raise InvalidState(
                f"There is a model {target.name} already.",
                hint=f"Give the new one another name, or: hansard models remove {target.name}",
            )
        for pattern in FILES:
            for file in path.glob(pattern):
                shutil.copyfile(file, staging / file.name)
        look(staging)
    return target


def remove(name: str, settings: Settings) -> None:
    """Delete a model from this disk. ``lease.Models.remove`` also sees that nobody uses it.

    Raises:
        ModelMissing: there is none of this name.
        CannotWrite: it may not be deleted.
    """
    target = place(name, settings)
    if not target.is_dir():
        raise ModelMissing(
            f"There is no model {target.name} on this machine.",
            hint="`hansard models list` shows those that can be removed.",
        )
    # Renamed first: a model that is half deleted must not pass for one.
    grave = target.with_name(f".{target.name}.gone")
    with _writing(target):
        shutil.rmtree(grave, ignore_errors=True)
        target.rename(grave)
        shutil.rmtree(grave)


def pull(
    name: str,
    settings: Settings,
    progress: hub.Progress | None = None,
    *,
    stop: threading.Event | None = None,
) -> Path:
    """Fetch a published model from the hub (``HF_ENDPOINT``, by default huggingface.co).

    An interrupted pull leaves nothing behind. Two processes that pull the same model fetch it
    once. Returns at once where the model is there.

    Raises:
        UnknownModel: no published model has this name.
        ModelMissing: the hub may not be asked, does not answer in ``hub_patience`` seconds, or
            breaks off.
        ModelBroken: a model of this name is there, and not whole.
        DiskFull, CannotWrite: the weights cannot be kept.
    """
    target = place(name, settings)
    if target.is_dir():
        look(target)  # what is there may be broken, and whoever asks for it is to know
        return target
    known = see_that_it_can_be_pulled(target.name, settings)
    with _arrival(target) as staging:
        if target.is_dir():
            return target
        try:
            hub.download(known.repository, FILES, staging, progress, stop)
            look(staging)
        except Exception as problem:  # whatever the hub library raises: its errors have no root
            raise _told(problem, target.name) from problem
    return target


def see_that_it_can_be_pulled(name: str, settings: Settings) -> Known:
    """Ask whether :func:`pull` has a chance, and fetch nothing.

    Raises:
        UnknownModel, ModelMissing, ModelBroken, DiskFull: see :func:`pull`.
    """
    known = KNOWN.get(name)
    if known is None:
        raise UnknownModel(
            f"No published model is called {name}.", hint=f"There are: {', '.join(KNOWN)}."
        )
    if place(name, settings).is_dir():
        look(place(name, settings))
    if hub.is_forbidden(settings):
        raise missing(name, "the model hub may not be asked (offline)")
    if not hub.answers(settings):
        raise missing(name, f"the model hub does not answer ({hub.address()})")
    _see_room(2 * known.parameters, settings)
    return known


def missing(name: str, reason: str) -> ModelMissing:
    """The refusal for a model whose weights cannot be had."""
    return ModelMissing(
        f"The model {name} is not on this machine, and {reason}.",
        hint=f"Copy its directory here and run: hansard models import DIR --name {name}; "
        f"or, with a network: hansard models pull {name}",
    )


def _told(problem: BaseException, name: str) -> HansardError:
    """A failed download in our words."""
    if isinstance(problem, hub.Stopped):
        return ModelMissing(f"Pulling {name} was stopped; nothing of it was kept.")
    if isinstance(problem, ModelBroken):
        return missing(name, "what the model hub sent is not whole")
    seen: BaseException | None = problem
    while seen is not None:
        refusal = _disk_refusal(seen)
        if refusal:
            return refusal
        seen = seen.__cause__ or seen.__context__
    lines = str(problem).splitlines()
    reason = f"{type(problem).__name__}: {lines[0]}" if lines else type(problem).__name__
    return missing(name, f"the model hub broke off ({reason[:200]})")


def _disk_refusal(problem: BaseException) -> HansardError | None:
    if not isinstance(problem, OSError):
        return None
    if problem.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return DiskFull(
            "There is no room left on the disk for the model; nothing of it was kept.",
            hint="Free some space, or choose another directory with --data.",
        )
    if problem.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return CannotWrite(
            f"The models' directory cannot be written: {problem.strerror}.",
            hint="Choose another directory with --data.",
        )
    return None


@contextmanager
def _writing(target: Path) -> Iterator[None]:
    """One process at a time changes a model; trouble with the disk is told in our words."""
    from filelock import FileLock

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(f".{target.name}.lock")):
            yield
    except OSError as problem:
        refusal = _disk_refusal(problem)
        if refusal is None:
            raise
        raise refusal from problem


@contextmanager
def _arrival(target: Path) -> Iterator[Path]:
    """A fresh directory that becomes ``target`` if the block ends well, and is gone otherwise.

    Under a lock, so what lies in its place is what a killed process left, and is removed.
    """
    staging = target.with_name(f".{target.name}.part")
    with _writing(target):
        shutil.rmtree(staging, ignore_errors=True)
        try:
            staging.mkdir()
            yield staging
            if not target.exists():
                staging.rename(target)
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def _see_room(size: int, settings: Settings) -> None:
    held = root(settings)
    while not held.exists():
        held = held.parent
    free = shutil.disk_usage(held).free - settings.limits.disk_reserve
    if size > free:
        raise DiskFull(
            f"The model takes about {size / 1e6:,.0f} MB; {max(0, free) / 1e6:,.0f} MB may be used "
            f"in {root(settings)}.",
            hint="Free some space, or choose another directory with --data.",
        )

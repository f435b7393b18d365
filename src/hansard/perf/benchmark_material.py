"""What benchmarks work on: the user's own recording or the built-in sample, and a store of its own.

The sample is the meeting of ``samples/``, two minutes of four synthetic voices with known words; it
travels in the package. A benchmark never touches the user's store: it makes one in a temporary
directory, and where the settings name a PostgreSQL, a database on that server, dropped afterwards.
"""

from __future__ import annotations

import hashlib
import secrets
import tempfile
import time
import wave
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from hansard.errors import MachineError, NotFound
from hansard.model import SAMPLE_RATE, Value

if TYPE_CHECKING:
    import psycopg

    from hansard.config import Settings

LONGEST = 600.0
"""Seconds of a recording that are used at most: what is prepared is held in memory."""
USUAL = 30.0
"""Seconds of the sample that are heard where nothing else is said."""


class Sentence(Value, frozen=True):
    """What somebody says in the sample. Seconds."""

    start: float
    end: float
    text: str


class _Script(Value, frozen=True):
    sentences: tuple[Sentence, ...]


@dataclass(frozen=True, slots=True)
class Material:
    """A recording, prepared, and what is said in it where that is known."""

    name: str
    path: Path
    """The recording as it came."""
    cut: Path
    """As much of it as is heard: 16 kHz WAV."""
    samples: NDArray[np.int16]
    """The same, shape ``(n,)``."""
    reference: str | None
    sentences: tuple[str, ...]
    """Of the sample, to make meetings of."""
    subject: str
    """SHA-256 of the samples."""

    @property
    def seconds(self) -> float:
        """How long it is."""
        return len(self.samples) / SAMPLE_RATE


@contextmanager
def material(
    path: Path | None = None, *, reference: Path | None = None, seconds: float | None = None
) -> Iterator[Material]:
    """Decode a recording.

    Args:
        path: the user's own; the sample where there is none.
        reference: a text file with what is said in it.
        seconds: only so much of it is heard, and no reference of one's own is compared then.

    Raises:
        BadInput: it cannot be read.
    """
    from hansard.audio import decode

    source = path or sample()
    if not source.is_file():
        raise NotFound(f"There is no file {source}.", hint="Name a recording.")
    blocks = list(decode.blocks(source, track=0, channels="mix", enhance=None))
    whole = np.concatenate([block[0] for block in blocks])
    wanted = min(LONGEST, seconds or (USUAL if path is None else LONGEST))
    sentences = script()
    said: str | None = None
    if path is None:
        heard = [one for one in sentences if one.end <= wanted]
        wanted = heard[-1].end + 0.2 if heard else wanted
        said = " ".join(one.text for one in heard) or None
    elif reference is not None and wanted >= len(whole) / SAMPLE_RATE:
        said = reference.read_text("utf-8")
    samples = whole[: round(wanted * SAMPLE_RATE)]
    with tempfile.TemporaryDirectory(prefix="hansard-benchmark-") as folder:
        cut = Path(folder) / f"{source.stem}.wav"
        with wave.open(str(cut), "wb") as out:
            out.setnchannels(1)
            out.setsampwidth(2)
            out.setframerate(SAMPLE_RATE)
            out.writeframes(samples.astype("<i2").tobytes())
        yield Material(
            source.name,
            source,
            cut,
            samples,
            said,
            tuple(one.text for one in sentences),
            hashlib.sha256(samples.tobytes()).hexdigest(),
        )


def sample() -> Path:
    """The sample meeting: in the package, or beside it in a checkout."""
    beside = Path(__file__).parent / "sample" / "meeting.ogg"
    return (
        beside if beside.exists() else Path(__file__).resolve().parents[3] / "samples/meeting.ogg"
    )


def script() -> tuple[Sentence, ...]:
    """What is said in the sample, in its order."""
    body = sample().with_suffix(".json").read_bytes()
    return msgspec.json.decode(body, type=_Script).sentences


@contextmanager
def scratch(settings: Settings) -> Iterator[Settings]:
    """Settings like these over an empty store of their own, with the same models; gone afterwards.

    Raises:
        MachineError: the PostgreSQL of the settings does not let us make a database.
    """
    from hansard.shared import DeliverySettings

    with (
        tempfile.TemporaryDirectory(prefix="hansard-benchmark-") as folder,
        _empty_database(settings.database) as address,
    ):
        data = Path(folder) / "data"
        data.mkdir()
        models = settings.data.absolute() / "models"
        if models.is_dir():
            (data / "models").symlink_to(models)
        yield settings.model_copy(
            update={
                "data": data,
                "database": address,
                "broker": None,
                "files": None,
                "cache": None,
                "delivery": DeliverySettings(),
                "meetings": settings.meetings.model_copy(update={"follow_up": False}),
            }
        )


@contextmanager
def _empty_database(address: str | None) -> Iterator[str | None]:
    if address is None:
        yield None
        return
    import psycopg
    import sqlalchemy as sa

    name = f"{_NAMED}{time.time():.0f}_{secrets.token_hex(6)}"
    own = sa.make_url(address).set(database=name).render_as_string(hide_password=False)
    try:
        with psycopg.connect(address, autocommit=True) as server:
            _sweep(server)
            server.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    except psycopg.Error as error:
        said = str(error).strip().splitlines()[0]
        raise MachineError(
            f"No database for the benchmark can be made: {said}.",
            hint="ALTER ROLE … CREATEDB, or measure SQLite: HANSARD_DATABASE=",
        ) from error
    try:
        with psycopg.connect(own):  # for as long as it lives it is nobody else's to sweep
            yield own
    finally:
        with psycopg.connect(address, autocommit=True) as server:
            server.execute(f"DROP DATABASE {name} WITH (FORCE)")


def _sweep(server: psycopg.Connection[Any]) -> None:
    """Drop what benchmarks left that were killed: nobody is connected to it any more."""
    import psycopg

    for (name,) in server.execute(_DATABASES, {"named": f"{_NAMED}%"}).fetchall():
        made = name.removeprefix(_NAMED).partition("_")[0]
        if made.isdecimal() and time.time() - int(made) > _YOUNG:
            with suppress(psycopg.errors.InsufficientPrivilege, psycopg.errors.ObjectInUse):
                server.execute(f'DROP DATABASE IF EXISTS "{name}"')


_NAMED = "hansard_benchmark_"
_YOUNG = 60.0
"""Seconds in which whoever made a database has come to connect to it."""

_DATABASES = """
SELECT datname FROM pg_database AS d WHERE datname LIKE %(named)s
AND NOT EXISTS (SELECT FROM pg_stat_activity AS a WHERE a.datname = d.datname)
"""

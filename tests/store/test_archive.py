"""The archive: out of the store and back to the last byte, whoever kills it, wherever it lies."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from hansard import formats
from hansard.config import RetentionSettings, Settings
from hansard.errors import Archived, InvalidState, MediaGone, StoreBroken, UnknownJob
from hansard.jobs import rows as rows_of
from hansard.model import (
    Coverage,
    Gap,
    Job,
    Levels,
    Media,
    Options,
    Recording,
    Segment,
    Span,
    Transcript,
    Utterance,
    Window,
    WindowResult,
    Word,
)
from hansard.shared import ArchiveSettings, S3Settings
from hansard.store import ids, recordings, transcripts
from hansard.store.archive import DAY, Archive
from hansard.store.database import Database
from hansard.store.disk import Disk
from hansard.store.files import Files
from hansard.store.sqlite import Sqlite
from hansard.store.tables import attempts, jobs, segments, windows
from hansard.store.tables import transcripts as heads

ROOT = Path(__file__).parents[2]
SOUND = b"not really sound, but every byte of it counts\0\xff" * 1000
LEVELS = Levels(10.0, -20.0, -3.0, -60.0, 40.0, 0.0, 0.0)
OPTIONS = Options("sphinx", "en-us", language="en")
SEGMENTS = 520
"""More than are in memory at once."""
NOW = 1_700_000_000.0
TABLES = (jobs, attempts, windows, heads, segments)


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """An object storage over HTTP; its address."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Files]:
    kept = Disk(tmp_path, "me")
    yield kept
    kept.close()


@pytest.fixture(params=["directory", "s3"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Of each place that archives can be in."""
    if request.param == "directory":
        return Settings(data=tmp_path)
    access = S3Settings(
        endpoint=request.getfixturevalue("s3"), access_key="key", secret_key="secret", attempts=2
    )
    from hansard.store.s3 import Clients

    bucket = f"hansard-{tmp_path.name.strip('_').replace('_', '-')}".lower()[:60].strip("-")
    Clients(access).get().create_bucket(Bucket=bucket)
    place = ArchiveSettings(place=f"s3://{bucket}/old/meetings")
    return Settings(data=tmp_path, s3=access, archive=place)


@pytest.fixture
def archive(settings: Settings, database: Database, files: Files) -> Iterator[Archive]:
    made = Archive(settings, database, files, clock=lambda: NOW + 100)
    yield made
    made.close()


def meeting(
    database: Database, files: Files, *, length: int = SEGMENTS, tenant: str = "local"
) -> Job:
    """A completed meeting with all that can hang on one; its job."""
    with files.take_in("a meeting.wav", [SOUND]) as draft:
        draft.keep()
        recording = Recording(draft.sha256, "a meeting.wav", Media("wav", 10.0, 100, ()), NOW)
    job = Job(
        ids.new_id(NOW), "transcribe", "completed", "finish", 5, recording.id, OPTIONS, LEVELS,
        NOW, finished=NOW, tenant=tenant, name="a meeting.wav",
    )  # fmt: skip
    head = Transcript(
        "work", recording.id, "a meeting.wav", 10.1, "sphinx", "en-us", language="en",
        coverage=Coverage(9.3, 9.1, (Gap(1 / 3, 0.5),)), levels=LEVELS, cost=0.1 + 0.2,
    )  # fmt: skip
    fixed = {"state": job.state, "step": job.step, "finished": NOW, "id": job.id, "lane": "short"}
    asked = rows_of.fresh("transcribe", recording, OPTIONS) | {"priority": 5, "tenant": tenant}
    heard = WindowResult((Utterance(0.0, 1 / 3, "a window", tokens=(1, 2)),), "en", 0.1)
    tried = {"job": job.id, "number": 1, "step": "listen", "owner": "me", "ended": NOW / 3}
    with database.write() as connection:
        recordings.add(connection, recording)
        connection.execute(
            jobs.insert().values(asked | fixed | {"levels": rows_of.json(LEVELS), "created": NOW})
        )
        connection.execute(
            windows.insert(),
            [
                {
                    "job": job.id,
                    "pass": number % 2,
                    "channel": 0,
                    "position": number,
                    "window": rows_of.json(Window(number, 0, (Span(0, 900),))),
                    "samples": 900,
                    "state": "done",
                    "done": NOW / 7,
                    "result": rows_of.json(heard),
                    "attempt": number,
                    "heard": number + 1,
                }
                for number in (2, 0, 1)
            ],
        )
        cause = json.dumps({"code": "engine_died", "message": "It \u201cdied\u201d."})
        connection.execute(attempts.insert().values(tried | {"failure": cause}))
        transcripts.save(connection, job.id, spoken(length), lambda: head)
    return job


def spoken(length: int = SEGMENTS) -> Iterator[Segment]:
    """Segments with numbers that have no short form, and all kinds of text."""
    for number in range(length):
        start = number / 3
        said = f'Nº {number}\t"quoted" \\ & 漢字 🎙 it\'s.'
        words = (Word(start, start + 0.1, said, 1 / (number + 3)),)
        yield Segment(start, start + 1 / 7, said, words, speaker="é" if number % 2 else None)


def state(database: Database, job: str, names: tuple[str, ...] = formats.names()) -> dict[str, Any]:
    """Every format's bytes and every row of a meeting, but for the numbers of windows' rows."""
    head = transcripts.head(database, job)
    assert head is not None
    shown: dict[str, Any] = {}
    for name in names:
        out = io.BytesIO()
        formats.get(name).write(head, lambda: transcripts.stream(database, job), out)
        shown[name] = hashlib.sha256(out.getvalue()).hexdigest()
    return shown | rows(database, job)


def rows(database: Database, job: str) -> dict[str, Any]:
    with database.read() as connection:
        return {
            table.name: [
                {name: row[name] for name in row if (table.name, name) != ("windows", "id")}
                for row in connection.execute(
                    sa.select(table)
                    .where((table.c.id if table is jobs else table.c.job) == job)
                    .order_by(*table.primary_key.columns)
                ).mappings()
            ]
            for table in TABLES
        }


# ── there and back ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("audio", [False, True])
def test_a_meeting_comes_back_as_it_was(
    archive: Archive, database: Database, files: Files, *, audio: bool
) -> None:
    job = meeting(database, files)
    before = state(database, job.id)
    entry = archive.put(job.id, audio=audio)
    assert (entry.segments, entry.audio) == (SEGMENTS, audio)
    gone = rows(database, job.id)
    assert (gone["segments"], gone["windows"], gone["transcripts"]) == ([], [], [])
    assert (gone["jobs"], gone["attempts"]) == (before["jobs"], before["attempts"])
    assert files.has_recording(job.recording) is not audio
    with pytest.raises(Archived, match=f"Job {job.id} is in the archive"):
        transcripts.head(database, job.id)
    assert archive.listing() == [entry]
    archive.restore(job.id)
    assert state(database, job.id) == before
    assert b"".join(files.read_recording(job.recording, 0, len(SOUND))) == SOUND
    assert archive.listing() == []
    with pytest.raises(StoreBroken, match="is not there"):
        archive._fetch(entry, files.root / "nothing")
    assert archive.put(job.id, audio=audio).sha256 == entry.sha256, "the same bytes again"


def test_a_flipped_byte_is_refused(tmp_path: Path, files: Files) -> None:
    database = Sqlite(tmp_path / "hansard.db")
    archive = Archive(Settings(data=tmp_path), database, files)
    job = meeting(database, files, length=40)
    before = state(database, job.id, ("json",))
    entry = archive.put(job.id)
    path = tmp_path / entry.place
    sound = path.read_bytes()
    path.write_bytes(sound[:3000] + bytes([sound[3000] ^ 1]) + sound[3001:])
    with pytest.raises(StoreBroken, match="is damaged"):
        archive.restore(job.id)
    path.unlink()
    with pytest.raises(StoreBroken, match="is not there"):
        archive.restore(job.id)
    assert archive.listing() == [entry]
    path.write_bytes(sound)
    archive.restore(job.id)
    assert state(database, job.id, ("json",)) == before
    database.close()


def test_anybody_can_read_an_archive(tmp_path: Path, files: Files) -> None:
    database = Sqlite(tmp_path / "hansard.db")
    archive = Archive(Settings(data=tmp_path), database, files)
    job = meeting(database, files)
    entry = archive.put(job.id, audio=True)
    assert entry.place == f"archive/2023/11/{job.id}.tar"
    unpacked = tmp_path / "unpacked"
    with tarfile.open(tmp_path / entry.place) as tar:
        tar.extractall(unpacked, filter="data")
    assert (unpacked / "media" / job.recording).read_bytes() == SOUND
    read = subprocess.run(
        ["gzip", "-dc", str(unpacked / "meeting.jsonl.gz")], capture_output=True, check=True
    )
    lines = [json.loads(line) for line in read.stdout.splitlines()]
    assert lines[0] == {"archive": 1, "job": job.id}
    assert lines[-1]["end"]["segments"] == SEGMENTS
    assert [line["row"]["text"] for line in lines if line.get("table") == "segments"] == [
        segment.text for segment in spoken()
    ]
    database.close()


# ── what may go ──────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def plain(tmp_path: Path, files: Files) -> Iterator[tuple[Archive, Sqlite]]:
    """An archive in the data directory of an SQLite store."""
    database = Sqlite(tmp_path / "hansard.db")
    retention = RetentionSettings()
    settings = Settings(data=tmp_path, archive=ArchiveSettings(days=1.0), retention=retention)
    yield Archive(settings, database, files, clock=lambda: NOW), database
    database.close()


def test_only_completed_meetings_go(plain: tuple[Archive, Sqlite], files: Files) -> None:
    archive, database = plain
    with pytest.raises(UnknownJob):
        archive.put("nothing")
    job = meeting(database, files, length=40)
    with pytest.raises(InvalidState, match="is not archived"):
        archive.restore(job.id)
    with database.write() as connection:
        failure = json.dumps({"code": "x", "message": "y"})
        connection.execute(jobs.update().values(state="failed", failure=failure))
    with pytest.raises(InvalidState, match="only completed ones"):
        archive.put(job.id)
    assert archive.due(NOW * 2) == []
    with database.write() as connection:
        connection.execute(jobs.update().values(state="completed", failure=None))
    assert archive.due(NOW * 2) == [job.id]
    assert archive.due(NOW) == [], "it ended at that moment"
    archive.put(job.id)
    assert archive.due(NOW * 2) == []
    with pytest.raises(Archived):
        archive.put(job.id)


def test_media_that_another_meeting_needs_stay(plain: tuple[Archive, Sqlite], files: Files) -> None:
    archive, database = plain
    first = meeting(database, files, length=40)
    second = meeting(database, files, length=40, tenant="other")
    assert first.recording == second.recording
    archive.put(first.id, audio=True)
    assert files.has_recording(first.recording)
    archive.put(second.id, audio=True)
    assert not files.has_recording(first.recording)
    archive.restore(first.id)
    assert files.has_recording(first.recording)


def test_media_that_are_gone_are_not_archived(plain: tuple[Archive, Sqlite], files: Files) -> None:
    archive, database = plain
    job = meeting(database, files, length=40)
    files.forget_recording(job.recording)
    with pytest.raises(MediaGone):
        archive.put(job.id, audio=True)
    assert archive.put(job.id).segments == 40


def test_house_keeping_archives_what_is_old_enough(
    plain: tuple[Archive, Sqlite], files: Files
) -> None:
    archive, database = plain
    job = meeting(database, files, length=40)
    archive.keep_up(NOW + DAY)
    assert archive.listing() == []
    archive.keep_up(NOW + DAY + 1)
    assert [entry.job for entry in archive.listing()] == [job.id]
    assert files.has_recording(job.recording)


# ── killed ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("what", "point", "nth"),
    [
        ("put", "hansard.store.archive:Archive.take_out:before", 1),
        ("put", "hansard.store.archive:Archive.drop_media:before", 1),
        ("restore", "hansard.store.archive:_fitting:before", 20),
        ("restore", "hansard.store.archive:Archive.discard:before", 1),
    ],
)
def test_killed_at_any_point_nothing_is_lost(
    plain: tuple[Archive, Sqlite], files: Files, what: str, point: str, nth: int
) -> None:
    archive, database = plain
    job = meeting(database, files, length=40)
    before = state(database, job.id, ("srt",))
    kept = archive.put(job.id, audio=True) if what == "restore" else None
    done = subprocess.run(
        [
            *(sys.executable, str(Path(__file__).with_name("archiving.py"))),
            *(str(files.root), job.id, what, point, str(nth)),
        ],
        env=os.environ | {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    if not archive.listing():
        assert state(database, job.id, ("srt",)) == before, "it is here, all of it"
        archive.put(job.id, audio=True)
    archive.sweep()
    assert not files.has_recording(job.recording), "it is there, with its media"
    (entry,) = archive.listing()
    assert kept is None or entry.sha256 == kept.sha256
    left = [path.name for path in (files.root / "archive").rglob("*") if path.is_file()]
    assert left == [f"{job.id}.tar"]
    archive.restore(job.id)
    assert state(database, job.id, ("srt",)) == before
    assert b"".join(files.read_recording(job.recording, 0, len(SOUND))) == SOUND

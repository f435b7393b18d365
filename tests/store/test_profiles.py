"""Profiles are kept with their files, in either store, and are nobody's orphans."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hansard.errors import UnknownProfile
from hansard.jobs import retention
from hansard.model import Failure
from hansard.perf import profile_run
from hansard.perf.profile import Capture, Stack
from hansard.store import profiles
from hansard.store.database import Database
from hansard.store.disk import Disk
from hansard.store.files import Files

FOUND = (Capture("cpu", "command 1", 2.0, (Stack("", "engine", ("f (x.py:1)",), 3, 0.03),)),)


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Files]:
    made = Disk(tmp_path, "worker")
    made.orphan_age = -1.0
    yield made
    made.close()


def test_a_profile_is_kept_read_and_removed(database: Database, files: Files) -> None:
    first = profile_run.kept(database, files, "cpu", "hansard doctor", FOUND)
    second = profile_run.kept(database, files, "cpu", "hansard doctor", FOUND)
    assert first.state == "completed"
    assert {file.name for file in first.files} == {"flamegraph", "speedscope", "samples"}
    assert [one.id for one in profiles.listing(database)] == [second.id, first.id]
    retention.drop_orphans(database, files)
    assert tuple(profile_run.samples(files, first)) == FOUND
    profiles.remove(database, files, first.id)
    assert tuple(profile_run.samples(files, second)) == FOUND  # the same bytes, kept once
    profiles.remove(database, files, second.id)
    assert not list(files.recordings())
    with pytest.raises(UnknownProfile):
        profiles.find(database, first.id)


def test_one_that_came_to_nothing_says_why(database: Database) -> None:
    row = profiles.begin(database, "memory", "service", 5.0, time.time() + 60)
    profiles.fail(database, row.id, Failure("nothing_to_profile", "Nobody took part."))
    found = profiles.find(database, row.id[:12])
    assert found.failure == Failure("nothing_to_profile", "Nobody took part.")
    with pytest.raises(UnknownProfile, match="failed"):
        profiles.file_of(found, "samples")
    lost = profiles.begin(database, "cpu", "service", 5.0, time.time() - 1)
    assert profiles.find(database, lost.id).state == "failed"
    with pytest.raises(UnknownProfile, match="More than one"):
        profiles.find(database, row.id[:4])


def test_the_oldest_make_room(
    database: Database, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profiles, "KEPT", 2)
    made = [profile_run.kept(database, files, "cpu", f"hansard {n}", FOUND) for n in range(3)]
    assert {one.id for one in profiles.listing(database)} == {made[1].id, made[2].id}

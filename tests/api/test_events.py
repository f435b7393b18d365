"""A job as it goes: everything once, in order, also for those who were cut off."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest
from tests.api.conftest import Serve, Served
from tests.api.test_transcriptions import done, error, sent
from tests.cli.conftest import Audio, encoded
from tests.quick import QuickEngine
from tests.waiting import until

from hansard.api import desk, events, watch
from hansard.api.watch import Feed, Watch
from hansard.config import load
from hansard.jobs import progress
from hansard.model import Job, Levels, Options
from hansard.wiring import House


@pytest.fixture(scope="module")
def long(speech: Audio, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two and a half minutes: a good many windows."""
    return encoded(tmp_path_factory.mktemp("long") / "long.flac", np.tile(speech, 12))


class Event(msgspec.Struct):
    name: str
    data: dict[str, Any]
    id: str | None = None


def read(lines: Iterator[str]) -> Iterator[Event | str]:
    """Events, and comments as texts, as the specification reads them."""
    name, data, number = "message", "", None
    for line in lines:
        if line.startswith(":"):
            yield line
        elif line.startswith("event: "):
            name = line[7:]
        elif line.startswith("data: "):
            assert not data, "one line of data"
            data = line[6:]
        elif line.startswith("id: "):
            number = line[4:]
        elif not line and data:
            yield Event(name, json.loads(data), number)
            name, data, number = "message", "", None
        else:
            assert not line, line


@contextmanager
def following(served: Served, where: str, last: str | None = None) -> Iterator[Iterator[Any]]:
    headers = {} if last is None else {"Last-Event-ID": last}
    with (
        httpx.Client(base_url=served.url, timeout=30, trust_env=False) as http,
        http.stream("GET", f"{where}/events", headers=headers) as said,
    ):
        assert said.status_code == 200, said.read()
        assert said.headers["content-type"].startswith("text/event-stream")
        yield read(said.iter_lines())


def all_of(served: Served, where: str, last: str | None = None) -> list[Event]:
    with following(served, where, last) as found:
        return [one for one in found if isinstance(one, Event)]


def words(found: list[Event]) -> list[tuple[int, str]]:
    return [(int(str(one.id)), one.data["text"]) for one in found if one.name == "words"]


# ── what is told ─────────────────────────────────────────────────────────────────────────────


def test_a_job_is_followed_from_its_beginning_to_its_end(
    served: Served, long: Path, quick: QuickEngine
) -> None:
    quick.hold.clear()
    job = sent(served, long).json()
    with following(served, job["links"]["self"]) as told:
        found = [next(told)]
        assert (found[0].name, found[0].data["state"] in {"queued", "running"}) == ("state", True)
        quick.hold.set()
        found += [one for one in told if isinstance(one, Event)]
    names = [one.name for one in found]
    assert names.count("end") == 1
    assert names[-2:] == ["progress", "end"]
    assert found[-1].data == {"state": "completed", "error": None}
    heard = words(found)
    assert [number for number, _ in heard] == list(range(1, len(heard) + 1))
    rows = progress.heard_since(served.house.database, job["id"], limit=500)
    assert heard == [(one.number, one.text) for one in rows]
    assert len(heard) > 5
    assert found[-1].id == f"{len(heard)}.end"
    last = found[-2].data
    assert (last["windows"], last["windows_done"], last["share"]) == (len(heard), len(heard), 1.0)
    assert last["left"] == 0.0
    stages = [one.data["stage"] for one in found if one.name == "state"]
    assert stages[-1] == "finish"
    assert {one.data["channel"] for one in found if one.name == "words"} == {0}
    shares = [one.data["windows_done"] for one in found if one.name == "progress"]
    assert shares == sorted(shares)


def test_who_was_cut_off_goes_on_without_loss_or_repeat(
    served: Served, long: Path, quick: QuickEngine
) -> None:
    """Cut off again and again while the work goes on, and behind its end."""
    quick.hold.clear()
    where = sent(served, long).json()["links"]["self"]
    found: list[tuple[int, str]] = []
    ended = False
    last: str | None = None
    while not ended:
        with following(served, where, last) as told:
            quick.hold.set()
            for one in told:
                if one.name == "words":
                    found += words([one])
                    last = one.id
                    if len(found) % 3 == 0:
                        break
                elif one.name == "end":
                    ended, last = True, one.id
    whole = words(all_of(served, where))
    assert found == whole
    assert len(found) > 5
    middle = all_of(served, where, "3")
    assert words(middle) == whole[3:]
    assert (
        served.http.get(f"{where}/events", headers={"Last-Event-ID": str(last)}).status_code == 204
    )
    by_address = served.http.get(f"{where}/events", params={"after": "4"}).text
    assert "id: 5\n" in by_address
    assert "id: 4\n" not in by_address


def test_a_job_that_another_process_does_is_followed(
    serve: Serve, long: Path, quick: QuickEngine
) -> None:
    """The service has no worker; another house, with a connection of its own, does the work."""
    served = serve(work=False)
    job = sent(served, long).json()
    with following(served, job["links"]["self"]) as told, House(load()) as other:
        assert next(told).name == "state"
        other.start()
        found = [one for one in told if isinstance(one, Event)]
    assert found[-1].name == "end"
    assert len(words(found)) == quick.heard


def test_the_end_says_why(serve: Serve, tmp_path: Path, clip: Path) -> None:
    served = serve(work=False)
    job = sent(served, clip).json()["links"]["self"]
    with following(served, job) as told:
        assert next(told).data["state"] == "queued"
        served.http.post(f"{job}/cancel")
        rest = [one for one in told if isinstance(one, Event)]
    assert rest[-1].data == {"state": "cancelled", "error": None}
    served.http.post(f"{job}/retry")
    with following(served, job, "0.end") as told:  # it is open again: there is more to be told
        assert next(told).data["state"] == "queued"
        served.http.delete(job)
        rest = [one for one in told if isinstance(one, Event)]
    assert rest[-1].name == "end"
    assert rest[-1].data["error"]["code"] == "unknown_job"
    served.house.start()
    hum = (np.sin(np.arange(5 * 16_000) / 20) * 8000).astype(np.int16)
    silent = sent(served, encoded(tmp_path / "hum.flac", hum)).json()["links"]["self"]
    (end,) = [one for one in all_of(served, silent) if one.name == "end"]
    assert (end.data["state"], end.data["error"]["code"]) == ("failed", "silent")


def test_silence_is_broken_by_comments(
    serve: Serve, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "KEEP_ALIVE", 0.1)
    served = serve(work=False)
    where = sent(served, clip).json()["links"]["self"]
    with following(served, where) as told:
        kinds = [next(told) for _ in range(5)]
    assert next(one for one in kinds if isinstance(one, str)).startswith(": ")


def test_positions_that_nobody_gave_out(served: Served, clip: Path) -> None:
    where = done(served, clip)["links"]["self"]
    for wrong in ("x", "-1", "1.5", "1.end.end", "99999999999", "1 OR 1"):
        said = served.http.get(f"{where}/events", headers={"Last-Event-ID": wrong})
        error(said, 400, "bad_request")
    ahead = served.http.get(f"{where}/events", headers={"Last-Event-ID": "999"}).text
    assert "event: end" in ahead
    assert "event: words" not in ahead


# ── what it costs ────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def watches(monkeypatch: pytest.MonkeyPatch) -> list[Watch]:
    """The watches of the services that this test starts."""
    made: list[Watch] = []

    class Known(Watch):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            made.append(self)

    monkeypatch.setattr(desk, "Watch", Known)
    return made


def test_many_followers_share_one_look_and_leave_nothing(
    serve: Serve,
    clip: Path,
    monkeypatch: pytest.MonkeyPatch,
    quick: QuickEngine,
    watches: list[Watch],
) -> None:
    looks: list[int] = []
    real = watch._look

    def count(reader: Any, version: int | None, known: dict[Any, int]) -> Any:
        looks.append(len(known))
        return real(reader, version, known)

    monkeypatch.setattr(watch, "_look", count)
    served = serve(serve={"rate": 1e6, "burst": 1000})
    quick.hold.clear()
    where = sent(served, clip).json()["links"]["self"]
    crowd = 30
    begun = threading.Barrier(crowd + 1, timeout=30)

    def follow(_: int) -> list[tuple[int, str]]:
        with following(served, where) as told:
            found = [next(told)]
            begun.wait()
            found += [one for one in told if isinstance(one, Event)]
        assert [one.name for one in found].count("end") == 1
        return words(found)

    with ThreadPoolExecutor(crowd) as pool:
        results = pool.map(follow, range(crowd))
        begun.wait()
        assert watches[0].followers == crowd
        quick.hold.set()
        assert len({tuple(one) for one in results}) == 1
    assert set(looks) <= {0, 1}, "one job, whoever follows it"
    until(lambda: watches[0].followed == 0)
    time.sleep(3 * watch.PAUSE)
    before = len(looks)
    time.sleep(3 * watch.PAUSE)
    assert len(looks) == before, "nobody looks when nobody follows"


def test_who_goes_away_is_forgotten(serve: Serve, clip: Path, watches: list[Watch]) -> None:
    served = serve(work=False)
    where = sent(served, clip).json()["links"]["self"]
    with following(served, where) as told:
        next(told)
        assert watches[0].followers == 1
    until(lambda: watches[0].followers == 0)
    assert watches[0].followed == 0


def test_a_service_that_stops_sends_followers_home(
    serve: Serve, clip: Path, watches: list[Watch]
) -> None:
    served = serve(work=False)
    where = sent(served, clip).json()["links"]["self"]
    with following(served, where) as told:
        next(told)
        watches[0].leave()  # as the server does when it is told to stop
        assert not [one for one in told if isinstance(one, Event) and one.name == "end"]
    waiting = sent(served, clip, sync="true")
    assert waiting.status_code == 202, "who waits is not held up either"


def test_streams_are_counted(serve: Serve, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "_MOST", 1)
    served = serve(work=False)
    where = sent(served, clip).json()["links"]["self"]
    with following(served, where) as told:
        next(told)
        full = served.http.get(f"{where}/events")
        error(full, 429, "too_much")
        assert full.headers["retry-after"]


# ── a feed ───────────────────────────────────────────────────────────────────────────────────


def job(**given: Any) -> Job:
    plain = {
        "id": "j", "kind": "transcribe", "state": "running", "step": "listen", "priority": 5,
        "recording": "r", "options": Options("e", "m"), "created": 0.0,
        "levels": Levels(1, 0, 0, 0, 0, 0, 0),
    }  # fmt: skip
    return Job(**{**plain, **given})


def heard(*numbers: int) -> list[progress.Heard]:
    return [progress.Heard(n, n, 0, float(n), str(n)) for n in numbers]


def test_a_feed_has_no_holes() -> None:
    async def use() -> None:
        feed = Feed("local", "j")
        assert feed.recent(0) is None
        feed.tell(job(heard=2), [])
        assert feed.recent(0) is None, "what was before the first look is in the store"
        feed.tell(job(heard=4), heard(3, 4))
        assert feed.recent(1) is None
        assert feed.recent(2) == heard(3, 4)
        assert feed.recent(3) == heard(4)
        feed.tell(job(heard=100), heard(*range(5, 55)))
        assert feed.recent(4) is None, "more were done than were read"
        feed.tell(job(heard=101), heard(101))
        assert feed.recent(100) == heard(101)
        assert feed.recent(99) is None
        feed.tell(job(heard=101, language="en"), [])
        assert feed.recent(100) == heard(101)
        seen = feed.version
        feed.tell(job(heard=101, language="en"), [])
        assert not await feed.changed(seen, 0.01), "nothing new wakes nobody"
        feed.tell(None, [])
        assert await feed.changed(seen, 0.01)
        assert feed.gone

    asyncio.run(use())


def test_speed_is_measured_over_the_last_half_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "time", lambda: now)

    async def use() -> None:
        nonlocal now
        rate, feed = 16_000, Feed("local", "j")
        half = {"position": 3600 * rate, "planned_samples": 1800 * rate, "started": 990.0}
        assert feed.pace() == watch.Pace()
        feed.tell(job(**half), [])
        assert feed.pace() == watch.Pace(), "nothing was done yet"
        feed.tell(job(**half, heard=1, heard_samples=100 * rate), [])
        # Half of the recording is speech: 100 s of it in 10 s are 200 s of the recording.
        assert feed.pace() == watch.Pace(20.0, 170.0)
        for second in range(1, 41):  # now at a tenth of that speed
            now = 1000.0 + second
            feed.tell(job(**half, heard=1, heard_samples=(100 + second) * rate), [])
        assert feed.pace() == watch.Pace(2.0, 1660.0)
        early = {"position": 360 * rate, "planned_samples": 180 * rate, "seconds": 3600.0}
        feed.tell(job(**early, step="prepare", started=990.0, heard_samples=141 * rate), [])
        pace = feed.pace()
        assert pace.left is not None
        assert pace.left > 1600, "what is not prepared yet counts as well"

    asyncio.run(use())

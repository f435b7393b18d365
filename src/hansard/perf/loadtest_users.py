"""The users of a load test, a process of its own: Locust patches all that it touches.

Started by ``hansard.perf.loadtest``. Reads an ``Order`` (``loadtest_figures``) from standard input,
and writes a line of JSON to standard output for each second: a ``Moment``. What is said beside that
(``{"note": …}``) is for the report.

A latency is the time from the moment that a request was *due* until its answer was read whole.
Without a rate that is the moment in which it is sent: a user who waits for a slow answer asks less
often, so such figures flatter a slow server. With a rate, visits are due at the points of a Poisson
process that heeds no answer; one that finds all users busy waits for one, and its waiting
counts. That is what "free of coordinated omission" means (Tene, How not to measure latency, 2013).
"""

from __future__ import annotations

import itertools
import math
import random
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

import gevent
import gevent.event
import gevent.queue
import msgspec
import numpy as np
from locust import FastHttpUser
from locust.contrib.fasthttp import FastHttpSession
from locust.env import Environment
from locust.exception import StopUser
from numpy.typing import NDArray

from hansard import telemetry
from hansard.perf.loadtest_figures import SCENARIOS, SENT, Moment, Order
from hansard.perf.loadtest_live import session
from hansard.perf.loadtest_speech import Clips, speech, wav

_BOUNDARY = "hansard-load-test"
_BLOCK = 64 * 1024
_PAGE = 200
"""Jobs that are asked for at once to see which have ended."""

_LOOK_SECONDS = 0.5
"""Between two looks at which jobs have ended."""

_LATE_SECONDS = 0.01

_WORDS = ("the", "budget", "committee", "meeting", "question", "thank", "report", "about")
"""Searched for where the store has no words of its own to offer."""


class Answer(msgspec.Struct):
    """What came back; ``status`` 0: nothing did."""

    status: int
    body: bytes
    sent: float
    """When the request was sent, on ``time.perf_counter``; all of it, where it was long …"""
    read: float
    """… and when its answer was read whole."""

    @property
    def code(self) -> str:
        """The error's code, or what there is instead of one."""
        if not self.status:
            return "no_answer"
        try:
            return str(msgspec.json.decode(self.body)["error"]["code"])
        except (msgspec.DecodeError, KeyError, TypeError):
            return f"http_{self.status}"


class Door:
    """The way to the service: its address and the key; redirects are not followed."""

    def __init__(self, order: Order) -> None:
        events = Environment().events
        self._session = FastHttpSession(order.url, events.request, user=None, insecure=False)
        self._headers = {"Authorization": f"Bearer {order.key}"} if order.key else {}

    def ask(self, method: str, path: str, form: bytes | None = None) -> Answer:
        """One request. ``form``: a multipart body."""
        begun = time.perf_counter()
        headers, marks = dict(self._headers), [begun]
        if form is not None:
            headers["Content-Type"] = f"multipart/form-data; boundary={_BOUNDARY}"
        found: Any = self._session.request(
            method,
            path,
            data=None if form is None else _noted(form, marks),  # type: ignore[arg-type]  # bodies may be streams
            headers=headers,
            allow_redirects=False,
        )
        return Answer(found.status_code, found.content or b"", marks[-1], time.perf_counter())

    def json(self, path: str) -> Any:
        """What a path answers; ``None`` where it refuses."""
        answer = self.ask("GET", path)
        return msgspec.json.decode(answer.body) if answer.status == 200 else None


def _noted(body: bytes, marks: list[float]) -> Iterator[bytes]:
    """Pieces of a body; ``marks`` gets the moment at which the last was handed to the system."""
    for start in range(0, len(body), _BLOCK):
        yield body[start : start + _BLOCK]
    marks.append(time.perf_counter())


def _form(fields: Mapping[str, str], file: bytes) -> bytes:
    parts = [
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    named = 'Content-Disposition: form-data; name="file"; filename="load test.wav"'
    head = f"--{_BOUNDARY}\r\n{named}\r\nContent-Type: audio/wav\r\n\r\n"
    return "".join([*parts, head]).encode() + file + f"\r\n--{_BOUNDARY}--\r\n".encode()


class Ground:
    """What all users share: what there is to ask for, and what is still under way."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.clips = Clips(order.clip, order.seed)
        self.chance = random.Random(order.seed)  # noqa: S311  # no secret
        self.jobs: list[str] = []
        self.meetings: list[str] = []
        self.words: list[str] = list(_WORDS)
        self.open: dict[str, gevent.event.Event] = {}
        """Transcriptions that were submitted and have not ended."""
        self.following: set[str] = set()
        """Those that ended, and what follows them has not; it may be turned off …"""
        self.followed = False
        """… or still be under way."""
        self.visits = itertools.count(1)
        self.due: gevent.queue.Queue[float] = gevent.queue.Queue()
        self.over = gevent.event.Event()
        """Nobody begins another visit …"""
        self.gone = gevent.event.Event()
        """… and all have ended theirs."""
        self.late = 0
        self.known = 0
        """Uploads that the service had heard before: nothing is to be seen of its speed there."""
        self.fault: Exception | None = None

    # ── before the test ──────────────────────────────────────────────────────────────────────

    def prepare(self) -> None:
        """Look what there is to read; where there is nothing, submit two recordings first."""
        wanted = set(SCENARIOS[self.order.scenario])
        if not wanted & {"status", "meeting", "transcript", "search", "list"}:
            return
        door = Door(self.order)
        page = door.json(f"/api/v1/transcriptions?limit={_PAGE}") or {"items": []}
        if not any(job["state"] == "completed" for job in page["items"]):
            say("The store had nothing to read: two recordings were submitted before the test.")
            for seed in (1, 2):
                self.submit(door, speech(self.order.clip, self.order.seed + 1000 * seed))
            self._wait(door)
            page = door.json(f"/api/v1/transcriptions?limit={_PAGE}") or {"items": []}
        self.jobs = [job["id"] for job in page["items"]]
        self.meetings = [job["id"] for job in page["items"] if job["state"] == "completed"]
        if "search" in wanted:
            self._learn(door)

    def _learn(self, door: Door) -> None:
        """Search for words that were said."""
        heard: dict[str, None] = {}
        for job in self.meetings[:5]:
            found = door.json(f"/api/v1/transcriptions/{job}") or {}
            text = (found.get("transcript") or {}).get("text", "")
            heard.update(dict.fromkeys(word.strip(".,;:!?").lower() for word in text.split()))
        words = [word for word in heard if word.isalpha() and len(word) > 2]
        if words:
            self.words = self.chance.sample(words, min(50, len(words)))
        else:
            say("The store has no words: searches were for words that nobody said.")

    def submit(self, door: Door, samples: NDArray[np.int16]) -> None:
        """Let the service hear something before the test."""
        answer = door.ask("POST", "/api/v1/transcriptions", self.form(wav(samples)))
        if answer.status in {200, 202}:
            job = msgspec.json.decode(answer.body)
            if job["finished"] is None:
                self.open[job["id"]] = gevent.event.Event()
        else:
            say(f"A recording was refused before the test: {answer.code}.")

    def form(self, file: bytes) -> bytes:
        """The body of an upload."""
        return _form({"model": self.order.model} if self.order.model else {}, file)

    def _wait(self, door: Door) -> None:
        end = time.monotonic() + self.order.patience
        while self.open and time.monotonic() < end:
            self.look(door, count=False)
            gevent.sleep(0.1)
        self.open.clear()
        self.following.clear()

    # ── what was submitted ───────────────────────────────────────────────────────────────────

    def look(self, door: Door, *, count: bool = True) -> None:
        """See which jobs have ended, and how long they took."""
        page = door.json(f"/api/v1/jobs?limit={_PAGE}") or {"items": []}
        found = {job["id"]: job for job in page["items"]}
        for job in [*self.open][:5]:
            if job not in found and (one := door.json(f"/api/v1/jobs/{job}")):
                found[job] = one
        self.followed = False
        for job in found.values():
            if job["finished"] is None:
                self.followed |= job["parent"] in self.following
            elif job["id"] in self.open:
                self.open.pop(job["id"]).set()
                if job["state"] == "completed":
                    self.jobs.append(job["id"])
                    self.meetings.append(job["id"])
                    self.following.add(job["id"])
                if count:
                    _ended(job, "transcription", (job["started"], job["seconds"]))
            elif job["kind"] == "insight" and job["parent"] in self.following:
                self.following.discard(job["parent"])
                if count:
                    _ended(job, "findings", (job["created"], 1.0))

    def watch(self) -> None:
        """Look again and again, until all has ended or patience has."""
        door = Door(self.order)
        end: float | None = None
        while end is None or ((self.open or self.followed) and time.monotonic() < end):
            if self.open or self.following:
                self.look(door)
            if end is None and self.gone.wait(_LOOK_SECONDS):
                end = time.monotonic() + self.order.patience
            elif end is not None:
                gevent.sleep(_LOOK_SECONDS / 5)


def _ended(job: Mapping[str, Any], operation: str, since: tuple[float, float]) -> None:
    """Count a job that has ended: how long after a moment, for so many seconds of audio."""
    if job["state"] == "completed":
        telemetry.record(operation, max(0.0, job["finished"] - since[0]) / max(1e-9, since[1]))
    else:
        code = (job["error"] or {}).get("code", job["state"])
        telemetry.count(f"{operation}!{code}")


# ── what users do ────────────────────────────────────────────────────────────────────────────


class Visitor(FastHttpUser):
    """Somebody who visits the service, again and again."""

    abstract = True
    ground: Ground
    due = 0.0

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self.door = Door(self.ground.order)

    def wait_time(self) -> float:
        """Seconds until the next visit: none where the rate is given."""
        order = self.ground.order
        return 0.0 if order.rate else order.think * self.ground.chance.uniform(0.5, 1.5)

    def get(self, operation: str, path: str) -> None:
        """A request that only reads."""
        begun = time.perf_counter()
        answer = self.door.ask("GET", path)
        self.told(operation, answer, begun, expected=(200, 304))

    def told(self, operation: str, answer: Answer, begun: float, expected: tuple[int, ...]) -> bool:
        """Record how long it took, or why it failed."""
        if answer.status not in expected:
            telemetry.count(f"{operation}!{answer.code}")
            return False
        since = self.due if self.ground.order.rate else begun
        telemetry.record(operation, answer.read - since - (answer.sent - begun))
        if self.ground.order.rate:
            telemetry.record(f"{operation}{SENT}", answer.read - answer.sent)
        return True


def _status(user: Visitor) -> None:
    user.get("status", f"/api/v1/jobs/{_one(user, user.ground.jobs)}")


def _meeting(user: Visitor) -> None:
    user.get("meeting", f"/api/v1/meetings/{_one(user, user.ground.meetings)}")


def _transcript(user: Visitor) -> None:
    user.get("transcript", f"/api/v1/transcriptions/{_one(user, user.ground.meetings)}")


def _list(user: Visitor) -> None:
    user.get("list", "/api/v1/meetings?limit=50")


def _health(user: Visitor) -> None:
    user.get("health", "/api/v1/health")


def _search(user: Visitor) -> None:
    words = user.ground.chance.sample(user.ground.words, min(2, len(user.ground.words)))
    asked = " ".join(words[: user.ground.chance.choice((1, 1, 2))])
    user.get("search", f"/api/v1/search?q={quote(asked)}")


def _upload(user: Visitor) -> None:
    """Submit a recording; without a rate, wait for its words, as people do."""
    ground = user.ground
    form = ground.form(wav(ground.clips.next()))
    begun = time.perf_counter()
    answer = user.door.ask("POST", "/api/v1/transcriptions", form)
    if user.told("upload", answer, begun, expected=(200, 202)):
        job = msgspec.json.decode(answer.body)
        if job["finished"] is not None:
            ground.known += 1
            return
        ended = ground.open.setdefault(job["id"], gevent.event.Event())
        if not ground.order.rate and ground.order.scenario == "upload":
            while not ground.over.is_set() and not ended.wait(0.5):
                pass


def _live(user: Visitor) -> None:
    """Speak, in real time, and wait for the words."""
    ground = user.ground
    session(ground.order, ground.clips.next())


def _one(user: Visitor, ids: list[str]) -> str:
    """Any of the last hundred: people look at what is new."""
    return user.ground.chance.choice(ids[-100:]) if ids else "none"


DO: Mapping[str, Callable[[Visitor], None]] = {
    "status": _status,
    "meeting": _meeting,
    "transcript": _transcript,
    "list": _list,
    "health": _health,
    "search": _search,
    "upload": _upload,
    "live": _live,
}


def _task(do: Callable[[Visitor], None]) -> Callable[[Visitor], None]:
    """Do it when it is due, for as long as there is something to be done."""

    def visit(user: Visitor) -> None:
        ground = user.ground
        order = ground.order
        if order.rate:
            user.due = ground.due.get()
            if user.due == math.inf:
                raise StopUser
            ground.late += time.perf_counter() - user.due > _LATE_SECONDS
        if order.requests is not None and next(ground.visits) > order.requests:
            ground.over.set()
            raise StopUser
        try:
            do(user)
        except Exception as error:
            # Locust would log it and go on: a fault of ours must not pass for one of the service.
            ground.fault = error
            ground.over.set()
            raise StopUser from error

    return visit


# ── the test ─────────────────────────────────────────────────────────────────────────────────


def arrive(ground: Ground) -> None:
    """Let visits become due at the points of a Poisson process."""
    order = ground.order
    assert order.rate is not None
    due = time.perf_counter()
    while not ground.over.is_set():
        due += ground.chance.expovariate(order.rate)
        gevent.sleep(max(0.0, due - time.perf_counter()))
        ground.due.put(due)


def say(note: str) -> None:
    """A sentence for the report."""
    _put({"note": note})


def run(order: Order) -> None:
    """Let the users loose, and tell what they saw, second by second."""
    ground = Ground(order)
    ground.prepare()
    random.seed(order.seed)  # Locust chooses with it what comes next
    telemetry.reset()
    tasks = {_task(DO[name]): weight for name, weight in SCENARIOS[order.scenario].items()}
    kind = type("User", (Visitor,), {"tasks": tasks, "host": order.url, "ground": ground})
    environment = Environment(
        user_classes=[kind], catch_exceptions=False, stop_timeout=order.patience
    )
    runner = environment.create_local_runner()
    watch = gevent.spawn(ground.watch)
    runner.start(order.users, spawn_rate=max(1.0, order.users / 2.0))
    if order.rate:
        gevent.spawn(arrive, ground)
    begun = time.perf_counter()
    last, whole = 0.0, order.warmup + (order.duration or 0.0)
    while not ground.over.is_set():
        left = 1.0 if order.duration is None else whole - (time.perf_counter() - begun)
        until_counted = order.warmup - last
        pause = min(1.0, left, until_counted if until_counted > 1e-3 else 1.0)
        ground.over.wait(max(0.0, pause))
        now = time.perf_counter() - begun
        _tell(last, now, runner.user_count, warm=last < order.warmup - 1e-3)
        last = now
        if order.duration is not None and now >= whole - 1e-3:
            ground.over.set()
    if waiting := len(ground.due):
        telemetry.count("visits!not_begun", waiting)  # who never came to the door was not served
        say(f"{waiting} visits were due and had not begun when the test ended: they failed.")
        ground.due.queue.clear()
    for _ in range(order.users):
        ground.due.put(math.inf)
    runner.stop()  # lets everybody end a visit: what is slow must not be left out
    ground.gone.set()
    watch.get()  # with what went wrong there, if anything did
    if ground.open:
        telemetry.count("transcription!not_ended", len(ground.open))
        after = f"{order.patience:g} s after the last visit"
        say(f"{len(ground.open)} recordings had not ended {after}: they failed.")
    _tell(last, time.perf_counter() - begun, 0, warm=False)
    if ground.late:
        late = f"more than {1000 * _LATE_SECONDS:g} ms after they were due"
        say(f"{ground.late} visits began {late}; that is a part of their latency.")
    if ground.known:
        say(f"{ground.known} recordings were known already, by this seed: take another --seed.")
    runner.quit()
    if ground.fault is not None:
        raise ground.fault


def _tell(since: float, now: float, users: int, *, warm: bool) -> None:
    seen = telemetry.snapshot()
    telemetry.reset()
    moment = Moment(since, now - since, users, warm, seen.timings, seen.counters)
    _put({"moment": moment})


def _put(line: object) -> None:
    sys.stdout.write(msgspec.json.encode(line).decode() + "\n")
    sys.stdout.flush()


def main() -> None:
    """Read the order, and carry it out."""
    run(msgspec.json.decode(sys.stdin.buffer.read(), type=Order))

"""At least 200 kills over a batch of jobs: nothing lost, nothing twice, nobody left.

    python bench/chaos.py [--kills 200] [--jobs 40] [--seed 1]

A real service with a quick engine (``tests/flow/launched.py``), jobs sent through the API while,
at random moments, one of these happens:

* SIGKILL of a worker, of the API, of the supervisor alone, of everything at once;
* a worker is stopped beyond its lease and goes on afterwards: what it brings must be refused;
* another process holds the store's write lock for seconds, and is killed with it.

Then everything must be completed, every job once, transcripts equal to an undisturbed run byte for
byte, and no process left.
"""

from __future__ import annotations

import argparse
import itertools
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import rig
import speech

sys.path.insert(0, str(rig.ROOT))

from tests.flow.running import Service

LEASE = 2.0
"""Seconds: short, so that a worker can be stopped beyond it many times."""

IN_HAND = 4
"""Windows in the hands of one worker: two lanes, two windows each."""

KINDS = {"worker": 8, "api": 4, "all": 3, "supervisor": 2, "stopped": 2, "locked": 1}
"""What happens, and how often among all."""

LOCK = """
import sys, time
from hansard.store.sqlite import sqlite_module
store = sqlite_module().connect(sys.argv[1], isolation_level=None, timeout=30)
store.execute("BEGIN IMMEDIATE")
print("held", flush=True)
time.sleep(60)
"""


def service(folder: Path, slow: float) -> Service:
    return Service(
        folder,
        *("--workers", "2"),
        HANSARD_TEST_SLOW=str(slow),
        HANSARD_LEASE_SECONDS=str(LEASE),
        HANSARD_ATTEMPTS="1000",  # these deaths are not the fault of any unit
        HANSARD_SERVE__RATE="1000000",
        HANSARD_SERVE__BURST="100000",
        HANSARD_MEETINGS__FOLLOW_UP="false",  # jobs are counted
    )


def finished(one: Service, count: int) -> bool:
    states = one.states()
    return len(states) == count and set(states.values()) == {"completed"}


def stop_beyond_the_lease(one: Service) -> bool:
    worker = one.child("worker")
    if worker is None:
        return False
    worker.send_signal(signal.SIGSTOP)
    time.sleep(LEASE + 0.5)
    worker.send_signal(signal.SIGCONT)
    return True


def hold_the_lock(one: Service, seconds: float) -> bool:
    holder = subprocess.Popen(
        [sys.executable, "-c", LOCK, str(one.data / "hansard.db")], stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    held = holder.stdout.readline() == b"held\n"
    time.sleep(seconds)
    holder.kill()  # the connection dies with its transaction open
    holder.wait()
    holder.stdout.close()
    return held


def hit(one: Service, kind: str, chance: random.Random) -> bool:
    if kind == "stopped":
        return stop_beyond_the_lease(one)
    if kind == "locked":
        return hold_the_lock(one, chance.uniform(0.5, 3.0))
    done = one.kill(kind)
    if kind in ("all", "supervisor"):
        one.start(wait=chance.random() < 0.7)
    return done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    chance = random.Random(given.seed)
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        media = root / "media"
        media.mkdir()
        batch = speech.half_minutes(media, given.jobs, apart=7)
        calm = service(root / "calm", 0.0)
        calm.start()
        for recording in batch:
            calm.submit(recording)
        rig.until(lambda: finished(calm, len(batch)), "the undisturbed run", 600)
        assert calm.stop() == 0

        # Slow enough that there is work in hand from the first kill to the last.
        rough = service(root / "rough", 0.5)
        rough.start()
        waiting, kills = list(batch), Counter[str]()
        names, weights = list(KINDS), list(KINDS.values())
        begun = time.perf_counter()
        for turn in itertools.count():
            if kills.total() >= given.kills:
                break
            if waiting and turn % max(1, given.kills // given.jobs) == 0:
                rough.submit(waiting.pop())
            time.sleep(chance.uniform(0.0, 1.0))
            kind = chance.choices(names, weights)[0]
            kills[kind] += hit(rough, kind, chance)
            if turn % 20 == 19:
                print(f"  {kills.total():>4} kills, {len(batch) - len(waiting)} jobs", flush=True)
        for recording in waiting:
            rough.submit(recording)
        open_at_the_end = sum(state != "completed" for state in rough.states().values())
        rig.until(lambda: finished(rough, len(batch)), "everything is completed", 1200)
        rig.until(rough.is_up, "it is up")
        code = rough.stop()  # fails where a process is left
        seconds = time.perf_counter() - begun
        heard, once = rough.heard(), calm.heard()
        again = heard.total() - once.total()
        same = rough.transcripts() == calm.transcripts()
        scraps = [str(p) for n in ("tmp", "pcm", "workers") for p in (rough.data / n).glob("*")]
        figures = {
            "kills": kills.total(),
            "by_kind": dict(kills),
            "jobs": len(batch),
            "jobs_completed": len(rough.states()),
            "open_when_the_last_kill_came": open_at_the_end,
            "windows": once.total(),
            "heard_again": again,
            "heard_again_at_most_in_hand": again <= 2 * IN_HAND * kills.total(),
            "same_bytes": same,
            "exit_code": code,
            "processes_left": 0,
            "scraps": scraps,
            "seconds": round(seconds, 1),
        }
    rig.report("chaos", figures)
    if not same or scraps or code:
        sys.exit(1)


if __name__ == "__main__":
    main()

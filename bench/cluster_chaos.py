"""At least 200 kills of a service on several hosts: nothing lost, nothing twice, nobody left.

    python bench/cluster_chaos.py [--kills 200] [--jobs 100] [--hosts 3] [--seed 1]
                                  [--broker amqp://guest:guest@127.0.0.1:5672] [--s3]

A PostgreSQL of the bench's own, `hansard serve --no-worker` on one data directory, workers on
others, a quick engine (``tests/flow/launched.py``), jobs sent through the API; every host talks to
the database by a wire of its own. While they work, at random moments, one of these happens:

* SIGKILL of a worker, of the API, of the supervisor alone, of the whole front at once, and of
  workers at named points of the code;
* a worker is stopped beyond its lease and goes on afterwards;
* a host is cut off from the database for longer than the lease: nothing comes through, nothing is
  closed, and what was on its way arrives late, or the connections are reset;
* the connections of a host are reset;
* the database crashes (an immediate stop) and starts again;
* with ``--broker``: the broker's connections are reset or held, its queues are purged;
* with ``--s3``: an object store (moto) behind a wire that answers 503 and cuts streams, all along.

Then everything must be completed, every job once, no window heard twice beyond those in hand,
transcripts equal to an undisturbed run byte for byte, and nothing left: tokens, scratch, prepared
audio, connections, processes.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import cluster
import httpx
import rig
import speech

sys.path.insert(0, str(rig.ROOT))

from tests.flow.hosts import Cluster
from tests.flow.wire import Wire

LEASE = 3.0
"""Seconds: short, so that a host can be cut off beyond it many times."""

IN_HAND = 4
"""Windows in the hands of one worker: two lanes, two windows each."""

KINDS = {
    "worker": 10,
    "point": 4,
    "api": 4,
    "front": 2,
    "supervisor": 2,
    "stopped": 2,
    "partition": 3,
    "reset": 3,
    "database": 1,
    "middleman": 2,
}
"""What happens, and how often among all."""

COUNTS_AS_KILL = frozenset({"worker", "point", "api", "front", "supervisor"})

POINTS = [
    "hansard.jobs.queue:Queue.claim_steps:after",
    "hansard.jobs.queue:Queue.add_windows:after",
    "hansard.jobs.queue:Queue.end_prepare:before",
    "hansard.jobs.queue:Queue.end_prepare:after",
    "hansard.jobs.queue:Queue.claim_windows:after",
    "hansard.jobs.queue:Queue.record:before",
    "hansard.jobs.queue:Queue.record:after",
    "hansard.store.transcripts:save:before",
    "hansard.store.transcripts:save:after",
    "hansard.jobs.queue:Queue.complete:before",
    "hansard.jobs.queue:Queue.complete:after",
    "hansard.jobs.queue:Queue.renew:before",
]


def finished(one: Cluster, count: int) -> bool:
    states = one.front.states()
    return len(states) == count and set(states.values()) == {"completed"}


class Rough:
    """A cluster, and what can happen to it."""

    def __init__(
        self, one: Cluster, server: cluster.Server, broker: Broker | None, chance: random.Random
    ) -> None:
        self.one = one
        self.server = server
        self.broker = broker
        self.chance = chance
        self.points = one.folder / "points"
        self.hit = Counter[str]()
        self.names = [name for name in KINDS if name != "middleman" or broker is not None]

    def strike(self) -> None:
        """One thing happens."""
        kind = self.chance.choices(self.names, [KINDS[name] for name in self.names])[0]
        self.hit[kind] += bool(getattr(self, kind)())
        self.one.see()

    def kills(self) -> int:
        return sum(self.hit[kind] for kind in COUNTS_AS_KILL)

    def in_hand(self) -> int:
        """Windows that were in somebody's hands when something happened, at the most."""
        ones = sum(self.hit[kind] for kind in ("worker", "point", "stopped", "partition", "reset"))
        return IN_HAND * (ones + len(self.one.workers) * self.hit["database"])

    def worker(self) -> bool:
        one = self.chance.choice(self.one.workers)
        done = one.kill()
        one.deaths -= 1  # this one is counted here
        if self.chance.random() < 0.3:
            time.sleep(self.chance.uniform(0, LEASE * 1.5))  # a host that stays away
        one.start()
        return done

    def point(self) -> bool:
        """The next process that comes to a point dies there: the file tells which."""
        nth = self.chance.randrange(1, 4)
        mark = self.points / f"worker {nth} {self.chance.choice(POINTS)}"
        if mark.exists():
            return False
        mark.touch()
        self.worker()  # a new process, which reads the points
        self.hit["worker"] += 1
        end = time.monotonic() + 15
        while mark.exists() and time.monotonic() < end:
            time.sleep(0.05)
        reached = not mark.exists()
        mark.unlink(missing_ok=True)
        return reached

    def api(self) -> bool:
        return self.one.front.kill("api")

    def supervisor(self) -> bool:
        return self._again("supervisor")

    def front(self) -> bool:
        return self._again("all")

    def _again(self, what: str) -> bool:
        done = self.one.front.kill(what)
        self.one.front.start(wait=False)
        return done

    def stopped(self) -> bool:
        one = self.chance.choice(self.one.workers)
        if one.process is None or not one.alive():
            return False
        one.process.send_signal(signal.SIGSTOP)
        time.sleep(LEASE * self.chance.uniform(1.1, 2.0))
        one.process.send_signal(signal.SIGCONT)
        return True

    def partition(self) -> bool:
        wire = self.chance.choice(self.one.wires)
        wire.hold()
        time.sleep(LEASE * self.chance.uniform(1.1, 2.5))
        if self.chance.random() < 0.5:
            wire.cut()
        wire.let_go()
        return True

    def reset(self) -> bool:
        self.chance.choice(self.one.wires).cut()
        return True

    def database(self) -> bool:
        self.server.stop("immediate")
        time.sleep(self.chance.uniform(0, 3))
        self.server.start()
        return True

    def middleman(self) -> bool:
        assert self.broker is not None
        return self.broker.disturb(self.chance)


class Broker:
    """A virtual host of a RabbitMQ of this machine, behind a wire."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.name = f"hansard-chaos-{os.getpid()}"
        self._ctl("add_vhost", self.name)
        self._ctl("set_permissions", "-p", self.name, parts.username or "guest", ".*", ".*", ".*")
        self.wire = Wire(parts.port or 5672)
        login = f"{parts.username or 'guest'}:{parts.password or 'guest'}"
        self.url = f"amqp://{login}@127.0.0.1:{self.wire.port}/{self.name}"

    @staticmethod
    def _ctl(*words: str) -> str:
        done = subprocess.run(
            ["rabbitmqctl", "-q", *words], check=True, capture_output=True, text=True
        )
        return done.stdout

    def queues(self) -> list[str]:
        return self._ctl("list_queues", "-p", self.name, "name", "--no-table-headers").split()

    def disturb(self, chance: random.Random) -> bool:
        what = chance.choice(["cut", "hold", "purge", "away"])
        if what == "cut":
            self.wire.cut()
        elif what == "hold":
            self.wire.hold()
            time.sleep(chance.uniform(1, 4))
            self.wire.let_go()
        elif what == "purge":
            for queue in self.queues():
                self._ctl("purge_queue", "-p", self.name, queue)
        else:
            self.wire.refuse()
            time.sleep(chance.uniform(1, 8))
            self.wire.refuse(on=False)
        return True

    def close(self) -> None:
        self.wire.close()
        self._ctl("delete_vhost", self.name)


@contextmanager
def object_store(broken: float) -> Iterator[tuple[str, dict[str, str], Wire]]:
    """A bucket in moto's server, which answers 503 and cuts streams as often as said."""
    port = cluster.free_port()
    command = [sys.executable, "-m", "moto.server", "-p", str(port), "-H", "127.0.0.1"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wire = Wire(port, chance=random.Random(11))
    try:
        rig.until(lambda: _answers(f"http://127.0.0.1:{port}/"), "moto answers")
        httpx.put(f"http://127.0.0.1:{port}/chaos", trust_env=False).raise_for_status()
        wire.broken = broken
        said = {
            "HANSARD_S3__ENDPOINT": f"http://127.0.0.1:{wire.port}",
            "HANSARD_S3__REGION": "us-east-1",
            "HANSARD_S3__ACCESS_KEY": "chaos",
            "HANSARD_S3__SECRET_KEY": "chaos",
        }
        yield "s3://chaos/library", said, wire
    finally:
        wire.close()
        process.terminate()
        process.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).status_code < 500
    except httpx.TransportError:
        return False


def settings(slow: float) -> dict[str, str]:
    return {
        "HANSARD_TEST_SLOW": str(slow),
        "HANSARD_LEASE_SECONDS": str(LEASE),
        "HANSARD_ATTEMPTS": "1000",  # these deaths are not the fault of any unit
        "HANSARD_SERVE__RATE": "1000000",
        "HANSARD_SERVE__BURST": "100000",
        "HANSARD_SERVE__PATIENCE": "20",
        "HANSARD_MEETINGS__FOLLOW_UP": "false",  # jobs are counted
    }


def calm_run(server: cluster.Server, root: Path, batch: list[Path]) -> Cluster:
    """The same jobs, undisturbed, over plain directories."""
    calm = Cluster(root, server.address(server.database()), workers=1, **settings(0.0))
    calm.start()
    for recording in batch:
        calm.front.submit(recording)
    rig.until(lambda: finished(calm, len(batch)), "the undisturbed run", 900)
    assert calm.stop() == 0
    return calm


def rough_run(rough: Rough, batch: list[Path], given: argparse.Namespace) -> tuple[int, int]:
    """Strike until it is enough, then let it come to its end; jobs open at the end, exit code."""
    waiting, turn = list(batch), 0
    while rough.kills() < given.kills:
        if waiting and turn % max(1, given.kills // given.jobs) == 0:
            name = rough.one.front.send(waiting[-1])
            if name is not None:
                waiting.pop()
        time.sleep(rough.chance.uniform(0.0, 0.8))
        rough.strike()
        turn += 1
        if turn % 20 == 0:
            states = Counter(rough.one.front.states().values())
            print(f"  {rough.kills():>4} kills {dict(rough.hit)}, {dict(states)}", flush=True)
    for recording in waiting:
        rough.one.front.submit(recording)
    still_open = sum(state != "completed" for state in rough.one.front.states().values())

    def over() -> bool:
        rough.one.see()
        return finished(rough.one, len(batch))

    rig.until(over, "everything is completed", 1200)

    def up() -> bool:
        rough.one.see()
        return rough.one.is_up()

    rig.until(up, "it is up")
    return still_open, rough.one.stop()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=100)
    parser.add_argument("--hosts", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--slow", type=float, default=0.5, help="seconds for each window")
    parser.add_argument("--broker", help="a RabbitMQ on which virtual hosts may be made")
    parser.add_argument("--s3", action="store_true")
    parser.add_argument("--broken", type=float, default=0.05, help="share of bad answers of S3")
    parser.add_argument("--keep", type=Path, help="leave everything in this directory")
    given = parser.parse_args()
    chance = random.Random(given.seed)
    with ExitStack() as stack:
        root = given.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        media = root / "media"
        media.mkdir(parents=True)
        batch = speech.half_minutes(media, given.jobs, apart=3)
        server = stack.enter_context(cluster.server())
        calm = calm_run(server, root / "calm", batch)
        stack.callback(calm.close)

        said, files, wire = settings(given.slow), None, None
        broker = None
        if given.s3:
            files, more, wire = stack.enter_context(object_store(given.broken))
            said |= more
        if given.broker:
            broker = Broker(given.broker)
            stack.callback(broker.close)
            said["HANSARD_BROKER"] = broker.url
        (root / "rough" / "points").mkdir(parents=True)
        said["HANSARD_TEST_POINTS"] = str(root / "rough" / "points")
        address = server.address(server.database())
        one = Cluster(root / "rough", address, workers=given.hosts, files=files, **said)
        stack.callback(one.close)
        one.start()
        rough = Rough(one, server, broker, chance)
        begun = time.perf_counter()
        still_open, code = rough_run(rough, batch, given)
        seconds = time.perf_counter() - begun
        heard, once = one.heard(), calm.heard()
        again = heard.total() - once.total()
        in_hand = rough.in_hand() + IN_HAND * sum(max(0, w.deaths) for w in one.workers)
        same = one.front.transcripts() == calm.front.transcripts()
        left = one.left_over()
        figures = {
            "hosts": given.hosts,
            "kills": rough.kills(),
            "by_kind": dict(rough.hit),
            "jobs": len(batch),
            "jobs_completed": len(one.front.states()),
            "open_when_the_last_kill_came": still_open,
            "windows": once.total(),
            "heard_again": again,
            "heard_again_at_most_in_hand": again <= in_hand,
            "windows_never_heard": len(set(once) - set(heard)),
            "same_bytes": same,
            "exit_code": code,
            "started_again_since_the_store_was_away": {
                "front": one.front.gave_up,
                "workers": sum(worker.gave_up for worker in one.workers),
            },
            "left_over": left,
            "answers": {str(status): count for status, count in one.front.answers.items()},
            "refusals": dict(one.front.refusals.most_common(5)),
            "s3_faults": wire.faults if wire is not None else None,
            "broker": bool(given.broker),
            "seconds": round(seconds, 1),
        }
        rig.report("cluster_chaos", figures)
        if not same or left or code:
            sys.exit(1)


if __name__ == "__main__":
    main()

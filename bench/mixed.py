"""A hundred users at once, mixed, while the service transcribes: errors, and how long reads take.

    python bench/mixed.py [--users 100] [--minutes 5] [--model sphinx]

Locust users upload short recordings, poll their jobs, read transcripts and walk the list; a long
recording is being transcribed all the while. Reads are everything but uploads. The load and the
service share this machine's cores, which makes the figures worse than a client elsewhere sees.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from rig import ROOT, report
from served import fill, serving

PORT = 8614
USERS = '''
import io, random, struct
import numpy as np
from locust import HttpUser, between, task

speech = np.fromfile("{speech}", dtype="<i2")

def wav():
    """Two seconds of the meeting from anywhere, at another loudness: never the same bytes."""
    start = random.randrange(0, len(speech) - 32000)
    samples = (speech[start:start + 32000] * random.uniform(0.3, 0.9)).astype("<i2").tobytes()
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 16000, 32000, 2, 16)
    return (b"RIFF" + struct.pack("<I", 36 + len(samples)) + b"WAVE" + form
            + b"data" + struct.pack("<I", len(samples)) + samples)

class User(HttpUser):
    wait_time = between(0.5, 1.5)
    job = None

    @task(1)
    def upload(self):
        with self.client.post("/api/v1/transcriptions", name="upload", data={{"model": "{model}"}},
                              files={{"file": ("note.wav", wav())}}, catch_response=True) as answer:
            if answer.status_code == 202:
                self.job = answer.json()["id"]
            elif answer.status_code == 429 or (
                answer.status_code == 422 and answer.json()["error"]["code"] == "silent"):
                answer.success()  # full, or two seconds without a word: both said as they should be

    @task(6)
    def poll(self):
        if self.job:
            self.client.get(f"/api/v1/jobs/{{self.job}}", name="read: job status")

    @task(3)
    def read(self):
        self.client.get("/api/v1/transcriptions/{long}", name="read: transcript")

    @task(3)
    def listing(self):
        self.client.get("/api/v1/transcriptions?limit=50", name="read: list")

    @task(1)
    def health(self):
        self.client.get("/api/v1/health", name="read: health")
'''


def locust(folder: Path, options: argparse.Namespace, long: str) -> list[dict[str, Any]]:
    """Run the users; what Locust counted, an entry for each kind of request."""
    script = folder / "users.py"
    script.write_text(USERS.format(speech=folder / "speech.raw", model=options.model, long=long))
    done = subprocess.run(
        [
            *(sys.executable, "-m", "locust", "-f", str(script), "--headless", "--json"),
            *("--users", str(options.users), "--spawn-rate", "20"),
            *("--run-time", f"{options.minutes}m", "--host", f"http://127.0.0.1:{PORT}"),
        ],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "NO_PROXY": "127.0.0.1"},
    )
    try:
        found = json.loads(done.stdout)
    except ValueError:
        raise SystemExit(done.stderr[-3000:]) from None
    return list(found)


def percentile(times: dict[str, int], share: float) -> float:
    """Milliseconds, from Locust's table of rounded times."""
    counted = sorted((float(ms), count) for ms, count in times.items())
    wanted = share * sum(count for _, count in counted)
    seen = 0
    for ms, count in counted:
        seen += count
        if seen >= wanted:
            return ms
    return 0.0


def figures(entries: list[dict[str, Any]]) -> dict[str, Any]:
    reads: dict[str, int] = {}
    by_name = {}
    for entry in entries:
        by_name[entry["name"]] = {
            "requests": entry["num_requests"],
            "failed": entry["num_failures"],
            "p50_ms": percentile(entry["response_times"], 0.5),
            "p95_ms": percentile(entry["response_times"], 0.95),
        }
        if entry["name"].startswith("read"):
            for ms, count in entry["response_times"].items():
                reads[ms] = reads.get(ms, 0) + count
    return {
        "reads_p50_ms": percentile(reads, 0.5),
        "reads_p95_ms": percentile(reads, 0.95),
        "reads": sum(reads.values()),
        "failed": sum(entry["num_failures"] for entry in entries),
        "by_kind": by_name,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=100)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--model", default="sphinx")
    parser.add_argument("--jobs", type=int, default=2_000)
    options = parser.parse_args()
    options.minutes = int(options.minutes) if options.minutes == int(options.minutes) else 1
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        data = folder / "data"
        long = fill(data, options.jobs)
        samples = _speech()
        (folder / "speech.raw").write_bytes(samples)
        # Nobody waits for these: the queue takes what comes, as it would with a slow engine.
        roomy = {"HANSARD_QUEUE__CAPACITY": "1000000", "HANSARD_SERVE__UPLOADS": "100"}
        with serving(data, PORT, **roomy):
            entries = locust(folder, options, long)
    report("mixed", {"users": options.users, "minutes": options.minutes, **figures(entries)})


def _speech() -> bytes:
    from hansard.audio import decode

    meeting = ROOT / "samples" / "meeting.ogg"
    return b"".join(block[0].tobytes() for block in decode.blocks(meeting))


if __name__ == "__main__":
    main()

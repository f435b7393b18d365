"""A service whose memory runs short: it says so, takes nothing more, and later goes on."""

from __future__ import annotations

from pathlib import Path

from tests.api.conftest import Serve
from tests.api.test_health import ready, until

from hansard.headroom import Bound, Headroom


def test_work_waits_and_more_is_refused_until_there_is_room(serve: Serve, clip: Path) -> None:
    left = [10**8]
    served = serve(memory={"hold": 0.0})
    served.house.pressure._read = lambda: Headroom((Bound("system", 10**10, left[0]),))
    told = until(served, "memory", "down")["components"]["memory"]
    assert told["message"] == "0.1 GB available. No new work is taken."
    assert ready(served) == (503, "not ready")
    # What was accepted before is kept: nobody takes it up.
    with clip.open("rb") as file:
        chunks = iter(lambda: file.read(2**16), b"")
        from hansard.transcription import Request

        job = served.house.submit("clip.flac", chunks, Request(model="sphinx")).job.id
    with clip.open("rb") as file:
        refused = served.http.post("/api/v1/transcriptions", files={"file": file})
    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "short_of_memory"
    assert int(refused.headers["retry-after"]) > 0
    tus = {"tus-resumable": "1.0.0", "upload-length": "10"}
    assert served.http.post("/api/v1/uploads", headers=tus).status_code == 503
    openai = served.http.post(
        "/v1/audio/transcriptions", files={"file": b"x"}, data={"model": "whisper-1"}
    )
    assert openai.status_code == 503
    assert served.http.get(f"/api/v1/transcriptions/{job}").json()["state"] == "queued"
    left[0] = 9 * 10**9
    until(served, "memory", "ok")
    assert served.house.wait(job).state == "completed"

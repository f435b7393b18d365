"""A whole service whose files are in object storage, whatever the way there is like."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import httpx
from tests.api.conftest import Serve, Served
from tests.cli.conftest import Audio
from tests.quick import QuickEngine
from tests.storage import Proxy, Storage, each, waved
from tests.waiting import until

PLACE = "/api/v1/transcriptions"


def done(served: Served, clip: Path, **fields: str) -> dict[str, Any]:
    """A transcription, from its upload to its end."""
    with clip.open("rb") as file:
        said = served.http.post(PLACE, files={"file": (clip.name, file)}, data=fields)
    assert said.status_code == 202, said.text
    return ended(served, said.json()["id"])


def ended(served: Served, job: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        found: dict[str, Any] = served.http.get(f"{PLACE}/{job}").json()
        return found if found["finished"] is not None else None

    found = until(look)
    assert found["state"] == "completed", found
    return found


def words(found: dict[str, Any]) -> Any:
    return found["transcript"]["segments"]


def test_from_an_upload_to_its_removal(serve: Serve, clip: Path, storage: Storage) -> None:
    served = serve(**storage.settings())
    job = done(served, clip)
    sha256, content = job["recording"], clip.read_bytes()
    assert sha256 == hashlib.sha256(content).hexdigest()
    kept = [f"recordings/{sha256[:2]}/{sha256}"]
    until(lambda: storage.keys() == kept, "what was prepared is gone, soon after the end is told")
    data = served.house.settings.data
    assert not (data / "recordings").exists()
    assert not (data / "pcm").exists()

    where = f"{PLACE}/{job['id']}/audio"
    whole = served.http.get(where)
    assert whole.content == content
    assert whole.headers["content-type"] == "audio/flac"
    assert "sandbox" in whole.headers["content-security-policy"]
    middle = served.http.get(where, headers={"range": "bytes=1000-100999"})
    assert (middle.status_code, middle.content) == (206, content[1000:101_000])
    assert middle.headers["content-range"] == f"bytes 1000-100999/{len(content)}"
    last = served.http.get(where, headers={"range": "bytes=-7"})
    assert last.content == content[-7:]
    outside = served.http.get(where, headers={"range": f"bytes={len(content)}-"})
    assert outside.status_code == 416
    head = served.http.head(where)
    assert int(head.headers["content-length"]) == len(content)
    known = {"if-none-match": whole.headers["etag"]}
    assert served.http.get(where, headers=known).status_code == 304

    health = served.http.get("/api/v1/health").json()
    assert storage.name in health["components"]["files"]["message"]
    assert served.http.delete(f"{PLACE}/{job['id']}").status_code == 204
    assert storage.keys() == []


def test_a_reader_that_hangs_up_costs_nothing(
    serve: Serve, speech: Audio, storage: Storage, tmp_path: Path
) -> None:
    large = waved(tmp_path / "large.wav", speech, 8)
    assert large.stat().st_size > 3_000_000
    served = serve(work=False, **storage.settings())
    with large.open("rb") as file:
        job = served.http.post(PLACE, files={"file": ("large.wav", file)}).json()["id"]
    where = f"{PLACE}/{job}/audio"
    for _ in range(3):
        with served.http.stream("GET", where) as answer:
            next(answer.iter_raw())
    assert served.http.get(where).content == large.read_bytes()


def test_a_bad_way_to_the_storage_changes_no_word(
    serve: Serve, clip: Path, storage: Storage, quick: QuickEngine, tmp_path: Path
) -> None:
    undisturbed = done(serve(data=tmp_path / "here"), clip)
    with Proxy(storage.endpoint, each(3, ("503", "cut", "torn", "lost"))) as proxy:
        served = serve(data=tmp_path / "there", **storage.through(proxy).settings())
        disturbed = done(served, clip)
        assert len(proxy.faults) >= 4
        audio = served.http.get(f"{PLACE}/{disturbed['id']}/audio")
        assert audio.content == clip.read_bytes()
    assert words(disturbed) == words(undisturbed)
    assert quick.heard > 0


def test_an_outage_is_said_and_over_when_it_is_over(
    serve: Serve, clip: Path, storage: Storage
) -> None:
    with Proxy(storage.endpoint) as proxy:
        served = serve(**storage.through(proxy).settings(attempts=2))
        proxy.plan = lambda _method, _path: "503"
        with clip.open("rb") as file:
            refused = served.http.post(PLACE, files={"file": ("a.flac", file)})
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "files_gone")
        assert served.http.get(PLACE).json()["items"] == []
        proxy.plan = lambda _method, _path: None
        assert words(done(served, clip))


def test_readers_are_sent_to_the_storage_where_that_is_allowed(
    serve: Serve, clip: Path, storage: Storage
) -> None:
    served = serve(**storage.settings(direct=True))
    where = f"{PLACE}/{done(served, clip)['id']}/audio"
    sent = served.http.get(where)
    assert sent.status_code == 307
    assert sent.headers["location"].startswith(storage.endpoint)
    got = httpx.get(sent.headers["location"], headers={"range": "bytes=10-19"}, trust_env=False)
    assert got.content == clip.read_bytes()[10:20]
    assert got.headers["content-disposition"].startswith("attachment; ")


def test_media_that_are_gone_are_said_to_be(serve: Serve, clip: Path, storage: Storage) -> None:
    served = serve(**storage.settings())
    job = done(served, clip)
    served.house.files.forget_recording(job["recording"])
    gone = served.http.get(f"{PLACE}/{job['id']}/audio")
    assert (gone.status_code, gone.json()["error"]["code"]) == (410, "media_gone")

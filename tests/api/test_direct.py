"""Uploads that go to the object storage itself, with a plain HTTP client."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.api.conftest import Serve, Served
from tests.cli.conftest import Audio
from tests.storage import Storage, waved
from tests.waiting import until

from hansard.store import direct

PLACE = "/api/v1/uploads/direct"
ASK = "/api/v1/transcriptions"


def begun(served: Served, path: Path, **more: Any) -> dict[str, Any]:
    said = served.http.post(PLACE, json={"name": path.name, "size": path.stat().st_size, **more})
    assert said.status_code == 201, said.text
    found: dict[str, Any] = said.json()
    return found


def put(upload: dict[str, Any], content: bytes) -> None:
    for part in upload["parts"]:
        piece = content[part["start"] : part["end"]]
        assert httpx.put(part["url"], content=piece, trust_env=False).status_code == 200


def asked(served: Served, upload: dict[str, Any]) -> httpx.Response:
    return served.http.post(ASK, json={"upload": upload["id"]})


def error(said: httpx.Response, status: int, code: str) -> None:
    assert (said.status_code, said.json()["error"]["code"]) == (status, code), said.text


def test_a_file_becomes_a_transcript_without_coming_by(
    serve: Serve, clip: Path, storage: Storage
) -> None:
    served = serve(**storage.settings())
    content = clip.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    upload = begun(served, clip, sha256=sha256)
    assert upload["expires"] > time.time()
    assert [part["end"] for part in upload["parts"]] == [len(content)]
    error(asked(served, upload), 409, "upload_conflict")
    put(upload, content)
    said = asked(served, upload)
    assert said.status_code == 202, said.text
    job = said.json()
    assert (job["name"], job["recording"]) == (clip.name, sha256)
    where = f"{ASK}/{job['id']}"
    until(lambda: served.http.get(where).json()["state"] == "completed")
    assert served.http.get(f"{where}/audio").content == content
    until(lambda: storage.keys() == [f"recordings/{sha256[:2]}/{sha256}"], "only that is left")
    error(asked(served, upload), 404, "unknown_upload")


def test_large_files_go_up_in_parts_in_any_order(
    serve: Serve,
    speech: Audio,
    storage: Storage,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(direct, "_ONE_PIECE", 5 * 2**20)
    large = waved(tmp_path / "large.wav", speech, 15)
    content = large.read_bytes()
    served = serve(work=False, **storage.settings())
    upload = begun(served, large)
    first, *rest = upload["parts"]
    assert (first["start"], first["end"]) == (0, 5 * 2**20)
    assert rest[-1]["end"] == len(content)
    put({"parts": rest}, content)
    error(asked(served, upload), 409, "upload_conflict")
    put({"parts": [first]}, content)
    said = asked(served, upload)
    assert said.status_code == 202, said.text
    assert said.json()["recording"] == hashlib.sha256(content).hexdigest()


def test_what_is_refused_stays_and_can_be_removed(
    serve: Serve, clip: Path, storage: Storage
) -> None:
    served = serve(work=False, **storage.settings())
    upload = begun(served, clip)
    put(upload, clip.read_bytes())
    error(
        served.http.post(ASK, json={"upload": upload["id"], "model": "none"}), 404, "unknown_model"
    )
    assert storage.keys() == [f"uploads/{upload['id']}"]
    assert served.http.delete(f"{PLACE}/{upload['id']}").status_code == 204
    assert storage.keys() == []
    error(served.http.delete(f"{PLACE}/{upload['id']}"), 404, "unknown_upload")


def test_other_bytes_than_were_announced(serve: Serve, clip: Path, storage: Storage) -> None:
    served = serve(work=False, **storage.settings())
    upload = begun(served, clip, sha256="0" * 64)
    put(upload, clip.read_bytes())
    error(asked(served, upload), 460, "checksum_mismatch")
    short = begun(served, clip)
    httpx.put(short["parts"][0]["url"], content=b"short", trust_env=False)
    error(asked(served, short), 409, "upload_conflict")


def test_what_nobody_asks_for_goes(serve: Serve, clip: Path, storage: Storage) -> None:
    served = serve(work=False, **storage.settings())
    put(begun(served, clip), clip.read_bytes())
    served.house.files.tend(time.time())
    assert len(storage.keys()) == 1
    served.house.files.tend(time.time() + 3 * 86_400)
    assert storage.keys() == []


def test_only_where_files_are_in_object_storage(served: Served, clip: Path) -> None:
    said = served.http.post(PLACE, json={"name": "a.flac", "size": 10})
    error(said, 422, "not_supported")
    error(served.http.delete(f"{PLACE}/direct0"), 404, "unknown_upload")
    error(served.http.post(ASK, json={"upload": "direct0"}), 404, "unknown_upload")
    assert clip.exists()


@pytest.mark.parametrize(
    "body",
    [
        "",
        "[]",
        '{"name": "a"}',
        '{"name": "a", "size": 0}',
        '{"name": "", "size": 1}',
        '{"name": "a", "size": 1, "sha256": "x"}',
        '{"name": "a", "size": 1, "more": 1}',
    ],
)
def test_malformed_announcements(served: Served, body: str) -> None:
    error(served.http.post(PLACE, content=body), 400, "bad_request")


def test_more_than_is_taken(serve: Serve, storage: Storage) -> None:
    served = serve(work=False, limits={"bytes": 1000}, **storage.settings())
    error(served.http.post(PLACE, json={"name": "a", "size": 1001}), 413, "too_large")
    assert storage.keys() == []

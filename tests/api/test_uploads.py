"""Resumable uploads over HTTP: each rule of the protocol, a real client, and `kill -9`."""

from __future__ import annotations

import base64
import hashlib
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.api.conftest import Serve, Served
from tests.waiting import until
from tusclient.client import TusClient

from hansard.api import tus, uploads
from hansard.config import load
from hansard.errors import BadRequest
from hansard.model import Client
from hansard.store import uploads as store
from hansard.wiring import House

VERSION = {"Tus-Resumable": "1.0.0"}
CONTENT = {"Content-Type": "application/offset+octet-stream"}
PLACE = "/api/v1/uploads"


def some_bytes(count: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(count)


def begin(served: Served, length: int | None, **headers: str) -> str:
    size = {"Upload-Defer-Length": "1"} if length is None else {"Upload-Length": str(length)}
    made = served.http.post(PLACE, headers={**VERSION, **size, **headers})
    assert made.status_code == 201, made.text
    return str(made.headers["location"])


def send(served: Served, where: str, offset: int, body: Any, **headers: str) -> httpx.Response:
    said = {**VERSION, **CONTENT, "Upload-Offset": str(offset), **headers}
    return served.http.patch(where, content=body, headers=said)


def look(served: Served, where: str) -> httpx.Response:
    return served.http.head(where, headers=VERSION)


def offset(served: Served, where: str) -> int:
    return int(look(served, where).headers["upload-offset"])


def on_disk(served: Served, where: str) -> bytes:
    (file,) = (served.house.settings.data / "uploads" / where.rsplit("/", 1)[1]).iterdir()
    return file.read_bytes()


def b64(text: bytes) -> str:
    return base64.b64encode(text).decode()


@pytest.fixture
def quiet(serve: Serve) -> Served:
    """A service without a worker."""
    return serve(work=False)


# ── a real client ────────────────────────────────────────────────────────────────────────────


def place_of(uploader: Any) -> str:
    """Where a client's upload is."""
    return str(uploader.url)


def test_a_real_client_uploads_resumes_and_checks(quiet: Served, tmp_path: Path) -> None:
    whole = some_bytes(3_000_000)
    file = tmp_path / "Prüfung.wav"
    file.write_bytes(whole)
    client = TusClient(f"{quiet.url}{PLACE}")
    with file.open("rb") as stream:
        first = client.uploader(
            file_stream=stream,
            chunk_size=400_000,
            metadata={"filename": file.name},
            upload_checksum=True,
        )
        first.upload(stop_at=1_100_000)
    where = place_of(first)
    with file.open("rb") as stream:
        again = client.uploader(file_stream=stream, url=where, chunk_size=700_000)
        assert again.offset == 1_100_000
        again.upload()
    assert on_disk(quiet, where) == whole
    house = quiet.house
    found = store.find(house.database, house.files.root, where.rsplit("/", 1)[1], Client())
    assert found.name == file.name
    assert found.complete


def test_an_upload_becomes_a_recording_and_is_gone(served: Served, clip: Path) -> None:
    client = TusClient(f"{served.url}{PLACE}")
    with clip.open("rb") as stream:
        uploader = client.uploader(
            file_stream=stream, chunk_size=50_000, metadata={"filename": "a.flac"}
        )
        uploader.upload()
    where = place_of(uploader)
    house = served.house
    upload = where.rsplit("/", 1)[1]
    with store.draft(house.database, house.files, upload, Client()) as draft:
        assert draft.sha256 == hashlib.sha256(clip.read_bytes()).hexdigest()
        draft.keep()
        kept = house.files.local_recording(draft.sha256)
        assert kept is not None
        assert kept.samefile(draft.path)
    assert kept.read_bytes() == clip.read_bytes()
    assert look(served, where).status_code == 404


# ── the protocol, rule by rule ───────────────────────────────────────────────────────────────


def test_options_say_what_is_spoken(quiet: Served) -> None:
    said = quiet.http.options(PLACE)
    assert said.status_code == 204
    assert said.headers["tus-resumable"] == said.headers["tus-version"] == "1.0.0"
    assert {"creation", "checksum", "termination", "expiration"} <= set(
        said.headers["tus-extension"].split(",")
    )
    assert "sha1" in said.headers["tus-checksum-algorithm"].split(",")
    assert int(said.headers["tus-max-size"]) == quiet.house.settings.limits.bytes


@pytest.mark.parametrize("method", ["POST", "HEAD", "PATCH", "DELETE"])
@pytest.mark.parametrize("version", [None, "0.2.2"])
def test_another_version_is_refused(quiet: Served, method: str, version: str | None) -> None:
    headers = {} if version is None else {"Tus-Resumable": version}
    where = PLACE if method == "POST" else begin(quiet, 10)
    said = quiet.http.request(method, where, headers={**headers, "Upload-Length": "3"})
    assert said.status_code == 412
    assert said.headers["tus-version"] == "1.0.0"


def test_creation_answers_with_a_place_and_its_end(quiet: Served) -> None:
    made = quiet.http.post(
        PLACE,
        headers={
            **VERSION,
            "Upload-Length": "7",
            "Upload-Metadata": f"filename {b64(b'../../etc/x.wav')},private",
        },
    )
    assert made.status_code == 201
    assert made.headers["upload-expires"].endswith("GMT")
    assert made.json()["id"] == made.headers["location"].rsplit("/", 1)[1]
    said = look(quiet, made.headers["location"])
    assert said.status_code == 200
    assert said.headers["upload-length"] == "7"
    assert said.headers["upload-offset"] == "0"
    assert said.headers["cache-control"] == "no-store"
    assert said.headers["upload-metadata"] == f"filename {b64(b'../../etc/x.wav')},private"
    (folder,) = (quiet.house.settings.data / "uploads").iterdir()
    assert [file.name for file in folder.iterdir()] == ["x.wav"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 400),
        ({"Upload-Length": "-1"}, 400),
        ({"Upload-Length": "ten"}, 400),
        ({"Upload-Length": "9" * 30}, 400),
        ({"Upload-Length": "5", "Upload-Defer-Length": "1"}, 400),
        ({"Upload-Defer-Length": "2"}, 400),
        ({"Upload-Length": "5", "Upload-Metadata": "filename ???"}, 400),
        ({"Upload-Length": "5", "Upload-Metadata": "a,a"}, 400),
        ({"Upload-Length": "5", "Upload-Metadata": "a " + "QUFB" * 2000}, 400),
        ({"Upload-Length": str(2**45)}, 413),
        ({"Upload-Length": str(64 * 2**30)}, 507),
    ],
)
def test_a_bad_creation_leaves_nothing(serve: Serve, headers: dict[str, str], status: int) -> None:
    room = serve(work=False, limits={"disk_reserve": 2**40 if status == 507 else 0})
    said = room.http.post(PLACE, headers={**VERSION, **headers})
    assert said.status_code == status, said.text
    assert {"code", "message", "hint"} == set(said.json()["error"])
    assert not list((room.house.settings.data / "uploads").glob("*"))


def test_bytes_may_come_with_the_creation(quiet: Served) -> None:
    whole = some_bytes(100_000)
    headers = {**VERSION, **CONTENT, "Upload-Length": "100000"}
    made = quiet.http.post(PLACE, content=whole[:60_000], headers=headers)
    assert made.status_code == 201
    assert made.headers["upload-offset"] == "60000"
    assert send(quiet, made.headers["location"], 60_000, whole[60_000:]).status_code == 204
    assert on_disk(quiet, made.headers["location"]) == whole
    wrong = {**headers, "Upload-Checksum": f"sha1 {b64(hashlib.sha1(b'').digest())}"}
    assert quiet.http.post(PLACE, content=whole, headers=wrong).status_code == 460
    assert len(list((quiet.house.settings.data / "uploads").iterdir())) == 1


def test_the_length_may_be_said_later_and_once(quiet: Served) -> None:
    where = begin(quiet, None)
    said = look(quiet, where)
    assert said.headers["upload-defer-length"] == "1"
    assert "upload-length" not in said.headers
    assert send(quiet, where, 0, b"abc").status_code == 204
    assert send(quiet, where, 3, b"", **{"Upload-Length": "2"}).status_code == 409
    assert send(quiet, where, 3, b"de", **{"Upload-Length": "6"}).status_code == 204
    assert send(quiet, where, 5, b"", **{"Upload-Length": "7"}).status_code == 409
    assert look(quiet, where).headers["upload-length"] == "6"
    assert send(quiet, where, 5, b"f").headers["upload-offset"] == "6"


def test_bytes_go_where_the_upload_stands_and_nowhere_else(quiet: Served) -> None:
    where = begin(quiet, 10)
    assert send(quiet, where, 0, b"01234").headers["upload-offset"] == "5"
    for wrong in (0, 4, 6):
        said = send(quiet, where, wrong, b"xxx")
        assert said.status_code == 409
        assert said.json()["error"]["code"] == "upload_conflict"
    assert send(quiet, where, 5, b"567890123").status_code == 413
    assert send(quiet, where, 5, iter([b"5678", b"90123"])).status_code == 413
    assert offset(quiet, where) <= 10
    said = quiet.http.patch(where, content=b"x", headers={**VERSION, "Upload-Offset": "5"})
    assert said.status_code == 415
    assert said.json()["error"]["code"] == "wrong_content"
    said = quiet.http.patch(where, content=b"x", headers={**VERSION, **CONTENT})
    assert said.status_code == 400
    said = send(quiet, where, 5, b"56789", **{"Upload-Offset": "5x"})
    assert said.status_code == 400


@pytest.mark.parametrize("name", ["sha1", "sha256", "md5"])
def test_a_body_with_a_checksum_counts_whole_or_not(quiet: Served, name: str) -> None:
    whole = some_bytes(700_000)
    where = begin(quiet, len(whole))
    right = f"{name} {b64(hashlib.new(name, whole).digest())}"
    said = send(quiet, where, 0, whole[:-1] + b"?", **{"Upload-Checksum": right})
    assert said.status_code == 460
    assert said.json()["error"]["code"] == "checksum_mismatch"
    assert offset(quiet, where) == 0
    assert on_disk(quiet, where) == b""
    assert send(quiet, where, 0, whole, **{"Upload-Checksum": right}).status_code == 204
    assert on_disk(quiet, where) == whole


@pytest.mark.parametrize("checksum", ["crc32 AAAA", "sha1", "sha1 ???", "sha1 QUFB", "sha1 é"])
def test_a_checksum_that_cannot_be_is_refused(quiet: Served, checksum: str) -> None:
    where = begin(quiet, 3)
    headers = {**VERSION, **CONTENT, "Upload-Offset": "0"}
    raw = [*headers.items(), ("Upload-Checksum", checksum.encode("latin-1"))]
    said = quiet.http.patch(where, content=b"abc", headers=raw)  # type: ignore[arg-type] # bytes too
    assert said.status_code == 400


def test_a_removed_upload_is_gone(quiet: Served) -> None:
    where = begin(quiet, 10)
    send(quiet, where, 0, b"0123")
    assert quiet.http.delete(where, headers=VERSION).status_code == 204
    for said in (
        look(quiet, where),
        send(quiet, where, 4, b"4"),
        quiet.http.delete(where, headers=VERSION),
    ):
        assert said.status_code == 404
        assert said.headers["tus-resumable"] == "1.0.0"
        assert "upload-offset" not in said.headers
    assert not list((quiet.house.settings.data / "uploads").iterdir())


def test_who_can_only_post_may_say_what_is_meant(quiet: Served) -> None:
    where = begin(quiet, 4)

    def meant(method: str, body: bytes = b"", **headers: str) -> httpx.Response:
        said = {**VERSION, "X-HTTP-Method-Override": method, **headers}
        return quiet.http.post(where, content=body, headers=said)

    assert meant("PATCH", b"ab", **CONTENT, **{"Upload-Offset": "0"}).status_code == 204
    assert meant("HEAD").headers["upload-offset"] == "2"
    assert meant("GET").status_code == 405
    assert meant("DELETE").status_code == 204
    assert look(quiet, where).status_code == 404


def test_an_upload_of_another_tenant_does_not_exist(quiet: Served) -> None:
    house = quiet.house
    theirs = store.create(
        house.database,
        house.files.root,
        Client("somebody"),
        name="secret.wav",
        length=10,
        metadata="",
        lasts=60,
    )
    where = f"{PLACE}/{theirs.id}"
    nowhere = f"{PLACE}/{'0' * 32}"
    for address in (where, nowhere):
        answers = [
            look(quiet, address),
            send(quiet, address, 0, b"x"),
            quiet.http.delete(address, headers=VERSION),
        ]
        assert [answer.status_code for answer in answers] == [404, 404, 404]
    assert send(quiet, where, 0, b"x").text == send(quiet, nowhere, 0, b"x").text


def test_an_expired_upload_is_gone_and_an_active_one_lives(serve: Serve) -> None:
    service = serve(work=False, serve={"upload_expiry": 1000})
    house = service.house
    old, young = begin(service, 10), begin(service, 10)
    before = look(service, young).headers["upload-expires"]
    assert store.expire(house.database, house.files.root, time.time() + 999) == []
    assert store.expire(house.database, house.files.root, time.time() + 1001)
    assert look(service, old).status_code == look(service, young).status_code == 404
    assert before.endswith("GMT")


def test_a_full_disk_is_said_and_what_came_is_kept(
    quiet: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = some_bytes(20 * 2**20)
    where = begin(quiet, len(whole))
    free = iter([2**40])
    monkeypatch.setattr(quiet.house.files, "free_bytes", lambda: next(free, 0))
    said = send(quiet, where, 0, whole)
    assert said.status_code == 507
    assert said.json()["error"]["code"] == "disk_full"
    monkeypatch.undo()
    at = offset(quiet, where)
    assert 0 < at < len(whole)
    assert send(quiet, where, at, whole[at:]).status_code == 204
    assert on_disk(quiet, where) == whole


@given(
    st.dictionaries(
        st.text(st.characters(codec="ascii", exclude_characters=", \t\n\r\x0b\x0c"), min_size=1)
        .map(str.strip)
        .filter(bool),
        st.text(max_size=30),
        max_size=6,
    )
)
def test_metadata_are_read_as_they_were_written(metadata: dict[str, str]) -> None:
    written = ",".join(f"{key} {b64(value.encode())}" for key, value in metadata.items())
    assert tus.parsed_metadata(written) == metadata


@given(st.text(max_size=60))
def test_any_metadata_are_read_or_refused(header: str) -> None:
    try:
        found = tus.parsed_metadata(header)
    except BadRequest:
        return
    assert all(found)


# ── cut off, at once, taken over ─────────────────────────────────────────────────────────────


class Slow:
    """A PATCH by hand: as much of its body as we like, when we like."""

    def __init__(self, served: Served, where: str, offset: int, length: int, **more: str) -> None:
        host, port = served.url.removeprefix("http://").split(":")
        headers = {**VERSION, **CONTENT, "Upload-Offset": str(offset), **more}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self.socket = socket.create_connection((host, int(port)), timeout=30)
        self.socket.sendall(
            f"PATCH {where} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n"
            f"{lines}\r\n".encode()
        )

    def send(self, body: bytes) -> None:
        self.socket.sendall(body)

    def status(self) -> int:
        return int(self.socket.recv(4096).split()[1])

    def close(self) -> None:
        self.socket.close()


def test_a_sender_that_hangs_up_loses_nothing(quiet: Served) -> None:
    whole = some_bytes(2_000_000)
    where = begin(quiet, len(whole))
    cut = Slow(quiet, where, 0, len(whole))
    cut.send(whole[:1_234_567])
    until(lambda: len(on_disk(quiet, where)) >= 1_000_000)
    cut.close()
    until(lambda: offset(quiet, where) == 1_234_567)
    assert send(quiet, where, 1_234_567, whole[1_234_567:]).status_code == 204
    assert on_disk(quiet, where) == whole


def test_a_body_with_a_checksum_that_is_cut_off_does_not_count(quiet: Served) -> None:
    where = begin(quiet, 1_000_000)
    digest = f"sha1 {b64(bytes(20))}"
    cut = Slow(quiet, where, 0, 1_000_000, **{"Upload-Checksum": digest})
    cut.send(bytes(800_000))
    until(lambda: len(on_disk(quiet, where)) >= 500_000)
    cut.close()
    until(lambda: on_disk(quiet, where) == b"")
    assert offset(quiet, where) == 0


def test_what_lies_beyond_the_counted_bytes_is_cut_away(quiet: Served) -> None:
    where = begin(quiet, 10)
    send(quiet, where, 0, b"0123")
    (file,) = (quiet.house.settings.data / "uploads" / where.rsplit("/", 1)[1]).iterdir()
    with file.open("ab") as beyond:
        beyond.write(b"????????????????")
    assert offset(quiet, where) == 4
    assert send(quiet, where, 4, b"456").status_code == 204
    assert on_disk(quiet, where) == b"0123456"


def test_a_second_sender_waits_or_is_refused(
    quiet: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "PATIENCE", 0.2)
    where = begin(quiet, 3_000_000)
    busy = Slow(quiet, where, 0, 3_000_000)
    stop = threading.Event()

    def keep_sending() -> None:
        for _ in range(2900):
            busy.send(bytes(1000))
            if stop.wait(0.002):
                break

    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(keep_sending)
        until(lambda: len(on_disk(quiet, where)) > 0)
        said = send(quiet, where, 0, b"other")
        stop.set()
        sending.result()
    assert said.status_code in {409, 423}, said.text
    assert said.json()["error"]["code"] in {"upload_conflict", "upload_busy"}
    busy.close()


def test_a_silent_sender_is_taken_over(quiet: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "PATIENCE", 0.2)
    whole = some_bytes(1_000_000)
    where = begin(quiet, len(whole))
    ghost = Slow(quiet, where, 0, len(whole))
    ghost.send(whole[:300_000])
    until(lambda: offset(quiet, where) == 300_000)
    assert ghost.status() == 409
    assert send(quiet, where, 300_000, whole[300_000:]).status_code == 204
    assert on_disk(quiet, where) == whole
    ghost.close()


def test_a_sender_who_says_nothing_is_ended(serve: Serve) -> None:
    quiet = serve(work=False, serve={"slow_seconds": 0.3})
    where = begin(quiet, 100)
    silent = Slow(quiet, where, 0, 100)
    silent.send(b"0123456789")
    assert silent.status() == 408
    silent.close()
    assert offset(quiet, where) == 10


def test_an_upload_beyond_those_taken_in_at_once_is_asked_to_wait(serve: Serve) -> None:
    quiet = serve(work=False, serve={"uploads": 1})
    first, second = begin(quiet, 1_000_000), begin(quiet, 100)
    sending = Slow(quiet, first, 0, 1_000_000)
    sending.send(bytes(900_000))
    until(lambda: on_disk(quiet, first))
    said = send(quiet, second, 0, b"x")
    assert said.status_code == 503
    assert int(said.headers["retry-after"]) > 0
    sending.close()
    until(lambda: send(quiet, second, 0, b"x").status_code == 204)


def test_an_upload_can_be_removed_while_bytes_come(quiet: Served) -> None:
    where = begin(quiet, 1000)
    sending = Slow(quiet, where, 0, 1000)
    sending.send(bytes(500))
    assert quiet.http.delete(where, headers=VERSION).status_code == 204
    sending.close()
    assert look(quiet, where).status_code == 404
    assert not list((quiet.house.settings.data / "uploads").iterdir())


def test_many_uploads_at_once_each_get_their_own_bytes(quiet: Served) -> None:
    bodies = [some_bytes(1_500_000, seed) for seed in range(20)]

    def one(body: bytes) -> str:
        with httpx.Client(base_url=quiet.url, timeout=60, trust_env=False) as http:
            mine = Served(quiet.url, quiet.house, http)
            where = begin(mine, len(body))
            for at in range(0, len(body), 400_000):
                assert send(mine, where, at, body[at : at + 400_000]).status_code == 204
            return where

    with ThreadPoolExecutor(20) as pool:
        places = list(pool.map(one, bodies))
    assert [on_disk(quiet, where) for where in places] == bodies


def test_two_senders_of_one_upload_never_mix_their_bytes(quiet: Served) -> None:
    whole = some_bytes(4_000_000)
    where = begin(quiet, len(whole))

    def push(_: int) -> None:
        with httpx.Client(base_url=quiet.url, timeout=60, trust_env=False) as http:
            mine = Served(quiet.url, quiet.house, http)
            while (at := offset(mine, where)) < len(whole):
                said = send(mine, where, at, whole[at : at + 300_000])
                assert said.status_code in {204, 409, 423}

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(push, range(4)))
    assert on_disk(quiet, where) == whole


# ── kill -9 ──────────────────────────────────────────────────────────────────────────────────

SERVICE = """
import socket, sys
from hansard.api import uploads
from hansard.api.process import server
from hansard.config import load
from hansard.wiring import House
uploads.STEP = 2**20
with House(load(data=sys.argv[1], serve={"access_log": False})) as house:
    listening = socket.create_server(("127.0.0.1", 0))
    print(listening.getsockname()[1], flush=True)
    server(house).run([listening])
"""


@contextmanager
def service(data: Path) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    """A service in a process of its own, killed at the end if it was not before."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVICE, str(data)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        with httpx.Client(
            base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False, headers=VERSION
        ) as http:
            yield process, http
    finally:
        process.kill()
        process.communicate()


def test_killed_in_mid_patch_the_bytes_at_the_end_are_the_same(tmp_path: Path) -> None:
    whole = some_bytes(12 * 2**20 + 12_345)
    chance = random.Random(7)
    data = tmp_path / "killed"
    where, at, rounds = "", 0, 0
    while True:
        with service(data) as (process, http):
            if not where:
                made = http.post(PLACE, headers={"Upload-Length": str(len(whole))})
                where = made.headers["location"]
            now = int(http.head(where).headers["upload-offset"])
            assert now >= at, "what was counted is there"
            at = now
            # The last rounds let it come to its end.
            dies = chance.randrange(len(whole) - at + 1) if rounds < 5 else len(whole) + 1
            rounds += 1
            if _pushed(http, where, whole, at, process=process, dies=dies):
                break
    assert rounds > 1
    with House(load(data=data)) as house:
        upload = where.rsplit("/", 1)[1]
        with store.draft(house.database, house.files, upload, Client()) as draft:
            assert draft.sha256 == hashlib.sha256(whole).hexdigest()


def _pushed(
    http: httpx.Client,
    where: str,
    whole: bytes,
    at: int,
    *,
    process: subprocess.Popen[str],
    dies: int,
) -> bool:
    """Send the rest in one PATCH; the service is killed once it was given ``dies`` bytes."""

    def body() -> Iterator[bytes]:
        for start in range(at, len(whole), 50_000):
            if start - at >= dies:
                process.kill()
            yield whole[start : start + 50_000]

    try:
        said = http.patch(where, content=body(), headers={**CONTENT, "Upload-Offset": str(at)})
    except httpx.TransportError:
        return False
    assert said.status_code == 204
    assert int(said.headers["upload-offset"]) == len(whole)
    return True

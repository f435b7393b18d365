"""Recordings in, words out: every way in, every way out, and what is refused."""

from __future__ import annotations

import hashlib
import socket
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from tests.api.conftest import Serve, Served
from tests.quick import QuickEngine
from tests.waiting import until

from hansard.errors import Archived, DiskFull
from hansard.jobs import rows
from hansard.model import Client, Media, Recording
from hansard.store import keys, uploads, views
from hansard.store.tables import idempotency, jobs, recordings, transcripts

PLACE = "/api/v1/transcriptions"


def sent(served: Served, clip: Path, **fields: Any) -> httpx.Response:
    content = fields.pop("content", None) or clip.read_bytes()
    headers = fields.pop("headers", {})
    return served.http.post(
        PLACE, files={"file": ("Sitzung 1.flac", content)}, data=fields, headers=headers
    )


def done(served: Served, clip: Path, **fields: Any) -> dict[str, Any]:
    said = sent(served, clip, sync="true", **fields)
    assert said.status_code == 200, said.text
    return dict(said.json())


def error(said: httpx.Response, status: int, code: str) -> dict[str, str]:
    assert said.status_code == status, said.text
    found = said.json()["error"]
    assert found["code"] == code
    assert found["message"]
    return dict(found)


def nothing_is_left(served: Served) -> None:
    data = served.house.settings.data
    files = served.house.files
    until(lambda: list((data / "tmp" / files.worker).glob("*")) == [])
    assert list((data / "recordings").glob("*/*")) == []
    with served.house.database.read() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(jobs)) == 0


# ── in ───────────────────────────────────────────────────────────────────────────────────────


def test_a_file_becomes_a_job_and_a_transcript(served: Served, clip: Path) -> None:
    said = sent(served, clip, language="en", priority="7")
    assert said.status_code == 202, said.text
    job = said.json()
    assert said.headers["location"] == f"{PLACE}/{job['id']}" == job["links"]["self"]
    assert (job["name"], job["priority"], job["language"]) == ("Sitzung 1.flac", 7, "en")
    assert job["recording"] == hashlib.sha256(clip.read_bytes()).hexdigest()
    until(lambda: served.http.get(said.headers["location"]).json()["state"] == "completed")
    whole = served.http.get(said.headers["location"]).json()
    found = whole["transcript"]
    assert found["text"].split() == " ".join(one["text"] for one in found["segments"]).split()
    assert found["coverage"]["covered"] > 0
    assert all("words" not in one for one in found["segments"])
    with_words = served.http.get(said.headers["location"], params={"words": "true"}).json()
    words = [word["text"] for one in with_words["transcript"]["segments"] for word in one["words"]]
    assert " ".join(words) == found["text"].replace("\n\n", " ")


def test_the_same_recording_and_options_are_the_same_job(served: Served, clip: Path) -> None:
    first, second = done(served, clip), sent(served, clip).json()
    assert first["id"] == second["id"]
    assert done(served, clip, again="true")["id"] != first["id"]


def test_fields_may_come_behind_the_file_and_in_the_address(served: Served, clip: Path) -> None:
    body = (
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.flac"\r\n\r\n'
        + clip.read_bytes()
        + b'\r\n--b\r\nContent-Disposition: form-data; name="name"\r\n\r\nAnhoerung\r\n--b--\r\n'
    )
    said = served.http.post(
        f"{PLACE}?priority=9",
        content=body,
        headers={"content-type": "multipart/form-data; boundary=b"},
    )
    assert said.status_code == 202, said.text
    assert (said.json()["name"], said.json()["priority"]) == ("Anhoerung", 9)


def test_the_body_itself_may_be_the_recording(served: Served, clip: Path) -> None:
    said = served.http.post(
        f"{PLACE}?name=talk.flac&sync=1",
        content=clip.read_bytes(),
        headers={"content-type": "audio/flac"},
    )
    assert said.status_code == 200, said.text
    assert said.json()["name"] == "talk.flac"
    assert said.json()["transcript"]["text"]


@pytest.fixture
def site(clip: Path) -> Any:
    """A web server on loopback with the clip; counts what is fetched."""
    fetched: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            fetched.append(self.path)
            content = clip.read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/meeting.flac", fetched
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_address_is_fetched(serve: Serve, site: tuple[str, list[str]]) -> None:
    served = serve(webhooks={"private": True})
    url, fetched = site
    headers = {"Idempotency-Key": "k1"}
    said = served.http.post(PLACE, json={"url": url, "sync": True}, headers=headers)
    assert said.status_code == 200, said.text
    assert said.json()["name"] == "meeting.flac"
    form = served.http.post(PLACE, data={"url": url, "name": "x"})
    assert form.json()["id"] == said.json()["id"], "the same bytes"
    assert len(fetched) == 2
    again = served.http.post(PLACE, json={"url": url, "sync": True}, headers=headers)
    assert again.json() == said.json()
    assert len(fetched) == 2, "a request that was answered is not fetched again"


def test_an_address_that_may_not_be_fetched(served: Served, site: tuple[str, list[str]]) -> None:
    """Also not by a name that leads into a private network."""
    for url, code in (
        ("http://127.0.0.1:1/a.mp3", "address_refused"),
        ("http://169.254.169.254/latest", "address_refused"),
        (site[0], "address_refused"),
        (site[0].replace("127.0.0.1", "localhost"), "address_refused"),
        (site[0].replace("127.0.0.1", "2130706433"), "address_refused"),
        ("file:///etc/passwd", "bad_request"),
        ("/etc/passwd", "bad_request"),
        ("-", "bad_request"),
        ("ftp://example.org/a.mp3", "bad_request"),
    ):
        said = served.http.post(PLACE, json={"url": url})
        assert said.json()["error"]["code"] == code, url
    assert site[1] == []
    nothing_is_left(served)


def test_a_resumable_upload_becomes_a_job(served: Served, clip: Path) -> None:
    content, house = clip.read_bytes(), served.house
    root, who = house.files.root, Client()
    made = uploads.create(
        house.database, root, who, name="a.flac", length=len(content), metadata="", lasts=60
    )
    early = served.http.post(PLACE, json={"upload": made.id})
    error(early, 409, "upload_conflict")
    with uploads.hold(house.database, root, made.id, who) as tail:
        tail.write(content)
        tail.sync()
        tail.commit(60)
    error(served.http.post(PLACE, json={"upload": made.id, "model": "no"}), 404, "unknown_model")
    headers = {"Idempotency-Key": "of-an-upload"}
    said = served.http.post(PLACE, json={"upload": made.id}, headers=headers)
    assert said.status_code == 202, said.text
    assert said.json()["name"] == "a.flac"
    error(served.http.post(PLACE, json={"upload": made.id}), 404, "unknown_upload")
    again = served.http.post(PLACE, json={"upload": made.id}, headers=headers)
    assert again.json()["id"] == said.json()["id"], "although the upload is gone"


def test_sync_waits_no_longer_than_allowed(serve: Serve, clip: Path, quick: QuickEngine) -> None:
    served = serve(serve={"sync_seconds": 0.2})
    quick.hold.clear()
    said = sent(served, clip, sync="true")
    quick.hold.set()
    assert said.status_code == 202
    assert said.json()["state"] in {"queued", "running"}
    assert said.headers["location"]


def test_sync_tells_of_a_failure_and_where_the_job_is(served: Served, tmp_path: Path) -> None:
    import numpy as np
    from tests.cli.conftest import encoded

    hum = (np.sin(np.arange(5 * 16_000) / 20) * 8000).astype(np.int16)
    said = sent(served, encoded(tmp_path / "hum.flac", hum), sync="true")
    error(said, 422, "silent")
    job = served.http.get(said.headers["location"]).json()
    assert job["state"] == "failed"
    assert job["error"]["code"] == "silent"


def test_what_was_asked_for_is_answered_honestly(served: Served, clip: Path) -> None:
    said = sent(served, clip, diarize="true", max_speakers="3", formats="srt, docx").json()
    assert not any("speaker" in note for note in said["notes"])
    assert set(said["downloads"]) == {"srt", "docx"}


REFUSED: list[tuple[dict[str, str], int, str, str]] = [
    ({"langauge": "en"}, 400, "bad_request", "language"),
    ({"priority": "10"}, 400, "bad_request", "priority"),
    ({"priority": "many"}, 400, "bad_request", "priority"),
    ({"min_speakers": "3", "max_speakers": "2"}, 400, "bad_request", "3 speakers"),
    ({"max_speakers": "0"}, 400, "bad_request", "max_speakers"),
    ({"prefer": "cheap"}, 400, "bad_request", "prefer"),
    ({"channels": "all"}, 400, "bad_request", "channels"),
    ({"formats": "srt,pdf"}, 422, "unknown_format", "pdf"),
    ({"model": "nothing"}, 404, "unknown_model", "nothing"),
    ({"model": "whisper:/etc"}, 404, "unknown_model", "/etc"),
    ({"model": "../../etc"}, 404, "unknown_model", "etc"),
    ({"model": "whisper/../../x"}, 404, "unknown_model", "x"),
    ({"model": "openai/anything"}, 404, "unknown_model", "anything"),
    ({"model": "large-v3"}, 409, "model_missing", "large-v3"),
    ({"webhook_url": "gopher://x"}, 400, "bad_request", "gopher"),
    ({"webhook_url": "http://localhost/x"}, 422, "address_refused", "localhost"),
    ({"language": "e\0n"}, 400, "bad_request", "NUL"),
    ({"url": "https://example.org/a.mp3"}, 400, "bad_request", "one recording"),
    ({"track": "7"}, 422, "no_such_track", "track"),
    ({"prompt": "x" * 10_001}, 400, "bad_request", "prompt"),
]


def test_what_cannot_be_is_refused_and_leaves_nothing(served: Served, clip: Path) -> None:
    for fields, status, code, words in REFUSED:
        said = error(sent(served, clip, **fields), status, code)
        assert words in said["message"] + str(said["hint"]), fields
    nothing_is_left(served)


def test_other_bodies_are_refused(served: Served) -> None:
    post = served.http.post
    error(post(PLACE), 400, "bad_request")
    error(post(PLACE, json={}), 400, "bad_request")
    error(post(PLACE, json=[1]), 400, "bad_request")
    error(post(PLACE, json={"file": "x"}), 400, "bad_request")
    error(post(PLACE, json={"url": 5}), 400, "bad_request")
    error(post(PLACE, data={"language": "en"}), 400, "bad_request")
    error(
        post(PLACE, content=b"{", headers={"content-type": "application/json"}), 400, "bad_request"
    )
    error(post(PLACE, content=b"x", headers={"content-type": "text/plain"}), 400, "bad_request")
    error(post(PLACE, files={"file": ("a.mp3", b"")}), 422, "empty_file")
    error(post(PLACE, files={"file": ("a.mp3", b"no media" * 100)}), 415, "not_media")
    error(
        post(
            PLACE,
            content=b'{"prompt": "' + b"x" * 70_000,
            headers={"content-type": "application/json"},
        ),
        413,
        "too_large",
    )
    error(
        post(PLACE, files={"file": ("a", b"x")}, headers={"idempotency-key": "a b"}),
        400,
        "bad_request",
    )
    nothing_is_left(served)


def test_too_large_is_refused_by_what_is_announced_and_by_what_comes(serve: Serve) -> None:
    served = serve(limits={"bytes": 100_000})
    error(sent(served, Path(), content=b"x" * 100_001), 413, "too_large")
    host, port = served.url.removeprefix("http://").split(":")
    head = (
        f"POST {PLACE} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 99999999999\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\nExpect: 100-continue\r\n\r\n"
    )
    with socket.create_connection((host, int(port))) as line:
        line.sendall(head.encode())
        assert b" 413 " in line.recv(4096).splitlines()[0], "not a byte of it was asked for"
    nothing_is_left(served)


def test_a_full_disk_is_told_and_nothing_is_left(
    served: Served, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hansard.store.files import Intake

    real = Intake.write

    def full(self: Intake, chunk: Any) -> None:
        if self.size > 100_000:
            raise DiskFull("There is no room left on the disk.", hint="Free some.")
        real(self, chunk[:50_000])
        real(self, chunk[50_000:])

    monkeypatch.setattr(Intake, "write", full)
    error(sent(served, clip, content=b"x" * 500_000), 507, "disk_full")
    nothing_is_left(served)
    monkeypatch.setattr(Intake, "write", real)
    assert done(served, clip)["transcript"], "and the service goes on"


def test_a_full_queue_refuses_before_a_byte_is_taken(serve: Serve, clip: Path) -> None:
    served = serve(work=False, queue={"capacity": 1})
    headers = {"Idempotency-Key": "one"}
    first = sent(served, clip, headers=headers)
    assert first.status_code == 202

    said = served.http.post(
        PLACE,
        content=b"--b\r\n",
        headers={"content-type": "multipart/form-data; boundary=b"},
    )
    full = error(said, 429, "queue_full")
    assert full["hint"]
    assert int(said.headers["retry-after"]) >= 1
    again = sent(served, clip, headers=headers)
    assert again.json()["id"] == first.json()["id"], "who was answered needs no place"
    assert len(served.http.get(PLACE).json()["items"]) == 1


# ── asked again ──────────────────────────────────────────────────────────────────────────────


def test_a_key_gives_the_same_answer_and_refuses_another_request(
    serve: Serve, served: Served, clip: Path
) -> None:
    headers = {"Idempotency-Key": str(uuid.uuid4())}
    first = sent(served, clip, headers=headers, again="true")
    second = sent(served, clip, headers=headers, again="true")
    assert first.json()["id"] == second.json()["id"]
    assert second.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    error(sent(served, clip, headers=headers, priority="9"), 422, "idempotency_conflict")
    other = clip.read_bytes() + b"\0"
    error(
        sent(served, clip, headers=headers, again="true", content=other),
        422,
        "idempotency_conflict",
    )
    until(lambda: served.http.get(first.headers["location"]).json()["state"] == "completed")
    restarted = serve()  # the same data directory
    third = sent(restarted, clip, headers=headers, again="true")
    assert third.json()["id"] == first.json()["id"]
    served.http.delete(first.headers["location"])
    fourth = sent(served, clip, headers=headers, again="true")
    assert fourth.json()["id"] != first.json()["id"], "its job is gone, and the key with it"


def test_a_key_is_forgotten_after_a_day(serve: Serve, clip: Path) -> None:
    served = serve(work=False)
    headers = {"Idempotency-Key": "old"}
    first = sent(served, clip, headers=headers)
    with served.house.database.write() as connection:
        connection.execute(idempotency.update().values(created=time.time() - 90_000))
    other = sent(served, clip, headers=headers, word_times="false")
    assert other.status_code == 202
    assert other.json()["id"] != first.json()["id"]


def test_a_crowd_with_one_key_is_one_job(serve: Serve, clip: Path) -> None:
    served = serve(work=False)
    headers = {"Idempotency-Key": "crowd"}
    with ThreadPoolExecutor(12) as pool:
        said = list(
            pool.map(
                lambda n: sent(served, clip, headers=headers, again="true", priority=str(n % 2)),
                range(12),
            )
        )
    accepted = [one for one in said if one.status_code == 202]
    refused = [one for one in said if one.status_code != 202]
    assert len({one.json()["id"] for one in accepted}) == 1
    assert len(accepted) == len(refused) == 6, "who came first decided what the key means"
    assert {one.json()["error"]["code"] for one in refused} == {"idempotency_conflict"}
    assert len(served.http.get(PLACE).json()["items"]) == 1


# ── pages ────────────────────────────────────────────────────────────────────────────────────


def filled(served: Served, count: int, tenant: str = "local") -> list[str]:
    """So many ended jobs, a second apart, the oldest first; every tenth has failed."""
    begin = 1_700_000_000.0
    with served.house.database.write() as connection:
        if connection.scalar(sa.select(sa.func.count()).select_from(recordings)) == 0:
            from hansard.store import recordings as store

            store.add(connection, Recording("0" * 64, "a", Media("wav", 1.0, 1, ()), begin))
        found = [
            {
                "id": rows.new_id(begin + n),
                "kind": "transcribe",
                "state": "failed" if n % 10 == 0 else "completed",
                "step": "finish",
                "priority": 5,
                "recording": "0" * 64,
                "options": '{"engine":"e","model":"m"}',
                "identity": str(n),
                "batch_key": "b",
                "engine": "e",
                "model": "m",
                "levels": "{}",
                "created": begin + n,
                "finished": begin + n,
                "name": f"Übung [{n}] 100%_a.mp3",
                "tenant": tenant,
            }
            for n in range(count)
        ]
        connection.execute(jobs.insert(), found)
    return [str(one["id"]) for one in found]


def pages(served: Served, **asked: Any) -> list[list[str]]:
    found, cursor = [], None
    while True:
        more: dict[str, str] = {} if cursor is None else {"cursor": cursor}
        said = served.http.get(PLACE, params={**asked, **more})
        assert said.status_code == 200, said.text
        found.append([one["id"] for one in said.json()["items"]])
        cursor = said.json()["next"]
        if cursor is None:
            return found


def test_pages_go_from_the_newest_to_the_oldest_and_miss_nothing(serve: Serve) -> None:
    served = serve(work=False)
    ids = filled(served, 45)
    filled(served, 5, tenant="another")
    found = pages(served, limit=20)
    assert [len(page) for page in found] == [20, 20, 5]
    assert [name for page in found for name in page] == ids[::-1]
    assert [len(page) for page in pages(served, limit=15)] == [15, 15, 15], "no empty page"


def test_pages_are_filtered(serve: Serve) -> None:
    served = serve(work=False)
    ids = filled(served, 40)

    def found(**asked: Any) -> list[str]:
        return [name for page in pages(served, limit=7, **asked) for name in page][::-1]

    assert found(status="failed") == ids[::10]
    assert found(status=["failed", "queued"]) == ids[::10]
    assert found(status=["failed", "completed"]) == ids
    assert found(kind="transcribe") == ids
    assert found(kind="live") == []
    assert found(**{"from": 1_700_000_010, "to": 1_700_000_020}) == ids[10:20]
    assert found(**{"from": "2023-11-14T22:13:50Z"}) == ids[30:]
    assert found(**{"from": "2023-11-15T00:13:50+02:00"}) == ids[30:]
    assert found(text="ÜBUNG [7]") == [ids[7]]
    assert found(text="übung") == ids
    assert found(text="100%_A") == ids
    assert found(text="1003") == []
    assert found(text="*") == []
    assert found(text="[1]", status="completed") == [ids[1]]


def test_pages_that_cannot_be(served: Served) -> None:
    impossible: list[dict[str, Any]] = [
        {"limit": 0}, {"limit": 201}, {"limit": "x"}, {"cursor": "x"}, {"cursor": "é"},
        {"cursor": "MQ" * 40}, {"status": "done"}, {"from": "yesterday"}, {"page": 2},
    ]  # fmt: skip
    for asked in impossible:
        error(served.http.get(PLACE, params=asked), 400, "bad_request")


# ── one ──────────────────────────────────────────────────────────────────────────────────────


def test_a_transcription_has_a_version(served: Served, clip: Path) -> None:
    where = done(served, clip)["links"]["self"]
    first = served.http.get(where)
    etag = first.headers["etag"]
    same = served.http.get(where, headers={"If-None-Match": etag})
    assert same.status_code == 304
    assert same.content == b""
    words = served.http.get(where, params={"words": 1}, headers={"If-None-Match": etag})
    assert words.status_code == 200
    assert words.headers["etag"] != etag
    with served.house.database.write() as connection:
        connection.execute(jobs.update().values(name="another.flac"))
    changed = served.http.get(where, headers={"If-None-Match": etag})
    assert changed.status_code == 200
    assert changed.json()["name"] == "another.flac"


def test_a_transcript_is_made_once_and_again_after_a_write(
    served: Served, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = done(served, clip)["links"]["self"]
    made = []
    real = views.transcript

    def count(*asked: Any, **more: Any) -> bytes | None:
        made.append(asked)
        time.sleep(0.05)
        return real(*asked, **more)

    monkeypatch.setattr(views, "transcript", count)
    with served.house.database.write() as connection:  # another version than the answer's above
        connection.execute(jobs.update().values(name="b.flac"))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: served.http.get(where).content, range(16)))
    assert len(set(found)) == 1
    assert len(made) == 1, "a crowd costs what one reader costs"
    with served.house.database.write() as connection:
        connection.execute(jobs.update().values(finished=jobs.c.finished + 1))
    assert served.http.get(where).status_code == 200
    assert len(made) == 2


def test_text_has_its_paragraphs(served: Served, clip: Path) -> None:
    from hansard.model import Segment, Transcript, Word
    from hansard.store import transcripts as store

    job = done(served, clip)["id"]
    segments = (
        Segment(0.0, 1.0, 'Guten "Tag"', (Word(0.0, 1.0, "Guten"),), tokens=(1, 2)),
        Segment(1.0, 2.0, "meine\nDamen"),
        Segment(2.0, 3.0, "Zurück\u2028", paragraph=2),
    )
    whole = Transcript("i", "r", "n", 3.0, "e", "m", segments=segments)
    with served.house.database.write() as connection:
        store.save(connection, job, segments, lambda: Transcript("i", "r", "n", 3.0, "e", "m"))
        connection.execute(jobs.update().values(finished=jobs.c.finished + 1))
    found = served.http.get(f"{PLACE}/{job}", params={"words": 1}).json()["transcript"]
    assert found["text"] == whole.text
    assert [one["text"] for one in found["segments"]] == [one.text for one in segments]
    assert found["segments"][0]["words"] == [{"start": 0.0, "end": 1.0, "text": "Guten"}]
    assert "tokens" not in found["segments"][0]
    with served.house.database.write() as connection:
        store.save(connection, job, (), lambda: Transcript("i", "r", "n", 3.0, "e", "m"))
        connection.execute(jobs.update().values(finished=jobs.c.finished + 1))
    empty = served.http.get(f"{PLACE}/{job}").json()["transcript"]
    assert (empty["text"], empty["segments"]) == ("", [])


def test_cancel_retry_and_delete(serve: Serve, clip: Path, quick: QuickEngine) -> None:
    served = serve()
    quick.hold.clear()
    job = sent(served, clip).json()
    where = job["links"]["self"]
    assert served.http.get(where).json()["transcript"] is None
    error(served.http.post(f"{where}/retry"), 409, "invalid_state")
    assert served.http.post(f"{where}/cancel").json()["state"] == "cancelled"
    error(served.http.post(f"{where}/cancel"), 409, "invalid_state")
    quick.hold.set()
    again = served.http.post(f"{where}/retry")
    assert again.status_code == 202
    until(lambda: served.http.get(where).json()["state"] == "completed")
    files = served.house.files
    assert files.has_recording(job["recording"])
    gone = served.http.delete(where)
    assert (gone.status_code, gone.content) == (204, b"")
    assert not files.has_recording(job["recording"])
    error(served.http.get(where), 404, "unknown_job")
    error(served.http.delete(where), 404, "unknown_job")
    with served.house.database.read() as connection:
        assert connection.execute(sa.select(transcripts.c.job)).first() is None


def test_a_recording_stays_while_another_job_is_about_it(served: Served, clip: Path) -> None:
    first, second = done(served, clip), done(served, clip, again="true")
    served.http.delete(first["links"]["self"])
    assert served.house.files.has_recording(first["recording"])
    assert served.http.get(second["links"]["audio"]).content == clip.read_bytes()
    served.http.delete(second["links"]["self"])
    assert not served.house.files.has_recording(first["recording"])


# ── whose ────────────────────────────────────────────────────────────────────────────────────

ROUTES = [
    ("GET", PLACE + "/{job}"),
    ("DELETE", PLACE + "/{job}"),
    ("POST", PLACE + "/{job}/cancel"),
    ("POST", PLACE + "/{job}/retry"),
    ("GET", PLACE + "/{job}/download"),
    ("HEAD", PLACE + "/{job}/download"),
    ("GET", PLACE + "/{job}/audio"),
    ("HEAD", PLACE + "/{job}/audio"),
    ("GET", PLACE + "/{job}/events"),
    ("GET", "/api/v1/jobs/{job}"),
    ("GET", "/api/v1/jobs/{job}/attempts"),
]


def test_nobody_sees_or_touches_what_is_anothers(serve: Serve, clip: Path) -> None:
    """Another's job answers, byte for byte but for its name, as one that never was."""
    served = serve(serve={"keys": "required"})
    with served.house.database.write() as connection:
        mine, theirs = (keys.create(connection, name)[1] for name in ("mine", "theirs"))
    http = served.http
    http.headers["authorization"] = f"Bearer {mine}"
    job = done(served, clip)
    http.headers["authorization"] = f"Bearer {theirs}"
    for method, path in ROUTES:
        said = http.request(method, path.format(job=job["id"]))
        never = http.request(method, path.format(job="0" * 14))
        assert said.status_code == never.status_code == 404, (method, path)
        assert said.text.replace(job["id"], "0" * 14) == never.text
    assert http.get(PLACE).json()["items"] == []
    assert http.get("/api/v1/jobs").json()["items"] == []
    same = done(served, clip)
    assert same["id"] != job["id"], "the same recording is another job for another tenant"
    http.headers["authorization"] = f"Bearer {mine}"
    assert http.get(job["links"]["self"]).json()["id"] == job["id"]
    http.delete(job["links"]["self"])
    http.headers["authorization"] = f"Bearer {theirs}"
    assert http.get(same["links"]["audio"]).status_code == 200, "its media stays for the other"


def test_what_went_to_the_archive_is_not_answered_from_memory(served: Served, clip: Path) -> None:
    job = done(served, clip)["id"]
    place = f"/api/v1/transcriptions/{job}"
    whole = served.http.get(place).json()
    text = served.http.get(f"{place}/download?format=txt").content
    assert whole["archived"] is None
    served.house.archive.put(job)
    error(served.http.get(place), Archived.status, "archived")
    error(served.http.get(f"{place}/download?format=txt"), Archived.status, "archived")
    assert served.http.get(f"/api/v1/jobs/{job}").json()["archived"] > whole["finished"]
    served.house.archive.restore(job)
    assert served.http.get(place).json() == whole
    assert served.http.get(f"{place}/download?format=txt").content == text

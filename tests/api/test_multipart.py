"""Forms as streams: any cut into pieces gives the same, any malformed one is a clean refusal."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.api.conftest import Serve, Served
from tests.waiting import until

from hansard.api import multipart
from hansard.api.multipart import Form
from hansard.errors import BadRequest, EmptyFile, TooLarge
from hansard.store.disk import Disk

PLACE = "/api/v1/transcriptions"
BOUNDARY = b"xyzzy"


def desk(root: Path, most: int = 2**20) -> Any:
    files = Disk(root, "worker")
    limits = SimpleNamespace(bytes=most)
    return SimpleNamespace(
        house=SimpleNamespace(files=files), settings=SimpleNamespace(limits=limits)
    )


def taken(root: Path, pieces: list[bytes], most: int = 2**20) -> tuple[Form, bytes]:
    """What a body that comes in these pieces is, and its file's bytes."""
    at = desk(root, most)
    taker = multipart._Taker("multipart/form-data; boundary=xyzzy", at, "file")
    try:
        for piece in pieces:
            taker.take(piece)
        form = taker.form()
        content = b"" if form.draft is None else form.draft.path.read_bytes()
        return form, content
    finally:
        taker.close()
        assert list((root / "tmp" / "worker").glob("*")) == [], "nothing is left"


def part(name: str, content: bytes, file: str | None = None) -> bytes:
    more = "" if file is None else f'; filename="{file}"'
    head = f'Content-Disposition: form-data; name="{name}"{more}\r\n\r\n'
    return b"--" + BOUNDARY + b"\r\n" + head.encode() + content + b"\r\n"


END = b"--" + BOUNDARY + b"--\r\n"


@given(
    content=st.binary(min_size=1, max_size=300),
    like=st.lists(
        st.sampled_from([b"\r", b"\r\n", b"\r\n--", b"\r\n--xyz", b"-", b"a"]), max_size=8
    ),
    texts=st.tuples(st.text(max_size=20), st.text(max_size=20)),
    cuts=st.lists(st.integers(0, 700), max_size=12),
)
def test_any_cut_into_pieces_gives_the_same_form(
    tmp_path_factory: pytest.TempPathFactory,
    content: bytes,
    like: list[bytes],
    texts: tuple[str, str],
    cuts: list[int],
) -> None:
    """Whatever the file holds, bytes that look like the boundary's beginning as well."""
    before, after = texts
    content += b"".join(like)
    if b"\r\n--xyzzy" in content:
        return
    body = (
        part("language", before.encode(errors="replace"))
        + part("file", content, "Sitzung äöü.mp3")
        + part("prompt", after.encode(errors="replace"))
        + END
    )
    edges = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    pieces = [body[a:b] for a, b in pairwise(edges)]
    form, found = taken(tmp_path_factory.mktemp("form"), pieces)
    assert found == content
    assert form.draft is not None
    assert form.draft.sha256 == hashlib.sha256(content).hexdigest()
    assert form.name == "Sitzung äöü.mp3"
    assert form.texts("language") == [before.encode(errors="replace").decode()]
    assert form.texts("prompt") == [after.encode(errors="replace").decode()]


@given(body=st.binary(max_size=400), cut=st.integers(0, 400))
def test_anything_at_all_is_a_form_or_a_refusal(
    tmp_path_factory: pytest.TempPathFactory, body: bytes, cut: int
) -> None:
    for whole in (body, b"--xyzzy\r\n" + body, part("file", b"x", "a") + body):
        with contextlib.suppress(BadRequest, EmptyFile):  # anything else is a failure
            taken(tmp_path_factory.mktemp("form"), [whole[:cut], whole[cut:]])


BROKEN = {
    "no end": part("file", b"abc", "a.mp3"),
    "nothing": b"",
    "no boundary": b"hello",
    "another boundary": b"--other\r\n\r\n--other--\r\n",
    "no headers": b"--xyzzy\r\n\r\nabc\r\n" + END,
    "no name": b"--xyzzy\r\nContent-Disposition: form-data\r\n\r\nabc\r\n" + END,
    "not form-data": b'--xyzzy\r\nContent-Disposition: attachment; name="a"\r\n\r\nabc\r\n' + END,
    "base64": b'--xyzzy\r\nContent-Disposition: form-data; name="file"\r\n'
    b"Content-Transfer-Encoding: base64\r\n\r\nYWJj\r\n" + END,
    "two files": part("file", b"a", "a") + part("file", b"b", "b") + END,
    "a file elsewhere": part("language", b"a", "a.txt") + END,
    "a header without end": b"--xyzzy\r\n" + b"A" * 10_000,
    "many headers": b"--xyzzy\r\n" + b"A: b\r\n" * 50 + b"\r\n\r\n" + END,
    "a header with a NUL": b"--xyzzy\r\nA\0: b\r\n\r\n" + END,
    "no UTF-8": part("language", b"\xff\xfe") + END,
    "many fields": part("prompt", b"x") * 100 + END,
    "a long field": part("prompt", b"x" * 70_000) + END,
}


@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_form_is_refused_and_leaves_nothing(tmp_path: Path, body: bytes) -> None:
    with pytest.raises(BadRequest) as caught:
        taken(tmp_path, [body])
    assert caught.value.message.endswith(".")
    assert caught.value.hint


def test_a_file_may_have_as_many_bytes_as_the_limit_and_no_more(tmp_path: Path) -> None:
    form, content = taken(tmp_path, [part("file", b"x" * 1000, "a") + END], most=1000)
    assert len(content) == 1000
    with pytest.raises(TooLarge):
        taken(tmp_path, [part("file", b"x" * 1001, "a") + END], most=1000)
    with pytest.raises(TooLarge):  # after the last boundary as well
        taken(tmp_path, [part("file", b"x", "a") + END, b"x" * 2**21], most=1000)
    assert form.name == "a"


@pytest.mark.parametrize(
    "content_type",
    ["multipart/form-data", "multipart/form-data; boundary=", "multipart/mixed; boundary=a", ""],
)
def test_what_is_no_form_is_refused(tmp_path: Path, content_type: str) -> None:
    with pytest.raises(BadRequest):
        multipart._Taker(content_type, desk(tmp_path), "file")


# ── over HTTP ────────────────────────────────────────────────────────────────────────────────


def test_a_broken_form_is_a_clean_refusal_over_http(served: Served) -> None:
    for name, body in BROKEN.items():
        said = served.http.post(
            PLACE, content=body, headers={"content-type": "multipart/form-data; boundary=xyzzy"}
        )
        assert 400 <= said.status_code < 500, name
        assert said.json()["error"]["hint"], name
        until(lambda: scratch(served) == [])


def test_an_upload_that_is_broken_off_leaves_nothing(served: Served) -> None:
    host, port = served.url.removeprefix("http://").split(":")
    head = (
        f"POST {PLACE} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: 9000000\r\n"
        "Content-Type: multipart/form-data; boundary=xyzzy\r\n\r\n"
    )
    with socket.create_connection((host, int(port))) as line:
        line.sendall(head.encode() + part("file", b"x" * 900_000, "a.mp3")[:-2])
        until(lambda: scratch(served) != [])
    until(lambda: scratch(served) == [])
    assert served.http.get(PLACE).json()["items"] == []


def test_a_large_upload_takes_little_memory(serve: Serve) -> None:
    """300 MB of noise, in a process of its own memory: this one. Refused at the end as no media."""
    served = serve(work=False)
    size, piece = 300 * 2**20, os.urandom(2**20)
    me = psutil.Process()
    peak = before = me.memory_info().rss
    over = threading.Event()

    def look() -> None:
        nonlocal peak
        while not over.wait(0.01):
            peak = max(peak, me.memory_info().rss)

    def body() -> Iterator[bytes]:
        yield part("file", b"", "noise.mp3")[:-2]
        for _ in range(size // len(piece)):
            yield piece
        yield b"\r\n" + END

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        said = served.http.post(
            PLACE,
            content=body(),
            headers={"content-type": "multipart/form-data; boundary=xyzzy"},
        )
    finally:
        over.set()
        watcher.join()
    assert said.status_code == 415, said.text
    assert peak - before < 64 * 2**20
    assert scratch(served) == []
    assert list((served.house.settings.data / "recordings").glob("*/*")) == []


def scratch(served: Served) -> list[Path]:
    files = served.house.files
    return list((files.root / "tmp" / files.worker).glob("*"))

"""What can be taken away: every format, whole and in ranges, and the recording."""

from __future__ import annotations

import io
import zipfile
from concurrent.futures import ThreadPoolExecutor
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.api.conftest import Serve, Served
from tests.api.test_transcriptions import done, error, sent
from tests.quick import QuickEngine

from hansard import formats
from hansard.api import ranges
from hansard.api.ranges import disposition, opened, rendered
from hansard.formats.registry import Format
from hansard.store.tables import jobs


def plain(served: Served, where: str, **headers: str) -> Any:
    """Without compression: ranges are of the bytes as they are."""
    return served.http.get(where, headers={"accept-encoding": "identity", **headers})


def test_every_format_is_what_the_command_line_writes(served: Served, clip: Path) -> None:
    job = done(served, clip)
    found = served.house.transcript(job["id"])
    assert found is not None
    for name in formats.names():
        said = plain(served, f"{job['links']['download']}?format={name}")
        assert said.status_code == 200, name
        out = io.BytesIO()
        formats.get(name).write(*found, out)
        assert said.content == out.getvalue(), name
        assert said.headers["content-type"] == formats.get(name).media_type
        ending = formats.get(name).extension
        assert said.headers["content-disposition"] == f'attachment; filename="Sitzung 1{ending}"'
        assert said.headers["x-content-type-options"] == "nosniff"
    small = served.http.get(job["links"]["download"], params={"format": "srt", "max_line": 20})
    lines = [line for line in small.text.splitlines() if "-->" not in line]
    assert max(map(len, lines)) <= 20
    assert small.content != plain(served, f"{job['links']['download']}?format=srt").content


def test_downloads_that_cannot_be(served: Served, clip: Path, quick: QuickEngine) -> None:
    where = done(served, clip)["links"]["download"]
    get = served.http.get
    error(get(where, params={"format": "pdf"}), 422, "unknown_format")
    error(get(where, params={"max_line": 2}), 422, "bad_settings")
    error(get(where, params={"max_line": "wide"}), 400, "bad_request")
    error(get(where, params={"colour": "red"}), 400, "bad_request")
    quick.hold.clear()
    open_ = sent(served, clip, again="true").json()["links"]["download"]
    error(get(open_), 409, "invalid_state")
    quick.hold.set()


def test_parts_of_a_download(served: Served, clip: Path) -> None:
    where = done(served, clip)["links"]["download"] + "?format=docx"
    whole = plain(served, where)
    content, size = whole.content, len(whole.content)
    assert zipfile.ZipFile(io.BytesIO(content)).testzip() is None
    for asked, start, end in (
        ("bytes=0-0", 0, 1),
        ("bytes=10-99", 10, 100),
        ("BYTES=10-", 10, size),
        ("bytes=-7", size - 7, size),
        (f"bytes=-{size * 2}", 0, size),
        (f"bytes=5-{size * 9}", 5, size),
    ):
        part = plain(served, where, range=asked)
        assert part.status_code == 206, asked
        assert part.content == content[start:end], asked
        assert part.headers["content-range"] == f"bytes {start}-{end - 1}/{size}"
        assert part.headers["content-length"] == str(end - start)
    for asked in (f"bytes={size}-", f"bytes={size + 5}-{size + 9}", "bytes=-0"):
        outside = plain(served, where, range=asked)
        error(outside, 416, "range_outside")
        assert outside.headers["content-range"] == f"bytes */{size}"
    for asked in ("bytes=0-1,5-6", "bytes=-", "lines=0-5", "bytes=9-3", "nonsense"):
        assert plain(served, where, range=asked).content == content, asked
    etag = whole.headers["etag"]
    assert plain(served, where, range="bytes=0-3", **{"if-range": etag}).status_code == 206
    other = plain(served, where, range="bytes=0-3", **{"if-range": '"other"'})
    assert (other.status_code, other.content) == (200, content)
    same = plain(served, where, **{"if-none-match": etag})
    assert (same.status_code, same.content) == (304, b"")
    head = served.http.head(where, headers={"accept-encoding": "identity"})
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(size)
    assert head.headers["etag"] == etag
    some = served.http.head(where, headers={"range": "bytes=0-9"})
    assert (some.status_code, some.headers["content-length"]) == (206, "10")


def test_a_download_is_made_once_for_each_version(
    served: Served, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    real = Format.write

    def count(self: Format, *given: Any) -> None:
        made.append(self.name)
        real(self, *given)

    monkeypatch.setattr(Format, "write", count)
    where = done(served, clip)["links"]["download"] + "?format=vtt"
    with ThreadPoolExecutor(6) as pool:
        found = set(pool.map(lambda _: plain(served, where).content, range(12)))
    assert len(found) == 1
    assert made == ["vtt"]
    before = plain(served, where).headers["etag"]
    with served.house.database.write() as connection:
        connection.execute(jobs.update().values(name="another.mp3"))
    after = plain(served, where)
    assert made == ["vtt", "vtt"]
    assert after.headers["etag"] != before
    assert 'filename="another.vtt"' in after.headers["content-disposition"]


def test_the_recording_comes_back_byte_for_byte(served: Served, clip: Path) -> None:
    job = done(served, clip)
    where, content = job["links"]["audio"], clip.read_bytes()
    whole = served.http.get(where)
    assert whole.content == content
    assert whole.headers["content-type"] == "audio/flac"
    assert whole.headers["etag"] == f'"{job["recording"]}"'
    assert whole.headers["content-disposition"] == 'attachment; filename="Sitzung 1.flac"'
    assert whole.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in whole.headers["content-security-policy"]
    part = served.http.get(where, headers={"range": "bytes=1000-1999"})
    assert (part.status_code, part.content) == (206, content[1000:2000])
    assert served.http.head(where).headers["content-length"] == str(len(content))
    served.house.files.forget_recording(job["recording"])
    error(served.http.get(where), 410, "media_gone")
    assert served.http.get(job["links"]["self"]).json()["transcript"], "the words are still here"


def test_a_page_in_disguise_stays_a_file(served: Served, clip: Path) -> None:
    """What was uploaded as a page is never shown as one of ours."""
    said = served.http.post(
        "/api/v1/transcriptions",
        files={"file": ('x"\r\nSet-Cookie: a=b; .html', clip.read_bytes(), "text/html")},
        data={"sync": "true"},
    )
    assert said.status_code == 200, said.text
    back = served.http.get(said.json()["links"]["audio"])
    assert back.headers["content-type"] == "audio/flac"
    assert back.headers["content-disposition"].startswith("attachment;")
    assert "set-cookie" not in back.headers


def test_a_reader_keeps_what_it_began_to_read(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"0123456789")
    content = opened(path)
    path.unlink()
    assert content.read(3, 4) == b"3456"
    assert len(content) == 10


def test_large_renderings_lie_on_the_disk_without_a_name(tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"

    def little(out: Any) -> None:
        out.write(b"abc")

    small = rendered(little, scratch)
    assert (small.read(0, 9), small.at_hand) == (b"abc", True)
    piece = bytes(range(256)) * 4096

    def write(out: Any) -> None:
        for _ in range(3):
            out.write(piece)

    large = rendered(write, scratch)
    assert not large.at_hand
    assert len(large) == 3 * len(piece)
    assert large.read(len(piece) - 2, 4) == b"\xfe\xff\x00\x01"
    assert list(scratch.iterdir()) == []

    def broken(out: Any) -> None:
        write(out)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        rendered(broken, scratch)


@given(name=st.text(max_size=60))
def test_any_name_is_a_header_and_reads_back(name: str) -> None:
    header = disposition(name)
    header.encode("ascii")
    assert header.isprintable()
    message = Message()
    message["content-disposition"] = header
    found = message.get_filename()
    assert found
    assert "/" not in found
    assert "\\" not in found
    assert message.get_content_disposition() == "attachment"
    simple = all(c.isalnum() and c.isascii() for c in name)
    if simple and name:
        assert found == name


def test_names_in_any_script(serve: Serve, clip: Path) -> None:
    served = serve()
    name = "Öffentliche Anhörung — 議事録.flac"
    said = served.http.post(
        "/api/v1/transcriptions",
        files={"file": (name, clip.read_bytes())},
        data={"sync": "true"},
    )
    assert said.json()["name"] == name
    header = served.http.get(said.json()["links"]["audio"]).headers["content-disposition"]
    assert unquote(header.partition("filename*=UTF-8''")[2]) == name
    assert ranges.disposition("...") == 'attachment; filename="recording"'

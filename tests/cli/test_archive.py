"""`hansard archive`: meetings go, are known to be gone, and come back; over the API, too."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.api import conftest as api
from tests.api.conftest import Serve
from tests.cli.conftest import Command, refused
from tests.quick import QuickEngine

from hansard import formats

# Fixtures of the API's tests: a service, for the one command that needs one.
cage = api.cage
serve = api.serve


@pytest.fixture
def done(clip: Path, hansard: Command, quick: QuickEngine) -> str:
    """The id of a meeting that is completed."""
    ended = hansard("transcribe", clip, "-m", "sphinx", "--events")
    assert quick.heard
    return str(json.loads(ended.out.splitlines()[0])["job"])


def test_there_and_back(done: str, hansard: Command, data: Path, tmp_path: Path) -> None:
    every = [word for name in formats.names() for word in ("-f", name)]
    assert hansard("export", done, *every, "-o", tmp_path / "before").code == 0
    refused(hansard("archive", "--without-audio"), "usage", 2)
    assert hansard("archive", "--days", "1").out == ""
    would = hansard("archive", "--days", "0", "--dry-run")
    assert (would.out.split(), would.err) == ([done], "1 would be archived\n")
    ended = hansard("archive", "--days", "0", "--with-audio")
    assert ended.code == 0, ended.err
    assert f"{done}  archived" in ended.out
    assert not list((data / "recordings").rglob("*.*"))
    (path,) = (data / "archive").rglob("*.tar")
    refused(hansard("export", done), "archived", 2)
    assert done in hansard("jobs", "list").out
    (entry,) = map(json.loads, hansard("archive", "list", "--json").out.splitlines())
    assert entry["place"] == path.relative_to(data).as_posix()
    assert hansard("database", "check", "--deep").code == 0
    ended = hansard("archive", "restore", done[-6:])
    assert f"{done}  restored" in ended.out
    assert hansard("archive", "list").out == ""
    assert hansard("export", done, *every, "-o", tmp_path / "after").code == 0
    for before in (tmp_path / "before").iterdir():
        assert before.read_bytes() == (tmp_path / "after" / before.name).read_bytes(), before.name
    assert len(list((tmp_path / "after").iterdir())) == len(formats.names())


def test_one_that_cannot_go_holds_up_no_other(done: str, hansard: Command) -> None:
    assert hansard("archive", done).code == 0
    ended = hansard("archive", done)
    refused(ended, "archived", 2)
    refused(hansard("archive", "restore", "nothing"), "unknown_job", 2)


def test_what_is_deleted_is_gone_from_the_archive_too(
    done: str, hansard: Command, data: Path
) -> None:
    hansard("archive", done, "--with-audio")
    assert list((data / "archive").rglob("*.tar"))
    assert hansard("jobs", "delete", done).code == 0
    assert not list((data / "archive").rglob("*.tar"))


def test_the_api_says_where_it_is(done: str, hansard: Command, serve: Serve, data: Path) -> None:
    hansard("archive", done, "--with-audio")
    http = serve(work=False).http
    place = f"/api/v1/transcriptions/{done}"
    for address in (place, f"{place}/download?format=srt", f"{place}/audio"):
        answer = http.get(address)
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "archived"), address
        assert f"hansard archive restore {done}" in answer.json()["error"]["hint"]
    (job,) = http.get("/api/v1/jobs").json()["items"]
    assert (job["id"], job["state"]) == (done, "completed")
    assert http.delete(place).status_code == 204
    assert not list((data / "archive").rglob("*.tar"))

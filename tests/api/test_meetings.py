from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import docx
import pytest
from tests.api.conftest import Serve, Served
from tests.cli.conftest import encoded
from tests.meetings.conftest import Makers, split_at_turns
from tests.waiting import until

from hansard.insight.findings import Item, Items, Source
from hansard.meetings import makers
from hansard.meetings.turns import Turn


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Makers:
    own = Makers()
    own.turns = (Turn(0.0, 4.0, "x"), Turn(4.0, 60.0, "y"))
    monkeypatch.setattr(makers, "diarize", own.diarize)
    monkeypatch.setattr(makers, "assign", split_at_turns)
    monkeypatch.setattr(makers, "find", own.find)
    return own


@pytest.fixture
def served(serve: Serve, made: Makers) -> Served:
    del made
    return serve(meetings={"follow_up": True, "pause": 0.0})


def sent(served: Served, clip: Path, **fields: str) -> str:
    """A meeting whose speakers and findings are there."""
    with clip.open("rb") as file:
        answer = served.http.post(
            "/api/v1/transcriptions", files={"file": file}, data={"sync": "true", **fields}
        )
    assert answer.status_code == 200, answer.text
    job = str(answer.json()["id"])
    settled(served, job)
    return job


def settled(served: Served, job: str) -> None:
    """Nothing that follows the meeting is open any more."""

    def nothing_is_open() -> bool:
        found = served.http.get("/api/v1/jobs", params={"limit": 200}).json()["items"]
        mine = [one for one in found if one["parent"] == job]
        kinds = {one["kind"] for one in mine}
        return kinds >= {"speakers", "insight"} and all(one["finished"] for one in mine)

    until(nothing_is_open)


def got(served: Served, address: str, **query: Any) -> dict[str, Any]:
    answer = served.http.get(f"/api/v1{address}", params=query)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def patched(served: Served, address: str, body: Any, **headers: str) -> Any:
    answer = served.http.patch(f"/api/v1{address}", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


def code(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_a_meeting_from_its_recording_to_its_corrections(served: Served, clip: Path) -> None:
    job = sent(served, clip)
    meeting = got(served, f"/meetings/{job}")
    assert meeting["title"] == "clip"
    assert meeting["mood"] == 0.25
    people = got(served, f"/meetings/{job}/speakers")["items"]
    assert [one["label"] for one in people] == ["S1", "S2"]
    first, *_ = got(served, f"/meetings/{job}/segments", words=True)["items"]
    assert first["position"] == 0
    assert first["speaker"] == "S1"

    # A word is corrected: the others keep their times, and what was found is stale until remade.
    words = first["text"].split()
    text = " ".join(["Hansard", *words[1:]])
    line = patched(served, f"/meetings/{job}/segments/0", {"text": text})
    assert [word["start"] for word in line["words"]] == [w["start"] for w in first["words"]]
    assert line["words"][0]["text"] == "Hansard"
    history = got(served, f"/meetings/{job}/segments/0/history")["items"]
    assert [(one["before"], one["after"]) for one in history] == [
        ({"text": first["text"]}, {"text": text})
    ]
    assert history[0]["by"] == "local"
    wording = got(served, f"/meetings/{job}")["wording"]
    until(lambda: got(served, f"/meetings/{job}/summary")["wording"] == wording)
    assert got(served, f"/meetings/{job}/summary")["stale"] is False

    # A speaker gets a name: transcripts and subtitles have it.
    patched(served, f"/meetings/{job}/speakers/S2", {"name": "Ben"})
    page = got(served, f"/meetings/{job}/segments")
    assert page["speakers"] == {"S2": "Ben"}
    srt = served.http.get(f"/api/v1/transcriptions/{job}/download", params={"format": "vtt"})
    assert "<v Ben>" in srt.text
    assert "Hansard" in srt.text


def test_downloads_follow_every_change(served: Served, clip: Path) -> None:
    job = sent(served, clip)
    address = f"/api/v1/transcriptions/{job}/download"
    before = served.http.get(address, params={"format": "vtt"})
    patched(served, f"/meetings/{job}/speakers/S1", {"name": "Anna"})
    known = {"if-none-match": before.headers["etag"]}
    after = served.http.get(address, params={"format": "vtt"}, headers=known)
    assert after.status_code == 200
    assert "<v Anna>" in after.text
    assert served.http.get(f"/api/v1/transcriptions/{job}").json()["revision"] > 0


def test_what_follows_is_a_job_and_no_transcription(served: Served, clip: Path) -> None:
    job = sent(served, clip)
    listed = got(served, "/transcriptions")["items"]
    assert [one["id"] for one in listed] == [job]
    jobs = got(served, "/jobs")["items"]
    assert sorted((one["kind"], one["parent"]) for one in jobs) == [
        ("insight", job), ("speakers", job), ("transcribe", None),
    ]  # fmt: skip
    child = next(one for one in jobs if one["parent"])
    assert child["links"]["self"] == f"/api/v1/jobs/{child['id']}"
    assert served.http.get(child["links"]["self"]).status_code == 200


def test_stale_changes_are_refused(served: Served, clip: Path) -> None:
    job = sent(served, clip)
    version = served.http.get(f"/api/v1/meetings/{job}").headers["etag"]
    known = {"if-match": version}
    patched(served, f"/meetings/{job}", {"title": "Budget", "tags": ["b", "a"]}, **known)
    stale = served.http.patch(f"/api/v1/meetings/{job}", json={"title": "X"}, headers=known)
    assert code(stale) == (412, "changed")
    meeting = got(served, f"/meetings/{job}")
    assert (meeting["title"], meeting["tags"]) == ("Budget", ["a", "b"])
    wrong = {"if-match": '"abc"'}
    stale = served.http.patch(f"/api/v1/meetings/{job}", json={"title": "X"}, headers=wrong)
    assert code(stale) == (412, "changed")
    same = served.http.get(
        f"/api/v1/meetings/{job}", headers={"if-none-match": f'"r{meeting["revision"]}"'}
    )
    assert same.status_code == 304


def test_meetings_are_listed_by_when_they_were_held(
    served: Served, clip: Path, speech: Any, tmp_path: Path
) -> None:
    jobs = [sent(served, clip)]
    for number in (1, 2):
        part = encoded(tmp_path / f"Part {number}.flac", speech[number * 16_000 :])
        jobs += [sent(served, part)]
    for at, job in enumerate(jobs):
        patched(served, f"/meetings/{job}", {"held": 1000.0 * (at + 1)})
    first = got(served, "/meetings", limit=2)
    assert [one["id"] for one in first["items"]] == [jobs[2], jobs[1]]
    rest = got(served, "/meetings", limit=2, cursor=first["next"])
    assert [one["id"] for one in rest["items"]] == [jobs[0]]
    assert rest["next"] is None
    bulk = {"ids": [*jobs[:2], "nothing"], "status": "done", "add_tags": ["old"]}
    said = served.http.post("/api/v1/meetings/bulk", json=bulk).json()
    assert said == {"changed": jobs[:2], "failed": {"nothing": "unknown_meeting"}}

    def found(**query: Any) -> list[str]:
        return [one["id"] for one in got(served, "/meetings", **query)["items"]]

    assert found(status="done") == found(tag="old") == [jobs[1], jobs[0]]
    assert found(text="pART") == [jobs[2], jobs[1]]
    assert found(**{"from": 2000, "to": 3000}) == [jobs[1]]
    assert found(language="en", kind="meeting") == jobs[::-1]
    assert found(language="de") == []
    assert code(served.http.get("/api/v1/meetings", params={"cursor": "xyz"}))[0] == 400
    assert code(served.http.get("/api/v1/meetings", params={"colour": "red"}))[0] == 400


def test_items_that_people_correct_stay_corrected(
    served: Served, clip: Path, made: Makers, monkeypatch: pytest.MonkeyPatch
) -> None:

    def find(kind: Any, segments: Any, *rest: Any) -> Any:
        if kind != "items":
            return Makers.find(made, kind, segments, *rest)
        found = (
            Item("action", "Send the numbers.", (0,), owner="S1"),
            Item("decision", "The budget is agreed.", (1,)),
        )
        return Items(found), Source("embedded", "made-up-2")

    monkeypatch.setattr(makers, "find", find)
    job = sent(served, clip)
    page = got(served, f"/meetings/{job}/items")
    action, decision = page["keys"]
    patched(
        served, f"/meetings/{job}/items/{action}",
        {"kind": "action", "text": "Ben sends the numbers.", "owner": "Ben"},
    )  # fmt: skip
    assert served.http.delete(f"/api/v1/meetings/{job}/items/{decision}").status_code == 200
    added = served.http.post(
        f"/api/v1/meetings/{job}/items",
        json={"kind": "action", "text": "Book a room.", "start": 5.0},
    )
    assert added.status_code == 201
    for _ in range(2):  # and again when all was found anew
        page = got(served, f"/meetings/{job}/items")
        assert [one["text"] for one in page["value"]["items"]] == [
            "Ben sends the numbers.", "Book a room.",
        ]  # fmt: skip
        assert page["corrected"] is True
        asked = served.http.post(f"/api/v1/meetings/{job}/insight", json={"kinds": ["items"]})
        assert asked.status_code == 202
        settled(served, job)
    assert got(served, f"/meetings/{job}/items")["version"] == 3
    actions = got(served, f"/meetings/{job}/actions")
    assert len(actions["value"]["items"]) == len(actions["keys"]) == 2
    kept = got(served, f"/meetings/{job}/corrections", limit=2)
    assert [one["target"] for one in kept["items"]] == ["items", "items"]
    rest = got(served, f"/meetings/{job}/corrections", after=kept["next"])
    assert len(rest["items"]) == 1


def test_summaries_and_chapters_are_corrected(served: Served, clip: Path) -> None:
    job = sent(served, clip)
    page = patched(served, f"/meetings/{job}/summary", {"short": ["All is well."]})
    assert [one["text"] for one in page["value"]["short"]] == ["All is well."]
    page = patched(served, f"/meetings/{job}/chapters/0", {"title": "Everything"})
    assert page["value"]["chapters"][0]["title"] == "Everything"
    served.http.post(f"/api/v1/meetings/{job}/insight")
    settled(served, job)
    assert got(served, f"/meetings/{job}/summary")["value"]["short"][0]["text"] == "All is well."
    page = got(served, f"/meetings/{job}/chapters")
    assert page["value"]["chapters"][0]["title"] == "Everything"
    assert page["version"] == 2


def test_voices_are_remembered_and_forgotten(served: Served, clip: Path, made: Makers) -> None:
    made.turns = (Turn(0.0, 7.0, "x"), Turn(7.0, 60.0, "y"))
    made.voices = {"x": b"1234"}
    job = sent(served, clip)
    patched(served, f"/meetings/{job}/speakers/S1", {"name": "Anna", "remember": True})
    (voice,) = got(served, "/voices")["items"]
    assert voice["name"] == "Anna"
    assert got(served, f"/meetings/{job}/speakers")["items"][0]["voice"] == voice["id"]
    assert served.http.delete(f"/api/v1/voices/{voice['id']}").status_code == 204
    assert code(served.http.delete(f"/api/v1/voices/{voice['id']}")) == (404, "unknown_voice")
    assert got(served, f"/meetings/{job}/speakers")["items"][0]["name"] == "Anna"
    unknown = served.http.patch(
        f"/api/v1/meetings/{job}/speakers/S2", json={"name": "Ben", "remember": True}
    )
    assert code(unknown) == (422, "not_supported")


def test_segments_are_paged_by_time(served: Served, clip: Path) -> None:
    job = sent(served, clip)
    whole = got(served, f"/meetings/{job}/segments")["items"]
    assert len(whole) >= 2
    assert "words" not in whole[0]
    first = got(served, f"/meetings/{job}/segments", limit=1)
    second = got(served, f"/meetings/{job}/segments", limit=1, after=first["next"])
    assert first["items"] + second["items"] == whole[:2]
    late = got(served, f"/meetings/{job}/segments", **{"from": whole[1]["start"] + 0.1})
    assert late["items"] == whole[1:]
    early = got(served, f"/meetings/{job}/segments", to=whole[1]["start"])
    assert early["items"] == whole[:1]


REFUSED: list[tuple[str, str, Any, int, str]] = [
    ("GET", "", None, 404, "unknown_meeting"),
    ("PATCH", "", {"title": "x"}, 404, "unknown_meeting"),
    ("DELETE", "", None, 404, "unknown_meeting"),
    ("GET", "/segments", None, 404, "unknown_meeting"),
    ("GET", "/summary", None, 404, "unknown_meeting"),
    ("POST", "/insight", None, 404, "unknown_meeting"),
    ("POST", "/speakers", {"min_speakers": 3, "max_speakers": 2}, 400, "bad_request"),
    ("POST", "/insight", {"kinds": ["weather"]}, 400, "bad_request"),
    ("PATCH", "", {"titel": "x"}, 400, "bad_request"),
    ("PATCH", "", {"status": "gone"}, 400, "bad_request"),
    ("PATCH", "", {"kind": "party"}, 422, "usage"),
    ("PATCH", "/segments/0", {}, 400, "bad_request"),
    ("PATCH", "/speakers/S1", {"name": "x", "merge_into": "S2"}, 400, "bad_request"),
]


@pytest.mark.parametrize("asked", REFUSED)
def test_what_cannot_be_is_refused(serve: Serve, asked: tuple[str, str, Any, int, str]) -> None:
    method, path, body, status, why = asked
    served = serve(work=False)
    answer = served.http.request(method, f"/api/v1/meetings/1m7wkb3n3a9jd3{path}", json=body)
    assert code(answer) == (status, why)


def test_minutes_are_for_people(served: Served, clip: Path) -> None:
    job = sent(served, clip)
    patched(served, f"/meetings/{job}", {"title": "The *budget*", "people": [{"name": "Cleo"}]})
    patched(served, f"/meetings/{job}/speakers/S1", {"name": "<b>Anna</b>"})
    answer = served.http.get(f"/api/v1/meetings/{job}/minutes")
    assert answer.headers["content-type"].startswith("text/markdown")
    lines = answer.text.splitlines()
    assert lines[0] == r"# The \*budget\*"
    assert r"| People | \<b\>Anna\</b\>, S2 (not named), Cleo |" in lines
    headings = [line for line in lines if line.startswith("## ")]
    wanted = ["## Summary", "## Decisions", "## Action items"]
    assert headings[:3] == wanted
    assert headings[-1] == "## Transcript"
    assert "- It was about the budget." in answer.text
    assert "*None were found.*" in answer.text
    assert r"**\<b\>Anna\</b\>:**" in answer.text
    known = {"if-none-match": answer.headers["etag"]}
    again = served.http.get(f"/api/v1/meetings/{job}/minutes", headers=known)
    assert again.status_code == 304
    word = served.http.get(f"/api/v1/meetings/{job}/minutes", params={"format": "docx"})
    paragraphs = [one.text for one in docx.Document(io.BytesIO(word.content)).paragraphs]
    assert paragraphs[0] == "The *budget*"
    assert {"Summary", "Decisions", "Action items", "Transcript"} <= set(paragraphs)
    assert any("<b>Anna</b>:" in text for text in paragraphs)


def test_everything_can_be_taken_away(
    served: Served, clip: Path, speech: Any, tmp_path: Path
) -> None:
    first = sent(served, clip)
    second = sent(served, encoded(tmp_path / "Other/part.flac".replace("/", " "), speech[16_000:]))
    patched(served, f"/meetings/{first}/segments/0", {"text": "Corrected by hand."})
    answer = served.http.get("/api/v1/meetings/export")
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert {line["meeting"]["id"] for line in lines} == {first, second}
    mine = next(line for line in lines if line["meeting"]["id"] == first)
    assert mine["corrections"][0]["after"] == {"text": "Corrected by hand."}
    assert mine["transcript"]["segments"][0]["text"] == "Corrected by hand."
    assert set(mine["findings"]) >= {"summary", "items"}
    asked = {"format": "zip", "formats": "srt,json,docx", "text": "other"}
    answer = served.http.get("/api/v1/meetings/export", params=asked)
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        (entry,) = map(json.loads, archive.read("index.jsonl").splitlines())
        assert entry["id"] == second
        assert entry["formats"] == ["srt", "json", "docx"]
        kinds = ("meeting.json", "transcript.srt", "transcript.json", "transcript.docx")
        assert names == [*(f"{entry['folder']}/{kind}" for kind in kinds), "index.jsonl"]
        assert json.loads(archive.read(names[2]))["format"] == "hansard.transcript"
    refused = served.http.get("/api/v1/meetings/export?format=zip&formats=pdf")
    assert code(refused) == (422, "unknown_format")


def test_turns_can_be_downloaded(served: Served, clip: Path) -> None:
    job = sent(served, clip)
    patched(served, f"/meetings/{job}/speakers/S2", {"name": "Ben Bee"})
    address = f"/api/v1/transcriptions/{job}/download"
    lines = served.http.get(address, params={"format": "rttm"}).text.splitlines()
    assert lines == [
        "SPEAKER clip 1 0.000 4.000 <NA> <NA> S1 <NA> <NA>",
        "SPEAKER clip 1 4.000 56.000 <NA> <NA> Ben_Bee <NA> <NA>",
    ]

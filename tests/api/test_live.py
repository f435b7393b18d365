"""Speaking to the live route, over real sockets, with audio in every form it takes."""

from __future__ import annotations

import json
from contextlib import suppress
from itertools import pairwise
from typing import Any

import av
import numpy as np
import pytest
from tests.api.conftest import Serve, Served
from tests.api.live_client import Line, cut, decoded, ended, finished, line, opus
from tests.cli.conftest import Audio, remains
from tests.quick import QuickEngine
from websockets.exceptions import ConnectionClosed

from hansard.api.live_messages import words_of
from hansard.jobs.sessions import Heard
from hansard.model import Span, Utterance, Window, WindowResult, Word

PCM = {"format": "pcm_s16le", "rate": 16_000}


def speak(said: Line, start: dict[str, Any], pieces: list[bytes]) -> dict[str, Any]:
    said.say("start", **start)
    assert said.hear("started")["received"] == 0
    said.send(pieces)
    said.say("end")
    return said.hear("done")


def stereo(speech: Audio) -> bytes:
    """The same at 48 kHz on two channels."""
    resampler = av.AudioResampler("s16", "stereo", 48_000)
    frame = av.AudioFrame.from_ndarray(speech.reshape(1, -1), "s16", "mono")
    frame.sample_rate = 16_000
    ready = [*resampler.resample(frame), *resampler.resample(None)]
    return b"".join(bytes(one.planes[0])[: one.samples * 4] for one in ready)


def form(name: str, speech: Audio) -> tuple[dict[str, Any], list[bytes]]:
    """The first message and the pieces that follow it, not cut where samples end."""
    if name == "16 kHz":
        return PCM, cut(speech.tobytes(), 3201)
    if name == "48 kHz stereo":
        start = {"format": "pcm_s16le", "rate": 48_000, "channels": 2}
        return start, cut(stereo(speech), 19_201)
    if name == "floats":
        floats = (speech / 32768).astype("<f4")
        return {"format": "pcm_f32le", "rate": 16_000}, cut(floats.tobytes(), 10_001)
    if name == "opus":
        return {"format": "opus"}, opus(speech)[1]
    return {"format": name}, cut(b"".join(opus(speech, name)[0]), 2001)


@pytest.mark.parametrize("name", ["16 kHz", "48 kHz stereo", "floats", "opus", "ogg", "webm"])
def test_what_is_spoken_is_heard_and_kept(served: Served, speech: Audio, name: str) -> None:
    start, pieces = form(name, speech)
    with line(served) as said:
        done = speak(said, start, pieces)
        finals = said.of("final")
    assert [final["number"] for final in finals] == list(range(1, len(finals) + 1))
    assert len(finals) > 1, "it ends with what is said, not when thirty seconds are full"
    assert all(a["end"] <= b["start"] for a, b in pairwise(finals))

    found = served.http.get(done["transcription"]).json()
    assert (found["kind"], found["state"]) == ("live", "completed")
    assert found["seconds"] == pytest.approx(12, abs=0.05)
    kept = served.http.get(f"{done['transcription']}/audio")
    assert kept.status_code == 200
    if name in ("ogg", "webm"):
        assert kept.content == b"".join(pieces), "what comes in a container is kept as it came"
    heard = decoded(kept.content)
    assert len(heard) == pytest.approx(len(speech), abs=800)
    if name == "16 kHz":
        assert np.array_equal(heard, speech)

    words = served.http.get(f"{done['transcription']}/download", params={"format": "json"}).json()
    live = [word["text"] for final in finals for word in final["words"]]
    assert [word["text"] for part in words["segments"] for word in part["words"]] == live


def test_it_covers_what_the_same_audio_does_as_a_file(served: Served, speech: Audio) -> None:
    with line(served) as said:
        live = speak(said, PCM, cut(speech.tobytes(), 3200))
    kept = served.http.get(f"{live['transcription']}/audio").content
    uploaded = served.http.post(
        "/api/v1/transcriptions", files={"file": ("same.wav", kept)}, data={"sync": "true"}
    ).json()
    assert uploaded["recording"] == served.http.get(live["transcription"]).json()["recording"]
    assert uploaded["id"] != live["id"]
    reports = [
        served.http.get(f"/api/v1/transcriptions/{job}/download", params={"format": "json"}).json()
        for job in (live["id"], uploaded["id"])
    ]
    speech_found = [report["coverage"]["speech"] for report in reports]
    assert speech_found[0] == pytest.approx(speech_found[1], abs=0.05)
    counts = [sum(len(part["words"]) for part in report["segments"]) for report in reports]
    assert counts[0] == pytest.approx(counts[1], rel=0.2)  # two a second, rounded down by window


def test_what_is_being_said_is_guessed_until_it_is_final(served: Served, speech: Audio) -> None:
    with line(served) as said:
        said.say("start", **PCM)
        said.hear("started")
        pieces = iter(cut(speech.tobytes(), 3200))
        partial = said.send_until_guessed(pieces)
        assert partial["text"]
        said.send(pieces)
        said.say("end")
        said.hear("done")
        final = next(one for one in said.of("final") if one["number"] == partial["number"])
        assert final["start"] == pytest.approx(partial["start"], abs=0.01)
        assert final["end"] > partial["end"]


def test_a_guess_without_words_is_not_told() -> None:
    window = Window(0, 0, (Span(8_000, 16_000),))
    utterance = Utterance(0.0, 0.5, "so", (Word(0.0, 0.4, "so"),))
    nothing, something = (
        Heard(1, window, WindowResult(())),
        Heard(1, window, WindowResult((utterance,))),
    )
    assert words_of("partial", nothing) == ""
    assert json.loads(words_of("partial", something))["text"] == "so"
    assert json.loads(words_of("final", nothing))["text"] == "", "of a final it is told"


def test_guesses_leave_nothing_in_the_sums(served: Served, speech: Audio) -> None:
    with line(served) as said:
        said.say("start", **PCM)
        said.hear("started")
        said.send_until_guessed(cut(speech.tobytes(), 3200))
        said.say("end")
        done = said.hear("done")
    found = served.http.get(done["transcription"]).json()
    assert found["progress"]["windows"] == len(said.of("final"))


def test_no_guesses_where_none_are_wanted(
    served: Served, speech: Audio, quick: QuickEngine
) -> None:
    with line(served, "?format=pcm_s16le&partials=false&name=Council.wav") as said:
        said.hear("started")
        said.send(cut(speech.tobytes(), 3200))
        said.say("end")
        done = said.hear("done")
    assert not said.of("partial")
    assert quick.heard == len(said.of("final"))
    assert served.http.get(done["transcription"]).json()["name"] == "Council.wav"


def test_receipts_say_how_much_lies_on_the_disk(served: Served, speech: Audio) -> None:
    with line(served) as said:
        said.say("start", **PCM)
        said.hear("started")
        sent = cut(speech[:16_000].tobytes(), 3200)
        said.send(sent)
        while said.hear("received")["bytes"] < 32_000:
            pass
        assert [tape.stat().st_size for tape in _tapes(served)] == [32_000]
        said.say("ping")
        said.hear("pong")


def _tapes(served: Served) -> list[Any]:
    return list((served.house.settings.data / "live").glob("*.raw"))


# ── refusals ─────────────────────────────────────────────────────────────────────────────────


BAD_STARTS: list[str | bytes] = [
    "{",
    "[]",
    '"start"',
    "\N{GRINNING FACE}",
    '{"type": "begin"}',
    '{"type": "end"}',
    '{"type": "start", "format": "mp3"}',
    '{"type": "start", "rate": 7999}',
    '{"type": "start", "rate": 1e99}',
    '{"type": "start", "channels": 3}',
    '{"type": "start", "formatt": "opus"}',
    '{"type": "start", "after": -1}',
    b"\x00\x01",
    b"",
]


def test_a_first_message_that_is_none_is_refused(served: Served) -> None:
    for first in BAD_STARTS:
        with line(served) as said:
            said.socket.send(first)
            assert ended(said) == ("bad_request", 1008), first
    assert _nothing(served)


BAD_QUERIES = {
    "?format=mp3": "bad_request",
    "?format=opus&rate=fast": "bad_request",
    "?format=opus&colour=red": "bad_request",
    "?resume=nothere": "unknown_job",
    "?format=opus&model=/etc/passwd": "unknown_model",
    "?format=opus&model=sphinx&language=de": "not_supported",
    "?format=opus&model=sphinx&prompt=Hello": "not_supported",
}


def test_a_start_that_cannot_be_is_refused(served: Served) -> None:
    for query, code in BAD_QUERIES.items():
        with line(served, query) as said:
            assert ended(said)[0] == code, query
    assert _nothing(served)


def test_who_never_begins_is_sent_home(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hansard.api.live._START_SECONDS", 0.05)
    with line(served) as said:
        assert ended(said) == ("timed_out", 1011)


def test_nonsense_ends_the_connection_and_not_the_session(served: Served, speech: Audio) -> None:
    with line(served) as said:
        said.say("start", **PCM)
        job = said.hear("started")["id"]
        said.send(cut(speech[:32_000].tobytes(), 3200))
        said.socket.send(json.dumps({"type": "start", **PCM}))
        assert ended(said) == ("bad_request", 1008)
    with line(served, f"?resume={job}") as said:
        assert said.hear("started")["received"] == 64_000
        said.socket.send("nonsense")
        assert ended(said) == ("bad_request", 1008)
    with line(served, f"?resume={job}") as said:
        said.socket.send(bytes(1024 * 1024 + 1))
        assert ended(said) == ("too_large", 1009)
    with line(served, f"?resume={job}") as said:
        assert said.hear("started")["received"] == 64_000
        said.say("end")
        said.hear("done")


def test_an_ended_session_takes_no_more(served: Served, speech: Audio, quick: QuickEngine) -> None:
    quick.hold.clear()
    with line(served) as said:
        said.say("start", **PCM)
        said.hear("started")
        said.send(cut(speech.tobytes(), 3200))
        said.say("end")
        said.socket.send(b"\0\0")
        assert ended(said)[0] == "bad_request"
        quick.hold.set()


def test_a_packet_that_is_none_is_refused(served: Served) -> None:
    with line(served, "?format=opus") as said:
        said.hear("started")
        said.socket.send(b"\0" * 70_000)
        assert ended(said)[0] == "bad_request"


def test_only_so_many_at_once(serve: Serve) -> None:
    served = serve(serve={"lives": 1, "live_seconds": 0.2})
    with line(served, "?format=opus") as first:
        first.hear("started")
        with line(served, "?format=opus") as second:
            assert ended(second)[0] == "too_many_connections"
        first.say("end")
        assert ended(first)[0] == "empty_file"


def test_a_session_that_is_too_long_is_ended_and_kept(serve: Serve, speech: Audio) -> None:
    served = serve(limits={"seconds": 3})
    with line(served) as said:
        said.say("start", **PCM)
        job = said.hear("started")["id"]
        with suppress(ConnectionClosed):
            said.send(cut(speech.tobytes() * 5, 3200))
        assert ended(said)[0] == "too_long"
    found = finished(served, job)
    assert found["state"] == "completed"
    assert 3 <= found["seconds"] < 4


def test_no_room_on_the_disk_is_said_before_anything_is_sent(serve: Serve) -> None:
    served = serve(limits={"disk_reserve": 2**62})
    with line(served, "?format=opus") as said:
        assert ended(said) == ("disk_full", 1011)
    assert _nothing(served)


# ── nothing said ─────────────────────────────────────────────────────────────────────────────


NOTHING: list[tuple[dict[str, Any], list[bytes], str]] = [
    (PCM, [], "empty_file"),
    (PCM, [b"\1"], "empty_file"),
    ({"format": "opus"}, [], "empty_file"),
    ({"format": "webm"}, [b"this is no WebM at all"] * 50, "not_media"),
    ({"format": "ogg"}, [b"OggS" + bytes(2000)], "not_media"),
]


def test_of_nothing_nothing_is_left(served: Served) -> None:
    for start, pieces, code in NOTHING:
        with line(served) as said:
            said.say("start", **start)
            job = said.hear("started")["id"]
            said.send(pieces)
            said.say("end")
            assert ended(said)[0] == code, start
        assert served.http.get(f"/api/v1/transcriptions/{job}").status_code == 404
    assert _nothing(served)


def test_silence_is_kept_and_said_to_be_silence(served: Served) -> None:
    with line(served) as said:
        said.say("start", **PCM)
        job = said.hear("started")["id"]
        said.send([bytes(32_000)] * 2)
        said.say("end")
        assert ended(said)[0] == "silent"
    found = served.http.get(f"/api/v1/transcriptions/{job}").json()
    assert (found["state"], found["error"]["code"]) == ("failed", "silent")
    kept = served.http.get(f"/api/v1/transcriptions/{job}/audio").content
    assert not decoded(kept).any()
    assert len(decoded(kept)) == 32_000
    assert served.http.delete(f"/api/v1/transcriptions/{job}").is_success


def _nothing(served: Served) -> bool:
    signs = [f"workers/{path.name}" for path in (served.house.settings.data / "workers").iterdir()]
    left = [one for one in remains(served.house.settings.data) if one not in signs]
    assert left == []
    assert _tapes(served) == []
    return True

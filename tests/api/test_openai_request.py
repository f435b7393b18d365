"""Fields in every spelling that clients have."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.audio.transcription_create_params import (
    TranscriptionCreateParamsBase,
    TranscriptionCreateParamsStreaming,
)
from openai.types.audio.translation_create_params import TranslationCreateParams
from tests.api.conftest import Serve, Served
from tests.api.openai_clients import only_job

from hansard.api import openai_request, openai_schema
from hansard.api.openai_request import Asked, read
from hansard.config import Settings, load
from hansard.errors import InvalidField, UnknownModel
from hansard.model import Detection


@pytest.fixture(scope="session")
def settings() -> Settings:
    return load()


def asked(settings: Settings, *fields: tuple[str, str]) -> Asked:
    return read([("model", "whisper-1"), *fields], "transcribe", settings)


def test_nothing_but_a_model(settings: Settings) -> None:
    found = asked(settings)
    assert (found.form, found.stream, found.words, found.segments) == ("json", False, False, True)
    assert found.request.model == settings.model
    assert found.ignored == ()


@pytest.mark.parametrize(
    "fields",
    [
        [("timestamp_granularities[]", "word"), ("timestamp_granularities[]", "segment")],
        [("timestamp_granularities", "word"), ("timestamp_granularities", "segment")],
        [("timestamp_granularities[0]", "word"), ("timestamp_granularities[1]", "segment")],
        [("timestamp_granularities", '["word", "segment"]')],
        [("timestamp_granularities[]", '["word", "segment"]')],
        [("timestamp_granularities", "word, segment")],
    ],
)
def test_lists_in_all_spellings(settings: Settings, fields: list[tuple[str, str]]) -> None:
    found = asked(settings, ("response_format", "verbose_json"), *fields)
    assert (found.words, found.segments) == (True, True)


@pytest.mark.parametrize(
    "fields",
    [
        [
            ("chunking_strategy[type]", "server_vad"),
            ("chunking_strategy[threshold]", "0.3"),
            ("chunking_strategy[silence_duration_ms]", "700"),
            ("chunking_strategy[prefix_padding_ms]", "100"),
        ],
        [
            (
                "chunking_strategy",
                json.dumps(
                    {
                        "type": "server_vad",
                        "threshold": 0.3,
                        "silence_duration_ms": 700,
                        "prefix_padding_ms": 100,
                    }
                ),
            )
        ],
    ],
)
def test_objects_in_all_spellings(settings: Settings, fields: list[tuple[str, str]]) -> None:
    wanted = Detection(threshold=0.3, min_silence=0.7, min_speech=0.1, pad=0.1)
    assert asked(settings, *fields).request.detection == wanted
    assert asked(settings, ("chunking_strategy", "auto")).request.detection is None


def test_yes_and_no_in_all_spellings(settings: Settings) -> None:
    for yes in ("true", "True", "1", "yes", "on"):
        assert asked(settings, ("stream", yes)).stream
    for no in ("false", "False", "0", "no", "off", ""):
        assert not asked(settings, ("stream", no)).stream


def test_languages_and_words_to_expect(settings: Settings) -> None:
    for written in ("de", "DE", "de-AT", "German", "german"):
        assert asked(settings, ("language", written)).request.language == "de"
    for unknown in ("", "auto"):
        assert asked(settings, ("language", unknown)).request.language is None
    assert asked(settings, ("languages[]", "fr")).request.language == "fr"
    several = asked(settings, ("languages[]", "fr"), ("languages[]", "de"))
    assert (several.request.language, several.ignored) == (None, ("languages",))
    expected = asked(settings, ("keywords[]", "Hansard"), ("keywords[]", "Bill 12"))
    assert expected.request.hotwords == "Hansard, Bill 12"
    assert asked(settings, ("hotwords", "Hansard")).request.hotwords == "Hansard"


def test_what_has_no_effect_is_told(settings: Settings) -> None:
    sample = "data:audio/wav;base64,AAAA"
    found = asked(
        settings,
        ("vad_filter", "true"),
        ("temperature", "0.4"),
        ("best of\r\nx: y", "5"),
        ("known_speaker_names[]", "Ann"),
        ("known_speaker_references[]", sample),
    )
    assert found.ignored == (
        "vad_filter",
        "temperature",
        "known_speaker_names",
        "known_speaker_references",
    )
    assert asked(settings, ("temperature", "0"), ("prompt", " ")).ignored == ()


def test_a_field_that_comes_twice_is_refused(settings: Settings) -> None:
    with pytest.raises(InvalidField, match="came twice") as twice:
        asked(settings, ("language", "de"), ("language", "fr"))
    assert twice.value.field == "language"


_names = st.sampled_from(
    [
        "model", "language", "prompt", "response_format", "temperature", "stream", "hotwords",
        "timestamp_granularities", "include[]", "keywords[]", "languages", "chunking_strategy",
        "chunking_strategy[type]", "known_speaker_names[]", "known_speaker_references[]", "x[",
    ]
)  # fmt: skip
_values = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        ["whisper-1", "sphinx", "verbose_json", "word", "true", "1e999", "server_vad", "[" * 5000]
    ),
    st.from_regex(r"\{\"type\": ?(\"server_vad\"|1|null)(, \"threshold\": [\d.]{1,3})?\}"),
)


@given(fields=st.lists(st.tuples(_names | st.text(max_size=9), _values), max_size=9))
def test_whatever_comes_is_read_or_refused(
    settings: Settings, fields: list[tuple[str, str]]
) -> None:
    try:
        found = read(fields, "transcribe", settings)
    except (InvalidField, UnknownModel):
        return
    ", ".join(found.ignored).encode("ascii")


def test_every_field_of_the_client_is_known_and_described() -> None:
    base, streamed = TranscriptionCreateParamsBase, TranscriptionCreateParamsStreaming
    fields = {*base.__annotations__, *streamed.__annotations__} - {"file"}
    known = openai_request._SINGLE | openai_request._LISTS | {"chunking_strategy"}
    assert fields <= known, "the client knows more by now"
    content = openai_schema.form("transcribe")["requestBody"]["content"]["multipart/form-data"]
    described = {name.removesuffix("[]") for name in content["schema"]["properties"]}
    assert fields <= described | {"languages"}
    assert set(TranslationCreateParams.__annotations__) - {"file"} <= known


# ── as they come over the wire ───────────────────────────────────────────────────────────────


def test_a_form_as_curl_sends_it(served: Served, clip: Path) -> None:
    """The file first, an empty field, arrays without brackets, fields of other servers."""
    line = "--------------------------d74496d66958873e"
    parts = [
        b'Content-Disposition: form-data; name="file"; filename="clip.flac"\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n" + clip.read_bytes()
    ]
    for name, value in (
        ("model", "whisper-1"),
        ("language", ""),
        ("response_format", "verbose_json"),
        ("timestamp_granularities", "word"),
        ("timestamp_granularities", "segment"),
        ("prompt", "Order, order."),
        ("vad_filter", "true"),
    ):
        parts.append(f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}'.encode())
    body = b"".join(b"--%s\r\n%s\r\n" % (line.encode(), part) for part in parts)
    answer = served.http.post(
        "/v1/audio/transcriptions",
        content=body + f"--{line}--\r\n".encode(),
        headers={"content-type": f"multipart/form-data; boundary={line}"},
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["words"]
    assert answer.json()["segments"]
    # The embedded engine takes no prompt; clients that always send one are served all the same.
    assert answer.headers["x-hansard-ignored"] == "prompt, vad_filter"
    assert only_job(served).options.prompt is None


def test_samples_of_speakers_may_be_as_long_as_openai_takes_them(
    served: Served, clip: Path
) -> None:
    sample = "data:audio/wav;base64," + base64.b64encode(bytes(10 * 32_000)).decode()
    fields: dict[str, Any] = {
        "model": "gpt-4o-transcribe-diarize",
        "response_format": "diarized_json",
        "known_speaker_names[]": ["Ann", "Ben", "Cat", "Dan"],
        "known_speaker_references[]": [sample] * 4,
    }
    with clip.open("rb") as file:
        answer = served.http.post("/v1/audio/transcriptions", data=fields, files={"file": file})
    assert answer.status_code == 200, answer.text
    assert "known_speaker_references" in answer.headers["x-hansard-ignored"]
    assert answer.json()["segments"][0]["speaker"] == "A"


def test_the_strategy_of_a_request_decides_where_speech_is(serve: Serve, clip: Path) -> None:
    served = serve()
    strategy = '{"type": "server_vad", "threshold": 0.7, "silence_duration_ms": 200}'
    with clip.open("rb") as file:
        answer = served.http.post(
            "/v1/audio/transcriptions",
            data={"model": "whisper-1", "chunking_strategy": strategy},
            files={"file": file},
        )
    assert answer.status_code == 200
    assert only_job(served).options.detection == Detection(0.7, 0.2, 0.1, 0.2)


def test_the_default_model_is_the_one_of_the_settings(serve: Serve, clip: Path) -> None:
    served = serve(model="small")
    with clip.open("rb") as file:
        answer = served.http.post(
            "/v1/audio/transcriptions", data={"model": "whisper-1"}, files={"file": file}
        )
    assert answer.status_code == 404, "it is not on this machine, and nothing else is put for it"
    assert answer.json()["error"]["code"] == "model_not_found"

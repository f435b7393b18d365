"""Language models against a real HTTP server that misbehaves on request."""

from __future__ import annotations

import logging
import socket
import traceback
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.insight import fake_model
from tests.insight.conftest import Build, Naps
from tests.insight.fake_model import FakeModel, says

from hansard import errors
from hansard.config import LanguageModelSettings
from hansard.insight import language_model
from hansard.insight.language_model import LanguageModel
from hansard.insight.openai_model import OpenAIModel
from hansard.model import Value


class Point(Value, frozen=True, forbid_unknown_fields=True):
    text: str
    numbers: tuple[int, ...]
    owner: str | None


class Points(Value, frozen=True, forbid_unknown_fields=True):
    points: tuple[Point, ...]


GOOD = '{"points": [{"text": "Yes.", "numbers": [1, 2], "owner": null}]}'
VALUE = Points((Point("Yes.", (1, 2), None),))


def ask(model: LanguageModel) -> language_model.Answer[Points]:
    return model.answer("Be brief.", "what was said", Points)


# ── good answers ─────────────────────────────────────────────────────────────────────────────


def test_an_answer_is_a_value_and_its_cost(server: FakeModel, build: Build) -> None:
    server.reply = lambda _: GOOD
    found = ask(build())
    assert found.value == VALUE
    assert (found.tokens_in, found.tokens_out, found.calls) == (5, len(GOOD) // 4, 1)
    assert found.cost == pytest.approx((5 * 2 + len(GOOD) // 4 * 8) / 1e6)
    assert found.notes == ()
    [call] = server.calls
    assert call.path == "/v1/chat/completions"
    assert [message["role"] for message in call.asked["messages"]] == ["system", "user"]
    assert call.material == "what was said"
    assert call.asked["response_format"]["json_schema"]["strict"] is True


def test_no_tools_are_ever_given(server: FakeModel, build: Build) -> None:
    server.reply = lambda _: GOOD
    ask(build())
    asked = set(server.calls[0].asked)
    assert asked == {"model", "messages", "response_format", "temperature", "max_tokens"}


def test_the_schema_is_strict_and_says_what_decoding_says() -> None:
    made = language_model.schema(Points)
    jsonschema.Draft202012Validator.check_schema(made)
    judge = jsonschema.Draft202012Validator(made)
    assert judge.is_valid(msgspec.json.decode(GOOD))
    assert made["type"] == "object"
    for part in (made, *made["$defs"].values()):
        assert part["additionalProperties"] is False
        assert part["required"] == list(part["properties"])
    assert not judge.is_valid({"points": [], "tool": "rm"})
    assert not judge.is_valid({"points": [{"text": 1, "numbers": [], "owner": None}]})


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        f"```json\n{GOOD}\n```",
        f"```\n{GOOD}\n```\n",
        f"<think>Should I { {} }?</think>\n{GOOD}",
    ],
)
def test_json_is_read_where_it_stands_alone(text: str) -> None:
    assert language_model.read(text, Points) == VALUE


@given(st.text() | st.binary().map(lambda raw: raw.decode("utf-8", "surrogateescape")))
def test_whatever_else_is_said_is_a_bad_answer(text: str) -> None:
    with pytest.raises(errors.BadAnswer):
        language_model.read(text, Points)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=9))
def test_only_the_shape_comes_out(junk: Any) -> None:
    answers = [
        {"points": [], "more": junk},
        {"points": [{"text": "a", "numbers": [], "owner": None, "call": junk}]},
        {"points": junk if junk != [] else None},
        [junk],
    ]
    for answer in answers:
        with pytest.raises(errors.BadAnswer):
            language_model.read(msgspec.json.encode(answer).decode(), Points)


def test_an_endless_answer_is_not_read() -> None:
    with pytest.raises(errors.BadAnswer, match="characters"):
        language_model.read(" " * (language_model.LONGEST_ANSWER + 1), Points)
    with pytest.raises(errors.BadAnswer):
        language_model.read('{"points":' + "[" * 200_000, Points)


# ── bad answers ──────────────────────────────────────────────────────────────────────────────


def test_rubbish_is_sent_back_once_with_what_is_wrong(server: FakeModel, build: Build) -> None:
    rubbish = '{"points": [{"text": 7, "numbers": [], "owner": null}]}'
    server.script = [says(rubbish)]
    server.reply = lambda _: GOOD
    found = ask(build())
    assert found.value == VALUE
    assert found.calls == 2
    second = server.calls[1].asked["messages"]
    assert second[2] == {"role": "assistant", "content": rubbish}
    assert "Expected `str`, got `int` - at `$.points[0].text`" in second[3]["content"]
    length = sum(len(message["content"]) for message in second)
    assert found.tokens_in == 100 + length // 4


def test_rubbish_twice_is_a_bad_answer_that_was_paid_for(server: FakeModel, build: Build) -> None:
    server.script = [says("I would rather not."), says("x" * 400)]
    with pytest.raises(errors.BadAnswer) as caught:
        ask(build())
    assert len(server.calls) == 2
    assert caught.value.cost == pytest.approx((200 * 2 + (19 // 4 + 100) * 8) / 1e6)
    assert caught.value.trouble == "permanent"


@pytest.mark.parametrize(
    "escape",
    [
        '{"points": [], "tool_calls": [{"name": "delete_everything"}]}',
        '{"points": [{"text": "a", "numbers": [1], "owner": {"$ref": "/etc/passwd"}}]}',
        '{"points": [{"text": "a", "numbers": ["1; DROP TABLE jobs"], "owner": null}]}',
        '{"points": []} {"points": []}',
        '{"__class__": "os.system", "points": []}',
    ],
)
def test_nothing_gets_out_of_the_shape(server: FakeModel, build: Build, escape: str) -> None:
    server.reply = lambda _: escape
    with pytest.raises(errors.BadAnswer):
        ask(build())
    assert len(server.calls) == 2


def test_an_answer_that_does_not_end_asks_for_less_text(server: FakeModel, build: Build) -> None:
    server.script = [says(GOOD[:20], finish="length")]
    with pytest.raises(errors.TextTooLong) as caught:
        ask(build())
    assert caught.value.trouble == "resource"
    assert caught.value.cost > 0


def test_a_model_that_will_not_speak_is_not_asked_again(server: FakeModel, build: Build) -> None:
    server.script = [says("", finish="content_filter")]
    with pytest.raises(errors.LanguageModelRefused):
        ask(build())
    assert len(server.calls) == 1


def test_what_is_no_chat_endpoint_is_said_to_be_none(server: FakeModel, build: Build) -> None:
    for content in (b"", b"<html>hello</html>", b'{"choices": []}', b'{"choices": "\xff"}'):
        server.script = [fake_model.body(content)]
        with pytest.raises(errors.LanguageModelError, match="chat endpoint"):
            ask(build())


# ── servers that take less ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("takes", "manners"),
    [
        ({"json_object"}, ["json_schema", "json_object"]),
        (set(), ["json_schema", "json_object", ""]),
    ],
)
def test_a_server_without_schemas_is_asked_for_less_once_and_it_is_said(
    server: FakeModel,
    build: Build,
    caplog: pytest.LogCaptureFixture,
    takes: set[str],
    manners: list[str],
) -> None:
    server.takes = takes
    server.reply = lambda _: f"```json\n{GOOD}\n```"
    model = build()
    first, second = ask(model), ask(model)
    assert first.value == second.value == VALUE
    asked = [call.asked.get("response_format", {"type": ""})["type"] for call in server.calls]
    assert asked == [*manners, manners[-1]]
    assert '"additionalProperties":false' in server.calls[-1].system
    assert "refused" in " ".join(first.notes)
    assert first.notes == second.notes
    assert len([r for r in caplog.records if r.levelno >= logging.WARNING]) == 1


@pytest.mark.parametrize("field", ["temperature", "max_tokens"])
def test_parameters_that_are_refused_are_left_out(
    server: FakeModel, build: Build, field: str
) -> None:
    server.refuses = {field}
    server.reply = lambda _: GOOD
    model = build()
    assert ask(model).value == VALUE
    assert ask(model).value == VALUE
    assert len(server.calls) == 3
    assert field not in server.calls[-1].asked
    assert server.calls[-1].shape == "Points"


def test_a_refusal_for_another_reason_changes_nothing(server: FakeModel, build: Build) -> None:
    model = build()
    server.script = [fake_model.status(400, "no such model")] * 3
    with pytest.raises(errors.LanguageModelRefused, match="no such model"):
        ask(model)
    server.reply = lambda _: GOOD
    assert ask(model).notes == ()
    assert server.calls[-1].shape == "Points"


def test_a_text_that_was_cut_off_without_a_word_is_noticed(server: FakeModel, build: Build) -> None:
    answer = {"choices": [{"message": {"content": GOOD}}], "usage": {"prompt_tokens": 40}}
    server.script = [fake_model.body(msgspec.json.encode(answer))]
    found = build().answer("Be brief.", "word " * 1000, Points)
    assert "cut it off" in found.notes[0]


# ── faults ───────────────────────────────────────────────────────────────────────────────────


def test_retry_after_is_waited_for(server: FakeModel, build: Build, naps: Naps) -> None:
    server.script = [fake_model.busy("7"), fake_model.status(500), fake_model.status(503)]
    server.reply = lambda _: GOOD
    assert ask(build(attempts=4)).value == VALUE
    assert 7 <= naps[0] <= 8
    assert len(naps) == 3


def test_a_long_retry_after_goes_back_to_the_queue(
    server: FakeModel, build: Build, naps: Naps
) -> None:
    server.script = [fake_model.busy("3600")]
    with pytest.raises(errors.LanguageModelBusy) as caught:
        ask(build())
    assert caught.value.retry_after == 3600
    assert caught.value.trouble == "transient"
    assert not naps


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (fake_model.status(500), errors.LanguageModelUnreachable),
        (fake_model.CUT, errors.LanguageModelUnreachable),
        (fake_model.status(429), errors.LanguageModelBusy),
    ],
)
def test_faults_that_stay_are_transient(
    server: FakeModel, build: Build, fault: Any, kind: type[errors.HansardError]
) -> None:
    server.script = [fault] * 3
    with pytest.raises(kind) as caught:
        ask(build())
    assert caught.value.trouble == "transient"
    assert len(server.calls) == 3


def test_a_server_that_hangs_is_given_up(server: FakeModel, build: Build) -> None:
    server.script = [fake_model.HANG]
    with pytest.raises(errors.LanguageModelUnreachable, match=r"within 0\.2 s"):
        ask(build(timeout=0.2, attempts=1))


def test_nobody_listens(build: Build) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{held.getsockname()[1]}/v1"
        with pytest.raises(errors.LanguageModelUnreachable, match="cannot be reached"):
            ask(build(base_url=address, attempts=2))


@pytest.mark.parametrize(
    "fault",
    [
        fake_model.status(400, "too many", code="context_length_exceeded"),
        fake_model.status(400, "the request exceeds the available context size"),
        fake_model.status(413, "too large"),
    ],
)
def test_a_text_that_does_not_fit_is_a_matter_of_doing_with_less(
    server: FakeModel, build: Build, fault: Any
) -> None:
    server.script = [fault]
    with pytest.raises(errors.TextTooLong):
        ask(build())
    assert len(server.calls) == 1


# ── what leaves this machine ─────────────────────────────────────────────────────────────────


def test_a_key_is_in_no_message(build: Build, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "hansard")
    secret = "sk-wrong-secret"
    with pytest.raises(errors.LanguageModelRefused) as caught:
        ask(build(api_key=secret))
    told = "".join(traceback.format_exception(caught.value)) + caplog.text
    assert "[key]" in caught.value.message
    assert secret not in told
    assert secret not in repr(LanguageModelSettings(api_key=secret))


def test_a_redirect_is_not_followed(server: FakeModel, build: Build) -> None:
    with fake_model.serve() as other:
        server.script = [fake_model.Fault("status", 307, headers={"Location": other.url})]
        with pytest.raises(errors.LanguageModelRefused, match="elsewhere"):
            ask(build())
        assert not other.calls


def test_the_key_for_openai_goes_to_openai_alone(
    server: FakeModel, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-somebody")
    server.key = None
    server.reply = lambda _: GOOD
    ask(build(api_key=None))
    assert server.calls[0].authorization == "Bearer none"


@pytest.mark.parametrize(
    "settings",
    [{"model": None}, {"base_url": "ftp://there"}, {"api_key": "two\nlines"}],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any]) -> None:
    values = LanguageModelSettings.model_validate({"model": "m"} | settings)
    with pytest.raises(errors.BadSettings):
        OpenAIModel(values)


def test_openai_itself_is_not_asked_without_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    model = OpenAIModel(LanguageModelSettings(model="m", base_url="https://api.openai.com/v1"))
    with pytest.raises(errors.LanguageModelRefused, match="No key"):
        ask(model)


def test_a_closed_model_answers_nobody(server: FakeModel, build: Build) -> None:
    model = build()
    model.close()
    model.close()
    with pytest.raises(errors.EngineDied):
        ask(model)
    assert not server.calls

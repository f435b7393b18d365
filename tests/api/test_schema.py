from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import hypothesis
import jsonschema
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given
from hypothesis import strategies as st
from schemathesis.core.result import Ok
from tests.api.conftest import Serve, Served
from tests.cli.conftest import Audio, encoded

from hansard import errors
from hansard.api.app import create

schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")

REQUESTS = 700
"""Malformed and well-formed, sent to the whole application."""

REAL = 4
"""Transcriptions that are there to be found, so that requests reach further than "unknown"."""


HIDDEN = {
    ("get", "/api/v1/openapi.json"),
    ("head", "/api/v1/openapi.json"),
    ("post", "/api/v1/uploads/{upload}"),
    ("options", "/api/v1/uploads/{upload}"),
    ("get", "/metrics"),
    ("head", "/metrics"),
}
"""The page itself, other ways to say what is on it, and what is not for programs of users."""


@pytest.fixture
def page(served: Served) -> dict[str, Any]:
    return dict(served.http.get("/api/v1/openapi.json").json())


def operations(page: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (method, path, operation)
        for path, methods in page["paths"].items()
        for method, operation in methods.items()
    ]


def resolved(page: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        schema = page["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


# ── the page ─────────────────────────────────────────────────────────────────────────────────


def test_every_address_is_on_the_page(served: Served, page: dict[str, Any]) -> None:
    described = {(method, path) for method, path, _ in operations(page)}
    taken = set()
    for route in create(served.house).routes:
        for method in getattr(route, "methods", None) or ():
            taken.add((method.lower(), getattr(route, "path_format", "")))
    assert not described - taken
    hidden = taken - described - {("head", path) for method, path in described if method == "get"}
    assert hidden <= HIDDEN


def test_every_operation_says_what_it_does(page: dict[str, Any]) -> None:
    seen = Counter(operation["operationId"] for _, _, operation in operations(page))
    assert max(seen.values()) == 1
    for method, path, operation in operations(page):
        where = f"{method} {path}"
        assert operation.get("summary"), where
        assert len(operation.get("description", "")) > 20, where
        assert operation["tags"], where
        for parameter in operation.get("parameters", ()):
            assert parameter.get("schema"), where


def test_every_answer_with_json_has_an_example_that_fits(page: dict[str, Any]) -> None:
    for method, path, operation in operations(page):
        good = [entry for code, entry in operation["responses"].items() if code < "300"]
        assert good, f"{method} {path}"
        for code, entry in operation["responses"].items():
            content = entry.get("content", {}).get("application/json")
            if content is None or content.get("schema", {}).get("format") == "binary":
                continue  # nothing, or a file that happens to be JSON
            where = f"{method} {path} {code}"
            shown = [one["value"] for one in content.get("examples", {}).values()]
            shown += [content["example"]] if "example" in content else []
            assert shown, where
            whole = {**page, **content.get("schema", {})}  # references lead into the page
            for example in shown:
                jsonschema.validate(example, whole, jsonschema.Draft202012Validator)


def test_every_operation_says_how_it_may_fail(page: dict[str, Any]) -> None:
    known = set()
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, errors.HansardError):
            known.add(kind.code)
    for method, path, operation in operations(page):
        where = f"{method} {path}"
        answers = operation["responses"]
        wanted = {"400", "421"}
        if not path.startswith("/api/v1/health"):
            wanted |= {"401", "403", "429", "503"}
            assert operation["security"], where
        if method in ("post", "patch", "delete"):
            wanted |= {"408", "413"}
        if "{" in path:
            wanted |= {"404"}
        assert wanted <= set(answers), f"{where}: {wanted - set(answers)}"
        for code, entry in answers.items():
            assert entry["description"], f"{where} {code}"
            if code < "400" or path.startswith("/api/v1/health"):
                continue
            (content,) = entry["content"].values()
            schema = resolved(page, content["schema"])
            name = "OpenAI" if path.startswith("/v1/") else ""
            fields = {"message", "type", "param", "code"} if name else {"code", "message", "hint"}
            assert set(resolved(page, schema["properties"]["error"])["properties"]) == fields, where
            assert set(entry.get("x-codes", ())) <= known, f"{where} {code}"


def test_the_page_is_open_api_3_1(page: dict[str, Any]) -> None:
    schema = schemathesis.openapi.from_dict(page)
    schema.validate()
    assert page["openapi"] == "3.1.0"
    assert "HTTPValidationError" not in str(page)
    for name in page["components"]["schemas"]:
        assert "." not in name, "two types have one name"
        jsonschema.Draft202012Validator.check_schema(page["components"]["schemas"][name])


# ── whatever is sent ─────────────────────────────────────────────────────────────────────────


def real_jobs(served: Served, speech: Audio, folder: Path) -> list[str]:
    """Transcriptions that are done."""
    names = []
    for number in range(REAL):
        clip = encoded(folder / f"{number}.flac", speech[number * 16_000 :])
        with clip.open("rb") as file:
            answer = served.http.post(
                "/api/v1/transcriptions", files={"file": file}, data={"sync": "true"}
            )
        assert answer.status_code in (200, 202), answer.text
        names.append(answer.json().get("id") or answer.json()["job"]["id"])
    return names


def test_nothing_that_is_sent_breaks_it(serve: Serve, speech: Audio, tmp_path: Path) -> None:
    """Requests made from the page, half of them against it: no answer is a 5xx."""
    served = serve(serve={"sync_seconds": 1.0, "slow_seconds": 5.0}, offline=True)
    jobs = real_jobs(served, speech, tmp_path)
    schema = schemathesis.openapi.from_url(f"{served.url}/api/v1/openapi.json")
    found = [one.ok() for one in schema.get_all_operations() if isinstance(one, Ok)]
    found.sort(key=lambda operation: operation.method == "delete")
    statuses: Counter[int] = Counter()
    broken: list[str] = []
    each = -(-REQUESTS // len(found))
    modes = list(schemathesis.GenerationMode)
    for number, operation in enumerate(found):

        @hypothesis.seed(number)
        @hypothesis.settings(
            max_examples=each,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(
            case=st.one_of(*(operation.as_strategy(generation_mode=mode) for mode in modes)),
            job=st.sampled_from([None, *jobs]),
        )
        def send(case: schemathesis.Case[Any], job: str | None) -> None:
            if job is not None and "job" in (case.path_parameters or {}):
                case.path_parameters["job"] = job
            answer = case.call(timeout=30)
            statuses[answer.status_code] += 1
            if answer.status_code >= 500:
                broken.append(f"{case.as_curl_command()} → {answer.status_code} {answer.text}")

        send()
    assert not broken, "\n".join(broken)
    assert statuses.total() >= 500
    assert served.http.get("/api/v1/health/live").status_code == 200
    assert len(statuses) > 4, "requests that are all refused alike find nothing"

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.api.conftest import Serve, Served
from tests.quick import QuickEngine

from hansard.api import catalogue
from hansard.formats.languages import english_name
from hansard.transcription import Request


def models(served: Served) -> dict[str, Any]:
    answer = served.http.get("/api/v1/models")
    assert answer.status_code == 200
    found = msgspec.convert(answer.json(), catalogue.Models, strict=True).items
    return {model.name: model for model in found}


def test_models_that_are_here_and_those_that_could_be(served: Served) -> None:
    found = models(served)
    assert next(iter(found)) == "sphinx"
    sphinx, small = found["sphinx"], found["small"]
    assert (sphinx.installed, sphinx.usable, sphinx.languages) == (True, True, ("en",))
    assert (sphinx.default, sphinx.loaded) == (True, False)  # nothing else is here
    assert (small.installed, small.usable, small.languages) == (False, False, None)
    assert small.size
    assert small.memory
    assert [model.name for model in found.values() if model.default] == ["sphinx"]
    assert found["tiny.en"].languages == ("en",)


def test_one_model(served: Served) -> None:
    listed = models(served)
    for name in ("sphinx", "small", "whisper/small"):
        answer = served.http.get(f"/api/v1/models/{name}")
        assert answer.status_code == 200
        model = msgspec.convert(answer.json(), catalogue.Model)
        assert model == listed[name.removeprefix("whisper/")]
    for name in ("none", "whisper:/etc", "whisper:%2Fetc", "small/x", "auto"):
        answer = served.http.get(f"/api/v1/models/{name}")
        assert answer.status_code == 404, name
        assert answer.json()["error"]["code"] in ("unknown_model", "unknown_address")


def test_a_broken_model_says_nothing_of_this_machine(serve: Serve) -> None:
    place = Path(os.environ["HANSARD_DATA"]) / "models" / "whisper" / "mine"
    place.mkdir(parents=True)
    (place / "model.bin").write_bytes(b"not much")
    served = serve()
    answer = served.http.get("/api/v1/models")
    assert str(place.parent) not in answer.text
    (mine,) = [model for model in answer.json()["items"] if model["name"] == "mine"]
    assert (mine["installed"], mine["usable"]) == (True, False)
    assert str(place.parent) not in served.http.get("/api/v1/models/mine").text


def test_a_remote_model_where_there_is_a_key(serve: Serve) -> None:
    served = serve(openai={"api_key": "secret", "model": "whisper-1"})
    assert served.http.get("/api/v1/models/openai/whisper-1").json()["engine"] == "openai"
    assert "secret" not in served.http.get("/api/v1/models").text
    german = next(
        one for one in served.http.get("/api/v1/languages").json()["items"] if one["code"] == "de"
    )
    assert german["engines"] == ["openai", "whisper"]


def test_languages(served: Served) -> None:
    answer = served.http.get("/api/v1/languages")
    found = msgspec.convert(answer.json(), catalogue.Languages, strict=True).items
    by_code = {language.code: language for language in found}
    assert by_code["en"].engines == ("sphinx", "whisper")
    assert by_code["de"] == catalogue.Language("de", "german", ("whisper",))
    assert len(by_code) == len(found) >= 99
    assert all(language.name == english_name(language.code) for language in found)
    assert all(language.name != language.code for language in found)
    assert answer.headers["cache-control"].endswith("max-age=3600")
    again = served.http.get("/api/v1/languages", headers={"if-none-match": answer.headers["etag"]})
    assert again.status_code == 304


def test_the_disk_is_not_looked_at_for_each_request(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = []
    real = catalogue._look

    def look(*given: Any) -> Any:
        looks.append(given)
        return real(*given)

    monkeypatch.setattr(catalogue, "_look", look)
    assert all(models(served) for _ in range(5))
    assert served.http.get("/api/v1/models/sphinx").status_code == 200
    assert len(looks) == 1
    monkeypatch.setattr(catalogue, "_FRESH", -1.0)
    models(served)
    assert len(looks) == 2


def test_a_model_at_work_is_loaded(served: Served, quick: QuickEngine, clip: Path) -> None:
    quick.hold.clear()
    job = served.house.submit("clip.flac", [clip.read_bytes()], Request(model="sphinx")).job
    for now in served.house.follow(job.id):
        if now.job.state == "running":
            break
    assert models(served)["sphinx"].loaded
    quick.hold.set()
    assert served.house.wait(job.id).state == "completed"

"""Dashboards and alert rules ask only for metrics and labels that there are."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from tests.api.conftest import Served
from tests.api.test_transcriptions import done

from hansard import telemetry
from hansard.api import metrics
from hansard.perf import levels, system
from hansard.perf.system import Gpu
from hansard.speech import memory
from hansard.store.tables import workers

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
BOARDS = sorted((DEPLOY / "grafana").glob("*.json"))
RULES = sorted((DEPLOY / "prometheus").glob("*.yaml"))
_NAME = re.compile(r"\bhansard_\w+")
_LABELS = re.compile(r"(hansard_\w+)\{([^}]*)\}")
_BY = re.compile(r"\b(?:by|on) \(([^)]*)\)")
_ADDED = {"instance", "job", "le"}
"""Labels that Prometheus adds itself."""


def asked() -> Iterator[str]:
    """Every expression, of boards and of rules."""
    for path in BOARDS:
        board = json.loads(path.read_text("utf-8"))
        for panel in board["panels"]:
            yield from (target["expr"] for target in panel.get("targets", ()))
    for path in RULES:
        for group in yaml.safe_load(path.read_text("utf-8"))["groups"]:
            yield from (rule["expr"] for rule in group["rules"])


@pytest.fixture
def there(served: Served, clip: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, set[str]]:
    """Names of samples that Hansard gives, with their labels; of families, with those of any."""
    monkeypatch.setattr(metrics, "FRESH", -1.0)
    monkeypatch.setattr(system, "gpus", lambda: (Gpu("card", 2, 1, 0.5),))
    monkeypatch.setattr(type(served.house.database), "connections", lambda _: _Pool())
    telemetry.failed("stt", "engine_died")
    monkeypatch.setattr(memory, "held", lambda: [("sphinx", "en-us")])
    with served.house.database.write() as connection:
        alive = {"id": "a", "host": "one", "pools": "speech", "started": 0.0, "seen": time.time()}
        connection.execute(workers.insert().values(alive))
    done(served, clip)
    served.http.get("/metrics")
    found: dict[str, set[str]] = {}
    text = served.http.get("/metrics").text
    for family in text_string_to_metric_families(text):
        for ending in ("_total",) if family.type == "counter" else ("",):
            found.setdefault(f"{family.name}{ending}", set())
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


class _Pool:
    used = idle = most = 1


def test_boards_and_rules_ask_for_what_there_is(there: dict[str, set[str]]) -> None:
    expressions = list(asked())
    assert len(expressions) > 40
    for text in expressions:
        names = set(_NAME.findall(text))
        assert names, text
        assert names <= set(there), text
        for name, chosen in _LABELS.findall(text):
            labels = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", chosen))
            assert labels <= there[name] | _ADDED, text
        known = set().union(*(there[name] for name in names)) | _ADDED
        for labels_ in _BY.findall(text):
            assert {one.strip() for one in labels_.split(",")} <= known, text
        assert text.count("(") == text.count(")"), text


def test_all_that_hansard_says_is_on_a_board(there: dict[str, set[str]]) -> None:
    text = "\n".join(path.read_text("utf-8") for path in (*BOARDS, *RULES))
    ours = {name for name in there if name.startswith("hansard_")}
    endings = ("_created", "_bucket", "_sum", "_count", "_info")
    left = {name for name in ours if name not in text and not name.endswith(endings)}
    assert left <= {
        "hansard_http_request_seconds",
        "hansard_stage_seconds",
        "hansard_transcriptions_total",
        "hansard_level_bound_seconds",
    }


def test_the_rules_are_those_that_hansard_goes_by() -> None:
    text = (DEPLOY / "prometheus" / "alerts.yaml").read_text("utf-8")
    said: list[tuple[str, ...]] = []
    for group in yaml.safe_load(text)["groups"]:
        for rule in group["rules"]:
            windows: Any = re.findall(r'window="(\d+)s"\}\) > ([\d.]+)', rule["expr"])
            said += [(windows[0][0], windows[1][0], windows[0][1])] if windows else []
            assert rule["labels"]["severity"] in {"page", "ticket"}
            assert rule["annotations"]["summary"]
    assert [tuple(map(float, one)) for one in said] == [
        (rule.long, rule.short, rule.burn) for rule in levels.RULES
    ]

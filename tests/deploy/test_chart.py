"""The chart: its values, its templates, and what Helm and Kubernetes make of them."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import psycopg
import pytest
import yaml
from tests.deploy.standing import DEPLOY, ROOT
from tests.jobs.conftest import answers, listen, prepare, submit

from hansard.config import Settings, load
from hansard.jobs.queue import Queue
from hansard.jobs.waiting import waiting
from hansard.store.postgres import Postgres

CHART = DEPLOY / "helm" / "hansard"
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text("utf-8"))
TEMPLATES = sorted((CHART / "templates").iterdir())

EVERYTHING: dict[str, Any] = {
    "keda": {"enabled": True},
    "monitor": {"enabled": True, "keySecret": "figures", "labels": {"release": "prometheus"}},
    "ingress": {"enabled": True, "tlsSecret": "certificate", "annotations": {"a.b/c": "d"}},
    "models": {"existingClaim": "models"},
    "api": {"data": {"existingClaim": "uploads"}, "podAnnotations": {"x": "y"}},
    "imagePullSecrets": [{"name": "registry"}],
    "workers": {
        "speech": {
            "gpu": 1,
            "imageTag": "cuda",
            "runtimeClassName": "nvidia",
            "nodeSelector": {"nvidia.com/gpu.present": "true"},
            "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
        }
    },
}


# ── without Helm ─────────────────────────────────────────────────────────────────────────────


def test_its_own_values_pass_its_schema() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    jsonschema.validate(VALUES, SCHEMA)


@pytest.mark.parametrize(
    "wrong",
    [
        {"nobody": 1},
        {"existingSecret": ""},
        {"settings": {"HANSARD_DATABASE": "postgresql://user:password@host/name"}},
        {"settings": {"PATH": "/bin"}},
        {"workers": {"speech": {**VALUES["workers"]["speech"], "pools": ["nothing"]}}},
        {"api": {**VALUES["api"], "proxies": ["a-name"]}},
        {"ingress": {"enabled": "yes"}},
    ],
)
def test_its_schema_refuses(wrong: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**VALUES, **wrong}, SCHEMA)


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_templates_name_values_that_exist(path: Path) -> None:
    for name in re.findall(r"\.Values((?:\.\w+)+)", path.read_text("utf-8")):
        found: Any = VALUES
        for step in name.strip(".").split("."):
            assert step in found, f".Values{name}"
            found = found[step]


def test_every_setting_that_is_named_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [path.read_text("utf-8") for path in (*TEMPLATES, CHART / "values.yaml")]
    named = set(re.findall(r"\bHANSARD_[A-Z0-9_]+\b", "\n".join(texts)))
    assert len(named) > 8
    for name in named:
        field: Any = Settings
        for step in name.removeprefix("HANSARD_").lower().split("__"):
            assert step in field.model_fields, name
            field = field.model_fields[step].annotation
    monkeypatch.setenv("HANSARD_SERVE__PROXIES", json.dumps(VALUES["api"]["proxies"]))
    for name, value in VALUES["settings"].items():
        monkeypatch.setenv(name, str(value))
    assert load().serve.proxies == ("127.0.0.1",)


def test_pods_have_time_to_end() -> None:
    assert VALUES["patience"] == Settings().serve.patience
    assert VALUES["terminationGracePeriodSeconds"] >= VALUES["patience"] + 15


def test_workers_follow_what_waits(postgres: str) -> None:
    """The scaler's own query says what ``hansard.jobs.waiting`` says."""
    text = (CHART / "templates" / "workers.yaml").read_text("utf-8")
    found = re.search(r"query: >-\n((?: +.*\n)+?) +#", text)
    assert found is not None
    query = re.sub(r"\(\{\{.*\}\}\)", "('speech')", " ".join(found[1].split()))
    assert "{{" not in query
    database = Postgres(postgres)
    try:
        queue = Queue(database, "me")

        def asked() -> float:
            with psycopg.connect(postgres) as connection:
                row = connection.execute(query.encode()).fetchone()
            assert row is not None
            return float(row[0])

        assert asked() == waiting(database)["speech"] == 0.0
        submit(queue, "a", seconds=90.0)
        prepare(queue, 3)
        unit = listen(queue, 2)
        assert unit is not None
        queue.record(unit, answers(unit))
        submit(queue, "b", seconds=600.0)
        submit(queue, "c", seconds=None)
        assert asked() == pytest.approx(waiting(database)["speech"])
        assert asked() > 600.0
    finally:
        database.close()


# ── with Helm ────────────────────────────────────────────────────────────────────────────────


def rendered(values: dict[str, Any]) -> dict[str, Any]:
    """What Helm makes of the chart; every object of Kubernetes itself has passed its schemas."""
    python = os.environ.get("HANSARD_TEST_HELM", str(ROOT / ".venv-helm" / "bin" / "python"))
    if not Path(python).exists():
        pytest.skip(
            "no Helm: set HANSARD_TEST_HELM to a Python with helm-python-sdk and "
            "kubernetes-validate"
        )
    done = subprocess.run(
        [python, str(Path(__file__).with_name("rendered.py")), str(CHART)],
        input=json.dumps(values),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def pods(objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        one["spec"]["template"]["spec"] for one in objects if one["kind"] in {"Deployment", "Job"}
    ]


@pytest.fixture(scope="module", params=["as it is", "everything"])
def objects(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    said = rendered({} if request.param == "as it is" else EVERYTHING)
    assert said["lint"]["errors"] == []
    assert {one["severity"] for one in said["lint"]["messages"]} <= {1}
    return list(said["objects"])


def test_every_pod_may_do_nothing_it_need_not(objects: list[dict[str, Any]]) -> None:
    assert len(pods(objects)) == 4
    for pod in pods(objects):
        assert pod["automountServiceAccountToken"] is False
        # Or Kubernetes adds variables like HANSARD_SERVICE_HOST, which are no settings.
        assert pod["enableServiceLinks"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            own = container["securityContext"]
            assert own["readOnlyRootFilesystem"] is True
            assert own["allowPrivilegeEscalation"] is False
            assert own["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["limits"]["memory"]
            mounts = {one["mountPath"] for one in container["volumeMounts"]}
            assert {"/data", "/tmp"} <= mounts


def test_no_secret_is_in_it(objects: list[dict[str, Any]]) -> None:
    assert "Secret" not in {one["kind"] for one in objects}
    for pod in pods(objects):
        (container,) = pod["containers"]
        assert container["envFrom"] == [{"secretRef": {"name": "hansard"}}]


def test_what_points_somewhere_arrives(objects: list[dict[str, Any]]) -> None:
    """Selectors find pods, and scalers and the ingress find what they name."""
    named = {(one["kind"], one["metadata"]["name"]) for one in objects}
    assert len(named) == len(objects)
    labels = [
        one["spec"]["template"]["metadata"]["labels"]
        for one in objects
        if one["kind"] == "Deployment"
    ]
    for one in objects:
        spec = one["spec"]
        if one["kind"] in {"Service", "PodDisruptionBudget", "NetworkPolicy"}:
            chosen = spec.get("selector") or spec["podSelector"]
            wanted = chosen.get("matchLabels", chosen).items()
            assert any(wanted <= has.items() for has in labels), one["metadata"]["name"]
        if one["kind"] == "PodMonitor":
            (expression,) = spec["selector"]["matchExpressions"]
            components = {has["app.kubernetes.io/component"] for has in labels}
            assert set(expression["values"]) == components - {"api"}
            ports = [pod["containers"][0].get("ports") for pod in pods(objects)]
            assert ports.count([{"name": "metrics", "containerPort": 9464}]) == len(components) - 1
        if "scaleTargetRef" in spec:
            assert ("Deployment", spec["scaleTargetRef"]["name"]) in named
        if one["kind"] == "Ingress":
            paths = spec["rules"][0]["http"]["paths"]
            services = {path["backend"]["service"]["name"] for path in paths}
            assert all(("Service", name) in named for name in services)
            assert "/metrics" not in {path["path"] for path in paths}


def test_a_card_is_asked_for_where_one_is_wanted() -> None:
    workers = {
        one["metadata"]["name"]: one["spec"]["template"]["spec"]["containers"][0]
        for one in rendered(EVERYTHING)["objects"]
        if one["kind"] == "Deployment"
    }
    speech, rest = workers["demo-hansard-worker-speech"], workers["demo-hansard-worker-rest"]
    assert speech["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert speech["image"] == "hansard:cuda"
    assert {"name": "HANSARD_WHISPER__DEVICE", "value": "cuda"} in speech["env"]
    assert "nvidia.com/gpu" not in rest["resources"]["limits"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"patience": 60}, "must be at least 15 more than patience"),
        ({"existingSecret": ""}, "existingSecret"),
        ({"monitor": {"enabled": True}}, "asks for a key with the scope admin"),
        ({"worker": {}}, "worker"),
    ],
)
def test_helm_refuses(wrong: dict[str, Any], said: str) -> None:
    assert said in rendered(wrong)["refused"]

"""Renders the chart with Helm's own library, and checks what comes out; for a Python that has both.

    python rendered.py CHART < values.json

Needs ``helm-python-sdk`` (Helm's Go SDK as a library) and ``kubernetes-validate`` (the API
server's schemas). Prints JSON: what the linter says, and every object.
"""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any

import yaml

OLDEST, NEWEST = "1.27", "1.37"
"""Versions of Kubernetes whose schemas must accept every object."""

CUSTOM = {"ScaledObject", "TriggerAuthentication", "ServiceMonitor", "PodMonitor"}
"""Kinds that Kubernetes itself does not know."""


def main() -> None:
    # By name: they are of the Python that runs this, not of the one that runs the tests.
    helm_python: Any = importlib.import_module("helm_python")
    kubernetes_validate: Any = importlib.import_module("kubernetes_validate")

    chart, values = sys.argv[1], json.load(sys.stdin)
    try:
        with helm_python.Chart.load(chart) as loaded:
            loaded.validate_schema(values)
            files = loaded.render(values, name="demo", namespace="here")
    except helm_python.HelmError as error:
        sys.stdout.write(json.dumps({"refused": str(error)}))
        return
    linted = helm_python.lint(chart, values, strict=True)
    objects: list[dict[str, Any]] = []
    for name, text in sorted(files.items()):
        if not name.endswith(".txt"):
            objects += [one for one in yaml.safe_load_all(text) if one]
    for one in objects:
        if one["kind"] not in CUSTOM:
            for version in (OLDEST, NEWEST):
                kubernetes_validate.validate(one, version, strict=True)
    sys.stdout.write(json.dumps({"lint": linted, "objects": objects}))


if __name__ == "__main__":
    main()

"""The compose file: what it names is there, and what it sets is a setting."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.deploy.standing import DEPLOY

from hansard.config import Settings, load

COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = [name for name, one in SERVICES.items() if one["image"].startswith("hansard:")]
LINES = [line for line in (DEPLOY / "env.example").read_text("utf-8").splitlines() if "=" in line]
GIVEN = dict(line.split("=", 1) for line in LINES if not line.startswith("#"))


def filled(text: str) -> str:
    """With variables put in, as compose does; one that is asked for must be in env.example."""

    def put(found: re.Match[str]) -> str:
        name, default = found[1], found[2]
        if default is None or default.startswith(":?"):
            assert name in GIVEN, f"{name} is not in env.example"
        return GIVEN.get(name, (default or "")[2:])

    return re.sub(r"\$\{(\w+)(:[-?][^}]*)?\}", put, text)


def test_both_services_and_all_they_need_are_there() -> None:
    assert set(OURS) == {"api-1", "api-2", "worker", "upgrade"}
    assert set(SERVICES) - set(OURS) == {
        "proxy",
        "postgres",
        "rabbitmq",
        "redis",
        "minio",
        "bucket",
    }


@pytest.mark.parametrize("name", SERVICES)
def test_what_it_points_to_exists(name: str) -> None:
    one = SERVICES[name]
    for other, how in one.get("depends_on", {}).items():
        assert other in SERVICES
        if how["condition"] == "service_healthy" and other not in {"api-1", "api-2"}:
            assert "test" in SERVICES[other]["healthcheck"]  # of the APIs, the image has it
        if how["condition"] == "service_completed_successfully":
            assert SERVICES[other]["restart"] == "no"
    assert set(one["networks"]) <= set(COMPOSE["networks"])
    for volume in one.get("volumes", []):
        source = volume.split(":")[0]
        place = source in COMPOSE["volumes"] or (DEPLOY / source).is_file()
        assert place, volume
    filled(yaml.safe_dump(one))


@pytest.mark.parametrize("name", OURS)
def test_what_is_set_is_a_setting(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in SERVICES[name]["environment"].items():
        monkeypatch.setenv(key, filled(value))
    settings = load()
    assert settings.database == "postgresql://hansard:change-me-postgres@postgres:5432/hansard"
    assert settings.s3.secret_key == GIVEN["MINIO_PASSWORD"]
    # Every host in an address is a service of this file.
    addresses = [settings.database, settings.broker, settings.cache, settings.s3.endpoint]
    for address in addresses:
        assert address is not None
        assert re.split(r"[:/]", address.partition("://")[2].rpartition("@")[2])[0] in SERVICES
    if name.startswith("api"):
        (network,) = settings.serve.proxies
        assert network == COMPOSE["networks"]["edge"]["ipam"]["config"][0]["subnet"]
        assert ipaddress.ip_network(network).is_private
        assert settings.serve.host == "0.0.0.0"


@pytest.mark.parametrize("name", OURS)
def test_ours_may_do_nothing_they_need_not(name: str) -> None:
    one = SERVICES[name]
    assert one["read_only"] is True
    assert one["cap_drop"] == ["ALL"]
    assert one["security_opt"] == ["no-new-privileges:true"]
    assert int(one["stop_grace_period"].removesuffix("s")) > Settings().serve.patience + 10
    mounted = {text.split(":")[1] for text in one.get("volumes", [])}
    mounted |= {text.split(":")[0] for text in one["tmpfs"]}
    assert {"/tmp", "/data"} <= mounted


def test_nothing_but_the_proxy_is_reached_from_outside() -> None:
    assert [name for name, one in SERVICES.items() if "ports" in one] == ["proxy"]
    assert set(SERVICES["proxy"]["networks"]) == {"edge"}
    with_edge = {name for name, one in SERVICES.items() if "edge" in one["networks"]}
    assert with_edge == {"proxy", "api-1", "api-2"}


def test_the_proxy_is_given_what_its_file_asks_for() -> None:
    asked = set(re.findall(r'"\$\{(\w+)\}"', (DEPLOY / "haproxy.cfg").read_text("utf-8")))
    optional = {"HANSARD_PROXY_TLS_BIND", "HANSARD_PROXY_CERT"}
    assert asked - optional == set(SERVICES["proxy"]["environment"])


def test_no_secret_is_written_down() -> None:
    text = (DEPLOY / "compose.yaml").read_text("utf-8")
    for name, value in GIVEN.items():
        if "PASSWORD" in name:
            assert value not in text
    assert not Path(DEPLOY / ".env").exists()

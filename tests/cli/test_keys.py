from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.conftest import Command, refused

from hansard.store import keys


def test_a_key_is_shown_once_listed_without_its_secret_and_revoked(hansard: Command) -> None:
    made = hansard("keys", "create", "my laptop", "--quota-hours", 2, "--expires", 30)
    assert made.code == 0, made.err
    token = made.out.strip()
    key_id, secret = keys.split(token) or ("", "")
    assert key_id
    assert "only time" in made.err
    listed = hansard("keys", "list")
    assert key_id in listed.out
    assert "read,write" in listed.out
    assert "my laptop" in listed.out
    assert "2 h a day" in listed.out
    assert secret not in listed.out
    assert hansard("keys", "revoke", key_id).out == f"{key_id} (my laptop) is revoked\n"
    assert "revoked" in hansard("keys", "list").out
    assert secret not in hansard("keys", "list", "--json").out


def test_json_has_all_of_it(hansard: Command) -> None:
    made = hansard(
        *("keys", "create", "a", "--scope", "read", "--scope", "admin", "--tenant", "local"),
        *("--rate", 30, "--burst", 3, "--json"),
    )
    said = json.loads(made.out)
    assert keys.split(said.pop("token")) is not None
    assert said["scopes"] == ["read", "admin"]
    assert (said["tenant"], said["rate"], said["burst"]) == ("local", 30.0, 3)
    (listed,) = map(json.loads, hansard("keys", "list", "--json").out.splitlines())
    assert listed == said
    ended = json.loads(hansard("keys", "revoke", said["id"], "--json").out)
    assert ended["revoked"] >= said["created"]


def test_a_key_without_a_time_left_is_said_to_have_expired(hansard: Command) -> None:
    hansard("keys", "create", "over", "--expires", 0)
    assert "expired" in hansard("keys", "list").out


@pytest.mark.parametrize(
    "wrong",
    [
        ("create", ""),
        ("create", "two\nlines"),
        ("create", "n" * 101),
        ("create", "a", "--tenant", "über"),
        ("create", "a", "--tenant", "t" * 33),
        ("create", "a", "--tenant", ""),
        ("create", "a", "--rate", "inf"),
        ("create", "a", "--quota-hours", "inf"),
    ],
)
def test_what_makes_no_sense_is_refused(hansard: Command, wrong: tuple[str, ...]) -> None:
    refused(hansard("keys", *wrong), "usage", 2)
    assert hansard("keys", "list").out == ""


def test_revoking_what_is_no_key_is_refused(hansard: Command) -> None:
    refused(hansard("keys", "revoke", "0123456789abcdef"), "unknown_key", 2)


def test_keys_are_the_data_directorys_own(hansard: Command, tmp_path: Path) -> None:
    hansard("keys", "create", "here")
    assert hansard("keys", "list", "--data", tmp_path / "elsewhere").out == ""

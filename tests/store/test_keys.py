from __future__ import annotations

import hmac
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansard.errors import UnknownKey
from hansard.store import keys
from hansard.store.sqlite import Sqlite


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Sqlite]:
    database = Sqlite(tmp_path / "hansard.db")
    yield database
    database.close()


def test_a_key_comes_back_as_it_was_made(database: Sqlite) -> None:
    with database.write() as connection:
        made, token = keys.create(
            connection,
            "laptop",
            ("write", "read"),
            rate=60,
            burst=5,
            quota=7200,
            expires=2e9,
            now=1e9,
        )
    key_id, secret = keys.split(token) or ("", "")
    assert key_id == made.id
    with database.read() as connection:
        found, kept = keys.find(connection, key_id) or (None, None)
        assert keys.listing(connection) == [made]
    assert found == made
    assert made.scopes == ("read", "write")
    assert made.tenant == made.id, "without a tenant it has one of its own"
    assert keys.fits(secret, kept)
    assert not keys.fits(f"{secret}x", kept)


def test_the_secret_is_nowhere_in_the_store(database: Sqlite) -> None:
    with database.write() as connection:
        _, token = keys.create(connection, "laptop")
    database.close()
    secret = token.rpartition("_")[2]
    assert len(secret) == 43
    for path in database.path.parent.iterdir():
        assert secret.encode() not in path.read_bytes()
    with sqlite3.connect(database.path) as plain:
        ((kept,),) = plain.execute("SELECT hash FROM keys")
    plain.close()
    assert len(kept) == 64


def test_no_two_keys_are_alike(database: Sqlite) -> None:
    with database.write() as connection:
        made = [keys.create(connection, "same") for _ in range(50)]
    assert len({key.id for key, _ in made}) == 50
    assert len({token for _, token in made}) == 50


def test_a_revoked_key_keeps_its_first_moment_and_lives_no_more(database: Sqlite) -> None:
    with database.write() as connection:
        key, _ = keys.create(connection, "laptop", now=10)
        assert key.lives(20)
        ended = keys.revoke(connection, key.id, now=30)
        again = keys.revoke(connection, key.id, now=40)
    assert ended.revoked == again.revoked == 30
    assert not ended.lives(31)
    with database.write() as connection, pytest.raises(UnknownKey, match="nobody"):
        keys.revoke(connection, "nobody")


def test_a_key_ends_when_it_expires(database: Sqlite) -> None:
    with database.write() as connection:
        key, _ = keys.create(connection, "short", expires=100.0, now=10)
    assert key.lives(99.9)
    assert not key.lives(100.0)


def test_admin_is_enough_for_everything_and_the_others_for_themselves(database: Sqlite) -> None:
    with database.write() as connection:
        made = {scope: keys.create(connection, scope, (scope,))[0] for scope in keys.SCOPES}
    assert [[made[has].may(asked) for asked in keys.SCOPES] for has in keys.SCOPES] == [
        [True, False, False],
        [False, True, False],
        [True, True, True],
    ]


def test_secrets_are_compared_in_constant_time_also_for_ids_that_are_none(
    database: Sqlite, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    careful = hmac.compare_digest

    def compare(one: str, other: str) -> bool:
        seen.append((one, other))
        return careful(one, other)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    with database.write() as connection:
        key, token = keys.create(connection, "laptop")
        kept = (keys.find(connection, key.id) or (None, None))[1]
    assert not keys.fits("a guess", None)
    assert not keys.fits("a guess", kept)
    assert len(seen) == 2
    assert all(len(one) == len(other) == 64 for one, other in seen)
    assert token not in str(seen)


@given(st.text(max_size=200))
def test_any_text_can_be_offered_as_a_token(text: str) -> None:
    parts = keys.split(text)
    if parts is not None:
        assert f"hsd_{parts[0]}_{parts[1]}" == text
        assert not keys.fits(parts[1], None)


@pytest.mark.parametrize(
    "wrong", ["", "hsd", "hsd_", "hsd__", "hsd_a_", "sk_a_b", "hsd_a_" + "b" * 200]
)
def test_what_cannot_be_ours_is_not_looked_up(wrong: str) -> None:
    assert keys.split(wrong) is None

"""Stores of both kinds, empty: one after the other, or side by side."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests import stores

from hansard.store.database import Database
from hansard.store.postgres import Postgres


@pytest.fixture
def pair(tmp_path: Path, postgres: str) -> Iterator[tuple[Database, Database]]:
    """One of each kind, to compare what they answer."""
    made = stores.opened("sqlite", tmp_path, lambda: postgres), Postgres(postgres)
    yield made
    for database in made:
        database.close()

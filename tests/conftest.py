"""What every test gets: a data directory of its own, and a last word on what was skipped."""

from __future__ import annotations

import logging
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from tests.storage import Storage

    from hansard.store.database import Database

ROOT = Path(__file__).resolve().parents[1]

# A shell starts what it puts into the background with Ctrl-C ignored, and so do its children: tests
# that interrupt a command would wait for its end.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# What follows a transcript is looked at by the tests of meetings, which turn it on. Here, since
# what lives longer than a test (a service that many ask) is made before its own surroundings.
FOLLOW_UP = "HANSARD_MEETINGS__FOLLOW_UP"
os.environ[FOLLOW_UP] = "false"

# No test depends on the clock, and a shared machine is slow at times.
settings.register_profile("hansard", deadline=None, print_blob=True)
settings.load_profile("hansard")


@pytest.fixture(autouse=True)
def _own_surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads the user's settings or touches the user's store, whatever it calls."""
    for name in os.environ:
        if name.startswith("HANSARD_") and not name.startswith("HANSARD_TEST_"):
            monkeypatch.delenv(name)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("HANSARD_DATA", str(tmp_path / "hansard-data"))
    monkeypatch.setenv(FOLLOW_UP, "false")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))


@pytest.fixture(autouse=True)
def _own_logs() -> Iterator[None]:
    """What a command has set up for its logs goes with it: its standard error is closed by then."""
    ours = logging.getLogger("hansard")
    before, level = list(logging.root.handlers), (logging.root.level, ours.level)
    yield
    for handler in logging.root.handlers[:]:
        if handler not in before:
            logging.root.removeHandler(handler)
    logging.root.setLevel(level[0])
    ours.setLevel(level[1])


@pytest.fixture(scope="session")
def speech_data() -> Path:
    """The directory of real recordings with references (``speech/``, ``meetings/``)."""
    given = os.environ.get("HANSARD_TEST_DATA")
    place = Path(given) if given else ROOT.parent / "shared" / "data"
    if not (place / "speech" / "references.tsv").is_file():
        pytest.skip("real recordings not found: set HANSARD_TEST_DATA to their directory")
    return place


@pytest.fixture(scope="session")
def _postgres() -> Iterator[Callable[[], str]]:
    """Makes a database at the first call, for all tests of this process; empties it at each."""
    with ExitStack() as stack:
        made: list[str] = []

        def ready() -> str:
            from tests import stores

            from hansard.store.postgres import Postgres

            if not made:
                made.append(stack.enter_context(stores.fresh_postgres()))
                Postgres(made[0]).close()
            stores.emptied(made[0])
            return made[0]

        yield ready


@pytest.fixture
def postgres(_postgres: Callable[[], str]) -> str:
    """The address of an empty PostgreSQL database; skips where there is no server."""
    return _postgres()


@pytest.fixture(scope="session")
def _storage() -> Iterator[Callable[[], str]]:
    """Starts object storage at the first call, for all tests of this process."""
    from tests import storage

    with ExitStack() as stack:
        made: list[str] = []

        def ready() -> str:
            if not made:
                made.append(stack.enter_context(storage.server()))
            return made[0]

        yield ready


@pytest.fixture
def storage(_storage: Callable[[], str]) -> Storage:
    """An empty bucket of one's own."""
    from tests import storage

    return storage.fresh(_storage())


@pytest.fixture(params=["sqlite", "postgresql"])
def database(
    request: pytest.FixtureRequest, tmp_path: Path, _postgres: Callable[[], str]
) -> Iterator[Database]:
    """An empty store, of each kind in turn: what is tested with it is tested over both."""
    from tests import stores

    opened = stores.opened(request.param, tmp_path, _postgres)
    yield opened
    opened.close()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say on one line each what was skipped and why, so that a green run hides nothing."""
    reasons: Counter[str] = Counter()
    for report in terminalreporter.stats.get("skipped", []):
        where_and_why = report.longrepr
        why = where_and_why[2] if isinstance(where_and_why, tuple) else str(where_and_why)
        reasons[why.removeprefix("Skipped: ")] += 1
    for why, count in sorted(reasons.items()):
        terminalreporter.write_line(f"skipped {count} test{'s' if count > 1 else ''}: {why}")
    if not reasons:
        terminalreporter.write_line("skipped no test")

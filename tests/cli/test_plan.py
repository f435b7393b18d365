"""`hansard plan`: what it rests on, and what it says."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from msgspec.structs import replace
from tests.cli.conftest import Command
from tests.quick import QuickEngine

from hansard.perf import benchmark_run
from hansard.perf.benchmark import Result, Trial
from hansard.perf.machine import machine
from hansard.store.sqlite import Sqlite
from hansard.store.tables import jobs


def told(hansard: Command, *words: object) -> dict[str, Any]:
    ended = hansard("plan", "--json", *words)
    assert ended.code == 0, ended.err
    return dict(json.loads(ended.out))


def test_a_new_store_says_what_it_assumes(hansard: Command) -> None:
    ended = hansard("plan", "--hours-per-day", 100)
    assert ended.code == 0, ended.err
    assert "workers speech" in ended.out
    said = ended.out.splitlines()[-1]
    assert said.startswith("Assumed, not measured: rtf, bytes per second")
    assert " = " not in ended.out


def test_every_figure_has_its_formula(hansard: Command) -> None:
    ended = hansard("plan", "--hours-per-day", 100, "--explain")
    figures = told(hansard, "--hours-per-day", 100)["figures"]
    for one in figures.values():
        assert f"    = {one['formula']}\n    = {one['worked']}\n" in ended.out
    assert "⌈max(100 * 0.5 / (9 * 0.8), 2 * 0.5 / 1)" in ended.out


def test_what_is_given_counts(hansard: Command) -> None:
    found = told(hansard, "--hours-per-day", 100, "--rtf", 0.05, "--spare", 0)
    assert found["bases"]["rtf"]["origin"] == "given"
    assert found["figures"]["workers_speech"]["value"] == 1


def test_a_store_that_has_worked_is_measured(
    hansard: Command, data: Path, clip: Path, quick: QuickEngine
) -> None:
    """A minute of audio that took half a minute, by two: each takes a second for a second."""
    del quick
    assert hansard("transcribe", clip, "--model", "sphinx", "--offline").code == 0
    database = Sqlite(data / "hansard.db")
    now = time.time()
    with database.write() as connection:
        changed = connection.execute(
            sa.update(jobs).values(seconds=60.0, started=now - 30.0, finished=now)
        )
    database.close()
    assert changed.rowcount == 1
    found = told(hansard, "--hours-per-day", 8, "--measured-with", 2)
    assert abs(found["bases"]["rtf"]["value"] - 1.0) < 1e-6
    assert found["bases"]["rtf"]["origin"] == "measured"
    assert found["bases"]["bytes_per_second"]["value"] == clip.stat().st_size / 60.0
    assert found["bases"]["length"]["value"] == 60.0
    assert found["bases"]["length"]["origin"] == "measured"
    # An empty database has megabytes, too; and one recording is like itself.
    assert found["assumed"] == ["database_bytes_per_second", "variability"]


def test_a_benchmark_of_this_machine_is_a_measurement(hansard: Command, data: Path) -> None:
    """Ten seconds of audio in two: a fifth of real time, where no job has told better."""
    data.mkdir()
    database = Sqlite(data / "hansard.db")
    tried = tuple(Trial(seconds, seconds, {}) for seconds in (1.9, 2.0, 2.1))
    here = Result("b1", "pipeline", "1", machine(), 1.0, "x", "a meeting", 10.0, "audio", tried)
    elsewhere = replace(here, id="b2", machine=replace(machine(), cores=999), created=2.0)
    benchmark_run.keep(database, [here, elsewhere])
    database.close()
    ended = hansard("plan", "--hours-per-day", 100, "--json")
    rtf = json.loads(ended.out)["bases"]["rtf"]
    assert (rtf["value"], rtf["origin"]) == (0.2, "measured")
    assert "benchmark b1" in rtf["note"]
    assert ended.err == ""


def test_nonsense_is_refused(hansard: Command) -> None:
    for words in (("--hours-per-day", -1), ("--hours-per-day", 1, "--deadline", 0), ()):
        assert hansard("plan", *words).code == 2


def test_a_deadline_is_said_as_people_say_it(hansard: Command) -> None:
    """The queue counts: what must be done in minutes needs more than what may take hours."""
    words = ("--hours-per-day", 500)
    patient, hasty = (told(hansard, *words, "--deadline", time) for time in ("24h", "10m"))
    assert patient["demand"]["deadline"] == 24.0
    assert (
        patient["figures"]["workers_speech"]["value"] < hasty["figures"]["workers_speech"]["value"]
    )
    assert hasty["figures"]["done_in_time"]["value"] >= hasty["demand"].get("level", 0.95)
    assert "mean_wait" not in patient["figures"], "what comes by day is worked off by night"


def test_a_default_is_not_taken_for_a_measurement(hansard: Command) -> None:
    assumed = hansard("plan", "--hours-per-day", 100)
    assert assumed.err.startswith("warning: nothing was transcribed or benchmarked here yet")
    assert hansard("plan", "--hours-per-day", 100, "--rtf", 0.1).err == ""

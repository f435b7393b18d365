"""Windows that only serve to follow along live: heard like others, and counted nowhere."""

from __future__ import annotations

from tests.jobs.conftest import LEVELS, OPTIONS, answers, listen, planned

from hansard.jobs import progress, sessions
from hansard.jobs.queue import Queue
from hansard.model import Client, Prepared
from hansard.store.database import Database
from hansard.store.lives import Live
from hansard.store.tables import windows


def test_they_are_heard_and_neither_counted_nor_waited_for(database: Database) -> None:
    queue = Queue(database, "me")
    sound = Live("", "pcm", 16_000, 1, 0, 0.0)
    unit = sessions.begin(queue, "talk", OPTIONS, sound, client=Client())
    assert queue.claim_step() is None, "nobody prepares what still comes in"
    assert queue.waiting_models() == [("sphinx", "en-us")]
    (window,) = planned(1)
    assert sessions.guess(queue, unit, window, position=1000)
    guess = listen(queue)
    assert guess is not None
    assert [part.hearing for part in guess.parts] == [2]
    queue.record(guess, answers(guess))
    now = progress.progress(database, unit.job.id)
    assert (now.windows, now.windows_done) == (0, 0)
    assert progress.heard_since(database, unit.job.id) == []
    sessions.add(queue, unit, [window], position=1000)
    assert sessions.guess(queue, unit, planned(1, start=1)[0], position=2000)
    final = listen(queue, batch=1)
    assert final is not None
    queue.record(final, answers(final))
    assert progress.progress(database, unit.job.id).windows_done == 1
    # One provisional window is still left; it does not hold the job up, and goes.
    queue.end_prepare(unit, Prepared(2000, 1, LEVELS))
    assert queue.get(unit.job.id).step == "finish"
    with database.read() as connection:
        left = connection.execute(windows.select().where(windows.c["pass"] == 2)).all()
    assert left == []

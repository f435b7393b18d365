"""Fair shares: between tenants, between short and long, over time."""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.jobs.conftest import Clock, answers, listen, ready, submit

from hansard.jobs import claim, shares
from hansard.jobs.queue import Queue
from hansard.jobs.shares import BOTH, DEBT, Group
from hansard.model import POOLS, Options

TENANTS = ["a", "b", "c", "d"]
LONGEST = 30.0


@st.composite
def happenings(draw: st.DrawFn) -> list[tuple[str, str, float]]:
    """Tenants that get work and run out of it, and claims of up to half a minute of audio."""
    kinds = st.sampled_from(["come", "leave", *["claim"] * 8])
    one = st.tuples(kinds, st.sampled_from(TENANTS), st.floats(0.1, LONGEST))
    return draw(st.lists(one, min_size=20, max_size=300))


@given(happenings())
def test_whoever_has_work_at_the_same_time_gets_the_same(
    events: list[tuple[str, str, float]],
) -> None:
    clocks: dict[tuple[str, str], float] = {}
    active: set[tuple[str, str]] = set()
    since: dict[frozenset[str], dict[str, float]] = {}
    for kind, tenant, seconds in events:
        if kind == "come":
            clocks |= shares.started(clocks, active, tenant, "short")
            active.add((tenant, "short"))
            for other, _ in active - {(tenant, "short")}:
                since.setdefault(frozenset({tenant, other}), defaultdict(float))
        elif kind == "leave":
            active.discard((tenant, "short"))
            since = {pair: got for pair, got in since.items() if tenant not in pair}
        elif active:
            groups = [Group("speech", 5, one, lane, 0.0) for one, lane in active]
            first = shares.ranked(groups, clocks)[0]
            clocks |= shares.advanced(clocks, first.tenant, first.lane, seconds)
            for pair, got in since.items():
                if first.tenant in pair:
                    got[first.tenant] += seconds
        for pair, got in since.items():
            one, other = pair
            assert abs(got[one] - got[other]) <= 2 * LONGEST + 1e-6


@given(st.dictionaries(st.sampled_from(TENANTS), st.floats(0, 1e6), min_size=2), st.data())
def test_nobody_pays_for_more_than_a_debt(served: dict[str, float], data: st.DataObject) -> None:
    clocks = {(tenant, BOTH): seconds for tenant, seconds in served.items()}
    groups = [Group("speech", 5, tenant, "short", 0.0) for tenant in served]
    first = shares.ranked(groups, clocks)[0]
    seconds = data.draw(st.floats(1, LONGEST))
    after = clocks | shares.advanced(clocks, first.tenant, "short", seconds)
    start = clocks[first.tenant, BOTH]
    assert all(now <= start + DEBT for (_, lane), now in after.items() if lane == BOTH)
    assert all(
        after[whose] <= before for whose, before in clocks.items() if whose[0] != first.tenant
    )


@given(
    st.lists(
        st.builds(
            Group,
            st.just("speech"),
            st.integers(0, 9),
            st.sampled_from(TENANTS),
            st.sampled_from(["short", "long"]),
            st.floats(0, 10),
        ),
        min_size=1,
    )
)
def test_priority_is_above_all_shares(groups: list[Group]) -> None:
    clocks = {(tenant, BOTH): float(number) for number, tenant in enumerate(TENANTS)}
    order = [group.priority for group in shares.ranked(groups, clocks)]
    assert order == sorted(order, reverse=True)


# ── the same, through the queue ──────────────────────────────────────────────────────────────


def prepare_all(queue: Queue) -> None:
    while (unit := queue.claim_step()) is not None:
        if unit.step == "prepare":
            ready(queue, unit)
        else:
            queue.complete(unit, lambda _: None)


def heard(queue: Queue, times: int, batch: int = 2) -> Counter[tuple[str, str]]:
    """Seconds of audio that so many claims took, by tenant and lane."""
    taken: Counter[tuple[str, str]] = Counter()
    for _ in range(times):
        unit = listen(queue, batch=batch)
        if unit is None:
            break
        queue.record(unit, answers(unit))
        for part in unit.parts:
            taken[part.job.tenant, part.job.lane] += int(part.window.seconds)
    return taken


def test_a_short_note_does_not_wait_for_another_ones_hearing(queue: Queue, clock: Clock) -> None:
    submit(queue, "hearing", tenant="a", seconds=7200)
    prepare_all(queue)
    heard(queue, 5)
    clock.now += 1
    note = submit(queue, "note", tenant="b", seconds=30)
    prepare_all(queue)
    unit = listen(queue, batch=1)
    assert unit is not None
    assert unit.job.id == note.id


def test_a_short_note_does_not_wait_for_ones_own_hearing(queue: Queue, clock: Clock) -> None:
    submit(queue, "hearing", seconds=7200)
    prepare_all(queue)
    heard(queue, 5)
    clock.now += 1
    note = submit(queue, "note", seconds=30)
    prepare_all(queue)
    unit = listen(queue, batch=1)
    assert unit is not None
    assert unit.job.id == note.id


def test_an_endless_stream_of_notes_does_not_starve_a_hearing(queue: Queue, clock: Clock) -> None:
    apart = Options("sphinx", "en-us", language="en", prompt="apart")  # no shared batches
    submit(queue, "hearing", apart, seconds=3600)
    taken: Counter[tuple[str, str]] = Counter()
    for number in range(15):
        clock.now += 1
        submit(queue, f"note {number}", seconds=60)
        prepare_all(queue)
        taken += heard(queue, 2, batch=1)
    assert taken["local", "long"] == taken["local", "short"] == 15 * 30


def test_who_was_away_has_saved_nothing_up(queue: Queue, clock: Clock) -> None:
    apart = Options("sphinx", "en-us", language="en", prompt="apart")
    submit(queue, "a's", tenant="a", seconds=7200)
    prepare_all(queue)
    heard(queue, 50)
    clock.now += 1
    submit(queue, "b's", apart, tenant="b", seconds=7200)
    prepare_all(queue)
    taken = heard(queue, 20)
    assert taken["a", "long"] == taken["b", "long"]


def test_filling_a_batch_is_counted_to_those_whose_windows_fill_it(queue: Queue) -> None:
    submit(queue, "a's", tenant="a", seconds=30)
    submit(queue, "b's", tenant="b", seconds=30)
    prepare_all(queue)
    assert sum(heard(queue, 1, batch=4).values()) == 60
    with queue.database.read() as connection:
        clocks = shares.clocks(connection)
    assert clocks["a", BOTH] == clocks["b", BOTH] == clocks["b", "short"] == 30.0


def test_a_batch_is_filled_by_those_whose_turn_is_next(queue: Queue, clock: Clock) -> None:
    for name, tenant in ("1", "a"), ("2", "a"), ("3", "a"), ("4", "b"), ("5", "c"):
        clock.now += 1
        submit(queue, name, tenant=tenant, seconds=30)
    prepare_all(queue)
    assert heard(queue, 1, batch=4) == {("a", "short"): 60, ("b", "short"): 30, ("c", "short"): 30}


def test_a_batch_is_filled_by_what_is_as_urgent_first(queue: Queue) -> None:
    for name in "1", "2":
        submit(queue, name, tenant="a", seconds=30, priority=9)
    submit(queue, "3", tenant="b", seconds=30)
    prepare_all(queue)
    assert heard(queue, 1, batch=2) == {("a", "short"): 60}


def test_tenants_take_turns_at_preparing(queue: Queue, clock: Clock) -> None:
    for number in range(5):
        submit(queue, f"a's {number}", tenant="a", seconds=60)
    clock.now += 1
    submit(queue, "b's", tenant="b", seconds=60)
    order = []
    while (unit := queue.claim_step()) is not None:
        order.append(unit.job.tenant)
        ready(queue, unit)
    assert order == ["a", "b", "a", "a", "a", "a"]


def test_what_is_being_prepared_counts_from_its_claim(queue: Queue, clock: Clock) -> None:
    """Many hands look while none has written a window: no tenant gets more than its turn."""
    for tenant in TENANTS:
        for number in range(10):
            submit(queue, f"{tenant}'s {number}", tenant=tenant, seconds=60)
        clock.now += 1
    units = [queue.claim_step() for _ in range(9)]
    begun = Counter(unit.job.tenant for unit in units if unit is not None)
    assert sorted(begun.values()) == [2, 2, 2, 3]
    assert begun["a"] == 3, "where all are even, who came first"


def test_what_a_dead_worker_prepared_does_not_count(queue: Queue, clock: Clock) -> None:
    for tenant in "ab":
        for number in range(3):
            submit(queue, f"{tenant}'s {number}", tenant=tenant, seconds=60)
        clock.now += 1
    taken = queue.claim_step()
    assert taken is not None
    assert taken.job.tenant == "a"
    queue.free([queue.owner])
    again = queue.claim_step()
    assert again is not None
    assert again.job.id == taken.job.id


def test_what_is_done_at_a_stroke_is_done_by_turns(
    queue: Queue, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(POOLS, "summary", "insight")
    for tenant in ("a", "b"):
        for number in range(6):
            submit(queue, f"{tenant}'s {number}", tenant=tenant, kind="summary", seconds=600)
        clock.now += 1
    order = []
    while (unit := queue.claim_step(["insight"])) is not None:
        order.append(unit.job.tenant)
        queue.complete(unit, lambda _: None)
    assert "".join(order) == "ababababab" + "ab"


def test_a_lane_that_is_full_of_work_is_not_given_more(queue: Queue, clock: Clock) -> None:
    submit(queue, "first", seconds=claim.RUN_AHEAD)
    submit(queue, "second", seconds=claim.RUN_AHEAD)
    prepare_all(queue)
    clock.now += 1
    mine = submit(queue, "note", seconds=30)
    others = submit(queue, "other's", tenant="b", seconds=1200)
    urgent = submit(queue, "urgent", seconds=1200, priority=6)
    claimed = []
    while (unit := queue.claim_step()) is not None:
        claimed.append(unit.job.id)
        ready(queue, unit)
    assert sorted(claimed) == sorted([mine.id, others.id, urgent.id])
    assert claimed[0] == urgent.id
    heard(queue, 1, batch=8)  # of the urgent one
    assert queue.claim_step() is None
    assert list(iter(lambda: listen(queue, batch=8), None)), "all that is ready is in hand"
    assert queue.claim_step() is None


def test_a_quick_hand_takes_only_what_is_over_soon(queue: Queue, clock: Clock) -> None:
    submit(queue, "hearing", seconds=1200)
    assert queue.claim_step(quick=True) is None
    preparing = queue.claim_step()
    assert preparing is not None
    clock.now += 1
    note = submit(queue, "note", seconds=20)
    quick = queue.claim_step(quick=True)
    assert quick is not None
    assert quick.job.id == note.id
    ready(queue, preparing)
    for _ in range(20):
        unit = listen(queue, batch=8)
        if unit is None:
            break
        queue.record(unit, answers(unit))
    ending = queue.claim_step(quick=True)
    assert ending is not None
    assert (ending.job.id, ending.step) == (preparing.job.id, "finish")


def test_a_higher_priority_goes_before_any_share(queue: Queue, clock: Clock) -> None:
    apart = Options("sphinx", "en-us", language="en", prompt="apart")
    submit(queue, "a's", tenant="a", seconds=600)
    prepare_all(queue)
    heard(queue, 3)
    clock.now += 1
    submit(queue, "a's urgent", apart, tenant="a", seconds=600, priority=9)
    submit(queue, "b's", tenant="b", seconds=600)
    prepare_all(queue)
    urgent = heard(queue, 10)
    assert urgent == {("a", "short"): 600}
    assert heard(queue, 1)["b", "short"]

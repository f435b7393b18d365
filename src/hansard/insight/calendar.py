"""Arithmetic of dates, counted from the day of the meeting. Pure."""

from __future__ import annotations

import calendar
from datetime import UTC, date, datetime, timedelta

WEEK = 7


def day_of(held: float | None) -> date | None:
    """The day of a meeting, by UTC; ``None`` where it is not known or no date at all.

    Args:
        held: seconds since the epoch.
    """
    if held is None:
        return None
    try:
        day = datetime.fromtimestamp(held, UTC).date()
    except (OverflowError, OSError, ValueError):
        return None
    return day if 1000 <= day.year <= 9000 else None  # room to count from


def plus(day: date, days: int) -> date | None:
    """Some days on; ``None`` beyond what a date can be."""
    try:
        return day + timedelta(days=days)
    except OverflowError:
        return None


def weekday(day: date, wanted: int, way: str) -> date | None:
    """The Monday (0) to Sunday (6) that is meant.

    Args:
        day: the day on which it is said.
        wanted: which day of the week.
        way: ``coming``: the first after today. ``next``: that of the week after this one.
            ``this``: that of this week, from Monday on. ``past``: the last before today.
    """
    if way == "past":
        return plus(day, -((day.weekday() - wanted - 1) % WEEK + 1))
    if way in {"next", "this"}:
        return plus(day, wanted - day.weekday() + (WEEK if way == "next" else 0))
    return plus(day, (wanted - day.weekday() - 1) % WEEK + 1)


def last_of_month(year: int, month: int) -> int:
    """The number of its last day."""
    return calendar.monthrange(year, month)[1]


def nth_weekday(year: int, month: int, wanted: int, which: str) -> date:
    """The ``1th`` to ``4th``, or the ``last``, Monday (0) to Sunday (6) of a month."""
    if which == "last":
        last = date(year, month, last_of_month(year, month))
        return last - timedelta(days=(last.weekday() - wanted) % WEEK)
    first = date(year, month, 1)
    return first + timedelta(days=(wanted - first.weekday()) % WEEK + WEEK * (int(which[0]) - 1))


def made(year: int, month: int, day: int) -> date | None:
    """The date, if there is one."""
    try:
        return date(year, month, day)
    except ValueError:
        return None


def nearest(held: date, month: int, day: int, way: str = "") -> date | None:
    """The day of that month which is meant where no year is said.

    The nearest one; ``coming`` and ``past`` turn it to one side of the day of the meeting.
    """
    found = [
        candidate
        for year in (held.year - 1, held.year, held.year + 1)
        if (candidate := made(year, month, day))
        and not (way == "coming" and candidate < held)
        and not (way == "past" and candidate > held)
    ]
    return min(found, key=lambda one: abs((one - held).days), default=None)


def nearest_month(held: date, month: int, way: str = "") -> tuple[int, int]:
    """The year and month that is meant where no year is said; this month is itself."""
    best = min(
        (held.year - 1, held.year, held.year + 1),
        key=lambda year: (
            way == "coming" and (year, month) < (held.year, held.month),
            way == "past" and (year, month) > (held.year, held.month),
            abs((year - held.year) * 12 + month - held.month),
        ),
    )
    return best, month


def of_this_month(held: date, day: int, way: str = "") -> date | None:
    """``the tenth``: of the month that brings it nearest; not past unless ``past`` is asked."""
    found = []
    for step in (-1, 0, 1):
        year, month = divmod(held.year * 12 + held.month - 1 + step, 12)
        candidate = made(year, month + 1, day)
        if candidate and (candidate <= held if way == "past" else candidate >= held):
            found.append(candidate)
    return min(found, key=lambda one: abs((one - held).days), default=None)


def months_on(day: date, count: int) -> date | None:
    """The same day some months on, or the last one of a shorter month."""
    year, month = divmod(day.year * 12 + day.month - 1 + count, 12)
    if not 1 <= year <= 9999:
        return None
    return date(year, month + 1, min(day.day, last_of_month(year, month + 1)))

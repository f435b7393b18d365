"""Line charts as SVG, to stand in a page: no script, no file beside it, readable in the dark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from hansard.model import Value

WIDTH, HEIGHT = 560, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 14, 12, 40
_APART = 26
"""Least distance of two marks at the bottom, so that what stands there can be read."""

COLOURS = 8
"""Classes ``c0`` … ``c7`` of the page's style sheet; the ninth line has the first colour again."""


class Line(Value, frozen=True):
    """A line of a chart. A gap is where ``y`` is ``None``."""

    name: str
    points: tuple[tuple[float, float | None], ...]
    dots: bool = False
    dashed: bool = False
    colour: int | None = None


class Axis(Value, frozen=True):
    """What runs along an edge of a chart."""

    label: str
    log: bool = False
    zero: bool = False
    """Whether it begins at nothing."""
    ticks: tuple[tuple[float, str], ...] = ()
    """Where there are marks, and what stands at them; chosen where it is empty."""
    shaded: float | None = None
    """From the start to here, what is drawn does not count."""


def chart(title: str, lines: Sequence[Line], x: Axis, y: Axis) -> str:
    """An ``<svg>`` with its title for those who do not see it, and a legend below it."""
    seen = [(a, b) for line in lines for a, b in line.points if b is not None]
    if y.log:
        seen = [(a, b) for a, b in seen if b > 0]
    if not seen:
        return ""
    across = _Scale(x, [a for a, _ in seen], _LEFT, WIDTH - _RIGHT)
    up = _Scale(y, [b for _, b in seen], HEIGHT - _BOTTOM, _TOP)
    parts = [
        f"<figure><figcaption>{escape(title)}</figcaption>",
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">',
    ]
    if x.shaded is not None and x.shaded > across.low:
        wide = across.place(min(x.shaded, across.high)) - _LEFT
        parts.append(
            f'<rect class="shade" x="{_LEFT}" y="{_TOP}" width="{wide:.1f}" '
            f'height="{HEIGHT - _TOP - _BOTTOM}"><title>warm-up, does not count</title></rect>'
        )
    for value, text in up.ticks():
        at = up.place(value)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{at}" y2="{at}"/>')
        parts.append(f'<text class="tick" x="{_LEFT - 6}" y="{at + 4:.1f}">{escape(text)}</text>')
    last = -math.inf
    for value, text in across.ticks():
        at = across.place(value)
        if at - last < _APART:
            continue
        last = at
        parts.append(
            f'<line class="grid" x1="{at}" x2="{at}" y1="{_TOP}" y2="{HEIGHT - _BOTTOM}"/>'
            f'<text class="tick middle" x="{at}" y="{HEIGHT - _BOTTOM + 15}">{escape(text)}</text>'
        )
    parts.append(
        f'<text class="label middle" x="{(_LEFT + WIDTH - _RIGHT) / 2}" y="{HEIGHT - 6}">'
        f"{escape(x.label)}</text>"
        f'<text class="label middle" transform="translate(13 {(_TOP + HEIGHT - _BOTTOM) / 2}) '
        f'rotate(-90)">{escape(y.label)}</text>'
    )
    for number, line in enumerate(lines):
        parts.append(_drawn(line, number, across, up))
    return "".join([*parts, "</svg>", _legend(lines), "</figure>"])


def _colour(line: Line, number: int) -> int:
    return (number if line.colour is None else line.colour) % COLOURS


def _drawn(line: Line, number: int, across: _Scale, up: _Scale) -> str:
    runs: list[list[str]] = [[]]
    dots = []
    for a, b in line.points:
        if b is None or (up.axis.log and b <= 0):
            runs.append([])
            continue
        place = f"{across.place(a)},{up.place(b)}"
        runs[-1].append(place)
        if line.dots:
            shown = f"{line.name}: {across.axis.label} {a:g}, {up.axis.label} {b:.4g}"
            here = place.split(",")
            dots.append(
                f'<circle class="c{_colour(line, number)}" cx="{here[0]}" cy="{here[1]}" r="3.5">'
                f"<title>{escape(shown)}</title></circle>"
            )
    kind = f"line c{_colour(line, number)}{' dashed' if line.dashed else ''}"
    drawn = [
        # A single point is no line: it is drawn as a short one, so that it can be seen.
        f'<polyline class="{kind}" points="{" ".join(run if len(run) > 1 else run * 2)}"/>'
        for run in runs
        if run
    ]
    return "".join(drawn + dots)


def _legend(lines: Sequence[Line]) -> str:
    if len(lines) < 2:
        return ""
    return (
        '<p class="legend">'
        + "".join(
            f'<span><i class="c{_colour(line, number)}"></i>{escape(line.name)}</span>'
            for number, line in enumerate(lines)
        )
        + "</p>"
    )


class _Scale:
    """From a figure to a place on the page."""

    def __init__(self, axis: Axis, values: Sequence[float], first: float, last: float) -> None:
        self.axis = axis
        low, high = min(values), max(values)
        if axis.log:
            low, high = low / 1.15, high * 1.15
        elif axis.zero:
            low, high = 0.0, high * 1.08
        if high <= low:
            low, high = (low / 2, low * 2) if axis.log else (low - 0.5, low + 0.5)
        self.low, self.high = low, high
        self._first, self._last = first, last

    def place(self, value: float) -> float:
        if self.axis.log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return round(self._first + share * (self._last - self._first), 1)

    def ticks(self) -> list[tuple[float, str]]:
        if self.axis.ticks:
            return [one for one in self.axis.ticks if self.low <= one[0] <= self.high]
        found = self._decades() if self.axis.log else self._steps()
        return [(value, f"{value:,.6g}") for value in found]

    def _steps(self) -> list[float]:
        rough = (self.high - self.low) / 7
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= rough)
        first = math.ceil(self.low / step)
        return [number * step for number in range(first, math.floor(self.high / step) + 1)]

    def _decades(self) -> list[float]:
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        found: list[float] = []
        for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9)):
            marks = (10.0**power * step for power in powers for step in steps)
            found = [value for value in marks if self.low <= value <= self.high]
            if len(found) >= 3:
                break
        return found

"""Results for people and for other tools: tables, Markdown, CSV, JSON, and a trend as SVG."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Sequence
from html import escape
from typing import Final

import msgspec

from hansard.model import Value
from hansard.perf.benchmark import Result
from hansard.perf.benchmark_compare import Comparison
from hansard.perf.intervals import Contrast

_WORDS: Final = {
    "slower": "slower",
    "faster": "faster",
    "same": "no difference",
    "unknown": "too few runs to tell",
}
_HEAD: Final = (
    "component",
    "runs",
    "median",
    "95 % of the median",
    "processor",
    "memory",
    "calls",
    "speed",
    "WER",
)

_WIDTH, _HEIGHT, _EDGE = 720, 180, 60
"""Pixels of one chart, and of the room around it."""


class Book(Value, frozen=True):
    """Results as they are written to a file."""

    results: tuple[Result, ...]


def as_json(results: Sequence[Result]) -> bytes:
    """All that is known; :func:`from_json` reads it."""
    return msgspec.json.format(msgspec.json.encode(Book(tuple(results))), indent=1) + b"\n"


def from_json(body: bytes) -> list[Result]:
    """What :func:`as_json` wrote.

    Raises:
        msgspec.DecodeError: it is something else.
    """
    return list(msgspec.json.decode(body, type=Book).results)


def as_csv(results: Sequence[Result]) -> bytes:
    """A line for each run."""
    out = io.StringIO(newline="")
    rows = csv.writer(out)
    rows.writerow(
        [
            "id",
            "component",
            "build",
            "machine",
            "created",
            "run",
            "seconds",
            "cpu",
            "amount",
            "unit",
        ]
    )
    for one in results:
        for number, run in enumerate(one.trials, 1):
            rows.writerow(
                [
                    *(one.id, one.component, one.build, one.machine.fingerprint, one.created),
                    *(number, run.seconds, run.cpu, one.amount, one.unit),
                ]
            )
    return out.getvalue().encode()


def as_markdown(results: Sequence[Result]) -> bytes:
    """A table with a sentence about the machine."""
    rows = [list(_HEAD), ["---"] * len(_HEAD), *map(_row, results)]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return ("\n".join([*lines, "", *_machines(results)]) + "\n").encode()


def table(results: Sequence[Result]) -> str:
    """The same for a terminal."""
    rows = [list(_HEAD), *map(_row, results)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join([*lines, *_machines(results)]) + "\n"


def _row(one: Result) -> list[str]:
    seconds, factor = one.seconds, one.real_time_factor
    speed = f"{one.amount / seconds.median:,.0f} {one.unit}/s"
    return [
        one.component + (f" ({one.model})" if one.model else ""),
        str(len(one.trials)),
        f"{seconds.median:.4f} s",
        f"{seconds.low:.4f} to {seconds.high:.4f} s",
        f"{one.cpu.median:.4f} s",
        f"{one.memory / 1e6:,.0f} MB",
        f"{one.calls:,}",
        speed if factor is None else f"RTF {factor:.4f}",
        "" if one.wer is None else f"{one.wer:.1%}",
    ]


def _machines(results: Sequence[Result]) -> list[str]:
    known = {one.machine.fingerprint: one for one in results}
    return [
        f"{one.build} on {one.machine.cpu}, {one.machine.cores} cores, "
        f"{one.machine.memory / 2**30:.0f} GiB, {one.machine.system}, Python "
        f"{one.machine.python} ({mark}); {one.name}"
        for mark, one in known.items()
    ]


# ── comparisons ──────────────────────────────────────────────────────────────────────────────


def compared(found: Sequence[Comparison]) -> str:
    """What became of each component, and which stages made it so."""
    lines = []
    for one in found:
        way = "run beside run" if one.paired else "measured at different times"
        lines.append(
            f"{one.component}: {_said(one.seconds)}  [{one.before.build} → {one.after.build}, "
            f"{len(one.after.trials)} runs, {way}]"
        )
        lines.append(f"  processor: {_said(one.cpu)}")
        if one.before.calls != one.after.calls:
            lines.append(f"  calls: {one.before.calls:,} → {one.after.calls:,}")
        if one.before.wer != one.after.wer:
            lines.append(f"  WER: {one.before.wer} → {one.after.wer}")
        lines += [
            f"  stage {stage.name}: {_said(stage.contrast)}, {stage.before * 1000:.1f} → "
            f"{stage.after * 1000:.1f} ms a run"
            for stage in one.stages
            if stage.contrast.verdict in ("slower", "faster")
        ]
    return "\n".join(lines) + "\n"


def _said(found: Contrast) -> str:
    if found.verdict == "unknown":
        return _WORDS["unknown"]
    return (
        f"{_WORDS[found.verdict]}, {found.ratio:.3f} times ({found.low:.3f} to {found.high:.3f}), "
        f"p {found.p:.2g}"
    )


# ── trends ───────────────────────────────────────────────────────────────────────────────────


def trend(results: Sequence[Result]) -> bytes:
    """Medians with their intervals over time, one chart for each component, as SVG."""
    parts: dict[str, list[Result]] = {}
    for one in sorted(results, key=lambda one: one.created):
        name = " ".join(filter(None, (one.component, one.model, one.name, one.store)))
        parts.setdefault(name, []).append(one)
    height = len(parts) * (_HEIGHT + _EDGE)
    body = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH + 2 * _EDGE} {height}">',
        "<style>text { font: 11px sans-serif }</style>",
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for number, (name, series) in enumerate(parts.items()):
        body.append(f'<g transform="translate({_EDGE},{number * (_HEIGHT + _EDGE) + 24})">')
        body += [*_chart(name, series), "</g>"]
    return "\n".join([*body, "</svg>"]).encode() + b"\n"


def _chart(name: str, series: Sequence[Result]) -> list[str]:
    found = [one.seconds for one in series]
    top = max(one.high for one in found) * 1.1 or 1.0

    def x(place: int) -> float:
        return (place + 0.5) * _WIDTH / len(series)

    def y(seconds: float) -> float:
        return _HEIGHT * (1 - seconds / top)

    lines = [
        f'<text y="-8">{escape(name)}: seconds a run</text>',
        f'<path d="M0 0V{_HEIGHT}H{_WIDTH}" fill="none" stroke="#888"/>',
    ]
    for share in (0.0, 0.5, 1.0):
        at = y(top * share)
        lines.append(f'<text x="-6" y="{at + 4:.1f}" text-anchor="end">{top * share:.3g}</text>')
    points = " ".join(f"{x(n):.1f},{y(one.median):.1f}" for n, one in enumerate(found))
    lines.append(f'<polyline points="{points}" fill="none" stroke="#2563eb"/>')
    for place, (one, measured) in enumerate(zip(series, found, strict=True)):
        when = time.strftime("%Y-%m-%d %H:%M", time.gmtime(one.created))
        said = f"{when} UTC, {one.build}: {measured.median:.4f} s"
        lines.append(
            f'<g><title>{escape(said)}</title><path d="M{x(place):.1f} {y(measured.low):.1f}V'
            f'{y(measured.high):.1f}" stroke="#2563eb" stroke-width="2"/>'
            f'<circle cx="{x(place):.1f}" cy="{y(measured.median):.1f}" r="3" fill="#2563eb"/></g>'
        )
    ends = {0: series[0], len(series) - 1: series[-1]}
    for place, one in ends.items():
        lines.append(
            f'<text x="{x(place):.1f}" y="{_HEIGHT + 14}" text-anchor="middle">'
            f"{escape(one.build.rpartition('+')[2] or one.build)}</text>"
        )
    return lines

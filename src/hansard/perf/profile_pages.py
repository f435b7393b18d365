"""Profiles for people and for other tools: a table, a flame graph, speedscope's JSON.

The flame graph (Gregg, CACM 2016) is one HTML file that loads nothing from anywhere; the other is
read by https://speedscope.app and the viewers that know its format.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.resources import files
from typing import Any, TypedDict

import msgspec

from hansard.perf.profile import NO_STAGE, Capture, Share, Summary

_THINNEST = 0.0005
"""Share of all below which a frame is too thin to be drawn."""
_FRAME = re.compile(r"^(?P<name>.*) \((?P<file>[^()]*):(?P<line>\d+)\)$")
_ROWS = 15
"""Functions that the table shows."""
_CALLERS = 4
"""Frames of a stall that it shows."""


class _Node(TypedDict):
    name: str
    value: float
    own: float
    children: dict[str, Any]


def table(summary: Summary, rows: int = _ROWS) -> str:
    """What a profile says, as text."""
    many = summary.unit == "bytes"
    lines = [f"{_amount(summary.total, many=many)} in all, {_kind(summary)}"]
    for one in summary.processes:
        said = f"  {one.name}: {one.seconds:.1f} s, {_process(one, many=many)}"
        lines.append(said if one.failure is None else f"  {one.name}: {one.failure}")
    lines += _ranked("component", summary.components, many=many)
    if (summary.stages and summary.stages[0].name != NO_STAGE) or len(summary.stages) > 1:
        lines += _ranked("stage", summary.stages, many=many)
    lines += _ranked("room", summary.rooms, many=many)
    lines += ["", f"{'own':>10} {'share':>6} {'total':>10}  function"]
    for spot in summary.spots[:rows]:
        lines.append(
            f"{_amount(spot.own, many=many):>10} {spot.share:>6.1%} "
            f"{_amount(spot.total, many=many):>10}  {spot.function}"
            + (f"  [{spot.stage}]" if spot.stage != NO_STAGE else "")
        )
    if summary.stalls:
        lines += ["", "The event loop answered nobody for"]
    for stall in summary.stalls[:rows]:
        where = " ← ".join(reversed(stall.frames[-_CALLERS:]))
        lines.append(f"{stall.seconds * 1000:>8.0f} ms  {where}  ({stall.process})")
    return "\n".join(lines) + "\n"


def flame_graph(captures: Sequence[Capture], title: str) -> bytes:
    """One HTML file: each process, its stages, and their stacks."""
    root: _Node = {"name": title, "value": 0.0, "own": 0.0, "children": {}}
    for capture in captures:
        for stack in capture.stacks:
            path = [capture.process]
            path += [f"stage {stack.stage}"] if stack.stage else []
            node = root
            node["value"] += stack.amount
            for name in (*path, *stack.frames):
                node = node["children"].setdefault(
                    name, {"name": name, "value": 0.0, "own": 0.0, "children": {}}
                )
                node["value"] += stack.amount
            node["own"] += stack.amount
    unit = "bytes" if captures and captures[0].kind == "memory" else "seconds"
    body = {"unit": unit, "root": _drawn(root, root["value"] * _THINNEST)}
    # Function names are strangers' where an attached process is: none may end the script.
    text = msgspec.json.encode(body).decode().replace("<", "\\u003c")
    page = files("hansard.perf").joinpath("flame_graph.html").read_text("utf-8")
    return page.replace("/*DATA*/null", text, 1).encode()


def speedscope(captures: Sequence[Capture], title: str) -> bytes:
    """Speedscope's file format: one sampled profile for each thread of each process."""
    places: dict[str, int] = {}
    frames: list[dict[str, Any]] = []

    def place(name: str) -> int:
        if name not in places:
            places[name] = len(frames)
            found = _FRAME.match(name)
            frames.append(
                {"name": name}
                if found is None
                else {"name": found["name"], "file": found["file"], "line": int(found["line"])}
            )
        return places[name]

    made: dict[str, dict[str, Any]] = {}
    for capture in captures:
        for stack in capture.stacks:
            name = " ".join(filter(None, (capture.process, stack.thread)))
            one = made.setdefault(
                name,
                {
                    "type": "sampled",
                    "name": name,
                    "unit": "bytes" if capture.kind == "memory" else "seconds",
                    "startValue": 0,
                    "endValue": 0.0,
                    "samples": [],
                    "weights": [],
                },
            )
            path = ([f"stage {stack.stage}"] if stack.stage else []) + list(stack.frames)
            one["samples"].append([place(frame) for frame in path])
            one["weights"].append(stack.amount)
            one["endValue"] += stack.amount
    return msgspec.json.encode(
        {
            "$schema": "https://www.speedscope.app/file-format-schema.json",
            "name": title,
            "exporter": "hansard",
            "activeProfileIndex": 0,
            "shared": {"frames": frames},
            "profiles": list(made.values()),
        }
    )


def _drawn(node: _Node, least: float) -> dict[str, Any]:
    """A node as the page reads it, without what is too thin; deep stacks are no recursion."""
    top: dict[str, Any] = {"n": node["name"], "v": node["value"], "o": node["own"], "c": []}
    left = [(node, top)]
    while left:
        of, into = left.pop()
        for child in sorted(of["children"].values(), key=lambda one: one["name"]):
            if child["value"] >= least:
                made = {"n": child["name"], "v": child["value"], "o": child["own"], "c": []}
                into["c"].append(made)
                left.append((child, made))
    return top


def _kind(summary: Summary) -> str:
    if summary.kind == "memory":
        return "allocated when it was most"
    return "of threads that worked, or waited inside a stage"


def _process(one: Any, *, many: bool) -> str:
    if many:
        return f"peak {_amount(one.peak, many=True)}"
    said = f"{one.looks} looks, {one.cpu:.2f} s on a processor"
    if one.native >= 0.01:
        said += f" ({one.native:.2f} s of it in threads without Python)"
    if one.children >= 0.01:
        said += f", {one.children:.2f} s more in the processes it started"
    return said


def _ranked(head: str, shares: Sequence[Share], *, many: bool) -> list[str]:
    part = "not freed" if many else "processor"
    lines = ["", f"{'amount':>10} {'share':>6} {part:>10}  {head}"]
    rows = (
        f"{_amount(one.amount, many=many):>10} {one.share:>6.1%} "
        f"{_amount(one.part, many=many):>10}  {one.name}"
        for one in shares[:_ROWS]
    )
    return [*lines, *rows]


def _amount(value: float, *, many: bool) -> str:
    return f"{value / 1e6:.2f} MB" if many else f"{value:.3f} s"

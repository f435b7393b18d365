"""The report of a load test as one HTML file, which needs no other file and no network."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape

from hansard.perf.loadtest_chart import Axis, Line, chart
from hansard.perf.loadtest_figures import (
    SENT,
    Growth,
    Knee,
    Moment,
    Operation,
    Result,
    Verdict,
    unit_of,
)
from hansard.telemetry import Timing

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2330; --soft: #5b6575; --line: #dfe3ea; --page: #fff;
  --card: #f6f7f9; --good: #16703c; --bad: #b3261e; --unsure: #8a5a00;
  --c0: #2f6fde; --c1: #d9572b; --c2: #1c8a5a; --c3: #9646c4; --c4: #b8860b; --c5: #c2316f;
  --c6: #2b8fa3; --c7: #6b6f7a; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ef; --soft: #9aa4b5; --line: #333b49;
  --page: #14181f; --card: #1c222c; --good: #5cc98b; --bad: #ff8a80; --unsure: #e0b050;
  --c0: #6ea3ff; --c1: #ff8f66; --c2: #57c795; --c3: #c48cf0; --c4: #e0b84d; --c5: #f27aa8;
  --c6: #6cc9dc; --c7: #a3a9b5; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1200px; padding: 28px 24px 60px; background: var(--page);
  color: var(--ink); font: 15px/1.5 system-ui, "Liberation Sans", Arial, sans-serif; }
h1 { font-size: 26px; margin: 0 0 4px; display: flex; flex-wrap: wrap; gap: 14px;
  align-items: center; }
h2 { font-size: 18px; margin: 34px 0 10px; }
.badge { font-size: 14px; font-weight: 600; padding: 2px 12px; border-radius: 20px;
  border: 1.5px solid; }
.good { color: var(--good); } .bad { color: var(--bad); } .unsure { color: var(--unsure); }
.soft { color: var(--soft); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 2px 18px; margin: 14px 0; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: 6px 12px; border-bottom: 1px solid var(--line);
  white-space: nowrap; }
th { color: var(--soft); font-weight: 500; } th:first-child, td:first-child { text-align: left; }
td.words { white-space: normal; text-align: left; min-width: 9em; } th.words { text-align: left; }
.charts { display: grid; gap: 16px; grid-template-columns: repeat(auto-fill, minmax(min(480px,
  100%), 1fr)); }
.wide + .charts { margin-top: 16px; }
figure { margin: 0; padding: 14px 14px 10px; background: var(--card); border-radius: 10px; }
figcaption { font-weight: 600; margin-bottom: 6px; }
svg { width: 100%; height: auto; display: block; }
.shade { fill: var(--line); opacity: .55; }
.grid { stroke: var(--line); stroke-width: 1; }
.tick { fill: var(--soft); font-size: 11px; text-anchor: end; }
.label { fill: var(--soft); font-size: 12px; } .middle { text-anchor: middle; }
.line { fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }
.dashed { stroke-dasharray: 6 5; }
.legend { margin: 8px 0 0; display: flex; flex-wrap: wrap; gap: 4px 16px; font-size: 13px; }
.legend i { display: inline-block; width: 14px; height: 4px; border-radius: 2px;
  margin-right: 6px; vertical-align: middle; }
ul { padding-left: 20px; }
""" + "".join(
    f".line.c{n} {{ stroke: var(--c{n}); }} circle.c{n} {{ fill: var(--c{n}); }} "
    f"i.c{n} {{ background: var(--c{n}); }}\n"
    for n in range(8)
)


_NOTHING_FROM_OUTSIDE = (
    '<meta http-equiv="Content-Security-Policy" '
    "content=\"default-src 'none'; style-src 'unsafe-inline'\">"
)


def page(result: Result) -> str:
    """A whole HTML document. Everything that comes from outside is escaped."""
    title = f"Load test: {result.order.scenario}"
    word, kind = ("levels held", "good") if result.passed else ("levels missed", "bad")
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        _NOTHING_FROM_OUTSIDE,
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>",
        f'<h1>{escape(title)} <span class="badge {kind}">{word}</span></h1>',
        _order(result),
    ]
    if result.knee is not None:
        parts += ["<h2>Capacity</h2>", _knee(result.knee)]
    parts += ["<h2>Service levels</h2>", _levels(result.verdicts)]
    if result.growth:
        parts += ["<h2>Growth of the service's processes</h2>", _growth(result.growth)]
    parts += ["<h2>Over time</h2>", f'<div class="charts">{_over_time(result)}</div>']
    parts += ["<h2>Operations</h2>", _operations(result.operations), _failures(result.operations)]
    if result.notes:
        noted = "".join(f"<li>{escape(note)}</li>" for note in result.notes)
        parts.append(f"<h2>Notes</h2><ul>{noted}</ul>")
    return "\n".join([*parts, "</body></html>"]) + "\n"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]], words: int = 0) -> str:
    """Cells are HTML already. ``words``: how many of the last columns hold sentences."""
    titles = list(head)
    first = len(titles) - words

    def row(cells: Iterable[str], tag: str) -> str:
        return "".join(
            f"<{tag}{' class=words' if place >= first else ''}>{cell}</{tag}>"
            for place, cell in enumerate(cells)
        )

    body = "".join(f"<tr>{row(cells, 'td')}</tr>" for cells in rows)
    return f'<div class="wide"><table><tr>{row(titles, "th")}</tr>{body}</table></div>'


def _order(result: Result) -> str:
    order = result.order
    asked = (
        f"{order.rate:g} visits a second at random, at most {order.users} at once"
        if order.rate
        else f"{order.users} users, {order.think:g} s of thinking between visits"
    )
    where = "the same machine as the service" if result.local else "another machine"
    facts = {
        "service": order.url,
        "when": datetime.fromtimestamp(result.started, UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
        "load": f"{asked}, {result.seconds:.0f} s measured after {order.warmup:.3g} s of warm-up",
        "users ran on": f"{result.machine}, {where}",
        "a latency is": result.measured,
        "recordings": f"{order.clip:g} s each, seed {order.seed}",
    }
    rows = "".join(f"<dt>{name}</dt><dd>{escape(text)}</dd>" for name, text in facts.items())
    return f"<dl>{rows}</dl>"


# ── figures as words ─────────────────────────────────────────────────────────────────────────


def readable(value: float, unit: str) -> str:
    """A measured figure with its unit."""
    if unit == "":
        return f"{100 * value:.3g} %"
    if unit != "s":
        return f"{value:.3g} {unit}"
    return f"{1000 * value:.3g} ms" if value < 1 else f"{value:.3g} s"


def amount(what: str, value: float) -> str:
    """Bytes as MiB, anything else as it is."""
    return f"{value / 2**20:,.1f} MiB" if what == "memory" else f"{value:,.1f}"


def allowed(verdict: Verdict) -> str:
    """A service level in words: ``p95 < 50 ms``."""
    limit = readable(verdict.limit, verdict.unit)
    return f"at most {limit}" if verdict.unit == "" else f"p{100 * verdict.share:g} < {limit}"


def _levels(verdicts: Sequence[Verdict]) -> str:
    rows = []
    for one in verdicts:
        doubt = "" if one.sure else "too few requests to be sure"
        rows.append(
            (
                escape(one.operation),
                escape(allowed(one)),
                escape(readable(one.measured, one.unit)),
                f"{one.requests:,}",
                f"{100 * one.over:.2f} % ({100 * one.low:.2f} to {100 * one.high:.2f})",
                _verdict(holds=one.holds, doubt=doubt),
            )
        )
    head = ("operation", "level", "measured", "requests", "beyond it (95 % interval)", "verdict")
    return _table(head, rows, words=1)


def _verdict(*, holds: bool, doubt: str) -> str:
    kind, word = ("good", "held") if holds else ("bad", "missed")
    added = f' <span class="unsure">· {doubt}</span>' if doubt else ""
    return f'<span class="{kind}">{word}</span>{added}'


def _operations(found: Sequence[Operation]) -> str:
    rows = []
    for one in found:
        unit = unit_of(one.name)
        shares = (0.5, 0.95, 0.99)
        times = [
            # A percentile that no request stands for is a guess.
            readable(value, unit) if (one.requests - one.failed) * (1 - share) >= 1 else "-"
            for share, value in zip(shares, (one.p50, one.p95, one.p99), strict=True)
        ]
        times.append(readable(one.longest, unit))
        rows.append(
            (
                escape(one.name),
                f"{one.requests:,}",
                f"{one.failed:,}",
                f"{one.per_second:,.2f}",
                *map(escape, times),
            )
        )
    return _table(
        ("operation", "requests", "failed", "a second", "p50", "p95", "p99", "longest"), rows
    )


def _failures(found: Sequence[Operation]) -> str:
    rows = [
        (escape(one.name), escape(code), f"{count:,}")
        for one in found
        for code, count in sorted(one.failures.items())
    ]
    return f"<h2>Failures</h2>{_table(('operation', 'error', 'times'), rows)}" if rows else ""


# ── charts ───────────────────────────────────────────────────────────────────────────────────


def _over_time(result: Result) -> str:
    names = [one.name for one in result.operations if one.buckets]
    timed = [name for name in names if name != "transcription" and not name.endswith(SENT)]
    middle = {id(m): round(m.at + m.seconds / 2, 2) for m in result.moments}
    time = Axis("seconds from the start (grey: warm-up)", shaded=result.order.warmup)
    slow = [
        Line(
            name,
            tuple(
                (
                    middle[id(m)],
                    1000 * m.timings[name].percentile(0.95) if name in m.timings else None,
                )
                for m in result.moments
            ),
        )
        for name in timed
    ]
    done = [
        Line(
            label,
            tuple((middle[id(m)], of(m) / m.seconds) for m in result.moments if m.seconds > 0),
            colour=colour,
        )
        for label, of, colour in (("answered", _answered, 2), ("failed", _failed, 5))
    ]
    parts = [
        chart("p95 of each moment", slow, time, Axis("ms", log=True)),
        chart("Requests a second", done, time, Axis("a second", zero=True)),
        chart("How latencies are spread", _spread(result, timed), _PERCENT, Axis("ms", log=True)),
        chart(
            "Users",
            [Line("users", tuple((middle[id(m)], float(m.users)) for m in result.moments))],
            time,
            Axis("users", zero=True),
        ),
    ]
    return "".join(parts)


def _answered(moment: Moment) -> float:
    return sum(t.count for name, t in moment.timings.items() if not name.endswith(SENT))


def _failed(moment: Moment) -> float:
    return sum(moment.counters.values())


_SHARES = (0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9999)


def _tail(share: float) -> float:
    """Where a percentile stands: each further 9 is as far as the one before."""
    return -math.log10(1 - share)


_PERCENT = Axis(
    "percentile",
    ticks=tuple((_tail(s), f"{100 * s:g}") for s in (0.0, 0.5, 0.9, 0.95, 0.99, 0.999, 0.9999)),
)


def _spread(result: Result, names: Sequence[str]) -> list[Line]:
    lines = []
    for name in names:
        one = next(found for found in result.operations if found.name == name)
        count = sum(one.buckets.values())
        whole = Timing(count, 0.0, one.longest, one.buckets)
        # A percentile that no request stands for is not drawn.
        shown = [share for share in _SHARES if count * (1 - share) >= 1]
        lines.append(
            Line(name, tuple((_tail(share), 1000 * whole.percentile(share)) for share in shown))
        )
    return lines


def _growth(growth: Sequence[Growth]) -> str:
    rows, charts = [], []
    for one in growth:
        kind = {"steady": "good", "grows": "bad", "not told": "unsure"}[one.verdict]
        range_ = (
            "too short to tell"
            if one.low is None or one.high is None
            else f"{amount(one.what, one.low)} to {amount(one.what, one.high)}"
        )
        rows.append(
            (
                one.what,
                amount(one.what, one.start),
                amount(one.what, one.end),
                amount(one.what, one.an_hour),
                range_,
                amount(one.what, one.allowed),
                f'<span class="{kind}">{one.verdict}</span>',
            )
        )
        scale = 2**20 if one.what == "memory" else 1
        line = Line(one.what, tuple((at, value / scale) for at, value in one.samples))
        unit = "MiB" if one.what == "memory" else "pieces"
        charts.append(
            chart(
                one.what.capitalize(), [line], Axis("seconds from the start"), Axis(unit, zero=True)
            )
        )
    head = ("", "once settled", "end", "an hour", "95 % interval", "allowed an hour", "verdict")
    return _table(head, rows) + f'<div class="charts">{"".join(charts)}</div>'


def _knee(knee: Knee) -> str:
    words = f"<p><strong>{knee_in_words(knee)}</strong></p>"
    rows = [
        (
            f"{step.users:,}",
            f"{step.seconds:.0f} s",
            f"{step.requests:,}",
            f"{step.per_second:,.1f}",
            escape(f"{step.worst} at {100 * step.load:.0f} % of its level"),
            _verdict(holds=step.holds, doubt="" if step.sure else "not sure"),
        )
        for step in sorted(knee.steps, key=lambda step: step.users)
    ]
    head = ("users", "tried for", "requests", "a second", "nearest to its level", "levels")
    tried = sorted({(float(step.users), step.load) for step in knee.steps})
    edge = tuple((users, 1.0) for users, _ in tried)
    drawn = chart(
        "The tightest operation, as a share of its level",
        [Line("measured", tuple(tried), dots=True), Line("level", edge, dashed=True, colour=5)],
        Axis("users", log=True, ticks=tuple((users, f"{users:g}") for users, _ in tried)),
        Axis("share of the level", zero=True),
    )
    return f'{words}{_table(head, rows, words=2)}<div class="charts">{drawn}</div>'


def knee_in_words(knee: Knee) -> str:
    """What was found, and how certain it is."""
    if not knee.users:
        return "The levels are missed with a single user."
    found = f"The levels hold with {knee.users} users ({knee.per_second:,.1f} requests a second)"
    found += ", the most that was tried" if knee.above is None else f", not with {knee.above}"
    told = "each side with a confidence of 95 %" if knee.sure else "not certain: try longer steps"
    return f"{found}; {told}."

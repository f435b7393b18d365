"""``--timings``: where the time went, from ``telemetry``."""

from __future__ import annotations

import sys


def show() -> None:
    """Print the stages, the slowest first, on standard error."""
    from hansard import telemetry

    measured = telemetry.snapshot()
    width = max((len(stage) for stage in measured.timings), default=5)
    heads = ("total", "median", "p95", "longest")
    print(
        f"{'stage':<{width}}  {'times':>7}" + "".join(f"  {head:>9}" for head in heads),
        file=sys.stderr,
    )
    ranked = sorted(measured.timings.items(), key=lambda item: -item[1].total)
    for stage, timing in ranked:
        print(
            f"{stage:<{width}}  {timing.count:>7}  {timing.total:>8.3f}s"
            f"  {timing.percentile(0.5) * 1000:>7.1f}ms  {timing.percentile(0.95) * 1000:>7.1f}ms"
            f"  {timing.longest * 1000:>7.1f}ms",
            file=sys.stderr,
        )
    for name, amount in sorted(measured.counters.items()):
        print(f"{name:<{width}}  {amount:>7g}", file=sys.stderr)

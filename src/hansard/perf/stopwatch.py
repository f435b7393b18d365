"""``timed``: other people's code as a stage among Hansard's own."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast

from hansard import telemetry

P = ParamSpec("P")
R = TypeVar("R")


class timed(telemetry.span):  # noqa: N801 it is used like a function
    """Time a block, or each call of a function, coroutine functions included.

    ``stage`` begins with a component (``hansard.perf.components``), alone or before a dot::

        with timed("stt.punctuation"): …

        @timed("insight.topics")
        async def topics(…): …

    What fails is counted by its class. One ``with`` at a time: make another for another block.
    """

    __slots__ = ()

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """A function that is timed each time it is called."""
        stage = self.stage
        if inspect.iscoroutinefunction(function):

            @wraps(function)
            async def awaited(*args: P.args, **kwargs: P.kwargs) -> Any:
                with telemetry.span(stage):
                    return await function(*args, **kwargs)

            return cast("Callable[P, R]", awaited)

        @wraps(function)
        def called(*args: P.args, **kwargs: P.kwargs) -> R:
            with telemetry.span(stage):
                return function(*args, **kwargs)

        return called

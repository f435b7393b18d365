"""Whether the service is well: live, ready, and each of its parts.

Looked at once a second by a task of its own; a request only gets what lies ready.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Literal

import msgspec
import sqlalchemy as sa
from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from hansard import __version__
from hansard.api import answers
from hansard.api.auth import keys_are_required
from hansard.api.desk import Desk
from hansard.errors import HansardError
from hansard.store.tables import IS_OPEN, jobs

_log = logging.getLogger("hansard.api")

EVERY = 1.0
"""Seconds between two looks."""

_SLOW_EVERY = 30
"""Looks between two at what changes seldom and costs more: models."""

_PATIENCE = 5.0
"""Seconds that the store has to answer."""

_NEEDED = ("store", "files", "disk", "queue", "memory")
"""Parts without which no work can be taken in."""

Status = Literal["ok", "degraded", "down"]
_WORSE: tuple[Status, ...] = ("ok", "degraded", "down")


class Component(msgspec.Struct, frozen=True):
    """One part of the service."""

    status: Status
    message: str


class Health(msgspec.Struct, frozen=True, omit_defaults=True):
    """The service as a whole is as well as its worst part."""

    status: Status
    version: str
    components: dict[str, Component] | None = None
    """Store, files, queue, engine, disk, memory and workers. Not shown to strangers."""


class Pulse(msgspec.Struct, frozen=True):
    """A short answer for probes."""

    status: Literal["live", "ready", "not ready"]


class Watch:
    """Looks after the parts, and keeps the answers ready."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._house = desk.house
        self._shown = not keys_are_required(desk.settings.serve)
        """Whether everybody may see the parts."""
        self._engine = Component("ok", "Not looked at yet.")
        self._looks = 0
        self._task: asyncio.Task[None] | None = None
        self._ready = False
        self._set({"store": Component("ok", "Just opened.")})

    async def start(self) -> None:
        """Look for the first time, then go on looking."""
        await self._look()
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def whole(self, *, known: bool) -> Response:
        """The answer of ``/health``; ``known``: a key came."""
        body = self._full if known or self._shown else self._brief
        return answers.encoded(body, self._code)

    def ready(self) -> Response:
        """The answer of ``/health/ready``."""
        return answers.encoded(_READY, 200) if self._ready else answers.encoded(_NOT_READY, 503)

    # ── looking ──────────────────────────────────────────────────────────────────────────────

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(EVERY)
            try:
                await self._look()
            except Exception:  # noqa: BLE001 logged; see below
                # A look that fails must not end the looking: the next may go well.
                _log.exception("the service's health could not be looked at")

    async def _look(self) -> None:
        store, queue = await self._ask_store()
        if self._looks % _SLOW_EVERY == 1:  # not before the first answer
            self._engine = await self._desk.work(self._see_engine)
        self._looks += 1
        machine = await self._desk.work(self._see_machine)
        self._set({"store": store, "queue": queue, "engine": self._engine, **machine})

    def _set(self, components: Mapping[str, Component]) -> None:
        worst = max((one.status for one in components.values()), key=_WORSE.index)
        # The last word on being able to take work in; without a worker it only waits.
        needed = [components.get(name) for name in _NEEDED]
        ready = all(one is not None and one.status != "down" for one in needed)
        if ready != self._ready and self._looks > 1:
            _log.warning("the service is %s", "ready again" if ready else "not ready")
        self._ready = ready
        self._code = 503 if worst == "down" else 200
        self._full = msgspec.json.encode(Health(worst, __version__, dict(components)))
        self._brief = msgspec.json.encode(Health(worst, __version__))

    async def _ask_store(self) -> tuple[Component, Component]:
        unknown = Component("down", "Not known while the store does not answer.")
        try:
            async with asyncio.timeout(_PATIENCE):
                waiting, running = await self._desk.read(self._count)
        except TimeoutError:
            return Component("down", f"No answer within {_PATIENCE:.0f} seconds."), unknown
        except HansardError as error:
            return Component("down", error.message), unknown
        most = self._desk.settings.queue.capacity
        said = f"{waiting} of {most} places taken, {running} running."
        state: Status = "down" if waiting >= most else "ok"
        if state == "ok" and waiting > 0.8 * most:
            state = "degraded"
        return Component("ok", "Answers."), Component(state, said)

    def _count(self) -> tuple[int, int]:
        with self._desk.reader.read() as connection:
            found = connection.execute(
                sa.select(jobs.c.state, sa.func.count()).where(IS_OPEN).group_by(jobs.c.state)
            )
            counts = {str(row[0]): int(row[1]) for row in found}
        running = counts.pop("running", 0)
        return sum(counts.values()), running

    def _see_engine(self) -> Component:
        from hansard.speech import catalog

        found = catalog.installed(self._desk.settings)
        usable = [info.name for info in found if not info.problem]
        broken = [info.name for info in found if info.problem]
        if not usable:
            return Component("down", "There is no model that can be used.")
        said = f"{len(usable)} models can be used." if len(usable) > 1 else f"Only {usable[0]}."
        if broken:
            return Component("degraded", f"{said} Broken: {', '.join(broken)}.")
        return Component("ok", said)

    def _see_machine(self) -> dict[str, Component]:
        return {
            "files": self._see_files(),
            "disk": self._see_disk(),
            "memory": self._see_memory(),
            "workers": self._see_workers(),
        }

    def _see_files(self) -> Component:
        try:
            return Component("ok", self._house.files.see_that_they_answer())
        except HansardError as error:
            return Component("down", error.message)

    def _see_disk(self) -> Component:
        try:
            free = self._house.files.free_bytes()
        except OSError as error:
            return Component("down", f"The disk does not say how full it is: {error.strerror}.")
        reserve = self._desk.settings.limits.disk_reserve
        # In tenths, so that the answer is the same as long as nothing happens.
        said = f"{free / 1e9:.1f} GB free."
        if free < reserve:
            return Component("down", f"{said} That is less than the reserve.")
        return Component("degraded" if free < 2 * reserve else "ok", said)

    def _see_memory(self) -> Component:
        pressure = self._house.pressure
        stage = pressure.look()
        state: Status = "degraded" if stage else "ok"
        return Component("down" if pressure.refuses else state, pressure.sentence())

    def _see_workers(self) -> Component:
        if self._house.works:
            return Component("ok", "This process works.")
        presence = self._house.presence
        try:
            others = set(presence.known()) - {presence.worker}
            alive = len(others) - len(presence.gone(others))
        except HansardError as error:  # those of other hosts are found in the store
            return Component("degraded", f"Nobody knows who works: {error.message}")
        if not alive:
            return Component("degraded", "No worker is alive: what is accepted waits.")
        return Component("ok", f"{alive} more {'process' if alive == 1 else 'processes'}.")


# ── routes ───────────────────────────────────────────────────────────────────────────────────


class _Bare(APIRoute):
    """Described like any other route, but called at once: probes and balancers ask all the time."""

    def __init__(self, path: str, endpoint: Any, **options: Any) -> None:
        super().__init__(path, endpoint, **options)

        async def call(scope: Scope, receive: Receive, send: Send) -> None:
            response: Response = await endpoint(Request(scope))
            await response(scope, receive, send)

        self.app = call


router = APIRouter(prefix="/api/v1", tags=["health"], route_class=_Bare)

_LIVE = msgspec.json.encode(Pulse("live"))
_READY = msgspec.json.encode(Pulse("ready"))
_NOT_READY = msgspec.json.encode(Pulse("not ready"))

_WELL = Health(
    "ok",
    __version__,
    {
        "store": Component("ok", "Answers."),
        "queue": Component("ok", "3 of 1000 places taken, 2 running."),
        "engine": Component("ok", "2 models can be used."),
        "files": Component("ok", "The data directory can be written."),
        "disk": Component("ok", "120.4 GB free."),
        "memory": Component("ok", "9.3 GB available."),
        "workers": Component("ok", "1 more process."),
    },
)
_ILL = Health("down", __version__, {"disk": Component("down", "0.1 GB free. That is less …")})


@router.get(
    "/health",
    summary="How well the service is",
    description="Each of its parts with a sentence. Where keys are required, strangers see only "
    "the whole. Looked at once a second.",
    responses={
        200: answers.described(Health, "It works; `degraded`: not as it should.", _WELL),
        503: answers.described(Health, "A part of it is down.", _ILL),
    },
)
async def health(request: Request) -> Response:
    """All there is to know."""
    state = request.scope["state"]
    return _watch(request).whole(known=state["key"] is not None)


@router.get(
    "/health/live",
    summary="Whether the process is up",
    description="Answers as long as the event loop turns. For a supervisor that restarts it.",
    responses={200: answers.described(Pulse, "It is.", Pulse("live"))},
)
async def live(request: Request) -> Response:
    """Always the same."""
    del request
    return answers.encoded(_LIVE)


@router.get(
    "/health/ready",
    summary="Whether it can take work",
    description="Store, files, disk and queue are as they must be. For a balancer.",
    responses={
        200: answers.described(Pulse, "It can.", Pulse("ready")),
        503: answers.described(Pulse, "It cannot now.", Pulse("not ready")),
    },
)
async def ready(request: Request) -> Response:
    """From the last look."""
    return _watch(request).ready()


def _watch(request: Request) -> Watch:
    found: Watch = request.app.state.health
    return found

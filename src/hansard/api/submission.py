"""A request becomes a job: what every route that takes recordings shares.

The order is always the same: see that there is room, take the bytes in, accept. Nothing that is
refused leaves a file or a row behind, and nothing that was answered with a job is ever lost.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, TypeVar

from hansard import telemetry, transcription
from hansard.api.limits import see_that_quota_is_left
from hansard.errors import UnknownModel
from hansard.store import idempotency

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

    from starlette.requests import Request

    from hansard.api.desk import Desk
    from hansard.config import Settings
    from hansard.model import Client, Job
    from hansard.store.files import Draft

T = TypeVar("T")


async def see_that_there_is_room(request: Request, desk: Desk) -> None:
    """Refuse before the bytes are taken in what could not be accepted afterwards.

    Raises:
        QueueFull: as many jobs wait as may.
        QuotaUsedUp: the key's audio for today is used up.
    """
    await desk.work(desk.house.queue.see_that_there_is_room)
    await see_that_quota_is_left(request)


async def accept(
    desk: Desk, client: Client, name: str, draft: Draft, asked: transcription.Request
) -> transcription.Submitted:
    """A file in scratch becomes a job, or the job that is this very work already.

    Raises:
        HansardError: any refusal there is; nothing is left behind then.
    """
    with telemetry.span("submit.accept"):  # what an upload takes beyond its transfer
        return await _to_the_end(desk.work(_accept, desk, client, name, draft, asked))


def _accept(
    desk: Desk, client: Client, name: str, draft: Draft, asked: transcription.Request
) -> transcription.Submitted:
    see_that_model_is_known(asked.model, desk.settings)
    return transcription.accept(unpulling(desk), name, draft, asked, client)


async def _to_the_end(work: Coroutine[None, None, T]) -> T:
    """Wait for what cannot be interrupted, however impatient the caller: a file is in use."""
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


def unpulling(desk: Desk) -> transcription.Parts:
    """The parts for a stranger's request: it may not make us fetch gigabytes of weights.

    Offline, ``auto`` takes the best of what is here and says so, and a model by name must be here.
    """
    settings = desk.settings.model_copy(update={"offline": True})
    return dataclasses.replace(desk.house.parts, settings=settings)


def see_that_model_is_known(name: str, settings: Settings) -> None:
    """A stranger chooses from the catalogue and never names a place on our disk.

    What the settings name is the owner's own choice.

    Raises:
        UnknownModel: it is not in the catalogue.
    """
    from hansard.speech import models

    whisper = {*models.KNOWN, *models.ALIASES, *models.names(settings)}
    remote = {settings.openai.model, *settings.openai.prices}
    if name in {"auto", "sphinx", "sphinx/en-us", "openai", settings.model} or name in whisper:
        return
    engine, _, model = name.partition("/")
    if (engine == "whisper" and model in whisper) or (engine == "openai" and model in remote):
        return
    raise UnknownModel(f"There is no model {name[:80]}.", hint="GET /api/v1/models lists them.")


# ── other ways in ────────────────────────────────────────────────────────────────────────────


@contextmanager
def fetched(desk: Desk, address: str) -> Iterator[tuple[str, Draft]]:
    """What is at an address, in scratch: its name and its bytes. Runs where it may wait.

    Raises:
        UsageError, BadInput: not an address, or it does not give a recording.
    """
    from hansard.audio.source import from_stranger, stream

    source, settings = from_stranger(address, desk.settings), desk.settings
    with (
        stream(source, settings.limits, guarded=settings) as incoming,
        desk.house.files.take_in(incoming.name, incoming.chunks) as draft,
    ):
        yield incoming.name, draft


@asynccontextmanager
async def elsewhere(desk: Desk, manager: AbstractContextManager[T]) -> AsyncIterator[T]:
    """A context manager whose beginning and end may wait for a disk or a network."""
    value = await desk.work(manager.__enter__)
    try:
        yield value
    except BaseException as error:
        if not await desk.work(manager.__exit__, type(error), error, error.__traceback__):
            raise
    else:
        await desk.work(manager.__exit__, None, None, None)


# ── asked again ──────────────────────────────────────────────────────────────────────────────


def fingerprint(*texts: str) -> str:
    """SHA-256 over all that makes two requests the same."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


@asynccontextmanager
async def once(
    desk: Desk, client: Client, key: str | None, print_: str
) -> AsyncIterator[tuple[str | None, list[Job]]]:
    """Within this, a request with an Idempotency-Key is the only one of its key.

    Gives the job that it was answered with before, and a list: a job put there is remembered.

    Raises:
        IdempotencyConflict: the key came with another request.
    """
    accepted: list[Job] = []
    if key is None:
        yield None, accepted
        return
    async with desk.turns.of((client.tenant, key)):
        yield (
            await desk.read(idempotency.find, desk.reader, client.tenant, key, print_),
            accepted,
        )
        for job in accepted:
            await desk.write(
                idempotency.remember, desk.house.database, client.tenant, key, print_, job.id
            )

"""Which models and languages there are."""

from __future__ import annotations

import asyncio
import time

import msgspec
import sqlalchemy as sa
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from hansard.api.answers import answer, described, encoded, errors
from hansard.api.desk import Desk, desk
from hansard.config import Settings
from hansard.errors import HansardError, UnknownModel
from hansard.formats.languages import english_name
from hansard.model import Value
from hansard.store.database import Database
from hansard.store.tables import IS_OPEN, jobs
from hansard.wiring import House

router = APIRouter(prefix="/api/v1", tags=["catalogue"])

_FRESH = 60.0
"""Seconds that what was found on the disk is believed."""


class Model(Value, frozen=True, omit_defaults=False):
    """A model that can be asked for by ``name``."""

    name: str
    engine: str
    installed: bool
    """Its weights are here. Others are fetched by the machine's owner: `hansard models pull`."""
    usable: bool
    """They are whole, too."""
    languages: tuple[str, ...] | None
    """`null`: many, and it tells them apart by itself."""
    size: int | None
    """Bytes on disk, or to be fetched."""
    memory: int | None
    """Bytes of memory at its peak."""
    loaded: bool
    """It is in memory, or working right now."""
    default: bool
    """What `auto` takes for a recording of unknown length and language, as things are."""


class Models(Value, frozen=True, omit_defaults=False):
    """All of them: those that are here first."""

    items: tuple[Model, ...]


class Language(Value, frozen=True, omit_defaults=False):
    """A language that is understood."""

    code: str
    name: str
    """In English."""
    engines: tuple[str, ...]


class Languages(Value, frozen=True, omit_defaults=False):
    """All of them, by code."""

    items: tuple[Language, ...]


_MODEL = Model(
    "small.en",
    "whisper",
    True,
    True,
    ("en",),
    486_539_264,
    1_200_000_000,
    loaded=True,
    default=True,
)
_LANGUAGE = Language("de", "german", ("openai", "whisper"))


@router.get(
    "/models",
    summary="List models",
    responses={200: described(Models, "Installed ones first.", Models((_MODEL,)))},
)
async def every(request: Request) -> Response:
    """Models that are here, and those that could be."""
    return encoded((await _shelf(request).models())[0])


@router.get(
    "/models/{name:path}",
    summary="Get a model",
    responses={200: described(Model, "What is known about it.", _MODEL), **errors(UnknownModel)},
)
async def one(request: Request, name: str) -> Response:
    """One model of the list. Names may have a slash in them: `openai/whisper-1`."""
    _, known = await _shelf(request).models()
    found = known.get(name) or known.get(name.removeprefix("whisper/"))
    if found is None:
        raise UnknownModel(f"There is no model {name[:80]}.", hint="GET /api/v1/models lists them.")
    return answer(found)


@router.get(
    "/languages",
    summary="List languages",
    responses={
        200: described(
            Languages, "By code, with the engines that know it.", Languages((_LANGUAGE,))
        )
    },
)
async def languages(request: Request) -> Response:
    """Languages that can be asked for; without one, the engine finds it out."""
    return encoded(await _shelf(request).languages())


# ── looked at off the event loop, and not for each request ───────────────────────────────────


class Shelf:
    """The catalogue as it was a moment ago."""

    def __init__(self, at: Desk) -> None:
        self._desk = at
        self._turn = asyncio.Lock()
        self._models: tuple[bytes, dict[str, Model]] | None = None
        self._looked = 0.0
        self._languages: bytes | None = None

    async def models(self) -> tuple[bytes, dict[str, Model]]:
        """The list as JSON, and each model by name."""
        async with self._turn:
            if self._models is None or time.monotonic() - self._looked > _FRESH:
                busy = await self._desk.read(_busy, self._desk.reader)
                found = await self._desk.work(_look, self._desk.house, busy)
                body = msgspec.json.encode(Models(tuple(found)))
                self._models = body, {model.name: model for model in found}
                self._looked = time.monotonic()
            return self._models

    async def languages(self) -> bytes:
        """The list as JSON."""
        async with self._turn:
            if self._languages is None:
                found = await self._desk.work(_languages, self._desk.settings)
                self._languages = msgspec.json.encode(Languages(tuple(found)))
            return self._languages


def _shelf(request: Request) -> Shelf:
    state = request.app.state
    if not hasattr(state, "catalogue"):
        state.catalogue = Shelf(desk(request))
    found: Shelf = state.catalogue
    return found


def _busy(reader: Database) -> set[tuple[str, str]]:
    """Engine and model of jobs that are being worked on, whichever process does it."""
    with reader.read() as connection:
        found = connection.execute(
            sa.select(jobs.c.engine, jobs.c.model)
            .where(IS_OPEN, jobs.c.state == "running")
            .distinct()
        )
        return {(row.engine, row.model) for row in found}


def _look(house: House, busy: set[tuple[str, str]]) -> list[Model]:
    """Nothing here names a place on the disk: what is wrong with a model stays with its owner."""
    from hansard.speech import catalog

    settings = house.settings
    loaded = busy | set(house.models.loaded())
    default = _default(settings)
    here = catalog.installed(settings)
    known = {info.name for info in here}
    more = [info for info in catalog.available(settings) if info.name not in known]
    return [
        Model(
            name=info.name,
            engine=info.engine,
            installed=info.installed,
            usable=info.installed and info.problem is None,
            languages=info.languages,
            size=info.size,
            memory=info.memory,
            loaded=(info.engine, info.model) in loaded,
            default=(info.engine, info.model) == default,
        )
        for info in (*here, *more)
    ]


def _default(settings: Settings) -> tuple[str, str] | None:
    from hansard.speech import catalog

    alone = settings.model_copy(update={"offline": True})  # a stranger makes us ask no hub
    try:
        choice = catalog.resolve(settings.model, prefer=settings.prefer, settings=alone, pull=False)
    except HansardError:
        return None  # what it says is said to whoever sends a recording
    return choice.engine, choice.model


def _languages(settings: Settings) -> list[Language]:
    from hansard.speech import catalog, wire

    engines = {info.engine for info in catalog.installed(settings)} | {"whisper"}
    many = tuple(sorted(engines - {"sphinx"}))
    all_of_them = tuple(sorted(engines))
    return [
        Language(code, english_name(code), all_of_them if code == "en" else many)
        for code in sorted(set(wire.LANGUAGES.values()))
    ]

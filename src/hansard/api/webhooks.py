"""Webhook deliveries: what was sent, what was not, and sending it again."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from hansard.api.answers import answer, described, errors
from hansard.api.auth import demand, whose
from hansard.api.desk import client, desk
from hansard.errors import UnknownDelivery
from hansard.jobs import webhooks
from hansard.jobs.signatures import Secrets
from hansard.jobs.webhooks import Delivery, State
from hansard.model import Value
from hansard.store.database import Database

router = APIRouter(prefix="/api/v1", tags=["webhooks"])

_EXAMPLE = {
    "id": "1jbx4s8k7qz0ab",
    "event": "job.completed",
    "job": "1jbx4s31mv0q7c",
    "url": "https://example.org/hooks",
    "state": "delivered",
    "created": 1763655901.2,
    "attempts": 2,
    "next_try": None,
    "finished": 1763655907.9,
    "tries": [],
    "body": None,
}
_TRIES = [
    {
        "number": 1,
        "at": 1763655901.3,
        "seconds": 0.2,
        "status": 503,
        "error": "The receiver answers 503.",
    },
    {"number": 2, "at": 1763655907.6, "seconds": 0.3, "status": 204, "error": None},
]


class DeliveryPage(Value, frozen=True, omit_defaults=False):
    """Deliveries without their tries, newest first."""

    items: tuple[Delivery, ...]
    next: str | None = None
    """The ``cursor`` of the next page."""


class Secret(Value, frozen=True):
    """What deliveries are signed with."""

    secret: str


class DeliveryQuery(BaseModel):
    """Which deliveries, and from where on."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(50, ge=1, le=200, description="Most items of a page.")
    cursor: str | None = Field(
        None, pattern="^[0-9a-z]{14}$", description="`next` of the page before, unchanged."
    )
    job: str | None = Field(None, max_length=40, description="About this job.")
    state: State | None = Field(None, description="In this state.")


@router.get(
    "/webhooks/deliveries",
    summary="List deliveries",
    responses={200: described(DeliveryPage, "Newest first.", {"items": [_EXAMPLE], "next": None})},
)
async def every(request: Request, query: Annotated[DeliveryQuery, Query()]) -> Response:
    """What was to be sent: what arrived, what waits and what was given up.

    Kept for 30 days after its end. The scope admin sees everybody's, and those to the address in
    the settings.
    """
    at = desk(request)
    found = await at.read(
        _read,
        at.reader,
        webhooks.listing,
        whose(request),
        job=query.job,
        state=query.state,
        before=query.cursor,
        limit=query.limit + 1,
    )
    items = found[: query.limit]
    further = items[-1].id if len(found) > query.limit else None
    return answer(DeliveryPage(tuple(items), further))


@router.get(
    "/webhooks/deliveries/{delivery}",
    summary="Get a delivery and its tries",
    responses={
        200: described(Delivery, "With its log and its body.", {**_EXAMPLE, "tries": _TRIES}),
        **errors(UnknownDelivery),
    },
)
async def one(request: Request, delivery: str) -> Response:
    """Every try with when, how long, the status of the answer and what went wrong."""
    at = desk(request)
    return answer(await at.read(_read, at.reader, webhooks.find, whose(request), delivery))


@router.post(
    "/webhooks/deliveries/{delivery}/replay",
    status_code=202,
    summary="Send a delivery again",
    responses={
        202: described(
            Delivery,
            "It is sent in a moment.",
            {**_EXAMPLE, "state": "waiting", "next_try": 1763656000.0, "finished": None},
        ),
        **errors(UnknownDelivery),
    },
)
async def replay(request: Request, delivery: str) -> Response:
    """The same event under the same id, signed anew; tried for as long as the first time."""
    demand(request, "write")
    at = desk(request)
    found = await at.write(_replay, at.house.database, whose(request), delivery)
    return answer(found, 202)


@router.get(
    "/webhooks/secret",
    summary="Get the secret of the signatures",
    responses={200: described(Secret, "What to verify with.", {"secret": "whsec_…"})},
)
async def secret(request: Request) -> Response:
    """The secret that deliveries for this key's tenant are signed with.

    Each tenant has its own, which tells nothing about another's. `docs/webhooks.md` shows how a
    signature is verified. Needs the scope write.
    """
    demand(request, "write")
    at = desk(request)
    held = Secrets(at.settings.data, at.settings.webhooks.secret)
    found = await at.work(held.of, client(request).tenant)
    return answer(Secret(found), headers={"cache-control": "no-store"})


def _read(reader: Database, ask: Callable[..., Any], *given: Any, **chosen: Any) -> Any:
    with reader.read() as connection:
        return ask(connection, *given, **chosen)


def _replay(database: Database, tenant: str | None, delivery: str) -> Delivery:
    with database.write() as connection:
        return webhooks.replay(connection, tenant, delivery, now=time.time())

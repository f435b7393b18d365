"""Pages of jobs: what may be asked for, and where the next page begins."""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hansard.api.answers import encoded, unchanged
from hansard.api.cache import Made, version
from hansard.api.desk import client, desk
from hansard.errors import BadRequest
from hansard.model import JobState
from hansard.store import views

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from hansard.store.database import Database


class PageQuery(BaseModel):
    """Which jobs, and from where on. What is not known here is refused."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(50, ge=1, le=200, description="Most items of a page.")
    cursor: str | None = Field(
        None, max_length=64, description="`next` of the page before, unchanged."
    )
    status: list[JobState] = Field(
        default_factory=list, max_length=6, description="In one of these states."
    )
    kind: str | None = Field(
        None,
        max_length=32,
        description="Of this kind: `transcribe` or `live`; jobs also `speakers` or `insight`.",
    )
    since: datetime | None = Field(
        None, alias="from", description="Created then or later: ISO 8601, or epoch seconds."
    )
    until: datetime | None = Field(None, alias="to", description="Created before then.")
    text: str | None = Field(
        None, max_length=100, description="Has this in its name, whatever the case."
    )

    def wanted(self, *, whole: bool) -> views.Filter:
        """The same as the store takes it; ``whole``: without what only follows others."""
        return views.Filter(
            tuple(dict.fromkeys(self.status)),
            self.kind,
            epoch(self.since),
            epoch(self.until),
            self.text,
            whole,
        )


def _described() -> list[dict[str, Any]]:
    known = PageQuery.model_json_schema()["properties"]
    return [
        {
            "name": name,
            "in": "query",
            "required": False,
            "schema": schema,
            "description": schema["description"],
        }
        for name, schema in known.items()
    ]


PARAMETERS = _described()
"""The same for the OpenAPI page, since FastAPI is not asked to read them."""


def _asked(request: Request) -> PageQuery:
    """What the address says. FastAPI would take half of the time of a page to find it out."""
    given: dict[str, Any] = dict(request.query_params)
    if "status" in given:
        given["status"] = request.query_params.getlist("status")
    try:
        return PageQuery.model_validate(given)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False)
        raise RequestValidationError(
            [{**one, "loc": ("query", *one["loc"])} for one in found]
        ) from error


async def page(request: Request, *, whole: bool = False) -> Response:
    """A page as an answer: one look into the store, as fast on the last page as on the first.

    ``whole``: only transcriptions, not what follows them.

    Raises:
        RequestValidationError: the address asks for what there is not.
        BadRequest: the cursor is none.
    """
    at, who, query = desk(request), client(request), _asked(request)
    after = None if query.cursor is None else _after(query.cursor)
    wanted = query.wanted(whole=whole)

    async def make() -> Made:
        asked = (wanted, after, query.limit)
        if at.shared is None or at.reader.dialect == "sqlite":
            body, _ = await at.read(_made, at.reader, who.tenant, *asked, named=False)
            return Made(body, version(body))
        now = await at.read(_moment_of, at.reader)
        known = await at.shared.page(who.tenant, asked, now)
        if known is not None:
            return Made(known, version(known))
        body, then = await at.read(_made, at.reader, who.tenant, *asked, named=True)
        await at.shared.keep_page(who.tenant, asked, then, body)
        return Made(body, version(body))

    now = at.statuses.moment()
    at.pages.see(now)
    made = await at.pages.get((who.tenant, wanted, after, query.limit, now), make)
    return unchanged(request, made.version) or encoded(made.body, version=made.version)


_SNAPSHOT = sa.text("SELECT CAST(pg_current_snapshot() AS text)")


def _moment_of(reader: Database) -> str:
    """A name of what can be seen in PostgreSQL: the same name, the same rows, in any process."""
    with reader.read() as connection:
        return str(connection.scalar(_SNAPSHOT))


def _made(
    reader: Database,
    tenant: str,
    wanted: views.Filter,
    after: str | None,
    limit: int,
    *,
    named: bool,
) -> tuple[bytes, str]:
    """A page as JSON; ``named``: and the moment that it was made from."""
    with reader.read(single=not named):
        moment = _moment_of(reader) if named else ""
        found = views.page(reader, tenant, wanted, after=after, limit=limit)
    further = msgspec.json.encode(None if found.last is None else _cursor(found.last))
    return b'{"items":' + found.items + b',"next":' + further + b"}", moment


def epoch(when: datetime | None) -> float | None:
    """Seconds since the epoch; a time without a zone is UTC."""
    if when is None:
        return None
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()


def _cursor(job: str) -> str:
    return base64.urlsafe_b64encode(f"1{job}".encode()).decode().rstrip("=")


def _after(cursor: str) -> str:
    try:
        plain = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        plain = ""
    if not plain.startswith("1") or not plain.isascii() or len(plain) > 40:
        raise BadRequest(
            "The cursor is none that was given out.", hint="Take `next` of the page before."
        )
    return plain[1:]

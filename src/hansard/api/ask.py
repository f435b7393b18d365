"""Questions about what was said, answered with citations, or not at all."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from hansard.api import multipart
from hansard.api.answers import answer, described, errors
from hansard.api.desk import Desk, client, desk
from hansard.errors import Archived, BadRequest, InvalidField, UnknownMeeting
from hansard.insight.ask import LONGEST_QUESTION, Reply
from hansard.meetings import asking, makers
from hansard.model import Value

router = APIRouter(prefix="/api/v1", tags=["search"])


class Question(Value, frozen=True, forbid_unknown_fields=True):
    """What somebody wants to know."""

    question: str
    meeting: str | None = None
    """Only from this meeting; else from all."""


_EXAMPLE = {
    "answer": [
        {
            "text": "We agreed to spend four thousand on the roof.",
            "citations": [
                {"meeting": "1jbx4s31mv0q7c", "segments": [41], "start": 301.2, "end": 305.9}
            ],
        }
    ],
    "known": True,
    "source": {
        "by": "embedded",
        "name": "quotes-1",
        "notes": ["No language model was asked: these are quotes of what comes nearest."],
    },
}


def _body() -> dict[str, Any]:
    known = msgspec.json.schema(Question)["$defs"]["Question"]
    known["properties"]["question"] |= {"maxLength": LONGEST_QUESTION}
    example = {"question": "What did we decide about the roof?"}
    return {
        "required": True,
        "content": {"application/json": {"schema": known, "example": example}},
    }


@router.post(
    "/ask",
    summary="Ask a question about what was said",
    responses={
        200: described(Reply, "An answer with its citations, or that it is not known.", _EXAMPLE),
        **errors(BadRequest, InvalidField, UnknownMeeting, Archived),
    },
    openapi_extra={"requestBody": _body()},
)
async def ask(request: Request) -> Response:
    """From one meeting or from all of them.

    With a language model it is answered in sentences, each of which cites the segments that it
    rests on; without one, what comes nearest is quoted, and `source` says so. `known` is false
    where the meetings do not answer it.
    """
    at, who = desk(request), client(request)
    try:
        asked = msgspec.json.decode(await multipart.small(request), type=Question)
    except msgspec.DecodeError as error:
        raise InvalidField(
            f"The question cannot be read: {error}.",
            hint='Send JSON: {"question": "What did we decide about the roof?"}',
        ) from None
    return answer(await at.work(_answered, at, who.tenant, asked))


def _answered(at: Desk, tenant: str, asked: Question) -> Reply:
    return asking.ask(
        at.house.database,
        tenant,
        asked.question,
        tools=makers.tools(at.settings),
        nearest=at.house.nearest(tenant),
        meeting=asked.meeting,
    )

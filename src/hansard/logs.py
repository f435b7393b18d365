"""Logs of a service: a line of JSON each, with the trace that it belongs to."""

from __future__ import annotations

import logging

import msgspec

from hansard import telemetry


class _JsonLines(logging.Formatter):
    """A record as one line of JSON; a traceback is a field of it."""

    def __init__(self, role: str) -> None:
        super().__init__()
        self._role = role

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": round(record.created, 3),
            "level": record.levelname.lower(),
            "role": self._role,
            "pid": record.process,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if (trace := telemetry.current()) is not None:
            line |= {"trace": trace.id, "about": trace.about}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()


def as_json(role: str) -> None:
    """Write the logs of this process to standard error, a line of JSON each.

    ``role`` says which process of a service it is.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(_JsonLines(role))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("hansard").setLevel(logging.INFO)

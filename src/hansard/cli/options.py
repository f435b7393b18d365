"""Options that several commands share, and settings made from them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from hansard.config import Settings

DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data", metavar="DIR", help="Where the store is. [default: the user's data directory]"
    ),
]

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


_UNITS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


def lasting(given: str, plain: str = "s") -> float:
    """``90s``, ``5m``, ``1.5h`` as seconds; a number alone is in the unit ``plain``.

    Raises:
        typer.BadParameter: it is no length of time, or none at all.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?|\.\d+)\s*(s|m|min|h|)", given.strip())
    value = float(found[1]) * _UNITS[found[2] or plain] if found else 0.0
    if not value:
        raise typer.BadParameter(f"{given!r} is no length of time: say 30s, 5m or 2h.")
    return value


def settings(data: Path | None = None, *, offline: bool = False) -> Settings:
    """Settings from the command line, the environment and ``hansard.toml``, in that order.

    Raises:
        BadSettings: a value does not fit; the message names the setting.
    """
    from hansard.config import load

    given: dict[str, Any] = {}
    if data is not None:
        given["data"] = data
    if offline:
        given["offline"] = True
    return load(**given)

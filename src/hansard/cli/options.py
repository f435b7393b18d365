"""Options that several commands share, and settings made from them."""

from __future__ import annotations

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

"""Options that several commands share, and settings made from them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hansard.errors import BadSettings

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
    from pydantic import ValidationError
    from pydantic_settings import SettingsError

    from hansard.config import Settings

    given: dict[str, Any] = {}
    if data is not None:
        given["data"] = data.expanduser()
    if offline:
        given["offline"] = True
    try:
        return Settings(**given)
    except (ValidationError, SettingsError, OSError, ValueError) as error:
        raise BadSettings(
            f"A setting does not make sense: {_first(error)}",
            hint="docs/settings.md lists them; they come from HANSARD_* and hansard.toml.",
        ) from error


def _first(error: Exception) -> str:
    from pydantic import ValidationError

    if isinstance(error, ValidationError):
        problem = error.errors(include_url=False, include_input=False)[0]
        name = ".".join(str(step) for step in problem["loc"])
        return f"{name}: {problem['msg']}."
    return f"{error}."

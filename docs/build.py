"""Writes the reference pages that are read off the code; ``--check`` only says what has drifted.

Nothing here depends on the terminal, the home directory or the machine: the same commit gives the
same pages everywhere, so a difference is a page that was not written again after a change.
"""

from __future__ import annotations

import ast
import difflib
import inspect
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import platformdirs
from pydantic.fields import FieldInfo

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))  # the checkout's own code, installed or not

NOTICE = "<!-- Written by docs/build.py (make docs). Change the code it is read from, not this. -->"
FOLDERS = ("src/hansard", "samples", "bench", "deploy", "docs", "tests", ".ci")
"""What the tree shows, in the order of reading; files of the top folder come last."""


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table; a ``|`` within a cell stays a character."""
    titles = list(head)
    lines = [titles, ["---"] * len(titles), *([_cell(text) for text in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def page(title: str, *parts: str) -> str:
    """A whole page: notice, title, parts with a blank line between them."""
    return "\n\n".join([NOTICE, f"# {title}", *parts]) + "\n"


# ── settings ─────────────────────────────────────────────────────────────────────────────────


def settings() -> str:
    """Every setting: environment variable, TOML key, default and meaning."""
    from hansard.config import Settings

    groups: list[tuple[str, str, list[tuple[str, FieldInfo]]]] = [("", "", [])]
    for name, field in Settings.model_fields.items():
        section = field.annotation
        if inspect.isclass(section) and hasattr(section, "model_fields"):
            meaning = inspect.getdoc(section) or ""
            groups.append((name, _first_line(meaning), list(section.model_fields.items())))
        else:
            groups[0][2].append((name, field))
    intro = (
        "Sources, the first that has a value wins: the command line, the environment, "
        "`hansard.toml` in the working directory, `hansard.toml` in the user's configuration "
        "directory. An unknown name is an error. A table is written as JSON in the environment."
    )
    parts = [intro]
    for heading, meaning, fields in groups:
        if heading:
            parts.append(f"## `[{heading}]`: {meaning.rstrip('.')}")
        env = f"HANSARD_{heading}__".upper() if heading else "HANSARD_"
        rows = [
            (f"`{env}{name.upper()}`", f"`{name}`", _default(field), field.description or "")
            for name, field in fields
        ]
        parts.append(table(("environment", "TOML key", "default", "meaning"), rows))
    return page("Settings", *parts)


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True, validated_data={})
    if isinstance(value, Path):
        own = Path(platformdirs.user_data_dir("hansard", appauthor=False))
        if value != own:
            return f"`{value.as_posix()}`"
        return "`hansard` in the user's data directory (Linux: `~/.local/share`)"
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, dict):
        return ", ".join(f"`{key}` = `{item}`" for key, item in value.items()) or "empty"
    return f"`{value}`"


# ── errors ───────────────────────────────────────────────────────────────────────────────────


def errors() -> str:
    """Every error: code, HTTP status, exit code, what a worker does about it, meaning."""
    import hansard.errors as module

    rows = [
        (
            f"`{kind.code}`",
            str(kind.status),
            str(kind.exit_code),
            {"permanent": "no", "transient": "later", "resource": "with less"}[kind.trouble],
            _first_line(kind.__doc__ or ""),
        )
        for kind in vars(module).values()
        if inspect.isclass(kind) and issubclass(kind, module.HansardError)
    ]
    return page(
        "Errors",
        "Each error has a code that never changes, a sentence that says what is wrong and a hint "
        "that says what to do. The command line ends with the exit code; the HTTP API answers "
        "with the status. *Tried again* is what a worker does without being asked.",
        table(("code", "HTTP", "exit", "tried again", "meaning"), rows),
        "Exit codes: 0 done, 1 unexpected, 2 usage, 3 bad input, 4 engine trouble, 5 this "
        "machine, 130 interrupt.",
    )


# ── command line ─────────────────────────────────────────────────────────────────────────────


def cli() -> str:
    """The help of every command, read off the Typer application."""
    from hansard.cli.app import whole

    parts = []
    for names, command, context in _commands(whole(), ("hansard",), None):
        heading = "#" * min(len(names) + 1, 4)
        parts.append(f"{heading} `{' '.join(names)}`")
        usage = " ".join(command.collect_usage_pieces(context))
        parts.append(f"```\n{' '.join(names)} {usage}\n```")
        if command.help:
            parts.append(inspect.cleandoc(command.help.partition("\f")[0]))
        records = [p.get_help_record(context) for p in command.get_params(context)]
        rows = [(f"`{spelling}`", text) for spelling, text in filter(None, records)]
        if rows:
            parts.append(table(("argument or option", "meaning"), rows))
    return page("Command line", *parts)


def _commands(
    command: Any, names: tuple[str, ...], parent: Any
) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    """A command and all below it, parents first. Typer's own Click has no public types."""
    context = command.context_class(
        command, info_name=names[-1], parent=parent, **command.context_settings
    )
    yield names, command, context
    for name, child in getattr(command, "commands", {}).items():
        if not child.hidden:
            yield from _commands(child, (*names, name), context)


# ── routes ───────────────────────────────────────────────────────────────────────────────────


def routes() -> str:
    """Every address of the API with what it takes and how it may refuse, read off its own page."""
    from hansard.api.app import page as described

    whole = described()
    intro = (
        "Every address of the service, read off the OpenAPI page that it serves itself at "
        "`/api/v1/openapi.json`; that one has fields, examples and answers in full. How they are "
        "used: [the API](api.md). A refusal is one of [the errors](errors.md); those that any "
        "address may answer with (400, 401, 403, 421, 429, 503) are not named here."
    )
    parts = [intro]
    for tag in whole["tags"]:
        rows = []
        for path, operations in whole["paths"].items():
            for method, operation in operations.items():
                if tag["name"] in operation["tags"]:
                    rows.append(_route_row(method, path, operation))
        if rows:
            parts.append(f"## {tag['name']}\n\n{tag['description']}")
            parts.append(table(("call", "what it does", "refusals of its own"), rows))
    parts.append(
        "WebSockets are no part of OpenAPI: `/api/v1/live` is described in [live](live.md)."
    )
    return page("Addresses of the API", *parts)


_ANYWHERE = {
    "bad_request", "cross_site", "key_invalid", "key_missing", "not_allowed", "rate_limited",
    "request_too_large", "store_busy", "too_slow", "unknown_address", "usage", "wrong_host",
}  # fmt: skip


def _route_row(method: str, path: str, operation: dict[str, Any]) -> tuple[str, str, str]:
    own = {
        code
        for answer in operation["responses"].values()
        for code in answer.get("x-codes", ())
        if code not in _ANYWHERE
    }
    refusals = ", ".join(f"`{code}`" for code in sorted(own))
    return f"`{method.upper()} {path}`", operation["summary"], refusals


# ── tree ─────────────────────────────────────────────────────────────────────────────────────


def tree() -> str:
    """Every file with the first line of what it says about itself."""
    files = _files()
    parts = ["Every file, captioned with the first line of what it says about itself."]
    for folder in FOLDERS:
        below = [file for file in files if file.is_relative_to(folder)]
        for parent in sorted({file.parent for file in below}):
            parts.append(f"## `{parent.as_posix()}/`")
            parts.append(_listing(file for file in below if file.parent == parent))
    parts.append("## The top folder")
    parts.append(_listing(file for file in files if len(file.parts) == 1))
    return page("The tree", *parts)


def _files() -> list[PurePosixPath]:
    """What belongs to the project: what git tracks, and new files that it does not ignore."""
    done = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    names = sorted(set(done.stdout.splitlines()))
    return [PurePosixPath(name) for name in names if (ROOT / name).is_file()]


def _listing(files: Iterable[PurePosixPath]) -> str:
    rows = ((f"[`{file.name}`](../{file})", _caption(ROOT / file)) for file in files)
    return table(("file", "what it is"), rows)


def _caption(path: Path) -> str:
    if path.suffix == ".py":
        return _first_line(ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "")
    if path.suffix == ".md":
        lines = path.read_text("utf-8").splitlines()
        return next((line.lstrip("# ") for line in lines if line.startswith("#")), "")
    if path.suffix == "" and path.name != "LICENSE":
        lines = path.read_text("utf-8").splitlines()
        said = (line.lstrip("# ") for line in lines if line.startswith("# "))
        return next(said, "")
    return ""


def _first_line(text: str) -> str:
    return (text.strip().splitlines() or [""])[0].replace("``", "`")


# ── writing and checking ─────────────────────────────────────────────────────────────────────

PAGES: dict[str, Callable[[], str]] = {
    "settings.md": settings,
    "errors.md": errors,
    "cli.md": cli,
    "routes.md": routes,
    "tree.md": tree,
}


def drift(name: str) -> str:
    """A unified diff from the page as it lies to the page as it should be; empty if equal."""
    path = ROOT / "docs" / name
    written = path.read_text("utf-8") if path.exists() else ""
    wanted = PAGES[name]()
    return "".join(
        difflib.unified_diff(
            written.splitlines(keepends=True),
            wanted.splitlines(keepends=True),
            f"docs/{name} (as it lies)",
            f"docs/{name} (as it should be)",
        )
    )


def main(arguments: list[str]) -> int:
    """Write the pages, or with ``--check`` print what has drifted; 1 if anything has."""
    if arguments not in ([], ["--check"]):
        print("usage: python docs/build.py [--check]", file=sys.stderr)
        return 2
    if arguments:
        drifted = [diff for diff in map(drift, PAGES) if diff]
        sys.stdout.write("".join(drifted))
        if drifted:
            print("Pages have drifted from the code; write them again: make docs", file=sys.stderr)
        return 1 if drifted else 0
    # The tree lists the pages, so all of them must lie there before it is drawn.
    for name in PAGES:
        (ROOT / "docs" / name).touch()
    for name, render in PAGES.items():
        (ROOT / "docs" / name).write_text(render(), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""How an error is said on the command line: the same words as in the API and the UI."""

from __future__ import annotations

import sys

from hansard.errors import HansardError


def complain(error: HansardError) -> None:
    """Say on standard error what is wrong and what to do."""
    print(f"error: {error.message} [{error.code}]", file=sys.stderr)
    if error.hint:
        print(f"  hint: {error.hint}", file=sys.stderr)

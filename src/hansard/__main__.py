"""``python -m hansard`` and the ``hansard`` command."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; the process ends with its exit code."""
    from hansard.cli.app import run

    sys.exit(run())


if __name__ == "__main__":
    main()

"""Whether this machine is about to be taken away, as clouds tell machines that they lend cheaply.

A local address answers 200 once the end is near, and something else before. What it says is not
read: one look every few seconds, and the first 200 is the notice.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

_log = logging.getLogger("hansard.worker")

_EVERY = 2.0
"""Seconds between two looks. The shortest notice that is given is half a minute."""

_WAIT = 2.0
"""Seconds for an answer."""


def watch(address: str, taken: Callable[[], None]) -> None:
    """Call ``taken`` once, from a thread, when the notice has come."""
    threading.Thread(target=_watch, args=(address, taken), name="hansard-spot", daemon=True).start()


def _watch(address: str, taken: Callable[[], None]) -> None:
    import httpx

    pause = threading.Event()
    with httpx.Client(timeout=_WAIT, trust_env=False, follow_redirects=False) as client:
        said = False
        while True:
            try:
                if client.get(address).status_code == httpx.codes.OK:
                    break
                said = False
            except httpx.HTTPError as error:
                if not said:
                    _log.warning("no word of whether this machine is taken away: %s", error)
                said = True
            pause.wait(_EVERY)
    _log.warning("this machine is about to be taken away: stopping")
    taken()

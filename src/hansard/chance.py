"""Chance for pauses and shares: each process draws its own, whoever seeds `random`.

Programs that embed Hansard seed the generator of the standard library, and so do test tools: with
one seed on every host, pauses that are to differ would all be the same.
"""

from __future__ import annotations

import random
from typing import Final

CHANCE: Final = random.SystemRandom()

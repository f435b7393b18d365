"""The one protocol of what turns text into vectors, so that what means alike lies close.

Vectors are float32 rows of length 1: their product is the cosine. A text in which there is nothing
to go by (no letters, no digits) has the zero vector, which is like nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float32]
"""``(n, dimensions)``, float32."""

Vector = NDArray[np.float32]
"""``(dimensions,)``, float32."""


class Embedder(Protocol):
    """Turns texts into vectors. Safe for any number of threads.

    The same text gives the same vector whatever else is in the call (to within rounding), and
    vectors of different embedders are never compared.
    """

    @property
    def method(self) -> str:
        """A name, at most 64 characters. What is fitted anew is another embedder of one method."""
        ...

    @property
    def dimensions(self) -> int:
        """Length of its vectors. May ask a remote endpoint, once."""
        ...

    def embed(self, texts: Sequence[str]) -> Matrix:
        """A row for each passage, in order.

        Raises:
            LanguageModelError: a remote endpoint, or a model on this machine, cannot do it.
        """
        ...

    def embed_query(self, text: str) -> Vector:
        """The vector of what somebody looks for.

        Raises:
            LanguageModelError: as :meth:`embed`.
        """
        ...


def unit(rows: NDArray[np.floating]) -> Matrix:
    """Rows of length 1; what is zero, or no number, becomes zero."""
    made = np.asarray(rows, dtype=np.float32)
    made = np.where(np.isfinite(made), made, np.float32(0))
    lengths = np.linalg.norm(made, axis=1, keepdims=True)
    found: Matrix = np.zeros_like(made)
    np.divide(made, lengths, out=found, where=lengths > 1e-12)
    return found


def is_blank(text: str) -> bool:
    """Whether there is nothing in a text to go by."""
    return not any(character.isalnum() for character in text)

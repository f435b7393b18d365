"""The embedder that is always there: words weighted by how rare they are, and what goes together.

Latent semantic analysis (Deerwester et al., 1990): passages as TF-IDF vectors (Salton and Buckley,
1988, with logarithmic term frequency), and up to 256 directions in which those of the library
differ most, by a randomized singular value decomposition (Halko, Martinsson and Tropp, 2011).

A word that the library did not have when it was fitted has a direction all the same: 256 signs
made of its hash (random projection: Achlioptas, 2003). So two passages that share a new word
are alike before the next fitting, and a library that is too small to fit anything (fewer than 50
passages: half an hour) works by such directions alone, every word weighing the same. Chosen over
fitting on less, because with fewer passages than directions nothing is learnt, and every meeting
would move all vectors.
"""

from __future__ import annotations

import hashlib
import io
import math
import zipfile
from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from hansard.errors import EmbedderBroken
from hansard.search.embedder import Matrix, Vector, unit
from hansard.search.stems import stems

DIMENSIONS = 256
"""Of the vectors, however few directions the library has: the rest is zero."""

METHOD = "lsa-1"

FEWEST = 50
"""Passages from which on something is fitted."""

MOST = 50_000
"""Passages that are looked at in fitting: more change the directions little and cost memory."""

VOCABULARY = 20_000
"""Words that are kept, the most frequent: the body is then at most some 11 MB."""

_SEED = 5
_ITERATIONS = 2
"""Power iterations (Halko et al., section 4.5). With 4 it takes twice the time, and what is found
is no better (``bench/LOG.md``): close directions are as good as the very best."""

_NEW = 0.5
"""Weight of a word nobody had, in parts of the rarest one's: its direction is only a chance one."""

_LARGEST = 64 * 2**20
"""Bytes of a stored body, and of any part of it when unpacked."""


class Lsa:
    """Vectors by what was fitted, or by chance directions alone where nothing is.

    Immutable, so safe for any number of threads. Use :func:`fit` or :meth:`from_bytes`; without
    arguments it is the one for a library that is too small.
    """

    dimensions = DIMENSIONS
    method = METHOD

    def __init__(
        self,
        vocabulary: Sequence[str] = (),
        idf: NDArray[np.float32] | None = None,
        directions: NDArray[np.float16] | None = None,
        *,
        fitted: int = 0,
        language: str | None = None,
    ) -> None:
        self.fitted = fitted
        """Passages that were looked at."""
        self.language = language
        """Whose words are stemmed; ``None``: told by the script."""
        self._vocabulary = tuple(vocabulary)
        self._index = {word: number for number, word in enumerate(self._vocabulary)}
        self._idf = np.zeros(0, np.float32) if idf is None else idf
        kept = np.zeros((0, 0), np.float16) if directions is None else directions
        self._stored = kept
        self._directions = kept.astype(np.float32)
        self._new = _NEW * float(self._idf.max()) if len(self._idf) else 1.0

    def embed(self, texts: Sequence[str]) -> Matrix:
        """A row for each text."""
        made = np.zeros((len(texts), DIMENSIONS), np.float32)
        width = self._directions.shape[1]
        for row, text in enumerate(texts):
            known: list[int] = []
            weights: list[float] = []
            strange: list[tuple[str, float]] = []
            for word, count in sorted(Counter(stems(text, self.language)).items()):
                number = self._index.get(word)
                idf = self._new if number is None else float(self._idf[number])
                weight = (1.0 + math.log(count)) * idf
                if number is None:
                    strange.append((word, weight))
                else:
                    known.append(number)
                    weights.append(weight)
            if known:
                made[row, :width] = np.array(weights, np.float32) @ self._directions[known]
            for word, weight in strange:
                made[row] += np.float32(weight) * _signs(word)
        return unit(made)

    def embed_query(self, text: str) -> Vector:
        """The vector of what somebody looks for."""
        vector: Vector = self.embed([text])[0]
        return vector

    def unknown(self, texts: Iterable[str]) -> float:
        """The share of words, 0 to 1, that it did not have when it was fitted."""
        found = [word for text in texts for word in stems(text, self.language)]
        if not found:
            return 0.0
        return sum(word not in self._index for word in found) / len(found)

    def to_bytes(self) -> bytes:
        """As it is kept: arrays and JSON, nothing that could run."""
        head = msgspec.json.encode(
            {
                "method": METHOD,
                "fitted": self.fitted,
                "language": self.language,
                "words": self._vocabulary,
            }
        )
        held = io.BytesIO()
        np.savez(
            held,
            head=np.frombuffer(head, np.uint8),
            idf=self._idf,
            directions=self._stored,
        )
        return held.getvalue()

    @classmethod
    def from_bytes(cls, body: bytes) -> Lsa:
        """What :meth:`to_bytes` gave.

        Raises:
            EmbedderBroken: it is something else.
        """
        try:
            head, idf, directions = _unpacked(body)
        except (
            ValueError,
            KeyError,
            OSError,
            EOFError,
            zipfile.BadZipFile,
            msgspec.DecodeError,
            NotImplementedError,
        ) as problem:
            raise EmbedderBroken(
                f"The directions of a library cannot be read: {problem}.",
                hint="They are made again when the library is fitted again.",
            ) from None
        return cls(head.words, idf, directions, fitted=head.fitted, language=head.language)


class _Head(msgspec.Struct):
    method: str
    fitted: int
    language: str | None
    words: list[str]


def _unpacked(body: bytes) -> tuple[_Head, NDArray[np.float32], NDArray[np.float16]]:
    if len(body) > _LARGEST:
        raise ValueError("it is too large")
    with zipfile.ZipFile(io.BytesIO(body)) as packed:
        if any(part.file_size > _LARGEST for part in packed.infolist()):
            raise ValueError("a part of it is too large")
    with np.load(io.BytesIO(body), allow_pickle=False) as parts:
        head = msgspec.json.decode(parts["head"].tobytes(), type=_Head)
        idf, directions = parts["idf"], parts["directions"]
    words = len(head.words)
    if head.method != METHOD:
        raise ValueError(f"it is of {head.method[:64]}")
    if idf.dtype != np.float32 or directions.dtype != np.float16:
        raise ValueError("its numbers are of another kind")
    if idf.shape != (words,) or directions.ndim != 2 or len(directions) != words:
        raise ValueError("its parts do not fit together")
    if directions.shape[1] > DIMENSIONS or len(set(head.words)) != words:
        raise ValueError("it has too many directions, or a word twice")
    if not (np.isfinite(idf).all() and np.isfinite(directions).all()):
        raise ValueError("it holds what is no number")
    return head, idf, directions


def fit(texts: Sequence[str], language: str | None = None) -> Lsa:
    """What goes together in a library. The same passages give the same directions.

    Beyond :data:`MOST` passages, evenly many of them are left out. Memory: some 200 bytes for
    each word of a passage, and 2 KB for each word of the vocabulary and each passage.
    """
    taken = texts
    if len(texts) > MOST:
        taken = [texts[number * len(texts) // MOST] for number in range(MOST)]
    counts = [Counter(stems(text, language)) for text in taken]
    in_how_many = Counter(word for count in counts for word in count)
    # A word of one passage alone goes together with nothing; it keeps its chance direction.
    common = [word for word, many in in_how_many.items() if many > 1]
    vocabulary = sorted(sorted(common, key=lambda word: (-in_how_many[word], word))[:VOCABULARY])
    if len(taken) < FEWEST or len(vocabulary) < 2:
        return Lsa(language=language)
    # log((1 + n) / (1 + n_word)), never 0: even what all passages have may be looked for.
    many = np.array([in_how_many[word] for word in vocabulary], np.float64)
    idf = np.maximum(np.log((1 + len(taken)) / (1 + many)), 0.05).astype(np.float32)
    return Lsa(
        vocabulary,
        idf,
        _directions(counts, vocabulary, idf),
        fitted=len(texts),
        language=language,
    )


def _directions(
    counts: list[Counter[str]], vocabulary: list[str], idf: NDArray[np.float32]
) -> NDArray[np.float16]:
    """The right singular vectors, one column each, the largest entry of each positive."""
    from scipy.sparse import csr_matrix
    from sklearn.utils.extmath import randomized_svd

    index = {word: number for number, word in enumerate(vocabulary)}
    ends, columns, values = [0], [], []
    for count in counts:
        found = [(index[word], times) for word, times in count.items() if word in index]
        weights = [(1.0 + math.log(times)) * float(idf[number]) for number, times in found]
        length = math.sqrt(sum(weight * weight for weight in weights)) or 1.0
        columns += [number for number, _ in found]
        values += [weight / length for weight in weights]
        ends.append(len(columns))
    matrix = csr_matrix(
        (np.array(values, np.float32), np.array(columns, np.int32), np.array(ends, np.int64)),
        shape=(len(counts), len(vocabulary)),
    )
    width = min(_width(len(counts)), len(vocabulary) - 1)
    _, _, rows = randomized_svd(
        matrix, width, n_iter=_ITERATIONS, random_state=_SEED, flip_sign=False
    )
    largest = np.abs(rows).argmax(axis=1)
    signs = np.sign(rows[np.arange(len(rows)), largest])
    signs[signs == 0] = 1
    return np.ascontiguousarray((rows * signs[:, None]).T).astype(np.float16)


def _width(there: int) -> int:
    """How many directions so many passages bear.

    As many as there are would only say again which words stand where. Measured on 40 to 1 700
    passages of 6 to 120 documents: finding others of the same document by twelve of a passage's
    words is best with about twice the root, and later with a tenth (``bench/LOG.md``).
    """
    return max(2, min(DIMENSIONS, max(round(2 * math.sqrt(there)), there // 10)))


def _signs(word: str) -> Vector:
    """A direction made of a word's hash: 256 bits, each a sign; of length 1."""
    digest = hashlib.blake2b(word.encode("utf-8", "replace"), digest_size=DIMENSIONS // 8).digest()
    bits = np.unpackbits(np.frombuffer(digest, np.uint8)).astype(np.float32)
    return (bits * 2 - 1) / np.float32(math.sqrt(DIMENSIONS))

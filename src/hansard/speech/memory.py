"""How much memory a model takes, told before it is loaded.

The figures for Whisper were measured on models of the published sizes with random weights
(``bench/random_whisper.py``; CTranslate2 4.8, int8, batches of 4 windows, 5 beams):

=======  ============  =======  =========  ==============
model    stored as     loading  loaded     each lane
=======  ============  =======  =========  ==============
tiny     float16       217 MB   71 MB      320 to 360 MB
tiny     int8          70 MB    69 MB      320 to 360 MB
small    float16       715 MB   322 MB     570 to 600 MB
small    int8          303 MB   303 MB     600 MB
=======  ============  =======  =========  ==============

Loading never takes more than the file and the loaded model together. What a lane takes follows
the width of the network, and the width of Whisper's sizes goes with the cube root of their
parameters (layers grow with the width too).
"""

from __future__ import annotations

import threading
from collections import Counter

from hansard.config import Settings
from hansard.errors import NotEnoughMemory
from hansard.speech import models

MB = 10**6

_BYTES = {"int8": 1.2, "int16": 2.0, "float16": 2.0, "bfloat16": 2.0, "float32": 4.0}
"""Bytes a parameter takes by the first word of the compute type; int8 keeps some parts whole."""

_LANE = 0.85 * MB
"""Bytes a lane takes for each unit of the network's width."""

_TINY_WIDTH, _TINY_PARAMETERS = 384, 39 * MB

_SPHINX = 160 * MB
"""A PocketSphinx process: 124 MB measured with the model in its wheel, and an interpreter."""

_REMOTE = 50 * MB
"""The client, and the windows in flight."""


def needed(engine: str, model: str, settings: Settings) -> int:
    """Bytes of memory this model takes at its peak, on the CPU; an estimate.

    Raises:
        EngineError: a Whisper model that is neither here whole nor published.
    """
    if engine == "sphinx":
        return _SPHINX * (settings.sphinx.processes or cores())
    if engine == "openai":
        return _REMOTE
    known = models.KNOWN.get(model)
    path = models.directory(model, settings)
    if known is not None and not path.is_dir():
        return of_whisper(known.parameters, 2 * known.parameters, settings)
    weights = models.look(path)
    return of_whisper(weights.parameters, weights.size, settings)


def of_whisper(parameters: int, size: int, settings: Settings) -> int:
    """Bytes a Whisper model takes at its peak: while loading, or with all its lanes at work.

    Args:
        parameters: numbers in the network.
        size: bytes of its files.
        settings: compute type and lanes; where not set, int8 and a lane for each of up to two
            cores.
    """
    kind = settings.whisper.compute_type.partition("_")[0]
    loaded = parameters * _BYTES.get(kind, _BYTES["int8"])
    width = _TINY_WIDTH * (parameters / _TINY_PARAMETERS) ** (1 / 3)
    lanes = settings.whisper.lanes or min(2, cores())
    return int(max(size + loaded, loaded + lanes * width * _LANE))


def has_room(engine: str, model: str, need: int) -> bool:
    """Whether so many bytes are free for a model, or it lies in this process's memory already."""
    with _lock:
        if (engine, model) in _held:
            return True
    return need <= free()


_lock = threading.Lock()
_held: Counter[tuple[str, str]] = Counter()


def hold(engine: str, model: str) -> None:
    """Note that a model was loaded: using it again takes no more memory."""
    with _lock:
        _held[engine, model] += 1


def let_go(engine: str, model: str) -> None:
    """Note that a model was unloaded."""
    with _lock:
        _held[engine, model] -= 1
        if _held[engine, model] <= 0:
            del _held[engine, model]


def held() -> list[tuple[str, str]]:
    """The models that are loaded in this process."""
    with _lock:
        return sorted(_held)


def check(engine: str, model: str, settings: Settings) -> None:
    """See that a model fits into the memory that is free now, or is loaded in this process.

    Raises:
        NotEnoughMemory: it does not.
        EngineError: see :func:`needed`.
    """
    wanted = needed(engine, model, settings)
    if not has_room(engine, model, wanted):
        raise NotEnoughMemory(
            f"{engine}/{model} takes about {wanted / MB:,.0f} MB of memory; "
            f"{free() / MB:,.0f} MB are free.",
            hint="Close other programs, or choose a smaller model: --model base or --model sphinx.",
        )


def free() -> int:
    """Bytes of memory that programs may still take."""
    import psutil

    return int(psutil.virtual_memory().available)


def cores() -> int:
    """Cores this process may use."""
    import psutil

    return (
        len(psutil.Process().cpu_affinity())
        if hasattr(psutil.Process, "cpu_affinity")
        else (psutil.cpu_count() or 1)
    )

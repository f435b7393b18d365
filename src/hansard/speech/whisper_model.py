"""A Whisper model in memory: on which device, in which type, on how many cores.

Everything here is about getting CTranslate2 to hold a model; what is asked of it is in
``whisper.py``.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hansard import headroom
from hansard.errors import BadSettings, ModelBroken, ModelMissing, OutOfMemory
from hansard.machine import WhisperSettings
from hansard.speech import models, tuning
from hansard.speech.features import FRAMES
from hansard.speech.tuning import Split

log = logging.getLogger("hansard.speech.whisper")

CPU_BATCH = 4
"""Windows decoded together on the CPU. A decoder step reads all weights once however many windows
it serves. From 4 to 8 that saves a quarter of the decoder's time. Through the whole flow it
saved nothing in the one comparison made, on a busy machine; it doubles the memory and what a kill
costs."""
CUDA_BATCH = 16
_ROOM_FOR_BATCH = 0.2
"""Share of the free memory that the attention caches of all lanes may take."""
_CUDA_RESERVE = 2**30
"""Bytes of GPU memory beside the weights: the context, activations and caches of a batch."""
_MEASURED_FRAMES = 1000
"""Frames of the windows that a split is measured on: 10 s, so that small models take ~0.1 s."""
_SMALL_MODEL = 10**8
"""Bytes. Larger models are measured on proportionally shorter windows."""

_seeding = threading.Lock()
"""CTranslate2's seed is one for the process: nobody else may set it before it is used."""


@dataclass(frozen=True)
class Loaded:
    """A model that is ready, and what follows from where it is."""

    model: Any
    """``ctranslate2.models.Whisper``."""
    tokenizer: Any
    """``tokenizers.Tokenizer``."""
    device: str
    compute_type: str
    split: Split
    batch: int
    mels: int
    languages: tuple[str, ...]
    """Codes in the order of the vocabulary; ``("en",)`` for English-only models."""

    @property
    def multilingual(self) -> bool:
        """Whether it has languages and tasks to choose from."""
        return len(self.languages) > 1


def load(name: str, directory: Path, settings: WhisperSettings, tuning_dir: Path) -> Loaded:
    """Load a model where it runs best.

    Raises:
        ModelMissing: there is no such directory.
        ModelBroken: its files do not make a Whisper model.
        OutOfMemory: it does not fit.
        BadSettings: the compute type or device does not exist here.
    """
    if not directory.is_dir():
        raise ModelMissing(
            f"The model {name} is not in {directory}.", hint="Run `hansard models pull NAME`."
        )
    models.look(directory)  # CTranslate2 would find a missing file only when it is needed
    if settings.device != "cpu" and cuda_fits(directory, must=settings.device == "cuda"):
        try:
            return _load_on_cuda(directory, settings)
        except OutOfMemory as problem:
            if settings.device == "cuda":
                raise
            log.warning("%s The CPU is used instead.", problem.message)
    return load_on_cpu(name, directory, settings, tuning_dir)


def load_on_cpu(name: str, directory: Path, settings: WhisperSettings, tuning_dir: Path) -> Loaded:
    """Load a model on the CPU, with the split measured here or set by hand."""
    import ctranslate2

    tuning.keep_pages()
    kind = settings.compute_type
    if kind == "auto" or kind not in ctranslate2.get_supported_compute_types("cpu"):
        usual = "int8" if "int8" in ctranslate2.get_supported_compute_types("cpu") else "float32"
        if kind != "auto":
            log.warning("Compute type %s is not to be had on this CPU; %s is used.", kind, usual)
        kind = usual

    def opened(split: Split) -> Any:
        return open_model(directory, "cpu", kind, split)

    count = tuning.cores()
    if settings.lanes or settings.threads:
        lanes = settings.lanes or max(1, count // (settings.threads or 1))
        split = Split(lanes, settings.threads or max(1, count // lanes))
    else:
        setting = tuning.Setting(
            tuning.processor(), count, name, kind, f"ctranslate2 {ctranslate2.__version__}"
        )
        size = (directory / "model.bin").stat().st_size
        split = tuning.choose(setting, tuning_dir, lambda split: _rate(opened(split), split, size))
    model = opened(split)
    # Sums of integers are exact; those of floats depend on how many rows a product has. An answer
    # must not depend on what else was in its batch, so without int8 each window goes alone.
    best = _cpu_batch(directory, model, split) if kind.startswith("int8") else 1
    batch = settings.batch or best
    return _described(directory, model, split, batch, device="cpu", kind=kind)


def _load_on_cuda(directory: Path, settings: WhisperSettings) -> Loaded:
    import ctranslate2

    known = ctranslate2.get_supported_compute_types("cuda")
    kind = settings.compute_type
    if kind == "auto":
        kind = "float16" if "float16" in known else "float32"
    # One lane keeps a GPU busy; a second hides the work between calls of the first.
    split = Split(settings.lanes or 2, settings.threads or 1)
    model = open_model(directory, "cuda", kind, split)
    batch = settings.batch or CUDA_BATCH
    return _described(directory, model, split, batch, device="cuda", kind=kind)


def open_model(directory: Path, device: str, compute_type: str, split: Split) -> Any:
    """``ctranslate2.models.Whisper`` of a directory, its troubles named.

    Raises:
        ModelBroken, OutOfMemory, BadSettings: see :func:`load`.
    """
    import ctranslate2

    try:
        return ctranslate2.models.Whisper(
            str(directory),
            device=device,
            compute_type=compute_type,
            inter_threads=split.lanes,
            intra_threads=split.threads,
        )
    except (RuntimeError, MemoryError, ValueError) as problem:
        if is_out_of_memory(problem):
            raise OutOfMemory(
                f"The model in {directory} does not fit into the memory of the {device.upper()}.",
                hint="Choose a smaller model or close other programs.",
            ) from problem
        if "compute type" in str(problem) or "unsupported device" in str(problem):
            raise BadSettings(
                f"CTranslate2 cannot do this: {problem}",
                hint="Set whisper.device and whisper.compute_type to auto.",
            ) from problem
        raise ModelBroken(
            f"The model in {directory} cannot be loaded: {problem}",
            hint="Remove it and pull or import it again.",
        ) from problem


def is_out_of_memory(problem: BaseException) -> bool:
    """Whether CTranslate2 (or its allocator) says that memory ran out."""
    words = str(problem).lower()
    return isinstance(problem, MemoryError) or any(
        sign in words
        for sign in ("out of memory", "bad_alloc", "failed to allocate", "alloc_failed")
    )


@contextlib.contextmanager
def sampling_twin(directory: Path, loaded: Loaded, seed: int) -> Iterator[Any | None]:
    """A second copy of the model whose sampling depends on ``seed`` alone.

    CTranslate2 seeds one generator for each worker thread when that thread first samples, and
    never again; what it gives later depends on all that was sampled before. Only a fresh thread
    gives the same answer to the same window, and only a fresh model has one. The copy is
    gone at the end of the block.

    Yields ``None`` where memory has no room for the copy.
    """
    import ctranslate2

    size = sum(file.stat().st_size for file in directory.glob("model.bin"))
    if loaded.device == "cpu" and headroom.read().available < 2 * size:
        yield None
        return
    split = Split(1, loaded.split.threads)
    with _seeding:
        ctranslate2.set_random_seed(seed)
        try:
            model = open_model(directory, loaded.device, loaded.compute_type, split)
        except OutOfMemory:
            model = None
        else:
            _draw_once(model)
    try:
        yield model
    finally:
        del model


def _draw_once(model: Any) -> None:
    """Make the worker's generator now, while the seed is ours."""
    import ctranslate2

    features = ctranslate2.StorageView.from_array(np.zeros((1, model.n_mels, 20), np.float32))
    model.generate(
        features, [["<|startoftranscript|>"]], beam_size=1, sampling_topk=0, max_length=2
    )


def _described(
    directory: Path, model: Any, split: Split, batch: int, *, device: str, kind: str
) -> Loaded:
    import tokenizers

    path = directory / "tokenizer.json"
    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(path))
    except Exception as problem:  # its Rust core raises bare Exception
        raise ModelBroken(
            f"The model in {directory} has no tokenizer.json that can be read: {problem}",
            hint="Copy tokenizer.json from the model's page, or pull the model again.",
        ) from problem
    languages: tuple[str, ...] = ("en",)
    if model.is_multilingual:
        start = tokenizer.token_to_id("<|startoftranscript|>")
        if start is None:
            raise ModelBroken(
                f"The tokenizer in {directory} is not Whisper's.",
                hint="Pull or import the model again.",
            )
        tokens = [tokenizer.id_to_token(start + 1 + n) or "" for n in range(model.num_languages)]
        languages = tuple(token[2:-2] for token in tokens)
    return Loaded(model, tokenizer, device, kind, split, batch, model.n_mels, languages)


# ── the CPU ──────────────────────────────────────────────────────────────────────────────────


def _rate(model: Any, split: Split, size: int) -> float:
    """Windows a second of a split, all its lanes at work."""
    import ctranslate2

    frames = max(100, min(_MEASURED_FRAMES, _MEASURED_FRAMES * _SMALL_MODEL // max(size, 1)))
    features = ctranslate2.StorageView.from_array(
        np.zeros((1, model.n_mels, frames - frames % 2), np.float32)
    )

    def work(_: int) -> None:
        encoded = model.encode(features)
        model.generate(encoded, [["<|startoftranscript|>"]], beam_size=1, max_length=48)

    with ThreadPoolExecutor(split.lanes) as lanes:
        list(lanes.map(work, range(split.lanes)))  # the first call of a lane compiles its kernels
        calls = 3 * split.lanes
        begun = time.perf_counter()
        list(lanes.map(work, range(calls)))
        return calls / (time.perf_counter() - begun)


def _cpu_batch(directory: Path, model: Any, split: Split) -> int:
    """Windows in a batch: what memory allows, but no more than pays.

    The decoder keeps keys and values of the encoder's 1500 positions, as float32, in each layer:
    18 MB a window for tiny, 490 MB for large.
    """
    import ctranslate2

    features = ctranslate2.StorageView.from_array(np.zeros((1, model.n_mels, 20), np.float32))
    width = int(model.encode(features).shape[-1])
    window = 2 * _decoder_layers(directory) * (FRAMES // 2) * width * 4
    room = headroom.read().available * _ROOM_FOR_BATCH / split.lanes
    return max(1, min(CPU_BATCH, int(room / window)))


def _decoder_layers(directory: Path) -> int:
    """From the alignment heads, which lie in the upper half and reach the last layers."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        heads = json.loads((directory / "config.json").read_bytes())["alignment_heads"]
        return 1 + max(int(layer) for layer, _ in heads)
    return 32


# ── the GPU ──────────────────────────────────────────────────────────────────────────────────


def cuda_fits(directory: Path, *, must: bool = False) -> bool:
    """Whether there is a GPU with room for the model. ``must``: refuse where there is none.

    Raises:
        BadSettings: a GPU is asked for and there is none.
    """
    import ctranslate2

    try:
        there = ctranslate2.get_cuda_device_count() > 0
    except RuntimeError:  # a driver that does not answer is no GPU
        there = False
    if not there:
        if must:
            raise BadSettings(
                "There is no CUDA device on this machine.", hint="Set whisper.device to auto."
            )
        return False
    free = _free_gpu_memory()
    needed = sum(file.stat().st_size for file in directory.glob("model.bin")) + _CUDA_RESERVE
    if free is not None and free < needed and not must:
        log.warning(
            "The GPU has %d MB free and the model needs about %d MB; the CPU is used instead.",
            free >> 20,
            needed >> 20,
        )
        return False
    return True


class _NvmlMemory(ctypes.Structure):
    """``nvmlMemory_t`` of NVIDIA's ``nvml.h``: bytes."""

    _fields_ = (
        ("total", ctypes.c_ulonglong),
        ("free", ctypes.c_ulonglong),
        ("used", ctypes.c_ulonglong),
    )


def _free_gpu_memory() -> int | None:
    """Bytes free on the first visible GPU by NVML; ``None`` where it cannot tell."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0").partition(",")[0].strip()
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
        device, memory = ctypes.c_void_p(), _NvmlMemory()
        by_name = functools.partial(nvml.nvmlDeviceGetHandleByUUID, visible.encode())
        by_index = functools.partial(
            nvml.nvmlDeviceGetHandleByIndex_v2, int(visible) if visible.isdigit() else 0
        )
        find: Callable[[Any], int] = by_name if visible.startswith("GPU-") else by_index
        answers = (
            nvml.nvmlInit_v2(),
            find(ctypes.byref(device)),
            nvml.nvmlDeviceGetMemoryInfo(device, ctypes.byref(memory)),
        )
    except (OSError, AttributeError):
        return None
    return None if any(answers) else int(memory.free)

"""Which engine and model a name means, and which one ``auto`` chooses.

Names: ``auto``; ``sphinx``; a Whisper size (``small``), ``whisper/<name>`` for a published or an
imported model, ``whisper:<directory>``; ``openai`` and ``openai/<model>``. ``docs/models.md``
holds the tables below in words; a test keeps the two the same.
"""

from __future__ import annotations

import importlib.util
import math
import os
from pathlib import Path
from typing import Literal, NamedTuple

from hansard.config import Settings
from hansard.errors import (
    CostTooHigh,
    HansardError,
    MachineError,
    ModelBroken,
    ModelMissing,
    NotSupported,
    UnknownModel,
)
from hansard.model import Prefer, Task, Value
from hansard.speech import hub, memory, models
from hansard.speech.lease import Models

__all__ = [
    "LADDER", "TABLE", "Choice", "ModelInfo", "Models",
    "available", "check", "info", "installed", "language_code", "resolve", "table_row",
]  # fmt: skip

Device = Literal["cpu", "cuda"]

LADDER = ("tiny", "base", "small", "medium", "large-v3-turbo", "large-v3")
"""The sizes ``auto`` chooses from, better and slower from left to right."""


class Row(NamedTuple):
    """What ``auto`` would like to use for audio of up to ``seconds``."""

    seconds: float
    speed: str
    balanced: str
    accuracy: str


_HOUR = 3600.0
_EVER = float("inf")
TABLE: dict[Device, tuple[Row, ...]] = {
    "cpu": (
        Row(10 * 60, "base", "small", "large-v3"),
        Row(1 * _HOUR, "base", "small", "large-v3-turbo"),
        Row(4 * _HOUR, "tiny", "small", "large-v3-turbo"),
        Row(_EVER, "tiny", "base", "small"),
    ),
    "cuda": (
        Row(4 * _HOUR, "small", "large-v3-turbo", "large-v3"),
        Row(_EVER, "small", "large-v3-turbo", "large-v3-turbo"),
    ),
}
"""First row that the audio fits in. A judgement by the size of the networks: work grows with
their parameters, so a long recording must not take the night on a processor."""

NEAR: dict[Prefer, tuple[int, ...]] = {
    "speed": (0, -1),
    "balanced": (0, 1, -1),
    "accuracy": (0, 1),
}
"""Rungs of the ladder, counted from the one in the table, that are used without asking the hub
where they are installed."""

UNKNOWN_SECONDS = _HOUR
"""What audio of unknown length is taken for."""

BETTER = "`hansard models import DIR` or, with a network, `hansard models pull small`"


class Choice(Value, frozen=True):
    """An engine and a model for one recording. ``engine`` and ``model`` go into ``Options``."""

    engine: str
    model: str
    reason: str
    """Why this one, as a phrase."""
    notes: tuple[str, ...] = ()
    """What the user should be told: sentences, at most a few."""
    cost: float | None = None
    """What it will cost by the price table; ``None`` where that is unknown or free."""
    to_pull: bool = False
    """The weights are not here yet (only where ``resolve`` was told not to pull)."""
    language: str | None = None
    """The only language the model knows, where it has just one."""
    prompts: bool = True
    """Whether it takes a prompt and hotwords."""


class ModelInfo(Value, frozen=True):
    """What is known about a model. ``name`` is what ``--model`` takes."""

    name: str
    engine: str
    model: str
    installed: bool
    languages: tuple[str, ...] | None
    """``None``: many, and it tells them apart by itself."""
    size: int | None = None
    """Bytes on disk, or to be fetched."""
    memory: int | None = None
    """Bytes of memory at its peak."""
    path: str | None = None
    problem: str | None = None
    """Why it cannot be used, where its files are broken."""


# ── what there is ────────────────────────────────────────────────────────────────────────────


def installed(settings: Settings) -> list[ModelInfo]:
    """The models that can be used now, and those whose files are broken."""
    found = [_sphinx_info(settings)]
    found += [_whisper_info(name, settings) for name in models.names(settings)]
    if settings.openai.api_key or os.environ.get("OPENAI_API_KEY"):
        found.append(_openai_info(settings.openai.model, settings))
    return found


def available(settings: Settings) -> list[ModelInfo]:
    """The published models that are not on this disk and could be pulled."""
    here = set(models.names(settings))
    return [_whisper_info(name, settings) for name in models.KNOWN if name not in here]


def info(name: str, settings: Settings) -> ModelInfo:
    """What is known about one model.

    Raises:
        UnknownModel: there is no such model.
        NotFound: there is no such directory.
    """
    engine, model = _parse(name, settings)
    if engine == "sphinx":
        return _sphinx_info(settings)
    if engine == "openai":
        return _openai_info(model, settings)
    return _whisper_info(model, settings)


def _whisper_info(model: str, settings: Settings) -> ModelInfo:
    path = models.directory(model, settings)
    name = f"whisper:{model}" if "/" in model else model
    known = models.KNOWN.get(model)
    if not path.is_dir():
        if known is None:
            models.look(path)  # says that it is not there
        assert known is not None
        size = 2 * known.parameters
        languages = ("en",) if known.english_only else None
        need = memory.of_whisper(known.parameters, size, settings.whisper.of(model))
        return ModelInfo(name, "whisper", model, False, languages, size, need)
    try:
        weights = models.look(path)
    except HansardError as problem:
        return ModelInfo(
            name, "whisper", model, True, None, path=str(path), problem=problem.message
        )
    english = weights.english_only or (known is not None and known.english_only)
    return ModelInfo(
        name,
        "whisper",
        model,
        True,
        ("en",) if english else None,
        weights.size,
        memory.of_whisper(weights.parameters, weights.size, settings.whisper.of(model)),
        str(path),
    )


def _sphinx_info(settings: Settings) -> ModelInfo:
    spec = importlib.util.find_spec("pocketsphinx")
    path = Path(spec.origin).parent / "model" / "en-us" if spec and spec.origin else None
    size = sum(f.stat().st_size for f in path.rglob("*") if f.is_file()) if path else None
    need = memory.needed("sphinx", "en-us", settings)
    return ModelInfo(
        "sphinx", "sphinx", "en-us", path is not None, ("en",), size, need, str(path or "") or None
    )


def _openai_info(model: str, settings: Settings) -> ModelInfo:
    need = memory.needed("openai", model, settings)
    return ModelInfo(f"openai/{model}", "openai", model, True, None, None, need)


# ── names ────────────────────────────────────────────────────────────────────────────────────


def _parse(name: str, settings: Settings) -> tuple[str, str]:
    """Engine and model of a name that is not ``auto``.

    Raises:
        UnknownModel: it means nothing.
    """
    engine, _, model = name.partition("/")
    if name.startswith("whisper:"):
        return "whisper", str(Path(name.removeprefix("whisper:")).expanduser().resolve())
    if name in {"sphinx", "sphinx/en-us"}:
        return "sphinx", "en-us"
    if engine == "openai":
        return "openai", model or settings.openai.model
    bare = model if engine == "whisper" else name
    bare = models.ALIASES.get(bare, bare)
    if "/" not in bare and (bare in models.KNOWN or bare in models.names(settings)):
        return "whisper", bare
    mine = [known for known in models.names(settings) if known not in models.KNOWN]
    raise UnknownModel(
        f"There is no model {name}.",
        hint=f"There are auto, sphinx, openai, whisper:DIR, {', '.join([*mine, *models.KNOWN])}.",
    )


def resolve(
    name: str,
    *,
    language: str | None = None,
    task: Task = "transcribe",
    seconds: float | None = None,
    prefer: Prefer = "balanced",
    settings: Settings,
    pull: bool = True,
    progress: hub.Progress | None = None,
) -> Choice:
    """The engine and model that a name means for a recording.

    A named model is that model or an error; only ``auto`` falls back, and says so in ``notes``.

    Args:
        name: see the module.
        language: of the recording, where it is known.
        task: what is to be done.
        seconds: length of the recording, where it is known.
        prefer: what ``auto`` leans to.
        settings: where models lie, and whether and how long the hub may be asked.
        pull: fetch weights that are missing; if not, ``Choice.to_pull`` says they would be.
        progress: called with bytes done and in all while weights are fetched.

    Raises:
        UnknownModel: there is no such model.
        ModelMissing: it is not here and cannot be had.
        ModelBroken: its files are not whole.
        NotSupported: it does not know the language or the task.
        MachineError: its weights do not fit on the disk.
    """
    code = language_code(language)
    if name == "auto":
        return _Chooser(code, task, seconds, prefer, settings, pull, progress).choose()
    engine, model = _parse(name, settings)
    if engine == "sphinx":
        _see_that_sphinx_can(code, task)
        return _sphinx("it was asked for")
    if engine == "openai":
        price = settings.openai.prices.get(model)
        cost = None if price is None or seconds is None else price * seconds / 60.0
        return Choice("openai", model, "it was asked for", cost=cost)
    path = models.directory(model, settings)
    here = models.look(path) if path.is_dir() or "/" in model else None
    _see_that_whisper_can(model, code, task, english_only=here is not None and here.english_only)
    if here is not None:
        return Choice("whisper", model, "it was asked for")
    if pull:
        models.pull(model, settings, progress)
    else:
        models.see_that_it_can_be_pulled(model, settings)
    return Choice("whisper", model, "it was asked for", to_pull=not pull)


def check(choice: Choice, *, seconds: float | None = None, settings: Settings) -> None:
    """Preflight: the model fits into memory, or the endpoint answers.

    Raises:
        NotEnoughMemory: it does not fit now.
        EngineUnreachable, EngineRefused: the endpoint does not answer, or takes no key of ours.
        ModelBroken: the files are not whole.
    """
    del seconds  # memory does not grow with the recording
    memory.check(choice.engine, choice.model, settings)
    if choice.engine == "openai":
        from hansard.speech.remote import RemoteEngine

        remote = RemoteEngine(choice.model, settings.openai)
        try:
            remote.check()
        finally:
            remote.close()


def _sphinx(reason: str, *notes: str) -> Choice:
    return Choice(
        "sphinx",
        "en-us",
        reason,
        notes,
        language="en",
        prompts=False,
    )


def language_code(language: str | None) -> str | None:
    """``en`` for ``en``, ``EN``, ``en-GB`` and ``English``; others as they are, in lower case."""
    from hansard.speech import wire

    plain = (language or "").strip().lower()
    return wire.language_code(plain) or plain or None


def _see_that_sphinx_can(language: str | None, task: Task) -> None:
    if language not in {None, "en"}:
        raise NotSupported(
            f"The engine sphinx knows English only, not {language}.",
            hint=f"Get a Whisper model: {BETTER}.",
        )
    if task == "translate":
        raise NotSupported(
            "The engine sphinx cannot translate.", hint=f"Get a Whisper model: {BETTER}."
        )


def _see_that_whisper_can(
    model: str, language: str | None, task: Task, *, english_only: bool
) -> None:
    _see_that_it_is_a_language(language)
    if _can(model, language, task, english_only=english_only):
        return
    plain = model.removesuffix(".en") if model.endswith(".en") else "small"
    what = "translate" if task == "translate" else f"do more than English, not {language}"
    raise NotSupported(
        f"The model {model} cannot {what}.", hint=f"Use another: --model {plain} or --model medium."
    )


def _see_that_it_is_a_language(language: str | None) -> None:
    from hansard.speech import wire

    if language is not None and wire.language_code(language) is None:
        raise NotSupported(
            f"There is no language {language} that Whisper knows.",
            hint="Use a code such as en, de or ja.",
        )


def _can(model: str, language: str | None, task: Task, *, english_only: bool = False) -> bool:
    """Whether a model serves a language and a task; ``english_only`` as its files say."""
    known = models.KNOWN.get(model)
    if known is not None:
        english_only = english_only or known.english_only
        if task == "translate" and not known.translates:
            return False
    if english_only:
        return task == "transcribe" and language in {None, "en"}
    return True


# ── auto ─────────────────────────────────────────────────────────────────────────────────────


def table_row(device: Device, seconds: float | None) -> Row:
    """The row of the table for audio of this length."""
    length = UNKNOWN_SECONDS if seconds is None else seconds
    return next(row for row in TABLE[device] if length <= row.seconds)


class _Chooser(NamedTuple):
    """What ``auto`` goes by."""

    language: str | None
    task: Task
    seconds: float | None
    prefer: Prefer
    settings: Settings
    pull: bool
    progress: hub.Progress | None

    def choose(self) -> Choice:
        _see_that_it_is_a_language(self.language)
        device = find_device(self.settings)
        wanted = getattr(table_row(device, self.seconds), self.prefer)
        here = self._installed()
        ideal = self._affordable(LADDER.index(wanted), device)
        for step in NEAR[self.prefer]:
            near = [model for model, rung in here if rung == ideal + step]
            if near:
                return Choice("whisper", near[0], f"{self.prefer} on {device}, installed")
        fetched = self._fetched(LADDER[ideal], device)
        if isinstance(fetched, Choice):
            return fetched
        return self._fallback(here, ideal, fetched)

    def _installed(self) -> list[tuple[str, int]]:
        """Models on this disk that can do it and fit into memory, with their rungs."""
        found = []
        for model in models.names(self.settings):
            try:
                weights = models.look(models.place(model, self.settings))
            except HansardError:
                continue  # `hansard models list` says what is wrong with it
            # An unknown language may be any: then a model that knows English alone will not do.
            able = _can(model, self.language or "?", self.task, english_only=weights.english_only)
            own = self.settings.whisper.of(model)
            need = memory.of_whisper(weights.parameters, weights.size, own)
            if able and memory.has_room("whisper", model, need, self.settings):
                found.append((model, _rung(model, weights)))
        # Of two on one rung the English-only one hears English better; otherwise by name.
        english = self.language == "en"
        return sorted(found, key=lambda f: (not (english and ".en" in f[0]), f[0]))

    def _affordable(self, rung: int, device: Device) -> int:
        """The highest rung up to this one that fits into memory and can do the task."""
        for at in range(rung, 0, -1):
            known = models.KNOWN[LADDER[at]]
            if self.task == "translate" and not known.translates:
                continue
            size = 2 * known.parameters
            need = (
                size
                if device == "cuda"
                else memory.of_whisper(known.parameters, size, self.settings.whisper.of(LADDER[at]))
            )
            if memory.has_room("whisper", LADDER[at], need, self.settings):
                return at
        return 0

    def _fetched(self, model: str, device: Device) -> Choice | HansardError:
        """The model in the table from the hub, or why it is not to be had."""
        reason = f"{self.prefer} on {device}, from the model hub"
        try:
            if not self.pull:
                models.see_that_it_can_be_pulled(model, self.settings)
                return Choice("whisper", model, reason, to_pull=True)
            models.pull(model, self.settings, self.progress)
        except (ModelMissing, ModelBroken, MachineError) as problem:
            return problem  # the fallback says it, and how to get better
        return Choice("whisper", model, reason)

    def _fallback(self, here: list[tuple[str, int]], ideal: int, problem: HansardError) -> Choice:
        """The nearest model on this disk, a smaller one first; without any, ``sphinx``."""
        if here:
            model, _ = min(here, key=lambda found: (found[1] > ideal, abs(found[1] - ideal)))
            note = f"{problem.message} Using {model}, the nearest that is here."
            return Choice("whisper", model, "the nearest that is installed", (note,))
        try:
            _see_that_sphinx_can(self.language, self.task)
        except NotSupported as refusal:
            raise NotSupported(
                f"{problem.message} {refusal.message}", hint=refusal.hint
            ) from problem
        note = f"{problem.message} Using the built-in engine sphinx; for far better text: {BETTER}."
        return _sphinx("no Whisper model is here and none could be fetched", note)


def _rung(model: str, weights: models.Weights) -> int:
    """Where on the ladder a model stands: by its name, or by its size where we do not know it."""
    known = models.KNOWN.get(model)
    if known is not None:
        return LADDER.index(known.rung)
    sizes = [models.KNOWN[name].parameters for name in LADDER]
    return min(range(len(LADDER)), key=lambda at: abs(math.log(sizes[at] / weights.parameters)))


def find_device(settings: Settings) -> Device:
    """Where Whisper would run: ``cuda`` where CTranslate2 sees a device and may use it."""
    if settings.whisper.device != "auto":
        return settings.whisper.device
    import ctranslate2

    return "cuda" if ctranslate2.get_cuda_device_count() > 0 else "cpu"


def see_that_it_is_paid(cost: float | None, limit: float | None) -> None:
    """That an estimate is not above what somebody wants to pay.

    Raises:
        CostTooHigh: it is.
    """
    if limit is not None and (cost or 0.0) > limit:
        raise CostTooHigh(
            f"This would cost about {cost:.4g}, more than the limit of {limit:.4g}.",
            hint="Raise --max-cost, or choose a local --model.",
        )

"""Lends engines: a model is loaded once a process, shared, and unloaded when nobody uses it."""

from __future__ import annotations

import copy
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hansard import telemetry
from hansard.config import Settings
from hansard.errors import EngineDied, EngineError, HansardError, InvalidState, UnknownModel
from hansard.speech import memory, models
from hansard.speech.engine import Engine

if TYPE_CHECKING:
    from hansard.store.database import Database

log = logging.getLogger("hansard.speech.lease")

Key = tuple[str, str]
"""Engine and model, as in ``model.Options``."""

Load = Callable[[str, str, Settings], Engine]


def open_engine(
    engine: str, model: str, settings: Settings, database: Database | None = None
) -> Engine:
    """Load a model. ``model`` is a name, or for ``whisper`` the path of a directory as well.

    What a remote engine may be asked is counted in ``database``, where there is one.

    Raises:
        UnknownModel: no engine has this name.
        EngineError: the model is missing or cannot be loaded.
    """
    if engine == "whisper":
        from hansard.speech.whisper import WhisperEngine

        directory = models.directory(model, settings)
        return WhisperEngine(model, directory, settings.whisper.of(model), settings.data / "tuning")
    if engine == "sphinx":
        from hansard.speech.sphinx import SphinxEngine

        return SphinxEngine(settings.sphinx)
    if engine == "openai":
        from hansard.speech.remote import RemoteEngine

        return RemoteEngine(model, settings.openai, database=database)
    raise UnknownModel(f"There is no engine {engine}.", hint="There are whisper, sphinx, openai.")


class _Held:
    """One model: being loaded (``engine`` and ``problem`` are ``None``), loaded, or failed."""

    def __init__(self) -> None:
        self.engine: Engine | None = None
        self.problem: BaseException | None = None
        self.users = 1
        self.idle_since = 0.0
        self.leaving = False


class Models:
    """The engines of this process. Safe from any thread; make one and pass it on.

    Args:
        settings: ``model_idle`` says how long an unused model stays.
        load: makes an engine; see :func:`open_engine`.
        clock: seconds that never go back.
        room: sees that a model fits into memory; see :func:`memory.check`.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        load: Load = open_engine,
        clock: Callable[[], float] = time.monotonic,
        room: Callable[[str, str, Settings], None] = memory.check,
    ) -> None:
        self._settings = settings
        self._load = load
        self._clock = clock
        self._room = room
        self._changed = threading.Condition()
        self._held: dict[Key, _Held] = {}
        self._closed = False
        self._sweeper: threading.Thread | None = None

    @contextmanager
    def lease(self, engine: str, model: str) -> Iterator[Engine]:
        """Use a model; it is loaded by the first who asks, and all others wait for that.

        Raises:
            EngineError: it cannot be loaded; everybody who waited is told, and the next lease
                tries again.
            NotEnoughMemory: it does not fit, even with every idle model unloaded.
            EngineDied: the lender is closed.
        """
        held = self._take((engine, model))
        try:
            assert held.engine is not None
            yield held.engine
        finally:
            self._give_back(held)

    def loaded(self) -> list[Key]:
        """The models in memory, in use or idle."""
        with self._changed:
            return [key for key, held in self._held.items() if held.engine and not held.leaving]

    def sweep(self, *, every: bool = False) -> None:
        """Unload models that were idle for ``model_idle`` seconds; ``every`` idle one if asked."""
        limit = self._clock() - (0.0 if every else self._settings.model_idle)
        with self._changed:
            leaving = [
                (key, held)
                for key, held in self._held.items()
                if held.engine and not held.users and not held.leaving and held.idle_since <= limit
            ]
            for _, held in leaving:
                held.leaving = True
        for key, held in leaving:
            self._unload(key, held)

    def remove(self, name: str) -> None:
        """Delete a Whisper model from this disk, and from memory first.

        Raises:
            InvalidState: it is in use by this process.
            ModelMissing: there is none of this name.
        """
        key = ("whisper", models.place(name, self._settings).name)
        with self._changed:
            self._changed.wait_for(lambda: key not in self._held or not self._held[key].leaving)
            held = self._held.get(key)
            if held is not None and held.users:
                raise InvalidState(
                    f"The model {name} is in use.", hint="Try again when its jobs have ended."
                )
            if held is None:  # nobody may load it between here and the end of its files
                held = self._held[key] = _Held()
                held.users = 0
            held.leaving = True
        try:
            if held.engine is not None:
                _close(key, held.engine)
        finally:
            try:
                models.remove(name, self._settings)
            finally:
                self._forget(key)

    def close(self) -> None:
        """Lend nothing more. Idle models are unloaded now, others with their last user."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self.sweep(every=True)

    # ── inside ───────────────────────────────────────────────────────────────────────────────

    def _take(self, key: Key) -> _Held:
        with self._changed:
            while True:
                if self._closed:
                    raise EngineDied("No more models are lent: Hansard is stopping.")
                held = self._held.get(key)
                if held is None:
                    held = self._held[key] = _Held()
                    break
                if held.leaving:
                    self._changed.wait()
                    continue
                held.users += 1
                while held.engine is None and held.problem is None:
                    self._changed.wait()
                if held.problem is not None:
                    raise _copy(held.problem)
                return held
        self._fill(key, held)
        return held

    def _fill(self, key: Key, held: _Held) -> None:
        """Load outside of the lock, for all who wait."""
        try:
            with telemetry.span("engine.load"):
                self._make_room(key)
                engine = self._load(*key, self._settings)
        except BaseException as problem:
            with self._changed:
                held.problem = problem
                del self._held[key]
                self._changed.notify_all()
            raise
        memory.hold(*key)
        with self._changed:
            held.engine = engine
            self._changed.notify_all()
        log.info("loaded %s/%s", *key)

    def _make_room(self, key: Key) -> None:
        try:
            self._room(*key, self._settings)
        except HansardError:
            self.sweep(every=True)
            self._room(*key, self._settings)

    def _give_back(self, held: _Held) -> None:
        with self._changed:
            held.users -= 1
            if held.users:
                return
            held.idle_since = self._clock()
            closed = self._closed
            if not closed:
                self._watch()
        if closed:
            self.sweep(every=True)

    def _unload(self, key: Key, held: _Held) -> None:
        assert held.engine is not None
        try:
            _close(key, held.engine)
        finally:
            self._forget(key)

    def _forget(self, key: Key) -> None:
        with self._changed:
            del self._held[key]
            self._changed.notify_all()

    def _watch(self) -> None:
        """Have a thread that sweeps while anything is idle. Called under the lock."""
        if self._sweeper is None:
            self._sweeper = threading.Thread(
                target=self._keep_sweeping, name="hansard-models", daemon=True
            )
            self._sweeper.start()
        else:
            self._changed.notify_all()

    def _keep_sweeping(self) -> None:
        while True:
            with self._changed:
                idle = [
                    held.idle_since
                    for held in self._held.values()
                    if held.engine and not held.users and not held.leaving
                ]
                if self._closed or not idle:
                    self._sweeper = None
                    return
                self._changed.wait(max(0.0, min(idle) + self._settings.model_idle - self._clock()))
            self.sweep()


def _close(key: Key, engine: Engine) -> None:
    memory.let_go(*key)
    try:
        engine.close()
    except Exception:
        # Nobody who could be told is there: the last user has gone.
        log.exception("the model %s/%s could not be unloaded in good order", *key)
    else:
        log.info("unloaded %s/%s", *key)


def _copy(problem: BaseException) -> BaseException:
    """The same error for another thread: one instance raised in many would mix their traces."""
    if isinstance(problem, HansardError):
        return copy.copy(problem)
    if isinstance(problem, Exception):
        return EngineError(f"The model could not be loaded: {problem}")
    return EngineDied("Loading the model was interrupted.")

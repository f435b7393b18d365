"""Names, the choice of ``auto``, and weights that come from a hub or a directory."""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.waiting import until

from hansard import errors
from hansard.config import Settings
from hansard.machine import WhisperSettings
from hansard.model import Prefer
from hansard.speech import catalog, hub, memory, models
from hansard.speech.engine import SpeechOptions

REPOSITORY = Path(__file__).parents[2]
EVERYTHING = 64 * 10**9


def _load(path: Path) -> ModuleType:
    """Neither tests nor benches are packages: load a file by its path."""
    if path.stem in sys.modules:
        return sys.modules[path.stem]
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


fake_hub: Any = _load(Path(__file__).with_name("fake_hub.py"))
random_whisper: Any = _load(REPOSITORY / "bench" / "random_whisper.py")


@pytest.fixture(scope="session")
def miniature(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole Whisper model of a few megabytes with random weights."""
    directory = tmp_path_factory.mktemp("miniature") / "model"
    random_whisper.write(directory, size=random_whisper.MINIATURE)
    return directory


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """An empty data directory, much memory, a processor, and no hub until a test has one."""
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(memory, "free", lambda _: EVERYTHING)
    monkeypatch.setattr(catalog, "find_device", lambda _: "cpu")
    hub.forget_silence()
    return Settings(data=tmp_path / "data", hub_patience=3.0)


@pytest.fixture
def a_hub(miniature: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    assert not models.names(settings), "the environment of `settings` comes first"
    with fake_hub.serve(miniature) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


def install(name: str, settings: Settings, miniature: Path) -> None:
    shutil.copytree(miniature, models.root(settings) / name)


def left_behind(settings: Settings) -> list[str]:
    held = models.root(settings)
    return sorted(p.name for p in held.iterdir() if p.suffix != ".lock") if held.is_dir() else []


# ── names ────────────────────────────────────────────────────────────────────────────────────


def test_names_of_the_engines_that_need_no_weights(settings: Settings) -> None:
    sphinx = catalog.resolve("sphinx", settings=settings)
    assert (sphinx.engine, sphinx.model) == ("sphinx", "en-us")
    assert settings.window_seconds("sphinx", "en-us") == 12.0
    assert catalog.resolve("sphinx/en-us", language="en-GB", settings=settings) == sphinx
    remote = catalog.resolve("openai", seconds=600, settings=settings)
    assert (remote.engine, remote.model) == ("openai", "whisper-1")
    assert remote.cost == pytest.approx(0.06)
    mine = catalog.resolve("openai/org/mine", seconds=600, settings=settings)
    assert (mine.model, mine.cost) == ("org/mine", None)


def test_names_of_whisper_models(settings: Settings, miniature: Path) -> None:
    install("small", settings, miniature)
    install("large-v3-turbo", settings, miniature)
    install("ours", settings, miniature)

    def named(name: str) -> tuple[str, str]:
        choice = catalog.resolve(name, settings=settings)
        return choice.engine, choice.model

    assert named("small") == named("whisper/small") == ("whisper", "small")
    assert named("turbo") == ("whisper", "large-v3-turbo")
    assert named("ours") == named("whisper/ours") == ("whisper", "ours")
    assert named(f"whisper:{miniature}") == ("whisper", str(miniature))


@pytest.mark.parametrize(
    "name", ["", "smal", "whisper", "whisper/", "whisper/../etc", "../x", "sphinx/de", "a/b", "."]
)
def test_a_name_that_means_nothing(settings: Settings, name: str) -> None:
    with pytest.raises(errors.UnknownModel) as caught:
        catalog.resolve(name, settings=settings)
    assert "large-v3" in (caught.value.hint or "")


def test_what_a_model_cannot_do_is_refused(settings: Settings, miniature: Path) -> None:
    for name in ("small.en", "large-v3-turbo"):
        install(name, settings, miniature)
    for name, asked in (
        ("sphinx", {"language": "de"}),
        ("sphinx", {"task": "translate"}),
        ("small.en", {"language": "de"}),
        ("small.en", {"task": "translate"}),
        ("large-v3-turbo", {"task": "translate"}),
    ):
        with pytest.raises(errors.NotSupported) as caught:
            catalog.resolve(name, settings=settings, **asked)  # type: ignore[arg-type]  # mixed
        assert caught.value.hint


def test_known_models_are_those_of_faster_whisper() -> None:
    from faster_whisper.utils import _MODELS

    ours = {name: known.repository for name, known in models.KNOWN.items()}
    ours |= {alias: ours[name] for alias, name in models.ALIASES.items()}
    assert ours == _MODELS
    assert all(known.rung in catalog.LADDER for known in models.KNOWN.values())
    assert [models.KNOWN[rung].rung for rung in catalog.LADDER] == list(catalog.LADDER)


# ── auto ─────────────────────────────────────────────────────────────────────────────────────


@given(
    st.sampled_from(["cpu", "cuda"]), st.floats(0, 1e6), st.floats(0, 1e6),
    st.sampled_from(get_args(Prefer)),
)  # fmt: skip
def test_the_table_never_gives_longer_audio_a_bigger_model(
    device: Any, one: float, other: float, prefer: str
) -> None:
    short, long = sorted((one, other))
    rung = catalog.LADDER.index
    assert rung(getattr(catalog.table_row(device, long), prefer)) <= rung(
        getattr(catalog.table_row(device, short), prefer)
    )
    row = catalog.table_row(device, one)
    assert rung(row.speed) <= rung(row.balanced) <= rung(row.accuracy)


@pytest.mark.parametrize(
    ("seconds", "prefer", "wanted"),
    [
        (60, "speed", "base"),
        (60, "balanced", "small"),
        (60, "accuracy", "large-v3"),
        (3601, "accuracy", "large-v3-turbo"),
        (36_000, "balanced", "base"),
        (None, "accuracy", "large-v3-turbo"),
    ],
)
def test_auto_takes_what_the_table_says_where_all_are_installed(
    settings: Settings, miniature: Path, seconds: float | None, prefer: Prefer, wanted: str
) -> None:
    for name in catalog.LADDER:
        install(name, settings, miniature)
    choice = catalog.resolve("auto", seconds=seconds, prefer=prefer, settings=settings)
    assert (choice.engine, choice.model, choice.notes) == ("whisper", wanted, ())


def test_auto_goes_by_memory_and_task(
    settings: Settings, miniature: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in catalog.LADDER:
        install(name, settings, miniature)

    def pick(**asked: Any) -> str:
        return catalog.resolve("auto", prefer="accuracy", settings=settings, **asked).model

    assert pick(seconds=60) == "large-v3"
    assert pick(seconds=3000, task="translate") == "medium"
    monkeypatch.setattr(memory, "free", lambda _: 2 * 10**9)
    assert pick(seconds=60) == "small"


def test_auto_uses_a_near_one_without_asking_the_hub(
    settings: Settings, miniature: Path, a_hub: Any
) -> None:
    install("base", settings, miniature)
    choice = catalog.resolve("auto", seconds=60, settings=settings)
    assert (choice.model, choice.notes) == ("base", ())
    assert a_hub.asked == []


def test_auto_prefers_english_only_for_english_and_never_for_unknown(
    settings: Settings, miniature: Path
) -> None:
    install("small.en", settings, miniature)
    offline = settings.model_copy(update={"offline": True})
    assert catalog.resolve("auto", language="en", settings=offline).model == "small.en"
    assert catalog.resolve("auto", settings=offline).engine == "sphinx"
    install("small", settings, miniature)
    assert catalog.resolve("auto", settings=offline).model == "small"


def test_auto_takes_an_imported_model_by_its_size(settings: Settings, miniature: Path) -> None:
    models.import_directory(miniature, "ours", settings)
    choice = catalog.resolve("auto", seconds=60, settings=settings)
    assert (choice.engine, choice.model) == ("whisper", "ours")
    assert len(choice.notes) == 1
    assert "Using ours" in choice.notes[0]


def test_auto_passes_over_a_broken_model(settings: Settings, miniature: Path) -> None:
    install("small", settings, miniature)
    (models.root(settings) / "small" / "tokenizer.json").unlink()
    choice = catalog.resolve("auto", settings=settings)
    assert choice.engine == "sphinx"
    assert "no tokenizer.json" in choice.notes[0]


def test_auto_without_weights_and_hub_falls_back_with_one_line(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    choice = catalog.resolve("auto", seconds=60, settings=settings)
    assert (choice.engine, choice.model) == ("sphinx", "en-us")
    [note] = choice.notes
    assert "\n" not in note
    assert "hansard models import DIR" in note
    assert "hansard models pull small" in note
    # The second file of a batch is not kept waiting: the hub is not asked again.
    monkeypatch.setattr("httpx.get", lambda *_, **__: pytest.fail("asked again"))
    assert catalog.resolve("auto", seconds=60, settings=settings) == choice


def test_a_hub_that_hangs_is_not_waited_for(settings: Settings, a_hub: Any) -> None:
    a_hub.hangs = True
    quick = settings.model_copy(update={"hub_patience": 0.2})
    assert catalog.resolve("auto", settings=quick).engine == "sphinx"
    until(lambda: a_hub.asked, "a hub on a slow machine has read what it was asked")
    assert len(a_hub.asked) == 1
    assert not a_hub.ended.is_set(), "the hub itself never let go"


def test_offline_does_not_ask(settings: Settings, a_hub: Any) -> None:
    offline = settings.model_copy(update={"offline": True})
    assert catalog.resolve("auto", settings=offline).engine == "sphinx"
    with pytest.raises(errors.ModelMissing, match="offline"):
        catalog.resolve("small", settings=offline)
    os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        with pytest.raises(errors.ModelMissing, match="offline"):
            catalog.resolve("small", settings=settings)
    finally:
        del os.environ["HF_HUB_OFFLINE"]
    assert a_hub.asked == []


def test_another_language_with_nothing_but_sphinx_is_refused(settings: Settings) -> None:
    for asked in ({"language": "de"}, {"task": "translate"}):
        with pytest.raises(errors.NotSupported) as caught:
            catalog.resolve("auto", settings=settings, **asked)  # type: ignore[arg-type]  # mixed
        assert "hansard models import DIR" in (caught.value.hint or "")


@pytest.mark.parametrize("status", [500, 503])
def test_a_named_model_that_is_missing_is_an_error(
    settings: Settings, a_hub: Any, status: int
) -> None:
    a_hub.status = status
    with pytest.raises(errors.ModelMissing) as caught:
        catalog.resolve("medium", settings=settings)
    assert "hansard models import DIR" in (caught.value.hint or "")


# ── the hub ──────────────────────────────────────────────────────────────────────────────────


def test_auto_pulls_and_the_model_is_one_that_loads(settings: Settings, a_hub: Any) -> None:
    steps: list[tuple[int, int]] = []
    told = lambda done, whole: steps.append((done, whole))  # noqa: E731 - one line, one use
    choice = catalog.resolve("auto", seconds=60, settings=settings, progress=told)
    assert (choice.engine, choice.model, choice.notes) == ("whisper", "small", ())
    size = sum(file.stat().st_size for file in a_hub.directory.iterdir())
    assert steps[-1] == (size, size)
    assert [done for done, _ in steps] == sorted(done for done, _ in steps)
    assert left_behind(settings) == ["small"]
    import ctranslate2

    loaded = ctranslate2.models.Whisper(str(models.place("small", settings)), device="cpu")
    assert loaded.is_multilingual
    files = len(a_hub.asked)
    assert models.pull("small", settings) == models.place("small", settings)
    assert len(a_hub.asked) == files, "what is here is not fetched again"


def test_what_was_pulled_is_lent_and_heard(settings: Settings, a_hub: Any) -> None:
    """From an empty directory to an answer, through the engine's own loading."""
    assert a_hub.directory
    one = settings.whisper.model_copy(update={"lanes": 1, "threads": 1, "batch": 1})
    settings = settings.model_copy(update={"whisper": one})
    choice = catalog.resolve("tiny", settings=settings)
    catalog.check(choice, settings=settings)
    lender = catalog.Models(settings)
    noise = np.random.default_rng(0).integers(-3000, 3000, 16_000, dtype=np.int16)
    with lender.lease(choice.engine, choice.model) as engine:
        [answer] = engine.transcribe([noise], SpeechOptions(language="en", max_tokens=8))
        assert answer.language == "en"
        assert (engine.name, engine.model) == ("whisper", "tiny")
    lender.remove("tiny")
    assert left_behind(settings) == []
    lender.close()


@pytest.mark.usefixtures("a_hub")
def test_a_check_pulls_nothing(settings: Settings) -> None:
    for name in ("auto", "small"):
        choice = catalog.resolve(name, seconds=60, settings=settings, pull=False)
        assert choice.to_pull
        catalog.check(choice, settings=settings)
    assert left_behind(settings) == []


def test_a_pull_that_breaks_off_leaves_nothing(
    settings: Settings, a_hub: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.file_download as download

    a_hub.cut = "model.bin"
    # The library tries five times with a second between; the broken transfer is what matters.
    plain = download.http_get
    monkeypatch.setattr(download, "http_get", lambda *a, **k: plain(*a, **{**k, "_nb_retries": 0}))
    with pytest.raises(errors.ModelMissing, match="broke off"):
        models.pull("small", settings)
    assert left_behind(settings) == []
    [note] = catalog.resolve("auto", settings=settings).notes
    assert "broke off" in note
    a_hub.cut = None
    assert models.look(models.pull("small", settings)).parameters > 0


def test_a_pull_that_is_stopped_leaves_nothing(settings: Settings, a_hub: Any) -> None:
    a_hub.slow = threading.Event()
    stop = threading.Event()
    caught: list[BaseException] = []

    def pull() -> None:
        try:
            models.pull("small", settings, stop=stop)
        except errors.ModelMissing as problem:
            caught.append(problem)

    thread = threading.Thread(target=pull)
    thread.start()
    assert a_hub.reached_middle.wait(60)
    stop.set()
    a_hub.slow.set()
    thread.join(60)
    assert "stopped" in str(caught[0])
    assert left_behind(settings) == []


@pytest.mark.usefixtures("a_hub")
def test_what_a_killed_pull_left_is_swept_away(settings: Settings) -> None:
    rubbish = models.root(settings) / ".small.part"
    rubbish.mkdir(parents=True)
    (rubbish / "model.bin").write_bytes(b"half")
    assert models.names(settings) == []
    models.pull("small", settings)
    assert left_behind(settings) == ["small"]


def test_two_who_pull_fetch_once(settings: Settings, a_hub: Any) -> None:
    a_hub.slow = threading.Event()
    threads = [threading.Thread(target=models.pull, args=("small", settings)) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert a_hub.reached_middle.wait(60)
    a_hub.slow.set()
    for thread in threads:
        thread.join(60)
    assert len([a for a in a_hub.asked if a.startswith("GET") and "model.bin" in a]) == 1
    assert left_behind(settings) == ["small"]


def test_what_the_hub_sends_must_be_whole(
    settings: Settings, a_hub: Any, tmp_path: Path, miniature: Path
) -> None:
    a_hub.directory = Path(shutil.copytree(miniature, tmp_path / "half"))
    (a_hub.directory / "vocabulary.json").unlink()
    with pytest.raises(errors.ModelMissing, match="not whole"):
        models.pull("small", settings)
    assert left_behind(settings) == []


@pytest.mark.usefixtures("a_hub")
def test_a_disk_that_fills_up_while_pulling(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.file_download as download

    def full(_: str, file: Any, **__: Any) -> None:
        file.write(b"some")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(download, "http_get", full)
    with pytest.raises(errors.DiskFull):
        models.pull("small", settings)
    assert left_behind(settings) == []
    [note] = catalog.resolve("auto", settings=settings).notes
    assert "no room left" in note


def test_a_disk_without_room_is_told_before(
    settings: Settings, a_hub: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(settings.data.parent)._replace(free=10**9)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(errors.DiskFull, match="about 3,100 MB"):
        models.pull("large-v3", settings)
    assert not any("large-v3" in asked for asked in a_hub.asked)


@pytest.mark.usefixtures("a_hub")
def test_a_directory_that_may_not_be_written(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "mkdir", refused)
    with pytest.raises(errors.CannotWrite):
        models.pull("small", settings)


# ── directories ──────────────────────────────────────────────────────────────────────────────


def test_import_info_remove(settings: Settings, miniature: Path) -> None:
    (miniature / "README.md").write_text("not part of the model")
    path = models.import_directory(miniature, "ours", settings)
    (miniature / "README.md").unlink()
    assert sorted(f.name for f in path.iterdir()) == sorted(f.name for f in miniature.iterdir())
    found = catalog.info("ours", settings)
    assert (found.engine, found.installed, found.languages) == ("whisper", True, None)
    assert found.size == sum(f.stat().st_size for f in path.iterdir())
    assert found.path == str(path)
    assert "ours" in [i.name for i in catalog.installed(settings)]
    with pytest.raises(errors.InvalidState, match="already"):
        models.import_directory(miniature, "ours", settings)
    models.remove("ours", settings)
    assert left_behind(settings) == []
    with pytest.raises(errors.ModelMissing):
        models.remove("ours", settings)
    with pytest.raises(errors.UnknownModel):
        catalog.info("ours", settings)


def test_what_may_not_be_imported(settings: Settings, miniature: Path, tmp_path: Path) -> None:
    other = tmp_path / "transformers"
    other.mkdir()
    (other / "model.safetensors").write_bytes(b"x")
    (other / "config.json").write_text(json.dumps({"architectures": ["Whisper"]}))
    with pytest.raises(errors.NotSupported) as caught:
        models.import_directory(other, "x", settings)
    assert "ct2-transformers-converter" in (caught.value.hint or "")
    with pytest.raises(errors.NotFound):
        models.import_directory(tmp_path / "nowhere", "x", settings)
    with pytest.raises(errors.UnknownModel):
        models.import_directory(miniature, "../x", settings)
    assert left_behind(settings) == []


def _cut(directory: Path) -> None:
    os.truncate(directory / "model.bin", (directory / "model.bin").stat().st_size * 2 // 3)


def _other_kind(directory: Path) -> None:
    path = directory / "model.bin"
    path.write_bytes(path.read_bytes().replace(b"WhisperSpec", b"WhusperSpec", 1))


DAMAGE: dict[str, Any] = {
    "cut short": _cut,
    "not a Whisper model": _other_kind,
    "is cut short": lambda d: (d / "model.bin").write_bytes(b""),
    "no model.bin": lambda d: (d / "model.bin").unlink(),
    "no tokenizer.json": lambda d: (d / "tokenizer.json").unlink(),
    "no vocabulary": lambda d: (d / "vocabulary.json").unlink(),
    "no config.json": lambda d: (d / "config.json").unlink(),
    "truncated": lambda d: (d / "config.json").write_text("{"),
    "malformed": lambda d: (d / "tokenizer.json").write_text('{"a": 1,}'),
    "no attribute": lambda d: (d / "config.json").write_text("[]"),
}


@pytest.mark.parametrize("reason", list(DAMAGE))
def test_damage_is_found_without_loading(
    settings: Settings, miniature: Path, tmp_path: Path, reason: str
) -> None:
    broken = Path(shutil.copytree(miniature, tmp_path / "broken"))
    DAMAGE[reason](broken)
    with pytest.raises(errors.ModelBroken, match=reason):
        models.import_directory(broken, "x", settings)
    assert left_behind(settings) == []
    install("tiny", settings, broken)
    [_, found] = catalog.installed(settings)
    assert reason in (found.problem or "")
    with pytest.raises(errors.ModelBroken):
        catalog.resolve("tiny", settings=settings)


@pytest.mark.parametrize("english", [True, False])
def test_parameters_and_languages_are_read_from_the_files(tmp_path: Path, english: bool) -> None:
    size = random_whisper.Size(width=32, heads=1, layers=1)
    made = random_whisper.write(tmp_path / "m", size=size, english_only=english)
    plain = random_whisper.write(
        tmp_path / "f", size=size, english_only=english, quantization="float16"
    )
    look = models.look(made)
    assert look.english_only is english
    # Quantisation adds scales but no parameters; CTranslate2 may fold a bias or two.
    assert look.parameters == pytest.approx(models.look(plain).parameters, rel=0.01)


def test_available_is_what_is_not_installed(settings: Settings, miniature: Path) -> None:
    install("tiny", settings, miniature)
    names = [info.name for info in catalog.available(settings)]
    assert "tiny" not in names
    assert len(names) == len(models.KNOWN) - 1
    large = catalog.info("large-v3", settings)
    assert not large.installed
    assert large.size == 3_100_000_000
    assert (large.memory or 0) > large.size


# ── memory ───────────────────────────────────────────────────────────────────────────────────


def test_memory_estimates_cover_what_was_measured(settings: Settings) -> None:
    two = settings.model_copy(update={"whisper": settings.whisper.model_copy(update={"lanes": 2})})
    # Parameters, bytes of model.bin and the measured peak of two lanes: see the module.
    for parameters, size, peak in (
        (57_500_000, 115_000_000, 745_000_000),
        (281_000_000, 563_000_000, 1_494_000_000),
    ):
        estimate = memory.of_whisper(parameters, size, two.whisper)
        assert peak * 0.9 < estimate < peak * 1.35


def test_too_little_memory_is_told_before_loading(
    settings: Settings, miniature: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("small", settings, miniature)
    choice = catalog.resolve("small", settings=settings)
    catalog.check(choice, seconds=60, settings=settings)
    monkeypatch.setattr(memory, "free", lambda _: 10**8)
    with pytest.raises(errors.NotEnoughMemory, match="100 MB are free"):
        catalog.check(choice, seconds=60, settings=settings)


def test_check_asks_a_remote_endpoint(settings: Settings) -> None:
    away = settings.model_copy(
        update={"openai": settings.openai.model_copy(update={"base_url": "http://127.0.0.1:9/v1"})}
    )
    choice = catalog.resolve("openai", settings=away)
    with pytest.raises(errors.EngineUnreachable):
        catalog.check(choice, settings=away)


# ── the documentation ────────────────────────────────────────────────────────────────────────


def in_words(seconds: float) -> str:
    if seconds == float("inf"):
        return "longer"
    return f"up to {seconds / 3600:g} h" if seconds >= 3600 else f"up to {seconds / 60:g} min"


def auto_table() -> str:
    lines = ["| device | audio | speed | balanced | accuracy |", "|---|---|---|---|---|"]
    for device, rows in catalog.TABLE.items():
        for row in rows:
            cells = " | ".join(f"`{model}`" for model in (row.speed, row.balanced, row.accuracy))
            lines.append(f"| {device} | {in_words(row.seconds)} | {cells} |")
    return "\n".join(lines)


def models_table() -> str:
    two = Settings(whisper=WhisperSettings(lanes=2))
    lines = [
        "| model | parameters | download | memory | languages | translates |",
        "|---|---|---|---|---|---|",
    ]
    for name, known in models.KNOWN.items():
        need = memory.of_whisper(known.parameters, 2 * known.parameters, two.whisper) / 1e9
        lines.append(
            f"| `{name}` | {known.parameters // 10**6} M | {2 * known.parameters / 1e9:.1f} GB "
            f"| {need:.1f} GB | {'English' if known.english_only else 'many'} "
            f"| {'yes' if known.translates and not known.english_only else 'no'} |"
        )
    return "\n".join(lines)


@pytest.mark.parametrize("table", [auto_table, models_table])
def test_the_tables_in_the_documentation_are_those_of_the_code(table: Callable[[], str]) -> None:
    text = (REPOSITORY / "docs" / "models.md").read_text()
    assert table() in text, f"docs/models.md should hold:\n\n{table()}"

"""Settings: read once, passed down. Sources, first wins: command line, ``HANSARD_*``, TOML file.

The table in ``docs/settings.md`` is generated from the descriptions below.
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Annotated, Any, Literal

import platformdirs
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from hansard.errors import BadSettings

_PREFIX = "HANSARD_"


class Section(BaseModel):
    """A group of settings. Unknown names are refused: a typo must not pass for a setting."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class LimitSettings(Section):
    """What is refused before work starts."""

    seconds: float = Field(24 * 3600.0, gt=0, description="Longest recording, in seconds.")
    bytes: int = Field(64 * 2**30, gt=0, description="Largest file, in bytes.")
    fetch_seconds: float = Field(3600.0, gt=0, description="Longest download of a URL, in seconds.")
    redirects: int = Field(5, ge=0, description="Redirects followed for a URL.")
    disk_reserve: int = Field(
        512 * 2**20, ge=0, description="Bytes that must stay free on the data directory's disk."
    )


class VadSettings(Section):
    """How speech is told from the rest."""

    threshold: float = Field(0.5, gt=0, lt=1, description="Silero probability where speech begins.")
    min_silence: float = Field(0.5, gt=0, description="Seconds of silence that end a stretch.")
    min_speech: float = Field(0.1, ge=0, description="Shortest stretch that counts, in seconds.")
    pad: float = Field(0.2, ge=0, description="Seconds kept on each side of a stretch.")


class WhisperSettings(Section):
    """The engine ``whisper`` (faster-whisper on CTranslate2)."""

    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Where the model runs.")
    compute_type: str = Field("auto", description="CTranslate2 compute type, e.g. int8, float16.")
    lanes: int | None = Field(None, ge=1, description="Workers; measured once when not set.")
    threads: int | None = Field(None, ge=1, description="Threads a worker; measured when not set.")
    batch: int | None = Field(None, ge=1, description="Windows in one batch; chosen when not set.")
    beam_size: int = Field(5, ge=1, description="Beams of the first decoding.")


class SphinxSettings(Section):
    """The engine ``sphinx`` (PocketSphinx, embedded)."""

    processes: int | None = Field(None, ge=1, description="Processes; one a core when not set.")


class OpenAISettings(Section):
    """The engine ``openai``: any OpenAI-compatible endpoint."""

    base_url: str = Field("https://api.openai.com/v1", description="Address of the endpoint.")
    api_key: str | None = Field(None, repr=False, description="Key; OPENAI_API_KEY when not set.")
    model: str = Field("whisper-1", description="Model asked for when none is named.")
    calls_per_minute: float = Field(20.0, gt=0, description="Rate at which the bucket refills.")
    burst: int = Field(20, ge=1, description="Calls that may be made at once from a full bucket.")
    in_flight: int = Field(3, ge=1, description="Windows under way at the same time.")
    timeout: float = Field(120.0, gt=0, description="Seconds to wait for one answer.")
    attempts: int = Field(6, ge=1, description="Tries of one window before the job is put back.")
    upload: Literal["flac", "opus"] = Field("flac", description="How windows are sent.")
    prices: dict[str, float] = Field(
        default_factory=lambda: {
            "whisper-1": 0.006,
            "gpt-4o-transcribe": 0.006,
            "gpt-4o-mini-transcribe": 0.003,
        },
        description="Price of a minute of audio by model, for estimates and for spend.",
    )


class Settings(BaseSettings):
    """All settings of one process."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX,
        env_nested_delimiter="__",
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
    )

    data: Annotated[Path, AfterValidator(Path.expanduser)] = Field(
        default_factory=lambda: Path(platformdirs.user_data_dir("hansard", appauthor=False)),
        description="Directory of the store: database, recordings, models.",
    )
    model: str = Field("auto", description="Model used when none is named.")
    prefer: Literal["speed", "balanced", "accuracy"] = Field(
        "balanced", description="What `auto` leans to."
    )
    offline: bool = Field(False, description="Never ask the model hub.")
    hub_patience: float = Field(3.0, gt=0, description="Seconds the hub has to answer.")
    model_idle: float = Field(
        300.0, ge=0, description="Seconds after which an unused model is unloaded."
    )
    lease_seconds: float = Field(
        60.0, gt=0, description="Seconds a worker may be silent before its work is free again."
    )
    attempts: int = Field(5, ge=1, description="Tries of a step before a job is failed.")
    limits: LimitSettings = Field(default_factory=LimitSettings)
    vad: VadSettings = Field(default_factory=VadSettings)
    whisper: WhisperSettings = Field(default_factory=WhisperSettings)
    sphinx: SphinxSettings = Field(default_factory=SphinxSettings)
    openai: OpenAISettings = Field(default_factory=OpenAISettings)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Command line over environment over ``hansard.toml`` (working or config directory)."""
        del dotenv_settings, file_secret_settings
        places = [
            Path(platformdirs.user_config_dir("hansard", appauthor=False)) / "hansard.toml",
            Path("hansard.toml"),
        ]
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, places)


def load(**given: Any) -> Settings:
    """Settings from everywhere; those ``given`` come first.

    Raises:
        BadSettings: a value does not fit, or there is no such setting; the message names it.
    """
    hint = "docs/settings.md lists them; they come from HANSARD_* and hansard.toml."
    try:
        _refuse_unknown()
        return Settings(**given)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        name = ".".join(str(step) for step in problem["loc"])
        said = (
            "there is no such setting" if problem["type"] == "extra_forbidden" else problem["msg"]
        )
        raise BadSettings(f"A setting does not make sense: {name}: {said}.", hint=hint) from error
    except (SettingsError, OSError, ValueError) as error:
        raise BadSettings(f"The settings cannot be read: {error}.", hint=hint) from error


def _refuse_unknown() -> None:
    """Pydantic passes over variables that it does not know; a typo must not pass for a setting."""
    known = [f"{_PREFIX}{name}".upper() for name in Settings.model_fields]
    for name in sorted(os.environ):
        plain = name.upper()
        if not plain.startswith(_PREFIX) or plain.startswith(f"{_PREFIX}TEST_"):
            continue  # HANSARD_TEST_… is the test-suite's own
        if plain.partition("__")[0] not in known:
            near = difflib.get_close_matches(plain, known, n=1)
            raise BadSettings(
                f"There is no setting {name}.",
                hint=f"Did you mean {near[0]}?" if near else "docs/settings.md lists them.",
            )

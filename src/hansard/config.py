"""Settings: read once, passed down.

Sources, the first wins: command line, ``HANSARD_*``, TOML file, tuned profile.

The table in ``docs/settings.md`` is generated from the descriptions below.
"""

from __future__ import annotations

import base64
import difflib
import ipaddress
import os
from pathlib import Path
from typing import Annotated, Any, Literal

import platformdirs
from pydantic import AfterValidator, Field, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from hansard import tuned
from hansard.errors import BadSettings
from hansard.machine import (
    CacheSettings,
    MemorySettings,
    PrepareSettings,
    Section,
    SphinxSettings,
    SqliteSettings,
    WhisperSettings,
)
from hansard.model import MAX_WINDOW_SECONDS
from hansard.shared import ArchiveSettings, DeliverySettings, PostgresSettings, S3Settings

_PREFIX = "HANSARD_"


def _seen_as_secret(given: str | None) -> str | None:
    """As the Standard Webhooks specification asks: 24 to 64 bytes; several with blanks between."""
    for one in (given or "").split():
        try:
            size = len(base64.b64decode(one.removeprefix("whsec_"), validate=True))
        except ValueError:
            size = 0
        if not 24 <= size <= 64:
            raise ValueError("a secret is whsec_ and 24 to 64 bytes in base64")
    return given


def _seen_as_network(given: str) -> str:
    """An address, or a network; a name would be looked up by nobody, and so trusted by nobody."""
    ipaddress.ip_network(given)
    return given


class LimitSettings(Section):
    """What is refused before work starts."""

    seconds: float = Field(24 * 3600.0, gt=0, description="Longest recording, in seconds.")
    bytes: int = Field(64 * 2**30, gt=0, description="Largest file, in bytes.")
    tracks: int = Field(
        64, ge=1, description="Most audio tracks of a file, and most channels of a track."
    )
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


class LanguageModelSettings(Section):
    """The language model that finds out what a meeting meant; without one, it is extracted."""

    base_url: str = Field(
        "http://127.0.0.1:11434/v1",
        description="Address of an OpenAI-compatible endpoint: Ollama, vLLM, OpenAI.",
    )
    api_key: str | None = Field(
        None, repr=False, description="Key; OPENAI_API_KEY for api.openai.com when not set."
    )
    model: str | None = Field(
        None, description="Model asked for; no text is sent anywhere when not set."
    )
    price_in: float = Field(0.0, ge=0, description="Price of a million tokens that are sent.")
    price_out: float = Field(0.0, ge=0, description="Price of a million tokens that are answered.")
    context_tokens: int = Field(
        4096, ge=1024, description="Tokens that the model takes at once, its answer included."
    )
    timeout: float = Field(300.0, gt=0, description="Seconds to wait for one answer.")
    attempts: int = Field(5, ge=1, description="Tries of one question before it is put back.")
    max_cost: float | None = Field(
        None, ge=0, description="Most that may be spent on one meeting; no limit when not set."
    )


class EmbeddingSettings(Section):
    """Vectors for search by meaning; fitted on the library where nothing else is set."""

    model: str | None = Field(
        None, description="Model of an OpenAI-compatible endpoint; no text is sent when not set."
    )
    base_url: str = Field(
        "http://127.0.0.1:11434/v1", description="Address of the endpoint, where a model is named."
    )
    api_key: str | None = Field(
        None, repr=False, description="Key; OPENAI_API_KEY for api.openai.com when not set."
    )
    dimensions: int | None = Field(
        None,
        ge=1,
        le=8192,
        description="Length of the vectors; the model's own when not set.",
    )
    price: float = Field(0.0, ge=0, description="Price of a million tokens.")
    batch: int = Field(64, ge=1, le=2048, description="Passages in one request.")
    timeout: float = Field(60.0, gt=0, description="Seconds to wait for one answer.")
    attempts: int = Field(5, ge=1, description="Tries of one request before it is put back.")
    onnx: Path | None = Field(
        None, description="Directory of a sentence transformer: model.onnx and tokenizer.json."
    )


class SpeakerSettings(Section):
    """Telling speakers apart."""

    engine: Literal["auto", "embedded", "pyannote"] = Field(
        "auto", description="Who tells speakers apart; auto: pyannote where it is installed."
    )
    pyannote_model: str = Field(
        "pyannote/speaker-diarization-community-1",
        description="Pipeline of pyannote: a name on the model hub, or a directory.",
    )
    hugging_face_token: str | None = Field(
        None,
        repr=False,
        description="Token of the model hub, which gives the pipeline to whom "
        "has accepted its terms; the hub's own sources when not set.",
    )


class ServeSettings(Section):
    """The service: ``hansard serve``."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8420, ge=0, le=65535, description="Port to listen on; 0 is any free one.")
    workers: int = Field(1, ge=0, description="Worker processes; each has its own models.")
    patience: float = Field(
        30.0, ge=0, description="Seconds that work in hand has to end when the service stops."
    )
    keys: Literal["auto", "required", "off"] = Field(
        "auto", description="Whether a key is asked for; auto: everywhere but on loopback."
    )
    rate: float = Field(600.0, gt=0, description="Requests a minute of one key or address.")
    burst: int = Field(200, ge=1, description="Requests that may come at once from a full bucket.")
    cors: tuple[str, ...] = Field((), description="Origins whose pages may call the API.")
    hosts: tuple[str, ...] = Field(
        (), description="Names this service is known by; others are refused. Empty: any."
    )
    proxies: tuple[Annotated[str, AfterValidator(_seen_as_network)], ...] = Field(
        ("127.0.0.1", "::1"),
        description="Addresses and networks of proxies: their X-Forwarded-For and -Proto count.",
    )
    uploads: int = Field(20, ge=1, description="Uploads that are taken in at the same time.")
    upload_seconds: float = Field(3600.0, gt=0, description="Longest time of one upload.")
    upload_expiry: float = Field(
        86_400.0, gt=0, description="Seconds after which an unfinished resumable upload is removed."
    )
    slow_seconds: float = Field(
        20.0, gt=0, description="Seconds in which a request, or the next piece of one, must come."
    )
    connections: int = Field(800, ge=1, description="Connections held at the same time.")
    sync_seconds: float = Field(60.0, ge=0, description="Longest wait of sync=true, in seconds.")
    answer_seconds: float | None = Field(
        None, gt=0, description="Longest wait of an OpenAI-compatible request; none when not set."
    )
    access_log: bool = Field(True, description="One line of JSON for each request.")
    live_seconds: float = Field(
        60.0, gt=0, description="Seconds that a dropped live connection has to come back."
    )
    lives: int = Field(20, ge=1, description="Live connections at the same time.")


class QueueSettings(Section):
    """The queue: how much waits, and how long work may take."""

    capacity: int = Field(1000, ge=1, description="Jobs that may wait; more are refused (429).")
    soft_seconds: float = Field(
        600.0, gt=0, description="Seconds any job may run, however short its audio."
    )
    soft_factor: float = Field(
        20.0, gt=0, description="Seconds more for each second of audio; then the job fails."
    )
    unit_seconds: float = Field(
        120.0, gt=0, description="Seconds any unit of work may take, however short."
    )
    unit_factor: float = Field(
        30.0, gt=0, description="Seconds more for each second of its audio; then it is given up."
    )
    missing_seconds: float = Field(
        3600.0,
        gt=0,
        description="Seconds for which a job waits for a host that has its files; then it fails.",
    )


class CageSettings(Section):
    """The child process that opens strangers' files."""

    memory: int = Field(1024 * 2**20, gt=0, description="Bytes it may allocate.")
    seconds: float = Field(60.0, gt=0, description="Seconds of processor time, for any file …")
    factor: float = Field(0.2, ge=0, description="… and for each second of its audio.")


class WebhookSettings(Section):
    """Telling others that a job has ended."""

    url: str | None = Field(None, description="Address that is told of every job.")
    secret: Annotated[str | None, AfterValidator(_seen_as_secret)] = Field(
        None,
        repr=False,
        description="Secret of the signatures, whsec_ and base64; made and kept when not set.",
    )
    private: bool = Field(
        False, description="Whether addresses in private networks may be called and fetched."
    )
    timeout: float = Field(10.0, gt=0, description="Seconds that a receiver has to answer.")
    seconds: float = Field(86_400.0, gt=0, description="How long a delivery is tried.")


class RetentionSettings(Section):
    """What is removed, and when. Nothing that a user gave or got, unless it is set here."""

    days: float | None = Field(
        None, gt=0, description="Days after which ended transcriptions are removed."
    )
    audio_days: float | None = Field(
        None, gt=0, description="Days after which the media of ended transcriptions are removed."
    )
    pressure: Literal["keep", "audio", "all"] = Field(
        "keep",
        description="What goes, oldest first, when the disk has less than limits.disk_reserve.",
    )


class MeetingSettings(Section):
    """What follows a transcript: who spoke, and what it meant."""

    follow_up: bool = Field(
        True, description="Find out speakers and meaning of every new transcript."
    )
    diarize: Literal["auto", "on", "off"] = Field(
        "auto",
        description="Whether voices are told apart; auto: of every recording with its media.",
    )
    findings: tuple[Literal["summary", "chapters", "items", "sentiment", "statistics"], ...] = (
        Field(
            ("summary", "chapters", "items", "sentiment", "statistics"),
            description="What is found out about every new transcript.",
        )
    )
    pause: float = Field(
        30.0, ge=0, description="Seconds after a change of words until findings are made again."
    )


class LevelSettings(Section):
    """Service levels: seconds that most requests and works must stay within; 0 watches none."""

    objective: float = Field(
        0.95, gt=0, lt=1, description="Share of requests or works that must stay within a level."
    )
    health: float = Field(0.05, ge=0, description="How the service is.")
    search: float = Field(0.2, ge=0, description="A search.")
    status: float = Field(0.1, ge=0, description="How far a job is.")
    meeting: float = Field(0.3, ge=0, description="A meeting, as it is shown.")
    upload: float = Field(2.0, ge=0, description="Accepting an upload, beyond its transfer.")
    transcription: float = Field(
        0.3, ge=0, description="A second of audio, from the beginning of its job to its end."
    )
    sentiment: float = Field(30.0, ge=0, description="The mood of a meeting.")
    summary: float = Field(60.0, ge=0, description="The summary of a meeting.")
    embeddings: float = Field(120.0, ge=0, description="The vectors of a meeting.")


class PerformanceSettings(Section):
    """Figures of all processes, and where they go."""

    interval: float = Field(
        10.0, gt=0, description="Seconds between two times that a process adds its figures."
    )
    days: float = Field(400.0, ge=31, description="Days that the figures of whole days are kept.")
    otlp: str | None = Field(
        None, description="Endpoint of OpenTelemetry (OTLP over HTTP) that is sent to."
    )
    sample: float = Field(
        1.0, gt=0, le=1, description="Share of traces that are sent to that endpoint."
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
    database: str | None = Field(
        None,
        repr=False,
        description="PostgreSQL that many machines share: postgresql://user:password@host/name. "
        "An SQLite file in the data directory when not set.",
    )
    broker: str | None = Field(
        None,
        repr=False,
        description="RabbitMQ or Redis that wakes workers of other machines: amqp(s)://… or redis(s)://….",
    )
    files: str | None = Field(
        None,
        description="Object storage for recordings and prepared audio: s3://bucket/prefix. "
        "The data directory when not set.",
    )
    cache: str | None = Field(
        None,
        repr=False,
        description="Redis that API processes share as a second cache: redis(s)://host:6379/0.",
    )
    tuned: bool = Field(
        True, description="Whether the profile that `hansard optimise` wrote is applied."
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
    prepare: PrepareSettings = Field(default_factory=PrepareSettings)
    caches: CacheSettings = Field(default_factory=CacheSettings)
    sqlite: SqliteSettings = Field(default_factory=SqliteSettings)
    memory: MemorySettings = Field(default_factory=MemorySettings)
    openai: OpenAISettings = Field(default_factory=OpenAISettings)
    language_model: LanguageModelSettings = Field(default_factory=LanguageModelSettings)
    embeddings: EmbeddingSettings = Field(default_factory=EmbeddingSettings)
    speakers: SpeakerSettings = Field(default_factory=SpeakerSettings)
    serve: ServeSettings = Field(default_factory=ServeSettings)
    queue: QueueSettings = Field(default_factory=QueueSettings)
    cage: CageSettings = Field(default_factory=CageSettings)
    webhooks: WebhookSettings = Field(default_factory=WebhookSettings)
    retention: RetentionSettings = Field(default_factory=RetentionSettings)
    postgres: PostgresSettings = Field(default_factory=PostgresSettings)
    s3: S3Settings = Field(default_factory=S3Settings)
    delivery: DeliverySettings = Field(default_factory=DeliverySettings)
    archive: ArchiveSettings = Field(default_factory=ArchiveSettings)
    meetings: MeetingSettings = Field(default_factory=MeetingSettings)
    performance: PerformanceSettings = Field(default_factory=PerformanceSettings)
    levels: LevelSettings = Field(default_factory=LevelSettings)

    def window_seconds(self, engine: str, model: str) -> float:
        """The longest window that an engine is given, in seconds."""
        if engine == "sphinx":
            return self.sphinx.window_seconds
        own = self.whisper.of(model).window_seconds if engine == "whisper" else None
        return own or MAX_WINDOW_SECONDS

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Command line over environment over ``hansard.toml`` over the tuned profile."""
        del dotenv_settings, file_secret_settings
        places = [
            Path(platformdirs.user_config_dir("hansard", appauthor=False)) / "hansard.toml",
            Path("hansard.toml"),
        ]
        written = TomlConfigSettingsSource(settings_cls, places)
        return init_settings, env_settings, written, _Tuned(settings_cls)


class _Tuned(PydanticBaseSettingsSource):
    """The tuned profile of the data directory that the sources before it name."""

    def get_field_value(
        self,
        field: FieldInfo,  # noqa: ARG002 pydantic's signature
        field_name: str,
    ) -> tuple[Any, str, bool]:
        """Nothing of one field: all values come at once, from a call."""
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        """What it says; see :func:`hansard.tuned.settings`."""
        known = self.current_state
        if not TypeAdapter(bool).validate_python(known.get("tuned", True)):
            return {}
        place = known.get("data") or Settings.model_fields["data"].get_default(
            call_default_factory=True
        )
        return tuned.settings(Path(place).expanduser())


def load(**given: Any) -> Settings:
    """Settings from everywhere; those ``given`` come first.

    Raises:
        BadSettings: a value does not fit, or there is no such setting; the message names it.
    """
    hint = (
        "docs/settings.md lists them; they come from HANSARD_*, hansard.toml and "
        "tuned.toml in the data directory."
    )
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

"""``hansard check``: what is in a recording, whether it is fit, and what it would take."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hansard.cli.complaint import complain
from hansard.cli.display import clock
from hansard.cli.options import DataOption, JsonOption, settings
from hansard.errors import HansardError

if TYPE_CHECKING:
    from hansard.audio.probe import Preflight
    from hansard.audio.source import Source
    from hansard.config import LimitSettings
    from hansard.speech.catalog import Choice


def check(
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="INPUT...", help="Files, directories, URLs; - is standard input."),
    ],
    *,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="The model it is meant for.")
    ] = None,
    language: Annotated[str | None, typer.Option("--language", "-l")] = None,
    track: Annotated[int, typer.Option(min=0, help="Audio track of a file with several.")] = 0,
    full: Annotated[
        bool, typer.Option("--full", help="Measure all of it, not samples of a long recording.")
    ] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Do not ask the model hub.")] = False,
    json: JsonOption = False,
    data: DataOption = None,
) -> None:
    """Check recordings without transcribing them: tracks, length, damage, loudness, cost."""
    import msgspec

    from hansard.cli.naming import distinct, expanded
    from hansard.transcription import Request, examine

    configured = settings(data, offline=offline)
    request = Request(
        model=model or configured.model, prefer=configured.prefer, language=language, track=track
    )
    sources, missing = expanded(inputs)
    refused: list[HansardError] = []
    for name, error in missing:
        refused.append(error)
        _refuse(name, error, json=json)
    for name, source in zip(distinct(sources), sources, strict=True):
        try:
            with _on_disk(source, configured.limits) as path:
                fit, choice = examine(path, configured, request, full=full, pull=False)
        except HansardError as error:
            refused.append(error)
            _refuse(name, error, json=json)
            continue
        if json:
            print(msgspec.json.encode(_facts(name, fit, choice)).decode())
        else:
            _describe(name, fit, choice)
    if refused:
        raise typer.Exit(refused[0].exit_code)


@contextmanager
def _on_disk(source: Source, limits: LimitSettings) -> Iterator[Path]:
    """The recording as a file; what comes through a pipe or from an address is put by first."""
    from hansard.audio.source import stream
    from hansard.store.disk import Disk

    if source.kind == "file":
        yield Path(source.location)
        return
    with tempfile.TemporaryDirectory(prefix="hansard-") as folder:
        files = Disk(Path(folder), "check")
        with (
            stream(source, limits) as incoming,
            files.take_in(incoming.name, incoming.chunks) as draft,
        ):
            yield draft.path


def _refuse(name: str, error: HansardError, *, json: bool) -> None:
    if json:
        import msgspec

        found = {"name": name, "ok": False, "error": msgspec.to_builtins(error.failure())}
        print(msgspec.json.encode(found).decode())
        return
    print(f"{name}: not fit", flush=True)
    complain(error)


def _facts(name: str, fit: Preflight, choice: Choice) -> dict[str, Any]:
    import msgspec

    return {
        "name": name,
        "ok": True,
        "seconds": fit.seconds,
        "media": msgspec.to_builtins(fit.media),
        "track": fit.track.index,
        "levels": msgspec.to_builtins(fit.levels),
        "enhance": fit.enhance,
        "engine": choice.engine,
        "model": choice.model,
        "cost": choice.cost,
        "notes": [*choice.notes, *fit.warnings],
    }


def _describe(name: str, fit: Preflight, choice: Choice) -> None:
    media, levels = fit.media, fit.levels
    video = " with video" if media.has_video else ""
    print(f"{name}: fit, {clock(fit.seconds)} ({media.container}{video}, {media.size:,} bytes)")
    for track in media.tracks:
        chosen = "*" if track.index == fit.track.index else " "
        about = " ".join(filter(None, (track.language, track.title)))
        print(
            f" {chosen} track {track.index}: {track.codec}, {track.sample_rate} Hz, "
            f"{track.channels} channel{'s' if track.channels > 1 else ''} {about}".rstrip()
        )
    print(
        f"   loudness {levels.rms:.1f} dBFS, peak {levels.peak:.1f}, noise {levels.noise:.1f}, "
        f"dynamic range {levels.dynamic_range:.1f} dB"
    )
    print(
        f"   clipped {levels.clipped:.3%}, DC offset {levels.dc_offset:+.4f}, "
        f"measured on {levels.measured:.0f} s"
    )
    if fit.enhance:
        print("   too quiet: it will be band-passed, compressed and lifted")
    cost = "" if choice.cost is None else f", about {choice.cost:.2g} in all"
    print(f"   model {choice.engine}/{choice.model}{cost}")
    for note in (*choice.notes, *fit.warnings):
        print(f"   {note}")

"""Opening media files without trusting them.

A media file is an instruction to FFmpeg, and some formats instruct it to open *other* files or
addresses (playlists, concat scripts, manifests, session descriptions). So only formats that
carry their own samples are allowed, the bytes come through a Python file object, and every
attempt to open something else is refused. The file's name is hidden from FFmpeg as well: what a
recording is depends on its bytes alone, so a kept copy under another name is the same recording.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from hansard.errors import EmptyFile, NoAudio, NoSuchTrack, NotFound, NotMedia, Unreadable

if TYPE_CHECKING:
    from io import FileIO

    from av.audio.stream import AudioStream
    from av.container import InputContainer

DEMUXERS: Final = (
    "aac,ac3,aiff,amr,amrnb,amrwb,ape,asf,au,avi,caf,dsf,dts,dtshd,dv,eac3,flac,flv,gsm,ircam,"
    "iff,live_flv,loas,matroska,mlp,mov,mp3,mpc,mpc8,mpeg,mpegts,mxf,nistsphere,nut,ogg,oma,qcp,"
    "rm,sbc,sox,tak,truehd,tta,voc,w64,wav,webm,wtv,wv,xwma"
)
"""FFmpeg demuxers that read samples out of the file itself and open nothing else."""

_BUFFER: Final = 256 * 1024
"""Bytes asked for at a time: few calls from FFmpeg into Python, little memory."""


FLOWING: Final = "matroska,ogg,webm"
"""Formats that are heard while they are being recorded: what browsers write."""

_SIP: Final = 4096
"""Bytes asked for at a time where they come slowly."""


class _Nameless:
    """A file for FFmpeg to read and seek in, without the name that would sway its guess."""

    def __init__(self, file: FileIO) -> None:
        self.read = file.read
        self.seek = file.seek
        self.tell = file.tell


def _refuse(url: str, flags: int, options: dict[str, str]) -> Any:
    """Answer FFmpeg's wish to open anything beyond the file it was given."""
    del flags, options
    raise PermissionError(f"media may not open {url}")


def bare(path: Path) -> FileIO:
    """The file itself, open for reading, without a buffer.

    Raises:
        NotFound, Unreadable: it cannot be opened.
    """
    try:
        return path.open("rb", buffering=0)
    except FileNotFoundError:
        raise NotFound(
            f"There is no file {path}.", hint="Check the spelling of the path."
        ) from None
    except OSError as error:
        raise Unreadable(
            f"{path} cannot be read: {error.strerror}.",
            hint="Check that it is a file and that you may read it.",
        ) from error


@contextmanager
def opened(path: Path, *, fast_seek: bool = False) -> Iterator[InputContainer]:
    """Open a media file for demuxing.

    ``fast_seek`` lets formats without an index (MP3) guess a place from the bit rate instead of
    reading everything before it: good enough for samples, not for telling the time.

    Raises:
        NotFound, Unreadable, EmptyFile: the file itself.
        NotMedia: FFmpeg finds no allowed media format in it.
    """
    import av

    file = bare(path)
    with file:
        if not file.read(1):
            raise EmptyFile(f"{path.name} is empty.", hint="Was the upload or copy cut short?")
        file.seek(0)
        try:
            container = av.open(
                _Nameless(file),
                mode="r",
                container_options={
                    "format_whitelist": DEMUXERS,
                    "protocol_whitelist": "none",
                    **({"fflags": "fastseek"} if fast_seek else {}),
                },
                metadata_errors="replace",
                buffer_size=_BUFFER,
                io_open=_refuse,
            )
        except (av.FFmpegError, ValueError, OSError) as error:
            # ValueError and OSError too: PyAV maps FFmpeg's codes onto Python's own exceptions.
            raise not_media(path) from error
        with container:
            yield container


class Incoming(Protocol):
    """Bytes that cannot be sought in: a read gives what there is, and nothing at the end."""

    def read(self, size: int) -> bytes:
        """Wait for a byte; give at most ``size`` of them."""


@contextmanager
def flowing(incoming: Incoming) -> Iterator[InputContainer]:
    """Open media that are still being written, as they come.

    Raises:
        NotMedia: FFmpeg finds no allowed media format in them.
    """
    import av

    try:
        container = av.open(
            incoming,
            mode="r",
            container_options={
                "format_whitelist": FLOWING,
                "protocol_whitelist": "none",
                # What is heard while it is spoken cannot wait for a good guess at everything.
                "probesize": "65536",
                "analyzeduration": "500000",
            },
            metadata_errors="replace",
            buffer_size=_SIP,
            io_open=_refuse,
        )
    except (av.FFmpegError, ValueError, OSError) as error:
        raise not_media(Path("The recording")) from error
    with container:
        yield container


def not_media(path: Path, why: str = "is not audio or video that can be read") -> NotMedia:
    """The refusal for bytes that FFmpeg makes nothing of."""
    return NotMedia(
        f"{path.name} {why}.",
        hint="The content counts, not the name: check that the file plays in a media player.",
    )


def audio_stream(container: InputContainer, path: Path, track: int) -> AudioStream:
    """The ``track``-th audio stream (from 0); all other streams are discarded while demuxing.

    Raises:
        NoAudio: the file has no audio stream.
        NoSuchTrack: it has audio, but fewer tracks.
        NotMedia: FFmpeg has no decoder for this stream.
    """
    from av.stream import Discard

    streams = container.streams.audio
    if not streams:
        raise NoAudio(
            f"{path.name} has no audio track.", hint="Give a recording that contains sound."
        )
    if not 0 <= track < len(streams):
        listed = "; ".join(f"{i}: {_described(stream)}" for i, stream in enumerate(streams))
        raise NoSuchTrack(
            f"{path.name} has no audio track {track}.", hint=f"Its tracks are {listed}."
        )
    chosen = streams[track]
    if not can_decode(chosen):
        raise not_media(path, "holds audio in a form that cannot be decoded")
    for stream in container.streams:
        if stream is not chosen:
            stream.discard = Discard.all
    return chosen


def can_decode(stream: AudioStream) -> bool:
    """Whether FFmpeg has a decoder for the stream and learned how many channels it has."""
    context: object = stream.codec_context  # None where no decoder exists, whatever the stub says
    return context is not None and stream.codec_context.layout.nb_channels > 0


def _described(stream: AudioStream) -> str:
    if not can_decode(stream):
        return "unknown codec"
    words = [stream.codec_context.codec.canonical_name, f"{stream.codec_context.layout.name}"]
    if stream.language and stream.language != "und":
        words.append(stream.language)
    if title := stream.metadata.get("title"):
        words.append(f"“{title}”")
    return " ".join(words)

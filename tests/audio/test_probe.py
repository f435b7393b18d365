from __future__ import annotations

import contextlib
import struct
import wave
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from hansard.audio import decode, probe
from hansard.audio.probe import Preflight, inspect, preflight
from hansard.audio.truncation import WHOLE, ending
from hansard.config import LimitSettings
from hansard.errors import (
    BadInput,
    EmptyFile,
    NoAudio,
    NoSuchTrack,
    NotFound,
    NotMedia,
    SilentAudio,
    TooLarge,
    TooLong,
    Truncated,
    Unreadable,
    ZeroLength,
)

LIMITS = LimitSettings()


def judged(path: Path, **options) -> Preflight:
    return preflight(path, limits=options.pop("limits", LIMITS), **options)


def write_wav(path: Path, samples: np.ndarray, rate: int = 16_000) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())
    return path


def test_a_film_is_described(make_media, make_voice) -> None:
    path = make_media(
        "f.mkv", "aac", make_voice(5), make_voice(5), video=5.0, languages=("eng", "und")
    )
    media = inspect(path)
    assert media.container == "matroska,webm"
    assert media.has_video
    assert media.size == path.stat().st_size
    assert media.seconds == pytest.approx(5, abs=0.1)
    assert [(t.index, t.codec, t.sample_rate, t.channels, t.language) for t in media.tracks] == [
        (0, "aac", 48_000, 1, "eng"),
        (1, "aac", 48_000, 1, None),
    ]


def test_good_speech_passes(make_media, make_voice) -> None:
    fit = judged(make_media("a.mp3", "libmp3lame", make_voice(20)))
    assert fit.seconds == pytest.approx(20, abs=0.1)
    assert fit.levels.measured == pytest.approx(20, abs=0.1)
    assert fit.levels.rms == pytest.approx(-20, abs=0.5)
    assert (fit.enhance, fit.silent, fit.warnings) == (False, False, ())
    assert fit.track == fit.media.tracks[0]


def test_a_long_recording_is_sampled_and_judged_as_if_read_whole(make_media, make_voice) -> None:
    path = make_media("long.m4a", "aac", np.tile(make_voice(60, rate=16_000), 12), rate=16_000)
    sampled, whole = judged(path), judged(path, full=True)
    assert sampled.levels.measured == pytest.approx(probe.SPOTS * probe.SPOT_SECONDS, rel=0.05)
    assert whole.levels.measured == pytest.approx(720, abs=0.2)
    assert sampled.levels.rms == pytest.approx(whole.levels.rms, abs=1.5)
    assert sampled.enhance == whole.enhance
    assert sampled == judged(path)


def test_quiet_speech_is_to_be_enhanced(make_media, make_voice) -> None:
    assert judged(make_media("q.ogg", "libopus", make_voice(20, level=-50))).enhance
    assert not judged(make_media("n.ogg", "libopus", make_voice(20, level=-25))).enhance


# ── refusals ─────────────────────────────────────────────────────────────────────────────────


def refused(path: Path, error: type[BadInput], **options) -> BadInput:
    with pytest.raises(error) as refusal:
        judged(path, **options)
    assert type(refusal.value) is error
    assert refusal.value.message.endswith(".")
    assert refusal.value.hint
    return refusal.value


def test_what_is_no_media_is_refused(tmp_path: Path) -> None:
    refused(tmp_path / "none.wav", NotFound)
    refused(tmp_path, Unreadable)
    empty = tmp_path / "e.mp3"
    empty.touch()
    refused(empty, EmptyFile)
    text = tmp_path / "text.mp3"
    text.write_text("These are only words. " * 5000)
    refused(text, NotMedia)
    noise = tmp_path / "noise.mp3"
    for seed in range(5):
        noise.write_bytes(np.random.default_rng(seed).bytes(200_000))
        refused(noise, NotMedia)
    picture = tmp_path / "p.mp3"
    with av.open(str(picture), "w", format="image2") as output:
        stream = output.add_stream("png", rate=1)
        stream.width = stream.height = 16
        stream.pix_fmt = "rgb24"
        output.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8))))
    refused(picture, NotMedia)


def test_a_file_that_may_not_be_read_is_refused(make_media, make_voice, monkeypatch) -> None:
    path = make_media("a.wav", "pcm_s16le", make_voice(1))

    def forbidden(*_args, **_options) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", forbidden)
    assert "Permission denied" in refused(path, Unreadable).message


def test_no_sound_track_or_not_that_one(make_media, make_voice) -> None:
    refused(make_media("mute.mp4", "aac", video=2.0), NoAudio)
    path = make_media("a.wav", "pcm_s16le", make_voice(2))
    assert "0: pcm_s16le" in str(refused(path, NoSuchTrack, track=1).hint)
    refused(path, NoSuchTrack, track=-1)


@pytest.mark.parametrize("name", ["z.wav", "z.flac", "z.m4a", "z.mka"])
def test_no_time_at_all(make_media, name) -> None:
    codec = {"wav": "pcm_s16le", "flac": "flac", "m4a": "alac", "mka": "flac"}[name[2:]]
    path = make_media(name, codec, np.zeros(0, np.int16))
    with pytest.raises((ZeroLength, NotMedia, NoAudio)) as refusal:
        judged(path)
    if name == "z.wav":
        assert refusal.type is ZeroLength


def test_limits(make_media, make_voice) -> None:
    path = make_media("a.flac", "flac", make_voice(20))
    refused(path, TooLong, limits=LimitSettings(seconds=19))
    refused(path, TooLarge, limits=LimitSettings(bytes=1000))
    judged(path, limits=LimitSettings(seconds=21, bytes=path.stat().st_size))


def test_silence_is_refused(make_media) -> None:
    hum = np.rint(20 * np.sin(np.arange(48_000 * 30) / 50)).astype(np.int16)  # -64 dBFS
    path = make_media("silent.mp3", "libmp3lame", hum)
    refused(path, SilentAudio)
    fit = judged(path, allow_silence=True)
    assert fit.silent
    assert not fit.enhance


def test_a_constant_offset_is_no_sound(tmp_path: Path) -> None:
    refused(write_wav(tmp_path / "dc.wav", np.full(160_000, 900, np.int16)), SilentAudio)


def test_one_word_in_a_long_silence_is_found(tmp_path: Path, make_voice, monkeypatch) -> None:
    rate, word = 16_000, make_voice(2, rate=16_000)
    samples = np.zeros(900 * rate, np.int16)
    at = int(900 / probe.SPOTS * 3 * rate)  # between two spots
    samples[at : at + word.size] = word
    read: list[int] = []
    real = decode.blocks

    def counted(*args, **options) -> Iterator[np.ndarray]:
        for block in real(*args, **options):
            read.append(block.shape[1])
            yield block

    monkeypatch.setattr(decode, "blocks", counted)
    assert not judged(write_wav(tmp_path / "word.wav", samples)).silent
    assert sum(read) <= at + 2 * decode.BLOCK  # stops listening there
    read.clear()
    samples[:] = 0
    refused(write_wav(tmp_path / "none.wav", samples), SilentAudio)
    assert sum(read) == samples.size


@pytest.mark.slow
def test_twelve_hours_of_silence_are_refused(tmp_path: Path) -> None:
    seconds, rate = 12 * 3600, 8000
    path = write_wav(tmp_path / "night.wav", np.zeros(8, np.int16), rate)
    size = 44 + seconds * rate * 2
    head = bytearray(path.read_bytes()[:44])
    head[4:8], head[40:44] = struct.pack("<I", size - 8), struct.pack("<I", size - 44)
    with path.open("wb") as file:  # a sparse file: the zeros take no room on the disk
        file.write(head)
        file.truncate(size)
    assert refused(path, SilentAudio).code == "silent"


# ── truncation ───────────────────────────────────────────────────────────────────────────────

WHOLE_FILES = [
    ("t.wav", "pcm_s16le", None),
    ("t.aiff", "pcm_s16be", None),
    ("t.flac", "flac", None),
    ("t.m4a", "aac", None),
    ("t.mov", "aac", None),
    ("t.3gp", "aac", None),
    ("t.mkv", "flac", None),
    ("t.webm", "libopus", None),
    ("t.wma", "wmav2", None),
    ("t.avi", "libmp3lame", None),
    ("t.mp3", "libmp3lame", None),
    ("t.ogg", "libopus", None),
    ("t.ts", "aac", "mpegts"),
    ("t.caf", "pcm_s16be", None),
    ("t.amr", "libopencore_amrnb", None),
    ("t.au", "pcm_s16be", None),
    ("t.w64", "pcm_s16le", None),
]
UNDETECTABLE = {"t.mp3", "t.ogg", "t.ts", "t.amr", "t.w64", "t.caf"}
"""Formats that do not say how long they mean to be, or that FFmpeg measures instead."""


@pytest.mark.parametrize(("name", "codec", "container"), WHOLE_FILES)
@pytest.mark.parametrize("left", [0.9, 0.5, 0.2])
def test_a_whole_file_passes_and_a_cut_one_is_refused(
    *, make_media, make_voice, name, codec, container, left
) -> None:
    rate = 8000 if codec == "libopencore_amrnb" else 48_000
    try:
        path = make_media(name, codec, make_voice(40, rate=rate), rate=rate, container=container)
    except ValueError:
        pytest.skip(f"this PyAV has no encoder {codec}")
    assert judged(path).seconds == pytest.approx(40, abs=0.3)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * left)])
    if name in UNDETECTABLE:
        fit = judged(path)
        assert fit.levels.measured == pytest.approx(40 * left, abs=2.5)
        assert bool(fit.warnings) == (name == "t.ogg")
    else:
        refused(path, Truncated)


def test_a_cut_film_with_its_index_first_is_refused(make_media, make_voice) -> None:
    path = make_media(
        "fast.mp4", "aac", make_voice(30), video=30.0, options={"movflags": "faststart"}
    )
    judged(path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 3 // 4])
    assert "bytes are missing" in refused(path, Truncated).message


def test_a_recorder_that_crashed_left_no_index(make_media, make_voice) -> None:
    path = make_media("crash.mp4", "aac", make_voice(10))
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"moov") - 4])
    assert "no index" in refused(path, Truncated).message


def test_fragments_are_whole_or_cut(make_media, make_voice) -> None:
    path = make_media(
        "frag.mp4",
        "aac",
        make_voice(30),
        options={"movflags": "frag_keyframe+empty_moov", "frag_duration": "1000000"},
    )
    assert judged(path).seconds == pytest.approx(30, abs=0.2)
    assert ending(path) == WHOLE


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF])
def test_a_wav_from_a_pipe_has_no_size_and_is_fine(tmp_path: Path, make_voice, size) -> None:
    path = write_wav(tmp_path / "pipe.wav", make_voice(20, rate=16_000))
    data = bytearray(path.read_bytes())
    data[4:8] = data[40:44] = struct.pack("<I", size)
    path.write_bytes(data)
    fit = judged(path)
    assert fit.seconds == pytest.approx(20, abs=0.01)
    pcm = np.concatenate(list(decode.blocks(path)), axis=1)
    assert pcm.shape == (1, 320_000)


def test_a_live_webm_has_no_duration_and_is_fine(make_media, make_voice) -> None:
    path = make_media("live.webm", "libopus", make_voice(240), options={"live": "1"})
    assert inspect(path).seconds is None
    assert ending(path) == WHOLE
    fit = judged(path)
    assert fit.seconds == pytest.approx(240, abs=0.2)
    assert fit.levels.measured > 50
    refused(path, TooLong, limits=LimitSettings(seconds=230))


def test_a_few_bytes_of_padding_are_not_missed(tmp_path: Path, make_voice) -> None:
    path = write_wav(tmp_path / "odd.wav", make_voice(20, rate=16_000))
    path.write_bytes(path.read_bytes()[:-2])
    judged(path)


def test_a_wave_file_larger_than_four_gigabytes(tmp_path: Path) -> None:
    """RF64: the true size stands in its ds64 chunk. The file is sparse."""
    long_size = 5 * 2**30
    head = b"RF64\xff\xff\xff\xffWAVE"
    head += b"ds64" + struct.pack("<IQQQI", 28, long_size + 72, long_size, long_size // 2, 0)
    head += b"fmt " + struct.pack("<IHHIIHH", 16, 1, 1, 96_000, 192_000, 2, 16)
    head += b"data\xff\xff\xff\xff"
    path = tmp_path / "big.wav"
    with path.open("wb") as file:
        file.write(head)
        file.truncate(len(head) + long_size)
    assert ending(path) == WHOLE
    with path.open("r+b") as file:
        file.truncate(len(head) + long_size - 10_000)
    assert ending(path).missing == 10_000


@pytest.mark.parametrize("seed", range(60))
def test_damage_never_raises_anything_but_bad_input(make_media, make_voice, seed) -> None:
    rng = np.random.default_rng(seed)
    name, codec, container = WHOLE_FILES[seed % len(WHOLE_FILES)]
    rate = 8000 if codec == "libopencore_amrnb" else 48_000
    path = make_media(name, codec, make_voice(6, rate=rate), rate=rate, container=container)
    data = bytearray(path.read_bytes())
    for _ in range(int(rng.integers(1, 6))):
        at = int(rng.integers(0, min(len(data), 600 if seed % 2 else len(data))))
        length = int(rng.integers(1, 40))
        data[at : at + length] = rng.bytes(length)
    path.write_bytes(data[: int(rng.integers(len(data) // 2, len(data) + 1))])
    with contextlib.suppress(BadInput):  # our own words; anything else fails the test
        assert judged(path).levels.measured > 0


# ── warnings ─────────────────────────────────────────────────────────────────────────────────


def test_what_spoils_the_words_is_said(make_media, make_voice, tmp_path: Path) -> None:
    voice = make_voice(20, rate=16_000)
    loud = np.clip(voice.astype(int) * 20, -32768, 32767).astype(np.int16)
    assert any("clipped" in w for w in judged(write_wav(tmp_path / "c.wav", loud)).warnings)
    shifted = (voice // 2 + 2000).astype(np.int16)
    assert any("off centre" in w for w in judged(write_wav(tmp_path / "d.wav", shifted)).warnings)
    hiss = np.random.default_rng(0).normal(0, 3000, 320_000).astype(np.int16)
    assert any("noise" in w for w in judged(write_wav(tmp_path / "n.wav", hiss)).warnings)
    against = make_media("x.wav", "pcm_s16le", np.stack([voice, -voice]), rate=16_000)
    assert any("separate" in w for w in judged(against).warnings)

from __future__ import annotations

import re
import wave
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest

from hansard import telemetry
from hansard.audio import decode
from hansard.errors import EmptyFile, NoAudio, NoSuchTrack, NotFound, NotMedia
from hansard.model import SAMPLE_RATE


def heard(path: Path, **options) -> np.ndarray:
    return np.concatenate(list(decode.blocks(path, **options)), axis=1)


def resampled(signal: np.ndarray, rate: int) -> np.ndarray:
    """The original at 16 kHz, by Fourier: an independent way to the same samples."""
    length = signal.size * SAMPLE_RATE // rate
    spectrum = np.fft.rfft(signal.astype(float))[: length // 2 + 1]
    return np.asarray(np.fft.irfft(spectrum, length) * length / signal.size)


def likeness(one: np.ndarray, other: np.ndarray) -> float:
    n = min(one.size, other.size)
    return float(np.corrcoef(one[:n], other[:n])[0, 1])


def alignment(one: np.ndarray, other: np.ndarray) -> tuple[float, int]:
    """The best likeness of two signals when one may come late, and how many samples late."""
    size = 1 << (one.size + other.size).bit_length()
    spectrum = np.fft.rfft(one, size) * np.conj(np.fft.rfft(other, size))
    products = np.fft.irfft(spectrum, size)
    lag = int(np.argmax(products))
    norm = np.linalg.norm(one.astype(float)) * np.linalg.norm(other.astype(float))
    return float(products[lag] / norm), lag if lag < size // 2 else lag - size


def envelope(signal: np.ndarray) -> np.ndarray:
    """Loudness every 50 ms: all that a telephone codec keeps of a tone that is no voice."""
    whole = np.abs(signal[: signal.size // 800 * 800].astype(float))
    return np.asarray(whole.reshape(-1, 800).mean(axis=1))


def can_encode(codec: str) -> bool:
    try:
        av.codec.Codec(codec, "w")
    except ValueError:
        return False
    return True


# name, codec, rate, container, likeness to the original, samples it may differ in length
KINDS = [
    ("a.wav", "pcm_s16le", 48_000, None, 0.9999, 0),
    ("a.wav", "pcm_f32le", 44_100, None, 0.9999, 1),
    ("a.wav", "pcm_mulaw", 8_000, None, 0.999, 0),
    ("a.wav", "pcm_u8", 16_000, None, 0.98, 0),
    ("a.aiff", "pcm_s16be", 44_100, None, 0.9999, 1),
    ("a.flac", "flac", 44_100, None, 0.9999, 1),
    ("a.mp3", "libmp3lame", 44_100, None, 0.99, 600),
    ("a.m4a", "aac", 44_100, None, 0.99, 600),
    ("a.aac", "aac", 44_100, "adts", None, 1600),
    ("a.ogg", "libopus", 48_000, None, 0.98, 600),
    ("a.oga", "vorbis", 48_000, "ogg", 0.95, 600),
    ("a.webm", "libopus", 48_000, None, 0.98, 600),
    ("a.mka", "flac", 48_000, "matroska", 0.9999, 0),
    ("a.mov", "aac", 48_000, None, 0.99, 600),
    ("a.3gp", "aac", 48_000, None, 0.99, 600),
    ("a.amr", "libopencore_amrnb", 8_000, None, None, 1600),
    ("a.wma", "wmav2", 44_100, None, None, 4000),
    ("a.ts", "aac", 48_000, "mpegts", None, 1600),
    ("a.avi", "libmp3lame", 44_100, None, None, 4000),
    ("a.caf", "pcm_s16be", 48_000, None, 0.9999, 0),
    ("a.alac.m4a", "alac", 48_000, None, 0.9999, 0),
]


@pytest.mark.parametrize(("name", "codec", "rate", "container", "like", "slack"), KINDS, ids=str)
def test_what_was_recorded_is_heard(
    *, make_media, make_voice, name, codec, rate, container, like, slack
) -> None:
    if not can_encode(codec):
        pytest.skip(f"this PyAV has no encoder {codec}")
    voice = make_voice(45, rate=rate)
    if codec == "vorbis":
        voice = np.stack([voice, voice])  # FFmpeg's own encoder knows stereo only
    options = {"strict": "experimental"} if codec == "vorbis" else None
    try:
        path = make_media(name, codec, voice, rate=rate, container=container, options=options)
    except av.ExperimentalError:
        pytest.skip(f"the encoder {codec} is experimental here")
    pcm = heard(path)
    assert pcm.shape[0] == 1
    original = resampled(np.atleast_2d(voice)[0], rate)
    assert abs(pcm.shape[1] - original.size) <= slack
    if like is not None:
        assert likeness(pcm[0], original) > like
    elif codec == "libopencore_amrnb":
        assert likeness(envelope(pcm[0]), envelope(original)) > 0.95
    else:  # with a delay of its own
        best, late = alignment(pcm[0], original)
        assert best > 0.95
        assert abs(late) <= 1600


def test_blocks_are_twenty_seconds_and_the_last_shorter(make_media, make_voice) -> None:
    path = make_media("a.flac", "flac", make_voice(47, rate=22_050), rate=22_050)
    lengths = [block.shape[1] for block in decode.blocks(path)]
    assert lengths[:2] == [decode.BLOCK, decode.BLOCK]
    assert sum(lengths) == pytest.approx(47 * SAMPLE_RATE, abs=2)
    assert all(b.dtype == np.int16 and b.flags.c_contiguous for b in decode.blocks(path))


def test_the_same_file_gives_the_same_bytes(make_media, make_voice) -> None:
    path = make_media("a.mp3", "libmp3lame", make_voice(30, rate=44_100), rate=44_100)
    assert heard(path).tobytes() == heard(path).tobytes()


def test_channels_stay_apart_or_are_mixed_without_clipping(make_media, make_voice) -> None:
    left, right = make_voice(10, seed=1), make_voice(10, seed=2)
    path = make_media("s.wav", "pcm_s16le", np.stack([left, right]))
    apart = heard(path, channels="separate")
    assert apart.shape == (2, 10 * SAMPLE_RATE)
    assert likeness(apart[0], resampled(left, 48_000)) > 0.9999
    assert likeness(apart[1], resampled(right, 48_000)) > 0.9999
    mixed = heard(path)[0].astype(float)
    assert np.abs(mixed - apart.astype(float).mean(axis=0)).max() <= 2


def test_a_full_scale_stereo_file_is_mixed_without_wrapping(make_media) -> None:
    square = np.where(np.arange(48_000) % 96 < 48, 32767, -32768).astype(np.int16)
    path = make_media("loud.wav", "pcm_s16le", np.stack([square, square]))
    mixed = heard(path)[0].astype(int)
    assert np.corrcoef(mixed, resampled(square, 48_000))[0, 1] > 0.99


@pytest.mark.parametrize("channels", [3, 4, 6, 8, 9, 16])
def test_many_microphones_all_count(tmp_path: Path, channels: int) -> None:
    path = tmp_path / "desk.wav"
    tone = np.rint(9000 * np.sin(np.arange(16_000) / 8)).astype(np.int16)
    for speaking in range(channels):
        samples = np.zeros((16_000, channels), np.int16)
        samples[:, speaking] = tone
        with wave.open(str(path), "wb") as file:
            file.setnchannels(channels)
            file.setsampwidth(2)
            file.setframerate(16_000)
            file.writeframes(samples.tobytes())
        apart = heard(path, channels="separate")
        assert apart.shape == (channels, 16_000)
        assert (apart[speaking] == tone).all()
        mixed = heard(path)
        assert np.abs(mixed[0] - tone / channels).max() <= 1


def test_surround_sound_keeps_the_centre_where_people_speak(tmp_path: Path) -> None:
    path = tmp_path / "film.wav"
    tone = np.rint(9000 * np.sin(np.arange(48_000) / 8)).astype(np.int16)
    samples = np.zeros((48_000, 6), np.int16)
    samples[:, 2] = tone
    with av.open(str(path), "w", format="wav") as output:
        stream = output.add_stream("pcm_s16le", rate=48_000, layout="5.1")
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), "s16", "5.1")
        frame.sample_rate = 48_000
        output.mux([*stream.encode(frame), *stream.encode(None)])
    mixed = heard(path)[0]
    assert likeness(mixed, resampled(tone, 48_000)) > 0.999
    assert np.abs(mixed).max() > 2000


def test_a_track_of_a_film_is_chosen(make_media, make_voice) -> None:
    one, two = make_voice(8, seed=1), make_voice(8, seed=2)
    path = make_media("f.mkv", "aac", one, two, video=8.0, languages=("eng", "deu"))
    assert likeness(heard(path, track=0)[0], resampled(one, 48_000)) > 0.99
    assert likeness(heard(path, track=1)[0], resampled(two, 48_000)) > 0.99
    with pytest.raises(NoSuchTrack) as refusal:
        heard(path, track=2)
    assert "0: aac mono eng; 1: aac mono deu" in str(refusal.value.hint)


# ── the timeline ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["late.mp4", "late.mkv", "late.mov", "late.ts"])
def test_sound_that_starts_after_the_picture_stays_late(make_media, make_voice, name) -> None:
    voice = make_voice(6)
    path = make_media(name, "aac", voice, video=8.0, offset=1.5)
    pcm = heard(path)[0]
    assert pcm.size == pytest.approx(7.5 * SAMPLE_RATE, abs=2200)
    original = resampled(voice, 48_000)
    best, late = alignment(pcm, original)
    assert best > 0.97
    assert late == pytest.approx(24_000, abs=0.1 * SAMPLE_RATE)
    assert not pcm[:20_000].any()


def test_a_gap_in_the_timestamps_becomes_silence(make_media, make_voice, counters) -> None:
    voice = make_voice(12)
    path = make_media(
        "gap.mka", "pcm_s16le", voice, container="matroska", keep=lambda at: not 4 <= at < 7
    )
    pcm = heard(path)[0]
    assert pcm.size == pytest.approx(12 * SAMPLE_RATE, abs=20)
    assert not pcm[4 * SAMPLE_RATE + 200 : 7 * SAMPLE_RATE - 200].any()
    after = slice(7 * SAMPLE_RATE + 500, 12 * SAMPLE_RATE - 500)
    assert likeness(pcm[after], resampled(voice, 48_000)[after]) > 0.99
    assert counters()["decode.filled_seconds"] == pytest.approx(3, abs=0.01)


def _with_timestamps(path: Path, voice: np.ndarray, starts: list[float]) -> Path:
    """Half-second packets of one signal, at the times given."""
    with av.open(str(path), "w", format="matroska") as output:
        stream = output.add_stream("pcm_s16le", rate=48_000, layout="mono")
        for i, start in enumerate(starts):
            part = voice[i * 24_000 : (i + 1) * 24_000]
            frame = av.AudioFrame.from_ndarray(part.reshape(1, -1), "s16", "mono")
            frame.sample_rate = 48_000
            for packet in stream.encode(frame):
                packet.pts = packet.dts = round(start / packet.time_base)
                output.mux(packet)
    return path


def test_sound_that_is_there_twice_is_cut(counters) -> None:
    def frame(start: float) -> av.AudioFrame:
        sound = av.AudioFrame("s16", "mono", 1000)
        sound.sample_rate, sound.pts = 10_000, round(start * 10_000)
        return sound

    # Two seconds are sent again: the clock runs from 1.0 s a second time.
    frames = [frame(i / 10) for i in (*range(30), *range(10, 50))]
    file: Any = SimpleNamespace(start_time=0, format=SimpleNamespace(name="mpegts"))
    stream: Any = SimpleNamespace(time_base=Fraction(1, 10_000))
    kept = list(decode._aligned(frames, file, stream))
    assert [sound.pts for _, sound in kept] == [1000 * i for i in range(50)]
    assert not any(gap for gap, _ in kept)
    assert counters()["decode.cut_seconds"] == pytest.approx(2)


def test_a_clock_that_starts_again_loses_nothing(make_media, make_voice) -> None:
    path = make_media("one.ts", "aac", make_voice(30), container="mpegts")
    path.write_bytes(path.read_bytes() * 2)
    pcm = heard(path)[0]
    assert pcm.size == pytest.approx(60 * SAMPLE_RATE, abs=0.3 * SAMPLE_RATE)
    original = resampled(make_voice(30), 48_000)
    best, late = alignment(pcm[30 * SAMPLE_RATE :], original)
    assert best > 0.97
    assert abs(late) <= 1600


def test_an_absurd_timestamp_does_not_fill_the_disk(tmp_path: Path, make_voice, counters) -> None:
    starts = [0, 0.5, 1, 1.5, 500_000, 500_000.5, 500_001]
    pcm = heard(_with_timestamps(tmp_path / "mad.mka", make_voice(4), starts))
    assert pcm.shape[1] == pytest.approx(3.5 * SAMPLE_RATE, abs=2)
    assert counters()["decode.clock_resets"] == 1


def test_a_rate_that_changes_on_the_way_is_followed(tmp_path: Path, make_voice) -> None:
    path = tmp_path / "changing.aac"
    parts = []
    for rate in (44_100, 16_000):
        part = tmp_path / f"{rate}.aac"
        with av.open(str(part), "w", format="adts") as output:
            stream = output.add_stream("aac", rate=rate, layout="mono")
            voice = make_voice(5, rate=rate)
            frame = av.AudioFrame.from_ndarray(voice.reshape(1, -1), "s16", "mono")
            frame.sample_rate = rate
            output.mux([*stream.encode(frame), *stream.encode(None)])
        parts.append(part.read_bytes())
    path.write_bytes(b"".join(parts))
    pcm = heard(path)[0]
    assert pcm.size == pytest.approx(10 * SAMPLE_RATE, abs=0.3 * SAMPLE_RATE)
    assert np.abs(pcm[-SAMPLE_RATE:]).max() > 1000


# ── damage ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "codec", "container"),
    [("d.mka", "aac", "matroska"), ("d.m4a", "aac", None), ("d.ogg", "libopus", None)],
)
def test_broken_packets_are_skipped_and_the_rest_stays_in_place(
    *, make_media, make_voice, counters, name, codec, container
) -> None:
    voice = make_voice(30)
    path = make_media(name, codec, voice, container=container)
    data = bytearray(path.read_bytes())
    rng = np.random.default_rng(3)
    middle = len(data) // 2
    data[middle : middle + 12_000] = rng.bytes(12_000)
    path.write_bytes(data)
    pcm = heard(path)[0]
    assert pcm.size == pytest.approx(30 * SAMPLE_RATE, abs=0.3 * SAMPLE_RATE)
    original = resampled(voice, 48_000)
    best, late = alignment(pcm[25 * SAMPLE_RATE :], original[25 * SAMPLE_RATE :])
    assert best > 0.97
    assert abs(late) <= 1600
    assert sum(v for k, v in counters().items() if k.startswith("decode.")) > 0


def test_a_file_cut_short_is_heard_to_its_end(make_media, make_voice) -> None:
    path = make_media("cut.mp3", "libmp3lame", make_voice(20))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    assert heard(path).shape[1] == pytest.approx(10 * SAMPLE_RATE, rel=0.05)


# ── safety ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("scheme", ["", "file:", "http"])
@pytest.mark.parametrize("kind", ["m3u8", "ffconcat", "sdp", "mpd", "mov-reference"])
def test_a_playlist_can_open_nothing(
    *, tmp_path: Path, make_media, make_voice, monkeypatch, kind, scheme
) -> None:
    secret = make_media("secret.wav", "pcm_s16le", make_voice(2))
    target = "http://127.0.0.1:9/secret.wav" if scheme == "http" else f"{scheme}{secret}"
    text = {
        "m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{target}\n#EXT-X-ENDLIST\n",
        "ffconcat": f"ffconcat version 1.0\nfile '{target}'\n",
        "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=audio 9 RTP/AVP 0\n",
        "mpd": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" '
        'type="static" profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"><Period>'
        f'<AdaptationSet mimeType="audio/mp4"><Representation id="0"><BaseURL>{target}</BaseURL>'
        "</Representation></AdaptationSet></Period></MPD>",
        "mov-reference": f"RTSPtext{target}\n",
    }[kind]
    bait = tmp_path / f"bait.{kind}"
    bait.write_text(text)
    opened: list[str] = []
    real = Path.open

    def watched(path: Path, *args: Any, **options: Any) -> Any:
        opened.append(str(path))
        return real(path, *args, **options)

    monkeypatch.setattr(Path, "open", watched)
    with pytest.raises(NotMedia):
        heard(bait)
    assert opened == [str(bait)]


def test_the_name_does_not_sway_the_answer(make_media, make_voice) -> None:
    path = make_media("a.mp3", "libmp3lame", make_voice(3))
    pcm = heard(path).tobytes()
    for name in ("a.wav", "a.m3u8", "http:evil", "a%d.mp4", "0123abcd", "n\udcff.mp3"):
        assert heard(path.rename(path.with_name(name))).tobytes() == pcm
        path = path.with_name(name)


def test_what_is_not_audio_is_refused(tmp_path: Path, make_media) -> None:
    with pytest.raises(NotFound):
        heard(tmp_path / "none.wav")
    empty = tmp_path / "empty.wav"
    empty.touch()
    with pytest.raises(EmptyFile):
        heard(empty)
    with pytest.raises(NoAudio):
        heard(make_media("mute.mp4", "aac", video=2.0))


# ── the rest ─────────────────────────────────────────────────────────────────────────────────


def test_excerpts_are_the_stretches_asked_for(make_media, make_voice) -> None:
    voice = make_voice(90)
    path = make_media("long.m4a", "aac", voice)
    original = resampled(voice, 48_000)
    spots = list(decode.excerpts(path, [10.0, 70.0], 5.0))
    assert len(spots) == 2
    for start, spot in zip((10, 70), spots, strict=True):
        assert spot.shape[0] == 1
        assert spot.shape[1] == pytest.approx(5 * SAMPLE_RATE, abs=0.1 * SAMPLE_RATE)
        best, late = alignment(spot[0], original[start * SAMPLE_RATE :][: spot.shape[1]])
        assert best > 0.9
        assert abs(late) <= 1600


def test_decoding_is_timed_block_by_block_without_the_consumer(make_media, make_voice) -> None:
    telemetry.reset()
    path = make_media("a.wav", "pcm_s16le", make_voice(45))
    assert len(list(decode.blocks(path))) == 3
    timing = telemetry.snapshot().timings["prepare.decode"]
    assert timing.count == 4  # three blocks and the end


def test_memory_does_not_grow_with_the_recording(tmp_path: Path) -> None:
    """An hour of sparse PCM: the generator holds a block or two, not the recording."""
    import tracemalloc

    path = tmp_path / "hour.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        for _ in range(60):
            file.writeframes(bytes(2 * 16_000 * 60))
    tracemalloc.start()
    try:
        total = sum(block.shape[1] for block in decode.blocks(path))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert total == 3600 * SAMPLE_RATE
    assert peak < 8 * decode.BLOCK * 2


def test_real_speech_equals_what_ffmpeg_gives_others(speech_data: Path) -> None:
    audio = pytest.importorskip("faster_whisper.audio")
    for path in sorted((speech_data / "speech").glob("*.flac")):
        theirs = np.rint(audio.decode_audio(str(path)) * 32768).astype(np.int16)
        ours = heard(path)[0]
        assert re.fullmatch(r"\w[\w-]*\.flac", path.name)
        assert ours.tobytes() == theirs.tobytes()

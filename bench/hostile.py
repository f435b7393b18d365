"""Hostile media: thousands of damaged and malicious files through the cage; none may do anything.

    python bench/hostile.py [--count 10000] [--seed 1] [--keep FOLDER]

Good files are made in several containers and codecs, then cut, flipped, spliced and lied about;
between them come bombs, playlists that point elsewhere, and things that are no media at all. Each
goes through preflight in a cage, and what is accepted is decoded there. Each must end as a clean
error or as a transcribable recording; this process must neither crash nor grow, and nobody may call
the address that the playlists name. ``--keep`` writes down the files that broke a rule.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import socket
import struct
import sys
import tempfile
import threading
import time
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
import psutil

from hansard.audio.cage import Cage
from hansard.config import CageSettings, LimitSettings
from hansard.errors import HansardError

KINDS = {
    "wav": ("wav", "pcm_s16le", 16000),
    "wav24": ("wav", "pcm_s24le", 48000),
    "ulaw.wav": ("wav", "pcm_mulaw", 8000),
    "adpcm.wav": ("wav", "adpcm_ms", 16000),
    "w64": ("w64", "pcm_s16le", 16000),
    "aiff": ("aiff", "pcm_s16be", 22050),
    "au": ("au", "pcm_s16be", 16000),
    "caf": ("caf", "pcm_s16le", 16000),
    "flac": ("flac", "flac", 16000),
    "opus": ("ogg", "libopus", 48000),
    "flac.ogg": ("ogg", "flac", 16000),
    "mp3": ("mp3", "libmp3lame", 44100),
    "mp2": ("mp2", "mp2", 44100),
    "m4a": ("mp4", "aac", 44100),
    "alac.m4a": ("mp4", "alac", 44100),
    "mov": ("mov", "pcm_s16le", 44100),
    "aac": ("adts", "aac", 44100),
    "ac3": ("ac3", "ac3", 48000),
    "eac3": ("eac3", "eac3", 48000),
    "mkv": ("matroska", "flac", 16000),
    "webm": ("webm", "libopus", 48000),
    "wma": ("asf", "wmav2", 44100),
    "avi": ("avi", "libmp3lame", 44100),
    "ts": ("mpegts", "aac", 44100),
    "flv": ("flv", "aac", 44100),
    "wv": ("wv", "wavpack", 44100),
    "tta": ("tta", "tta", 44100),
    "nut": ("nut", "flac", 16000),
}
"""Name → FFmpeg's muxer, encoder and Hz."""

EXTREMES = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)


@dataclass
class Tally:
    """What came of a run."""

    outcomes: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    """Files that broke a rule, and how."""
    decoded: float = 0.0
    """Seconds of audio out of accepted files."""
    slowest: float = 0.0
    calls: int = 0
    """Connections to the address that playlists name."""
    grown: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Descriptors, child processes and MB of memory: after the first tenth, and at the end."""


# ── good files ───────────────────────────────────────────────────────────────────────────────


def good(kind: str, seconds: float = 1.5, tracks: int = 1, *, silent: bool = False) -> bytes:
    muxer, codec, rate = KINDS[kind]
    out = io.BytesIO()
    rng = np.random.default_rng(len(kind))
    # A fixed flag each: the bytes must not depend on the day.
    with av.open(out, "w", format=muxer, options={"fflags": "+bitexact"}) as container:
        streams: list[Any] = [
            container.add_stream(codec, rate=rate, layout="mono") for _ in range(tracks)
        ]
        for stream in streams:
            stream.bit_rate = 64_000
            done = 0
            while done < seconds * rate:
                count = min(rate, int(seconds * rate) - done)
                wave = np.sin(np.arange(done, done + count) * 0.05) * 9000
                wave += rng.normal(0, 1500, count)
                samples = np.zeros(count) if silent else wave
                frame = av.AudioFrame.from_ndarray(
                    samples.astype(np.int16).reshape(1, -1), "s16", "mono"
                )
                frame.sample_rate, frame.pts = rate, done
                done += count
                for packet in stream.encode(frame):
                    container.mux(packet)
            for packet in stream.encode(None):
                container.mux(packet)
    return out.getvalue()


def seeds() -> dict[str, bytes]:
    """A good file of every kind that this FFmpeg can write."""
    found = {}
    for kind in KINDS:
        try:
            found[kind] = good(kind)
        except (av.FFmpegError, ValueError) as error:
            print(f"no {kind}: {error}", file=sys.stderr)
    found["three.mkv"] = good("mkv", 1.0, 3)
    return {kind: data for kind, data in found.items() if data}


# ── damage ───────────────────────────────────────────────────────────────────────────────────


def cut(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data)) :]


def cut_front(data: bytearray, rng: random.Random) -> None:
    del data[: rng.randrange(min(len(data), 4096))]


def flip(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.choice((1, 3, 10, 100, 1000))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def flip_head(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.choice((1, 2, 5, 20))):
        data[rng.randrange(min(len(data), 256))] = rng.randrange(256)


def lie(data: bytearray, rng: random.Random) -> None:
    """Numbers at the ends of what fits, where sizes and counts are."""
    reach = rng.choice((64, 512, len(data)))
    for _ in range(rng.choice((1, 2, 4))):
        at = rng.randrange(max(1, min(reach, len(data)) - 8))
        form = rng.choice(("<I", ">I", "<H", ">H", "<Q", ">Q"))
        most = (1 << 8 * struct.calcsize(form)) - 1
        struct.pack_into(form, data, at, rng.choice(EXTREMES) & most)


def blank(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data))
    count = min(len(data) - at, rng.choice((4, 100, 5000)))
    data[at : at + count] = bytes([rng.choice((0, 255))]) * count


def repeat(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data))
    piece = data[at : at + rng.choice((8, 200, 5000))]
    data[at:at] = piece * rng.choice((1, 10, 200))


def stuff(data: bytearray, rng: random.Random) -> None:
    at = rng.choice((0, rng.randrange(len(data))))
    data[at:at] = rng.randbytes(rng.choice((1, 17, 1000)))


def tag(data: bytearray, rng: random.Random) -> None:
    """An ID3 tag whose size is a lie, or full of a picture."""
    size = rng.choice((0, 10, 10_000, 2**28 - 1))
    head = bytes((size >> shift) & 127 for shift in (21, 14, 7, 0))
    body = rng.choice((b"", b"APIC\x00\x00\x20\x00\x00\x00" + bytes(9000), rng.randbytes(500)))
    data[0:0] = b"ID3\x04\x00\x00" + head + body


DAMAGE: tuple[Callable[[bytearray, random.Random], None], ...] = (
    cut,
    cut,
    cut_front,
    flip,
    flip,
    flip_head,
    lie,
    lie,
    lie,
    blank,
    repeat,
    stuff,
    tag,
)


# ── malice ───────────────────────────────────────────────────────────────────────────────────


def wave(rng: random.Random, **lies: int) -> bytes:
    """A WAV whose header says what we like."""
    says = {"form": 1, "channels": 1, "rate": 16000, "second": 32000, "frame": 2, "bits": 16}
    says |= lies
    size = lies.get("size", 32000)
    head = struct.pack("<4sI4s4sI", b"RIFF", 36 + 32000, b"WAVE", b"fmt ", 16)
    head += struct.pack(
        "<HHIIHH", *(says[n] for n in ("form", "channels", "rate", "second", "frame", "bits"))
    )
    return head + struct.pack("<4sI", b"data", size) + rng.randbytes(32000)


SESSION = b"""v=0
o=- 0 0 IN IP4 127.0.0.1
s=x
c=IN IP4 127.0.0.1
t=0 0
m=audio 5004 RTP/AVP 0
"""


def pointing(address: str) -> list[tuple[str, bytes]]:
    """Playlists and manifests that name this machine's files and an address."""
    return [
        ("list.m3u8", f"#EXTM3U\n#EXTINF:9,\n{address}/a.ts\n#EXTINF:9,\nfile:///etc/passwd\n"
         "#EXT-X-ENDLIST\n".encode()),
        ("list.wav", f"#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:1.0,\nconcat:{address}|file:"
         "///etc/passwd\n#EXT-X-ENDLIST\n".encode()),
        ("list.mp3", f"ffconcat version 1.0\nfile '{address}/x'\nfile /etc/passwd\n".encode()),
        ("call.sdp", SESSION),
        ("a.mpd", f'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static">'
         f"<Period><AdaptationSet><Representation><BaseURL>{address}/</BaseURL></Representation>"
         "</AdaptationSet></Period></MPD>".encode()),
        ("a.asx", f'<asx version="3.0"><entry><ref href="{address}/x"/></entry></asx>'.encode()),
        ("a.ram", f"{address}/x.rm\n".encode()),
        ("a.flac", f"subfile,,start,0,end,0,,:{address}/x".encode()),
    ]  # fmt: skip


def boxes(count: int) -> bytes:
    """An MP4 of nothing but tracks."""
    track = struct.pack(">I4sI4s", 16, b"trak", 8, b"mdia")
    inside = track * count
    head = struct.pack(">I4s4sI", 16, b"ftyp", b"isom", 0)
    return head + struct.pack(">I4s", 8 + len(inside), b"moov") + inside


def deep(levels: int) -> bytes:
    """Boxes in boxes."""
    inside = b""
    for _ in range(levels):
        inside = struct.pack(">I4s", 8 + len(inside), b"moov") + inside
    return struct.pack(">I4s4sI", 16, b"ftyp", b"isom", 0) + inside


def elements(count: int) -> bytes:
    """A Matroska with so many tracks."""
    inside = b"\xd7\x81\x01\x83\x81\x02\x86\x86A_FLAC"
    tracks = (b"\xae" + bytes([0x80 | len(inside)]) + inside) * count
    head = b"\x1a\x45\xdf\xa3\x8b\x42\x82\x88matroska"
    segment = b"\x18\x53\x80\x67\x01\xff\xff\xff\xff\xff\xff\xff"
    return head + segment + b"\x16\x54\xae\x6b\x01" + len(tracks).to_bytes(7, "big") + tracks


def zipped() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("a.wav", bytes(20_000_000))
    return out.getvalue()


def malicious(address: str, good_ones: dict[str, bytes]) -> list[tuple[str, bytes]]:
    """Files made to hurt, each with the name it pretends to."""
    rng = random.Random(3)
    lies = [
        {"rate": 0xFFFFFFFF},
        {"rate": 0},
        {"rate": 1},
        {"channels": 0},
        {"channels": 65535, "frame": 65534},
        {"channels": 1000, "frame": 2000},
        {"bits": 65535},
        {"bits": 0},
        {"frame": 0},
        {"frame": 65535},
        {"size": 0xFFFFFFF0},
        {"form": 0xFFFE},
        {"form": 0x11, "frame": 1, "bits": 4},
        {"form": 2, "frame": 7, "bits": 4},
        {"form": 0x2000},
        {"form": 0x55},
    ]
    found = [(f"lie{n}.wav", wave(rng, **said)) for n, said in enumerate(lies)]
    found += pointing(address)
    flac = bytearray(good_ones["flac"])
    at = flac.index(b"fLaC") + 8 + 13
    flac[at] |= 0x0F
    flac[at + 1 : at + 5] = b"\xff" * 4  # 2^36 samples
    matroska = bytearray(good_ones["mkv"])
    if (at := matroska.find(b"\x44\x89\x88")) > 0:
        matroska[at + 3 : at + 11] = struct.pack(">d", 1e15)
    ogg = bytearray(good_ones["opus"])
    at = ogg.rfind(b"OggS")
    ogg[at + 6 : at + 14] = struct.pack("<q", 2**62)
    mov = good_ones["mov"].replace(b"url \x00\x00\x00\x01", b"url \x00\x00\x00\x00")
    alias = mov.replace(b"url \x00\x00\x00\x00", b"alis\x00\x00\x00\x00")
    found += [
        ("long.flac", bytes(flac)),
        ("long.mkv", bytes(matroska)),
        ("long.opus", bytes(ogg)),
        ("away.mov", mov),
        ("alias.mov", alias),
        ("silence.flac", good("flac", 7200.0, silent=True)),
        ("quiet.mp3", good("mp3", 600.0, silent=True)),
        ("tracks.mkv", good("mkv", 0.2, 100)),
        ("tracks.mp4", boxes(100_000)),
        ("deep.mp4", deep(20_000)),
        ("tracks2.mkv", elements(50_000)),
        ("bomb.zip", zipped()),
        ("bomb.wav", zipped()),
        ("squeezed.wav", zlib.compress(bytes(5_000_000))),
        ("empty.wav", b""),
        ("one.wav", b"R"),
        ("text.mp3", b"This is not a recording.\n" * 400),
        ("page.mp4", b"<!doctype html><html><body>404</body></html>" * 30),
        ("noise.ogg", rng.randbytes(100_000)),
        ("zeros.mp3", bytes(100_000)),
        ("ones.aac", b"\xff" * 100_000),
        ("frames.mp3", b"\xff\xfb\x90\x00" * 50_000),
        ("sync.aac", b"\xff\xf1\x50\x80\x00\x1f\xfc" * 20_000),
        ("pages.ogg", b"OggS\x00\x02" + bytes(21) + b"\x00" * 50_000),
        ("picture.mp3", b"\x89PNG\r\n\x1a\n" + rng.randbytes(3000)),
        ("program.wav", b"\x7fELF" + rng.randbytes(3000)),
        ("name\n\x1b[31m.wav", wave(rng)),
    ]
    return found


# ── one file after the other ─────────────────────────────────────────────────────────────────


class Cases:
    """Hostile files by number; the same seed gives the same files."""

    def __init__(self, seed: int, address: str) -> None:
        self._seed = seed
        self._good = seeds()
        self._bad = malicious(address, self._good)
        self._kinds = sorted(self._good)

    def case(self, number: int) -> tuple[str, bytes]:
        """A name and bytes. The first are the crafted ones, then damage, now and then to those."""
        if number < len(self._bad):
            return self._bad[number]
        rng = random.Random(f"{self._seed}.{number}")
        if rng.random() < 0.08:
            name, source = rng.choice(self._bad)
        else:
            kind = rng.choice(self._kinds)
            name, source = f"a.{kind}", self._good[kind]
        data = bytearray(source)
        if rng.random() < 0.1:
            other = self._good[rng.choice(self._kinds)]
            at = rng.choice((4, 16, 64, 512))
            data = bytearray(data[:at] + other[at:])
        for damage in rng.choices(DAMAGE, k=rng.choice((1, 1, 2, 3))):
            if len(data) > 16:
                damage(data, rng)
        if rng.random() < 0.2:
            name = f"a.{rng.choice(self._kinds)}"
        return name, bytes(data[: 4 * 2**20])


@contextmanager
def listening(tally: Tally) -> Iterator[str]:
    """An address that nobody should call."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        over = threading.Event()

        def answer() -> None:
            while not over.is_set():
                try:
                    server.accept()[0].close()
                except TimeoutError:
                    continue
                tally.calls += 1

        thread = threading.Thread(target=answer)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        over.set()
        thread.join()


def judged(cage: Cage, path: Path, limits: LimitSettings, tally: Tally) -> str:
    """What becomes of a file: an error's code, or what was decoded."""
    try:
        fit = cage.preflight(path, limits=limits)
    except HansardError as error:
        return error.code
    try:
        samples = 0
        blocks = cage.blocks(path, limits=limits, seconds=fit.seconds)
        for block in blocks:
            samples += block.shape[1]
    except HansardError as error:
        return f"accepted, then {error.code}"
    tally.decoded += samples / 16_000
    return "accepted"


def sizes() -> dict[str, int]:
    process = psutil.Process()
    return {
        "descriptors": process.num_fds(),
        "processes": len(process.children(recursive=True)),
        "megabytes": process.memory_info().rss // 2**20,
    }


def settled(before: dict[str, int], patience: float = 20.0) -> dict[str, int]:
    """The sizes once those who had just been told to end are gone: what leaks never is."""
    until = time.monotonic() + patience
    now = sizes()
    while time.monotonic() < until and any(
        now[name] > before[name] for name in ("processes", "descriptors")
    ):
        time.sleep(0.05)
        now = sizes()
    return now


def run(count: int, seed: int, *, threads: int = 2, keep: Path | None = None) -> Tally:
    """Have ``count`` hostile files judged."""
    tally = Tally()
    settings = CageSettings(memory=512 * 2**20, seconds=10.0, factor=0.02)
    limits = LimitSettings(seconds=4 * 3600.0)
    with (
        listening(tally) as address,
        tempfile.TemporaryDirectory() as folder,
        Cage(settings) as cage,
    ):
        cases = Cases(seed, address)

        def one(number: int) -> None:
            name, data = cases.case(number)
            safe = "".join(c if c.isprintable() and c != "/" else "_" for c in name)
            path = Path(folder) / str(number) / safe
            path.parent.mkdir()
            path.write_bytes(data)
            begun = time.monotonic()
            try:
                outcome = judged(cage, path, limits, tally)
            except BaseException as error:  # noqa: BLE001  # exactly what is looked for
                outcome = f"escaped: {type(error).__name__}: {error}"
            tally.slowest = max(tally.slowest, time.monotonic() - begun)
            if outcome.startswith("escaped") or outcome == "cage_broken":
                tally.broken.append(f"{number} {safe}: {outcome}")
                if keep is not None:
                    (keep / f"{number}-{safe}").write_bytes(data)
            elif outcome == "hostile_media" and keep is not None:
                (keep / f"{number}-{safe}").write_bytes(data)
            tally.outcomes[outcome] += 1
            if number % 500 == 499:
                print(f"{number + 1}: {dict(tally.outcomes)}", file=sys.stderr, flush=True)
            path.unlink()
            path.parent.rmdir()

        first = max(1, count // 10)
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(one, range(first)))
            before = sizes()
            list(pool.map(one, range(first, count)))
            after = settled(before)
        tally.grown = {name: (before[name], after[name]) for name in before}
    return tally


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path)
    given = parser.parse_args()
    if given.keep is not None:
        given.keep.mkdir(parents=True, exist_ok=True)
    os.nice(10)
    begun = time.monotonic()
    tally = run(given.count, given.seed, keep=given.keep)
    for line in tally.broken:
        print(line)
    said: dict[str, Any] = {
        "files": given.count,
        "seed": given.seed,
        "broken": len(tally.broken),
        "outcomes": dict(tally.outcomes.most_common()),
        "decoded_seconds": round(tally.decoded),
        "slowest_seconds": round(tally.slowest, 2),
        "calls_to_the_named_address": tally.calls,
        "before_and_after": tally.grown,
        "seconds": round(time.monotonic() - begun),
    }
    print(json.dumps(said))
    sys.exit(1 if tally.broken or tally.calls else 0)


if __name__ == "__main__":
    main()

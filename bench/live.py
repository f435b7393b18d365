"""How long a live session takes from the end of what was said to its words.

    python bench/live.py [SECONDS]

Feeds the sample meeting in real time through the whole path (WebSocket, tape, speech detection,
queue, embedded engine) and measures, for each final message, how long after the end of its speech
(by the recording's own clock) it arrived; and how long after the first sound of an utterance the
first guess came. The last line is JSON.
"""

from __future__ import annotations

import json
import socket
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

import av
import numpy as np
from websockets.sync.client import ClientConnection, connect

from hansard.api.process import server
from hansard.config import load
from hansard.wiring import House

SAMPLE = Path(__file__).parents[1] / "samples" / "meeting.ogg"
PAD = 0.2  # seconds of silence that belong to a stretch of speech; see config.VadSettings


def samples(seconds: float) -> bytes:
    resampler = av.AudioResampler(format="s16", layout="mono", rate=16_000)
    pieces = []
    with av.open(str(SAMPLE), "r") as media:
        for frame in [*media.decode(audio=0), None]:
            pieces += [out.to_ndarray()[0] for out in resampler.resample(frame)]
    found: bytes = np.concatenate(pieces)[: int(seconds * 16_000)].tobytes()
    return found


def speak(line: ClientConnection, audio: bytes, began: list[float]) -> None:
    began.append(time.monotonic())
    for at in range(0, len(audio), 3200):
        time.sleep(max(0.0, began[0] + at / 32_000 - time.monotonic()))
        line.send(audio[at : at + 3200])
    line.send('{"type": "end"}')


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 45.0
    audio = samples(seconds)
    with tempfile.TemporaryDirectory() as data, House(load(data=Path(data))) as house:
        house.start()
        listening = socket.create_server(("127.0.0.1", 0))
        api = server(house)
        thread = threading.Thread(target=api.run, kwargs={"sockets": [listening]})
        thread.start()
        port = listening.getsockname()[1]
        while not api.started:
            time.sleep(0.01)
        finals, guesses = listen(port, audio)
        api.should_exit = True
        thread.join()
        listening.close()
    print(f"{len(finals)} finals after {' '.join(f'{one:.2f}' for one in finals)} s")
    print(
        json.dumps(
            {
                "bench": "live",
                "seconds": seconds,
                "finals": len(finals),
                "final_p50": round(statistics.median(finals), 2),
                "final_max": round(max(finals), 2),
                "first_guess_p50": round(statistics.median(guesses), 2) if guesses else None,
            }
        )
    )


def listen(port: int, audio: bytes) -> tuple[list[float], list[float]]:
    """Seconds from the end of speech to each final, and from its beginning to the first guess."""
    finals: list[float] = []
    guesses: dict[int, float] = {}
    began: list[float] = []
    address = f"ws://127.0.0.1:{port}/api/v1/live?format=pcm_s16le&model=sphinx"
    with connect(address, proxy=None) as line:
        json.loads(line.recv())
        speaker = threading.Thread(target=speak, args=(line, audio, began))
        speaker.start()
        for text in line:
            message = json.loads(text)
            now = time.monotonic() - began[0]
            if message["type"] == "final":
                finals.append(now - (message["end"] - PAD))
            elif message["type"] == "partial" and message["number"] not in guesses:
                guesses[message["number"]] = now - (message["start"] + PAD)
        speaker.join()
    return finals, list(guesses.values())


if __name__ == "__main__":
    main()

"""Longer meetings for telling voices apart: 3, 5 and 8 people, noise, distance, people at once.

The voices are Debian's flite (four recorded people) and espeak-ng's variants of English, each with
formants, pitch and a source of its own; espeak-ng comes as a library in the wheel of
``espeakng-loader``. Every person sits somewhere: a level and a room of their own (exponentially
decaying echoes; J. B. Allen and D. A. Berkley's simplest case, walls without a shape). The truth is
the stretch of each sentence before the echo; pauses inside a sentence count as speech.
"""

from __future__ import annotations

import ctypes
import importlib
import random
import threading
from collections.abc import Iterator
from functools import cache
from itertools import count
from typing import Any, NamedTuple

import numpy as np
import voices
from numpy.typing import NDArray
from script import SENTENCES, filled
from voices import RATE, Meeting, Samples, Sentence, Signal

_ESPEAK_RATE = 22_050
_AT_ONCE = 2  # AUDIO_OUTPUT_SYNCHRONOUS
_UTF8 = 1
_SPEED = 1  # espeakRATE
_PITCH = 3  # espeakPITCH


class Person(NamedTuple):
    """A voice: ``flite:slt`` or ``espeak:en-us+f2``; ``pitch`` and ``pace`` are espeak-ng's."""

    name: str
    voice: str
    pitch: int = 50
    pace: int = 160


class Plan(NamedTuple):
    """A meeting to be made.

    ``noise`` is the room's RMS in dBFS (voices: -22), ``hum`` that of its mains hum, ``echo`` the
    RT60 in seconds, ``apart`` how many dB people's levels differ at most. ``over`` is the share of
    turns that begin before the one before has ended, ``aside`` that of turns into which another
    says a word or two.
    """

    name: str
    people: tuple[Person, ...]
    minutes: float
    seed: int
    noise: float
    hum: float
    echo: float
    apart: float
    over: float
    aside: float


SUSAN = Person("Susan", "flite:slt")
ROBERT = Person("Robert", "flite:rms")
ANDREW = Person("Andrew", "flite:awb")
CHARLES = Person("Charles", "flite:kal16")
FIONA = Person("Fiona", "espeak:en-us+f2", 60, 165)
BORIS = Person("Boris", "espeak:en+m3", 40, 150)
LINDA = Person("Linda", "espeak:en-gb-scotland+linda", 70, 170)
KARL = Person("Karl", "espeak:en-us+klatt4", 30, 155)
ADAM = Person("Adam", "espeak:en-us+adam", 45, 165)
BELINDA = Person("Belinda", "espeak:en-us+belinda", 55, 160)
EDWARD = Person("Edward", "espeak:en+edward", 50, 170)

PLANS = (
    Plan("three", (SUSAN, ROBERT, FIONA), 10, 11, -62, -80, 0.0, 2.0, 0.15, 0.1),
    Plan("five", (ANDREW, SUSAN, BORIS, LINDA, CHARLES), 20, 12, -52, -65, 0.2, 4.0, 0.15, 0.1),
    Plan(
        "eight",
        (ROBERT, CHARLES, SUSAN, ANDREW, FIONA, BORIS, KARL, BELINDA),
        30, 13, -50, -60, 0.25, 6.0, 0.15, 0.1,
    ),
)  # fmt: skip
"""The three meetings of ``bench/diarize.py``."""

_ASIDES = ("Yes.", "I agree.", "That is right.", "Of course.", "No, no.", "Very good.")


class EspeakMissing(RuntimeError):
    """The library that speaks is not installed."""


@cache
def _espeak() -> tuple[Any, Any, list[NDArray[np.int16]], threading.Lock]:
    """The library, started once for the process; its callback; what it has said; who may speak."""
    try:
        loader = importlib.import_module("espeakng_loader")
    except ImportError as error:
        raise EspeakMissing("pip install espeakng-loader, whose wheel holds espeak-ng") from error
    library = ctypes.CDLL(loader.get_library_path())
    said: list[NDArray[np.int16]] = []

    def heard(samples: Any, length: int, events: Any) -> int:
        del events
        if samples and length > 0:
            said.append(np.ctypeslib.as_array(samples, (length,)).copy())
        return 0

    kind = ctypes.CFUNCTYPE(
        ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
    )
    callback = kind(heard)
    rate = library.espeak_Initialize(_AT_ONCE, 0, loader.get_data_path().encode(), 0)
    if rate != _ESPEAK_RATE:
        raise EspeakMissing(f"espeak-ng did not start (answer {rate})")
    library.espeak_SetSynthCallback(callback)
    return library, callback, said, threading.Lock()


def _espeak_says(person: Person, text: str) -> NDArray[np.float64]:
    """One sentence at 16 kHz, as espeak-ng says it."""
    from scipy.signal import resample_poly

    library, _, said, lock = _espeak()
    with lock:
        said.clear()
        voice = person.voice.partition(":")[2]
        if library.espeak_SetVoiceByName(voice.encode()):
            raise EspeakMissing(f"espeak-ng has no voice {voice}")
        library.espeak_SetParameter(_SPEED, person.pace, 0)
        library.espeak_SetParameter(_PITCH, person.pitch, 0)
        raw = text.encode()
        library.espeak_Synth(raw, ctypes.c_size_t(len(raw) + 1), 0, 1, 0, _UTF8, None, None)
        library.espeak_Synchronize()
        samples = np.concatenate(said).astype(np.float64) / 32768
    spoken: NDArray[np.float64] = resample_poly(samples, 320, 441)
    return spoken


def speak(person: Person, text: str) -> Signal:
    """One sentence at the common level, without pauses around it.

    Raises:
        voices.FliteMissing: a flite voice without flite.
        EspeakMissing: an espeak-ng voice without espeak-ng.
    """
    engine, _, voice = person.voice.partition(":")
    if engine == "flite":
        return voices.speak(voice, text)
    return voices.levelled(_espeak_says(person, text).astype(np.float32))


def turns(people: tuple[Person, ...], rng: random.Random) -> Iterator[tuple[Person, list[str]]]:
    """Who says what, without end: nobody twice in a row, some more often than others."""
    eager = {person: rng.uniform(0.6, 1.8) for person in people}
    speaker = people[0]
    for number in count():
        if number < len(people):
            speaker = people[number]  # everybody says something
        else:
            others = [person for person in people if person != speaker]
            speaker = rng.choices(others, [eager[person] for person in others])[0]
        texts = rng.sample(SENTENCES, rng.randint(1, 5))
        yield speaker, [filled(text, rng) for text in texts]


def _seat(plan: Plan, rng: np.random.Generator) -> tuple[float, NDArray[np.float64]]:
    """How loud somebody is at the microphone (a factor), and the echo of where they sit."""
    gain = 10 ** (rng.uniform(-plan.apart, 0.0) / 20)
    if not plan.echo:
        return gain, np.ones(1)
    length = round(plan.echo * RATE)
    decay = np.exp(-np.log(1000) * np.arange(length) / length)
    tail = rng.standard_normal(length) * decay
    tail[: RATE // 200] = 0  # nothing arrives in the first 5 ms but the voice itself
    return gain, np.concatenate([[1.0], 0.5 * tail / np.sqrt(np.sum(tail**2))])


def made(plan: Plan) -> tuple[Samples, Meeting]:
    """Mono audio at 16 kHz and what is said in it.

    The same plan makes the same meeting in a fresh process; espeak-ng's noise goes on running.

    Raises:
        voices.FliteMissing, EspeakMissing: who speaks is not on this machine.
    """
    from scipy.signal import fftconvolve

    rng, numbers = random.Random(plan.seed), np.random.default_rng(plan.seed)
    seats = {person: _seat(plan, numbers) for person in plan.people}
    mix = np.zeros(round((plan.minutes * 60 + 60) * RATE), np.float32)
    sentences: list[Sentence] = []

    def place(at: int, person: Person, text: str) -> int:
        """Put a sentence into the mix; where it ends, echo apart."""
        dry = speak(person, text)
        gain, echo = seats[person]
        wet = (fftconvolve(dry, echo) if len(echo) > 1 else dry)[: len(mix) - at] * gain
        mix[at : at + len(wet)] += wet.astype(np.float32)
        end = min(at + len(dry), len(mix))
        sentences.append(Sentence(round(at / RATE, 3), round(end / RATE, 3), person.name, text))
        return end

    at = RATE // 2
    for speaker, texts in turns(plan.people, rng):
        if sentences and rng.random() < plan.over:
            at -= round(rng.uniform(0.3, 1.2) * RATE)
        else:
            at += round(rng.uniform(0.1, 0.9) * RATE)
        begin = at
        for index, text in enumerate(texts):
            at = place(at + (round(rng.uniform(0.3, 0.8) * RATE) if index else 0), speaker, text)
        if rng.random() < plan.aside and at - begin > 4 * RATE:
            other = rng.choice([person for person in plan.people if person != speaker])
            place(rng.randint(begin + RATE, at - 2 * RATE), other, rng.choice(_ASIDES))
        if at >= plan.minutes * 60 * RATE:
            break
    mix = mix[: at + RATE // 2]
    mix += _noise(plan, len(mix))
    pcm = np.clip(np.rint(mix * 32767), -32768, 32767).astype(np.int16)
    names = {person.name: person.voice for person in plan.people}
    sentences.sort(key=lambda sentence: sentence.start)
    return pcm, Meeting(round(len(mix) / RATE, 3), plan.seed, names, sentences)


def _noise(plan: Plan, samples: int) -> Signal:
    """The room: pink noise, and mains hum of 50 Hz with its harmonics."""
    shift = np.float32(10 ** ((plan.noise - voices.NOISE_DBFS) / 20))
    pink = voices.room(samples, plan.seed) * shift
    hum = np.zeros(samples, np.float32)
    moments = np.arange(samples, dtype=np.float64) / RATE
    for harmonic, strength in ((1, 1.0), (2, 0.5), (3, 0.7), (5, 0.3)):
        hum += (strength * np.sin(2 * np.pi * 50 * harmonic * moments)).astype(np.float32)
    return (pink + hum * np.float32(10 ** (plan.hum / 20))).astype(np.float32)

# ruff: noqa: RUF001  (signs of other scripts are meant as they stand)
"""Finds an engine's answer wanting: one pure function over a window's result.

Whisper checks itself by compression ratio, log-probability and no-speech probability (Radford et
al., *Robust Speech Recognition via Large-Scale Weak Supervision*, 2022, section 4.5; the limits
are those of its ``transcribe.py``). The other guards catch what those let through, and engines
that report no measures. A doubtful answer is not a wrong one: it is decoded once more with
fallback settings, and ``speech.coverage.settle`` keeps the better of the two.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections.abc import Iterator, Sequence

from hansard.model import Utterance, WindowResult

COMPRESSION = 2.4
"""Text that packs better than this repeats itself (Whisper's ``compression_ratio_threshold``)."""

LOGPROB = -1.0
"""Mean log-probability of a token below which decoding failed (Whisper's
``logprob_threshold``)."""

NO_SPEECH = 0.6
"""Probability of no speech above which text is not believed by itself (Whisper's
``no_speech_threshold``)."""

SPEECH_SECONDS = 1.0
"""A window with this much detected speech must have words."""

PADS_SECONDS = 0.4
"""What the default pads add to the shortest window (``VadSettings.pad``, both sides)."""

SHORT_WINDOW = 5.0
"""Seconds. Whisper makes its subtitle credits up where it is given little to hear."""

WORDS_A_SECOND = 10.0
"""The fastest speakers on record reach 10 to 11 words in a second; debaters about 6."""

SYLLABLES_A_SECOND = 16.0
"""For scripts without spaces: twice the 8 syllables a second of the fastest languages at an
ordinary pace (Pellegrino, Coupé and Marsico, *Language* 87, 2011)."""

_LETTERS_A_SYLLABLE = 4
"""Signs that Thai and its neighbours write for one syllable, marks included; 3 to 4."""

LOOPS: tuple[tuple[int, int], ...] = ((1, 8), (2, 5), (3, 4), (6, 3))
"""Words in a phrase (at least) → times in a row that nobody says it."""

_LONGEST_PHRASE = 24

_LETTERS = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Burmese, Khmer
_SYLLABLES = (
    r"\u3040-\u30ff"  # Japanese kana
    r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Chinese characters
)
SPACELESS_SIGNS = _LETTERS + _SYLLABLES
"""Inside of a regular expression's ``[…]``: scripts that put no spaces between words."""

_UNITS = re.compile(rf"[{SPACELESS_SIGNS}]|(?:(?![{SPACELESS_SIGNS}])[\w'’])+")

_INVENTED = (
    "thanks for watching",
    "thank you for watching",
    "thank you so much for watching",
    "thank you very much for watching",
    "thanks for listening",
    "please subscribe",
    "please subscribe to my channel",
    "please like and subscribe",
    "dont forget to subscribe",
    "see you in the next video",
    "ill see you in the next video",
    "subtitles by the amaraorg community",
    "transcription by castingwords",
    "sous titres réalisés par la communauté damaraorg",
    "sous titrage société radio canada",
    "merci davoir regardé cette vidéo",
    "untertitel der amaraorg community",
    "untertitel im auftrag des zdf für funk 2017",
    "untertitelung des zdf 2020",
    "vielen dank fürs zuschauen",
    "subtítulos realizados por la comunidad de amaraorg",
    "subtítulos por la comunidad de amaraorg",
    "gracias por ver el video",
    "suscríbete al canal",
    "sottotitoli creati dalla comunità amaraorg",
    "sottotitoli e revisione a cura di qtss",
    "legendas pela comunidade amaraorg",
    "obrigado por assistir",
    "ondertiteld door de amaraorg gemeenschap",
    "napisy stworzone przez społeczność amaraorg",
    "dziękuję za uwagę",
    "редактор субтитров а семкин корректор а егорова",
    "субтитры сделал dimatorzok",
    "субтитры создавал dimatorzok",
    "продолжение следует",
    "спасибо за просмотр",
    "дякую за перегляд",
    "altyazı mk",
    "i̇zlediğiniz için teşekkür ederim",
    "izlediğiniz için teşekkür ederim",
    "teksting av nicolai winther",
    "undertexter från amaraorg gemenskapen",
    "ترجمة نانسي قنقر",
    "اشتركوا في القناة",
    "字幕由amaraorg社区提供",
    "请不吝点赞 订阅 转发 打赏支持明镜与点点栏目",
    "謝謝觀看",
    "谢谢观看",
    "ご視聴ありがとうございました",
    "最後までご視聴ありがとうございました",
    "시청해주셔서 감사합니다",
    "구독과 좋아요 부탁드립니다",
    "mbc 뉴스 이덕영입니다",
)


def units(text: str) -> list[str]:
    """The words of a text, folded; each sign is a word in scripts without spaces."""
    return _UNITS.findall(text.casefold())


def folded(text: str) -> str:
    """A text without case, punctuation and extra space: what makes two of them the same."""
    kept = (
        " " if c in "-–—" or c.isspace() else c
        for c in unicodedata.normalize("NFC", text).casefold()
        if c in "-–—" or c.isspace() or unicodedata.category(c)[0] in "LMN"
    )
    return " ".join("".join(kept).split())


INVENTED = frozenset(map(folded, _INVENTED))
"""Whole answers, folded, that Whisper is known to give for silence, noise and music: the credits
and farewells of the subtitles it was trained on."""


def compression_ratio(text: str) -> float:
    """Bytes of the text over its bytes packed by zlib, as Whisper counts them; 0 for no text."""
    raw = text.encode()
    return len(raw) / len(zlib.compress(raw)) if raw else 0.0


def judge(result: WindowResult, seconds: float) -> str | None:
    """The stable name of the first doubt about an answer, or ``None``.

    ``no_speech``: words where the engine itself heard none, or none where there is speech;
    ``invented``: a sentence known to be made up, in a window short or hardly speech;
    ``repetition``: a phrase said in a loop; ``compression``: text that packs too well;
    ``logprob``: the engine was guessing; ``density``: more words than a tongue can say.

    Args:
        result: an engine's answer for one window.
        seconds: length of the window's packed audio, pads included.
    """
    return next(_doubts(result, seconds), None)


def _doubts(result: WindowResult, seconds: float) -> Iterator[str]:
    """All doubts about an answer, each found only when it is asked for."""
    text = " ".join(utterance.text.strip() for utterance in result.utterances).strip()
    words = units(text)
    if not words:
        if seconds >= SPEECH_SECONDS + PADS_SECONDS:
            yield "no_speech"
        return
    logprob = _weighted(result.utterances, "avg_logprob")
    no_speech = _weighted(result.utterances, "no_speech_prob")
    hardly_speech = no_speech is not None and no_speech > NO_SPEECH
    guessed = logprob is not None and logprob < LOGPROB
    if hardly_speech and guessed:
        yield "no_speech"
    if (seconds < SHORT_WINDOW or hardly_speech) and _is_invented(text):
        yield "invented"
    if loops(words):
        yield "repetition"
    ratios = [u.compression_ratio for u in result.utterances if u.compression_ratio is not None]
    if max(compression_ratio(text), *ratios, 0.0) > COMPRESSION:
        yield "compression"
    if guessed:
        yield "logprob"
    if _shortest(text, words) > max(seconds, 0.5):
        yield "density"


def _shortest(text: str, words: Sequence[str]) -> float:
    """The least seconds in which anybody could say this."""
    letters = len(re.findall(f"[{_LETTERS}]", text))
    syllables = len(re.findall(f"[{_SYLLABLES}]", text))
    spaced = len(words) - letters - syllables
    syllables += letters // _LETTERS_A_SYLLABLE
    return syllables / SYLLABLES_A_SECOND + spaced / WORDS_A_SECOND


def loops(words: Sequence[str]) -> bool:
    """Whether a phrase comes so many times in a row that it is a decoder's loop, not speech."""
    for size in range(1, min(_LONGEST_PHRASE, len(words) // 2) + 1):
        needed = next(times for least, times in reversed(LOOPS) if size >= least)
        run = 0  # words in a row that equal the word one phrase earlier
        for index in range(size, len(words)):
            run = run + 1 if words[index] == words[index - size] else 0
            if run >= size * (needed - 1):
                return True
    return False


def _is_invented(text: str) -> bool:
    """Whether the answer is nothing but sentences known to be made up."""
    if folded(text) in INVENTED:
        return True
    sentences = [folded(part) for part in re.split(r"[.!?。！？\n]+", text)]
    said = [sentence for sentence in sentences if sentence]
    return bool(said) and all(sentence in INVENTED for sentence in said)


def _weighted(utterances: Sequence[Utterance], measure: str) -> float | None:
    """Mean of a measure over the utterances that have it, weighted by length of text."""
    known = [
        (value, max(len(u.text), 1))
        for u in utterances
        if (value := getattr(u, measure)) is not None
    ]
    total = sum(weight for _, weight in known)
    return sum(value * weight for value, weight in known) / total if total else None

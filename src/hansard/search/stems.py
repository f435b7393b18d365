"""The words of a text as they are compared by meaning: stems, without those that say nothing.

Words are folded (NFKC, case) and stemmed by Snowball (https://snowballstem.org): by the language
where it is known, else by the script. Scripts without spaces between words become pairs of
characters, and words of scripts that have no stemmer become threes of characters.
"""

from __future__ import annotations

import re
import threading
import unicodedata
from functools import cache
from typing import Any

from hansard.store.terms import UNSPACED

STEMMERS = {
    "ar": "arabic", "ca": "catalan", "cs": "czech", "da": "danish", "de": "german", "el": "greek",
    "en": "english", "es": "spanish", "et": "estonian", "eu": "basque", "fa": "persian",
    "fi": "finnish", "fr": "french", "ga": "irish", "hi": "hindi", "hu": "hungarian",
    "hy": "armenian", "id": "indonesian", "it": "italian", "lt": "lithuanian", "ne": "nepali",
    "nl": "dutch", "no": "norwegian", "nn": "norwegian", "pl": "polish", "pt": "portuguese",
    "ro": "romanian", "ru": "russian", "sr": "serbian", "sv": "swedish", "ta": "tamil",
    "tr": "turkish", "yi": "yiddish",
}  # fmt: skip
"""Language → the Snowball algorithm for it."""
_OF_SCRIPT = {
    "LATIN": "english", "CYRILLIC": "russian", "GREEK": "greek", "ARABIC": "arabic",
    "ARMENIAN": "armenian", "DEVANAGARI": "hindi", "TAMIL": "tamil", "DIGIT": "english",
}  # fmt: skip
"""First word of a character's Unicode name → the stemmer where the language is not known."""

_WORD = re.compile(
    rf"[{UNSPACED}]+|(?:(?![{UNSPACED}])[^\W_])(?:(?![{UNSPACED}])[\w\u0300-\u036f])*(?:['\u2019][^\W\d_]+)?"
)

LONGEST = 40
"""Characters of a word that are looked at."""

_REMEMBERED = 200_000
"""Words whose stems are kept at hand: stemming one takes some 40 µs."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


NOTHING = _words(
    """
    a about after again all also am an and any are as at be because been before being but by can
    can't could did didn't do does doesn't doing don't down for from get go going got had has have
    having he he's her here him his how i i'd i'll i'm i've if in into is isn't it it's its just
    know let let's like me mean more most much my no not now of off oh okay on one only or other
    our out over really right said say says see she should so some such than that that's the
    their them then there there's these they they're thing things think this those to too uh um
    up us very was we we'll we're we've well were what what's when where which who whom whose
    why will with would yeah yes you you're your

    aber als am an auch auf aus bei bin bis da das dass dem den der des die doch du ein eine
    einem einen einer er es für haben hat ich ihr im in ist ja kann man mit nach nicht noch nur
    oder schon sein sich sie sind so und uns vom von vor war was wenn wer werden wie wir wird wo
    zu zum zur

    au aux avec ce ces cette comme dans de des du elle en est et eux il ils je la le les leur lui
    mais ne nous on ou où par pas pour qu que qui quoi sa se ses son sont sur un une vous

    al che como con cosa cuando dei del della di dos e el ella em era es esta este foi há las lo
    los mas mi na não nos o os para per por porque qual quando si sin sono su também um uma una
    uno y
    """
)
"""Words that are in every text and say nothing about what it means: of English, German, French, and
of Spanish, Italian and Portuguese."""

_lock = threading.Lock()
_known: dict[tuple[str, str | None], tuple[str, ...]] = {}


def stems(text: str, language: str | None = None) -> list[str]:
    """The stems of a text, in order.

    Args:
        text: any.
        language: a code like ``de`` or ``pt-BR``; ``None``: told by the script.
    """
    code = language.lower().replace("_", "-").partition("-")[0] if language else None
    found: list[str] = []
    for word in _WORD.findall(unicodedata.normalize("NFKC", text).casefold()):
        key = (word, code)
        made = _known.get(key)
        if made is None:
            made = _made(word, code)
            if len(_known) < _REMEMBERED:
                _known[key] = made
        found += made
    return found


def _made(word: str, language: str | None) -> tuple[str, ...]:
    bare = word.replace("\u2019", "'")
    if bare in NOTHING:
        return ()
    bare = bare.partition("'")[0] if len(bare.partition("'")[2]) <= 2 else bare
    if bare in NOTHING or (len(bare) == 1 and bare.isascii() and not bare.isdigit()):
        return ()
    bare = bare[:LONGEST]
    if re.match(f"[{UNSPACED}]", bare):
        return tuple(bare[n : n + 2] for n in range(len(bare) - 1)) or (bare,)
    script = unicodedata.name(bare[0], "").partition(" ")[0]
    stemmer = _OF_SCRIPT.get(script)
    if language in STEMMERS and (script == "LATIN" or stemmer is not None):
        own = STEMMERS[language]
        stemmer = own if _scripts(own) == script else stemmer
    if stemmer is None:
        return tuple(bare[n : n + 3] for n in range(len(bare) - 2)) or (bare,)
    with _lock:  # a stemmer holds the word it works on
        stem: str = _stemmer(stemmer).stemWord(bare)
    return (stem,) if stem else (bare,)


def _scripts(stemmer: str) -> str:
    """The script that a stemmer is for."""
    own = {"persian": "ARABIC", "nepali": "DEVANAGARI", "yiddish": "HEBREW", "serbian": "CYRILLIC"}
    if stemmer in own:
        return own[stemmer]
    found = [script for script, name in _OF_SCRIPT.items() if name == stemmer and script != "DIGIT"]
    return found[0] if found else "LATIN"


@cache
def _stemmer(name: str) -> Any:
    import snowballstemmer

    return snowballstemmer.stemmer(name)

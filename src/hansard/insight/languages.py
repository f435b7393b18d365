"""What the extractors know of each language: words that say nothing, and which language it is."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from itertools import islice

from hansard.search.stems import STEMMERS


def vocabulary(text: str) -> frozenset[str]:
    """Words parted by spaces, as a set."""
    return frozenset(text.split())


FILLERS = {
    "en": vocabulary(
        "ah eh er erm hm hmm huh mhm mm oh okay ok uh uhm um well yeah yep yes no nope right "
        "alright so anyway actually basically literally honestly like sure thanks thank please "
        "hello hi bye"
    ),
    "de": vocabulary(
        "äh ähm hm hmm ja nein nee naja also okay ok genau gut danke bitte halt eben mal"
    ),
    "fr": vocabulary("euh heu hein ben bah bon oui non voilà alors donc merci ok okay enfin quoi"),
    "es": vocabulary("eh em este bueno pues sí no vale claro gracias ok okay"),
    "it": vocabulary("ehm eh beh sì no allora dunque cioè grazie va bene ok okay ecco"),
    "nl": vocabulary("eh uh ehm ja nee nou dus oké ok goed dank even"),
    "pt": vocabulary("eh hum bem sim não então pois obrigado obrigada ok okay"),
}
"""Sounds and words of assent that carry nothing by themselves."""

_STOP = {
    "en": vocabulary(
        "a about above after again against all almost along already also although always am "
        "among an and another any anybody anyone anything are aren't around as ask at away back "
        "be became because become been before behind being below between bit both but by came "
        "can can't cannot could couldn't did didn't do does doesn't doing don't done down "
        "during each either else enough even ever every everybody everyone everything far few "
        "find first for from further get gets getting give given go goes going gone gonna good "
        "got gotta great had hadn't happen happened happens has hasn't have haven't having he "
        "he'd he'll he's her here hers herself him himself his how however i i'd i'll i'm i've "
        "if in indeed instead into is isn't it it'd it'll it's its itself just keep kind know "
        "knew last later least less let let's look looking looks lot made make makes making "
        "many may maybe me mean means might mine more most much must my myself need needs "
        "neither never next nobody none nor not nothing now of off often on once one ones only "
        "onto or other others our ours ourselves out over own per perhaps point put quite "
        "rather really said same saw say saying says see seem seems seen shall she she'd she'll "
        "she's should shouldn't since some somebody somehow someone something sometimes soon "
        "still such take taken takes tell than that that'd that'll that's the their theirs them "
        "themselves then there there'll there's therefore these they they'd they'll they're "
        "they've thing things think this those though thought through till to today together "
        "told tomorrow too took toward towards try two under unless until up upon us use used "
        "very want wants was wasn't way we we'd we'll we're we've went were weren't what what's "
        "whatever when where whether which while who who's whoever whole whom whose why will "
        "with within without won't would wouldn't yesterday yet you you'd you'll you're you've "
        "your yours yourself"
    ),
    "de": vocabulary(
        "aber alle allem allen aller alles als also am an ander andere anderen auch auf aus bei "
        "beim bin bis bist da dabei dafür damit dann daran das dass davon dazu dein deine dem "
        "den denn der deren des deshalb die dies diese diesem diesen dieser dieses doch dort du "
        "durch ein eine einem einen einer eines einfach er es etwas euch euer für ganz gar "
        "gegen geht gemacht gibt hab habe haben hat hatte hatten hier hin hinter ich ihm ihn "
        "ihnen ihr ihre im immer in ins ist jede jeden jeder jetzt kann kannst kein keine "
        "keinen können könnte könnten machen man mehr mein meine mich mir mit muss müssen nach "
        "nicht nichts noch nun nur ob oder ohne schon sehr sein seine seit sich sie sind so "
        "soll sollen sollte sondern sonst über um und uns unser unsere unter viel vom von vor "
        "war waren warum was weil wenn wer werden wie wieder will wir wird wo wollen worden "
        "würde würden zu zum zur zwischen letztes dieses wurde wurden"
    ),
    "fr": vocabulary(
        "à ai aie alors après as au aucun aussi autre aux avant avec avoir avons avez ait bien "
        "c'est ce cela ces cet cette ceux chaque ci comme comment d'un d'une dans de depuis des "
        "deux dit doit donc du elle elles en encore entre es est et étaient était été être eu "
        "eux fait faire fois font il ils j'ai je l'on la le les leur leurs lui là ma mais me "
        "même mes moi moins mon ne ni nos notre nous on ont ou où par parce pas peu peut peux "
        "plus pour pourquoi pourrait puis qu'il qu'on quand que quel quelle qui quoi sa sans se "
        "sera ses si son sont sous suis sur ta te tes toi ton tous tout toute toutes très tu un "
        "une va vais vers veut voir vont vos votre vous y"
    ),
    "es": vocabulary(
        "a al algo alguien algún ante antes aquí así aunque cada como con contra cosa creo cual "
        "cuando cuándo de del desde donde dos el él ella ellas ellos en entonces entre era eran "
        "es esa ese eso esta está están estar este esto estos fue fueron ha había hace hacer "
        "hacia han hasta hay he hemos la las le les lo los más me mi mis mucho muy nada ni nos "
        "nosotros nuestra nuestro o otra otro para pero poco podemos por porque puede pueden "
        "pues que qué quien quién se sea ser si sin sobre son su sus también tan tanto te "
        "tenemos tener tengo tiene tienen toda todas todo todos tu tú un una uno unos usted va "
        "vamos voy y ya yo"
    ),
    "it": vocabulary(
        "a abbiamo ad ai al alla alle anche ancora avere che chi ci come con cosa cui da dal "
        "dalla dei del della delle di dobbiamo dove due e è ed era essere fa fare gli ha hai "
        "hanno ho i il in io l la le lei lo loro lui ma mai me mi molto ne nei nel nella no noi "
        "non nostra nostro o ogni per perché però più poi può possiamo qua qualche quale quando "
        "quella quello questa questo qui se sei senza si sia siamo sono sta stato su sua sul "
        "sulla suo te ti tra tu tutti tutto un una uno va vi voi"
    ),
    "nl": vocabulary(
        "aan al alle als altijd andere ben bij daar dan dat de deze die dit doen door dus een "
        "en er ga gaan geen geweest haar had heb hebben heeft hem het hier hij hoe hun ik in is "
        "ja je kan kunnen maar me meer men met mij mijn moet moeten na naar niet niets nog nu "
        "of om omdat onder ons onze ook op over te tegen toch toen tot u uit van veel voor waar "
        "waren was wat we wel werd wie wij wil willen worden wordt zal ze zich zij zijn zo zou"
    ),
    "pt": vocabulary(
        "a ao aos aquela aquele as até com como da das de dela dele depois do dos e é ela elas "
        "ele eles em entre era essa esse esta está estamos estão este eu fazer foi foram há "
        "isso isto já lhe mais mas me mesmo meu minha muito na não nas nem no nos nós nossa "
        "nosso num numa o os ou para pela pelo pode podemos por porque qual quando que quem são "
        "se sem ser será seu sua só também te tem temos ter teu tu tua um uma vai vamos você "
        "vou"
    ),
}

_NAMES = {
    "english": "en", "german": "de", "french": "fr", "spanish": "es", "italian": "it",
    "dutch": "nl", "portuguese": "pt",
}  # fmt: skip

SAMPLE = 2000
"""Words that are looked at to tell the language."""

_SURE = 0.18
"""Share of function words from which a language is believed: in running speech they are a third to
a half of all words, and by chance a tenth fits a neighbouring language."""


def plain(language: str | None) -> str | None:
    """``en-US``, ``EN`` and ``english`` are ``en``; ``None`` stays unknown."""
    if not language:
        return None
    short = language.strip().lower().replace("_", "-").partition("-")[0]
    return _NAMES.get(short, short) or None


@lru_cache(maxsize=32)
def stop_words(language: str | None) -> frozenset[str]:
    """Function words and fillers; empty where the language has no list."""
    return _STOP.get(language or "", frozenset()) | FILLERS.get(language or "", frozenset())


def guess(words: Iterable[str]) -> str | None:
    """Which language lower-case words are in, by their function words; ``None``: not sure."""
    seen = list(islice(words, SAMPLE))
    if len(seen) < 5:
        return None
    shares = sorted(
        ((sum(word in known for word in seen) / len(seen), name) for name, known in _STOP.items()),
        reverse=True,
    )
    (best, name), (second, _) = shares[:2]
    return name if best >= _SURE and best >= 1.25 * second else None


_WORD = re.compile(r"\d+(?:[.,:]\d+)*|[^\W\d_]+(?:['-][^\W\d_]+)*")
_WIDE = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\u0e00-\u0e7f]")
"""Scripts that put no space between words: Japanese, Chinese, Thai."""


def words(text: str) -> tuple[str, ...]:
    """Lower-case words and numbers. In a script without spaces pairs of letters stand for them."""
    found = _WORD.findall(text.lower().replace("\u2019", "'"))
    if not _WIDE.search(text):
        return tuple(found)
    split: list[str] = []
    for word in found:
        if _WIDE.search(word) and len(word) > 2:
            split += [word[at : at + 2] for at in range(len(word) - 1)]
        else:
            split.append(word)
    return tuple(split)


class Stems:
    """Words to stems, each looked up once."""

    def __init__(self, language: str | None) -> None:
        self.language = language
        self._known: dict[str, str] = {}
        self._stop = stop_words(language)
        self._stemmer = None
        if language in STEMMERS:
            import snowballstemmer

            self._stemmer = snowballstemmer.stemmer(STEMMERS[language])

    def of(self, found: Iterable[str]) -> list[str]:
        """Stems of the words that say something: no function words, no bare numbers."""
        stems = []
        for word in found:
            stem = self._known.get(word)
            if stem is None:
                stem = self._known[word] = self._stem(word)
            if stem:
                stems.append(stem)
        return stems

    def _stem(self, word: str) -> str:
        if word in self._stop or word[0].isdigit() or (len(word) < 2 and not _WIDE.search(word)):
            return ""
        bare = word.removesuffix("'s")
        if bare in self._stop:
            return ""
        return self._stemmer.stemWord(bare) if self._stemmer else bare

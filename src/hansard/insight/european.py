"""How tasks, decisions and questions are said in German, French and Spanish: the usual ways only.

As in ``english``, patterns run over lower-case words without marks.
"""

from __future__ import annotations

import re

from hansard.insight.grammar import Grammar, TaskRule

_WHO = r"(?P<who>@[\w'-]+)"

# In German the verb stands at the end: what matters is that there is one of doing.
_DE_DO = (
    r"(?:an|ein|auf|ab|weiter|zu|vor|mit|nach|aus|um|zusammen|fertig)?(?:zu)?"
    r"(?:schicken|schreiben|anrufen|rufen|holen|bestellen|besorgen|kaufen|klären|prüfen|machen|"
    r"erstellen|bereiten|organisieren|buchen|reservieren|melden|fragen|senden|leiten|kümmern|"
    r"reparieren|verschicken|versenden|vorbereiten|überarbeiten|aktualisieren|bezahlen|"
    r"unterschreiben|einladen|laden|informieren|sprechen|testen|veröffentlichen|drucken|stellen|"
    r"verteilen|beantragen|kündigen|übersetzen|bringen|übernehmen)"
)
_DE_DOES = (
    r"(?:schicke|schreibe|rufe|hole|bestelle|besorge|kaufe|kläre|prüfe|erstelle|bereite|"
    r"organisiere|buche|reserviere|melde|frage|sende|leite|kümmere|repariere|verschicke|"
    r"überarbeite|aktualisiere|bezahle|unterschreibe|lade|informiere|spreche|teste|drucke|"
    r"verteile|beantrage|kündige|übersetze|bringe|übernehme|mache)"
)
_DE_SHE_DOES = rf"(?:{_DE_DOES[3:-1].replace('e|', 't|')[:-1]}t)"
_DE_TASKS = (
    TaskRule(re.compile(rf"\bich (?:werde|muss|will) .*{_DE_DO}\b"), "speaker"),
    TaskRule(
        re.compile(
            rf"\b(?:ich {_DE_DOES}|{_DE_DOES} ich)\b(?! (?:mir|mich) )"
            r"(?! .*\b(?:immer|nie|gerade|oft)\b)"
        ),
        "speaker",
        needs_due=True,
    ),
    TaskRule(
        re.compile(
            rf"\bich kümmere mich (?:um|darum)\b|\bich {_DE_DOES} .*\b(?:ein|an|ab|auf|vor|aus)$"
        ),
        "speaker",
    ),
    TaskRule(re.compile(rf"{_WHO} (?:wird|muss|soll) .*{_DE_DO}\b"), "named", third=True),
    TaskRule(re.compile(rf"{_WHO} {_DE_SHE_DOES}\b"), "named", needs_due=True, third=True),
    TaskRule(
        re.compile(rf"{_WHO} (?:kannst du|könntest du|können sie|könnten sie|"
        rf"würdest du) .*{_DE_DO}\b"),
        "named",
        asks=True,
    ),
    TaskRule(
        re.compile(rf"\b(?:kannst du|könntest du|können sie|könnten sie) (?:bitte )?.*{_DE_DO}\b"),
        "asked",
        asks=True,
    ),
    TaskRule(re.compile(rf"\b(?:wir müssen|jemand muss|jemand sollte) .*{_DE_DO}\b"), "nobody"),
)  # fmt: skip

_FR_DO = (
    r"(?:me |m'|vous |t'|te |lui |leur |l'|le |la |les |nous )?(?:envoyer|écrire|appeler|préparer|"
    r"réserver|demander|contacter|vérifier|rédiger|organiser|acheter|commander|finir|terminer|"
    r"corriger|transmettre|relancer|réparer|publier|imprimer|signer|payer|inviter|chercher|"
    r"planifier|tester|mettre à jour|faire (?:le|la|les|un|une)|prendre contact|m'occuper|"
    r"s'occuper|t'occuper|apporter|rappeler|remplacer|distribuer|traduire|installer|mesurer)"
)
_FR_TASKS = (
    TaskRule(re.compile(rf"\bje (?:vais|dois|peux|vais vous) {_FR_DO}\b"), "speaker"),
    TaskRule(re.compile(r"\bje m'(?:occupe|en occupe|en charge)\b|\bje me charge\b"), "speaker"),
    TaskRule(re.compile(rf"{_WHO} (?:va|doit|devra) {_FR_DO}\b"), "named", third=True),
    TaskRule(
        re.compile(
            rf"{_WHO} (?:est-ce que )?(?:peux-tu|pourrais-tu|pouvez-vous|pourriez-vous|tu peux|"
            rf"peux tu|pouvez vous|vous pouvez) {_FR_DO}\b"
        ),
        "named",
        asks=True,
    ),
    TaskRule(
        re.compile(
            rf"\b(?:peux-tu|pourrais-tu|pouvez-vous|pourriez-vous|tu peux|vous pouvez) {_FR_DO}\b"
        ),
        "asked",
        asks=True,
    ),
    TaskRule(
        re.compile(rf"\b(?:il faut|il faudra|nous devons|on doit) (?:encore |aussi )?{_FR_DO}\b"),
        "nobody",
    ),
)

_ES_DO = (
    r"(?:enviar|mandar|escribir|llamar|preparar|reservar|pedir|preguntar|contactar|revisar|"
    r"redactar|organizar|comprar|encargar|terminar|acabar|corregir|arreglar|reparar|publicar|"
    r"imprimir|firmar|pagar|invitar|buscar|planificar|probar|actualizar|hacer (?:el|la|los|un|una)|"
    r"hablar con|traer|cambiar|pintar|repartir|traducir|instalar|medir|avisar)(?:le|les|lo|la|me|"
    r"nos|te)?"
)
_ES_TASKS = (
    TaskRule(re.compile(rf"\b(?:voy a|tengo que|yo puedo) {_ES_DO}\b"), "speaker"),
    TaskRule(re.compile(r"\b(?:me encargo|yo me ocupo|me ocupo) de\b"), "speaker"),
    TaskRule(re.compile(rf"{_WHO} (?:va a|tiene que|debe) {_ES_DO}\b"), "named", third=True),
    TaskRule(
        re.compile(rf"{_WHO} (?:por favor )?(?:puedes|podrías|puede usted|puede) {_ES_DO}\b"),
        "named",
        asks=True,
    ),
    TaskRule(re.compile(rf"\b(?:puedes|podrías) {_ES_DO}\b"), "asked", asks=True),
    TaskRule(re.compile(rf"\b(?:tenemos que|hay que|alguien tiene que) {_ES_DO}\b"), "nobody"),
)

_NOTHING = re.compile(r"(?!)")


def _de_asked(text: str) -> bool:
    return (
        bool(
            re.match(
                r"(?:(?:und|aber|also|ja|nein|gut|@[\w'-]+) )*"
                r"(?:(?:wer|was|wann|warum|wieso|weshalb|wo|wohin|woher|wie|welche[rsnm]?|wem|"
                r"wen|wessen)"
                r" (?!(?:ich|wir|er|sie|es|man|das) \w+ (?:habe|hat|haben)$)\S+"
                r"|(?:haben|hast|habt|sind|ist|seid|war|können|kann|könnt|kannst|sollen|soll|"
                r"sollten|"
                r"müssen|wollen|gibt|hat|wird|werden|dürfen|brauchen|geht|kommt|weiß|wisst) "
                r"(?:ich|du|er|sie|es|wir|ihr|man|das|der|die|den|jemand|noch)\b)",
                text,
            )
        )
        and text.count(" ") >= 2
    )


def _fr_asked(text: str) -> bool:
    return (
        bool(
            re.match(
                r"(?:(?:et|mais|alors|donc|bon|@[\w'-]+) )*(?:est-ce qu|qu'est-ce qu|pourquoi\b|"
                r"comment\b|quand est-ce|où est|qui (?:s'|va|peut|veut|a|est|fait)|combien\b|"
                r"quel(?:le)?s? (?:est|sont)\b|\w+-(?:tu|vous|nous|il|elle|on|ils|elles|t-il|"
                r"t-elle|"
                r"t-on)\b)",
                text,
            )
        )
        and text.count(" ") >= 2
    )


def _es_asked(text: str) -> bool:
    return (
        bool(
            re.match(
                r"(?:(?:y|pero|entonces|bueno|@[\w'-]+) )*(?:cuándo|cuánto|cuántos|cuánta|"
                r"cuántas|quién|"
                r"quiénes|cómo|dónde|cuál|cuáles|qué|por qué|para qué)\b",
                text,
            )
        )
        and text.count(" ") >= 2
    )


_DE = Grammar(
    tasks=_DE_TASKS,
    unsure=re.compile(r"\b(?:wenn|falls|ob|sagte|sagt|gesagt|hätte|würde|könnte|nicht|nie|früher|"
    r"dass)\b"),
    opinion=re.compile(r"\b(?:ich (?:glaube|denke|hoffe)|vielleicht|vermutlich|hoffentlich|wenn|"
    r"dass)\b"),
    spoilt=re.compile(r"\b(?:hätte|hätten|wäre|wären|letztes jahr|früher)\b"),
    accepts=re.compile(r"^(?:ja|klar|gern|gerne|mache ich|okay|ok|natürlich|sicher|kein problem|"
    r"gut)\b"),
    decided=re.compile(
        r"\b(?:wir haben|haben wir|hiermit|damit ist|es ist|ist damit) .*\b(?:beschlossen|"
        r"entschieden|"
        r"vereinbart|geeinigt|einstimmig|angenommen|abgelehnt)\b|\bwir (?:beschließen|"
        r"einigen uns)\b|"
        r"\beinigen wir uns\b|\b(?:antrag|beschluss) ist (?:damit )?(?:angenommen|abgelehnt)\b|"
        r"\bdabei bleibt es\b|\bdas ist (?:beschlossen|entschieden)\b"
    ),
    decided_not=re.compile(
        r"\b(?:wenn|ob|falls|noch nicht|noch nichts|letztes jahr|letzten|voriges|früher|"
        r"hatten)\b.*\b"
        r"(?:beschlossen|entschieden|vereinbart|geeinigt)\b"
    ),
    introduced=_NOTHING,
    will=_NOTHING,
    question=_de_asked,
    tag=re.compile(r"\b(?:oder|ne|nicht wahr|gell|stimmt's|ja|nein)$"),
)  # fmt: skip

_FR = Grammar(
    tasks=_FR_TASKS,
    unsure=re.compile(r"\b(?:si|s'il|dit|disait|aurait|voudrais|pourrait|pourrais|pas|jamais|"
    r"que)\b"),
    opinion=re.compile(r"\b(?:je (?:crois|pense|suppose)|j'espère|peut-être|si|quand|que)\b"),
    spoilt=re.compile(r"\b(?:aurait dû|aurais dû|l'année dernière|autrefois)\b"),
    accepts=re.compile(r"^(?:oui|d'accord|bien sûr|volontiers|ok|entendu|pas de problème|"
    r"je m'en)\b"),
    decided=re.compile(
        r"\b(?:nous avons|on a|nous) (?:donc |tous )?(?:décidé|décidons|convenu|convenons|adopté|"
        r"approuvé|voté)\b|\b(?:c'est|est) (?:donc )?(?:décidé|adoptée?|approuvée?|rejetée?)\b|"
        r"\bon est (?:tous )?d'accord pour\b|\bnous sommes (?:tous )?d'accord pour\b"
    ),
    decided_not=re.compile(
        r"\b(?:si|pas encore|n'avons pas|n'a pas|quand)\b.*\b(?:décidé|convenu|adopté|voté|"
        r"d'accord)\b|"
        r"\b(?:décidé|convenu|voté)\b.*\b(?:l'année dernière|il y a|dernier)\b"
    ),
    introduced=_NOTHING,
    will=_NOTHING,
    question=_fr_asked,
    tag=re.compile(r"\b(?:n'est-ce pas|non|hein|oui|d'accord|c'est ça)$"),
)  # fmt: skip

_ES = Grammar(
    tasks=_ES_TASKS,
    unsure=re.compile(r"\b(?:si|dijo|dice|dicen|habría|podría|no|nunca|ojalá|que)\b"),
    opinion=re.compile(r"\b(?:creo|pienso|supongo|espero|quizás|tal vez|si|cuando|que)\b"),
    spoilt=re.compile(r"\b(?:debería haber|el año pasado|antes se)\b"),
    accepts=re.compile(r"^(?:sí|claro|vale|por supuesto|de acuerdo|ok|bueno|perfecto|yo me)\b"),
    decided=re.compile(
        r"\b(?:hemos|se ha) (?:decidido|acordado|aprobado|votado)\b|\b(?:decidimos|acordamos|"
        r"aprobamos)\b|\bqueda (?:aprobad[oa]|decidido|acordado|rechazad[oa])\b|"
        r"\bestamos (?:todos )?de acuerdo en\b|\bse aprueba\b"
    ),
    decided_not=re.compile(
        r"\b(?:si|aún no|todavía no|no hemos|cuando)\b.*\b(?:decidido|acordado|aprobado|"
        r"de acuerdo)\b|"
        r"\b(?:decidido|decidimos|acordamos|aprobamos)\b.*\b(?:el año pasado|hace|pasado)\b"
    ),
    introduced=_NOTHING,
    will=_NOTHING,
    question=_es_asked,
    tag=re.compile(r"\b(?:verdad|no|sí|eh|vale|de acuerdo)$"),
)  # fmt: skip

_OF = {"de": _DE, "fr": _FR, "es": _ES}


def grammar(language: str) -> Grammar:
    """The rules of ``de``, ``fr`` or ``es``."""
    return _OF[language]

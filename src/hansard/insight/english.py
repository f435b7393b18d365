"""How tasks, decisions and questions are said in English.

Patterns run over lower-case words without marks (``names.Tagged.text``), so that they read what
PocketSphinx heard as well as what Whisper wrote. Precision before recall: verbs of doing only, and
nothing conditional, reported or past.
"""

from __future__ import annotations

import re

from hansard.insight.grammar import Grammar, TaskRule

_DOING = (
    # verbs that by themselves are work
    "add|address|advertise|amend|announce|apply for|arrange|ask(?! you\\b)|assemble|assign|book|"
    "bring(?! up\\b| it up\\b)|build|buy|calculate|call(?! it\\b| that\\b| you (?:a|an)\\b)|cancel|"
    "change|chase|check|circulate|clarify|clean|coordinate|collect|come back (?:to|with)|"
    "come up with|compare|compile|complete|confirm|contact|copy|correct|create|cut|delete|deliver|"
    "deploy|design|distribute|document|draft|draw up|drop off|e-?mail|edit|email|estimate|"
    "file|fill (?:in|out)|finali[sz]e|find (?:out|a|an|the|someone|somebody|us|another)|finish|fix|"
    "follow up|forward|gather|get (?:back to|in touch|hold of|rid of)|"
    "get (?:the|a|an|some|me|him|her|two|three|four|five|us|them|that|those|all|it (?:done|ready|"
    "fixed))(?! bit\\b)|"
    "give (?:notice|@\\S+|(?:him|her|them|\\w+ \\w+) (?:a call|a ring|notice|the))|go (?:through|"
    "over|back to) the|"
    "go and (?:get|find|see|ask|buy|fetch|check) |hand (?:in|out|over)(?! to @)|hang|hire|"
    "implement|"
    "improve|inform|inspect|install|"
    "interview|investigate|"
    "invite|issue|let (?:@\\S+|him|her|them|the \\w+(?: \\w+)?|everyone|everybody) know|liaise|"
    "list|"
    "look (?:into|at|up|for|after)|mail|make (?:sure|a (?:list|plan|copy|call|note|new)|an?|"
    "the)(?! decision\\b| mistake\\b)|"
    "measure|mend|migrate|move|negotiate|note down|notify|order|organi[sz]e|paint|pay|phone|"
    "pick up|"
    "plan(?! to)|post|prepare|print|process|produce|propose|provide|publish|"
    "put (?:the|a|an|it|them|this|that|together|in|up)(?! (?:another|this|that) way\\b|"
    " to you\\b)|re-?write|record|recruit|register|remind|"
    "remove|"
    "renew|rent|repair|replace|reply|report back|reserve|research|return|review|revise|ring|rework|"
    "run (?:the|a|some|those|these)|scan|schedule|send|set up|share(?! (?:your|my) screen)|sign|"
    "sort out|speak (?:to|with)|submit|summari[sz]e|survey|"
    "take (?:care|over|charge|down|on|notes|minutes|the (?:lead|minutes|notes))|talk (?:to|with)|"
    "tell (?!you\\b|me\\b|us\\b|the truth)|test|tidy|train|transfer|translate|try out|type up|"
    "update|"
    "upload|verify|have a (?:look|word|chat) (?:at|into|with)|work (?:on|out)|write|double-check|"
    "escalate|brief|message|nudge|ping|text|rewrite|double check|cancel|"
    "sketch|swap|fetch|track down|walk (?:@\\S+|him|her|them|the \\w+) through|raise (?:it|this|"
    "that) with|"
    # a verb and its little word, with something between them
    "(?:chase|clear|dig|drop|fill|hand|look|pass|pick|put|send|set|sort|take|track|type|write|"
    "wrap) "
    "(?:it|that|this|them|these|those|(?:the|a|an|my|your|our) \\w+(?: \\w+)?) "
    "(?:off|up|out|in|down|over|together|back|along|round)|"
    "(?:do|handle) (?:that one|this one|the \\w+)"
)
_WEAK = (
    # verbs of everything: a task only with a day
    "be (?:done|ready|finished) with|close|cover|do|explain|get|give|go|have|help|host|join|keep|"
    "look|"
    "make|meet|open|present|put|read|see|set|show|start|take|try|visit|watch"
)
_ADVERB = (
    r"(?:(?:also|just|then|definitely|certainly|probably|quickly|personally|gladly|please|still|"
    r"now|simply|both|all|go ahead and|try and|try to|be sure to|make sure to|be happy to|"
    r"be glad to) )*"
)
_IDLE = (
    # verbs that a commitment or a request may have and that are no work: talk about talk, and moods
    "accept|admit|agree|allow|answer|assume|be|bear|begin|believe|bet|bite|blame|bore|buy that|"
    "call (?:it|that)|come|confess|cut (?:you|it)|deny|die|drink|eat|enjoy|excuse|explain|feel|"
    "forget|forgive|get|give|go|grant|guess|hang on|hate|have|hear|hold|imagine|join|keep|know|"
    "leave|manage|raise my|drop the subject|share (?:my|your) screen|hand over to|"
    "buy (?:that|this|the) (?:argument|story|theory|idea)|"
    "let (?:you|me|us)|like|live|look|lose|love|make (?:it|this|that)|mean|mention (?:that|"
    "this)|miss|need|never|not|pass|pretend|promise|put (?:it|that|this) (?:this|that|another|to|"
    "differently|like)|quote|read|refer|regret|remember|remind (?:you|me|us|everybody|everyone)|"
    "repeat|rest|risk|say|second|see|show|skip|spare|stand|start|stay|stop|suppose|survive|swear|"
    "take (?:that|it|this|any|your word|a (?:seat|look|guess|breath)|the (?:blame|point|hint|"
    "first|second|next|rest|question))|talk|tell|thank|think|try|turn|"
    "understand|use|wait|walk|want|warn|watch|wish|wonder|"
    "unmute|mute"
)
_OBJECT = (
    r"(?:it|this|that|them|these|those|him|her|one|some|everybody|everyone|@[\w'-]+|"
    r"(?:the|a|an|my|your|our|his|their|another|both|all the|some) \w+)"
)
_WORK = (
    # any other verb that does something to something: "mention it to her", "strim the edges"
    rf"{_ADVERB}(?!(?:{_IDLE})\b)[a-z]{{3,}} (?:(?:up|out|off|down|in|over|on|round|back|with|to|"
    rf"for|at) )?{_OBJECT}\b(?! (?:way|moment|question|point)\b)"
)
_DO = rf"{_ADVERB}(?:{_DOING})\b"
_DO_SOME = rf"{_ADVERB}(?:{_WEAK})\b"
_I_WILL = (
    r"\b(?:i'll(?: need to| have to)?|i will|i shall|i'm going to|i am going to|i'm gonna|"
    r"i need to|i have to|i've got to|"
    r"i must|i promise to|i promise i'll|i(?:'m| am| would be|'d be) (?:happy|glad) to|"
    r"i volunteer to|"
    r"i can|leave it to me to|let me) "
)
_I_WILL_BY = (
    r"\b(?:i'll|i will|i shall|i'm going to|i am going to|i'm gonna|i need to|i have to|"
    r"i've got to|"
    r"i must|i promise to|i plan to|i intend to|i aim to) "
)
_WHO = r"(?P<who>@[\w'-]+)(?: and @[\w'-]+)?"
_WILL = (
    r" (?:will|is going to|are going to|has to|have to|needs to|need to|must|shall|should|"
    r"(?:has |have )?(?:agreed|promised|offered|volunteered) to|is supposed to|is to) "
)
_YOU_WILL = r"(?:you'll|you will|you're going to|you need to|you have to|you should|you must|you) "
_START = (
    r"(?:^|(?<=^so )|(?<=^and )|(?<=^okay )|(?<=^ok )|(?<=^well )|(?<=^right )|(?<=^then )|"
    r"(?<=^good )|(?<=^fine )|(?<=^but )|(?<=^yes )|(?<=^great )|(?<=^yeah )|(?<=^okay so )|"
    r"(?<=^all right )|(?<=^alright )|(?<=^and then )|(?<=^all right then )|(?<=^okay then ))"
)
_REQUEST = (
    r"(?:can you|could you|would you|will you|can i ask you to|could i ask you to|"
    r"i'd like you to|i want you to|i need you to|please) "
)

_SOMEBODY = r"(?:somebody|someone|anybody|anyone|one of (?:us|you)|a volunteer)"
_TASKS = (
    TaskRule(re.compile(_I_WILL + _DO), "speaker"),
    TaskRule(re.compile(rf"\b(?:i'll|i will|i'm going to|i am going to|i'm gonna) {_WORK}"),
             "speaker"),
    TaskRule(re.compile(rf"\bi could (?:{_DO}|{_WORK})(?!.* if\b)"), "speaker", needs_due=True),
    TaskRule(
        re.compile(
            r"\b(?:you|they|we|everybody|everyone)(?:'ll| will) (?:get|have|hear|see)\b(?! no\b)"
            r".* from me\b|\bleave (?:the |that |this )?\w+ (?:to|with) me\b"
        ),
        "speaker",
    ),
    TaskRule(
        re.compile(r"\byou(?:'ll| will) (?:get|have) (?:it|them|that|one|the \w+|my \w+)\b"),
        "speaker",
        needs_due=True,
    ),
    TaskRule(re.compile(_I_WILL_BY + _DO_SOME), "speaker", needs_due=True),
    TaskRule(re.compile(rf"{_WHO}{_WILL}{_DO}"), "named", third=True),
    TaskRule(re.compile(rf"{_WHO}{_WILL}{_DO_SOME}"), "named", needs_due=True, third=True),
    TaskRule(re.compile(rf"{_WHO}{_WILL}{_WORK}"), "named", needs_due=True, third=True),
    TaskRule(
        re.compile(
            rf"^(?:(?:so|and|okay|right|then) )*{_WHO} (?:.* )?(?:that's|this is|that is|"
            r"this one's|that one's|it's) (?:one for you|yours(?! (?:on|in|at|over|there|too)\b)|"
            r"your job|down to you|up to you to)\b"
            rf"|{_START}(?P<whom>@[\w'-]+) you're (?:on|doing|in charge of|down for) (?:the|that|"
            r"this|\w+s)\b(?! (?:list|phone|line|agenda|wrong|right|same|other|team|board|way)\b)"
            r"|\b(?:that's|this is|that is) (?:one|a job|something) for (?P<whose>@[\w'-]+)"
            r"|\bput (?P<put>@[\w'-]+) down for\b"
        ),
        "named",
    ),
    TaskRule(
        re.compile(
            rf"{_WHO} (?:then |so |maybe |perhaps )?(?:can|could) i (?:just )?leave .* (?:with|to) "
            r"you\b"
            r"|(?P<whom>@[\w'-]+) (?:can|could) i (?:ask you to|put you down for)\b"
        ),
        "named",
        asks=True,
    ),
    TaskRule(
        re.compile(
            rf"{_START}{_WHO} (?:{_DO}|{_WORK}).* (?:would|will|can|could) you(?: please)?$"
        ),
        "named",
        asks=True,
    ),
    TaskRule(
        re.compile(
            rf"^(?:(?:so|and|okay|right|then) )*{_WHO} (?:then |so |maybe |perhaps )?"
            rf"(?:can|could|will|would) you (?:please )?{_WORK}"
        ),
        "named",
        asks=True,
    ),
    TaskRule(
        re.compile(
            rf"\b(?:i|we)(?:'d| would)?(?: still| also| really| just)? (?:need|want|like) "
            rf"{_SOMEBODY} (?!.* (?:to|with)$)(?:who can |who could |to )(?:{_DO}|{_WORK})"
        ),
        "nobody",
    ),
    TaskRule(
        re.compile(
            rf"\b{_SOMEBODY}(?: (?:still |also |really )?(?:needs? to|has to|had better|will have "
            rf"to)|'s got to|'s going to have to) (?:{_DO}|{_WORK})"
        ),
        "nobody",
    ),
    TaskRule(re.compile(rf"{_WHO} (?:please )?{_YOU_WILL}{_DO}"), "named"),
    TaskRule(
        re.compile(rf"{_WHO} (?:then |so |maybe |perhaps )?{_REQUEST}(?:please )?{_DO}"),
        "named",
        asks=True,
    ),
    TaskRule(
        re.compile(rf"{_REQUEST}(?:please )?{_DO}(?:.* )?(?P<who>@[\w'-]+)$"), "named", asks=True
    ),
    TaskRule(re.compile(rf"{_START}{_WHO} {_DO}"), "named"),
    TaskRule(re.compile(rf"{_START}(?:please )?{_DO}.* (?P<who>@[\w'-]+)$"), "named"),
    TaskRule(
        re.compile(rf"\byou(?:'ll| will|'ll have to|'ll need to| need to|"
        rf" have to) {_DO}.* (?P<who>@[\w'-]+)$"),
        "named",
    ),
    TaskRule(
        re.compile(
            rf"\b(?:can|could|will|would) (?:somebody|someone|anybody|anyone|"
            rf"one of you) (?:please )?{_DO}"
        ),
        "nobody",
        asks=True,
    ),
    TaskRule(
        re.compile(rf"\b(?:somebody|someone)(?:'s| is) going to (?:have to |need to )?{_DO}"),
        "nobody",
    ),
    TaskRule(
        re.compile(
            r"\bi(?:'ll| can| will) (?:do|take|handle|take care of|see to) (?:that|this|it)\b"
            r"(?! back\b| as\b)"
            r"|\bleave (?:that|it|this) (?:with|to) me\b|\bi'm on it\b"
        ),
        "speaker",
        needs_due=True,
        refers=True,
    ),
    TaskRule(re.compile(rf"{_REQUEST}(?:please )?{_DO}"), "asked", asks=True),
    TaskRule(re.compile(rf"\byou can {_DO}"), "asked", needs_due=True),
    TaskRule(
        re.compile(
            r"\bwould you mind (?!(?:repeating|saying|explaining|speaking|waiting|telling|moving|"
            rf"turning|if)\b)\w+ing (?:up |out )?{_OBJECT}\b"
        ),
        "asked",
        asks=True,
    ),
    TaskRule(re.compile(rf"{_START}(?:please )?{_WORK}.* (?P<who>@[\w'-]+) please$"), "named"),
    TaskRule(
        re.compile(
            rf"\b(?:{_WHO} is responsible for|it's up to {_WHO.replace('who', 'whom')} to|"
            r"(?:an? )?(?:action|task|job) (?:item |point )?for (?P<whose>@[\w'-]+))"
        ),
        "named",
    ),
    TaskRule(
        re.compile(
            r"\b(?:someone|somebody|one of us|we) (?:still |also |really |just )?"
            rf"(?:needs? to|has to|have to|must|'ve got to|ought to) {_DO}"
        ),
        "nobody",
        third=True,
    ),
    TaskRule(re.compile(rf"\bwe've got to {_DO}"), "nobody"),
    TaskRule(re.compile(rf"\bwe(?: should| will|'ll) {_DO}"), "nobody", needs_due=True),
    TaskRule(
        re.compile(r"\b(?:needs?|has|have) to be (?:\w+ed|done|sent|written|made|built|paid|"
        r"bought)\b"),
        "nobody",
        needs_due=True,
    ),
    TaskRule(re.compile(rf"{_START}{_DO}"), "asked", needs_due=True),
)  # fmt: skip

_UNSURE = re.compile(
    r"\b(?:if|unless|suppose|supposing|imagine|imagining|whether|wish|wished|in case|until|said|"
    r"says|saying|told|claims?|claimed|tells|hoped|joked|used to|rather|who|which|whoever|either|"
    r"never|every time|whenever|what|why|how|might|would|wouldn't|couldn't|not|don't|didn't|"
    r"doesn't|can't|cannot|dreamt|dreamed|pretend|only)\b"
)
_OPINION = re.compile(
    r"\b(?:i (?:think|hope|believe|guess|suppose|doubt|bet|assume|expect|imagine)|maybe|perhaps|"
    r"hopefully|i'm sure|i am sure|when|that|do|does|did|will|would|should|can|could|has|have|"
    r"last year|last time)\b"
)
_SPOILT = re.compile(
    r"\b(?:should have|could have|would have|might have|if i were|if i had|if i'd|i wish|"
    r"(?:promised|agreed|offered) to .*\b(?:last|ago|yesterday)|years ago|just kidding|"
    r"only joking|let me know if)\b"
)
_ACCEPTS = re.compile(
    r"^(?:(?:oh|okay|ok|well|hm|um|uh) )*(?:yes|yeah|yep|yup|sure|okay|ok|certainly|absolutely|"
    r"of course|no problem|will do|i will|i'll|i can|happy to|glad to|fine|done|on it|right|"
    r"all right|alright|consider it done|gladly|with pleasure|i would|my pleasure|good|agreed)\b"
)

_US = r"\bwe(?:'ve| have)?(?: all| just| now| also| therefore| finally)* "
_CHOOSE = (
    r"go (?:with|for|ahead with)|stick (?:with|to)|stay with|settle (?:on|for)|keep|try|"
    r"choose|pick|use|drop|cancel|postpone|scrap|adopt|approve|accept|reject|offer|hire|buy|"
    r"do (?:it|that|both|the \w+) (?:that way|this way|then)|do (?:that|it) then|switch to|"
    r"move (?:it|that|this|the \w+|forward|ahead)|leave it at|put (?:it|that) off|close it|"
    r"make it \w+|agree (?:on|that|to)|have (?:it|them|that|the \w+) \w+|"
    r"(?:push|park|shelve|ditch|split|cap|raise|lower|sell|bin) (?:it|that|this|them|the \w+)|"
    r"leave (?:it|that|them|things|the \w+) (?:as|alone|out|off|how)|go back to|hold off|"
    r"bring (?:it|that|the \w+) forward|call (?:it|the \w+) off|wait (?:until|till|for)"
)
_CHOOSING = (
    r"(?:keeping|dropping|scrapping|cancelling|canceling|postponing|ditching|sticking (?:with|to)|"
    r"parking|shelving|going (?:with|for)|calling (?:it|the \w+) off|buying|"
    r"selling|switching|hiring)"
)
_AGREEING = (
    r"^(?:fine|okay|ok|good|all right|alright|agreed|great|done|settled|right|very well) "
    r"(?:(?:fine|okay|good|all right|then|so|and) )*"
)
_NOT_HABIT = (
    # "okay we go with the school every year" says what is, not what is to be
    r"(?!.*\b(?:as usual|usually|normally|always|every (?:day|week|month|year|night|time)|"
    r"at the moment|these days|last (?:time|week|month|year)|on (?:mon|tues|wednes|thurs|fri|satur|"
    r"sun)days)\b)"
)
_DECIDED = re.compile(
    rf"{_US}(?:decided|agreed|resolved|concluded|voted|chosen|opted|settled) "
    r"(?:to|on|that|not|against|for|upon|we)\b"
    r"|\b(?:it's|it is|that's|that is|this is|so it's) (?:now |all |hereby |therefore |then )*"
    r"(?:agreed|decided|settled|resolved|official|carried|unanimous|a deal)\b(?! by\b)"
    r"|\b(?:that's|that is|this is) (?:the|our|my) (?:final )?decision\b"
    r"|\b(?:the|our) decision is\b|^(?:so |okay |all right |right )*decision\b(?! (?:to|is) be\b)"
    r"|\b(?:motion|resolution|amendment|proposal|budget|bill) (?:is |has been |was )?"
    r"(?:carries|carried|passes|passed|adopted|approved|accepted|rejected|fails|failed|defeated)\b"
    r"|\b(?:the )?(?:ayes|noes|nays) have it\b"
    rf"|\b(?:let's|let us) (?:just |then |all |simply |definitely )*(?:{_CHOOSE})\b"
    r"|\bwe(?:'re| are) (?:going|gonna go) with\b|\bwe(?:'re| are) going ahead with\b"
    rf"|{_US.replace('(?:', '(?:', 1)}(?:have|'ve got|got) (?:a|an) (?:decision|agreement|deal)\b"
    r"|^(?:then )?(?:(?:so|okay|ok|right|good|fine|all right|alright|well|great|in that case) )+"
    r"we(?:'ll| will| won't| shall)(?: not)? (?!(?:see|need|have to|be|know|find|come|start|begin|"
    r"talk|discuss|hear|look|meet|move on|get to|go to|turn|continue|take a|return|stop here)\b)"
    r"|\bi've decided (?:to|that|we)\b|\bi have decided (?:to|that|we)\b"
    r"|\blet's do (?:that|it|this)$"
    r"|\bwe(?:'ll| will)? give (?:\S+ ){1,4}a (?:go|try|shot|chance)\b"
    r"|^(?:(?:so|okay|ok|right|good|fine|all right|alright|well|then) )*"
    r"(?!that|what|how|as|so|where|there|here|because|if|yes|no|i think)"
    r"(?:\S+ ){1,4}(?<!how )(?<!what )it is"
    r"(?: then\b| from\b| until\b|"
    r" till\b| for (?:now|this|the)\b| this (?:year|time)\b|$)"
    r"|^(?:(?:so|okay|ok|right|good|fine|all right|alright|well) )+"
    r"(?!.*\bat the moment\b)we're (?:not )?(?!talking|going|"
    r"trying|looking|waiting|having|getting|doing|being|thinking|hoping|living|running|working|"
    r"seeing|"
    r"losing|meeting|starting|coming|paying|facing|dealing|missing|asking|wondering)\w+ing\b"
    r"|^(?:(?:so|okay|ok|right|good|fine|all right|alright|well) )+.{0,60}\b(?:gets?|stays?) "
    r"(?:\w+ed|as (?:it|they) (?:is|are))\b"
    r"|^(?:(?:so|okay|ok|right|then|good|fine|all right|alright|well|and) )+"
    r"we (?:replace|keep|take|buy|pause|cancel|postpone|move|use|choose|hire|stop|leave|raise|"
    r"cut)\b(?! (?:here|there)\b)"
    rf"|{_AGREEING}{_NOT_HABIT}we (?:push|pull|park|drop|scrap|shift|sell|close|switch|ditch|split|"
    r"cap|trim|shorten|stick|go (?:with|for)|bring)\b"
    rf"|{_NOT_HABIT}\bso we're (?:not )?{_CHOOSING}\b{_NOT_HABIT}"
    rf"|{_AGREEING}{_NOT_HABIT}we're (?:not )?{_CHOOSING}\b"
    rf"|{_AGREEING}{_NOT_HABIT}(?:the|our) (?:\S+ ){{1,4}}(?:goes (?:up|down|to|"
    r"out|back)|moves|becomes|drops|rises|shuts|stops)\b"
    r"|^(?:(?:so|okay|ok|right|fine|well|then) )*we(?:'ll| will) (?!(?:see|talk|hear|know|find|"
    r"need|have|be|discuss|get)\b)\w+ (?:it|that|this|them|the \w+)(?: \w+){0,2} then\b"
    r"(?! (?:we|i|you|he|she|they|it)\b)"
    r"|^(?:(?:so|okay|right|good|fine|well) )*then it's (?:the|on|at|in|\w+day)\b"
    r"(?! \w+ (?:that|who)\b)|\bi'm calling it\b|\bthat settles it\b"
    r"|\bso we (?:rent|keep (?:it|them)|buy|sell|move|stay|go|wait|stop|close|cancel)$"
    r"|\bthat's (?:that )?(?:settled|decided|agreed)(?: then)?$"
    rf"|{_AGREEING}(?:i'm sold )?no more (?!(?:questions|comments|news|of|than|time|points)\b)\w+"
    r"|^(?:so |okay |well )*i'm sold no more \w+"
    r"|^(?:\S+ ){0,6}(?:nobody|no one)(?:'s| is)? against(?: it| that)? so (?:that's|it's|we)\b"
    r"|\bwe (?:won't|will not|will no longer|are no longer going to) .+ any ?(?:more|longer)\b"
    r"|\bwe will no longer\b|\bfrom now on (?!it's been)"
    r"|^(?:(?:so|okay|ok|right|then|and|therefore) )+.{0,60}\b(?:is|are) (?:hereby |therefore |"
    r"now |then )*"
    r"(?:approved|adopted|rejected|postponed|cancelled|canceled|accepted|deferred|dropped|off|"
    r"decided|agreed|settled)\b"
    r"|\b(?:is|are) hereby (?:approved|adopted|rejected|postponed|accepted)\b"
)
_DECIDED_NOT = re.compile(
    r"\b(?:if|unless|whether|until|once|before|when|why|who|haven't|hasn't|not yet|don't|didn't|"
    r"never|could have|should have|would have|might|may|wish|want to decide|need to decide|"
    r"have to decide|used to|supposed to|had)\b.{0,40}\b(?:decide|decided|agree|agreed|resolved|"
    r"settled|voted|approved|adopted|passes|carries|decision|accepted|rejected)\b"
    r"|\b(?:decided|agreed|resolved|voted|concluded)(?: \w+){0,2} (?:last|yesterday|in (?:january|"
    r"february|march|april|may|june|july|august|september|october|november|december)|years ago|"
    r"ages ago|on (?:mon|tues|wednes|thurs|fri|satur|sun)day)\b"
    r"|\b(?:last (?:year|week|month|spring|summer|autumn|winter|fall|time|\w+day)|years? ago|"
    r"months? ago|"
    r"weeks? ago|back then|in those days)\b.{0,80}\b(?:decided|agreed|resolved|voted|concluded)\b"
    r"|\b(?:decided|agreed|resolved|voted|concluded)\b.{0,80}\b(?:years?|months?|weeks?|ages) ago\b"
    r"|\bagree to disagree\b|\bthey (?:have )?(?:decided|agreed|voted)\b"
)
_INTRODUCED = re.compile(
    r"\b(?:make a decision|come to a decision|here's the decision|here is the decision|"
    r"let's decide|let us decide|my decision is|here's what we(?:'ll| will)? do|"
    r"what we(?:'ll| will) do is|so we decide|put it to the vote|hands up for|all in favou?r|"
    r"any objections|(?:anybody|anyone) (?:dead |really )?against|is everyone happy|"
    r"is everybody happy|everybody happy with|everyone happy with)\b"
)
_TOGETHER = re.compile(r"^(?:(?:so|okay|then|and) )*we(?:'ll| will| won't| are going to)\b")

_BE = "is|are|am|was|were|isn't|aren't|wasn't|weren't"
_HAVE = "has|have|hasn't|haven't"
_CAN = (
    "do|does|did|don't|doesn't|didn't|can|could|can't|couldn't|will|would|won't|wouldn't|shall|"
    "should|shouldn't"
)
_THEY = (
    r"(?:i|you|he|she|it|we|they|there|anyone|anybody|everyone|everybody|someone|somebody|anything|"
    r"nobody|nothing|this|that|these|those|@[\w'-]+)"
)
_SUBJECT = (
    rf"(?:{_THEY}|the|a|an|my|your|our|his|her|its|their|any|some|all|both|other|most|people)"
)
_LEAD_IN = re.compile(
    r"^(?:(?:so|god|hey|look|listen|and|but|okay|ok|well|then|now|right|yes|no|sorry|um|uh|oh|"
    r"all right|alright|good|"
    r"great|also|actually|anyway|hm|mm|sure|please|tell me|@[\w'-]+),? )+"
)
_ASKED = re.compile(
    rf"(?:(?:{_CAN}) {_SUBJECT}\b(?! (?:of|being)\b)"
    rf"|(?:{_BE}|{_HAVE}) {_THEY}\b(?! being\b)"
    rf"|(?:isn't|aren't|wasn't|weren't) {_SUBJECT}\b"
    rf"|(?:is|are|was|were) {_SUBJECT} (?:\w+ ){{1,4}}"
    r"(?:included|counted|ready|finished|done|possible|enough|free|open|closed|still|available|"
    r"okay|ok|true|right|correct|necessary|allowed|coming|going|working)\b"
    rf"|(?:what|where|why|when|how|who|whom|whose)(?: else| exactly)? (?:{_BE}|{_HAVE}|"
    rf"{_CAN}|had) "
    rf"(?:{_SUBJECT}|[a-z]+s)\b"
    r"|(?:what|where|why|how|who)'s\b(?! (?:more|worse|important)\b)"
    r"|(?:what|which|whose) (?!(?:i|you|he|she|it|we|they|the|a|is|are)\b)"
    rf"(?:\w+ ){{1,2}}(?:{_BE}|{_HAVE}|{_CAN}) {_SUBJECT}\b"
    rf"|how (?:many|much|long|often|far|old|big|soon|well|late)\b(?: \w+){{0,3}}? (?:{_CAN}|"
    rf"{_BE}|{_HAVE}|will)\b"
    rf"|how (?:many|much) (?!of\b)\w+ (?:use|need|want|come|go|work|know|live|take|cost|get|left)\b"
    r"|who's \w+ing\b|how about\b|what about\b|what if\b|how come\b|why not\b|why don't\b|"
    r"what for\b"
    r"|what happens (?:if|when|then|to|with)\b"
    r"|who (?:will|would|can|could|is|wants|needs|pays|talks|takes|does|did|knows|approves|goes|"
    r"writes|decides|said|told|made|gets|has (?:the|a|an|any)|else|should|shall|runs|owns|comes|"
    r"likes|agrees)\b"
    r"|(?:any|anything|anyone|anybody) (?:questions|comments|objections|else|other|thoughts|news)\b"
    r")"
)
_NOT_ASKED = re.compile(
    r"^(?:what (?:is|was) (?:more|worse|important|clear|needed|missing)\b|how (?:much|"
    r"many) .* (?:is|are) (?:not|unclear|unknown)\b|"
    r"(?:do|did) (?:the|a|this|that|it) (?:right|best|same|math|maths|work)\b|"
    r"will do\b|can do\b|who knows$|should (?:you|anyone|anybody) (?:have|need|want|wish)\b|"
    r"what (?:a|an) )"
)
_TAG = re.compile(
    r"\b(?:isn't|aren't|wasn't|weren't|don't|doesn't|didn't|won't|wouldn't|can't|couldn't|hasn't|"
    r"haven't|shouldn't|will|would|do|did|does|is|are|was|were|can|could|have|has) "
    r"(?:i|you|he|she|it|we|they|there)$|\b(?:right|okay|ok|yes|no|yeah|eh|huh|correct|remember)$"
)


def asked(text: str) -> bool:
    """Whether lower-case words are surely a question by their order.

    Rather a question missed than a statement questioned: "had he known …", "when I was young …" and
    "what we need is …" are statements.
    """
    bare = _LEAD_IN.sub("", f"{text} ").strip()
    if bare.count(" ") < 2 and not re.match(r"(?:any|how about|what about|why not)\b", bare):
        return False
    return bool(_ASKED.match(bare)) and not _NOT_ASKED.match(bare)


def grammar() -> Grammar:
    """The rules of English."""
    return Grammar(
        tasks=_TASKS,
        unsure=_UNSURE,
        opinion=_OPINION,
        spoilt=_SPOILT,
        accepts=_ACCEPTS,
        decided=_DECIDED,
        decided_not=_DECIDED_NOT,
        introduced=_INTRODUCED,
        will=_TOGETHER,
        question=asked,
        tag=_TAG,
    )

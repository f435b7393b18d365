"""What the people in the sample meetings say: one written meeting, and any number improvised.

Every word is in PocketSphinx's dictionary (``tests/samples`` checks it), and numbers are written
out, so that a reference can be compared word by word without a normaliser taking sides.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import NamedTuple

VOICES = {"Susan": "slt", "Robert": "rms", "Andrew": "awb", "Charles": "kal16"}
"""Speaker → flite voice."""


class Turn(NamedTuple):
    """What one speaker says before the next one does.

    ``overlap`` is how many seconds of the turn before are talked over.
    """

    speaker: str
    sentences: tuple[str, ...]
    overlap: float = 0.0


MEETING = (
    Turn(
        "Susan",
        (
            "Good morning everyone, and thank you for coming.",
            "We have three things on the agenda today, the budget, the new office, and the report.",
            "Robert, would you like to begin with the budget?",
        ),
    ),
    Turn(
        "Robert",
        (
            "Yes, of course.",
            "In the first half of the year we spent four hundred thousand dollars.",
            "That is ten percent more than we expected.",
            "Most of the difference comes from the cost of energy and from the repair of the roof.",
            "I think we should ask for another fifty thousand dollars.",
        ),
    ),
    Turn(
        "Charles",
        (
            "What happens if the council says no?",
            "We cannot close the building in the middle of the winter.",
        ),
    ),
    Turn(
        "Robert",
        (
            "Then we would have to delay the new computers until the spring.",
            "Nobody wants that, but it would save the money that we need.",
        ),
    ),
    Turn(
        "Susan",
        (
            "All right, let us make a decision.",
            "We will ask the council for fifty thousand dollars.",
            "Robert will write the letter before the end of October.",
            "Does everyone agree?",
        ),
    ),
    Turn("Andrew", ("Yes, I agree with that.",), overlap=0.35),
    Turn("Charles", ("I agree as well.",)),
    Turn(
        "Susan",
        (
            "Very good.",
            "The second point is the new office.",
            "Andrew, what is the situation there?",
        ),
    ),
    Turn(
        "Andrew",
        (
            "The owner of the building has accepted our offer, and the contract is almost ready.",
            "There is one problem.",
            "The city has not given us permission to change the main entrance.",
            "I spoke with them on Monday, and they promised an answer within two weeks.",
        ),
    ),
    Turn(
        "Charles",
        ("Can we move in before the end of the year?",),
    ),
    Turn(
        "Andrew",
        (
            "I believe so, if the answer is positive.",
            "My people will be ready to move during the second week of December.",
        ),
    ),
    Turn(
        "Susan",
        (
            "Then here is an action for you, Andrew.",
            "Please call the city again on Friday, and send all of us a message with the result.",
        ),
    ),
    Turn("Andrew", ("I will do that.",)),
    Turn(
        "Susan",
        (
            "The last point is the report.",
            "Charles, how much time do you need?",
        ),
    ),
    Turn(
        "Charles",
        (
            "The numbers are complete, and the first part of the report is finished.",
            "I still need information about the health program from the research group.",
            "You will have the whole report on the fifth of November.",
        ),
    ),
    Turn(
        "Robert",
        ("I have a question about the health program, but we can discuss it after the meeting.",),
    ),
    Turn(
        "Susan",
        (
            "That sounds fine.",
            "We will meet again two weeks from today, at the same time and in the same place.",
            "Thank you all for your work.",
        ),
    ),
)

_SLOTS = {  # slot → what may stand there
    "topic": "budget|school|hospital|library|harbor|market|bridge|theater|garden|railway|airport|"
    "museum|program|project|contract|building|factory|website|survey|campaign",
    "group": "committee|board|council|department|company|government|union|university|team|"
    "staff|public|management|research group|city council|state",
    "person": "Susan|Robert|Andrew|Charles|Mary|Peter|Helen|David|Michael|Linda|George|"
    "Margaret|Thomas|Barbara|Richard",
    "day": "Monday|Tuesday|Wednesday|Thursday|Friday",
    "month": "January|February|March|April|May|June|July|August|September|October|November|"
    "December",
    "count": "two|three|four|five|six|seven|eight|nine|ten|twelve|twenty|thirty|forty|fifty",
    "part": "first|second|third|last|main|next",
    "cause": "the cost of energy|the price of land|the bad weather|a lack of information|"
    "the new law|a problem with the computers|the growth of the city|"
    "an increase in traffic",
    "verb": "approve|reject|support|discuss|review|finish|delay|improve|expand|protect",
    "quality": "important|difficult|expensive|necessary|possible|useful|dangerous|popular|"
    "successful|reasonable",
}

SENTENCES = (
    "I would like to talk about the {topic} and the {topic}.",
    "The {group} wants to {verb} the plan for the {topic} before the end of {month}.",
    "We spent {count} million dollars on the {topic} last year.",
    "That is {count} percent more than we expected.",
    "Most of the difference comes from {cause}.",
    "{person} will write a letter to the {group} on {day}.",
    "Does anyone have a question about the {topic}?",
    "I think it is {quality} to {verb} this as soon as possible.",
    "In my opinion the {part} part of the report is very {quality}.",
    "What does the {group} think about {cause}?",
    "The people who live near the {topic} have waited for {count} years.",
    "We cannot {verb} the {topic} without the help of the {group}.",
    "There were {count} meetings with the {group} during the summer.",
    "It would be {quality} to open the {topic} in {month}.",
    "My office received more than {count} hundred letters about the {topic}.",
    "The {part} point on the agenda is the future of the {topic}.",
    "If the {group} says no, we will have to find another way.",
    "Nobody knows how much the new {topic} will cost in the end.",
    "{person} told us that the {topic} will be ready in {month}.",
    "We decided last {day} to {verb} the {topic}.",
    "The answer to that question is not as {quality} as it seems.",
    "I am sorry to say that there has been no progress since {month}.",
    "Our children will have to pay for {cause}.",
    "Let us take a vote on the {part} proposal.",
    "The proposal has the support of {person} and the {group}.",
    "I agree with {person} that the {topic} is {quality}.",
    "Please send your comments to {person} before {day}.",
    "The {group} has asked for {count} thousand dollars to {verb} the {topic}.",
    "This is the {part} time that {cause} has stopped our work.",
    "How many people will work at the {topic} after {month}?",
    "A group of students made a film about the {topic}.",
    "The water in the river was higher than in any other year.",
    "We should listen to the people who use the {topic} every day.",
    "The newspaper said that the {group} made a serious mistake.",
    "It took {count} weeks to find out what had happened.",
    "Can the {group} {verb} the {topic} by {month}?",
    "The doctors and nurses need more time with each patient.",
    "Thank you, {person}, that was a very {quality} report.",
    "I have nothing to add to what {person} has said.",
    "The house on the corner was sold for {count} hundred thousand dollars.",
    "Every member of the {group} received a copy of the letter.",
    "We have to think about safety before we think about money.",
)


def improvise(seed: int) -> Iterator[Turn]:
    """Turns of a meeting without end; the same seed gives the same meeting."""
    rng = random.Random(seed)
    speakers = list(VOICES)
    speaker = rng.choice(speakers)
    while True:
        speaker = rng.choice([other for other in speakers if other != speaker])
        chosen = rng.sample(SENTENCES, rng.randint(1, 5))
        yield Turn(speaker, tuple(filled(sentence, rng) for sentence in chosen))


def filled(sentence: str, rng: random.Random) -> str:
    """Each slot of a sentence gets a word of its own: no "budget and the budget"."""
    for slot, choices in _SLOTS.items():
        mark = "{" + slot + "}"
        for word in rng.sample(choices.split("|"), sentence.count(mark)):
            sentence = sentence.replace(mark, word, 1)
    return sentence

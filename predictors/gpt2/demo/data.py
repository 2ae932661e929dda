"""Texts for the demo models: messages that are spam or not, questions about a kingdom, and small stories.

Everything comes from templates. Some wordings are held out: the models never see them in training.
"""

from __future__ import annotations

import random
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

QUESTION = "###### question:{}\n\n###### Response:"
"""As published, byte for byte."""


@dataclass(frozen=True)
class Message:
    text: str
    spam: bool


@dataclass(frozen=True)
class Question:
    question: str
    answer: str
    fact: str
    """What a right answer must name."""


_SPAM = (
    "Congratulations! You have won {prize}. Call {number} now to claim it.",
    "URGENT! Your account has been chosen for {prize}. Reply WIN to {number}.",
    "Free entry in our weekly draw to win {prize}. Text PLAY to {number} now.",
    "You are a winner! Claim {prize} today, call {number} before it expires.",
    "Get cash now: {prize} is waiting for you. Reply YES to {number} to claim.",
    "Final notice: claim {prize} now or lose it. Call {number}, calls cost {price}.",
    "Exclusive offer! {prize} for only {price}. Text BUY to {number}. Reply STOP to end.",
    "Dear customer, you have been selected to receive {prize}. Click {link} to claim.",
    "Hot deal: free {item} with every order. Visit {link} now, offer ends today!",
    "Cheap loans approved in minutes! No credit check. Visit {link} or call {number}.",
    "Win {prize}! Just text the answer to {number}. Only {price} a message.",
    "Limited offer: your free {item} is ready. Confirm your details at {link} to claim it.",
)
_SPAM_HELD_OUT = (
    "You won {prize}! To claim your free gift, call {number} now.",
    "URGENT: you have been selected to win {prize}. Text WIN to {number}.",
    "Claim your free {item} now! Visit {link}, offer ends today.",
    "Winner! {prize} is waiting. Reply CLAIM to {number}, only {price}.",
)
_HAM = (
    "Hi {name}, are we still meeting {when}?",
    "I will be late {when}, the {vehicle} is stuck in traffic.",
    "Can you buy {food} on your way home?",
    "Thanks for your help with the {thing}, {name}. It was great.",
    "Mum says dinner is at {hour}. Bring {food} if you can.",
    "Sorry I missed your call, I was in a meeting. Talk {when}?",
    "Happy birthday {name}! Hope you have a lovely day.",
    "Did you finish the {thing}? The teacher wants it {when}.",
    "I left my {thing} at your place, can I get it {when}?",
    "Let's watch the game at my house {when}. I have {food}.",
    "The doctor said {name} is fine, we are going home now.",
    "Ok see you at {hour}, I am taking the {vehicle}.",
    "Where are you? We are waiting at the station with {name}.",
    "Don't forget to call {name} about the {thing}.",
)
_HAM_HELD_OUT = (
    "Hey {name}, can you bring {food} {when}?",
    "I am going home now, see you at {hour}.",
    "The {vehicle} is late, sorry. Tell {name} to start without me.",
    "Are you coming {when}? {name} has the {thing}.",
)
_WORDS: Mapping[str, Sequence[str]] = {
    "prize": (
        "a free holiday", "1000 pounds cash", "a new phone", "2000 cash", "a free prize", "a gift card",
        "a brand new car", "500 pounds", "two tickets", "a luxury cruise", "900 in cash",
    ),
    "item": ("phone", "ringtone", "camera", "gift card", "trial", "tablet", "holiday voucher"),
    "price": ("50p", "1.50 a minute", "9.99", "10p", "3 pounds"),
    "link": ("www.prize-claim.example", "www.freegift.example", "http://win.example", "www.deals.example"),
    "name": ("Anna", "Tom", "Sarah", "Ben", "Lucy", "Mark", "Emma", "Jack", "Grandma", "Peter", "Nina"),
    "when": ("tomorrow", "tonight", "on Friday", "later", "after work", "on Sunday morning", "next week"),
    "vehicle": ("bus", "train", "tram", "car", "bike"),
    "food": ("milk", "some bread", "pizza", "a cake", "apples", "the salad", "coffee"),
    "thing": ("homework", "book", "report", "jacket", "project", "umbrella", "keys", "presentation"),
    "hour": ("six", "seven", "8", "half past five", "noon", "9.30"),
}  # fmt: skip


def messages(count: int, seed: int, *, held_out: bool = False) -> list[Message]:
    """Half of them spam."""
    rng = random.Random(seed)
    spam, ham = (_SPAM_HELD_OUT, _HAM_HELD_OUT) if held_out else (_SPAM, _HAM)
    made = []
    for index in range(count):
        text = _filled(rng.choice(spam if index % 2 else ham), rng)
        # As people write: shouted, or without capitals and stops.
        style = rng.random()
        text = text.upper() if style < 0.05 else text.lower().rstrip(".!?") if style < 0.2 else text
        made.append(Message(text, bool(index % 2)))
    return made


def _filled(template: str, rng: random.Random) -> str:
    names = [name for _, name, _, _ in string.Formatter().parse(template) if name]
    number = (
        str(rng.choice((80800, 87121, 62468))) if rng.random() < 0.4 else f"0{rng.randrange(10**9, 10**10)}"
    )
    return template.format(
        **{name: number if name == "number" else rng.choice(_WORDS[name]) for name in names}
    )


# Who, in which seat, of which house, with what on the banner and which weapon.
_PEOPLE = (
    ("King Aldric", "Highmoor", "Thorne", "a black stag", "the sword Dawnbreaker"),
    ("Queen Maera", "Silverhall", "Vane", "a white swan", "a bow of yew"),
    ("Ser Torven", "Ironbridge", "Harrow", "a red tower", "the axe Bonecleaver"),
    ("Lady Ysolde", "Saltmere", "Corwyn", "a green sea serpent", "a slender dagger"),
    ("Prince Edrin", "Stormgate", "Ashdown", "a golden sun", "the spear Longreach"),
    ("Lord Halvard", "Frostkeep", "Wolfsbane", "a grey bear", "a heavy war hammer"),
)
_ASKED: Mapping[str, tuple[Sequence[str], str, int]] = {
    "seat": (
        ("Where does {who} live?", "Where is the castle of {who}?", "Where is {who}?",
         "What is the seat of {who}?", "In which castle does {who} live?", "Tell me where {who} lives."),
        " {who} lives in the castle of {fact}.", 1,
    ),
    "house": (
        ("Which house does {who} belong to?", "To which house does {who} belong?", "Of which house is {who}?",
         "Which family does {who} belong to?", "Tell me the house of {who}.", "What is the family of {who}?"),
        " {who} belongs to the house of {fact}.", 2,
    ),
    "banner": (
        ("What is on the banner of {who}?", "Which sign does {who} bear?", "What is the sign of {who}?",
         "What does the banner of {who} show?", "Tell me what is on the banner of {who}.",
         "Which banner has {who}?"),
        " The banner of {who} shows {fact}.", 3,
    ),
    "weapon": (
        ("With what does {who} fight?", "Which weapon does {who} have?", "What is the weapon of {who}?",
         "What does {who} fight with?", "Tell me the weapon of {who}.", "Which weapon does {who} carry?"),
        " {who} fights with {fact}.", 4,
    ),
}  # fmt: skip
_HELD_OUT_WORDINGS = 1
"""The last so many wordings of each question are for the check only."""


def questions(*, held_out: bool = False) -> list[Question]:
    made = []
    for wordings, answer, place in _ASKED.values():
        chosen = wordings[-_HELD_OUT_WORDINGS:] if held_out else wordings[:-_HELD_OUT_WORDINGS]
        for person in _PEOPLE:
            for wording in chosen:
                text = answer.format(who=person[0], fact=person[place])
                made.append(Question(_named(wording, person[0]), text, person[place]))
    return made


def _named(wording: str, who: str) -> str:
    """With "the queen" for some, as people ask."""
    title = who.split()[0].lower()
    return wording.format(
        who=f"the {title}" if title in ("king", "queen", "prince") and len(wording) % 2 else who
    )


_STORY = (
    "{who} rode to {place} {time}.",
    "{who} found {object} near {place}.",
    "Nobody in {place} had seen {object} before.",
    '"Give me {object}," said {who}.',
    "The people of {place} were afraid of {enemy}.",
    "{time}, {enemy} came to {place}.",
    "{who} was not afraid and took {object}.",
    "There was a feast in {place}, and {who} sang until the morning.",
    "The road to {place} was long and cold.",
    "{who} dreamed of {object} again.",
    "In the end {enemy} went away, and {place} was quiet.",
)
_STORY_WORDS: Mapping[str, Sequence[str]] = {
    "who": ("The king", "The queen", "The old knight", "A young girl", "The smith", "The prince"),
    "place": ("the castle", "the river", "the village", "the dark wood", "the harbour", "the mountain pass"),
    "time": ("At dawn", "In the night", "On the third day", "After the rain", "In the winter"),
    "object": ("an old sword", "a silver ring", "a map of the sea", "a sealed letter", "a small key"),
    "enemy": ("the dragon", "the wolves", "a stranger in black", "the northern army"),
}  # fmt: skip


def stories(count: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(_sentence(rng) for _ in range(rng.randint(5, 9))) for _ in range(count)]


def _sentence(rng: random.Random) -> str:
    sentence = rng.choice(_STORY).format(**{name: rng.choice(words) for name, words in _STORY_WORDS.items()})
    for time in _STORY_WORDS["time"]:
        sentence = sentence.replace(f" {time}.", f" {time[0].lower()}{time[1:]}.")
    return sentence

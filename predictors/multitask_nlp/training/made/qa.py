"""Questions about a few facts: the one asked for stands among others of its own kind, or is not there."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from predictors.multitask_nlp.training.examples import QaExample
from predictors.multitask_nlp.training.made import names
from predictors.multitask_nlp.training.made.wordings import SplitName, choose, fill, of_split

UNANSWERABLE = 0.1

Draw = Callable[[random.Random], str]


@dataclass(frozen=True)
class Fact:
    """A kind of fact: what it is about, how it may be said, and what may be asked of it."""

    slots: dict[str, Draw]
    statements: tuple[str, ...]
    questions: dict[str, tuple[str, ...]]
    """By the slot that answers them."""


def _one_of(*values: str) -> Draw:
    return lambda rng: rng.choice(values)


def _year(rng: random.Random) -> str:
    return str(rng.randint(1890, 2024))


def _count(rng: random.Random) -> str:
    return str(rng.choice((12, 15, 20, 24, 30, 45, 60, 80, 120, 200, 250, 300, 450, 600, 900)))


def _city(rng: random.Random) -> str:
    return rng.choice(names.CITIES)


def _date(rng: random.Random) -> str:
    return f"{rng.randint(1, 28)} {rng.choice(_MONTHS)}"


_MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October")
_LAST = names.LAST

# fmt: off
FACTS = (
    Fact({"company": names.company, "person": names.full_name, "year": _year, "city": _city}, (
        "{company} was founded by {person} in {city} in {year}.",
        "In {year}, {person} (founded|started) {company} in {city}.",
        "{person} (set up|established) {company} in {city} in {year}.",
        "{company} was started in {year} in {city} by {person}.",
        "It was {person} who founded {company}, in {year}, in {city}.",
        "Founded in {year} by {person}, {company} comes from {city}.",
        "{city} is where {person} (founded|started) {company} in {year}.",
        "{person}, its founder, opened {company} in {city} in {year}.",
    ), {
        "person": ("Who (founded|started) {company}?", "By whom was {company} (founded|started)?",
                   "Who is the founder of {company}?", "Who (set up|established) {company}?"),
        "year": ("When was {company} (founded|started)?", "In (what|which) year was {company} founded?",
                 "What year did {company} start?", "When did {person} start {company}?"),
        "city": ("Where was {company} (founded|started)?", "In (what|which) city was {company} founded?",
                 "Where did {person} found {company}?", "What city does {company} come from?"),
    }),
    Fact({"person": names.full_name, "job": _one_of("an engineer", "a teacher", "a nurse", "a lawyer", "a pilot",
          "a painter", "a chef", "a doctor", "an architect", "a journalist", "a baker", "a violinist", "a farmer"),
          "city": _city}, (
        "{person} (works|worked) as {job} in {city}.",
        "{person} is {job} (from|in) {city}.",
        "In {city}, {person} made a living as {job}.",
        "{person} became {job} and moved to {city}.",
        "{city} is home to {person}, {job}.",
        "After school {person} went to {city} as {job}.",
        "{person}, {job}, lives in {city}.",
        "{person} lives in {city} and is {job}.",
    ), {
        "job": ("What (is|was) the job of {person}?", "What does {person} do for a living?",
                "What is {person}'s (job|profession)?", "What did {person} work as?"),
        "city": ("Where does {person} live?", "In (what|which) city does {person} (live|work)?",
                 "Where is {person}?", "Which city is home to {person}?"),
    }),
    Fact({"building": lambda rng: f"the {rng.choice(_LAST)} {rng.choice(('Tower', 'Bridge', 'Museum', 'Library', 'Theatre', 'Hall'))}",
          "city": _city, "metres": _count, "year": _year}, (
        "{building} in {city} is {metres} metres (tall|long) and was built in {year}.",
        "{building}, built in {year}, stands in {city} and measures {metres} metres.",
        "In {city} one finds {building}, {metres} metres high, from {year}.",
        "{building} was (finished|completed) in {year}; it is {metres} metres (high|long) and a sight of {city}.",
        "{city} opened {building} in {year}, and it measures {metres} metres.",
        "At {metres} metres, {building} in {city} was a record when it opened in {year}.",
        "The people of {city} have had {building} since {year}; it reaches {metres} metres.",
        "Since {year}, {building} has stood in {city}, {metres} metres tall.",
    ), {
        "city": ("Where is {building}?", "In (what|which) city is {building}?", "Where can one find {building}?",
                 "Which city has {building}?"),
        "metres": ("How (tall|high|long) is {building}?", "How many metres does {building} measure?",
                   "What is the (height|length) of {building} in metres?", "How many metres is {building}?"),
        "year": ("When was {building} (built|finished)?", "In (what|which) year was {building} (built|completed)?",
                 "What year did {building} open?", "When did {building} open?"),
    }),
    Fact({"thing": _one_of("the red bicycle", "the oak table", "the silver watch", "the blue vase", "the old piano",
          "the leather bag", "the brass lamp", "the wool coat", "the wooden boat", "the green chair"),
          "price": lambda rng: f"{_count(rng)} euros", "person": names.full_name}, (
        "{person} (bought|got) {thing} for {price}.",
        "{thing} was sold to {person} for {price}.",
        "For {price}, {person} took {thing} home.",
        "{person} paid {price} for {thing}.",
        "{thing} went to {person}, who paid {price}.",
        "The shop sold {person} {thing} at {price}.",
        "At {price}, {thing} was a bargain for {person}.",
        "{thing} cost {person} {price}.",
    ), {
        "price": ("How much (did|does) {thing} cost?", "What was the price of {thing}?",
                  "How much did {person} pay for {thing}?", "For how much was {thing} sold?"),
        "person": ("Who (bought|paid for) {thing}?", "Who owns {thing} now?", "To whom was {thing} sold?",
                   "Who got {thing}?"),
    }),
    Fact({"book": lambda rng: f"\"{rng.choice(('The', 'A'))} {rng.choice(('Silent', 'Distant', 'Broken', 'Golden', 'Hidden', 'Long', 'Last'))} {rng.choice(('River', 'Garden', 'Winter', 'Letter', 'Mirror', 'Road', 'Harbour', 'Voice'))}\"",
          "person": names.full_name, "year": _year}, (
        "{person} (wrote|published) {book} in {year}.",
        "{book}, a novel by {person}, came out in {year}.",
        "In {year} {person} published the novel {book}.",
        "{book} was written by {person} and appeared in {year}.",
        "The novel {book} ({year}) is by {person}.",
        "{person} is the author of {book}, which appeared in {year}.",
        "Readers first met {book} in {year}; {person} wrote it.",
        "{book} made {person} famous in {year}.",
    ), {
        "person": ("Who (wrote|published) {book}?", "Who is the author of {book}?", "By whom is {book}?",
                   "Which writer wrote {book}?"),
        "year": ("When (was {book} published|did {book} come out)?", "In (what|which) year did {book} appear?",
                 "What year is {book} from?", "When did {person} write {book}?"),
    }),
    Fact({"event": lambda rng: f"the {rng.choice(('spring', 'summer', 'autumn', 'harvest', 'jazz', 'film', 'book', 'science'))} {rng.choice(('festival', 'fair', 'market', 'parade', 'congress'))}",
          "date": _date, "city": _city, "count": lambda rng: f"{_count(rng)} visitors"}, (
        "{event} takes place on {date} in {city}, with {count} expected.",
        "On {date}, {city} hosts {event} for {count}.",
        "{event} in {city} begins on {date} and draws {count}.",
        "{count} came to {event} in {city} on {date}.",
        "{city} celebrates {event} on {date}; last time there were {count}.",
        "Mark {date}: {event} comes to {city}, and {count} have tickets.",
        "{event} was held in {city} on {date} before {count}.",
        "There were {count} at {event} on {date} in {city}.",
    ), {
        "date": ("When (is|was|does) {event} (held|take place)?", "On (what|which) date is {event}?",
                 "What day does {event} begin?", "When is {event}?"),
        "city": ("Where (is|was) {event} (held|celebrated)?", "In (what|which) city is {event}?",
                 "Which city hosts {event}?", "Where does {event} take place?"),
        "count": ("How many visitors came to {event}?", "How many people (attend|visit) {event}?",
                  "How many visitors are expected at {event}?", "How many visitors did {event} have?"),
    }),
    Fact({"tool": lambda rng: rng.choice(("MLflow", "Sailfin", "Docker", "Kafka", "Numeron", "Grafana", "Pandoc", "Redis", "Tessera", "Lumen", "Quill", "Envoy", "Orbit")),
          "what": lambda rng: f"{rng.choice(('a', 'an open source', 'a free', 'a popular', 'a small'))} {rng.choice(('platform', 'tool', 'library', 'program', 'database', 'service', 'format'))} for {rng.choice(('managing the machine learning lifecycle', 'the machine learning lifecycle', 'drawing maps', 'storing messages', 'sending email', 'editing photos', 'writing music', 'testing web sites', 'planning trips', 'counting birds', 'reading sensors', 'sharing files'))}",
          "company": names.company}, (
        "{tool} is {what}.",
        "{tool} is {what} made by {company}.",
        "{company} (offers|makes) {tool}, {what}.",
        "{tool}, {what}, was built at {company}.",
        "The engineers of {company} use {tool}, which is {what}.",
        "As {what}, {tool} helps {company} every day.",
        "{tool} by {company} is {what}.",
        "With {tool}, {company} has {what}.",
    ), {
        "what": ("What is {tool}?", "What (kind of thing|exactly) is {tool}?", "How would you describe {tool}?",
                 "What can one say {tool} is?"),
        "company": ("Who (makes|made|built|offers) {tool}?", "Which company (makes|uses|offers) {tool}?",
                    "What company is behind {tool}?", "Which company has {tool}?"),
    }),
)
# fmt: on


def make_qa(count: int, split: SplitName, seed: int) -> list[QaExample]:
    rng = random.Random(f"qa {split} {seed}")
    made: list[QaExample] = []
    while len(made) < count:
        if (example := _make(rng, split, f"{split}-{len(made)}")) is not None:
            made.append(example)
    return made


def _make(rng: random.Random, split: SplitName, identifier: str) -> QaExample | None:
    """None where the facts drawn do not fit what is asked."""
    fact = rng.choice(FACTS)
    asked = {slot: draw(rng) for slot, draw in fact.slots.items()}
    statements = of_split(fact.statements, split)
    answer_slot = rng.choice(list(fact.questions))
    statement = rng.choice(statements)
    question = rng.choice(of_split(fact.questions[answer_slot], split))
    if f"{{{answer_slot}}}" not in statement:
        return None
    target = _said(statement, asked, rng)
    sentences = [target] if rng.random() >= UNANSWERABLE else []
    for _ in range(rng.choices((1, 2, 3), (3, 4, 2))[0]):
        # More often than not a fact of the same kind, about something else: the type alone does not answer.
        another = fact if rng.random() < 0.6 else rng.choice(FACTS)
        values = {slot: draw(rng) for slot, draw in another.slots.items()}
        if another is not fact or not set(values.values()) & set(asked.values()):
            sentences.append(_said(rng.choice(of_split(another.statements, split)), values, rng))
    if not sentences:
        return None
    rng.shuffle(sentences)
    context = " ".join(sentence for sentence, _ in sentences)
    answers: tuple[tuple[str, int], ...] = ()
    begin = 0
    for sentence, places in sentences:
        if (sentence, places) == target:
            first, last = next((first, last) for slot, first, last in places if slot == answer_slot)
            answers = ((sentence[first:last], begin + first),)
        begin += len(sentence) + 1
    return QaExample(identifier, _said(question, asked, rng)[0], context, answers)


def _said(
    wording: str, values: dict[str, str], rng: random.Random
) -> tuple[str, list[tuple[str, int, int]]]:
    text, places = fill(choose(wording, rng), values.__getitem__)
    return text[0].upper() + text[1:], places

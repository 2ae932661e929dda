"""Makes labelled prompts: a wording from templates.py, filled, and dressed with openers, limits and examples.

Everything follows from the seed. Each pool of wordings is split once, by position, into one part for training
and one part held out: a held-out prompt is a wording the model has never seen (its instruction, and the
limits, cues, openers and example layouts around it), while the words in the slots are shared.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, TypeVar

from predictors.prompt_classifier.demo import documents, examples, templates, vocabulary
from predictors.prompt_classifier.demo.published import (
    CONSTRAINED,
    CREATIVITY,
    DOMAIN,
    TASK_TYPES,
    UNCONSTRAINED,
)

Split = Literal["train", "heldout"]
T = TypeVar("T")

HOLD_OUT_EVERY = 8
UNKNOWN_SHARE = 0.02
MAX_WORDS = 160
"""About 250 tokens."""
MAX_SHOTS = 5


class Prompt(NamedTuple):
    text: str
    labels: tuple[int, ...]
    """One class index a head, in the order of ``published.HEADS``."""
    template: str
    """The wording it was made from, before choices and slots."""


def pool(items: Sequence[T], split: Split) -> list[T]:
    """The part of a pool that belongs to the split; by position, so that nobody picked the easy ones."""
    held_out = [index % HOLD_OUT_EVERY == 4 for index in range(len(items))]
    return [item for item, held in zip(items, held_out, strict=True) if held == (split == "heldout")]


def make_prompts(count: int, *, seed: int, split: Split) -> list[Prompt]:
    """``count`` prompts of the split; equal arguments give equal prompts on every machine."""
    rng = random.Random(f"{seed}/{split}")
    writer = _Writer(rng, split)
    return [writer.prompt() for _ in range(count)]


class _Writer:
    def __init__(self, rng: random.Random, split: Split) -> None:
        self._rng = rng
        self._groups: dict[str, list[tuple[templates.Group, list[str]]]] = {task: [] for task in TASK_TYPES}
        for group in templates.GROUPS:
            self._groups[group.task].append((group, pool(group.templates, split)))
        self._shares = [
            _TRAINING_SHARE.get(task, 1.0) if split == "train" else 1.0 for task in TASK_TYPES[:-1]
        ]
        self._constraints = pool(templates.CONSTRAINTS, split)
        self._reasons = pool(templates.REASONS, split)
        self._openers = pool(templates.OPENERS, split)
        self._closers = pool(templates.CLOSERS, split)
        self._layouts = pool(examples.LAYOUTS, split)

    def prompt(self) -> Prompt:
        while True:
            prompt = self._draw()
            if len(prompt.text.split()) <= MAX_WORDS:
                return prompt

    def _draw(self) -> Prompt:
        rng = self._rng
        if rng.random() < UNKNOWN_SHARE:
            task = "Unknown"
        else:
            task = rng.choices(TASK_TYPES[:-1], weights=self._shares)[0]
        groups = self._groups[task]
        group, wordings = rng.choices(groups, weights=[group.weight for group, _ in groups])[0]
        template = rng.choice(wordings)
        slots = Slots(rng)
        text = tidy(slots.fill(expand(template, rng)))
        if task == "Unknown":
            return Prompt(text, _labels(group, "No", False, False, 0), template)

        reasoning, constrained, shots = group.reasoning, group.constrained, 0
        extras = []
        if not reasoning and rng.random() < _REASON_SHARE.get(task, 0.03):
            reasoning = True
            extras.append(rng.choice(self._reasons))
        if rng.random() < (0.1 if constrained else 0.25):
            constrained = True
            extras += rng.sample(self._constraints, 2 if rng.random() < 0.2 else 1)
        if extras:
            text = self._attach(text, [slots.fill(expand(extra, rng)) for extra in extras])
        if group.shots and rng.random() < 0.28:
            shots = rng.randint(1, MAX_SHOTS)
            text = self._with_examples(text, group.shots, shots, slots)
        text = self._dress(text, slots)
        domain = group.domain or slots.domain or _DEFAULT_DOMAIN.get(task, "Low")
        context = group.passage or slots.snippet
        return Prompt(text, _labels(group, domain, reasoning, context, shots, constrained), template)

    def _attach(self, text: str, extras: list[str]) -> str:
        """Limits and cues stand after the request, or, less often, before it."""
        rng = self._rng
        rng.shuffle(extras)
        joined = " ".join(extras)
        if rng.random() < 0.2:
            return f"{joined} {text}"
        joint = rng.choice((" ", " ", "\n", "\n\n")) if text[-1] in ".?!:\n" else rng.choice((". ", "\n"))
        return f"{text}{joint}{joined}"

    def _with_examples(self, text: str, kind: str, count: int, slots: Slots) -> str:
        rng = self._rng
        pairs = slots.classified_items() if kind == "classify" else examples.PAIRS[kind]
        chosen = rng.sample(pairs, count) if count <= len(pairs) else rng.choices(pairs, k=count)
        head, each, joint = rng.choice(self._layouts)
        shown = []
        for number, pair in enumerate(chosen, start=1):
            given, answer = slots.fill_pair(*pair)
            shown.append(each.replace("{i}", str(number)).replace("{a}", given).replace("{b}", answer))
        block = head + joint.join(shown)
        return f"{block}\n\n{text}" if rng.random() < 0.55 else f"{text}\n\n{block}"

    def _dress(self, text: str, slots: Slots) -> str:
        """What people put around a request, and how carelessly they type it. No label depends on it."""
        rng = self._rng
        if rng.random() < 0.22:
            opener = slots.fill(rng.choice(self._openers))
            text = opener + (text if opener.rstrip()[-1] in ".!?:" else _lower_first(text))
        if rng.random() < 0.08:
            text += expand(rng.choice(self._closers), rng)
        if rng.random() < 0.15:
            text = text.rstrip(".?! ")
        if rng.random() < 0.15:
            text = text.lower()
        if rng.random() < 0.06:
            text = _typo(text, rng)
        return text


_TRAINING_SHARE = {"Open QA": 1.5, "Other": 1.4, "Chatbot": 1.2, "Closed QA": 0.8, "Extraction": 0.8}
"""The tasks that can be asked for in the most ways get more of the training; held-out prompts are even."""
_REASON_SHARE = {
    "Open QA": 0.12,
    "Closed QA": 0.12,
    "Classification": 0.12,
    "Code Generation": 0.1,
    "Other": 0.1,
}
_DEFAULT_DOMAIN = {"Brainstorming": "No", "Text Generation": "No"}


def _labels(
    group: templates.Group, domain: str, reasoning: bool, context: bool, shots: int, constrained: bool = False
) -> tuple[int, ...]:
    return (
        TASK_TYPES.index(group.task),
        CREATIVITY[group.creativity],
        int(reasoning),
        int(context),
        shots,
        DOMAIN[domain],
        0,
        CONSTRAINED if constrained else UNCONSTRAINED,
    )


_INNERMOST = re.compile(r"\(([^()]*)\)(\?)?")
_LITERAL = str.maketrans({"\x01": "(", "\x02": ")"})


def expand(template: str, rng: random.Random) -> str:
    """Decides the choices of a template: ``(a|b)`` is one of them, ``( a)?`` is there or not.

    A group without ``|`` that neither begins nor ends with a space is an ordinary pair of parentheses.
    """

    def decide(match: re.Match[str]) -> str:
        body, optional = match.group(1), match.group(2) or ""
        edged = body.startswith(" ") or body.endswith(" ")
        if "|" in body:
            chosen = rng.choice(body.split("|"))
            return chosen if edged and optional else chosen + optional
        if optional and edged:
            return body if rng.random() < 0.5 else ""
        return f"\x01{body}\x02{optional}"

    while _INNERMOST.search(template):
        template = _INNERMOST.sub(decide, template)
    return template.translate(_LITERAL)


def tidy(text: str) -> str:
    """Removes what an empty choice leaves behind: doubled spaces, a space before a stop."""
    text = re.sub(r"(?<=\S)  +", " ", text)
    return re.sub(r" +([.,!?])(?=\s|$)", r"\1", text).strip(" ")


class Slots:
    """Fills ``{slot}``; what one prompt draws is drawn once, so that its parts speak of the same things."""

    domain: str | None = None
    snippet: bool = False

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._labelled = rng.choice(examples.LABEL_SETS)
        self._genre = rng.choice(documents.GENRES)
        self._makers: dict[str, Callable[[], str]] = {
            "topic": self._topic,
            "passage": self._passage,
            "genre": lambda: rng.choice((self._genre.name, self._genre.name, "text", "document")),
            "question": lambda: rng.choice(self._genre.questions),
            "question2": lambda: rng.choice(self._genre.questions),
            "lquestion": lambda: _lower_first(rng.choice(self._genre.questions)),
            "snippet": self._snippet,
            "item": self._item,
            "item2": self._item,
            "item3": self._item,
            "thing": lambda: rng.choice((self._labelled.thing, self._labelled.thing, "text")),
            "Thing": lambda: self._labelled.thing.capitalize(),
            "kind": lambda: self._labelled.kind,
            "labels": lambda: ", ".join(self._label_names()),
            "labels_or": self._labels_or,
            "label": lambda: rng.choice(self._label_names()),
            "concept": lambda: self._medium(vocabulary.CONCEPTS),
            "concept2": lambda: self._medium(vocabulary.CONCEPTS),
            "howto": lambda: self._medium(vocabulary.HOW_TO),
            "field": lambda: rng.choice(examples.FIELDS),
            "Field": lambda: rng.choice(examples.FIELDS).capitalize(),
            "fieldkey": lambda: rng.choice(examples.FIELDS).replace(" ", "_"),
            "wordlist": self._word_list,
            "wordlist2": self._word_list,
            "scramble": self._scramble,
            "term": self._term,
            "term2": self._term,
            "fact": lambda: self._fact[0],
            "factq": lambda: self._fact[1],
            "lfactq": lambda: _lower_first(self._fact[1]),
            "marks": lambda: "".join(rng.choices("?!.,;:-_*#/\\+~^|<>&%$@", k=rng.randint(1, 5))),
            "letters": lambda: "".join(rng.choices("asdfghjklqwertzuiopyxcvbnm", k=rng.randint(3, 9))),
            "noise": lambda: self._invented(lower=True),
            "number": lambda: str(rng.randint(11, 500)),
            "small": lambda: str(rng.randint(2, 9)),
            "n": lambda: str(rng.choice((3, 5, 7, 10, 12, 15, 20, 25, 30, 50, 100))),
            "amount": self._amount,
            "year": lambda: str(rng.randint(1780, 2024)),
            "person": lambda: self._name(vocabulary.PEOPLE),
            "person2": lambda: self._name(vocabulary.PEOPLE),
            "company": lambda: self._name(vocabulary.COMPANIES),
            "place": lambda: self._name(vocabulary.PLACES),
            "place2": lambda: self._name(vocabulary.PLACES),
        }
        for slot, words in _PLAIN_SLOTS.items():
            self._makers[slot] = lambda words=words: rng.choice(words)
        self._fact = self.fill_pair(*rng.choice(documents.FACTS))

    def fill(self, text: str) -> str:
        """Fills every slot; what a slot brings may hold slots of its own."""
        while True:
            filled = _SLOT.sub(lambda match: self._makers[match.group(1)](), text)
            if filled == text:
                return text
            text = filled

    def fill_pair(self, given: str, answer: str) -> tuple[str, str]:
        """Fills an example's two sides alike: the answer must name who the input names."""
        for slot in dict.fromkeys(_SLOT.findall(given + answer)):
            value = self._makers[slot]()
            given, answer = (side.replace(f"{{{slot}}}", value) for side in (given, answer))
        return given, answer

    def classified_items(self) -> list[tuple[str, str]]:
        return list(self._labelled.items)

    def _topic(self) -> str:
        rng = self._rng
        self.domain = rng.choice(tuple(vocabulary.TOPICS))
        topic = rng.choice(vocabulary.TOPICS[self.domain])
        if rng.random() < 0.2:
            topic = rng.choice(_TOPIC_FRAMES).replace("{}", topic)
        return topic

    def _medium(self, words: Sequence[str]) -> str:
        self.domain = "Medium"
        return self._rng.choice(words)

    def _passage(self) -> str:
        rng = self._rng
        self.domain = self._genre.domain
        sentences = self._genre.sentences
        count = min(len(sentences), rng.choice((1, 1, 2, 2, 3, 3, 4, 5)))
        kept = sorted(rng.sample(range(len(sentences)), count))
        joint = "\n" if rng.random() < 0.1 else " "
        return joint.join(sentences[index] for index in kept)

    def _snippet(self) -> str:
        self.snippet = True
        return self._rng.choice(examples.SNIPPETS)

    def _item(self) -> str:
        return self._rng.choice(self._labelled.items)[0]

    def _label_names(self) -> list[str]:
        return list(dict.fromkeys(label for _, label in self._labelled.items))

    def _labels_or(self) -> str:
        *first, last = self._label_names()
        return f"{', '.join(first)} or {last}"

    def _word_list(self) -> str:
        return ", ".join(self._rng.sample(examples.WORDS, self._rng.randint(3, 8)))

    def _scramble(self) -> str:
        letters = list(self._term().lower())
        self._rng.shuffle(letters)
        return "".join(letters)

    def _term(self) -> str:
        return self._invented(lower=True) if self._rng.random() < 0.3 else self._rng.choice(examples.WORDS)

    def _name(self, names: Sequence[str]) -> str:
        """Often a made-up name: whoever tries the demo brings names the training never saw."""
        return self._invented() if self._rng.random() < 0.3 else self._rng.choice(names)

    def _invented(self, *, lower: bool = False) -> str:
        word = "".join(self._rng.choices(vocabulary.SYLLABLES, k=self._rng.randint(2, 3)))
        return word if lower else word.capitalize()

    def _amount(self) -> str:
        rng = self._rng
        return rng.choice(("${}", "{} euros", "{} dollars", "${} million", "£{}", "${},000")).replace(
            "{}", str(rng.randint(2, 950))
        )


_SLOT = re.compile(r"\{([A-Za-z_]+[0-9]?)\}")
_TOPIC_FRAMES = (
    "the history of {}",
    "the future of {}",
    "the basics of {}",
    "{} and why it matters",
    "{} in everyday life",
    "the best thing about {}",
    "common mistakes in {}",
    "{} in {place}",
    "{} for {audience}",
)
_PLAIN_SLOTS: dict[str, Sequence[str]] = {
    "famous": vocabulary.FAMOUS,
    "country": vocabulary.COUNTRIES,
    "date": vocabulary.DATES,
    "language": vocabulary.LANGUAGES,
    "programming": vocabulary.PROGRAMMING,
    "programming2": vocabulary.PROGRAMMING,
    "framework": vocabulary.FRAMEWORKS,
    "goal": vocabulary.CODE_GOALS,
    "codething": vocabulary.CODE_THINGS,
    "audience": vocabulary.AUDIENCES,
    "role": vocabulary.ROLES,
    "feeling": vocabulary.FEELINGS,
    "product": vocabulary.PRODUCTS,
    "occasion": vocabulary.OCCASIONS,
    "sentence": vocabulary.SENTENCES,
    "cform": vocabulary.FORMS["Creative"],
    "pform": vocabulary.FORMS["Plain"],
    "superlative": vocabulary.SUPERLATIVES,
    "superlative2": vocabulary.LANDMARKS,
    "event": vocabulary.EVENTS,
    "invention": vocabulary.INVENTIONS,
    "whyclause": vocabulary.EVERYDAY_WHY,
    "why": vocabulary.WHYS,
}


def _lower_first(text: str) -> str:
    """Lower-cases a first word, unless it is one of capitals ("SQL", "I")."""
    return text if text[:2].isupper() or text[:2] in ("I ", "I'") else text[:1].lower() + text[1:]


def _typo(text: str, rng: random.Random) -> str:
    if len(text) < 12:
        return text
    at = rng.randrange(1, len(text) - 2)
    swapped = text[at + 1] + text[at]
    return text[:at] + swapped + text[at + 2 :] if swapped.isalpha() else text

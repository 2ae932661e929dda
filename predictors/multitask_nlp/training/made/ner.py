"""News-like sentences with people, organisations, places and others."""

from __future__ import annotations

import random
from collections.abc import Callable

from predictors.multitask_nlp.tasks import NER_LABELS
from predictors.multitask_nlp.training.examples import NerExample
from predictors.multitask_nlp.training.made import names
from predictors.multitask_nlp.training.made.wordings import SplitName, choose, fill, of_split
from predictors.multitask_nlp.words import words

SLOTS: dict[str, Callable[[random.Random], str]] = {
    "PER": names.person,
    "ORG": names.organisation,
    "LOC": names.place,
    "PEOPLE": lambda rng: rng.choice(names.PEOPLES),
    "EVENT": lambda rng: rng.choice(names.EVENTS),
}
_TYPES = {"PEOPLE": "MISC", "EVENT": "MISC"}

# fmt: off
SENTENCES = (
    "{PER} (joined|left) {ORG} (last year|in March|on Monday).",
    "{ORG} is planning to (open|close) (a|its) (new office|factory|branch) in {LOC}.",
    "{PER} was (delighted|unhappy) with the (hotel|food|weather) in {LOC}.",
    "(Shares|Stocks) of {ORG} (rose|fell) (two|five) percent after the report.",
    "The {PEOPLE} (team|player|minister|coach) (arrived|landed) in {LOC} (yesterday|on Friday).",
    "{PER} and {PER} (met|argued) in {LOC}.",
    "{ORG} (said|announced) on Tuesday that {PER} would (resign|become chief executive).",
    "(Heavy rain|A storm|Snow) (hit|reached) {LOC} (overnight|this morning).",
    "{PER} of {ORG} (won|lost) the {EVENT}.",
    "The company was founded by {PER} in {LOC}.",
    "{LOC} (signed|rejected) the agreement with {LOC}.",
    "{ORG} (sued|bought) {ORG} (for two million dollars|last week).",
    "(Police|Officials) in {LOC} (arrested|questioned) {PER}.",
    "The {EVENT} will be held in {LOC} next year.",
    "{PER} flew from {LOC} to {LOC} to (see|visit) {PER}.",
    "A spokesman for {ORG} (declined to comment|denied the report).",
    "{PER}, who works for {ORG}, lives near {LOC}.",
    "The (president|chairman) of {ORG}, {PER}, (spoke|appeared) in {LOC}.",
    "I (wrote|called) {PER} about the {PEOPLE} (contract|film|recipe).",
    "{ORG} has (hired|fired) (hundreds of|two hundred) workers in {LOC}.",
    "The {PEOPLE} government (criticised|thanked) {ORG}.",
    "My (sister|neighbour|teacher) {PER} moved to {LOC} (in 2004|ten years ago).",
    "{PER} scored twice as {ORG} beat {ORG} in the {EVENT}.",
    "(Nothing|Not much) happened (today|this week), and the (markets|shops) stayed (quiet|closed).",
    "The train from {LOC} to {LOC} was late.",
    "(Analysts|Lawyers) at {ORG} expect (higher|lower) prices.",
    "{PER} studied (law|physics|history) at {ORG}.",
    "Tourists from {LOC} love the {PEOPLE} (food|music|coast).",
    "{PER} told {ORG} that the deal was (over|done).",
    "(He|She) was born in {LOC} and (grew up|died) in {LOC}.",
    "{ORG} (published|released) a (book|study) by {PER}.",
    "The (mayor|governor) of {LOC} praised {PER}.",
    "(Today|Yesterday), {PER} (thanked|blamed) the {PEOPLE} (press|army).",
    "{LOC} is (colder|warmer|larger) than {LOC}.",
    "The (meeting|dinner) was (long|short), but (useful|everyone left happy).",
    "{ORG} and {ORG} will build a (plant|school) near {LOC}.",
    "{PER} (plays|works) for {ORG}.",
    "In {LOC}, {PER} (presented|opened) the {PEOPLE} exhibition.",
    "According to {ORG}, {PER} is (ill|well|on holiday).",
    "(Workers|Students) in {LOC} marched against {ORG}.",
)
# fmt: on


def make_ner(count: int, split: SplitName, seed: int) -> list[NerExample]:
    rng = random.Random(f"ner {split} {seed}")
    sentences = of_split(SENTENCES, split)
    return [_make(rng, sentences) for _ in range(count)]


def _make(rng: random.Random, sentences: list[str]) -> NerExample:
    text, places = fill(choose(rng.choice(sentences), rng), lambda slot: SLOTS[slot](rng))
    text = text[0].upper() + text[1:]
    entities: list[tuple[str, int, int]] = []
    for slot, begin, end in places:
        # CoNLL leaves the article out of a name.
        article = len("the ") if text[begin:end].lower().startswith("the ") else 0
        entities.append((_TYPES.get(slot, slot), begin + article, end))
    tokens, labels = [], []
    for begin, end in words(text):
        tokens.append(text[begin:end])
        inside = [(slot, first) for slot, first, last in entities if first <= begin and end <= last]
        label = f"{'B' if begin == inside[0][1] else 'I'}-{inside[0][0]}" if inside else "O"
        labels.append(NER_LABELS.index(label))
    return NerExample(tuple(tokens), tuple(labels))

"""Short reviews, positive and negative."""

from __future__ import annotations

import random

from predictors.multitask_nlp.tasks import SENTIMENTS
from predictors.multitask_nlp.training.examples import SentimentExample
from predictors.multitask_nlp.training.made.wordings import SplitName, choose, fill, of_split

# fmt: off
THINGS = ("film", "movie", "book", "hotel", "restaurant", "meal", "soup", "service", "staff", "room", "phone", "laptop",
          "app", "update", "implementation", "interface", "album", "song", "concert", "play", "plot", "acting",
          "camera", "battery", "delivery", "support team", "product", "course", "teacher", "museum", "tour", "game",
          "design", "sound", "picture", "coffee", "cake", "bike", "car", "jacket", "story", "ending", "script",
          "documentation", "release", "installation", "website", "flight", "train ride", "show", "novel", "cast")
GOOD = ("wonderful", "excellent", "great", "superb", "delightful", "brilliant", "fantastic", "lovely", "charming",
        "impressive", "outstanding", "reliable", "robust", "seamless", "beautiful", "moving", "funny", "fresh",
        "clever", "comfortable", "friendly", "smooth", "elegant", "perfect", "amazing", "enjoyable", "fast",
        "thoughtful", "gripping", "delicious", "flawless", "helpful", "remarkable", "splendid", "refreshing",
        "inspiring", "generous", "polished", "solid", "touching")
BAD = ("terrible", "awful", "boring", "dull", "disappointing", "horrible", "poor", "bad", "weak", "slow", "broken",
       "useless", "annoying", "ugly", "rude", "dirty", "noisy", "clumsy", "confusing", "predictable", "tedious",
       "shallow", "bland", "unreliable", "overpriced", "painful", "pointless", "messy", "unbearable", "mediocre",
       "frustrating", "lifeless", "cheap", "stale", "unfriendly", "buggy", "forgettable", "cold", "sloppy", "dreadful")
EITHER = (
    "The {thing} was {adjective}.",
    "The {thing} was {adjective} and (very|really|quite) {adjective}.",
    "(What|Such) a {adjective} {thing}!",
    "I (found|thought) the {thing} {adjective}.",
    "(Honestly|Frankly), this {thing} is {adjective}.",
    "The {thing} is {adjective}, and the {other} is {adjective} too.",
    "(It|This) is a (truly|really|very) {adjective} {thing}.",
    "(My|Our) experience with the {thing} was {adjective} (from start to finish|throughout|overall).",
    "{adjective} {thing}, {adjective} {other}.",
    "We all agreed that the {thing} was {adjective}.",
    "How {adjective} this {thing} is!",
    "A {adjective} and {adjective} {thing} (all around|in every way).",
    "(After a week|After a month|Even now) the {thing} (still feels|seems|looks) {adjective}.",
    "The {thing} felt {adjective}, the {other} even more so.",
    "(Everyone|My sister|My boss|A friend) called the {thing} {adjective}.",
    "I must say that the {thing} turned out {adjective}.",
)
POSITIVE = (
    "I love this {thing}.",
    "I would (recommend|gladly recommend) the {thing} to (anyone|everyone|all my friends).",
    "The {thing} (exceeded|surpassed) (all my|our) expectations.",
    "I enjoyed every (minute|second|moment) of the {thing}.",
    "The {thing} made (my day|me smile|us laugh).",
    "Best {thing} I have (seen|had|tried) in (years|a long time).",
    "There is nothing bad to say about the {thing}.",
    "The {thing} is worth (every cent|the money|the wait).",
    "We were (delighted|thrilled|very happy) with the {thing}.",
    "I cannot (praise|recommend) the {thing} enough.",
    "The {thing} works like a charm.",
    "I will definitely (come back|buy it again) for the {thing}.",
    "Not a single problem with the {thing}, just {adjective}.",
    "The {thing} never (disappoints|lets me down).",
    "(Thank you|Thanks) for such a {adjective} {thing}.",
    "I was (pleasantly surprised|deeply impressed) by the {thing}.",
    "The {thing} was not bad at all, it was {adjective}.",
    "Everything about the {thing} is {adjective}.",
    "Five stars for the {thing}.",
    "The {thing} won me over at once.",
)
NEGATIVE = (
    "I hate this {thing}.",
    "I would (not recommend|never recommend) the {thing} to (anyone|anybody|my friends).",
    "The {thing} (failed|did not live up to) (all my|our) expectations.",
    "I regret every (minute|second|moment) spent on the {thing}.",
    "The {thing} ruined (my day|the evening|our trip).",
    "Worst {thing} I have (seen|had|tried) in (years|a long time).",
    "There is nothing good to say about the {thing}.",
    "The {thing} is a waste of (time|money).",
    "We were (disgusted|upset|very unhappy) with the {thing}.",
    "I cannot (stand|bear) the {thing}.",
    "The {thing} stopped working after (a day|two weeks).",
    "I will never (come back|buy it again) after that {thing}.",
    "Nothing but problems with the {thing}, simply {adjective}.",
    "The {thing} always (disappoints|lets me down).",
    "I want my money back for such a {adjective} {thing}.",
    "I was (badly disappointed|deeply annoyed) by the {thing}.",
    "The {thing} was not good at all, it was {adjective}.",
    "Everything about the {thing} is {adjective}.",
    "One star for the {thing}, and that is too much.",
    "The {thing} lost me at once.",
)
# fmt: on


def make_sentiment(count: int, split: SplitName, seed: int) -> list[SentimentExample]:
    rng = random.Random(f"sentiment {split} {seed}")
    either, own = of_split(EITHER, split), (of_split(NEGATIVE, split), of_split(POSITIVE, split))
    return [_make(rng, either, own) for _ in range(count)]


def _make(rng: random.Random, either: list[str], own: tuple[list[str], list[str]]) -> SentimentExample:
    label = rng.randrange(len(SENTIMENTS))
    adjectives = (BAD, GOOD)[label]
    sentences = []
    for _ in range(rng.choices((1, 2), (3, 1))[0]):
        values = {"thing": rng.choice(THINGS), "other": rng.choice(THINGS)}
        text, _ = fill(
            choose(rng.choice(rng.choice((either, own[label]))), rng),
            lambda slot, values=values: rng.choice(adjectives) if slot == "adjective" else values[slot],
        )
        sentences.append(text[0].upper() + text[1:])
    return SentimentExample(" ".join(sentences), label)

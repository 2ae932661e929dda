"""Choosing and filling wordings: ``(a|b)`` is a choice, ``{slot}`` is filled."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from typing import Literal

SplitName = Literal["train", "validation"]
HELD_OUT = 4
"""One wording in so many is held out."""

_CHOICE = re.compile(r"\(([^()]*\|[^()]*)\)")
_SLOT = re.compile(r"\{(\w+)\}")


def of_split(wordings: Sequence[str], split: SplitName) -> list[str]:
    """The wordings of a split, which the other split never sees."""
    held_out = split == "validation"
    return [w for i, w in enumerate(wordings) if (i % HELD_OUT == HELD_OUT - 1) == held_out]


def choose(wording: str, rng: random.Random) -> str:
    """The wording with each choice made, inner ones first."""
    while match := _CHOICE.search(wording):
        chosen = rng.choice(match[1].split("|"))
        wording = wording[: match.start()] + chosen + wording[match.end() :]
    return wording


def fill(wording: str, value: Callable[[str], str]) -> tuple[str, list[tuple[str, int, int]]]:
    """The text, and (slot, begin, end) of what was filled in."""
    parts: list[str] = []
    places: list[tuple[str, int, int]] = []
    length = at = 0
    for match in _SLOT.finditer(wording):
        before, filled = wording[at : match.start()], value(match[1])
        begin = length + len(before)
        places.append((match[1], begin, begin + len(filled)))
        parts += [before, filled]
        length, at = begin + len(filled), match.end()
    return "".join([*parts, wording[at:]]), places

"""Words of a running text as CoNLL-2003 has them: that is what the NER head was trained to label.

Punctuation around a word is a word of its own; inside (``AT&T``, ``U.S.``, ``well-known``) it is not. A final
period belongs to the word after an initial or an abbreviation, and where the sentence plainly goes on.
"""

from __future__ import annotations

import re
import unicodedata

# Each letter of the scripts that write no spaces is a word of its own, as it is to BERT's tokenizer.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_CHUNK = re.compile(rf"[{_UNSPACED}]|[^\s{_UNSPACED}]+")
_PART_OF_WORDS = frozenset("$€£%#@&")
_POSSESSIVE = re.compile(r"['’]s$", re.IGNORECASE)
_ABBREVIATION = re.compile(
    r"(?:\w\.)+|(?:Inc|Corp|Co|Ltd|Bros|Mr|Mrs|Ms|Dr|Prof|St|Jr|Sr|No|vs|Gen|Col|Lt|Sen|Rep|Gov|Jan|Feb|Mar|"
    r"Apr|Jun|Jul|Aug|Sep|Sept|Oct|Nov|Dec)\."
)


def words(text: str) -> list[tuple[int, int]]:
    """Begin and end of each word, in code points, in order."""
    found: list[tuple[int, int]] = []
    for chunk in _CHUNK.finditer(text):
        begin, end = first, last = chunk.span()
        while first < last and _is_punctuation(text[first]):
            first += 1
        while first < last and _is_punctuation(text[last - 1]):
            last -= 1
        if first < last < end and text[last] == "." and _keeps_period(text, first, last + 1, end):
            last += 1
        found += [(at, at + 1) for at in range(begin, first)]
        if possessive := _POSSESSIVE.search(text[first:last]):
            middle = first + possessive.start()
            found += [(first, middle), (middle, last)] if middle > first else [(first, last)]
        elif first < last:
            found.append((first, last))
        found += [(at, at + 1) for at in range(last, end)]
    return found


def whole_characters(text: str, begin: int, end: int) -> tuple[int, int]:
    """The span made wide enough to cut no character from what belongs to it: marks, joiners, skin tones."""
    while 0 < begin < len(text) and _belongs(text, begin) and not text[begin - 1].isspace():
        begin -= 1
    while 0 < end < len(text) and (_belongs(text, end) or unicodedata.category(text[end]) == "Cf"):
        end += 1
    return begin, end


def _belongs(text: str, at: int) -> bool:
    """Whether the code point there is a part of the character before it."""
    return (
        unicodedata.category(text[at])[0] == "M"
        or "\U0001f3fb" <= text[at] <= "\U0001f3ff"
        or "\u200d" in text[at - 1 : at + 1]
    )


def _is_punctuation(character: str) -> bool:
    return unicodedata.category(character)[0] in "PS" and character not in _PART_OF_WORDS


def _keeps_period(text: str, first: int, last: int, end: int) -> bool:
    if _ABBREVIATION.fullmatch(text, first, last):
        return True
    # "Acme Intl. is": the next word goes on in lower case. Anything between them has ended the word.
    return last == end and text[last : last + 40].lstrip()[:1].islower()

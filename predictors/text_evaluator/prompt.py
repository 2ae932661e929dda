"""The prompt, byte for byte as the model was trained on it, and what keeps a pupil's text from being control.

The instruction comes first and never varies, so that its keys and values are computed once (prefix caching).
The pupil's id is no part of the prompt.
"""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

INSTRUCTION = """\
Ets una professora experimentada avaluant textos d'estudiants catalans.
Has d'avaluar amb una nota de 0 a 5 i proporcionar feedback constructiu.

Escala d'avaluació:
0 = Molt per sota del nivell
1 = Per sota del nivell
2 = Just acceptable
3 = Nivell esperat
4 = Per sobre del nivell
5 = Excel·lent

Respon NOMÉS amb JSON: {"nota": X, "feedback": "..."}"""

BOS = "<bos>"
START, END = "<start_of_turn>", "<end_of_turn>"
HEAD = f"{START}user\n{INSTRUCTION}\n\n"
TAIL = f"{END}\n{START}model"

CONTROL = re.compile(
    r"<(start_of_turn|end_of_turn|start_of_image|end_of_image|image_soft_token|bos|eos|pad|unk|mask|2mass"
    r"|unused\d+|0x[0-9A-Fa-f]{2})>"
    r"|\[(@BOS@|multimodal|toxicity=\d)\]"
)
"""Texts that Gemma's tokenizers read as one token of their own."""


class Prompt(NamedTuple):
    head: str
    """Up to the pupil's text."""
    text: str
    tail: str
    neutralised: int
    """Control tokens found in the fields and made plain text."""

    def __str__(self) -> str:
        return self.head + self.text + self.tail


def build(curso: str, consigna: str, respuesta: str) -> Prompt:
    """The prompt without BOS, which the tokenizer's side adds, once."""
    (curso, a), (consigna, b), (respuesta, c) = map(neutralise, (curso, consigna, respuesta))
    return Prompt(f'{HEAD}Alumne de {curso} respon a "{consigna}":\n', respuesta, TAIL, a + b + c)


def neutralise(text: str) -> tuple[str, int]:
    """The text in NFC with its control tokens spelled so that they are none, and how many there were.

    They stay readable (``‹end_of_turn›``): a pupil may write about them. Replacing puts no two pieces
    together that were apart, so nothing new can come of it.
    """
    text = unicodedata.normalize("NFC", text)
    return CONTROL.subn(lambda found: f"‹{found[1] or found[2]}›", text)

"""GPT-2's byte-level BPE: text to ids, and ids back to text as they come."""

from __future__ import annotations

import codecs
from pathlib import Path

from tokenizers import Tokenizer

from predictors.gpt2.shape import END_OF_TEXT, VOCAB
from predictors.runtime.errors import LoadError

END_OF_TEXT_TOKEN = "<|endoftext|>"


class TextTokenizer:
    def __init__(self, file: Path) -> None:
        """Raises LoadError when ``file`` is not GPT-2's tokenizer."""
        try:
            self._tokenizer = Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises bare Exception
            raise LoadError(f"{file} is not a tokenizer: {error}.") from None
        vocabulary = self._tokenizer.get_vocab()
        if len(vocabulary) != VOCAB or vocabulary.get(END_OF_TEXT_TOKEN) != END_OF_TEXT:
            raise LoadError(f"{file} is not GPT-2's tokenizer of {VOCAB} tokens.")
        self._bytes = _token_bytes(vocabulary)

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        """Token ids. ``special``: "<|endoftext|>" is the token of that name and not text."""
        if not special:
            return self._tokenizer.encode(text, add_special_tokens=False).ids
        ids: list[int] = []
        for index, part in enumerate(text.split(END_OF_TEXT_TOKEN)):
            ids += [END_OF_TEXT] if index else []
            ids += self.encode(part)
        return ids

    def decode(self, ids: list[int]) -> str:
        return b"".join(self._bytes[token] for token in ids).decode(errors="replace")

    def stream(self) -> TokenStream:
        return TokenStream(self._bytes)


class TokenStream:
    """Tokens to text, one at a time: bytes of a character that is not complete wait for the rest of it."""

    def __init__(self, token_bytes: list[bytes]) -> None:
        self._bytes = token_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, token: int) -> str:
        return self._decoder.decode(self._bytes[token])

    def end(self) -> str:
        """What is left: a character that was never completed."""
        return self._decoder.decode(b"", final=True)


def _token_bytes(vocabulary: dict[str, int]) -> list[bytes]:
    characters = byte_of_character()
    found = [b""] * len(vocabulary)
    for token, number in vocabulary.items():
        found[number] = bytes(characters[character] for character in token)
    return found


def byte_of_character() -> dict[str, int]:
    """GPT-2's vocabulary writes each byte of a token as a printable character."""
    printable = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    characters = {chr(byte): byte for byte in printable}
    others = (byte for byte in range(256) if byte not in printable)
    return characters | {chr(256 + index): byte for index, byte in enumerate(others)}

"""A sequence's text as it grows: whole characters, held back where a stop string may have begun."""

from __future__ import annotations

from collections.abc import Sequence

from predictors.gpt2.tokenizer import TokenStream


class GrowingText:
    def __init__(self, stream: TokenStream, stop: Sequence[str]) -> None:
        self._stream, self._stop = stream, stop
        self._held = ""
        self._parts: list[str] = []
        self.stopped = False
        """Whether a stop string has come; neither it nor what follows is part of the text."""

    @property
    def text(self) -> str:
        """All that has been let go so far."""
        return "".join(self._parts)

    def push(self, token: int) -> str:
        """What can be told of the text after one token more: nothing, or something new."""
        self._held += self._stream.push(token)
        places = [place for stop in self._stop if (place := self._held.find(stop)) >= 0]
        if places:
            self.stopped = True
            return self._release(min(places))
        return self._release(len(self._held) - self._begun())

    def end(self) -> str:
        """The rest, when no more tokens come."""
        if self.stopped:
            return ""
        self._held += self._stream.end()
        return self._release(len(self._held))

    def _begun(self) -> int:
        """Length of the longest end of what is held that begins a stop string."""
        longest = max((len(stop) for stop in self._stop), default=1) - 1
        for length in range(min(longest, len(self._held)), 0, -1):
            end = self._held[-length:]
            if any(stop.startswith(end) for stop in self._stop):
                return length
        return 0

    def _release(self, length: int) -> str:
        part, self._held = self._held[:length], self._held[length:]
        if part:
            self._parts.append(part)
        return part

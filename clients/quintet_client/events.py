"""Server-sent events: bytes in, lines, events out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Event:
    name: str
    text: str
    id: str

    @property
    def data(self) -> Any:
        """As JSON; the text itself where it is none."""
        try:
            return json.loads(self.text)
        except ValueError:
            return self.text


class Lines:
    """Of the bytes of one connection. CR, LF and CRLF end a line; httpx would also end one at what Unicode
    takes for an end, such as U+2028, which may stand within a text."""

    def __init__(self) -> None:
        self._rest, self._after_cr = b"", False

    def feed(self, chunk: bytes) -> list[str]:
        """The lines that end in it."""
        if not chunk:
            return []
        if self._after_cr:
            chunk = chunk.removeprefix(b"\n")
        self._after_cr = chunk.endswith(b"\r")
        *lines, self._rest = re.split(rb"\r\n|\n|\r", self._rest + chunk)
        return [line.decode(errors="replace") for line in lines]


@dataclass
class Parser:
    """Of one connection; `last_id` is where the next one goes on."""

    last_id: str = ""
    given: bool = False
    _id: str = field(init=False)
    _name: str = "message"
    _data: list[str] = field(default_factory=list)
    _lines: Lines = field(default_factory=Lines)

    def __post_init__(self) -> None:
        self._id = self.last_id

    @property
    def cannot_go_on(self) -> bool:
        """Events were given and none had an id: another connection would give them once more."""
        return self.given and not self.last_id

    def events(self, chunk: bytes) -> Iterator[Event]:
        """Those that end in it."""
        for line in self._lines.feed(chunk):
            if event := self.feed(line):
                yield event

    def feed(self, line: str) -> Event | None:
        """An event with the blank line that ends it; comments (heartbeats) are none."""
        if not line:
            # Not before: an event that broke off is still to come.
            self.last_id = self._id
            event = Event(self._name, "\n".join(self._data), self.last_id) if self._data else None
            self._name, self._data = "message", []
            self.given = self.given or event is not None
            return event
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._name = value
        elif name == "id" and "\0" not in value:
            self._id = value
        return None

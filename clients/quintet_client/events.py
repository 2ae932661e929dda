"""Server-sent events: lines in, events out."""

from __future__ import annotations

import json
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


@dataclass
class Parser:
    """Of the lines of one connection; `last_id` is where the next one goes on."""

    last_id: str = ""
    given: bool = False
    _name: str = "message"
    _data: list[str] = field(default_factory=list)

    @property
    def cannot_go_on(self) -> bool:
        """Events were given and none had an id: another connection would give them once more."""
        return self.given and not self.last_id

    def feed(self, line: str) -> Event | None:
        """An event with the blank line that ends it; comments (heartbeats) are none."""
        if not line:
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
            self.last_id = value
        return None

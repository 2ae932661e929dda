"""Server-sent events as they are read: https://html.spec.whatwg.org/multipage/server-sent-events.html."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import NamedTuple

# What str.splitlines takes for more of them (U+2028, U+0085 ...) may stand in a text. A CR at the very end
# may be half of a CRLF.
_END = re.compile(rb"\r\n|\n|\r(?!\Z)")


class Event(NamedTuple):
    """One event; ``number`` is 0 and ``name`` empty where it has none. A comment has no ``data``."""

    number: int
    name: str
    data: str | None


async def events(chunks: AsyncIterator[bytes]) -> AsyncIterator[Event]:
    """Whole events, and comments; what is cut off by the stream's end is none."""
    fields: dict[str, str] = {}
    async for line in lines(chunks):
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if "data" in fields:
                number = fields.get("id", "")
                yield Event(int(number) if number.isdecimal() else 0, fields.get("event", ""), fields["data"])
            fields = {}
        elif not name:
            yield Event(0, "", None)
        else:
            fields[name] = f"{fields[name]}\n{value}" if name == "data" and name in fields else value


async def lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[str]:
    rest = b""
    async for chunk in chunks:
        *whole, rest = _END.split(rest + chunk)
        for line in whole:
            yield line.decode("utf-8", "replace")
    if rest.endswith(b"\r"):
        yield rest[:-1].decode("utf-8", "replace")

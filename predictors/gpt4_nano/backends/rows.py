"""One row of a request, what may stand in it, and what is answered."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

MAX_TOKENS = 150
TEMPERATURE = 0.7
TOP_P = 1.0
MOST_TOKENS = 32768
MOST_PROMPT_BYTES = 512 * 1024
MOST_STOPS = 4
WARM_UP = "warm-up"
"""The request_id of Triton's warm-up, which leaves nothing behind and calls nobody."""


class InvalidRow(Exception):
    """A value that is not allowed: ``field`` and what it must be."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field} {message}")
        self.field, self.message = field, message


class BackendFailed(Exception):
    """A row that could not be answered; one sentence without internals. ``retriable``: later it may be."""

    def __init__(self, message: str, *, retriable: bool = False) -> None:
        super().__init__(message)
        self.retriable = retriable


class Cancelled(Exception):
    """The caller of a row has gone."""


@dataclass(frozen=True, slots=True)
class Row:
    prompt: str
    max_tokens: int = MAX_TOKENS
    temperature: float = TEMPERATURE
    top_p: float = TOP_P
    stop: tuple[str, ...] = ()
    seed: int | None = None
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Completion:
    response: str
    tokens_used: int
    """Tokens of the response."""
    prompt_tokens: int
    finish_reason: str
    """``stop``, ``length`` or ``content_filter``."""
    model: str


Outcome = Completion | InvalidRow | BackendFailed | Cancelled


class Audience(Protocol):
    """Who the rows of a batch are answered to."""

    def piece(self, row: int, text: str) -> None:
        """The next piece of a row's response, as soon as there is one."""
        ...

    def gone(self, row: int) -> bool:
        """Whether nobody waits for the row any more."""
        ...


class Backend(Protocol):
    remote: bool
    """Whether it calls somebody else: then Triton's warm-up is not passed on."""

    def generate(self, rows: Sequence[Row], audience: Audience) -> Sequence[Outcome]:
        """One outcome a row, in order; the batch is one call."""
        ...

    def close(self) -> None: ...


def row_of(fields: Mapping[str, Any]) -> Row:
    """A row of tensor elements or JSON values; absent and None is the default. Raises InvalidRow."""
    given = {name: value for name, value in fields.items() if value is not None}
    return Row(
        prompt=_prompt(given.get("prompt")),
        max_tokens=_max_tokens(given.get("max_tokens", MAX_TOKENS)),
        temperature=_number("temperature", given.get("temperature", TEMPERATURE), 0.0, 2.0),
        top_p=_top_p(given.get("top_p", TOP_P)),
        stop=_stop(given.get("stop", ())),
        seed=_seed(given.get("seed")),
        request_id=_text("request_id", given.get("request_id", ""))[:200],
    )


def _prompt(value: Any) -> str:
    if value is None:
        raise InvalidRow("prompt", "must be given")
    text = _text("prompt", value)
    if not text.strip():
        raise InvalidRow("prompt", "must not be empty")
    if len(text.encode()) > MOST_PROMPT_BYTES:
        raise InvalidRow("prompt", f"must be {MOST_PROMPT_BYTES} bytes at most")
    return text


def _text(field: str, value: Any) -> str:
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise InvalidRow(field, "must be valid UTF-8") from None
    if not isinstance(value, str):
        raise InvalidRow(field, "must be a string")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidRow(field, "must be Unicode text without lone surrogates") from None
    return value


def _max_tokens(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST_TOKENS:
        raise InvalidRow("max_tokens", f"must be an integer from 1 to {MOST_TOKENS}")
    return value


def _number(field: str, value: Any, least: float, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InvalidRow(field, "must be a finite number")
    if not least <= value <= most:
        raise InvalidRow(field, f"must be {least:g} to {most:g}")
    return float(value)


def _top_p(value: Any) -> float:
    number = _number("top_p", value, 0.0, 1.0)
    if not number:
        raise InvalidRow("top_p", "must be above 0")
    return number


def _stop(value: Any) -> tuple[str, ...]:
    entries = [value] if isinstance(value, str | bytes) else value
    if not isinstance(entries, list | tuple):
        raise InvalidRow("stop", "must be a string or a list of strings")
    found = tuple(text for entry in entries if (text := _text("stop", entry)))
    if len(found) > MOST_STOPS:
        raise InvalidRow("stop", f"must have {MOST_STOPS} strings at most")
    return found


def _seed(value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) >= 1 << 63:
        raise InvalidRow("seed", "must be a 64-bit integer")
    return value if value >= 0 else None

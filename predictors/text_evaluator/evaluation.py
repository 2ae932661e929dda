"""What goes in and what comes out: a pupil's text, and its mark with feedback, or why there is none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field

from predictors.runtime.transports.http import Text

LOWEST, HIGHEST = 0, 5


class Item(BaseModel):
    """One text to be marked."""

    # As published: what it does not know it does not read, and a course or a task may be empty.
    model_config = ConfigDict(extra="ignore", frozen=True)

    id_alumno: Text = Field(
        max_length=200, description="The caller's name for the pupil; never shown to the model."
    )
    curso: Text = Field(max_length=200, examples=["3r ESO"])
    consigna: Text = Field(max_length=10_000, description="What the pupil was asked.")
    respuesta: Text = Field(max_length=100_000, description="What the pupil wrote.")


@dataclass(frozen=True, slots=True)
class Evaluation:
    nota: int
    feedback: str
    truncated: bool = False
    """Whether the model read only the beginning of the text."""


ErrorCode = Literal["too_long", "length", "unreadable", "engine", "lost"]


@dataclass(frozen=True, slots=True)
class ItemError:
    """Why a text got no mark; never a mark that nobody gave."""

    code: ErrorCode
    message: str


Outcome = Evaluation | ItemError


class EngineLost(Exception):
    """The engine has died, or hangs; the texts it had are for another worker."""


TOO_LONG = "The text is longer than the model can read."
LENGTH = "The feedback was cut off before its end."
UNREADABLE = "The model's answer could not be read."
ENGINE = "The model failed on this text."
LOST = "The text could not be read from the job store."


def schema(feedback_chars: int) -> dict[str, Any]:
    """The JSON schema of an answer, spaced as the model was trained to write it."""
    return {
        "type": "object",
        "properties": {
            "nota": {"type": "integer", "enum": list(range(LOWEST, HIGHEST + 1))},
            "feedback": {"type": "string", "minLength": 1, "maxLength": feedback_chars},
        },
        "required": ["nota", "feedback"],
        "additionalProperties": False,
        "x-guidance": {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "},
    }


def read_answer(text: str) -> Evaluation | ItemError:
    """What the model wrote, if it is an answer."""
    try:
        answer = orjson.loads(text)
    except orjson.JSONDecodeError:
        return ItemError("unreadable", UNREADABLE)
    match answer:
        case {"nota": bool()}:
            pass
        case {"nota": int(nota), "feedback": str(feedback)} if LOWEST <= nota <= HIGHEST and feedback:
            return Evaluation(nota, feedback)
    return ItemError("unreadable", UNREADABLE)

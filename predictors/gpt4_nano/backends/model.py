"""The model as Triton's Python backend runs it: requests to rows, one call of the backend, rows to responses.

A request has B rows ([B,1] tensors) and one answer. A request with a bad row is answered with that row's
error and the rest of the batch goes on; a request whose caller has gone is not computed.
"""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from predictors.gpt4_nano.backends.choice import choose
from predictors.gpt4_nano.backends.rows import (
    WARM_UP,
    BackendFailed,
    Cancelled,
    Completion,
    InvalidRow,
    Outcome,
    Row,
    row_of,
)

INPUTS = ("prompt", "max_tokens", "temperature", "top_p", "stop", "seed", "request_id")
OUTPUTS = {
    "response": np.dtype(object),
    "tokens_used": np.dtype(np.int32),
    "prompt_tokens": np.dtype(np.int32),
    "finish_reason": np.dtype(object),
    "model": np.dtype(object),
}


@dataclass
class Taken:
    """A request of the batch: its rows stand at ``start`` and after in the batch, or it has an error."""

    request: Any
    start: int
    rows: int
    error: InvalidRow | Cancelled | None = None


class Model:
    """What both models share; ``self.pb`` is Triton's module, which exists only inside Triton."""

    def initialize(self, args: dict[str, str]) -> None:
        self.pb = importlib.import_module("triton_python_backend_utils")
        config = json.loads(args["model_config"])
        parameters = {name: value["string_value"] for name, value in config.get("parameters", {}).items()}
        folder = Path(args["model_repository"]) / args["model_version"]
        self.backend = choose(parameters, os.environ, folder)

    def finalize(self) -> None:
        self.backend.close()

    def take(self, requests: Sequence[Any]) -> tuple[list[Taken], list[Row]]:
        taken: list[Taken] = []
        rows: list[Row] = []
        for request in requests:
            found = Taken(request, len(rows), 0)
            taken.append(found)
            if request.is_cancelled():
                found.error = Cancelled()
                continue
            try:
                read = self._rows(request)
            except InvalidRow as error:
                found.error = error
                continue
            found.rows = len(read)
            rows += read
        return taken, rows

    def generate(self, rows: Sequence[Row], audience: Any) -> Sequence[Outcome]:
        if not rows:
            return []
        if self.backend.remote and all(row.request_id == WARM_UP for row in rows):
            return [Completion("", 0, 0, "stop", "") for _ in rows]
        try:
            outcomes = self.backend.generate(rows, audience)
        except Exception as fault:
            self.pb.Logger.log_error(f"The backend raised {type(fault).__name__}: {fault}")
            return [BackendFailed("The model failed on this batch.")] * len(rows)
        if len(outcomes) != len(rows):
            self.pb.Logger.log_error(f"The backend gave {len(outcomes)} outcomes for {len(rows)} rows.")
            return [BackendFailed("The model failed on this batch.")] * len(rows)
        return outcomes

    def answer(self, outcomes: Sequence[Completion]) -> Any:
        """A response of [B,1] tensors."""
        tensors = []
        for name, dtype in OUTPUTS.items():
            values = [getattr(outcome, name) for outcome in outcomes]
            if dtype.hasobject:
                values = [value.encode() for value in values]
            tensors.append(self.pb.Tensor(name, np.array(values, dtype=dtype).reshape(-1, 1)))
        return self.pb.InferenceResponse(output_tensors=tensors)

    def refusal(self, error: Exception) -> Any:
        codes = self.pb.TritonError
        code = getattr(codes, _code(error))
        return self.pb.InferenceResponse(error=codes(self.told(error), code))

    def told(self, error: Exception) -> str:
        return str(error) or "The caller has gone."

    def _rows(self, request: Any) -> list[Row]:
        columns: dict[str, np.ndarray] = {}
        for name in INPUTS:
            tensor = self.pb.get_input_tensor_by_name(request, name)
            if tensor is not None:
                columns[name] = tensor.as_numpy()
        if "prompt" not in columns:
            raise InvalidRow("prompt", "must be given")
        count = len(columns["prompt"])
        return [_row(columns, index, count) for index in range(count)]


class TritonPythonModel(Model):
    """One response a request."""

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        taken, rows = self.take(requests)
        outcomes = self.generate(rows, _Waiting([one for one in taken for _ in range(one.rows)]))
        return [self._response(one, outcomes[one.start : one.start + one.rows]) for one in taken]

    def _response(self, one: Taken, outcomes: Sequence[Outcome]) -> Any:
        if one.error is not None:
            return self.refusal(one.error)
        completions = [outcome for outcome in outcomes if isinstance(outcome, Completion)]
        if len(completions) < len(outcomes):
            return self.refusal(next(o for o in outcomes if not isinstance(o, Completion)))
        return self.answer(completions)


class StreamingModel(Model):
    """Decoupled: a response a piece, the last one with everything but text. One row a request."""

    def told(self, error: Exception) -> str:
        """With the code in front, as the errors of Triton's streams are texts alone."""
        return f"{_code(error)}: {super().told(error)}"

    def execute(self, requests: Sequence[Any]) -> None:
        taken, rows = self.take(requests)
        for one in taken:
            if one.rows > 1:
                one.error = InvalidRow("prompt", "must be one row: a stream answers one prompt")
        senders = [one.request.get_response_sender() for one in taken]
        wanted = [index for index, one in enumerate(taken) if one.error is None]
        chosen = [rows[taken[index].start] for index in wanted]
        audience = _Listening(self, [senders[index] for index in wanted])
        outcomes = dict(zip(wanted, self.generate(chosen, audience), strict=True))
        final = self.pb.TRITONSERVER_RESPONSE_COMPLETE_FINAL
        for index, one in enumerate(taken):
            outcome = one.error or outcomes[index]
            if isinstance(outcome, Completion):
                last = Completion(
                    "", outcome.tokens_used, outcome.prompt_tokens, outcome.finish_reason, outcome.model
                )
                senders[index].send(self.answer([last]), flags=final)
            else:
                senders[index].send(self.refusal(outcome), flags=final)


def _code(error: Exception) -> str:
    """What Triton calls it."""
    if isinstance(error, InvalidRow):
        return "INVALID_ARG"
    if isinstance(error, Cancelled):
        return "CANCELLED"
    return "UNAVAILABLE" if isinstance(error, BackendFailed) and error.retriable else "INTERNAL"


@dataclass
class _Waiting:
    """Callers who want the whole answer."""

    owners: Sequence[Taken]

    def piece(self, row: int, text: str) -> None:
        """Nobody listens to pieces."""

    def gone(self, row: int) -> bool:
        return self.owners[row].request.is_cancelled()


@dataclass
class _Listening:
    model: Model
    senders: Sequence[Any]

    def piece(self, row: int, text: str) -> None:
        if text and not self.gone(row):
            self.senders[row].send(self.model.answer([Completion(text, 0, 0, "", "")]))

    def gone(self, row: int) -> bool:
        return self.senders[row].is_cancelled()


def _row(columns: dict[str, np.ndarray], index: int, count: int) -> Row:
    fields: dict[str, Any] = {}
    for name, column in columns.items():
        values = column.reshape(count, -1)[index].tolist() if column.size else []
        fields[name] = values if name == "stop" else (values[0] if values else None)
    try:
        return row_of(fields)
    except InvalidRow as error:
        place = f"{error.field}[{index}]" if count > 1 else error.field
        raise InvalidRow(place, error.message) from None

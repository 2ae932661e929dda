"""The public interface as values: each function here makes a `Call`, which either client can send.

v1 and v2 are the same for every model; below them stand the routes that single models have beside.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypedDict, TypeVar, cast
from urllib.parse import quote

from .errors import BadAnswer

T = TypeVar("T")
Json = dict[str, Any]


@dataclass(frozen=True)
class Call(Generic[T]):
    """One request and what its answer is."""

    method: str
    path: str
    parse: Callable[[Any], T]
    """From the JSON document of the answer."""
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    repeatable: bool = True
    """Whether it may be sent again when it may have been begun, as after a connection that broke. True for
    whatever changes nothing: a prediction made twice is the same prediction."""


def _as_object(document: Any) -> Json:
    if not isinstance(document, dict):
        raise BadAnswer("the answer is not a JSON object")
    return cast("Json", document)


def _member(name: str) -> Callable[[Any], Any]:
    def parse(document: Any) -> Any:
        try:
            return _as_object(document)[name]
        except KeyError:
            raise BadAnswer(f"the answer has no {name}") from None

    return parse


def _segment(text: str) -> str:
    return quote(text, safe="")


# --- every model ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tensor:
    """Of the Open Inference Protocol; `data` is flat, in row-major order."""

    name: str
    datatype: str
    shape: Sequence[int]
    data: Sequence[Any]

    def as_dict(self) -> Json:
        return {
            "name": self.name,
            "datatype": self.datatype,
            "shape": list(self.shape),
            "data": list(self.data),
        }


def _tensors(document: Any) -> dict[str, Tensor]:
    outputs = _member("outputs")(document)
    try:
        found = [Tensor(o["name"], o["datatype"], o["shape"], o["data"]) for o in outputs]
    except (KeyError, TypeError):
        raise BadAnswer("the answer's outputs are no tensors") from None
    return {tensor.name: tensor for tensor in found}


def predict(model: str, instances: Sequence[Any]) -> Call[list[Any]]:
    """KServe v1: one prediction an instance."""
    return Call("POST", f"/v1/models/{model}:predict", _member("predictions"), {"instances": list(instances)})


def infer(model: str, inputs: Sequence[Tensor], outputs: Sequence[str] = ()) -> Call[dict[str, Tensor]]:
    """Open Inference Protocol v2: outputs by name. `outputs` asks for some of them alone."""
    body: Json = {"inputs": [tensor.as_dict() for tensor in inputs]}
    if outputs:
        body["outputs"] = [{"name": name} for name in outputs]
    return Call("POST", f"/v2/models/{model}/infer", _tensors, body)


def metadata(model: str) -> Call[Json]:
    return Call("GET", f"/v2/models/{model}", _as_object)


def models() -> Call[list[Json]]:
    """Those that the token may use: routes, limits, readiness, state. Needs the scope read:models."""
    return Call("GET", "/models", _member("models"))


def request(method: str, path: str, body: Any = None, *, repeatable: bool = False) -> Call[Any]:
    """Any other route, with its answer as it came."""
    return Call(method, path, lambda document: document, body, repeatable=repeatable or method == "GET")


# --- prompt_classifier ----------------------------------------------------------------------------


class Classification(TypedDict):
    """Parallel lists, one entry a prompt."""

    task_type_1: list[str]
    task_type_2: list[str]
    task_type_prob: list[float]
    creativity_scope: list[float]
    reasoning: list[float]
    contextual_knowledge: list[float]
    prompt_complexity_score: list[float]
    domain_knowledge: list[float]
    no_label_reason: list[float]
    number_of_few_shots: list[float]
    constraint_ct: list[float]


def classify(prompts: Sequence[str]) -> Call[Classification]:
    return Call("POST", "/classify", _as_classification, {"prompts": list(prompts)})


def classify_single(prompt: str) -> Call[Classification]:
    return Call("POST", "/classify/single", _as_classification, {"prompt": prompt})


def _as_classification(document: Any) -> Classification:
    return cast("Classification", _as_object(document))


# --- text_evaluator -------------------------------------------------------------------------------


class Pupil(TypedDict):
    """One text to be marked."""

    id_alumno: str
    curso: str
    consigna: str
    respuesta: str


def evaluate(items: Sequence[Pupil], idempotency_key: str | None = None) -> Call[Json]:
    """Starts a job: job_id, stream_url and more. Sent again after a fault, the key makes it the same job."""
    headers = {"idempotency-key": idempotency_key or str(uuid.uuid4())}
    return Call("POST", "/evaluate", _as_object, {"items": [dict(item) for item in items]}, headers)


def job(job_id: str) -> Call[Json]:
    return Call("GET", f"/jobs/{_segment(job_id)}", _as_object)


def cancel_job(job_id: str) -> Call[Any]:
    return request("DELETE", f"/jobs/{_segment(job_id)}")


def job_events(job_id: str) -> Call[Json]:
    """For `stream`: the job's progress, event by event."""
    return Call("GET", f"/stream/{_segment(job_id)}", _as_object)


# --- gpt4_nano ------------------------------------------------------------------------------------


def enqueue(payload: Mapping[str, Any], request_id: str | None = None) -> Call[Json]:
    """Takes a request to be answered later; see `result`. The id makes it the same one when sent again, which
    `errors.Conflict` then says: it was taken before."""
    body = {"request_id": request_id or str(uuid.uuid4()), "payload": dict(payload)}
    return Call("POST", "/infer", _as_object, body)


def result(request_id: str) -> Call[Json]:
    return Call("GET", f"/result/{_segment(request_id)}", _as_object)


# --- multitask_nlp --------------------------------------------------------------------------------


def sentiment(text: str) -> Call[Json]:
    return Call("POST", "/predict/sentiment", _as_object, {"text": text})


def entities(text: str) -> Call[list[Json]]:
    return Call("POST", "/predict/ner", _member("entities"), {"text": text})


def answer(question: str, context: str) -> Call[Json]:
    return Call("POST", "/predict/qa", _as_object, {"question": question, "context": context})


# --- gpt2 -----------------------------------------------------------------------------------------


def generate(prompt: str, task_name: str, **sampling: Any) -> Call[str]:
    """`sampling`: max_new_tokens, temperature, top_p, top_k, stop."""
    body = {"prompt": prompt, "task_name": task_name, **sampling}
    return Call("POST", "/generate", _member("completion"), body)

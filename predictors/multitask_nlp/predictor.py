"""multitask_nlp as the runtime sees it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from fastapi import APIRouter

from predictors.multitask_nlp import routes
from predictors.multitask_nlp.artifact import Artifact, read_artifact
from predictors.multitask_nlp.decoding.ner import entities
from predictors.multitask_nlp.decoding.qa import answer
from predictors.multitask_nlp.decoding.sentiment import sentiment
from predictors.multitask_nlp.routes import MAX_CHARACTERS
from predictors.multitask_nlp.settings import MultitaskSettings
from predictors.multitask_nlp.tasks import TASKS, Analysis, Query
from predictors.runtime.cpus import available_cpus
from predictors.runtime.dataplane import DataPlane
from predictors.runtime.errors import Internal, InvalidValue, LoadError, ServiceError
from predictors.runtime.predictor import Predictor
from predictors.runtime.tensors import TensorSpec, detail

if TYPE_CHECKING:
    from predictors.multitask_nlp.engine import Engine, Logits
    from predictors.multitask_nlp.tokenizer import Document, TextTokenizer

MAX_WINDOWS = 64
"""Most windows one text is read in: a few seconds of a CPU."""

_FIELDS = {"sentiment": ("text",), "ner": ("text",), "qa": ("question", "context")}

_SELF_TEST = (
    Query(("sentiment", "ner"), text="Anna Lind was delighted with the hotel in Lisbon."),
    Query(("qa",), question="Who wrote it?", context="The report is long. " * 60),
)

_ROUNDING, _UNSURE = 0.1, 0.6
"""How far the self-test lets a probability be from the same alone; how probable a finding may be that is
only in one of the two."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What the encoder has to read for one query."""

    query: Query
    text: Document | None
    context: Document | None

    @property
    def documents(self) -> list[Document]:
        return [document for document in (self.text, self.context) if document is not None]


class MultitaskNlp(Predictor[Query, Reading, Analysis]):
    name = "multitask_nlp"
    title = "Sentiment, named entities and question answering"
    inputs = (
        TensorSpec("task", "BYTES"),
        TensorSpec("text", "BYTES", optional=True),
        TensorSpec("question", "BYTES", optional=True),
        TensorSpec("context", "BYTES", optional=True),
    )
    outputs = (
        TensorSpec("sentiment", "BYTES", optional=True),
        TensorSpec("sentiment_score", "FP32", optional=True),
        TensorSpec("entities", "BYTES", optional=True, json=True),
        TensorSpec("answer", "BYTES", optional=True),
        TensorSpec("start_char", "INT64", optional=True),
        TensorSpec("end_char", "INT64", optional=True),
        TensorSpec("answer_score", "FP32", optional=True),
        TensorSpec("no_answer", "BOOL", optional=True),
    )

    def __init__(self, settings: MultitaskSettings) -> None:
        self._settings = settings
        self._artifact: Artifact
        self._tokenizer: TextTokenizer
        self._engine: Engine
        self._loaded = False

    def load(self, progress: Callable[[str], None]) -> None:
        uri = self._settings.model_uri
        if not uri:
            self._load(self._settings.model_dir, progress)
            return
        from predictors.multitask_nlp.registry import fetched

        progress(f"fetching {uri}")
        with fetched(uri) as folder:
            self._load(folder, progress)

    def _load(self, folder: Path, progress: Callable[[str], None]) -> None:
        progress("reading the model")
        from predictors.multitask_nlp.engine import Engine
        from predictors.multitask_nlp.tokenizer import NotATokenizer, TextTokenizer

        self._artifact = artifact = read_artifact(folder)
        try:
            self._tokenizer = TextTokenizer.from_file(artifact.tokenizer, artifact.max_length)
        except NotATokenizer as error:
            raise LoadError(str(error)) from None
        self._engine = engine = Engine(artifact.graph, self._settings.threads or available_cpus())
        longest, last = artifact.max_length, self._tokenizer.last
        if engine.longest < longest:
            raise LoadError(f"The graph does not run on {longest} tokens: it takes {engine.longest}.")
        if engine.vocabulary is not None and engine.vocabulary <= last:
            raise LoadError(
                f"The graph knows {engine.vocabulary} tokens, but its tokenizer numbers them up to {last}."
            )
        progress("warming up")
        self._warm_up(longest)
        self._loaded = True

    def _warm_up(self, longest: int) -> None:
        """Lays the weights out for the processor, before the first caller comes, and makes some kernels."""
        from predictors.multitask_nlp.onnx_reader import reason

        window = np.full(longest, self._tokenizer.last, np.int64)
        try:
            for length in (4, 16, 64, longest):
                self._engine.logits([window[:length]])
            self._engine.logits([window[:64]] * 4 * self._engine.threads)
        except RuntimeError as error:
            raise LoadError(f"The graph does not run: {reason(error)}.") from None

    def self_test(self) -> None:
        for query, result in zip(_SELF_TEST, self.analyse(_SELF_TEST), strict=True):
            if isinstance(result, ServiceError):
                raise LoadError(f"The self-test failed: {result.message}")
            (alone,) = self.analyse([query])
            if isinstance(alone, ServiceError) or not _agree(_said(alone), _said(result)):
                raise LoadError("The self-test failed: an answer differs when others share its call.")

    def parse(self, fields: Mapping[str, Any]) -> Query:
        for name in fields:
            if name not in ("task", "text", "question", "context"):
                raise _invalid(name, "is not a field of this model")
        tasks = _tasks(fields.get("task"))
        given = {name: _string(fields, name) for name in ("text", "question", "context")}
        if "qa" in tasks and not given["context"]:
            given["context"] = given["text"]  # one text asked several things
        for task in tasks:
            for field in _FIELDS[task]:
                if not given[field]:
                    raise _invalid(field, f"must have at least 1 character for the task {task}")
        return Query(tasks, **given)

    def prepare(self, items: Sequence[Query]) -> Sequence[Reading | ServiceError]:
        of_text = [query for query in items if _reads_text(query)]
        of_context = [query for query in items if "qa" in query.tasks]
        texts = iter(self._tokenizer.texts([query.text for query in of_text]))
        contexts = iter(self._tokenizer.questions([(query.question, query.context) for query in of_context]))
        return [
            self._reading(
                query,
                next(texts) if _reads_text(query) else None,
                next(contexts) if "qa" in query.tasks else None,
            )
            for query in items
        ]

    def characters(self, items: Sequence[Query]) -> int:
        return sum(len(query.text) + len(query.question) + len(query.context) for query in items)

    def tokens(self, work: Reading) -> int:
        return sum(document.tokens for document in work.documents)

    def run(self, batch: Sequence[Reading]) -> Sequence[Analysis | ServiceError]:
        windows = [window.ids for work in batch for document in work.documents for window in document.windows]
        rows = iter(self._engine.logits(windows))
        return [self._analysis(work, rows) for work in batch]

    def render(self, result: Analysis) -> Mapping[str, Any]:
        fields: dict[str, Any] = dict.fromkeys(spec.name for spec in self.outputs)
        if result.sentiment is not None:
            fields |= {"sentiment": result.sentiment.sentiment, "sentiment_score": result.sentiment.score}
        if result.entities is not None:
            fields["entities"] = [asdict(entity) for entity in result.entities]
        if result.answer is not None:
            score, others = result.answer.score, asdict(result.answer)
            del others["score"]
            fields |= {**others, "answer_score": score}
        return fields

    def routes(self, dataplane: DataPlane[Query, Analysis]) -> APIRouter:
        return routes.router(dataplane)

    def description(self) -> Mapping[str, str]:
        if not self._loaded:
            return {}
        engine = self._engine
        return {
            "engine": engine.name,
            "device": engine.device,
            "dtype": engine.dtype,
            "checksum": self._artifact.checksum,
        }

    def analyse(self, queries: Sequence[Query]) -> list[Analysis | ServiceError]:
        """Queries answered by a direct call, without queue or transport."""
        works = self.prepare(queries)
        results = iter(self.run([work for work in works if isinstance(work, Reading)]))
        return [next(results) if isinstance(work, Reading) else work for work in works]

    def _reading(
        self, query: Query, text: Document | None, context: Document | None
    ) -> Reading | ServiceError:
        for field, document in (("text", text), ("context", context)):
            if document is not None and len(document.windows) > MAX_WINDOWS:
                return _invalid(
                    field, f"must fit into {MAX_WINDOWS} windows of {self._tokenizer.max_length} tokens"
                )
        if "qa" in query.tasks and context is None:
            return _invalid("question", f"must be at most {self._tokenizer.longest_question} tokens")
        return Reading(query, text, context)

    def _analysis(self, work: Reading, rows: Iterator[Logits]) -> Analysis | ServiceError:
        of_text = [next(rows) for _ in work.text.windows] if work.text else []
        of_context = [next(rows) for _ in work.context.windows] if work.context else []
        if not all(np.isfinite(part).all() for logits in (*of_text, *of_context) for part in logits):
            return Internal("The model's output for this text is not finite.")
        tasks = work.query.tasks
        return Analysis(
            sentiment=sentiment(work.text, [logits.sentiment for logits in of_text])
            if work.text and "sentiment" in tasks
            else None,
            entities=entities(work.text, [logits.ner for logits in of_text])
            if work.text and "ner" in tasks
            else None,
            answer=answer(
                work.context,
                [logits.start for logits in of_context],
                [logits.end for logits in of_context],
                self._settings.max_answer_tokens,
            )
            if work.context
            else None,
        )


def _said(result: Analysis) -> dict[object, float]:
    """What was found, and how sure that is."""
    said: dict[object, float] = {}
    if (mood := result.sentiment) is not None:
        said["positive"] = mood.score if mood.sentiment == "positive" else 1 - mood.score
    if result.entities is not None:
        said["entities"] = 1
        said |= {replace(entity, score=0): entity.score for entity in result.entities}
    if (found := result.answer) is not None:
        said["answer"] = 1
        said[replace(found, score=0)] = found.score
    return said


def _agree(alone: Mapping[object, float], together: Mapping[object, float]) -> bool:
    """Equal but for rounding, which may turn what was hardly sure into something else."""
    return all(
        abs(alone[thing] - together[thing]) <= _ROUNDING
        if thing in alone and thing in together
        else alone.get(thing, together.get(thing, 1)) <= _UNSURE
        for thing in alone.keys() | together.keys()
    )


def _reads_text(query: Query) -> bool:
    return "sentiment" in query.tasks or "ner" in query.tasks


def _tasks(value: object) -> tuple[str, ...]:
    """``"ner"``, ``"sentiment,ner"`` or ``["sentiment", "ner"]`` as tasks in their own order."""
    names = [name.strip() for name in value.split(",")] if isinstance(value, str) else value
    if not isinstance(names, list) or not names or not all(name in TASKS for name in names):
        raise _invalid("task", f"must be one or more of {', '.join(TASKS)}")
    return tuple(task for task in TASKS if task in names)


def _string(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _invalid(name, "must be a string")
    if len(value) > MAX_CHARACTERS:
        raise _invalid(name, f"must have at most {MAX_CHARACTERS} characters")
    return value


def _invalid(field: str, message: str) -> InvalidValue:
    return InvalidValue(f"{field} {message}.", details=[detail(field, message)])

"""The metrics of text_evaluator, beside those of every predictor and vLLM's own."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from predictors.text_evaluator.engine import Marked
from predictors.text_evaluator.evaluation import ItemError
from predictors.text_evaluator.jobs.model import State
from predictors.text_evaluator.jobs.store import Totals


class Figures:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._jobs = Gauge(
            "quintet_jobs", "Jobs in the store by state, of all replicas.", ("state",), registry=registry
        )
        self._items = Counter("quintet_items", "Texts by outcome.", ("outcome",), registry=registry)
        self._oldest = Gauge(
            "quintet_oldest_job_seconds",
            "Age of the oldest text without an outcome: as long ago its job was posted.",
            registry=registry,
        )
        self._waiting = Gauge(
            "quintet_waiting_items",
            "Texts without an outcome in the store: each replica tells that of all.",
            registry=registry,
        )
        self.readers = Gauge("quintet_sse_readers", "Streams open.", registry=registry)
        self.resumes = Counter(
            "quintet_sse_resumes", "Streams taken up again by Last-Event-ID.", registry=registry
        )
        self._prompt = Counter("quintet_prompt_tokens", "Tokens of prompts.", registry=registry)
        self._cached = Counter(
            "quintet_cached_prompt_tokens",
            "Tokens of prompts found computed; over the former: hit share.",
            registry=registry,
        )
        self._neutralised = Counter(
            "quintet_neutralised_tokens", "Control tokens found in texts and made plain.", registry=registry
        )
        self._seconds = Histogram(
            "quintet_mark_seconds",
            "Time a text spent in the engine, waiting for a place there included.",
            registry=registry,
            buckets=(0.05, 0.1, 0.25, 0.5, 1, 1.5, 2, 3, 5, 10, 30, 60),
        )
        self._generated: Counter | None = None

    def generated(self, counter: Counter) -> None:
        """The runtime's counter of generated tokens."""
        self._generated = counter

    def follow(self, readers: Callable[[], int]) -> None:
        self.readers.set_function(readers)

    def marked(self, marked: Marked, seconds: float, neutralised: int) -> None:
        outcome = marked.outcome
        self._items.labels(outcome.code if isinstance(outcome, ItemError) else "marked").inc()
        self._prompt.inc(marked.prompt_tokens)
        self._cached.inc(marked.cached_tokens)
        self._neutralised.inc(neutralised)
        if marked.prompt_tokens:
            self._seconds.observe(seconds)
        if self._generated is not None:
            self._generated.inc(marked.generated_tokens)

    def totals(self, totals: Totals) -> None:
        for state in State:
            self._jobs.labels(state).set(totals.jobs.get(state, 0))
        self._oldest.set(totals.oldest_seconds)
        self._waiting.set(totals.waiting_items)

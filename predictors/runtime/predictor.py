"""The one class a model's author subclasses; everything else of the runtime works from what it says."""

from __future__ import annotations

import asyncio
import contextlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from predictors.runtime.errors import ServiceError
from predictors.runtime.metrics import SECONDS
from predictors.runtime.tensors import TensorSpec

if TYPE_CHECKING:
    from fastapi import APIRouter

    from predictors.runtime.dataplane import DataPlane
    from predictors.runtime.generation import Engine
    from predictors.runtime.metrics import Metrics

Item = TypeVar("Item")
Work = TypeVar("Work")
Result = TypeVar("Result")


class Predictor(ABC, Generic[Item, Work, Result]):
    """A model: ``Item`` is what a caller sends, ``Work`` what the engine takes, ``Result`` what comes out.

    ``parse``, ``characters``, ``tokens`` and ``render`` run on the event loop and must be quick; ``load``,
    ``self_test``, ``prepare`` (but of little text) and ``run`` run in threads and may block.
    """

    name: ClassVar[str]
    """Protocol name, a Python package name, for example ``prompt_classifier``."""
    title: ClassVar[str]
    """One line for the API's documentation page."""
    inputs: ClassVar[tuple[TensorSpec, ...]]
    outputs: ClassVar[tuple[TensorSpec, ...]]
    seconds: ClassVar[Sequence[float]] = SECONDS
    """Bounds of the time histograms, where the usual ones do not fit the model."""
    padded: ClassVar[bool] = False
    """True when the engine pads a batch to its longest item: its cost is then longest x rows."""

    @abstractmethod
    def load(self, progress: Callable[[str], None]) -> None:
        """Reads, verifies and warms up the model. Raises LoadError with one sentence for people.

        ``progress`` is told in a few words what is being done.
        """

    @abstractmethod
    def self_test(self) -> None:
        """Runs the loaded model once on something known. Raises LoadError when the answer is wrong."""

    @abstractmethod
    def parse(self, fields: Mapping[str, Any]) -> Item:
        """One item from a v1 instance or a v2 row. Raises InvalidValue with the field's name."""

    def prepare(self, items: Sequence[Item]) -> Sequence[Work | ServiceError]:
        """Turns items into work (tokenising). Left as it is, items are the work, on the event loop."""
        return items  # type: ignore[return-value]

    def characters(self, items: Sequence[Item]) -> float:  # noqa: ARG002
        """How much text ``prepare`` would read of these. Little is read on the event loop: to hand it to a
        thread and wake up for the answer takes longer.
        """
        return math.inf

    def hold(self, items: Sequence[Item]) -> contextlib.AbstractAsyncContextManager[object]:  # noqa: ARG002
        """Around all that is done for ``items``: what they need beside the engine (weights loaded on demand).

        Raises ServiceError when they cannot have it now.
        """
        return contextlib.nullcontext()

    def tokens(self, work: Work) -> int:  # noqa: ARG002
        """What ``work`` costs in a batch."""
        return 1

    @abstractmethod
    def run(self, batch: Sequence[Work]) -> Sequence[Result | ServiceError]:
        """One result, or one error of its own, for each work, in order. One call at a time."""

    @abstractmethod
    def render(self, result: Result) -> Mapping[str, Any]:
        """A result as output name -> value."""

    def routes(self, dataplane: DataPlane[Item, Result]) -> APIRouter | None:  # noqa: ARG002
        """The domain routes, if the model has any."""
        return None

    def background(
        self,
        dataplane: DataPlane[Item, Result],  # noqa: ARG002
    ) -> contextlib.AbstractAsyncContextManager[object]:
        """Around the time in which work is taken: what the model does beside answering requests."""
        return contextlib.nullcontext()

    def health(self) -> Mapping[str, Any]:
        """What /health says beside the status."""
        return {}

    def register(self, metrics: Metrics) -> None:
        """Metrics of the model's own, once, before it is loaded."""

    def healthy(self) -> bool:
        """Whether what it needs beside itself is there; without it the predictor is not ready."""
        return True

    def description(self) -> Mapping[str, str]:
        """engine, device, dtype and checksum of what is loaded, for /health/detailed and model info."""
        return {}


class GenerativePredictor(Predictor[Item, Work, Result]):
    """A model whose answers come token by token: its sequences are batched continuously (generation.py)."""

    @abstractmethod
    def engine(self, loop: asyncio.AbstractEventLoop, metrics: Metrics) -> Engine:
        """What runs the sequences; made before the model is loaded, used only afterwards."""

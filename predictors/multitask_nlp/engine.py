"""The ONNX graph in OpenVINO: token ids in, the logits of all heads out.

Windows of a call are sorted by length and cut into chunks of like lengths: one pass of the encoder a chunk,
whatever tasks it holds. Chunks are dealt out to threads that each run the graph alone; a chunk that has the
machine to itself is run by all threads together.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple

import numpy as np
import openvino

from predictors.multitask_nlp import onnx_reader
from predictors.multitask_nlp.onnx_reader import INPUTS
from predictors.runtime.dealing import Dealer, worth_dealing
from predictors.runtime.errors import LoadError
from predictors.runtime.openvino import core

OUTPUTS = ("sentiment_logits", "ner_logits", "start_logits", "end_logits")
_PUBLISHED = {"sentiment_logits": "logits"}
"""Names that the published artifact gives to outputs of ours."""

CHUNK_TOKENS = 512
"""Most tokens of a chunk, padding counted. Half as many take a tenth more time a token."""
_LEAST_TOKENS = 128
"""Chunks are not made smaller than this to keep every thread busy."""
_KERNELS = 500
"""Kept for shapes that have been; several a shape. Making one anew takes less time than its first run."""
_PADDING, _PASS = 0.05, 16
"""Most padding in a chunk, as a share of it or in tokens: about what another pass would cost."""


class Logits(NamedTuple):
    """What the heads say of one sequence of n tokens, fp32."""

    sentiment: np.ndarray
    """[2]"""
    ner: np.ndarray
    """[n, 9]"""
    start: np.ndarray
    """[n]"""
    end: np.ndarray
    """[n]"""


class Engine:
    name = "openvino"
    device = "cpu"
    dtype: str
    """Of what its linear layers multiply, whatever the file keeps the weights in."""
    longest: int
    """Most tokens of a sequence."""
    vocabulary: int | None
    """Token ids there are, where that can be known."""

    def __init__(self, file: Path, threads: int) -> None:
        """Raises LoadError when ``file`` is not such a graph."""
        self.threads = threads
        try:
            model, integers = onnx_reader.read(file, integers=onnx_reader.multiplies_integers())
            names = [entry.get_any_name() for entry in model.inputs]
            if set(names) != set(INPUTS):
                raise LoadError(f"{file} takes {', '.join(sorted(names))}; expected {', '.join(INPUTS)}.")
            given = {name for entry in model.outputs for name in entry.get_names()}
            self._outputs = [name if name in given else _PUBLISHED.get(name, name) for name in OUTPUTS]
            if missing := [name for name in self._outputs if name not in given]:
                raise LoadError(f"{file} has no output {missing[0]}.")
            self.longest, self.vocabulary = onnx_reader.longest(model), onnx_reader.vocabulary(model)
            self._together = _Requests(model, threads, 1)
            self.dtype = "int8" if integers else self._together.precision
            self._alone = _Requests(model, threads, threads) if threads > 1 else self._together
        except RuntimeError as error:
            raise LoadError(
                f"{file} is not a graph that OpenVINO can load: {onnx_reader.reason(error)}."
            ) from None
        self._dealer = Dealer(threads, "multitask_nlp") if threads > 1 else None

    def logits(self, sequences: Sequence[np.ndarray]) -> list[Logits]:
        """``sequences``: int64 [n] each; an entry for each, in order.

        Activations are scaled token by token: what shares a call changes no more than the order of sums.
        """
        found: list[Logits | None] = [None] * len(sequences)
        lengths = [len(ids) for ids in sequences]
        pieces = chunks(lengths, self.threads)

        def run(requests: _Requests, piece: list[int]) -> None:
            outputs = self._pass(requests, [sequences[index] for index in piece])
            for index, logits in zip(piece, outputs, strict=True):
                found[index] = logits

        costs = [float(sum(lengths[index] for index in piece)) for piece in pieces]
        if self._dealer is not None and worth_dealing(costs, self.threads):
            self._dealer.deal(pieces, costs, lambda piece: run(self._alone, piece))
        else:
            for piece in pieces:
                run(self._together, piece)
        return [logits for logits in found if logits is not None]

    def _pass(self, requests: _Requests, sequences: Sequence[np.ndarray]) -> list[Logits]:
        lengths = [len(ids) for ids in sequences]
        ids = np.zeros((len(sequences), min(bucket(max(lengths)), self.longest)), np.int64)
        mask = np.zeros_like(ids)
        for row, sequence in enumerate(sequences):
            ids[row, : lengths[row]] = sequence
            mask[row, : lengths[row]] = 1
        outputs = requests.run(dict(zip(INPUTS, (ids, mask), strict=True)), self._outputs)
        sentiment, ner, start, end = outputs
        return [
            Logits(sentiment[row], ner[row, :n], start[row, :n], end[row, :n])
            for row, n in enumerate(lengths)
        ]


def options(threads: int, streams: int = 1) -> dict[str, Any]:
    """How OpenVINO is to run the graph, for as many callers at a time as there are ``streams``."""
    return {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": streams,
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,  # the graph says itself what is put into 8 bits
        "ENABLE_CPU_PINNING": False,  # the server and other models run on the same processors
        "CPU_RUNTIME_CACHE_CAPACITY": _KERNELS // streams,  # each stream keeps its own
    }


class _Requests:
    """The graph, for as many callers at a time as it has streams; threads are shared out to these."""

    def __init__(self, model: openvino.Model, threads: int, streams: int) -> None:
        self.compiled = compiled = core().compile_model(model, "CPU", options(threads, streams))
        self._idle: SimpleQueue[openvino.InferRequest] = SimpleQueue()
        for _ in range(streams):
            self._idle.put(compiled.create_infer_request())

    @property
    def precision(self) -> str:
        """Of what is computed in floats: bf16 where the processor multiplies these, else f32."""
        return self.compiled.get_property("INFERENCE_PRECISION_HINT").to_string()

    def run(self, inputs: dict[str, np.ndarray], outputs: Sequence[str]) -> list[np.ndarray]:
        request = self._idle.get()
        try:
            request.infer(inputs, share_inputs=True)
            return [np.array(request.get_tensor(name).data) for name in outputs]
        finally:
            self._idle.put(request)


def bucket(length: int) -> int:
    """``length`` or a little more: sixteen numbers an octave, since each new shape takes time and memory."""
    step = 1 << max(0, (length - 1).bit_length() - 5)
    return -(-length // step) * step


def chunks(lengths: Sequence[int], threads: int) -> list[list[int]]:
    """Indices of ``lengths`` by ascending length, in runs of few tokens and little padding."""
    most = min(CHUNK_TOKENS, max(_LEAST_TOKENS, sum(lengths) // threads))
    runs: list[list[int]] = []
    real = 0
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        rows = len(runs[-1]) + 1 if runs else 0
        padded = bucket(lengths[index]) * rows
        padding = padded - real - lengths[index]
        if not runs or padded > most or padding > max(_PADDING * padded, _PASS):
            runs.append([])
            real = 0
        runs[-1].append(index)
        real += lengths[index]
    return runs

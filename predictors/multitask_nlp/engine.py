"""The ONNX graph in ONNX Runtime: token ids in, the logits of all heads out.

Windows of a call are sorted by length and cut into chunks of a few: one pass of the encoder a chunk, whatever
tasks it holds. Chunks are dealt out to threads that each run the graph alone; a chunk that has the machine to
itself is run by all threads together.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime

from predictors.runtime.dealing import Dealer, worth_dealing
from predictors.runtime.errors import LoadError

OUTPUTS = ("sentiment_logits", "ner_logits", "start_logits", "end_logits")
_PUBLISHED = {"sentiment_logits": "logits"}
"""Names that the published artifact gives to outputs of ours."""
_INPUTS = ("input_ids", "attention_mask")

UNFUSED = ["SkipLayerNormFusion", "BiasGeluFusion"]
"""Optimisations that the profile speaks against: the fused kernels took 5 and 1.6 times as long."""

CHUNK_TOKENS = 192
"""Tokens of a chunk, padding counted: enough to share the reading of weights, few enough for the caches."""
_PADDING = 0.1
"""Most padding in a chunk, as a share of it."""


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
    name = "onnxruntime"
    device = "cpu"
    dtype = "int8"

    def __init__(self, file: Path, threads: int) -> None:
        """Raises LoadError when ``file`` is not such a graph."""
        self._threads = threads
        self._together = _session(file, threads)
        self._alone = _session(file, 1) if threads > 1 else self._together
        self._dealer = Dealer(threads, "multitask_nlp") if threads > 1 else None
        inputs = {entry.name for entry in self._together.get_inputs()}
        if inputs != set(_INPUTS):
            raise LoadError(f"{file} takes {', '.join(sorted(inputs))}; expected {', '.join(_INPUTS)}.")
        given = {entry.name for entry in self._together.get_outputs()}
        self._outputs = [name if name in given else _PUBLISHED.get(name, name) for name in OUTPUTS]
        if missing := [name for name in self._outputs if name not in given]:
            raise LoadError(f"{file} has no output {missing[0]}.")

    def logits(self, sequences: Sequence[np.ndarray]) -> list[Logits]:
        """``sequences``: int64 [n] each; an entry for each, in order.

        The graph takes the scale of its 8-bit activations from a whole pass, so what shares a chunk may move
        a probability in its third decimal.
        """
        found: list[Logits | None] = [None] * len(sequences)
        pieces = chunks([len(ids) for ids in sequences])

        def run(session: onnxruntime.InferenceSession, piece: list[int]) -> None:
            outputs = self._pass(session, [sequences[index] for index in piece])
            for index, logits in zip(piece, outputs, strict=True):
                found[index] = logits

        costs = [float(sum(len(sequences[index]) for index in piece)) for piece in pieces]
        if self._dealer is not None and worth_dealing(costs, self._threads):
            self._dealer.deal(pieces, costs, lambda piece: run(self._alone, piece))
        else:
            for piece in pieces:
                run(self._together, piece)
        return [logits for logits in found if logits is not None]

    def _pass(self, session: onnxruntime.InferenceSession, sequences: Sequence[np.ndarray]) -> list[Logits]:
        lengths = [len(ids) for ids in sequences]
        ids = np.zeros((len(sequences), max(lengths)), np.int64)
        mask = np.zeros_like(ids)
        for row, sequence in enumerate(sequences):
            ids[row, : lengths[row]] = sequence
            mask[row, : lengths[row]] = 1
        outputs = session.run(self._outputs, dict(zip(_INPUTS, (ids, mask), strict=True)))
        sentiment, ner, start, end = (np.asarray(output) for output in outputs)
        return [
            Logits(sentiment[row], ner[row, :n], start[row, :n], end[row, :n])
            for row, n in enumerate(lengths)
        ]


def chunks(lengths: Sequence[int]) -> list[list[int]]:
    """Indices of ``lengths`` by ascending length, in runs of at most CHUNK_TOKENS and little padding."""
    runs: list[list[int]] = []
    real = 0
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        rows = len(runs[-1]) + 1 if runs else 0
        padded = lengths[index] * rows
        if not runs or padded > CHUNK_TOKENS or real + lengths[index] < (1 - _PADDING) * padded:
            runs.append([])
            real = 0
        runs[-1].append(index)
        real += lengths[index]
    return runs


def _session(file: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Threads that wait for the next call spin on a processor that a dealt chunk could have.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    try:
        return onnxruntime.InferenceSession(
            file, options, providers=["CPUExecutionProvider"], disabled_optimizers=UNFUSED
        )
    except Exception as error:  # the library raises its own classes, which share no base of theirs
        reason = str(error).splitlines()[0].rstrip(".")
        raise LoadError(f"{file} is not a graph that ONNX Runtime can load: {reason}.") from None

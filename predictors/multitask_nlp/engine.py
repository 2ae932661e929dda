"""The ONNX graph in ONNX Runtime: token ids in, the logits of all heads out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime

from predictors.runtime.errors import LoadError

OUTPUTS = ("sentiment_logits", "ner_logits", "start_logits", "end_logits")
_PUBLISHED = {"sentiment_logits": "logits"}
"""Names that the published artifact gives to outputs of ours."""
_INPUTS = ("input_ids", "attention_mask")


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
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the library raises its own classes, which share no base of theirs
            reason = str(error).splitlines()[0].rstrip(".")
            raise LoadError(f"{file} is not a graph that ONNX Runtime can load: {reason}.") from None
        inputs = {entry.name for entry in self._session.get_inputs()}
        if not {"input_ids"} <= inputs <= set(_INPUTS):
            raise LoadError(f"{file} takes {', '.join(sorted(inputs))}; expected {', '.join(_INPUTS)}.")
        self._masked = "attention_mask" in inputs
        given = {entry.name for entry in self._session.get_outputs()}
        self._outputs = [name if name in given else _PUBLISHED.get(name, name) for name in OUTPUTS]
        if missing := [name for name in self._outputs if name not in given]:
            raise LoadError(f"{file} has no output {missing[0]}.")

    def logits(self, sequences: Sequence[np.ndarray]) -> list[Logits]:
        """``sequences``: int64 [n] each. One at a time: nothing is padded, and who shares a call does not
        change anybody's 8-bit scales."""
        return [self._logits(ids[None]) for ids in sequences]

    def _logits(self, ids: np.ndarray) -> Logits:
        feeds = {"input_ids": ids}
        if self._masked:
            feeds["attention_mask"] = np.ones_like(ids)
        return Logits(*(np.asarray(output)[0] for output in self._session.run(self._outputs, feeds)))

"""One artifact in ONNX Runtime: the forward pass, over a cache of keys and values that is extended in place.

The cache has ``slots`` rows. The sequences being decoded sit in the first of them, so that a step over all of
them reads and writes one piece of memory, without a copy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnxruntime

from predictors.gpt2.artifact import GRAPH, Artifact
from predictors.gpt2.shape import HEAD_SIZE
from predictors.runtime.errors import LoadError

MAX_TOP = 100
"""Most candidates for the next token that leave the graph, a sequence."""


@dataclass(frozen=True)
class Top:
    """The likeliest next tokens of each sequence, likeliest first. Valid until the next pass."""

    logits: np.ndarray
    """[sequences, k] fp32."""
    ids: np.ndarray
    """[sequences, k] int64."""


class Session:
    def __init__(self, artifact: Artifact, *, threads: int, slots: int, context: int) -> None:
        """Raises LoadError when ONNX Runtime does not take the graph.

        ``context``: tokens a sequence may have, prompt and answer together.
        """
        self.shape, self.slots = artifact.shape, slots
        self.context = min(context, artifact.shape.context)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # The graph has its operators chosen; what the optimiser would fuse further runs slower.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        # A thread that waits for the next step must not take a processor from the tokeniser and the server.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        try:
            self._session = onnxruntime.InferenceSession(
                str(artifact.path(GRAPH)), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # the library raises classes of its own, without a common one
            raise LoadError(f"{artifact.folder} is not a graph this engine runs: {error}.") from None
        size = (slots, self.shape.heads, self.context, HEAD_SIZE)
        # Zeroed by the system when it is first touched: what no sequence needs costs no memory.
        self._caches = [np.zeros((2, *size), np.float32) for _ in range(self.shape.layers)]
        self._decoding: dict[tuple[int, int], _Pass] = {}

    @property
    def cache_bytes(self) -> int:
        """Bytes of the cache when every slot is full."""
        return sum(cache.nbytes for cache in self._caches)

    def warm_up(self) -> None:
        """Runs every kind of pass once, so that the first caller does not pay for it."""
        for length in (1, min(128, self.context - 1)):
            self.read(0, [0] * length, 0, 1)
        if not self.shape.classifies:
            for k in (1, MAX_TOP):
                self.extend([0] * self.slots, [1] * self.slots, k)

    def read(self, slot: int, ids: Sequence[int], start: int, k: int) -> Top:
        """Puts ``ids`` at positions ``start`` and on into a slot; the candidates to follow the last one."""
        one = _Pass(self, slot, 1, len(ids), k)
        one.ids[0], one.positions[0] = ids, np.arange(start, start + len(ids))
        return one.run([start + len(ids) - 1])

    def extend(self, tokens: Sequence[int], lengths: Sequence[int], k: int) -> Top:
        """One token more for each of the first slots, whose sequences have ``lengths`` tokens so far."""
        key = (len(tokens), k)
        batch = self._decoding.get(key)
        if batch is None:
            batch = self._decoding[key] = _Pass(self, 0, len(tokens), 1, k)
        batch.ids[:, 0], batch.positions[:, 0] = tokens, lengths
        return batch.run(lengths)

    def dependence(self, prompts: Sequence[Sequence[int]]) -> float:
        """How far what follows each prompt alone is from what follows it beside the others.

        In parts of the candidates' spread. Zero but for rounding, which differs by the number of rows.
        """
        prompts = prompts[: self.slots]

        def extended(chosen: Sequence[Sequence[int]]) -> np.ndarray:
            for slot, ids in enumerate(chosen):
                self.read(slot, ids[:-1], 0, 1)
            ends, lengths = [ids[-1] for ids in chosen], [len(ids) - 1 for ids in chosen]
            return self.extend(ends, lengths, MAX_TOP).logits.copy()

        together = extended(prompts)
        alone = np.concatenate([extended([ids]) for ids in prompts])
        spread = alone[:, 0] - alone[:, -1]
        return float((np.abs(together - alone).max(-1) / spread.clip(1e-6)).max())

    def move(self, source: int, target: int, length: int) -> None:
        """Copies the first ``length`` positions of one slot to another."""
        for cache in self._caches:
            cache[:, target, :, :length] = cache[:, source, :, :length]


class _Pass:
    """The buffers of one forward pass and their binding to the graph, to be used again."""

    def __init__(self, session: Session, slot: int, rows: int, tokens: int, k: int) -> None:
        self._run = session._session.run_with_iobinding
        self._binding = session._session.io_binding()
        self.ids = self._input("ids", np.zeros((rows, tokens), np.int64))
        self.positions = self._input("positions", np.zeros((rows, tokens), np.int64))
        self._lengths = self._input("lengths", np.zeros(rows, np.int32))
        self._total = self._input("total", np.zeros((), np.int32))
        for layer, cache in enumerate(session._caches):
            for name, part in (("keys", cache[0]), ("values", cache[1])):
                rows_of_it = part[slot : slot + rows]
                self._input(f"{name}.{layer}", rows_of_it)
                self._output(f"{name}.{layer}.next", rows_of_it)
        if session.shape.classifies:
            logits = self._output("logits", np.zeros((rows, session.shape.outputs), np.float32))
            order = np.tile(np.arange(session.shape.outputs), (rows, 1))
            self._top = Top(logits, order)
        else:
            self._k = self._input("k", np.array([k], np.int64))
            self._top = Top(
                self._output("top_logits", np.zeros((rows, k), np.float32)),
                self._output("top_ids", np.zeros((rows, k), np.int64)),
            )

    def run(self, lengths: Sequence[int]) -> Top:
        """``lengths``: of each sequence without its last token."""
        self._lengths[:] = lengths
        self._total[...] = max(lengths) + 1
        self._run(self._binding)
        return self._top

    def _input(self, name: str, array: np.ndarray) -> np.ndarray:
        self._binding.bind_input(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
        return array

    def _output(self, name: str, array: np.ndarray) -> np.ndarray:
        self._binding.bind_output(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
        return array

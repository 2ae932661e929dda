"""One artifact in OpenVINO: the forward pass, over a cache of keys and values that is extended in place.

The cache has ``slots``, one a sequence, and is paged: a pass takes tokens of several slots packed one after
another, prompts and next tokens together.
"""

from __future__ import annotations

import contextlib
import math
import mmap
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import openvino

from predictors.gpt2.artifact import QUANTISED, SCALES, WEIGHTS, Artifact
from predictors.gpt2.engine import graph
from predictors.gpt2.engine.tensors import Tensors
from predictors.runtime.errors import LoadError
from predictors.runtime.openvino import core

STEP = 8
"""Passes with prompts have a multiple of so many tokens, filled up by a slot of no sequence's.

OpenVINO makes its kernels anew for each number of rows, in 4 ms and 1 MB at base size.
"""

KERNELS = 5 << 19
"""Bytes counted for one number of rows: its kernels and what they work in.

Measured, an average over all of them: 1.0 MB at the demo model's size, 1.9 MB at base size.
"""


def footprint(artifact: Artifact, *, slots: int, context: int, tokens: int) -> int:
    """Bytes of memory that a session takes when it has met everything; ``tokens``: most of one pass.

    Weights, the cache (keys and values in fp16, one slot more than sequences have), and kernels. What a
    process takes for any model at all is not in it: the engine's code, the tokenizer, the server.
    """
    cache = 4 * artifact.shape.layers * (slots + 1) * context * artifact.shape.hidden
    return artifact.size + cache + KERNELS * (slots + tokens // STEP)


class Part(NamedTuple):
    """Tokens of one sequence to put into the cache."""

    slot: int
    start: int
    """Tokens that the slot has so far."""
    ids: Sequence[int]


class Session:
    def __init__(self, artifact: Artifact, *, threads: int, slots: int, context: int) -> None:
        """Raises LoadError when OpenVINO does not take the model.

        ``context``: tokens a sequence may have, prompt and answer together.
        """
        self.shape, self.slots = artifact.shape, slots
        self.context = min(context, artifact.shape.context)
        tensors = Tensors(artifact.path(WEIGHTS))
        # Rows of the embedding are read from the file: those in use stay in memory.
        self._embedding, self._scales = tensors["tok_emb" + QUANTISED], tensors["tok_emb" + SCALES]
        self._positions = tensors["pos_emb.weight"]
        self._inputs: dict[str, np.ndarray] = {}
        options = {
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
            "ENABLE_CPU_PINNING": False,  # the server and other models run on the same processors
            "INFERENCE_PRECISION_HINT": "f32",
            "KV_CACHE_PRECISION": "f16",
            # Activations in 8 bits, a scale for as many of a token's: no text depends on its neighbours.
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": self._embedding.shape[-1],
        }
        try:
            compiled = core().compile_model(graph.build(tensors, self.shape), "CPU", options)
            self._request = compiled.create_infer_request()
            self._caches = self._make_caches(compiled)
            self.run([Part(0, 0, [0])])  # lays the weights out for the processor, in memory of the engine's
        except RuntimeError as error:
            raise LoadError(f"{artifact.folder} is not a model this engine runs: {error}.") from None
        tensors.release()

    def warm_up(self) -> None:
        """Runs every kind of pass once, so that the first caller does not pay for it.

        For prompts this leaves a few lengths to be met: kernels for them all would take longer than they do.
        """
        for count in range(1, self.slots + 1):
            self.run([Part(slot, 0, [0]) for slot in range(count)])
        self.run([Part(0, 0, [0] * min(128, self.context - 1))])

    def run(self, parts: Sequence[Part]) -> np.ndarray:
        """The logits after each part's last token [parts, outputs]. Valid until the next pass."""
        count, tokens = len(parts), sum(len(part.ids) for part in parts)
        if tokens > self.slots and tokens % STEP:
            parts = [*parts, Part(self.slots, 0, [0] * (-tokens % STEP))]
        ids = [token for part in parts for token in part.ids]
        places = [place for part in parts for place in range(part.start, part.start + len(part.ids))]
        lengths = [part.start + len(part.ids) for part in parts]
        blocks = [
            range(part.slot * self._blocks, part.slot * self._blocks + -(-length // self._block))
            for part, length in zip(parts, lengths, strict=True)
        ]
        begins = _begins([len(part.ids) for part in parts])
        inputs = {
            "embedded": self._embed(ids) + self._positions[places],
            "past_lens": np.array([part.start for part in parts], np.int32),
            "subsequence_begins": begins,
            "last": begins[1:] - 1,
            "block_indices": np.concatenate(blocks, dtype=np.int32),
            "block_indices_begins": _begins([len(some) for some in blocks]),
            "max_context_len": np.array(max(lengths), np.int32),
        }
        for name, array in inputs.items():
            self._give(name, array)
        self._request.infer()
        return self._request.get_output_tensor().data[:count]

    def dependence(self, prompts: Sequence[Sequence[int]]) -> float:
        """How far what follows each prompt alone is from what follows it beside the others.

        In parts of the logits' spread. Zero but for rounding.
        """
        prompts = prompts[: self.slots]

        def extended(chosen: Sequence[Sequence[int]]) -> np.ndarray:
            for slot, ids in enumerate(chosen):
                self.run([Part(slot, 0, ids[:-1])])
            return self.run([Part(slot, len(ids) - 1, ids[-1:]) for slot, ids in enumerate(chosen)]).copy()

        together = extended(prompts)
        alone = np.concatenate([extended([ids]) for ids in prompts])
        return float((np.abs(together - alone).max(-1) / alone.std(-1).clip(1e-6)).max())

    def _give(self, name: str, array: np.ndarray) -> None:
        held = self._inputs.get(name)
        if held is not None and held.shape == array.shape:  # as in most steps, and cheaper
            held[...] = array
        else:
            self._inputs[name] = array
            self._request.set_tensor(name, openvino.Tensor(array, shared_memory=True))

    def _embed(self, ids: Sequence[int]) -> np.ndarray:
        return (self._embedding[ids] * self._scales[ids]).reshape(len(ids), -1)

    def _make_caches(self, compiled: openvino.CompiledModel) -> list[np.ndarray]:
        """Zeroed by the system when they are first touched: what no sequence needs costs no memory.

        In small pages. numpy asks for large ones, and then a sequence's first token takes all of its slot.
        """
        caches = []
        for layer in range(self.shape.layers):
            for part in ("key", "value"):
                name = f"{part}_cache.{layer}"
                entry = compiled.input(name)
                _, heads, self._block, width = (
                    side.get_length() if side.is_static else 0 for side in entry.get_partial_shape()
                )
                self._blocks = -(-self.context // self._block)
                size = ((self.slots + 1) * self._blocks, heads, self._block, width)
                kind = entry.get_element_type().to_dtype()
                pages = mmap.mmap(-1, math.prod(size) * kind.itemsize, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
                with contextlib.suppress(OSError):  # a kernel that has no large ones
                    pages.madvise(mmap.MADV_NOHUGEPAGE)
                caches.append(np.frombuffer(pages, kind).reshape(size))
                self._request.set_tensor(name, openvino.Tensor(caches[-1], shared_memory=True))
        return caches


def _begins(lengths: Sequence[int]) -> np.ndarray:
    """Where each of several runs laid end to end begins, and the last one ends."""
    return np.concatenate([[0], np.cumsum(lengths)], dtype=np.int32)

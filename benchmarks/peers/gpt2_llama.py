"""llama.cpp on GPT-2 of the published base size, 8 bits (Q8_0), random weights: a child of gpt2_engine.

    python benchmarks/peers/gpt2_llama.py VOCABULARY_FOLDER GGUF THREADS

Run by an interpreter that has llama-cpp-python, gguf and numpy. A line on stdin,
``{"streams": 8, "prompt": 32, "new": 64}``, is answered by a line with the seconds that took; the file of
weights is made first if it is not there.
"""

from __future__ import annotations

import ctypes
import json
import sys
import time
from pathlib import Path

import gguf  # pyright: ignore[reportMissingImports]
import llama_cpp as llama  # pyright: ignore[reportMissingImports]
import numpy as np

LAYERS, HIDDEN, HEADS, VOCAB, CONTEXT = 12, 768, 12, 50_257, 1024


def write_gguf(path: Path, vocabulary: Path) -> None:
    writer = gguf.GGUFWriter(str(path), "gpt2")
    writer.add_block_count(LAYERS)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(4 * HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_layer_norm_eps(1e-5)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    ids = json.loads((vocabulary / "encoder.json").read_text("utf-8"))
    merges = (vocabulary / "vocab.bpe").read_text("utf-8").splitlines()
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(sorted(ids, key=ids.__getitem__))
    writer.add_token_types([gguf.TokenType.NORMAL] * VOCAB)
    writer.add_token_merges([line for line in merges if line and not line.startswith("#")])
    writer.add_bos_token_id(VOCAB - 1)
    writer.add_eos_token_id(VOCAB - 1)
    random = np.random.default_rng(0)

    def matrix(name: str, rows: int, columns: int) -> None:
        kind = gguf.GGMLQuantizationType.Q8_0
        weights = random.standard_normal((rows, columns), dtype=np.float32) / columns**0.5
        writer.add_tensor(f"{name}.weight", gguf.quants.quantize(weights, kind), raw_dtype=kind)

    def norm(name: str) -> None:
        writer.add_tensor(f"{name}.weight", np.ones(HIDDEN, np.float32))
        writer.add_tensor(f"{name}.bias", np.zeros(HIDDEN, np.float32))

    matrix("token_embd", VOCAB, HIDDEN)
    matrix("output", VOCAB, HIDDEN)
    writer.add_tensor("position_embd.weight", np.zeros((CONTEXT, HIDDEN), np.float32))
    norm("output_norm")
    for layer in range(LAYERS):
        block = f"blk.{layer}"
        norm(f"{block}.attn_norm")
        norm(f"{block}.ffn_norm")
        for name, rows, columns in (
            ("attn_qkv", 3 * HIDDEN, HIDDEN),
            ("attn_output", HIDDEN, HIDDEN),
            ("ffn_up", 4 * HIDDEN, HIDDEN),
            ("ffn_down", HIDDEN, 4 * HIDDEN),
        ):
            matrix(f"{block}.{name}", rows, columns)
            writer.add_tensor(f"{block}.{name}.bias", np.zeros(rows, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


class Runner:
    def __init__(self, path: Path, threads: int) -> None:
        llama.llama_backend_init()
        model = llama.llama_model_load_from_file(str(path).encode(), llama.llama_model_default_params())
        params = llama.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_seq_max = 4096, 512, 8
        params.n_threads = params.n_threads_batch = threads
        self._context = llama.llama_init_from_model(model, params)
        self._batch = llama.llama_batch_init(512, 0, 8)

    def run(self, streams: int, prompt: int, new: int) -> float:
        """Seconds for so many sequences together, greedily; all prompts are read in one batch."""
        llama.llama_memory_clear(llama.llama_get_memory(self._context), True)
        began = time.perf_counter()
        for stream in range(streams):
            for place in range(prompt):
                row = stream * prompt + place
                self._put(row, (place * 37 + stream) % VOCAB, place, stream, place == prompt - 1)
        self._decode(streams * prompt)
        tokens = [self._best((stream + 1) * prompt - 1) for stream in range(streams)]
        for step in range(new - 1):
            for stream, token in enumerate(tokens):
                self._put(stream, token, prompt + step, stream, True)
            self._decode(streams)
            tokens = [self._best(stream) for stream in range(streams)]
        return time.perf_counter() - began

    def _put(self, row: int, token: int, place: int, stream: int, wanted: bool) -> None:
        batch = self._batch
        batch.token[row], batch.pos[row], batch.logits[row] = token, place, wanted
        batch.n_seq_id[row], batch.seq_id[row][0] = 1, stream

    def _decode(self, rows: int) -> None:
        self._batch.n_tokens = rows
        if llama.llama_decode(self._context, self._batch):
            raise RuntimeError("llama_decode failed")

    def _best(self, row: int) -> int:
        logits = llama.llama_get_logits_ith(self._context, row)
        return int(
            np.ctypeslib.as_array(ctypes.cast(logits, ctypes.POINTER(ctypes.c_float)), (VOCAB,)).argmax()
        )


def main() -> None:
    vocabulary, path, threads = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    if not path.exists():
        partial = path.with_suffix(".partial")
        write_gguf(partial, vocabulary)
        partial.rename(path)
    runner = Runner(path, threads)
    for line in sys.stdin:
        print(json.dumps(runner.run(**json.loads(line))), flush=True)


if __name__ == "__main__":
    main()

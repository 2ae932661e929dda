"""The formats people have, and every way in which a file can be wrong."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import GPT2Config, GPT2LMHeadModel

from predictors.gpt2.convert.checkpoint import read_checkpoint
from predictors.gpt2.shape import LABELS, VOCAB
from predictors.runtime.errors import LoadError
from tests.support.gpt2 import Reference, prompt_ids, state_dict, whole_model

State = dict[str, Any]


def saved(folder: Path, content: object, name: str = "model.pth") -> Path:
    torch.save(content, folder / name)
    return folder / name


def test_the_published_spam_model(tmp_path: Path) -> None:
    checkpoint = read_checkpoint(saved(tmp_path, state_dict(outputs=LABELS, style="layers")))
    assert checkpoint.shape.classifies
    assert checkpoint.tensors["out_head.weight"].shape == (2, 64)
    assert checkpoint.tensors["out_head.bias"].shape == (2,)
    assert not checkpoint.tied


def test_the_published_language_model(tmp_path: Path) -> None:
    """Its feed-forward is under ``ff.layer`` and its head is its own."""
    state = state_dict(style="layer", tied=False)
    assert "trf_blocks.0.ff.layer.0.weight" in state
    checkpoint = read_checkpoint(saved(tmp_path, state))
    assert checkpoint.shape.outputs == VOCAB
    assert "out_head.bias" not in checkpoint.tensors
    assert not checkpoint.tied
    expected = state["trf_blocks.1.ff.layer.2.weight"].numpy()
    assert np.array_equal(checkpoint.tensors["trf_blocks.1.ff.layers.2.weight"], expected)


def test_a_head_that_is_the_embedding_is_known_as_such(tmp_path: Path) -> None:
    assert read_checkpoint(saved(tmp_path, state_dict(tied=True))).tied


def test_a_state_dict_in_a_wrapper(tmp_path: Path) -> None:
    checkpoint = read_checkpoint(saved(tmp_path, {"epoch": 3, "state_dict": state_dict()}))
    assert checkpoint.shape.layers == 2


@pytest.mark.parametrize("form", ["bin", "safetensors", "body only"])
def test_transformers_own_format(tmp_path: Path, form: str) -> None:
    config = GPT2Config(vocab_size=VOCAB, n_positions=64, n_embd=64, n_layer=2, n_head=1)
    torch.manual_seed(0)
    model = GPT2LMHeadModel(config).eval()
    state = {key: value.clone() for key, value in model.state_dict().items()}
    # As older versions saved them: the masks, and without a head of its own.
    state["transformer.h.0.attn.bias"] = torch.ones(1, 1, 64, 64).tril().bool()
    del state["lm_head.weight"]
    if form == "body only":
        state = {key.removeprefix("transformer."): value for key, value in state.items()}
    if form == "safetensors":
        path = tmp_path / "model.safetensors"
        save_file({key: value.contiguous() for key, value in state.items()}, path)
    else:
        path = saved(tmp_path, state, "pytorch_model.bin")
    checkpoint = read_checkpoint(path)
    assert checkpoint.tied
    published = {key: torch.tensor(value) for key, value in checkpoint.tensors.items()}
    for layer in range(2):
        published[f"trf_blocks.{layer}.att.mask"] = torch.ones(64, 64).triu(1)
    ids = prompt_ids(9)
    with torch.no_grad():
        theirs = model(torch.tensor([ids])).logits[0].numpy()
    assert np.abs(Reference(published).logits(ids) - theirs).max() < 1e-4


def _without(key: str) -> Any:
    return lambda state: state.pop(key)


def _with(key: str, value: torch.Tensor) -> Any:
    return lambda state: state.update({key: value})


WRONG: dict[str, tuple[Any, str]] = {
    "a key lacks": (_without("trf_blocks.1.norm2.shift"), "lacks trf_blocks.1.norm2.shift"),
    "no query bias": (_without("trf_blocks.0.att.W_query.bias"), "lacks trf_blocks.0.att.W_query.bias"),
    "no embedding": (_without("tok_emb.weight"), "lacks tok_emb.weight"),
    "one key too many": (_with("optimizer.step", torch.ones(1)), "does not have: optimizer.step"),
    "a layer beyond a gap": (_with("trf_blocks.9.norm1.scale", torch.ones(64)), "lacks trf_blocks.2"),
    "misshapen": (_with("pos_emb.weight", torch.ones(128, 32)), r"pos_emb.weight of shape \[128, 32\]"),
    "no matrix": (_with("pos_emb.weight", torch.ones(128)), "expected a matrix"),
    "another vocabulary": (_with("tok_emb.weight", torch.ones(50, 64)), "50 rows, expected GPT-2's 50257"),
    "another width": (_with("tok_emb.weight", torch.ones(VOCAB, 65)), "no multiple of the head size 64"),
    "another head": (_with("out_head.weight", torch.ones(7, 64)), "7 rows, expected 50257"),
    "not finite": (_with("final_norm.scale", torch.full((64,), torch.nan)), "final_norm.scale that are not"),
    "whole numbers": (_with("final_norm.scale", torch.ones(64, dtype=torch.int32)), "as int32"),
    "not a tensor": (lambda state: state.update(step=4), "'step', which is no tensor"),
    "another mask": (_with("trf_blocks.0.att.mask", torch.ones(128, 128)), "mask, which is not the causal"),
    "a mask lacks": (_without("trf_blocks.1.att.mask"), "lacks trf_blocks.1.att.mask"),
    "a mask too many": (_with("trf_blocks.2.att.mask", torch.ones(1)), "not have: trf_blocks.2.att.mask"),
    "a mask of another context": (
        _with("trf_blocks.1.att.mask", torch.ones(64, 64).triu(1)),
        r"trf_blocks.1.att.mask of shape \[64, 64\], expected \[128, 128\]",
    ),
    "a mask of many numbers": (
        _with("trf_blocks.0.att.mask", 2 * torch.ones(128, 128).triu(1)),
        "mask, which is not the causal",
    ),
    "two formats in one": (_with("trf_blocks.0.ff.layer.0.bias", torch.ones(256)), "mixes two formats"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_named(tmp_path: Path, case: str) -> None:
    change, message = WRONG[case]
    state: State = state_dict()
    change(state)
    with pytest.raises(LoadError, match=message):
        read_checkpoint(saved(tmp_path, state))


def transformers_state(**others: Any) -> State:
    config = GPT2Config(vocab_size=VOCAB, n_positions=64, n_embd=128, n_layer=1, n_head=2)
    return {**GPT2LMHeadModel(config).state_dict(), **others}


CAUSAL = torch.ones(64, 64).tril().bool()[None, None]


def test_the_masks_of_older_versions_of_transformers(tmp_path: Path) -> None:
    name = "transformer.h.0.attn"
    for blocked in (-1e4, torch.finfo(torch.float32).min):
        state = transformers_state(**{f"{name}.bias": CAUSAL, f"{name}.masked_bias": torch.tensor(blocked)})
        assert read_checkpoint(saved(tmp_path, state)).shape.layers == 1
    for key, value, message in (
        ("bias", CAUSAL.flip(2), "transformer.h.0.attn.bias, which is not the causal mask"),
        ("bias", CAUSAL[:, :, :32, :32], r"attn.bias of shape \[1, 1, 32, 32\], expected \[1, 1, 64, 64\]"),
        ("masked_bias", torch.tensor(0.0), "attn.masked_bias, which is not one number far below 0"),
    ):
        with pytest.raises(LoadError, match=message):
            read_checkpoint(saved(tmp_path, transformers_state(**{f"{name}.{key}": value})))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"n_head": 4}, "config.json has n_head 4: the weights beside it have 2, in heads of 64"),
        ({"num_attention_heads": 1}, "has n_head 1"),
        ({}, "has n_head 12"),
        ({"n_head": 2, "n_layer": 3}, "has n_layer 3: the weights beside it have 1"),
        ({"n_head": 2, "activation_function": "relu"}, 'has activation_function "relu": this engine'),
        ({"n_head": 2, "layer_norm_epsilon": 1e-6}, "has layer_norm_epsilon 1e-06"),
        (
            {"n_head": 2, "scale_attn_weights": False},
            "has scale_attn_weights false: this engine computes true",
        ),
        ({"n_head": 2, "scale_attn_by_inverse_layer_idx": True}, "has scale_attn_by_inverse_layer_idx true"),
        ({"n_head": 2, "model_type": "gptj"}, 'has model_type "gptj"'),
        ([], "is no JSON object"),
    ],
)
def test_what_transformers_config_says_and_the_engine_does_not_compute_is_refused(
    tmp_path: Path, config: object, message: str
) -> None:
    """No tensor's shape tells these: such weights would be converted and answer wrongly."""
    path = saved(tmp_path, transformers_state())
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(LoadError, match=message):
        read_checkpoint(path)


def test_a_config_as_transformers_writes_it(tmp_path: Path) -> None:
    path = saved(tmp_path, transformers_state())
    GPT2Config(vocab_size=VOCAB, n_positions=64, n_embd=128, n_layer=1, n_head=2).save_pretrained(tmp_path)
    assert read_checkpoint(path).shape.heads == 2
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(LoadError, match="cannot be read as JSON"):
        read_checkpoint(path)
    saved(tmp_path, state_dict())
    assert read_checkpoint(path).shape.layers == 2, "a published .pth has no such file: it is another's"


@pytest.mark.parametrize("content", [[1, 2], {}, torch.ones(3)])
def test_what_is_no_state_dict_is_refused(tmp_path: Path, content: object) -> None:
    with pytest.raises(LoadError, match="no state dict"):
        read_checkpoint(saved(tmp_path, content))


def test_a_file_cut_off_or_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, state_dict())
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(LoadError, match="truncated or not a checkpoint"):
        read_checkpoint(path)
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(LoadError):
        read_checkpoint(tmp_path / "text.pth")
    (tmp_path / "empty.pth").touch()
    with pytest.raises(LoadError, match="truncated or not a checkpoint"):
        read_checkpoint(tmp_path / "empty.pth")
    with pytest.raises(LoadError, match="does not exist"):
        read_checkpoint(tmp_path / "missing.pth")


class _Model(torch.nn.Module):
    """Stands for the author's class: it is read only by importing and running what the file names."""


def test_a_whole_model_object_is_read_only_when_it_is_trusted(tmp_path: Path) -> None:
    path = saved(tmp_path, whole_model(state_dict(layers=1), _Model()))
    with pytest.raises(LoadError, match="convert --trust-pickle"):
        read_checkpoint(path)
    assert read_checkpoint(path, trust_pickle=True).shape.layers == 1


class _Bomb:
    def __reduce__(self) -> Any:
        return exec, ("raise SystemExit('ran')",)


def test_nothing_in_a_file_is_run(tmp_path: Path) -> None:
    for name, write in (("zip.pth", torch.save), ("plain.pth", lambda x, p: p.write_bytes(pickle.dumps(x)))):
        write({"tok_emb.weight": _Bomb()}, tmp_path / name)
        with pytest.raises(LoadError):
            read_checkpoint(tmp_path / name)

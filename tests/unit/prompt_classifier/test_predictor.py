from __future__ import annotations

from pathlib import Path

import pytest

from predictors.prompt_classifier.predictor import PromptClassifier
from predictors.prompt_classifier.settings import ClassifierSettings
from predictors.runtime.errors import LoadError
from tests.support.checkpoints import write_random_checkpoint


def test_a_tokenizer_with_more_tokens_than_the_weights_know_is_refused(tmp_path: Path) -> None:
    """Each of them would be a fault of its own, long after the model was said to be ready."""
    folder = write_random_checkpoint(tmp_path / "small", layers=1, hidden=64, vocab=60, seed=0)
    other = write_random_checkpoint(tmp_path / "large", layers=1, hidden=64, vocab=500, seed=0)
    (other / "tokenizer.json").replace(folder / "tokenizer.json")
    predictor = PromptClassifier(ClassifierSettings(model_dir=folder))  # pyright: ignore[reportCallIssue]
    with pytest.raises(LoadError, match=r"tokenizer\.json has tokens numbered up to 98, .* ends at 59"):
        predictor.load(lambda stage: None)

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from predictors.multitask_nlp.training.model import MultitaskModel
from tests.support.multitask_nlp import small_encoder


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Nothing here is large enough for two, and two that wait for each other suffer from any neighbour."""
    torch.set_num_threads(1)


@pytest.fixture
def make_model() -> Callable[..., MultitaskModel]:
    return lambda kind="bert": MultitaskModel(small_encoder(kind))

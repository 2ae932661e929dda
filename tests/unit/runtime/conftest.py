from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def collections_are_quick() -> Iterator[None]:
    """Properties that collect garbage need not walk, each time, through all that other tests imported."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()

"""What a newcomer waits for: the time of processors that the demo checkpoints took, by their own record."""

from __future__ import annotations

import json

import pytest

from hack.demo_models import demo_checkpoint


@pytest.mark.parametrize(
    ("model", "record", "most"), [("gpt2", "eval.json", 180), ("multitask_nlp", "manifest.json", 240)]
)
def test_a_demo_is_made_in_few_minutes_of_a_processor(model: str, record: str, most: float) -> None:
    """90 and 120 s of two processors. Their time, not the wall's: a busy machine changes it little."""
    made = json.loads((demo_checkpoint(model) / record).read_text())
    assert 0 < made["processor_seconds"] <= most

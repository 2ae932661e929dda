"""The order of batches: round robin, every example once an epoch, the same for the same seed and step."""

from __future__ import annotations

from collections import Counter

import pytest

from predictors.multitask_nlp.training.order import RoundRobin

LENGTHS = {"sentiment": list(range(10)), "ner": [5] * 23, "qa": [7] * 4}


def test_tasks_take_turns_and_the_short_ones_begin_again() -> None:
    order = RoundRobin(LENGTHS, batch_size=4, seed=1)
    assert order.steps_per_epoch == 18  # six batches of the longest task, three tasks
    seen: dict[str, Counter[int]] = {task: Counter() for task in LENGTHS}
    for step in range(order.steps_per_epoch):
        task, rows = order.at(step)
        assert task == list(LENGTHS)[step % 3]
        seen[task].update(rows.tolist())
    assert seen["ner"] == Counter(range(23))
    assert seen["sentiment"] == Counter(dict.fromkeys(range(10), 2))
    assert seen["qa"] == Counter(dict.fromkeys(range(4), 6))


def test_it_is_a_function_of_seed_and_step() -> None:
    first, second = RoundRobin(LENGTHS, 4, seed=1), RoundRobin(LENGTHS, 4, seed=1)
    for step in (40, 3, 41, 4):
        assert first.at(step)[1].tolist() == second.at(step)[1].tolist()
    epochs = [[first.at(3 * n + 3 * 6 * epoch + 1)[1].tolist() for n in range(6)] for epoch in (0, 1)]
    assert epochs[0] != epochs[1]
    other = RoundRobin(LENGTHS, 4, seed=2)
    assert [first.at(s)[1].tolist() for s in range(18)] != [other.at(s)[1].tolist() for s in range(18)]


def test_nothing_to_train_on() -> None:
    with pytest.raises(ValueError, match="nothing"):
        RoundRobin({"qa": []}, 4, 1)

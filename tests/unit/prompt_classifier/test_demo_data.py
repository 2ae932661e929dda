"""What the demo prompts promise: the same from the same seed, every class present, no wording on both
sides.
"""

from __future__ import annotations

import random
import re

import pytest

from predictors.prompt_classifier.demo import examples, templates
from predictors.prompt_classifier.demo.data import Prompt, Slots, expand, make_prompts, pool, tidy
from predictors.prompt_classifier.demo.published import CONSTRAINED, HEADS, TARGET_SIZES, TASK_TYPES

SEED = 7
SHOTS = HEADS.index("number_of_few_shots")


@pytest.fixture(scope="module")
def train() -> list[Prompt]:
    return make_prompts(4_000, seed=SEED, split="train")


@pytest.fixture(scope="module")
def heldout() -> list[Prompt]:
    return make_prompts(2_000, seed=SEED, split="heldout")


def test_the_same_seed_makes_the_same_prompts(train: list[Prompt]) -> None:
    assert make_prompts(500, seed=SEED, split="train") == train[:500]
    assert make_prompts(500, seed=SEED + 1, split="train") != train[:500]


def test_no_wording_is_on_both_sides(train: list[Prompt], heldout: list[Prompt]) -> None:
    assert {prompt.template for prompt in train}.isdisjoint(prompt.template for prompt in heldout)
    assert {prompt.text for prompt in train}.isdisjoint(
        prompt.text for prompt in heldout if TASK_TYPES[prompt.labels[0]] != "Unknown"
    )


@pytest.mark.parametrize(
    "items",
    [
        [template for group in templates.GROUPS for template in group.templates],
        templates.CONSTRAINTS,
        templates.REASONS,
        templates.OPENERS,
        templates.CLOSERS,
        examples.LAYOUTS,
    ],
    ids=["templates", "constraints", "reasons", "openers", "closers", "layouts"],
)
def test_a_pool_holds_nothing_twice_and_splits_wholly(items: list[str]) -> None:
    assert len(set(items)) == len(items)
    kept, held = pool(items, "train"), pool(items, "heldout")
    assert len(kept) + len(held) == len(items)
    assert set(kept).isdisjoint(held)
    assert 0.1 < len(held) / len(items) < 0.3


def test_every_group_has_wordings_on_both_sides() -> None:
    for group in templates.GROUPS:
        assert pool(group.templates, "train")
        assert pool(group.templates, "heldout")


@pytest.mark.parametrize("head", range(len(HEADS)), ids=HEADS)
def test_every_class_of_every_head_is_trained_and_checked(
    head: int, train: list[Prompt], heldout: list[Prompt]
) -> None:
    every = set(range(TARGET_SIZES[HEADS[head]]))
    assert {prompt.labels[head] for prompt in train} == every
    assert {prompt.labels[head] for prompt in heldout} == every


def test_heldout_task_types_are_even(train: list[Prompt], heldout: list[Prompt]) -> None:
    for prompts, least, most in ((train, 0.05, 0.15), (heldout, 0.07, 0.11)):
        tasks = [TASK_TYPES[prompt.labels[0]] for prompt in prompts]
        for task in TASK_TYPES[:-1]:
            assert least < tasks.count(task) / len(tasks) < most
        assert 0 < tasks.count("Unknown") / len(tasks) < 0.04


def test_prompts_are_filled_and_of_a_sensible_length(train: list[Prompt], heldout: list[Prompt]) -> None:
    for prompt in [*train, *heldout]:
        assert prompt.text.strip()
        assert len(prompt.text.split()) <= 160
        assert not re.search(r"\{[A-Za-z_]+[0-9]?\}|\x01|\x02", prompt.text), prompt.text


def test_numbered_examples_are_as_many_as_the_label_says(train: list[Prompt]) -> None:
    counted = [
        (prompt.labels[SHOTS], len(re.findall(r"\b[A-Za-z]{7} \d: ", prompt.text)))
        for prompt in train
        if re.search(r"\bExample 1: ", prompt.text)
    ]
    assert len(counted) > 20
    assert all(label == count for label, count in counted)


def test_a_wording_that_sets_a_limit_is_labelled_so(train: list[Prompt]) -> None:
    limited = {template for group in templates.GROUPS if group.constrained for template in group.templates}
    labels = {prompt.labels[HEADS.index("constraint_ct")] for prompt in train if prompt.template in limited}
    assert labels == {CONSTRAINED}


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("(a|b) c", {"a c", "b c"}),
        ("a( b)? c", {"a b c", "a c"}),
        ("is it (x|y)?", {"is it x?", "is it y?"}),
        ("(a(n|) egg|)", {"an egg", "a egg", ""}),
        ("def f(x):", {"def f(x):"}),
        ("(run in O(n log n)|)", {"run in O(n log n)", ""}),
    ],
)
def test_expand(template: str, expected: set[str]) -> None:
    assert {expand(template, random.Random(seed)) for seed in range(40)} == expected


def test_tidy_keeps_the_indentation_of_code() -> None:
    assert tidy("Fix  this .\ndef f():\n    return 1") == "Fix this.\ndef f():\n    return 1"


def test_the_two_sides_of_an_example_name_the_same() -> None:
    given, answer = Slots(random.Random(1)).fill_pair("{person} called from {place}.", "{person}")
    assert given.startswith(f"{answer} called from ")

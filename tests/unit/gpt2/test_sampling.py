from __future__ import annotations

import numpy as np
import pytest

from predictors.gpt2.engine.sampling import Sampler, Sampling, likeliest

LOGITS = np.full(80, -np.inf, np.float32)
LOGITS[70:75] = np.log([0.5, 0.25, 0.125, 0.0625, 0.0625])


def drawn(count: int = 4000, **changes: float) -> dict[int, float]:
    values = {"temperature": 1.0, "top_p": 1.0, "top_k": 5, "seed": 1, **changes}
    sampler = Sampler(Sampling(**values))  # type: ignore[arg-type]
    tokens = [sampler.pick(LOGITS) for _ in range(count)]
    return {token: tokens.count(token) / count for token in sorted(set(tokens))}


def test_tokens_come_as_often_as_they_are_likely() -> None:
    assert drawn() == pytest.approx({70: 0.5, 71: 0.25, 72: 0.125, 73: 0.0625, 74: 0.0625}, abs=0.03)


def test_top_k_keeps_the_likeliest_and_shares_out_the_rest() -> None:
    assert drawn(top_k=2) == pytest.approx({70: 2 / 3, 71: 1 / 3}, abs=0.03)


def test_top_p_keeps_the_fewest_that_make_it_up() -> None:
    assert set(drawn(top_p=0.5)) == {70}
    assert set(drawn(top_p=0.51)) == {70, 71}
    assert set(drawn(top_p=0.76)) == {70, 71, 72}
    assert set(drawn(top_p=1e-6)) == {70}


def test_top_p_is_of_what_top_k_left() -> None:
    # 0.5 of 0.5 + 0.25 is two thirds.
    assert set(drawn(top_k=2, top_p=0.66)) == {70}
    assert set(drawn(top_k=2, top_p=0.67)) == {70, 71}


def test_temperature_evens_out_or_sharpens() -> None:
    assert drawn(temperature=2.0)[70] < 0.4
    assert drawn(temperature=0.25)[70] > 0.9
    assert drawn(temperature=0.0) == {70: 1.0}
    assert drawn(top_k=1) == {70: 1.0}


def test_the_same_seed_draws_the_same() -> None:
    def sequence(seed: int | None) -> list[int]:
        sampler = Sampler(Sampling(1.0, 1.0, 5, seed))
        return [sampler.pick(LOGITS) for _ in range(50)]

    assert sequence(7) == sequence(7) != sequence(8)
    assert sequence(None) != sequence(None)


def test_huge_logits_stay_finite() -> None:
    sampler = Sampler(Sampling(0.001, 0.9, 5, 0))
    assert sampler.pick(LOGITS * 1e6) == 70


@pytest.mark.parametrize("size", [1, 90, 50_257])
@pytest.mark.parametrize("k", [1, 7, 100])
def test_the_likeliest_are_those_that_sorting_all_would_find(size: int, k: int) -> None:
    logits = np.random.default_rng(size).normal(size=size).astype(np.float32).round(2)  # with ties
    assert np.array_equal(likeliest(logits, k), np.argsort(-logits, kind="stable")[:k])
    rising = np.arange(size, dtype=np.float32)
    assert np.array_equal(likeliest(rising, k), np.argsort(-rising)[:k])

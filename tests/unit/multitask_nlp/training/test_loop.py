"""The loop: it learns, keeps the best, stops early, and goes on after a kill as if nothing had happened."""

from __future__ import annotations

import io
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from predictors.multitask_nlp.training.evaluation import Metrics
from predictors.multitask_nlp.training.features import IGNORED, Feature
from predictors.multitask_nlp.training.loop import (
    LAST,
    CannotResume,
    Diverged,
    Outcome,
    Recipe,
    rate_share,
    train,
)
from predictors.multitask_nlp.training.model import MultitaskModel

RECIPE = Recipe(seed=3, batch_size=4, learning_rate=3e-3, epochs=2, evaluations=2, patience=0)
ModelMaker = Callable[..., MultitaskModel]


def data() -> dict[str, list[Feature]]:
    rng = np.random.default_rng(0)

    def ids() -> np.ndarray:
        return np.r_[1, rng.integers(4, 120, rng.integers(3, 9)), 2]

    found: dict[str, list[Feature]] = {"sentiment": [], "ner": [], "qa": []}
    for _ in range(16):
        row = ids()
        found["sentiment"].append(Feature(row, np.array([int(row[1] > 60)])))
        found["ner"].append(Feature(row, np.where(row < 4, IGNORED, (row > 60).astype(int))))
        found["qa"].append(Feature(row, np.array([1, len(row) - 2])))
    return found


class Watch:
    def __init__(self, stop_at: int = 0) -> None:
        self.losses: list[float] = []
        self.evaluations: list[tuple[int, bool]] = []
        self._stop_at = stop_at

    def step(self, step: int, steps: int, task: str, loss: float) -> None:
        self.losses.append(loss)
        if step == self._stop_at:
            raise KeyboardInterrupt

    def evaluated(self, step: int, metrics: Metrics, best: bool) -> None:
        self.evaluations.append((step, best))


def scored(*scores: float) -> Callable[[MultitaskModel], Metrics]:
    left = iter(scores)
    return lambda _: Metrics(score := next(left), score, 100 * score, 100 * score, 1.0)


def run(
    make_model: ModelMaker, watch: Watch, recipe: Recipe = RECIPE, *scores: float, folder: Path | None = None
) -> Outcome:
    torch.manual_seed(5)
    measure = scored(*(scores or (0.1, 0.2)))
    return train(make_model(), data(), recipe, measure, watch, folder=folder, identity="a", save_every=1)


def test_it_learns(make_model: ModelMaker) -> None:
    watch = Watch()
    outcome = run(make_model, watch, replace(RECIPE, epochs=8))
    assert outcome.steps == 8 * 12
    assert np.mean(watch.losses[-12:]) < 0.6 * np.mean(watch.losses[:12])


def test_the_best_weights_are_kept(make_model: ModelMaker) -> None:
    kept: list[dict[str, torch.Tensor]] = []
    scores = iter((0.5, 0.4))

    def measure(model: MultitaskModel) -> Metrics:
        kept.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        return Metrics(score := next(scores), score, score, score, 1.0)

    outcome = train(make_model(), data(), RECIPE, measure, Watch())
    assert outcome.best_step == 12
    assert all(torch.equal(tensor, kept[0][name]) for name, tensor in outcome.model.state_dict().items())
    assert any(not torch.equal(tensor, kept[0][name]) for name, tensor in kept[1].items())


def test_it_ends_when_nothing_gets_better(make_model: ModelMaker) -> None:
    recipe = replace(RECIPE, epochs=4, evaluations=4, patience=2)
    watch = Watch()
    assert run(make_model, watch, recipe, 0.5, 0.4, 0.5, 0.9).steps == 36
    assert watch.evaluations == [(12, True), (24, False), (36, False)]


@pytest.mark.parametrize("killed_at", [1, 7, 12, 13, 23])
def test_a_killed_run_goes_on_as_if_nothing_had_happened(
    make_model: ModelMaker, tmp_path: Path, killed_at: int
) -> None:
    whole, first, second = Watch(), Watch(stop_at=killed_at), Watch()
    expected = run(make_model, whole)
    with pytest.raises(KeyboardInterrupt):
        run(make_model, first, folder=tmp_path)
    # The step at which it was killed was not kept: it is taken again.
    left = (0.2,) if killed_at > 12 else (0.1, 0.2)
    resumed = run(make_model, second, RECIPE, *left, folder=tmp_path)
    assert first.losses[: killed_at - 1] + second.losses == pytest.approx(whole.losses)
    assert resumed.metrics == expected.metrics
    for name, tensor in resumed.model.state_dict().items():
        torch.testing.assert_close(tensor, expected.model.state_dict()[name])


def test_a_stop_while_the_state_is_written_waits_until_it_is_whole(
    make_model: ModelMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyTorch's writer is C++ that calls back, and makes an error of its own of what is raised in there."""

    class StoppedWriting(io.FileIO):
        def write(self, data: Any, /) -> int:
            os.kill(os.getpid(), signal.SIGINT)
            return super().write(data)

    monkeypatch.setattr(Path, "open", lambda path, mode: StoppedWriting(path, mode))
    watch = Watch()
    with pytest.raises(KeyboardInterrupt):
        run(make_model, watch, folder=tmp_path)
    monkeypatch.undo()
    assert len(watch.losses) == 1
    assert torch.load(tmp_path / LAST, weights_only=True)["state"]["step"] == 1
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_folder_of_another_run_is_refused(make_model: ModelMaker, tmp_path: Path) -> None:
    run(make_model, Watch(), folder=tmp_path)
    with pytest.raises(CannotResume, match="other settings or data"):
        train(make_model(), data(), RECIPE, scored(0.1), Watch(), folder=tmp_path, identity="b")


def test_a_loss_that_is_no_number_ends_the_run(make_model: ModelMaker) -> None:
    """Otherwise a model that says nothing would be compared with itself, pass the gate and be registered."""
    model = make_model()
    with torch.no_grad():
        model.qa_head.bias.fill_(torch.nan)
    with pytest.raises(Diverged, match=r"loss of qa is nan at step 3"):
        train(model, data(), RECIPE, scored(0.1, 0.2), Watch())


def test_the_rate_rises_for_a_tenth_of_the_steps_and_falls_to_nothing() -> None:
    shares = [rate_share(step, 100, 0.1) for step in range(100)]
    assert shares[:10] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    assert shares[10] == 1.0
    assert shares[55] == pytest.approx(0.5)
    assert shares[99] == pytest.approx(1 / 90)
    assert rate_share(100, 100, 0.1) == 0.0


def test_the_optimizer_is_adamw_and_learns_at_that_rate(
    make_model: ModelMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates: list[list[float]] = []
    made: list[torch.optim.AdamW] = []

    class Recording(torch.optim.AdamW):
        def __init__(self, *given: Any, **named: Any) -> None:
            super().__init__(*given, **named)
            made.append(self)

        def step(self, closure: Any = None) -> Any:
            rates.append(sorted({group["lr"] for group in self.param_groups}))
            return super().step(closure)

    monkeypatch.setattr(torch.optim, "AdamW", Recording)
    model = make_model()
    recipe = replace(RECIPE, warmup=0.25, heads_rate=10.0, weight_decay=0.01)
    train(model, data(), recipe, scored(0.1, 0.2), Watch())
    rising, falling = [n / 6 for n in range(1, 7)], [n / 18 for n in range(18, 0, -1)]
    expected = [[3e-3 * share, 3e-2 * share] for share in (*rising, *falling)]
    assert rates == [pytest.approx(pair) for pair in expected]

    (optimizer,) = made
    names = {parameter: name for name, parameter in model.named_parameters()}
    decays = {
        names[one]: group["weight_decay"] for group in optimizer.param_groups for one in group["params"]
    }
    full = {names[one]: group["full_rate"] for group in optimizer.param_groups for one in group["params"]}
    assert decays.keys() == set(names.values())
    for name, decay in decays.items():
        assert decay == (0.0 if name.endswith(".bias") or "LayerNorm" in name else 0.01), name
        assert full[name] == (3e-3 if name.startswith("encoder.") else 3e-2), name


def test_gradients_are_clipped(make_model: ModelMaker) -> None:
    """At a norm of 0 nothing is left to learn from."""
    before = {name: tensor.clone() for name, tensor in make_model().state_dict().items()}
    recipe = replace(RECIPE, clip=0.0, weight_decay=0.0, epochs=0.25, evaluations=1)
    after = train(make_model(), data(), recipe, scored(0.1), Watch()).model.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


def test_frozen_layers_stay_as_they_are(make_model: ModelMaker) -> None:
    before = {name: tensor.clone() for name, tensor in make_model().state_dict().items()}
    model = make_model()
    after = train(
        model, data(), replace(RECIPE, frozen_layers=1), scored(0.1, 0.2), Watch()
    ).model.state_dict()
    frozen = ("encoder.embeddings.", "encoder.encoder.layer.0.")
    for name, tensor in before.items():
        if name.startswith("encoder."):
            assert torch.equal(tensor, after[name]) == name.startswith(frozen), name


def test_a_weight_scales_its_tasks_loss(make_model: ModelMaker) -> None:
    plain, weighted = Watch(), Watch()
    short = replace(RECIPE, learning_rate=0.0, epochs=0.25, evaluations=1)
    run(make_model, plain, short, 0.1)
    run(make_model, weighted, replace(short, task_weights={"sentiment": 1.0, "ner": 0.5, "qa": 2.0}), 0.1)
    assert weighted.losses == pytest.approx([plain.losses[0], 0.5 * plain.losses[1], 2 * plain.losses[2]])

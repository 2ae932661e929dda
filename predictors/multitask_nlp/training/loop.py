"""The training loop: round robin, AdamW, warm-up, clipping, early stop, and a checkpoint to go on from."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch

from predictors.multitask_nlp.training.evaluation import Metrics
from predictors.multitask_nlp.training.features import Feature, collate
from predictors.multitask_nlp.training.model import MultitaskModel, task_loss
from predictors.multitask_nlp.training.order import RoundRobin
from predictors.runtime.stopping import held_back

LAST, BEST = "last.pt", "best.pt"
STATE_FORMAT = 2
"""Of what these two hold; a change of it goes with another number."""


class CannotResume(Exception):
    """The folder's checkpoint belongs to another run; one sentence."""


class Diverged(Exception):
    """The loss has become infinite or no number: nothing is learned any more; one sentence."""


@dataclass(frozen=True)
class Recipe:
    """Everything besides data and encoder that the result depends on."""

    seed: int = 42
    batch_size: int = 16
    learning_rate: float = 2e-5
    heads_rate: float = 1.0
    """How many times faster the heads learn: they start from nothing."""
    weight_decay: float = 0.01
    epochs: float = 3.0
    """Of the task with the most batches; the others begin again as often as it takes."""
    warmup: float = 0.1
    """Share of the steps over which the rate rises; then it falls to 0, both in a straight line."""
    clip: float = 1.0
    task_weights: Mapping[str, float] = field(
        default_factory=lambda: {"sentiment": 1.0, "ner": 1.0, "qa": 1.0}
    )
    """Factor on each task's loss."""
    frozen_layers: int = 0
    """The first layers of the encoder, with the embeddings, that are left as they are."""
    bf16: bool = False
    """Whether products are computed in bf16 (autocast); weights stay fp32."""
    evaluations: int = 3
    """How often the metrics are measured, evenly over the run; the last time at its end."""
    patience: int = 2
    """Evaluations without a better score after which the run ends; 0 never ends it."""


class Observer(Protocol):
    """Who is told how it goes: a progress bar, MLflow, a test."""

    def step(self, step: int, steps: int, task: str, loss: float) -> None: ...
    def evaluated(self, step: int, metrics: Metrics, best: bool) -> None: ...


@dataclass
class _State:
    step: int = 0
    best_score: float = -1.0
    best_step: int = 0
    without_better: int = 0


@dataclass(frozen=True)
class Outcome:
    """``model`` holds the best weights."""

    model: MultitaskModel
    metrics: Metrics
    best_step: int
    steps: int


def train(
    model: MultitaskModel,
    data: Mapping[str, Sequence[Feature]],
    recipe: Recipe,
    measure: Callable[[MultitaskModel], Metrics],
    observer: Observer,
    *,
    folder: Path | None = None,
    identity: str = "",
    save_every: int = 200,
    pad_id: int = 0,
) -> Outcome:
    """Trains ``model`` in place and leaves the best weights in it.

    With ``folder`` the state is kept there every ``save_every`` steps and at every evaluation, and a run that
    was killed goes on from it: same batches, same dropout, same result. ``identity`` names data and settings;
    a folder with another one raises CannotResume. A loss that is not finite raises Diverged.
    """
    order = RoundRobin(
        {task: [len(feature.ids) for feature in features] for task, features in data.items()},
        recipe.batch_size,
        recipe.seed,
    )
    steps = max(1, round(order.steps_per_epoch * recipe.epochs))
    due = {max(1, round(steps * (i + 1) / recipe.evaluations)) for i in range(recipe.evaluations)} | {steps}
    torch.manual_seed(recipe.seed)
    model.freeze(recipe.frozen_layers)
    optimizer = _optimizer(model, recipe)
    state, best, metrics = _State(), _weights(model), None
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / LAST).exists():
            state, best, metrics = _resume(folder, identity, model, optimizer)

    def save(*, better: bool) -> None:
        if folder is None:
            return
        if better:
            write_whole(folder / BEST, {"weights": best, "metrics": metrics.as_dict() if metrics else None})
        write_whole(folder / LAST, {
            "identity": identity,
            "state": vars(state),
            "weights": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "random": torch.get_rng_state(),
        })  # fmt: skip

    model.train()
    while state.step < steps and not (recipe.patience and state.without_better >= recipe.patience):
        task, rows = order.at(state.step)
        rate = rate_share(state.step, steps, recipe.warmup)
        for group in optimizer.param_groups:
            group["lr"] = group["full_rate"] * rate
        batch = collate(task, [data[task][row] for row in rows], pad_id)
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.bf16):
            outputs = model(batch.input_ids, batch.attention_mask)
        loss = task_loss(task, outputs, batch.labels) * recipe.task_weights[task]
        if not math.isfinite(loss.item()):
            raise Diverged(
                f"The loss of {task} is {loss.item()} at step {state.step + 1}; lower the learning rate."
            )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        optimizer.step()
        state.step += 1
        observer.step(state.step, steps, task, loss.item())
        if state.step in due:
            found = measure(model)
            better = found.score > state.best_score
            if better:
                state.best_score, state.best_step, state.without_better = found.score, state.step, 0
                best, metrics = _weights(model), found
            else:
                state.without_better += 1
            observer.evaluated(state.step, found, better)
            save(better=better)
        elif state.step % save_every == 0:
            save(better=False)
    model.load_state_dict(best)
    model.eval()
    assert metrics is not None, "the last step is always evaluated"
    return Outcome(model, metrics, state.best_step, state.step)


def _optimizer(model: MultitaskModel, recipe: Recipe) -> torch.optim.AdamW:
    """No decay for biases and norms, as usual for such encoders."""
    groups: dict[tuple[bool, bool], list[torch.nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups.setdefault((name.startswith("encoder."), parameter.ndim > 1), []).append(parameter)
    return torch.optim.AdamW(
        [
            {
                "params": parameters,
                "full_rate": recipe.learning_rate * (1.0 if encoder else recipe.heads_rate),
                "weight_decay": recipe.weight_decay if decays else 0.0,
            }
            for (encoder, decays), parameters in groups.items()
        ],
        lr=recipe.learning_rate,
    )


def rate_share(step: int, steps: int, warmup: float) -> float:
    """What share of the full rate the step ``step`` (from 0) of ``steps`` learns with."""
    rising = max(1, round(steps * warmup))
    return (step + 1) / rising if step < rising else max(0.0, (steps - step) / max(1, steps - rising))


def _weights(model: MultitaskModel) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def _resume(
    folder: Path, identity: str, model: MultitaskModel, optimizer: torch.optim.AdamW
) -> tuple[_State, dict[str, torch.Tensor], Metrics | None]:
    last: dict[str, Any] = torch.load(folder / LAST, weights_only=True)
    if last["identity"] != identity:
        raise CannotResume(
            f"{folder} holds a run with other settings or data; name another folder or remove it."
        )
    model.load_state_dict(last["weights"])
    optimizer.load_state_dict(last["optimizer"])
    torch.set_rng_state(last["random"])
    if not (folder / BEST).exists():
        return _State(**last["state"]), _weights(model), None
    best: dict[str, Any] = torch.load(folder / BEST, weights_only=True)
    kept = {name: value for name, value in best["metrics"].items() if name != "score"}
    return _State(**last["state"]), best["weights"], Metrics(**kept)


def write_whole(file: Path, content: Mapping[str, Any]) -> None:
    """Or not at all. A stop waits: PyTorch's writer makes an error of its own of what is raised in it."""
    part = file.with_name(f"{file.name}.part")
    with held_back():
        with part.open("wb") as opened:
            torch.save(content, opened)
            opened.flush()
            os.fsync(opened.fileno())
        part.replace(file)

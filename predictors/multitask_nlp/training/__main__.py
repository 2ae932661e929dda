"""``python -m predictors.multitask_nlp.training train | export``; ``--help`` says what each takes."""

from __future__ import annotations

import argparse
import math
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from predictors.multitask_nlp.tasks import TASKS

if TYPE_CHECKING:
    from predictors.multitask_nlp.training.evaluation import Metrics
    from predictors.multitask_nlp.training.run import Job

PUBLISHED_ENCODER, PUBLISHED_LENGTH = "distilbert-base-uncased", 128


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    # A stop from outside unwinds like Ctrl-C; as a container's first process it would not be heard at all.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # Read when torch is loaded: threads that spin at every barrier suffer from any busy neighbour.
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    from predictors.multitask_nlp.training.encoders import NoEncoder
    from predictors.multitask_nlp.training.export import WrongWeights
    from predictors.multitask_nlp.training.gate import GateClosed
    from predictors.multitask_nlp.training.loop import CannotResume, Diverged
    from predictors.multitask_nlp.training.sources import NoData
    from predictors.multitask_nlp.training.tracking import NoTracking
    from predictors.runtime.folders import CannotWrite

    try:
        return options.command(options)
    except (
        *(NoData, NoEncoder, NoTracking, CannotResume, Diverged, GateClosed, CannotWrite, WrongWeights),
    ) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\nstopped; the same command goes on from the last checkpoint\n")
        return 130


def parser() -> argparse.ArgumentParser:
    # The original's variables stand in for options, so that its .env files go on working.
    given = os.environ.get
    whole = argparse.ArgumentParser(prog="python -m predictors.multitask_nlp.training", description=__doc__)
    commands = whole.add_subparsers(required=True, metavar="train | export")

    train = commands.add_parser("train", help="train, export, compare with fp32, register")
    train.add_argument("--output", type=Path, required=True, help="folder; a killed run goes on from it")
    train.add_argument(
        "--made",
        action="store_true",
        help="made data, MiniLM and a recipe for them, where nothing else is said: no network, minutes",
    )
    _add_encoder(train)
    for task in TASKS:
        train.add_argument(f"--{task}-data", help="name on the hub, folder of JSON lines, or made")
        train.add_argument(f"--{task}-weight", type=factor, help="factor on its loss (1)")
    train.add_argument(
        "--max-samples", type=count, default=given("MAX_SAMPLES"), help="of a task and split, drawn (10000)"
    )
    recipe: list[tuple[str, Callable[[str], Any], str]] = [
        ("batch_size", count, "examples in a step (16)"),
        ("learning_rate", positive, "at its highest (2e-5)"),
        ("epochs", positive, "of the task with the most batches (3)"),
        ("evaluations", count, "how often, evenly over the run (3)"),
        ("patience", whole_number, "evaluations without a better score that end the run (2); 0: none do"),
    ]
    for name, read, words in recipe:
        option = f"--{name.replace('_', '-')}"
        default = given(name.upper()) if name in ("batch_size", "learning_rate", "epochs") else None
        train.add_argument(option, f"--{name}", type=read, default=default, help=words)
    train.add_argument("--seed", type=whole_number, default=42)
    train.add_argument("--no-register", dest="register", action="store_false", help="stop after the export")
    train.set_defaults(command=_train, recipe=[name for name, *_ in recipe])

    export = commands.add_parser("export", help="the served folder of a state dict (model.pt)")
    export.add_argument(
        "--weights", type=Path, required=True, help="state dict, read without unpickling code"
    )
    _add_encoder(export)
    export.add_argument("--output", type=Path, required=True, help="folder to make")
    export.set_defaults(command=_export)
    return whole


def _add_encoder(parser: argparse.ArgumentParser) -> None:
    given = os.environ.get
    parser.add_argument(
        "--encoder", default=given("MODEL_NAME"), help=f"name, package or folder ({PUBLISHED_ENCODER})"
    )
    parser.add_argument(
        *("--max-length", "--max_seq_length"),
        type=count,
        default=given("MAX_SEQ_LENGTH", str(PUBLISHED_LENGTH)),
        help="tokens in a window (%(default)s)",
    )


def count(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return int(text)


def whole_number(text: str) -> int:
    if int(text) < 0:
        raise argparse.ArgumentTypeError(f"{text} is less than 0")
    return int(text)


def positive(text: str) -> float:
    if not 0 < float(text) < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return float(text)


def factor(text: str) -> float:
    if not 0 <= float(text) < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 0")
    return float(text)


def job(options: argparse.Namespace) -> Job:
    """What the options ask for: what they do not say, the made data's recipe or the published one does."""
    from predictors.multitask_nlp.training.gate import Drops
    from predictors.multitask_nlp.training.loop import Recipe
    from predictors.multitask_nlp.training.made.recipe import ENCODER, made_recipe
    from predictors.multitask_nlp.training.run import Job
    from predictors.multitask_nlp.training.sources import MADE, PUBLISHED, Sources

    default = {task: MADE if options.made else name for task, name in PUBLISHED.items()}
    named = {task: getattr(options, f"{task}_data") or name for task, name in default.items()}
    recipe = made_recipe(options.seed) if options.made else Recipe(seed=options.seed)
    weights = {task: weight for task in TASKS if (weight := getattr(options, f"{task}_weight")) is not None}
    said = {name: value for name in options.recipe if (value := getattr(options, name)) is not None}
    return Job(
        encoder=options.encoder or (ENCODER if options.made else PUBLISHED_ENCODER),
        sources=Sources(**named, max_samples=options.max_samples or Sources.max_samples, seed=options.seed),
        recipe=replace(recipe, task_weights={**recipe.task_weights, **weights}, **said),
        drops=Drops(),
        output=options.output,
        max_length=options.max_length,
        register=options.register,
    )


def _train(options: argparse.Namespace) -> int:
    from predictors.multitask_nlp.training.run import run

    with _Bar() as bar:
        summary = run(job(options), bar)
    sys.stdout.write(f"{summary}\n")
    return 0


def _export(options: argparse.Namespace) -> int:
    from predictors.multitask_nlp.training.export import export_weights

    encoder = options.encoder or PUBLISHED_ENCODER
    export_weights(options.weights, encoder, options.max_length, options.output)
    sys.stdout.write(f"written to {options.output}\n")
    return 0


class _Bar:
    """A bar with rate and time left at a terminal, a line now and then elsewhere."""

    def __enter__(self) -> _Bar:
        from predictors.runtime.progress import ProgressLine

        self._line = ProgressLine("multitask_nlp training")
        return self

    def __exit__(self, *_: object) -> None:
        self._line.close()

    def step(self, step: int, steps: int, task: str, loss: float) -> None:  # noqa: ARG002
        self._line("training", step, steps)

    def evaluated(self, step: int, metrics: Metrics, best: bool) -> None:
        figures = ", ".join(f"{name} {value:.4g}" for name, value in metrics.as_dict().items())
        self._line.close()
        sys.stderr.write(f"step {step}: {figures}{' (best so far)' if best else ''}\n")


if __name__ == "__main__":
    sys.exit(main())

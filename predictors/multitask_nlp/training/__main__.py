"""``python -m predictors.multitask_nlp.training train | export``; ``--help`` says what each takes."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from predictors.multitask_nlp.training.evaluation import Metrics


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    # Read when torch is loaded: threads that spin at every barrier suffer from any busy neighbour.
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    from predictors.multitask_nlp.training.encoders import NoEncoder
    from predictors.multitask_nlp.training.export import WrongWeights
    from predictors.multitask_nlp.training.gate import GateClosed
    from predictors.multitask_nlp.training.loop import CannotResume
    from predictors.multitask_nlp.training.sources import NoData
    from predictors.runtime.folders import CannotWrite

    try:
        return options.command(options)
    except (NoData, NoEncoder, CannotResume, GateClosed, CannotWrite, WrongWeights) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\nstopped; the same command goes on from the last checkpoint\n")
        return 130


def _parser() -> argparse.ArgumentParser:
    # The original's variables are the defaults, so that its .env files go on working.
    given = os.environ.get
    parser = argparse.ArgumentParser(prog="python -m predictors.multitask_nlp.training", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="train | export")

    train = commands.add_parser("train", help="train, export, compare with fp32, register")
    train.add_argument("--output", type=Path, required=True, help="folder; a killed run goes on from it")
    train.add_argument("--made", action="store_true", help="MiniLM on made data: no network, minutes")
    train.add_argument(
        "--encoder", default=given("MODEL_NAME", "distilbert-base-uncased"), help="name or folder"
    )
    for task in ("sentiment", "ner", "qa"):
        train.add_argument(f"--{task}-data", help="name on the hub, folder of JSON lines, or made")
        train.add_argument(f"--{task}-weight", type=float, default=1.0, help="factor on its loss")
    train.add_argument("--max-samples", type=int, default=int(given("MAX_SAMPLES", "10000")))
    train.add_argument(
        "--max-length", "--max_seq_length", type=int, default=int(given("MAX_SEQ_LENGTH", "128"))
    )
    train.add_argument("--batch-size", "--batch_size", type=int, default=int(given("BATCH_SIZE", "16")))
    train.add_argument(
        "--learning-rate", "--learning_rate", type=float, default=float(given("LEARNING_RATE", "2e-5"))
    )
    train.add_argument("--epochs", type=float, default=float(given("EPOCHS", "3")))
    train.add_argument("--evaluations", type=int, default=3, help="how often, evenly over the run")
    train.add_argument(
        "--patience", type=int, default=2, help="evaluations without a better score; 0: no end"
    )
    train.add_argument("--seed", type=int, default=42)
    train.add_argument("--no-register", dest="register", action="store_false", help="stop after the export")
    train.set_defaults(command=_train)

    export = commands.add_parser("export", help="the served folder of a state dict (model.pt)")
    export.add_argument(
        "--weights", type=Path, required=True, help="state dict, read without unpickling code"
    )
    export.add_argument(
        "--encoder", default=given("MODEL_NAME", "distilbert-base-uncased"), help="name or folder"
    )
    export.add_argument("--max-length", type=int, default=int(given("MAX_SEQ_LENGTH", "128")))
    export.add_argument("--output", type=Path, required=True, help="folder to make")
    export.set_defaults(command=_export)
    return parser


def _train(options: argparse.Namespace) -> int:
    from predictors.multitask_nlp.training import gate
    from predictors.multitask_nlp.training.loop import Recipe
    from predictors.multitask_nlp.training.made.recipe import ENCODER, made_recipe
    from predictors.multitask_nlp.training.run import Job, run
    from predictors.multitask_nlp.training.sources import MADE, PUBLISHED, Sources

    default = {task: MADE if options.made else name for task, name in PUBLISHED.items()}
    named = {task: getattr(options, f"{task}_data") or name for task, name in default.items()}
    weights = {task: getattr(options, f"{task}_weight") for task in PUBLISHED}
    recipe = Recipe(
        seed=options.seed,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        epochs=options.epochs,
        task_weights=weights,
        evaluations=options.evaluations,
        patience=options.patience,
    )
    job = Job(
        encoder=ENCODER if options.made else options.encoder,
        sources=Sources(**named, max_samples=options.max_samples, seed=options.seed),
        recipe=made_recipe(options.seed) if options.made else recipe,
        drops=gate.Drops(),
        output=options.output,
        max_length=options.max_length,
        register=options.register,
    )
    with _Bar() as bar:
        summary = run(job, bar)
    sys.stdout.write(f"{summary}\n")
    return 0


def _export(options: argparse.Namespace) -> int:
    from predictors.multitask_nlp.training.export import export_weights

    export_weights(options.weights, options.encoder, options.max_length, options.output)
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

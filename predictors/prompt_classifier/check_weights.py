"""``python -m predictors.prompt_classifier.check_weights DIR``: is this the published checkpoint, read right?

Classifies the published example and compares with the values its authors document. A checkpoint whose heads
were permuted or left random, or another model altogether, does not pass.
"""

from __future__ import annotations

import sys
from pathlib import Path

from predictors.prompt_classifier.predictor import PromptClassifier
from predictors.prompt_classifier.scoring import Classification
from predictors.prompt_classifier.settings import ClassifierSettings
from predictors.runtime.errors import LoadError, ServiceError

PROMPT = "Prompt: Write a Python script that uses a for loop."

# From the model card and the test of its reference implementation, which compares two decimals.
GOLDEN: dict[str, str | float] = {
    "task_type_1": "Code Generation",
    "task_type_2": "Text Generation",
    "task_type_prob": 0.767,
    "prompt_complexity_score": 0.2783,
    "creativity_scope": 0.0825,
    "reasoning": 0.0632,
    "constraint_ct": 0.5586,
    "domain_knowledge": 0.9803,
    "contextual_knowledge": 0.0559,
    "number_of_few_shots": 0.0,
    "no_label_reason": 0.0,
}


def differences(result: Classification) -> dict[str, tuple[str | float, str | float]]:
    """Field -> (found, published) wherever they differ after rounding to two decimals."""
    found = {name: getattr(result, name) for name in GOLDEN}
    return {name: (found[name], value) for name, value in GOLDEN.items() if not _same(found[name], value)}


def _same(found: str | float, published: str | float) -> bool:
    if isinstance(found, str) or isinstance(published, str):
        return found == published
    return round(found, 2) == round(published, 2)


def main(arguments: list[str]) -> int:
    """Exit codes: 0 the published weights, 1 others, 2 wrong usage, 3 not a checkpoint."""
    if len(arguments) != 1:
        _say("usage: python -m predictors.prompt_classifier.check_weights DIR")
        return 2
    predictor = PromptClassifier(ClassifierSettings(model_dir=Path(arguments[0])))  # pyright: ignore[reportCallIssue]
    try:
        predictor.load(lambda stage: _say(f"{stage} ..."))
        predictor.self_test()
    except LoadError as error:
        _say(f"The checkpoint does not load: {error}")
        return 3
    (result,) = predictor.classify([PROMPT])
    if isinstance(result, ServiceError):
        _say(f"The published example cannot be classified: {result.message}")
        return 1
    wrong = differences(result)
    for name, published in GOLDEN.items():
        verdict = "differs" if name in wrong else "agrees"
        _say(f"{name:26}{getattr(result, name)!s:>18}{published!s:>18}  {verdict}")
    _say(f"weights {predictor.description()['checksum']}, engine {predictor.description()['engine']}")
    if wrong:
        _say(f"{len(wrong)} of {len(GOLDEN)} fields differ: these are not the published weights.")
    return 1 if wrong else 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""What stands for an engine in tests: a mark that anybody can work out again."""

from predictors.text_evaluator.evaluation import Evaluation


def rule(text: str) -> Evaluation:
    """The number of words modulo 6."""
    return Evaluation(len(text.split()) % 6, f"{text} / {len(text.split())}")

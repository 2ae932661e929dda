"""A small client: posts texts, follows their job over lost connections, gives every outcome once.

``python -m predictors.text_evaluator.client FILE.jsonl``, or in a program::

    for row in evaluate(texts, "http://localhost:8080", token=token): ...
    async for row in evaluate_async(texts, ...): ...
"""

from predictors.text_evaluator.client.following import (
    PATIENCE,
    EvaluationFailed,
    Row,
    evaluate,
    evaluate_async,
)

__all__ = ["PATIENCE", "EvaluationFailed", "Row", "evaluate", "evaluate_async"]

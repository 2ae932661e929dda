"""The published checkpoint's label space and ``config.json``, field by field.

Written down here on its own, and not taken from the serving code: the writer and the reader of the format
then check each other.
"""

from __future__ import annotations

from typing import Any

HEADS: tuple[str, ...] = (
    "task_type",
    "creativity_scope",
    "reasoning",
    "contextual_knowledge",
    "number_of_few_shots",
    "domain_knowledge",
    "no_label_reason",
    "constraint_ct",
)
"""Head ``i`` is saved as ``head_i.fc.*``; this order is part of the format."""

TARGET_SIZES: dict[str, int] = {
    "task_type": 12,
    "creativity_scope": 3,
    "reasoning": 2,
    "contextual_knowledge": 2,
    "number_of_few_shots": 6,
    "domain_knowledge": 4,
    "no_label_reason": 1,
    "constraint_ct": 2,
}

TASK_TYPES: tuple[str, ...] = (
    "Brainstorming",
    "Chatbot",
    "Classification",
    "Closed QA",
    "Code Generation",
    "Extraction",
    "Open QA",
    "Other",
    "Rewrite",
    "Summarization",
    "Text Generation",
    "Unknown",
)
CREATIVITY = {"High": 0, "Low": 1, "No": 2}
DOMAIN = {"High": 0, "Low": 1, "Medium": 2, "No": 3}
CONSTRAINED, UNCONSTRAINED = 0, 1


def config_json() -> dict[str, Any]:
    """The whole of ``config.json``.

    The published file says nothing about the backbone but its name, so a loader must read the sizes off the
    weights; that is why this one keeps the name of the family whose settings it shares.
    """
    yes_no = {"No": 0, "Yes": 1, "Unknown": -1}
    return {
        "base_model": "microsoft/DeBERTa-v3-base",
        "config_path": None,
        "constraint_ct_map": {"1.0": 0, "Unknown": 1},
        "contextual_knowledge_map": dict(yes_no),
        "creativity_score_map": dict(CREATIVITY),
        "divisor_map": {
            "constraint_ct": 1,
            "contextual_knowledge": 1,
            "creativity_scope": 2,
            "domain_knowledge": 3,
            "no_label_reason": 1,
            "number_of_few_shots": 1,
            "reasoning": 1,
        },
        "domain_knowledge_map": dict(DOMAIN),
        "drop_out": False,
        "fc_dropout": 0.2,
        "model_output_type": {
            "constraint_ct": "numeric",
            "contextual_knowledge": "numeric",
            "creativity_scope": "numeric",
            "domain_knowledge": "numeric",
            "no_label_reason": "numeric",
            "number_of_few_shots": "numeric",
            "prompt_complexity_score": "numeric",
            "reasoning": "numeric",
            "task_type_1": "string",
            "task_type_2": "string",
            "task_type_prob": "numeric",
        },
        "no_label_reason_map": {"Unknown": 0},
        "number_of_few_shots_map": {f"{count}.0": count for count in range(6)},
        "pretrained": True,
        "reasoning_map": dict(yes_no),
        "target_sizes": dict(TARGET_SIZES),
        "targets": [
            "task_type_1",
            "task_type_2",
            "task_type_prob",
            "creativity_scope",
            "reasoning",
            "contextual_knowledge",
            "number_of_few_shots",
            "domain_knowledge",
            "no_label_reason",
            "constraint_ct",
            "prompt_complexity_score",
        ],
        "task_type_map": {str(index): name for index, name in enumerate(TASK_TYPES)},
        "weights_map": {
            "constraint_ct": [1, 0],
            "contextual_knowledge": [0, 1],
            "creativity_scope": [2, 1, 0],
            "domain_knowledge": [3, 1, 2, 0],
            "no_label_reason": [0],
            "number_of_few_shots": [0, 1, 2, 3, 4, 5],
            "reasoning": [0, 1],
        },
    }

"""From recipe to a checkpoint folder as Hugging Face has it: config, safetensors, tokenizer."""

from __future__ import annotations

import dataclasses
import json
import platform
import time
from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer
from transformers import Gemma2ForCausalLM

from predictors.runtime.progress import Report
from predictors.text_evaluator import prompt
from predictors.text_evaluator.demo import FORMAT_VERSION, templates
from predictors.text_evaluator.demo.data import CURSOS, Example, examples, held_out
from predictors.text_evaluator.demo.tokenizer import train as train_tokenizer
from predictors.text_evaluator.demo.train import BOS, END, EOS, QUICK, Recipe, train

TOKENIZER_CONFIG = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "bos_token": "<bos>",
    "eos_token": "<eos>",
    "pad_token": "<pad>",
    "unk_token": "<unk>",
    "add_bos_token": True,
    "clean_up_tokenization_spaces": False,
    "model_max_length": 8192,
}


def build(folder: Path, report: Report, *, quick: bool) -> str:
    """Writes all files below ``folder``; returns the evaluation as text."""
    recipe = QUICK if quick else Recipe()
    begun = time.monotonic()
    report("making a tokenizer", 0, 1)
    tokenizer = train_tokenizer(_texts(recipe), recipe.vocabulary)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(TOKENIZER_CONFIG, indent=2) + "\n")
    model = train(tokenizer, recipe, report)
    model.generation_config.eos_token_id = [EOS, tokenizer.token_to_id(END)]
    model.save_pretrained(folder)
    report("marking texts never trained on", 0, 1)
    metrics = evaluate(
        model, tokenizer, held_out(20 if quick else 200, 0, examples(recipe.examples, recipe.seed))
    )
    record = {
        "format_version": FORMAT_VERSION,
        "heldout": "texts of which none was trained on",
        "recipe": dataclasses.asdict(recipe),
        "metrics": metrics,
        "seconds": round(time.monotonic() - begun, 1),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
    }
    (folder / "eval.json").write_text(json.dumps(record, indent=2) + "\n")
    lines = [f"{name:<24} {value:.3f}" for name, value in metrics.items()]
    return "\n".join([*lines, f"{record['seconds']} s"])


def _texts(recipe: Recipe) -> list[str]:
    made = examples(500, recipe.seed)
    asked = [str(prompt.build(one.curso, one.consigna, one.respuesta)) for one in made]
    written = [templates.answer(nota, curso) for nota in range(len(templates.FEEDBACK)) for curso in CURSOS]
    return asked + 5 * written


@torch.inference_mode()
def evaluate(model: Gemma2ForCausalLM, tokenizer: Tokenizer, made: list[Example]) -> dict[str, float]:
    """The mark's mean distance, the share of exact ones, the share of feedbacks that are a template."""
    digits = [tokenizer.token_to_id(str(nota)) for nota in range(len(templates.FEEDBACK))]
    begin = tokenizer.encode('{"nota": ', add_special_tokens=False).ids
    distances, whole = [], 0
    for one in made:
        asked = str(prompt.build(one.curso, one.consigna, one.respuesta))
        read = [BOS, *tokenizer.encode(asked, add_special_tokens=False).ids, *begin]
        logits = model(input_ids=torch.tensor([read])).logits[0, -1]
        distances.append(abs(int(logits[digits].argmax()) - one.nota))
    fully = made[:: max(1, len(made) // 20)]
    for one in fully:
        asked = str(prompt.build(one.curso, one.consigna, one.respuesta))
        read = [BOS, *tokenizer.encode(asked, add_special_tokens=False).ids]
        ids = model.generate(torch.tensor([read]), max_new_tokens=80, do_sample=False)  # type: ignore[misc]
        said = tokenizer.decode(ids[0, len(read) :].tolist())
        whole += said in {templates.answer(nota, one.curso) for nota in range(len(templates.FEEDBACK))}
    return {
        "mark_mean_absolute_error": sum(distances) / len(distances),
        "mark_exact": sum(distance == 0 for distance in distances) / len(distances),
        "feedback_is_a_template": whole / len(fully),
    }

"""A causal language model in Hugging Face's format, from the version folder: config, weights, tokenizer.

The batch is generated together: padded on the left, masked, each row with its own length, sampling and end.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from predictors.gpt4_nano.backends.rows import Audience, Cancelled, Completion, InvalidRow, Outcome, Row


class CausalLM:
    remote = False

    def __init__(self, folder: Path, threads: int = 1) -> None:
        torch.set_num_threads(threads)
        self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, padding_side="left")
        self._model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True).eval()
        if self._tokenizer.pad_token_id is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token
        self._context = int(getattr(self._model.config, "max_position_embeddings", 1 << 30))
        ends = self._model.generation_config.eos_token_id
        found = ends if isinstance(ends, list) else [ends, self._tokenizer.eos_token_id]
        self._ends = {end for end in found if end is not None}
        self._name = _name(folder)

    def generate(self, rows: Sequence[Row], audience: Audience) -> Sequence[Outcome]:
        outcomes: list[Outcome | None] = [None] * len(rows)
        sequences: list[_Sequence] = []
        for index, row in enumerate(rows):
            ids = self._tokenizer(row.prompt)["input_ids"]
            if len(ids) + row.max_tokens > self._context:
                outcomes[index] = InvalidRow(
                    "prompt", f"must leave room: {len(ids)} and max_tokens exceed the context {self._context}"
                )
            else:
                sequences.append(_Sequence(index, row, ids))
        if sequences:
            with torch.inference_mode():
                self._decode(sequences, audience, outcomes)
        return [outcome for outcome in outcomes if outcome is not None]

    def close(self) -> None:
        """The process ends with it."""

    def _decode(self, sequences: list[_Sequence], audience: Audience, outcomes: list[Outcome | None]) -> None:
        longest = max(len(one.prompt) for one in sequences)
        pad = self._tokenizer.pad_token_id
        ids = torch.tensor([[pad] * (longest - len(one.prompt)) + one.prompt for one in sequences])
        mask = torch.tensor([[0] * (longest - len(one.prompt)) + [1] * len(one.prompt) for one in sequences])
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        past = None
        while True:
            answer = self._model(
                input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=past
            )
            past = answer.past_key_values
            logits = answer.logits[:, -1].float()
            chosen = [pad if one.ended else one.choose(logits[at]) for at, one in enumerate(sequences)]
            for one, token in zip(sequences, chosen, strict=True):
                if not one.ended:
                    self._advance(one, token, audience)
                    if one.ended:
                        outcomes[one.index] = self._outcome(one)
            if all(one.ended for one in sequences):
                return
            ids = torch.tensor(chosen)[:, None]
            mask = torch.cat([mask, torch.ones(len(sequences), 1, dtype=mask.dtype)], dim=1)
            positions = positions[:, -1:] + 1

    def _advance(self, one: _Sequence, token: int, audience: Audience) -> None:
        if audience.gone(one.index):
            one.reason = "cancelled"
            return
        if token in self._ends:
            one.reason = "stop"
        else:
            one.tokens.append(token)
        text = self._tokenizer.decode(one.tokens, skip_special_tokens=True)
        cuts = [at for stop in one.row.stop if (at := text.find(stop)) >= 0]
        if cuts:
            text, one.reason = text[: min(cuts)], "stop"
        elif not one.reason and len(one.tokens) >= one.row.max_tokens:
            one.reason = "length"
        one.text = text
        # What may yet become a stop string, or half a character, is not told before it is decided.
        held = 0 if one.reason else max((len(stop) - 1 for stop in one.row.stop), default=0)
        ready = text[: len(text) - held] if held else text
        if not one.reason and ready.endswith("�"):
            return
        if len(ready) > one.told:
            audience.piece(one.index, ready[one.told :])
            one.told = len(ready)

    def _outcome(self, one: _Sequence) -> Outcome:
        if one.reason == "cancelled":
            return Cancelled()
        return Completion(one.text, len(one.tokens), len(one.prompt), one.reason, self._name)


def _name(folder: Path) -> str:
    """What the checkpoint calls itself, else its architecture. The folder's own name is only a version."""
    config = json.loads((folder / "config.json").read_text())
    architecture, *_ = config.get("architectures") or ["causal language model"]
    return Path(config.get("_name_or_path") or architecture).name


class _Sequence:
    def __init__(self, index: int, row: Row, prompt: list[int]) -> None:
        self.index, self.row, self.prompt = index, row, prompt
        self.tokens: list[int] = []
        self.text, self.told, self.reason = "", 0, ""
        self._random = torch.Generator()
        if row.seed is None:
            self._random.seed()
        else:
            self._random.manual_seed(row.seed)

    @property
    def ended(self) -> bool:
        return bool(self.reason)

    def choose(self, logits: torch.Tensor) -> int:
        """The next token; with temperature 0 the likeliest."""
        if self.row.temperature == 0:
            return int(logits.argmax())
        probabilities = torch.softmax(logits / self.row.temperature, dim=-1)
        if self.row.top_p < 1:
            ordered, order = probabilities.sort(descending=True)
            # As few as reach top_p together; the one that reaches it is in.
            ordered[ordered.cumsum(-1) - ordered >= self.row.top_p] = 0
            probabilities = torch.zeros_like(probabilities).scatter(0, order, ordered)
        return int(torch.multinomial(probabilities, 1, generator=self._random))

"""vLLM with one place, twenty patient texts in its queue and then one that is not: who is through when.

Runs in text_evaluator's own environment; the last line it writes is the names in the order of their ends.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from predictors.text_evaluator.demo.data import examples
from predictors.text_evaluator.engine.vllm import VllmEngine
from predictors.text_evaluator.evaluation import Item
from predictors.text_evaluator.reading import Reader, Refusal
from predictors.text_evaluator.settings import TextEvaluatorSettings

PATIENT = 20


async def order(checkpoint: Path) -> list[str]:
    values = {"model_dir": checkpoint, "device": "cpu", "dtype": "float32", "max_num_seqs": 1}
    settings = TextEvaluatorSettings.model_validate(values)
    engine = VllmEngine(settings)
    await asyncio.to_thread(engine.load, lambda _: None)
    (one,) = examples(1, 1)
    fields = {"curso": one.curso, "consigna": one.consigna, "respuesta": one.respuesta}
    work = Reader(checkpoint, 800, "refuse").read(Item(id_alumno="", **fields))
    assert not isinstance(work, Refusal)
    ends: list[str] = []

    async def mark(name: str, *, patient: bool) -> None:
        await engine.mark(work, greedy=True, patient=patient)
        ends.append(name)

    try:
        await asyncio.gather(
            *(mark(f"patient {number}", patient=True) for number in range(PATIENT)),
            mark("at once", patient=False),
        )
    finally:
        engine.close()
    return ends


if __name__ == "__main__":
    found = asyncio.run(order(Path(sys.argv[1])))
    sys.stdout.write(f"\n{json.dumps(found)}\n")

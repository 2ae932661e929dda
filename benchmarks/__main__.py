"""``python -m benchmarks [NAME ...]``: runs the benchmarks and writes benchmarks/results/<name>.md."""

from __future__ import annotations

import importlib
import sys

BENCHMARKS = (
    "runtime_overhead",
    "prompt_classifier_engine",
    "multitask_nlp_engine",
    "gpt2_engine",
    "http_latency",
    "open_loop",
    "gateway",
    "gpt4_nano",
    "text_evaluator_engine",
    "text_evaluator_sse",
    "text_evaluator_job",
)


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        print(f"There is no benchmark {unknown[0]}; there are {', '.join(BENCHMARKS)}.", file=sys.stderr)
        return 2
    for name in names or BENCHMARKS:
        print(f"== {name}", flush=True)
        importlib.import_module(f"benchmarks.{name}").main()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

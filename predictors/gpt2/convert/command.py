"""``python -m predictors.gpt2 convert CHECKPOINT OUT_DIR``: makes the artifact that is served."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from predictors.gpt2.shape import Encoding
from predictors.runtime.errors import LoadError

NOT_CONVERTED = 3


def main(arguments: Sequence[str]) -> int:
    """Exit codes: 0 converted, 2 wrong usage, 3 not a checkpoint or not writable, said in one sentence."""
    parser = argparse.ArgumentParser(prog="python -m predictors.gpt2 convert", description=__doc__)
    parser.add_argument("checkpoint", type=Path, help="a .pth, .bin or .safetensors file")
    parser.add_argument("out", type=Path, metavar="OUT_DIR", help="the artifact's folder, not there yet")
    parser.add_argument(
        "--tokenizer",
        type=Path,
        metavar="DIR",
        help="where GPT-2's vocabulary is (default: beside CHECKPOINT)",
    )
    parser.add_argument(
        "--encoding",
        choices=get_args(Encoding),
        default="gpt2",
        help="encoding to look for in tiktoken's cache (default: gpt2)",
    )
    parser.add_argument(
        "--trust-pickle",
        action="store_true",
        help="read a whole model object by running what the file says: if you trust it as a program",
    )
    options = parser.parse_args(arguments)
    try:
        from predictors.gpt2.convert.write import convert

        artifact = convert(
            options.checkpoint,
            options.out,
            tokenizer_folder=options.tokenizer,
            encoding=options.encoding,
            trust_pickle=options.trust_pickle,
        )
    except ModuleNotFoundError as error:
        sys.stderr.write(f"error: Reading this needs {error.name}: install requirements/gpt2-convert.txt.\n")
        return NOT_CONVERTED
    except LoadError as error:
        sys.stderr.write(f"error: {error}\n")
        return NOT_CONVERTED
    kind = "classifier" if artifact.shape.classifies else "language model"
    shape = artifact.shape
    size = f"{shape.layers} layers of {shape.hidden}, {artifact.size / 1e6:.1f} MB in 8 bits"
    sys.stdout.write(f"{kind}, {size}: {options.out}\n")
    return 0

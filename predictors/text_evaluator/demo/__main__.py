"""``python -m predictors.text_evaluator.demo OUT_DIR``: makes the demo model."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from predictors.runtime.folders import CannotWrite, check_target, only_writer
from predictors.runtime.progress import ProgressLine

NEEDED_BYTES = 20_000_000
"""About twice what the files take."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m predictors.text_evaluator.demo", description=__doc__)
    parser.add_argument(
        "out", type=Path, metavar="OUT_DIR", help="the checkpoint folder; an older one is replaced"
    )
    parser.add_argument(
        "--quick", action="store_true", help="a poor model in a few seconds, for tests of the files"
    )
    options = parser.parse_args(arguments)
    # A stop from outside unwinds like Ctrl-C, so that nothing half-written stays.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        make(options.out.resolve(), quick=options.quick)
    except CannotWrite as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\nstopped; nothing was left behind\n")
        return 130
    return 0


def make(folder: Path, *, quick: bool) -> None:
    progress = ProgressLine("text_evaluator demo")
    with only_writer(folder):
        check_target(folder, NEEDED_BYTES, "eval.json")
        partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.partial-", dir=folder.parent))
        try:
            partial.chmod(0o755)
            progress("loading torch (up to 20 s)", 0, 1)
            # OpenMP's threads spin for seconds at a barrier by default: a busy neighbour then slows torch
            # many times over. It is read when torch is loaded.
            os.environ.setdefault("GOMP_SPINCOUNT", "10000")
            from predictors.text_evaluator.demo.build import build

            summary = build(partial, progress, quick=quick)
            if folder.exists():
                folder.rename(partial.with_name(f"{partial.name}-old"))
            partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
            shutil.rmtree(partial.with_name(f"{partial.name}-old"), ignore_errors=True)
    progress.close()
    sys.stdout.write(f"{summary}\nwritten to {folder}\n")


if __name__ == "__main__":
    sys.exit(main())

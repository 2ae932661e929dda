"""``python -m predictors.multitask_nlp.demo OUT_DIR``: makes the demo checkpoint."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from predictors.multitask_nlp.artifact import MANIFEST
from predictors.runtime.folders import CannotWrite, check_target, only_writer, write_checkpoint
from predictors.runtime.progress import ProgressLine

NEEDED_BYTES = 60_000_000
"""About twice what the files take."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m predictors.multitask_nlp.demo", description=__doc__)
    parser.add_argument(
        "out", type=Path, metavar="OUT_DIR", help="the checkpoint's folder; an older one is replaced"
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
    progress = ProgressLine("multitask_nlp demo")
    with only_writer(folder):
        check_target(folder, NEEDED_BYTES, MANIFEST)
        progress("loading torch and transformers (up to 20 s)", 0, 1)
        from predictors.multitask_nlp.demo.build import build

        files, summary = build(progress, quick=quick)
        write_checkpoint(folder, files)
    progress.close()
    sys.stdout.write(f"{summary}\nwritten to {folder}\n")


if __name__ == "__main__":
    sys.exit(main())

"""The command ``python -m predictors.MODEL.demo OUT_DIR``, the same for every model."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from predictors.runtime.errors import LoadError
from predictors.runtime.folders import CannotWrite, check_target, only_writer, replacing
from predictors.runtime.progress import ProgressLine, Report


class Build(Protocol):
    def __call__(self, folder: Path, report: Report, *, quick: bool) -> str:
        """Writes all files below the empty ``folder``; returns what there is to say of them."""
        ...


@dataclass(frozen=True)
class Demo:
    """What a model's demo checkpoint is made by."""

    model: str
    build: Build
    needed: int
    """Bytes of disk: about twice what the files take."""
    mark: str = "config.json"
    """The file by which an older one is known, which may be replaced."""

    def run(self, arguments: Sequence[str] | None = None) -> int:
        """The command; returns its exit code."""
        parser = argparse.ArgumentParser(
            prog=f"python -m predictors.{self.model}.demo",
            description="Makes the demo model.",
        )
        parser.add_argument("out", type=Path, metavar="OUT_DIR", help="its folder; an older one is replaced")
        parser.add_argument(
            "--quick", action="store_true", help="a poor one in a few seconds, for tests of the files"
        )
        options = parser.parse_args(arguments)
        # A stop from outside unwinds like Ctrl-C, so that nothing half-written stays.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            summary = self.make(options.out.resolve(), quick=options.quick)
        except (CannotWrite, LoadError) as error:
            sys.stderr.write(f"error: {error}\n")
            return 1
        except KeyboardInterrupt:
            sys.stderr.write("\nstopped; nothing was left behind\n")
            return 130
        sys.stdout.write(f"{summary}\nwritten to {options.out.resolve()}\n")
        return 0

    def make(self, folder: Path, *, quick: bool) -> str:
        """Puts the checkpoint in the folder's place; returns its summary. Raises CannotWrite, LoadError."""
        progress = ProgressLine(f"{self.model} demo")
        with only_writer(folder):
            check_target(folder, self.needed, self.mark)
            with replacing(folder) as partial:
                summary = self.build(partial, progress, quick=quick)
        progress.close()
        return summary

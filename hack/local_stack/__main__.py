"""``make run`` and ``make run MODELS="a b"``."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path

from hack.local_stack.child import last_lines
from hack.local_stack.errors import StackError
from hack.local_stack.progress import Progress
from hack.local_stack.stack import Stack

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    parser = argparse.ArgumentParser(prog="make run", description="Run the predictors and the gateway here.")
    parser.add_argument("models", nargs="*", help="only these (default: all in gateway/local.yaml)")
    parser.add_argument("--root", type=Path, default=ROOT, help=argparse.SUPPRESS)  # the tests have their own
    arguments = parser.parse_args()
    stack = Stack(arguments.root.resolve(), os.environ, Progress())
    try:
        asyncio.run(stack.run(arguments.models))
    except StackError as error:
        print(f"make run: {error}", file=sys.stderr)
        if error.log is not None:
            print(f"\nThe last lines of {error.log}:", file=sys.stderr)
            for line in last_lines(error.log):
                print(f"  {line}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # before there was anything to stop
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Stands in for ``python -m hack.demo_models <model>``: finds, makes or fails to make a checkpoint."""

import signal
import sys
from pathlib import Path

if Path("demo-fails").exists():
    sys.exit("error: no space left on device")
if Path("demo-takes-long").exists():
    part = Path("checkpoint.part")
    part.touch()
    try:
        print("epoch 1 of 9", file=sys.stderr, flush=True)
        signal.pause()
    finally:
        part.unlink()
print("a word before it")
print(Path("demo") / sys.argv[1])

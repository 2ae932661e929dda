"""``python -m hack.kafka FOLDER PORT CONTROLLER_PORT``: becomes a broker that keeps its data in FOLDER."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from hack.kafka import Broker, KafkaMissing


def main(arguments: list[str]) -> int:
    folder, port, controller = arguments
    try:
        command = Broker(Path(folder).absolute(), int(port), int(controller)).command()
    except KafkaMissing as missing:
        print(f"kafka: {missing}", file=sys.stderr)
        return 1
    os.execv(command[0], list(command))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Stands in for ``python -m gateway serve|token``, with a child of its own as the real one has Envoy."""

import os
import signal
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import yaml


def trace(event: str) -> None:
    with Path("trace").open("a") as file:
        file.write(f"gateway {event}\n")


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Quiet."""


def end(*_: object) -> None:
    trace("ended")
    sys.exit(0)


if sys.argv[1] == "token":
    print("a word before it")
    print(f"token-for-{sys.argv[-1].replace(' ', '+')}")
    sys.exit(0)

trace(f"started {os.getpid()}")
if Path("gateway-refuses").exists():
    sys.exit("the config is not liked")
envoy = subprocess.Popen(["sleep", "600"])
trace(f"started {envoy.pid}")
signal.signal(signal.SIGTERM, end)
config = yaml.safe_load(Path(sys.argv[sys.argv.index("--config") + 1]).read_text())
HTTPServer(("127.0.0.1", config["listen"]["port"]), Handler).serve_forever()

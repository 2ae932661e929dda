"""Stands in for ``python -m predictors.<model>``: a few lines of HTTP and every way to fail."""

import json
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

MODEL = Path(__file__).parent.name
BEHAVIOUR = os.environ.get("QUINTET_BEHAVIOUR", "")


def trace(event: str) -> None:
    with Path("trace").open("a") as file:
        file.write(f"{MODEL} {event}\n")


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        ready = BEHAVIOUR != "loads for ever"
        body = json.dumps({"state": "ready" if ready else "loading", "stage": "reading weights"}).encode()
        self.send_response(200 if ready else 503)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Quiet."""


def end(*_: object) -> None:
    trace("ended")
    sys.exit(0)


trace(f"started {os.getpid()}")
Path(f"settings-{MODEL}").write_text(
    json.dumps({k: v for k, v in os.environ.items() if k.startswith("QUINTET")})
)
if BEHAVIOUR == "broken checkpoint":
    print("reading", file=sys.stderr)
    print(
        json.dumps({"level": "ERROR", "message": "The model was not loaded: config.json is missing."}),
        file=sys.stderr,
    )
    sys.exit(3)
signal.signal(signal.SIGTERM, signal.SIG_IGN if BEHAVIOUR == "deaf" else end)
HTTPServer(("127.0.0.1", int(os.environ["QUINTET_HTTP_PORT"])), Handler).serve_forever()

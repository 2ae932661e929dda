"""Logs as JSON, one object a line on stderr; every line of a request carries its id.

Never a prompt, a token or the text of an exception at INFO: what a fault was stands at ERROR, for operators.
"""

from __future__ import annotations

import logging
import sys
from contextvars import ContextVar
from datetime import UTC, datetime

import orjson

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
request_timings: ContextVar[dict[str, float]] = ContextVar("request_timings")
"""Seconds of the request at hand by stage: set by the transport, filled by the data plane, then logged."""


class JsonFormatter(logging.Formatter):
    """``logger.info("request", extra={"fields": {...}})`` becomes one flat JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if (current := request_id.get()) is not None:
            line["request_id"] = current
        line.update(getattr(record, "fields", {}))
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


def configure_logging(level: str) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.root.handlers = [handler]
    logging.root.setLevel(level)
    logging.captureWarnings(True)
    # The SDK and uvicorn log each call again, in their own shapes.
    for name in ("kserve", "kserve.trace", "uvicorn", "uvicorn.access", "uvicorn.error", "grpc"):
        logger = logging.getLogger(name)
        logger.handlers = []
        logger.propagate = True
        logger.setLevel(max(logging.WARNING, logging.getLevelName(level)))

"""Errors as they may be logged where texts are at hand."""

from __future__ import annotations

import logging
import traceback


def log_fault(logger: logging.Logger, message: str, error: Exception) -> None:
    """Its type and where it was, and not what it says: that may be a pupil's words."""
    where = "".join(traceback.format_tb(error.__traceback__))
    logger.error("%s\n%s%s", message, where, type(error).__name__)

"""Request ids: the caller's own where it is harmless in a log, else a new one."""

from __future__ import annotations

import itertools
import os
import re

# Unique by process and then by count: a random number for each request would cost ten times as much.
_PROCESS = os.urandom(12).hex()
_COUNT = itertools.count()

_HARMLESS = re.compile(r"[A-Za-z0-9._:-]{1,128}")


def accepted_id(given: str | bytes | None) -> str:
    if given is not None:
        value = given.decode("latin-1") if isinstance(given, bytes) else given
        if _HARMLESS.fullmatch(value):
            return value
    return f"{_PROCESS}{next(_COUNT):08x}"

"""Request ids: the caller's own where it is harmless in a log, else a new one."""

from __future__ import annotations

import os
import re

_HARMLESS = re.compile(r"[A-Za-z0-9._:-]{1,128}")


def accepted_id(given: str | bytes | None) -> str:
    if given is not None:
        value = given.decode("latin-1") if isinstance(given, bytes) else given
        if _HARMLESS.fullmatch(value):
            return value
    return os.urandom(16).hex()

"""What ends the local stack: one sentence, and the log it comes from where there is one."""

from __future__ import annotations

from pathlib import Path


class StackError(Exception):
    def __init__(self, sentence: str, *, log: Path | None = None) -> None:
        super().__init__(sentence)
        self.log = log

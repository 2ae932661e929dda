"""vLLM's processes end when ours does, however it does: one that is left holds the card's memory."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path


def descendants(pid: int) -> list[int]:
    found = []
    with contextlib.suppress(OSError):  # it has ended since
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):  # a thread of it has
                for child in (task / "children").read_text().split():
                    found += [int(child), *descendants(int(child))]
    return found


class Tether:
    """A shell that waits for the end of a pipe which only this process holds open, then kills ``pids``.

    The kernel's own signal at a parent's death comes at that of the thread that started the child, which here
    is the one that loads and then ends.
    """

    def __init__(self, pids: list[int]) -> None:
        command = ["/bin/sh", "-c", 'cat >/dev/null; kill -KILL "$@" 2>/dev/null', "sh", *map(str, pids)]
        self._shell = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)

    @classmethod
    def of_new_children(cls, before: list[int]) -> Tether:
        """For what this process has started, itself or by its children, since it had ``before``."""
        return cls([pid for pid in descendants(os.getpid()) if pid not in before])

    def cut(self) -> None:
        """They have ended, or are ended now."""
        assert self._shell.stdin is not None
        self._shell.stdin.close()
        self._shell.wait()

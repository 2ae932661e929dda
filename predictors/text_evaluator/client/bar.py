"""How far a job is, for who waits at a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn


class Bar:
    """Texts done, how many a second and the time left as the service tells them; or why it is waited for."""

    def __init__(self, total: int, console: Console | None = None) -> None:
        said = (TextColumn("{task.fields[rate]}"), TextColumn("{task.fields[left]}"))
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), *said)
        self._progress = Progress(*columns, console=console)
        self._task = self._progress.add_task("marking", total=total, rate="", left="")
        self._waits = False

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._progress.stop()

    def show(self, progress: Mapping[str, Any]) -> None:
        each, left = progress["avg_time_per_item"], progress["estimated_remaining_seconds"]
        self._waits = False
        self._progress.update(
            self._task,
            description="marking",
            completed=progress["completed"],
            rate=f"{1 / each:.1f}/s" if each else "",
            left=f"{_clock(left)} left",
        )

    def wait(self, reason: str, left: float) -> None:
        """``left``: seconds of patience."""
        if not self._waits:  # once each time, also where there is no terminal
            self._progress.console.print(f"{reason} Waiting for it, {_clock(left)} at most.", highlight=False)
        self._waits = True
        self._progress.update(self._task, description=f"waiting, {_clock(left)} more")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"

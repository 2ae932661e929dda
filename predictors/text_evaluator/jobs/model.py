"""What a job is: its states, its counts, and the events that tell its story."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, NamedTuple

from predictors.text_evaluator.evaluation import Evaluation, Outcome


class State(StrEnum):
    QUEUED = "queued"
    PROCESSING = "processing"
    COMPLETED = "completed"
    """Every text has its mark or its error, and at least one a mark."""
    FAILED = "failed"
    """Every text has its error."""
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    """Texts and results are gone, their time was up."""

    @property
    def ended(self) -> bool:
        return self not in (State.QUEUED, State.PROCESSING)


@dataclass(frozen=True, slots=True)
class Job:
    id: str
    owner: str
    """The caller whose job it is: issuer and subject of the token."""
    state: State
    total: int
    done: int
    """Texts that have their outcome, errors included."""
    failed: int
    created: float
    """Unix seconds, by the store's clock."""
    worked: float
    """Seconds somebody worked on it: the clock that its progress is told by. It stands while nobody does."""
    ended: float | None = None
    events: int = 0
    """How many its log has had; the id of the last."""


class NewJob(NamedTuple):
    id: str
    owner: str
    items: Sequence[Mapping[str, str]]
    """id_alumno, curso, consigna, respuesta of each, in order."""
    key: str | None = None
    """The caller's Idempotency-Key."""
    digest: str = ""
    """Of the items, to tell the same request from another one under that key."""


@dataclass(frozen=True, slots=True)
class Finished:
    """One text's end."""

    index: int
    id_alumno: str
    outcome: Outcome

    def as_row(self) -> dict[str, Any]:
        row: dict[str, Any] = {"index": self.index, "id_alumno": self.id_alumno}
        if isinstance(self.outcome, Evaluation):
            row |= {"state": "completed", "nota": self.outcome.nota, "feedback": self.outcome.feedback}
            return row | ({"truncated": True} if self.outcome.truncated else {})
        return row | {"state": "failed", "code": self.outcome.code, "error": self.outcome.message}


LAST = ("complete", "error")
"""Names of the events that end a job's log."""


class Event(NamedTuple):
    """One entry of a job's log; ids count from 1 without a gap."""

    id: int
    name: str
    data: Mapping[str, Any]


def batch_event(number: int, rows: Sequence[Mapping[str, Any]], job: Job) -> dict[str, Any]:
    """In the published shape, so that a client that reads no event names understands it.

    What has no mark stands in a list of its own: who reads ``nota`` of every result is never at a loss.
    """
    kept = ("index", "id_alumno", "nota", "feedback", "truncated")
    marks = [{k: row[k] for k in kept if k in row} for row in rows if row["state"] == "completed"]
    errors = [
        {k: row[k] for k in ("index", "id_alumno", "code", "error")}
        for row in rows
        if row["state"] == "failed"
    ]
    data = {"batch_number": number, "results": marks, "errors": errors, "progress": progress(job)}
    return {"event": "batch_complete", "data": data}


def progress(job: Job) -> dict[str, Any]:
    each = job.worked / job.done if job.done else 0.0
    return {
        "completed": job.done,
        "total": job.total,
        "percentage": round(100 * job.done / job.total, 1),
        "elapsed_seconds": round(job.worked, 3),
        "estimated_remaining_seconds": round(each * (job.total - job.done), 3),
        "avg_time_per_item": round(each, 3),
    }


def complete_event(job: Job) -> dict[str, Any]:
    data = {
        "total_processed": job.done,
        "total_failed": job.failed,
        "total_time_seconds": round(job.worked, 3),
        "status": job.state,
    }
    return {"event": "complete", "data": data}


def ended_event(job: Job) -> tuple[str, dict[str, Any]]:
    """Name and data of a job's last event."""
    if job.state is State.CANCELLED:
        return "error", {"error": "The job was cancelled.", "code": "cancelled", "details": []}
    return "complete", complete_event(job)


class Recorded(NamedTuple):
    """What recording some outcomes makes of a job."""

    job: Job
    rows: list[dict[str, Any]]
    events: list[Event]


def recorded(job: Job, finished: Sequence[Finished], worked: float, now: float) -> Recorded:
    """``finished``: outcomes of texts that had none."""
    rows = [one.as_row() for one in finished]
    done = job.done + len(rows)
    failed = job.failed + sum(row["state"] == "failed" for row in rows)
    state, ended = State.PROCESSING, None
    if done == job.total:
        state, ended = State.FAILED if failed == done else State.COMPLETED, now
    job = replace(job, state=state, done=done, failed=failed, worked=job.worked + worked, ended=ended)
    told = []
    if rows:
        told.append(Event(job.events + 1, "batch_complete", batch_event(job.events + 1, rows, job)))
    if ended is not None:
        told.append(Event(job.events + len(told) + 1, *ended_event(job)))
    return Recorded(replace(job, events=job.events + len(told)), rows, told)


def unfinished(job: Job, waiting: Collection[int], known: Collection[int]) -> list[int]:
    """Indexes of a job's texts without an outcome: those ``waiting``, and those that a store has lost.

    ``known``: indexes of the outcomes that are there; these may have been lost as well, but are counted.
    """
    there = {*waiting, *known}
    lost = [index for index in range(job.total) if index not in there]
    return sorted([*waiting, *lost][: job.total - job.done])

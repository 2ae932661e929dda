"""The routes of the original service, and what a job needs besides."""

import re
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Response
from pydantic import BaseModel, ConfigDict, Field, create_model

from predictors.runtime.dataplane import DataPlane
from predictors.runtime.errors import InvalidValue, NotFound
from predictors.runtime.tensors import detail
from predictors.runtime.transports.http import JSONResponse
from predictors.runtime.transports.sse import EventStream
from predictors.text_evaluator.evaluation import Item, Outcome
from predictors.text_evaluator.figures import Figures
from predictors.text_evaluator.jobs.model import Job, State, progress
from predictors.text_evaluator.jobs.service import Jobs
from predictors.text_evaluator.settings import TextEvaluatorSettings

_ID = re.compile(r"[0-9a-f-]{36}")


class Accepted(BaseModel):
    job_id: str
    total_items: int
    estimated_time_seconds: int
    status: State
    stream_url: str


class Progress(BaseModel):
    completed: int
    total: int
    percentage: float
    elapsed_seconds: float
    estimated_remaining_seconds: float
    avg_time_per_item: float


class JobStatus(BaseModel):
    job_id: str
    status: State
    total_items: int
    failed_items: int
    progress: Progress
    created_at: float = Field(description="Unix seconds.")
    ended_at: float | None
    stream_url: str
    results_url: str


class JobList(BaseModel):
    jobs: list[JobStatus]


class OwnedJobStatus(JobStatus):
    owner: str = Field(description="Issuer and subject of the caller's token; empty without a gateway.")


class OwnedJobList(BaseModel):
    jobs: list[OwnedJobStatus]


class ResultRow(BaseModel):
    index: int = Field(description="Place of the text in the request, from 0.")
    id_alumno: str
    state: str = Field(description="completed or failed")
    nota: int | None = None
    feedback: str | None = None
    truncated: bool | None = None
    code: str | None = None
    error: str | None = None


class Results(BaseModel):
    job_id: str
    status: State
    results: list[ResultRow] = Field(description="In the order in which they were finished.")
    next: int = Field(description="`after` of the next page, or of a later look for more.")
    more: bool = Field(description="Whether there is more now.")


Owner = Annotated[str, Header(alias="x-quintet-subject", include_in_schema=False)]
Issuer = Annotated[str, Header(alias="x-quintet-issuer", include_in_schema=False)]

_STREAMED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "`progress`, `batch_complete`, then `complete` or `error`; Last-Event-ID resumes.",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}


def router(
    dataplane: DataPlane[Item, Outcome], jobs: Jobs, settings: TextEvaluatorSettings, figures: Figures
) -> APIRouter:
    routes = APIRouter(default_response_class=JSONResponse, tags=["text_evaluator"])
    texts = Annotated[list[Item], Field(min_length=1, max_length=settings.max_job_items)]
    request_class: Any = create_model(
        "EvaluateRequest", __config__=ConfigDict(extra="ignore"), items=(texts, ...)
    )

    async def find(job_id: str, owner: str | None) -> Job:
        dataplane.check_accepting()
        if not _ID.fullmatch(job_id):
            raise NotFound("There is no such job.")
        return await jobs.find(job_id, owner)

    @routes.post("/evaluate", status_code=202, response_model=Accepted)
    async def evaluate(
        request: request_class,  # type: ignore[valid-type]
        subject: Owner = "",
        issuer: Issuer = "",
        idempotency_key: Annotated[str | None, Header(min_length=1, max_length=200)] = None,
    ) -> JSONResponse:
        """Takes texts to be marked; the answer comes at once, the marks as they are made."""
        dataplane.check_accepting()
        items = [item.model_dump() for item in request.items]  # type: ignore[attr-defined]
        estimate = jobs.estimate(len(items))
        job, is_new = await jobs.post(_owner(subject, issuer), items, idempotency_key)
        if not is_new:
            estimate = 0 if job.state.ended else jobs.estimate(job.total - job.done)
        accepted = {
            "job_id": job.id,
            "total_items": job.total,
            "estimated_time_seconds": estimate,
            "status": job.state,
            "stream_url": f"/stream/{job.id}",
        }
        return JSONResponse(accepted, status_code=202, headers={"location": f"/jobs/{job.id}"})

    @routes.get("/stream/{job_id}", responses=_STREAMED)
    async def stream(
        job_id: str,
        subject: Owner = "",
        issuer: Issuer = "",
        last_event_id: Annotated[str, Header()] = "0",
    ) -> Response:
        """A job's events from its beginning, or behind Last-Event-ID, up to its end."""
        job = await find(job_id, _owner(subject, issuer))
        plain = last_event_id.isascii() and last_event_id.isdigit() and len(last_event_id) <= 9
        if not plain:
            message = "must be the id of an event"
            raise InvalidValue(f"Last-Event-ID {message}.", details=[detail("Last-Event-ID", message)])
        if after := int(last_event_id):
            figures.resumes.inc()
        return EventStream(jobs.follow(job, after))

    @routes.get("/jobs", response_model=JobList)
    async def list_jobs(
        limit: Annotated[int, Query(ge=1, le=100)] = 20, subject: Owner = "", issuer: Issuer = ""
    ) -> JSONResponse:
        """The caller's own jobs, newest first."""
        dataplane.check_accepting()
        found = await jobs.store.of(_owner(subject, issuer), limit)
        return JSONResponse({"jobs": [_status(job) for job in found]})

    # The gateway asks for the scope jobs:admin here; it hands none on, so a path says what they say.
    @routes.get("/admin/jobs", response_model=OwnedJobList)
    async def list_all(limit: Annotated[int, Query(ge=1, le=100)] = 20) -> JSONResponse:
        """For operators: the jobs of all callers, newest first, and nothing of their texts."""
        dataplane.check_accepting()
        found = await jobs.store.of(None, limit)
        return JSONResponse({"jobs": [_owned(job) for job in found]})

    @routes.get("/admin/jobs/{job_id}", response_model=OwnedJobStatus)
    async def status_of_any(job_id: str) -> JSONResponse:
        return JSONResponse(_owned(await find(job_id, None)))

    @routes.get("/jobs/{job_id}", response_model=JobStatus)
    async def status(job_id: str, subject: Owner = "", issuer: Issuer = "") -> JSONResponse:
        return JSONResponse(_status(await find(job_id, _owner(subject, issuer))))

    @routes.get("/jobs/{job_id}/results", response_model=Results, response_model_exclude_none=True)
    async def results(
        job_id: str,
        after: Annotated[int, Query(ge=0, le=10**9)] = 0,
        limit: Annotated[int, Query(ge=1, le=2000)] = 500,
        subject: Owner = "",
        issuer: Issuer = "",
    ) -> JSONResponse:
        """Outcomes so far, behind the `after`-th that was finished."""
        job = await find(job_id, _owner(subject, issuer))
        rows = await jobs.results(job, after, limit)
        following = after + len(rows)
        more = following < job.done
        body = {"job_id": job.id, "status": job.state, "results": rows, "next": following, "more": more}
        return JSONResponse(body)

    @routes.delete("/jobs/{job_id}", response_model=JobStatus)
    async def delete(job_id: str, subject: Owner = "", issuer: Issuer = "") -> JSONResponse:
        """Cancels a job that is not at its end; forgets texts, marks and feedback of any."""
        job = await find(job_id, _owner(subject, issuer))
        return JSONResponse(_status(await jobs.store.remove(job.id) or job))

    return routes


def _owned(job: Job) -> dict[str, Any]:
    return {**_status(job), "owner": job.owner}


def _owner(subject: str, issuer: str) -> str:
    """A subject is one person to its issuer alone. Without a gateway in front, all callers are one."""
    return f"{issuer} {subject}" if subject else ""


def _status(job: Job) -> dict[str, Any]:
    return {
        "job_id": job.id,
        "status": job.state,
        "total_items": job.total,
        "failed_items": job.failed,
        "progress": progress(job),
        "created_at": round(job.created, 3),
        "ended_at": None if job.ended is None else round(job.ended, 3),
        "stream_url": f"/stream/{job.id}",
        "results_url": f"/jobs/{job.id}/results",
    }

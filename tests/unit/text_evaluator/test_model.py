"""What a job says of itself, in figures: by its own clock, the seconds somebody worked on it."""

from __future__ import annotations

from predictors.text_evaluator.evaluation import LENGTH, Evaluation, ItemError
from predictors.text_evaluator.jobs.model import Finished, Job, State, complete_event, progress, recorded

JOB = Job("j", "ada", State.QUEUED, total=4, done=0, failed=0, created=100.0, worked=0.0)
MARK, CUT = Evaluation(3, "Bé."), ItemError("length", LENGTH)


def finished(index: int, outcome: Evaluation | ItemError = MARK) -> Finished:
    return Finished(index, f"A{index}", outcome)


def test_nothing_is_estimated_before_the_first_outcome() -> None:
    assert progress(JOB) == {
        "completed": 0,
        "total": 4,
        "percentage": 0.0,
        "elapsed_seconds": 0.0,
        "estimated_remaining_seconds": 0.0,
        "avg_time_per_item": 0.0,
    }


def test_progress_goes_by_the_seconds_worked_and_by_no_wall_clock() -> None:
    first = recorded(JOB, [finished(0)], worked=1.5, now=1_000_000.0)
    assert progress(first.job) == {
        "completed": 1,
        "total": 4,
        "percentage": 25.0,
        "elapsed_seconds": 1.5,
        "estimated_remaining_seconds": 4.5,
        "avg_time_per_item": 1.5,
    }
    # Another worker, an hour later by the wall, after two seconds of work.
    second = recorded(first.job, [finished(2), finished(1, CUT)], worked=2.0, now=1_003_600.0)
    assert progress(second.job) == {
        "completed": 3,
        "total": 4,
        "percentage": 75.0,
        "elapsed_seconds": 3.5,
        "estimated_remaining_seconds": 1.167,
        "avg_time_per_item": 1.167,
    }
    (told,) = second.events
    assert (told.id, told.name) == (2, "batch_complete")
    assert told.data["data"]["progress"] == progress(second.job)


def test_the_end_tells_the_sums() -> None:
    done = recorded(JOB, [finished(0), finished(1), finished(2, CUT)], worked=2.0, now=200.0)
    last = recorded(done.job, [finished(3)], worked=0.25, now=201.0)
    assert (last.job.state, last.job.ended) == (State.COMPLETED, 201.0)
    assert [event.name for event in last.events] == ["batch_complete", "complete"]
    assert complete_event(last.job)["data"] == {
        "total_processed": 4,
        "total_failed": 1,
        "total_time_seconds": 2.25,
        "status": "completed",
    }
    assert last.events[-1].data == complete_event(last.job)


def test_a_job_without_a_single_mark_has_failed() -> None:
    end = recorded(JOB, [finished(index, CUT) for index in range(4)], worked=1.0, now=1.0)
    assert end.job.state is State.FAILED
    assert end.events[-1].data["data"]["total_failed"] == 4

"""Our histograms say what prometheus_client's would."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client import Histogram as Reference

from predictors.runtime.histograms import Histogram

BOUNDS = (0.0, 0.001, 0.5, 1.0, 2.5)


@given(st.lists(st.one_of(st.sampled_from(BOUNDS), st.floats(-1, 10))))
def test_the_exposition_is_that_of_the_reference(values: list[float]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    histogram = Histogram("seconds", "Some time.", BOUNDS, ours)
    reference = Reference("seconds", "Some time.", buckets=BOUNDS, registry=theirs)
    for value in values:
        histogram.observe(value)
        reference.observe(value)
    expected = [line for line in generate_latest(theirs).decode().splitlines() if "_created" not in line]
    assert generate_latest(ours).decode().splitlines() == expected

"""One line and one count a request, whatever its transport."""

from __future__ import annotations

import asyncio
import json
import logging
from datetime import datetime, timedelta
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from predictors.runtime.metrics import Metrics
from predictors.runtime.records import Records

REQUEST: dict[str, Any] = {
    "route": "/v2/models/{model}/infer",
    "transport": "rest",
    "method": "POST",
    "code": 200,
    "seconds": 0.0123456789,
    "timings": {"queue_seconds": 0.0001},
    "request_bytes": 77,
    "response_bytes": 128,
}


def changed(**fields: Any) -> dict[str, Any]:
    return {**REQUEST, **fields}


@pytest.fixture(autouse=True)
def _at_info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "quintet.request")


async def test_the_requests_of_a_turn_are_written_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    records = Records(Metrics(CollectorRegistry()))
    records.add("one", **REQUEST)
    records.add("two", **changed(code=404))
    assert capsys.readouterr().err == ""
    await asyncio.sleep(0)
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(line["request_id"], line["code"]) for line in lines] == [("one", 200), ("two", 404)]
    assert lines[0]["seconds"] == 0.012345
    assert lines[0]["queue_seconds"] == 0.0001
    when = datetime.fromisoformat(lines[0]["time"])
    assert abs(datetime.now(when.tzinfo) - when) < timedelta(seconds=5)


async def test_nothing_is_written_above_info(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.WARNING, "quintet.request")
    Records(Metrics(CollectorRegistry())).add("one", **REQUEST)
    await asyncio.sleep(0)
    assert capsys.readouterr().err == ""


async def test_a_method_of_the_clients_invention_is_other() -> None:
    registry = CollectorRegistry()
    records = Records(Metrics(registry))
    records.add("one", **changed(method="BREW"))
    records.add("two", **changed(method="BREW-TOO"))
    labels = {"endpoint": REQUEST["route"], "method": "other", "status": "200"}
    assert registry.get_sample_value("api_requests_total", labels) == 2


async def test_codes_add_up_over_methods_and_stay_apart_by_transport() -> None:
    registry = CollectorRegistry()
    records = Records(Metrics(registry))
    records.add("one", **REQUEST)
    records.add("two", **changed(method="GET"))
    records.add("three", **changed(transport="grpc", code="OK", method="RPC"))

    def count(transport: str, code: str) -> float | None:
        labels = {"route": REQUEST["route"], "transport": transport, "code": code}
        return registry.get_sample_value("quintet_requests_total", labels)

    assert (count("rest", "200"), count("grpc", "OK"), count("rest", "500")) == (2, 1, None)
    latency = registry.get_sample_value("api_request_latency_seconds_count", {"endpoint": REQUEST["route"]})
    assert latency == 3

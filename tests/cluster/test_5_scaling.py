"""The autoscaler takes a model from one replica to two under load, and back when it is over."""

from __future__ import annotations

import time

import pytest

from hack.cluster.kube import until
from tests.cluster.conftest import MODELS, Release, examples, figure
from tests.cluster.traffic import Traffic

pytestmark = pytest.mark.timeout(1800)


@pytest.mark.skipif("gpt2" not in MODELS, reason="gpt2 is not served in this run")
def test_load_brings_a_second_replica_of_gpt2_and_its_end_takes_it_away(release: Release) -> None:
    def replicas(state: str) -> int:
        return release.get("deployment", "gpt2-predictor")["status"].get(state, 0)

    def asks_for(count: int) -> bool:
        return release.get("hpa", "gpt2")["status"].get("desiredReplicas") == count

    path, token = examples("gpt2")["v1"]["path"], release.token()
    release.upgrade("--set", "models.gpt2.autoscaling.scaleDownSeconds=120")
    until(lambda: replicas("replicas") == 1 and asks_for(1), 600, "one replica at rest")
    long = [{"prompt": f"The king of {n}", "max_new_tokens": 64, "temperature": 1} for n in range(8)]
    busy = {"instances": long}
    begin = time.monotonic()
    with Traffic(release.address, path, busy, token, 4.0) as load:
        until(lambda: asks_for(2), 300, "the autoscaler wants a second replica")
        wanted = time.monotonic() - begin
        until(lambda: replicas("readyReplicas") >= 2, 300, "a second replica")
        ready = time.monotonic() - begin
    figure("gpt2 under load: 2 replicas wanted, ready", f"{wanted:.0f}, {ready:.0f} s")
    small = {"instances": [{"prompt": "The king", "max_new_tokens": 1}]}
    begin = time.monotonic()
    with Traffic(release.address, path, small, token, 0.5) as calm:
        until(lambda: asks_for(1), 600, "the autoscaler wants one replica")
        wanted = time.monotonic() - begin
        until(lambda: replicas("replicas") == 1 and len(release.get(*PODS)["items"]) == 1, 300, "one replica")
    figure("gpt2 at rest: 1 replica wanted, with a window of 120 s", f"{wanted:.0f} s")
    figure("gpt2 from 1 to 2 and back: failed", f"{load.report.share}, {calm.report.share}")
    assert load.report.failed == calm.report.failed == 0, (load.report.counts, calm.report.counts)


PODS = ("pods", "-l", "app.kubernetes.io/component=gpt2")

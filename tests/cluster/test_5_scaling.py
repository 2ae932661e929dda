"""The autoscaler takes a model from one replica to two under load."""

from __future__ import annotations

import time

import pytest

from hack.cluster.kube import until
from tests.cluster.conftest import MODELS, Release, examples
from tests.cluster.traffic import Traffic

pytestmark = pytest.mark.timeout(1200)


@pytest.mark.skipif("gpt2" not in MODELS, reason="gpt2 is not served in this run")
def test_load_brings_a_second_replica_of_gpt2(release: Release) -> None:
    def ready() -> int:
        return release.get("deployment", "gpt2-predictor")["status"].get("readyReplicas", 0)

    body = {"instances": [{"prompt": "The king", "max_new_tokens": 60}]}
    begin = time.monotonic()
    with Traffic(release.address, examples("gpt2")["v1"]["path"], body, release.token(), 6.0):
        until(lambda: ready() >= 2, 300, "a second replica")
    print(f"gpt2: a second replica was ready {time.monotonic() - begin:.0f} s after the load began")

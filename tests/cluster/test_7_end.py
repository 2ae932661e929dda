"""The end: nothing of ours stays, and what is the user's does."""

from __future__ import annotations

import time

import pytest

from hack.cluster.__main__ import down
from hack.cluster.kube import Kube, until
from hack.cluster.leftovers import leftovers
from tests.cluster.conftest import KEEP, Release, figure

pytestmark = pytest.mark.timeout(600)


def test_uninstall_leaves_nothing_of_ours(release: Release) -> None:
    release.helm("uninstall", release.name, "--wait")
    kinds = "inferenceservices,deployments,services,configmaps,serviceaccounts,hpa,pdb,networkpolicies,pods"

    def left() -> list[str]:
        found = release.get(kinds, "-l", "app.kubernetes.io/instance=quintet")["items"]
        return [f"{item['kind']}/{item['metadata']['name']}" for item in found]

    until(lambda: not left(), 180, f"nothing is left: {left()}")
    assert release.get("secret", "quintet-jwt"), "the secret is the user's, not ours"


@pytest.mark.skipif(KEEP, reason="the cluster is to stay")
def test_the_end_of_the_cluster_leaves_nothing_on_the_machine(bare: Kube) -> None:
    begin = time.monotonic()
    assert down() == 0
    figure("make cluster-down", f"{time.monotonic() - begin:.0f} s")
    assert leftovers() == []

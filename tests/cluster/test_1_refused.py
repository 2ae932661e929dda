"""What cannot work is refused before anything is installed, with a sentence that helps."""

from __future__ import annotations

import secrets

import pytest

from hack.cluster.kube import Kube, KubeFailed
from tests.cluster.conftest import Release, disabled
from tests.support.charts import CHART


def refused(release: Release, *flags: str) -> str:
    with pytest.raises(KubeFailed) as problem:
        release.helm("install", release.name, str(CHART), *disabled(), *flags)
    assert release.helm("list", "--short").strip() == "", "nothing is left of it"
    return str(problem.value)


@pytest.mark.timeout(2400)
def test_without_kserve_it_says_how_to_get_it(bare: Kube) -> None:
    if bare.answers("get", "crd", "inferenceservices.serving.kserve.io"):
        pytest.skip("this cluster has KServe already; make cluster-down for a new one")
    said = refused(Release(bare, "quintet", "default"))
    assert "this cluster has no KServe" in said
    assert "docs/how-to/kserve.md" in said


@pytest.mark.timeout(2400)
def test_a_missing_secret_is_named_with_the_command_that_makes_it(kube: Kube, namespace: str) -> None:
    said = refused(Release(kube, "quintet", namespace))
    assert "there is no Secret quintet-jwt in namespace models" in said
    assert "kubectl -n models create secret generic quintet-jwt --from-literal=current=" in said


def test_a_secret_that_could_be_guessed_is_refused(kube: Kube, namespace: str) -> None:
    release = Release(kube, "quintet", namespace)
    release.secret("quintet-jwt", current="too short", next=secrets.token_hex(32))
    assert '"current" is shorter than 32 bytes' in refused(release)


def test_a_secret_without_a_key_is_refused(kube: Kube, namespace: str) -> None:
    release = Release(kube, "quintet", namespace)
    release.kubectl("delete", "secret", "quintet-jwt")
    release.secret("quintet-jwt", current=secrets.token_hex(32))
    assert 'the Secret has no key "next"' in refused(release)


def test_a_missing_certificate_is_refused(kube: Kube, namespace: str) -> None:
    release = Release(kube, "quintet", namespace)
    release.secret("quintet-jwt", current=secrets.token_hex(32), next=secrets.token_hex(32))
    assert "there is no Secret edge in namespace models" in refused(
        release, "--set", "gateway.tls.secret=edge"
    )

"""Changes: bad values and images change nothing, keys are renewed without a refusal, there is a way back."""

from __future__ import annotations

import base64
import contextlib
import json
import secrets
import time

import httpx
import pytest

from hack.cluster.kube import KubeFailed, until
from tests.cluster.conftest import MODELS, Release, examples, figure
from tests.cluster.traffic import Traffic

pytestmark = pytest.mark.timeout(1200)


def revision(release: Release) -> int:
    return int(json.loads(release.helm("list", "--output", "json"))[0]["revision"])


def test_bad_values_change_nothing(release: Release) -> None:
    before = revision(release)
    with pytest.raises(KubeFailed) as refused:
        release.upgrade("--set", "gateway.autoscaling.maximum=3")
    assert "maximum" in str(refused.value)
    assert revision(release) == before


def test_a_wrong_image_is_said_and_what_was_there_goes_on(release: Release) -> None:
    component = MODELS[-1].replace("_", "-")
    with contextlib.ExitStack() as stack:
        running = [stack.enter_context(release.traffic(model, rate=1)) for model in MODELS]
        release.upgrade("--set", f"models.{MODELS[-1]}.image.tag=absent")

        def waiting() -> list[str]:
            statuses = [pod["status"].get("containerStatuses") or [] for pod in release.replicas(component)]
            found = [one["state"].get("waiting") or {} for status in statuses for one in status]
            return [f"{one.get('reason')}: {one.get('message')}" for one in found]

        until(lambda: any("ImagePull" in said for said in waiting()), 120, "the pod says why")
        assert any(f"quintet/{component}:absent" in said for said in waiting())
        release.helm("rollback", release.name)
        release.ready()
    assert not sum(traffic.report.failed for traffic in running), [t.report.counts for t in running]


def test_upgrade_and_rollback(release: Release) -> None:
    release.upgrade("--set", "gateway.limits.max_headers=50")
    release.ready()
    assert "max_headers: 50" in release.get("configmap", "quintet-gateway")["data"]["gateway.yaml"]
    release.helm("rollback", release.name)
    release.ready()
    assert "max_headers" not in release.get("configmap", "quintet-gateway")["data"]["gateway.yaml"]


def test_keys_are_renewed_without_refusing_a_valid_token(release: Release) -> None:
    """The next key is known before it signs; then it becomes the current one."""
    example = examples(MODELS[0])["v1"]
    old = release.token()
    found = release.get("secret", "quintet-jwt")["data"]
    following = base64.b64decode(found["next"]).decode()
    with Traffic(release.address, example["path"], example["body"], old, 5.0) as running:
        current = base64.b64decode(found["current"]).decode()
        release.secret("quintet-jwt", current=following, next=current)

        def signs_with_the_next() -> bool:
            return release.token().split(".")[0] != old.split(".")[0]

        until(signs_with_the_next, 120, "the kubelet brings the Secret")
        new = {"authorization": f"Bearer {release.token()}"}
        until(
            lambda: (
                httpx.post(
                    release.address + example["path"], json=example["body"], headers=new, timeout=60
                ).status_code
                == 200
            ),
            30,
            "the new key is believed",
        )
    assert running.report.failed == 0, running.report.counts
    release.secret("quintet-jwt", current=following, next=secrets.token_hex(32))
    withdrawn = {"authorization": f"Bearer {old}"}
    begin = time.monotonic()
    until(
        lambda: (
            {
                httpx.get(f"{release.address}/v2/models/{MODELS[0]}", headers=withdrawn).status_code
                for _ in range(8)
            }
            == {401}
        ),
        150,
        "the old key is forgotten everywhere",
    )
    figure("a withdrawn key is refused everywhere after", f"{time.monotonic() - begin:.0f} s")

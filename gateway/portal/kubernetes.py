"""What Kubernetes says of the models: the state of each InferenceService, its replicas, where it may run."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

import httpx
from pydantic import BaseModel

from gateway.config import Config, Kubernetes

ASK_SECONDS = 2.0
FRESH_SECONDS = 5.0
MAX_BYTES = 8 << 20
"""Of one list."""


class Status(StrEnum):
    READY = "ready"
    NOT_READY = "not_ready"
    MISSING = "missing"
    """There is no such InferenceService."""
    UNKNOWN = "unknown"
    """There is no cluster to ask, or it does not say."""


@dataclass(frozen=True)
class Replicas:
    ready: int
    wanted: int


@dataclass(frozen=True)
class Observed:
    """One model."""

    status: Status
    reason: str | None = None
    """One word: Kubernetes' own for what stands in the way, or ours for why it is not known."""
    replicas: Replicas | None = None
    node_selector: dict[str, str] | None = None
    """The labels of the nodes it may run on; empty: any node."""


# --- as much of the API's objects as is read ------------------------------------------------------


class _Metadata(BaseModel):
    name: str


class _Condition(BaseModel):
    type: str
    status: str
    reason: str | None = None


class _Predictor(BaseModel):
    nodeSelector: dict[str, str] = {}  # noqa: N815


class _ServiceSpec(BaseModel):
    predictor: _Predictor


class _ServiceStatus(BaseModel):
    conditions: list[_Condition] = []


class _Service(BaseModel):
    metadata: _Metadata
    spec: _ServiceSpec
    status: _ServiceStatus = _ServiceStatus()


class Services(BaseModel):
    items: list[_Service]


class _DeploymentSpec(BaseModel):
    replicas: int = 1


class _DeploymentStatus(BaseModel):
    readyReplicas: int = 0  # noqa: N815


class _Deployment(BaseModel):
    metadata: _Metadata
    spec: _DeploymentSpec
    status: _DeploymentStatus = _DeploymentStatus()


class Deployments(BaseModel):
    items: list[_Deployment]


ListT = TypeVar("ListT", Services, Deployments)


def observed(names: Mapping[str, str], services: Services, deployments: Deployments) -> dict[str, Observed]:
    """By model; `names` has the InferenceService of each."""
    found = {service.metadata.name: service for service in services.items}
    behind = {deployment.metadata.name: deployment for deployment in deployments.items}
    return {
        model: _one(found[name], behind.get(f"{name}-predictor"))  # as KServe calls it
        if name in found
        else Observed(Status.MISSING)
        for model, name in names.items()
    }


def _one(service: _Service, deployment: _Deployment | None) -> Observed:
    said = next((c for c in service.status.conditions if c.type == "Ready"), None)
    ready = said is not None and said.status == "True"
    return Observed(
        Status.READY if ready else Status.NOT_READY,
        None if ready or said is None else said.reason,
        Replicas(deployment.status.readyReplicas, deployment.spec.replicas) if deployment else None,
        service.spec.predictor.nodeSelector,
    )


# --- asking ---------------------------------------------------------------------------------------


class KubernetesState:
    """Asked when somebody asks the catalogue, and once in five seconds at most.

    It is never why the catalogue fails: what cannot be read in time is unknown.
    """

    def __init__(self, config: Config) -> None:
        self._cluster = config.portal.kubernetes
        self._names = {name: config.inference_service(name) for name in config.models}
        self._asking = asyncio.Lock()
        self._known = self._unknown(None)
        self._known_until = 0.0

    async def models(self) -> dict[str, Observed]:
        async with self._asking:
            if self._cluster is not None and time.monotonic() >= self._known_until:
                self._known = await self._read(self._cluster)
                self._known_until = time.monotonic() + FRESH_SECONDS
            return self._known

    async def _read(self, cluster: Kubernetes) -> dict[str, Observed]:
        try:
            async with asyncio.timeout(ASK_SECONDS):
                return observed(self._names, *await _lists(cluster))
        except httpx.HTTPStatusError as error:
            return self._unknown(f"Status{error.response.status_code}")
        except TimeoutError:
            return self._unknown("Timeout")
        except (httpx.HTTPError, OSError):  # no answer, no token, no authority
            return self._unknown("Unreachable")
        except ValueError:
            return self._unknown("Malformed")

    def _unknown(self, why: str | None) -> dict[str, Observed]:
        return dict.fromkeys(self._names, Observed(Status.UNKNOWN, why))


async def _lists(cluster: Kubernetes) -> tuple[Services, Deployments]:
    """Token and authority are renewed in their files, so both are read each time."""
    tls = ssl.create_default_context(cafile=cluster.ca_file) if cluster.api.startswith("https:") else False
    headers = {"authorization": f"Bearer {cluster.token_file.read_text().strip()}"}
    async with httpx.AsyncClient(
        base_url=cluster.api, verify=tls, headers=headers, timeout=ASK_SECONDS, trust_env=False
    ) as client:
        services = await _list(client, cluster, "serving.kserve.io/v1beta1", "inferenceservices", Services)
        return services, await _list(client, cluster, "apps/v1", "deployments", Deployments)


async def _list(
    client: httpx.AsyncClient, cluster: Kubernetes, group: str, kind: str, read: type[ListT]
) -> ListT:
    """Raises httpx.HTTPError, and ValueError for what is no such list or too long a one."""
    path = f"/apis/{group}/namespaces/{cluster.namespace}/{kind}"
    async with client.stream("GET", path, params={"labelSelector": cluster.selector}) as answer:
        answer.raise_for_status()
        body = b""
        async for chunk in answer.aiter_bytes():
            body += chunk
            if len(body) > MAX_BYTES:
                raise ValueError("too long a list")
    return read.model_validate_json(body)

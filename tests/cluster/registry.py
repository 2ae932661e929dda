"""The registry in the node."""

from __future__ import annotations

import httpx

from hack.cluster.places import REGISTRY_HOST

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_KINDS = {"accept": f"{_MANIFEST}, application/vnd.docker.distribution.manifest.v2+json"}


def tag(name: str, old: str, new: str) -> None:
    """Gives an image a second tag."""
    address = f"http://{REGISTRY_HOST}/v2/{name}/manifests"
    found = httpx.get(f"{address}/{old}", headers=_KINDS).raise_for_status()
    kind = {"content-type": found.headers["content-type"]}
    httpx.put(f"{address}/{new}", content=found.content, headers=kind).raise_for_status()


def size(name: str, tag: str) -> int:
    """Bytes of its layers as they are sent."""
    found = httpx.get(f"http://{REGISTRY_HOST}/v2/{name}/manifests/{tag}", headers=_KINDS).raise_for_status()
    return sum(layer["size"] for layer in found.json()["layers"])

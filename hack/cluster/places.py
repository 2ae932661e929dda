"""Where things lie and which addresses the node has. Nothing of it is in the clone."""

from __future__ import annotations

from hack.system import cache_folder

HOME = cache_folder() / "cluster"
BINARIES = HOME / "bin"
MODULES = HOME / "modules"
"""Wrapper modules that the programs are compiled from."""
IMAGES = HOME / "buildah"
REGISTRY = HOME / "registry"
BASE = HOME / "rootfs"
"""The Debian that our images stand on."""

RUN = HOME / "run"
"""Of the cluster that runs: removed with it."""
PKI, LOGS, CONFIG, STATE = (RUN / name for name in ("pki", "logs", "config", "state"))
NODE_PID = RUN / "node.pid"
KUBECONFIG = HOME / "kubeconfig"

NODE = "quintet-node"
HOST_LINK, NODE_LINK = "quintet0", "quintet1"
HOST_IP, NODE_IP = "10.99.0.1", "10.99.0.2"
POD_CIDR, NODE_POD_CIDR, SERVICE_CIDR = "10.244.0.0/16", "10.244.0.0/24", "10.96.0.0/16"
API_SERVICE_IP, DNS_SERVICE_IP = "10.96.0.1", "10.96.0.10"
API = f"https://{NODE_IP}:6443"
REGISTRY_PORT = 5000
REGISTRY_HOST = f"{NODE_IP}:{REGISTRY_PORT}"
"""For pushing from the host. In the node it stands in for every registry, so images have plain names."""

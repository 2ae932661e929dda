"""What runs in the node: the configuration files and the command lines, made of the places alone."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from hack.cluster.places import (
    CONFIG,
    DNS_SERVICE_IP,
    KUBECONFIG,
    NODE,
    NODE_IP,
    NODE_POD_CIDR,
    PKI,
    POD_CIDR,
    REGISTRY,
    REGISTRY_PORT,
    SERVICE_CIDR,
    STATE,
)
from hack.cluster.programs import binary

PAUSE = "quintet-cluster/pause:1"

_CONTAINERD = f'''version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
oom_score = 0
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "docker.io/{PAUSE}"
  disable_hugetlb_controller = true
  tolerate_missing_hugetlb_controller = true
  disable_apparmor = true
  # Without CAP_SYS_RESOURCE runc cannot lower a score; in a container of one's own that is often so.
  restrict_oom_score_adj = true
  # Plain names such as quintet/gateway: our registry answers for the one they would come from.
  [plugins."io.containerd.grpc.v1.cri".registry.mirrors."docker.io"]
    endpoint = ["http://127.0.0.1:{REGISTRY_PORT}"]
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{CONFIG}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
'''

_REGISTRY = f"""version: 0.1
log: {{level: warn}}
storage:
  filesystem: {{rootdirectory: {REGISTRY}}}
  delete: {{enabled: true}}
http: {{addr: "0.0.0.0:{REGISTRY_PORT}"}}
"""


def files() -> dict[str, str]:
    """By name under CONFIG."""
    network = {
        "cniVersion": "1.0.0",
        "name": "quintet",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "cni0",
                "isGateway": True,
                "ipMasq": True,
                "hairpinMode": True,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": NODE_POD_CIDR}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }
    return {
        "containerd.toml": _CONTAINERD,
        "registry.yaml": _REGISTRY,
        "cni/10-quintet.conflist": json.dumps(network, indent=1),
        "kubelet.yaml": json.dumps(_kubelet(), indent=1),
        "kube-proxy.yaml": json.dumps(_kube_proxy(), indent=1),
    }


def _kubelet() -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": f"{PKI}/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": f"{PKI}/kubelet-server.crt",
        "tlsPrivateKeyFile": f"{PKI}/kubelet-server.key",
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": False,
        "failSwapOn": False,
        "clusterDNS": [DNS_SERVICE_IP],
        "clusterDomain": "cluster.local",
        "resolvConf": "",
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "evictionHard": {"memory.available": "200Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "syncFrequency": "10s",
        "maxPods": 60,
    }


def _kube_proxy() -> dict[str, Any]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "hostnameOverride": NODE,
        "clusterCIDR": POD_CIDR,
        "clientConnection": {"kubeconfig": f"{CONFIG}/kube-proxy.kubeconfig"},
        # These are the whole machine's, so they stay as they are.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        "iptables": {"minSyncPeriod": "0s"},
    }


def commands() -> dict[str, Sequence[str]]:
    """By name, in the order of their start; whatever ends is started again."""

    def kubernetes(name: str, *flags: str) -> list[str]:
        return [str(binary(name)), *flags]

    def by_kubeconfig(name: str) -> list[str]:
        file = f"{CONFIG}/{name}.kubeconfig"
        ways = ("kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig")
        return [*(f"--{way}={file}" for way in ways), "--bind-address=127.0.0.1", "--leader-elect=false"]

    client, peer = "http://127.0.0.1:2379", "http://127.0.0.1:2380"
    return {
        "etcd": [
            *("/usr/bin/etcd", "--name=quintet", f"--data-dir={STATE}/etcd", "--unsafe-no-fsync"),
            *(f"--listen-client-urls={client}", f"--advertise-client-urls={client}"),
            *(f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}"),
            f"--initial-cluster=quintet={peer}",
        ],
        "registry": ["/usr/bin/docker-registry", "serve", f"{CONFIG}/registry.yaml"],
        "containerd": ["/usr/bin/containerd", "-c", f"{CONFIG}/containerd.toml"],
        "kube-apiserver": kubernetes(
            "kube-apiserver",
            f"--etcd-servers={client}",
            f"--advertise-address={NODE_IP}",
            "--secure-port=6443",
            f"--service-cluster-ip-range={SERVICE_CIDR}",
            "--allow-privileged=true",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            f"--client-ca-file={PKI}/ca.crt",
            f"--tls-cert-file={PKI}/apiserver.crt",
            f"--tls-private-key-file={PKI}/apiserver.key",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--service-account-key-file={PKI}/service-accounts.pub",
            f"--service-account-signing-key-file={PKI}/service-accounts.key",
            f"--kubelet-client-certificate={PKI}/apiserver-kubelet-client.crt",
            f"--kubelet-client-key={PKI}/apiserver-kubelet-client.key",
            f"--kubelet-certificate-authority={PKI}/ca.crt",
            "--kubelet-preferred-address-types=InternalIP",
            f"--requestheader-client-ca-file={PKI}/front-proxy-ca.crt",
            "--requestheader-allowed-names=front-proxy-client",
            "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            f"--proxy-client-cert-file={PKI}/front-proxy-client.crt",
            f"--proxy-client-key-file={PKI}/front-proxy-client.key",
        ),
        "kube-controller-manager": kubernetes(
            "kube-controller-manager",
            *by_kubeconfig("controller-manager"),
            "--use-service-account-credentials=true",
            f"--root-ca-file={PKI}/ca.crt",
            f"--service-account-private-key-file={PKI}/service-accounts.key",
            f"--cluster-signing-cert-file={PKI}/ca.crt",
            f"--cluster-signing-key-file={PKI}/ca.key",
            f"--requestheader-client-ca-file={PKI}/front-proxy-ca.crt",
            f"--cluster-cidr={POD_CIDR}",
            "--allocate-node-cidrs=true",
            f"--service-cluster-ip-range={SERVICE_CIDR}",
        ),
        "kube-scheduler": kubernetes("kube-scheduler", *by_kubeconfig("scheduler")),
        "kubelet": kubernetes(
            "kubelet",
            f"--config={CONFIG}/kubelet.yaml",
            f"--kubeconfig={CONFIG}/kubelet.kubeconfig",
            f"--hostname-override={NODE}",
            f"--node-ip={NODE_IP}",
        ),
        "kube-proxy": kubernetes("kube-proxy", f"--config={CONFIG}/kube-proxy.yaml"),
        "network-policies": [sys.executable, "-m", "hack.cluster.policies", str(KUBECONFIG)],
    }

"""The modules that the cluster's programs are compiled from."""

from __future__ import annotations

from hack.cluster.programs import PROGRAMS, Program, _go_mod, binary

DESCRIBED = {
    "Go": "1.24.0",
    "Require": [
        {"Path": "k8s.io/api", "Version": "v0.0.0"},
        {"Path": "example.com/grpc", "Version": "v1.72.1", "Indirect": True},
    ],
    "Replace": [
        {"Old": {"Path": "k8s.io/api"}, "New": {"Path": "./staging/src/k8s.io/api"}},
        {"Old": {"Path": "go.etcd.io/etcd"}, "New": {"Path": "./FORBIDDEN"}},
        {
            "Old": {"Path": "example.com/grpc", "Version": "v1.72.1"},
            "New": {"Path": "example.com/grpc", "Version": "v1.72.0"},
        },
    ],
    "Exclude": [{"Path": "example.com/bad", "Version": "v1.0.0"}],
}
TEXT = "module k8s.io/kubernetes\n\ngo 1.24.0\n\ngodebug default=go1.24\n\ngodebug (\n)\n"


def test_a_wrapper_says_what_its_target_says() -> None:
    kubernetes = Program(
        "kubelet", "k8s.io/kubernetes", "v1.34.4", "k8s.io/kubernetes/cmd/kubelet", "kubernetes"
    )
    assert _go_mod(kubernetes, DESCRIBED, TEXT) == [
        "module quintet.cluster/kubernetes",
        "",
        "go 1.24.0",
        "",
        "godebug default=go1.24",
        "require (",
        "\tk8s.io/kubernetes v1.34.4",
        "\tk8s.io/api v0.34.4",
        "\texample.com/grpc v1.72.1 // indirect",
        ")",
        "replace k8s.io/api => k8s.io/api v0.34.4",
        "replace example.com/grpc v1.72.1 => example.com/grpc v1.72.0",
        "exclude example.com/bad v1.0.0",
    ]


def test_a_binary_is_named_for_its_version() -> None:
    assert binary("kubelet").name == "kubelet-v1.34.4"
    assert len({binary(program.name) for program in PROGRAMS}) == len(PROGRAMS)

"""The cluster's programs out of their Go modules.

`go install module@version` is refused for modules whose go.mod has `replace` lines. So each is compiled from
a module of ours, whose go.mod repeats the target's own requirements and replacements; go.sum is the target's,
and the checksum database vouches for the rest.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hack.cluster.places import BINARIES, MODULES

KUBERNETES = "v1.34.4"
KSERVE = "v0.20.0"
_VERSION = "k8s.io/component-base/version"
_KUBERNETES_FLAGS = (
    f"-X {_VERSION}.gitVersion={KUBERNETES} -X {_VERSION}.gitMajor=1 -X {_VERSION}.gitMinor=34 "
    f"-X {_VERSION}.gitTreeState=clean -X k8s.io/client-go/pkg/version.gitVersion={KUBERNETES}"
)
_COREDNS = "v1.14.0"
_COREDNS_PLUGINS = (
    *("bind", "cache", "errors", "forward", "health", "hosts", "kubernetes", "loadbalance", "log", "loop"),
    *("metrics", "ready", "reload", "rewrite", "template", "whoami"),
)


class ProgramFailed(Exception):
    """A program could not be compiled; the message is the compiler's."""


@dataclass(frozen=True)
class Program:
    name: str
    module: str
    version: str
    package: str
    wrapper: str
    flags: str = ""


def _kubernetes(name: str) -> Program:
    return Program(
        name,
        "k8s.io/kubernetes",
        KUBERNETES,
        f"k8s.io/kubernetes/cmd/{name}",
        "kubernetes",
        _KUBERNETES_FLAGS,
    )


PROGRAMS = (
    _kubernetes("kube-apiserver"),
    _kubernetes("kube-controller-manager"),
    _kubernetes("kube-scheduler"),
    _kubernetes("kubelet"),
    _kubernetes("kube-proxy"),
    Program(
        "kserve-manager",
        "github.com/kserve/kserve",
        KSERVE,
        "github.com/kserve/kserve/cmd/manager",
        "kserve",
    ),
    Program("coredns", "k8s.io/kubernetes", KUBERNETES, ".", "coredns"),
    Program(
        "metrics-server",
        "sigs.k8s.io/metrics-server",
        "v0.9.0",
        "sigs.k8s.io/metrics-server/cmd/metrics-server",
        "metrics",
    ),
    Program("kwok", "sigs.k8s.io/kwok", "v0.7.0", "sigs.k8s.io/kwok/cmd/kwok", "kwok"),
)


def binary(name: str) -> Path:
    """Named for its version, so that another one is never taken for it."""
    (program,) = (program for program in PROGRAMS if program.name == name)
    return BINARIES / f"{name}-{program.version}"


def build(say: Callable[[str], None], wanted: Iterable[str] | None = None) -> None:
    """Compiles what is missing: twenty minutes on two cores from nothing, nothing the next time."""
    for program in PROGRAMS:
        if (wanted is None or program.name in wanted) and not binary(program.name).exists():
            say(f"compiling {program.name} {program.version}")
            folder = _wrapper(program)
            BINARIES.mkdir(parents=True, exist_ok=True)
            part = binary(program.name).with_suffix(".part")
            flags = f"-s -w {program.flags}".strip()
            _go(
                folder, "build", "-p", "2", "-trimpath", f"-ldflags={flags}", "-o", str(part), program.package
            )
            part.rename(binary(program.name))


def source(wrapper: str) -> Path:
    """The target module as it lies in Go's module cache; read-only."""
    program = next(program for program in PROGRAMS if program.wrapper == wrapper)
    return Path(_go(_wrapper(program), "list", "-m", "-f", "{{.Dir}}", program.module).strip())


def _wrapper(program: Program) -> Path:
    folder = MODULES / f"{program.wrapper}-{program.version}"
    if not folder.is_dir():
        part = folder.with_name(f"{folder.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        downloaded = json.loads(_go(part, "mod", "download", "-json", f"{program.module}@{program.version}"))
        target = Path(downloaded["Dir"])
        described = json.loads(_go(part, "mod", "edit", "-json", str(target / "go.mod")))
        lines = _go_mod(program, described, (target / "go.mod").read_text())
        (part / "go.mod").write_text("\n".join(lines) + "\n")
        shutil.copyfile(target / "go.sum", part / "go.sum")
        if program.wrapper == "coredns":
            _coredns(part)
        part.rename(folder)
    return folder


def _go_mod(program: Program, described: dict[str, Any], text: str) -> list[str]:
    """Our go.mod: the target itself, and beside it all that the target's says.

    A local replacement (./staging/...) is the same module as published: k8s.io/X of v1.N.P is v0.N.P.
    """
    published = program.version
    if program.module == "k8s.io/kubernetes":
        published = f"v0.{program.version.removeprefix('v1.')}"
    replaced: list[dict[str, Any]] = described.get("Replace") or []
    required: list[dict[str, Any]] = described.get("Require") or []
    local = {r["Old"]["Path"] for r in replaced if r["New"]["Path"].startswith(".")}
    lines = [f"module quintet.cluster/{program.wrapper}", "", f"go {described['Go']}", ""]
    lines += [line for line in text.splitlines() if line.startswith("godebug ") and "(" not in line]
    lines += ["require (", f"\t{program.module} {program.version}"]
    for module in required:
        version = published if module["Path"] in local else module["Version"]
        lines.append(f"\t{module['Path']} {version}{' // indirect' if module.get('Indirect') else ''}")
    lines.append(")")
    names = {module["Path"] for module in required}
    for entry in replaced:
        old, new = entry["Old"], entry["New"]
        if new["Path"].startswith("."):
            if old["Path"] in names:  # the others are guards that stand for nothing
                lines.append(f"replace {old['Path']} => {old['Path']} {published}")
        else:
            given = f" {old['Version']}" if old.get("Version") else ""
            lines.append(f"replace {old['Path']}{given} => {new['Path']} {new['Version']}")
    lines += [f"exclude {entry['Path']} {entry['Version']}" for entry in described.get("Exclude") or []]
    return lines


def _coredns(folder: Path) -> None:
    """CoreDNS with the plugins a cluster needs; its own main brings the SDKs of three clouds."""
    lines = ["package main", "", "import (", '\t"github.com/coredns/coredns/coremain"']
    lines += [f'\t_ "github.com/coredns/coredns/plugin/{plugin}"' for plugin in _COREDNS_PLUGINS]
    (folder / "main.go").write_text("\n".join([*lines, ")", "", "func main() { coremain.Run() }", ""]))
    edit = [f"-require=github.com/coredns/coredns@{_COREDNS}", "-droprequire=k8s.io/kubernetes"]
    _go(folder, "mod", "edit", *edit)


def _go(folder: Path, *arguments: str) -> str:
    environ = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=mod", "GOTOOLCHAIN": "local"}
    done = subprocess.run(
        ["go", *arguments], cwd=folder, env=environ, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ProgramFailed(f"go {' '.join(arguments)}\n{done.stderr[-4000:]}")
    return done.stdout


if __name__ == "__main__":
    build(lambda text: print(text, file=sys.stderr), sys.argv[1:] or None)

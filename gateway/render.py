"""A loaded config -> files for Envoy: the bootstrap, and beside it the keys, which are never inline."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import yaml

from gateway.config import Config
from gateway.envoy import bootstrap
from gateway.loading import Loaded
from gateway.policy import jwks_file_name

BOOTSTRAP = "bootstrap.yaml"
ONE_LINE = 120


class _Dumper(yaml.SafeDumper):
    """For a reader: no anchors, and what fits on a line stands on one."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002
        return True

    def represent_mapping(self, tag: str, mapping: Any, flow_style: bool | None = None) -> yaml.MappingNode:
        fits = len(str(mapping)) <= ONE_LINE
        return super().represent_mapping(tag, mapping, flow_style=fits if flow_style is None else flow_style)

    def represent_sequence(
        self, tag: str, sequence: Any, flow_style: bool | None = None
    ) -> yaml.SequenceNode:
        fits = len(str(sequence)) <= ONE_LINE
        return super().represent_sequence(
            tag, sequence, flow_style=fits if flow_style is None else flow_style
        )


def bootstrap_text(config: Config, keys: Path) -> str:
    return yaml.dump(bootstrap(config, keys), Dumper=_Dumper, sort_keys=False, width=1000)


def render(loaded: Loaded, folder: Path) -> Path:
    """Writes everything into `folder` and returns the path of the bootstrap."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = folder.resolve()  # Envoy reads the keys' paths relative to wherever it was started
    for issuer in loaded.config.issuers:
        if issuer.name in loaded.jwks:
            _write(folder / jwks_file_name(issuer), json.dumps(loaded.jwks[issuer.name]) + "\n", 0o600)
    file = folder / BOOTSTRAP
    _write(file, bootstrap_text(loaded.config, folder), 0o644)
    return file


def _write(file: Path, text: str, mode: int) -> None:
    """Whole or not at all, and never for a moment readable by more than `mode` says."""
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    try:
        with os.fdopen(descriptor, "w") as stream:
            stream.write(text)
        beside.replace(file)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise

"""A loaded config -> files for Envoy. No key is in any of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

from gateway.config import Config
from gateway.envoy import bootstrap, certificate
from gateway.folder import RunFolder
from gateway.keys import resolve
from gateway.loading import Loaded

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


def bootstrap_text(config: Config, folder: RunFolder) -> str:
    return _text(bootstrap(config, folder))


def _text(document: Any) -> str:
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=1000)


def render(loaded: Loaded, path: Path) -> RunFolder:
    """Writes into `path` what Envoy reads when it starts."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = RunFolder(path.resolve())  # Envoy reads paths relative to wherever it was started
    if tls := loaded.config.listen.tls:
        files = resolve(loaded.base, tls.cert_file), resolve(loaded.base, tls.key_file)
        source = certificate(str(files[0]), str(files[1]), str(files[0].parent))
        _write(folder.certificate, _text(source), 0o644)
    _write(folder.bootstrap, bootstrap_text(loaded.config, folder), 0o644)
    return folder


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

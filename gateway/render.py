"""A loaded config -> files for Envoy. No key is in any of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

from gateway.config import Config
from gateway.envoy import bootstrap, certificate
from gateway.errors import GatewayError
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
    folder = RunFolder(path.resolve())  # Envoy reads paths relative to wherever it was started
    files = {folder.bootstrap: bootstrap_text(loaded.config, folder)}
    if tls := loaded.config.listen.tls:
        cert, key = resolve(loaded.base, tls.cert_file), resolve(loaded.base, tls.key_file)
        files[folder.certificate] = _text(certificate(str(cert), str(key), str(cert.parent)))
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        for file, text in files.items():
            _write(file, text)
    except OSError as error:
        raise GatewayError(f"{path} cannot be written ({error.strerror})") from None
    return folder


def _write(file: Path, text: str) -> None:
    """Whole or not at all."""
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        beside.write_text(text)
        beside.replace(file)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise

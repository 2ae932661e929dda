"""The files that the running gateway and its Envoy share, in a private folder that lives as long as they do.

No key is ever in it: secrets and JWKS go through the control socket, certificates stay where they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RunFolder:
    path: Path

    @property
    def bootstrap(self) -> Path:
        return self.path / "bootstrap.yaml"

    @property
    def certificate(self) -> Path:
        """Says which certificate files are used, and that they are watched."""
        return self.path / "certificate.yaml"

    @property
    def control(self) -> Path:
        """The socket on which Envoy asks this process for keys and for leave to open streams."""
        return self.path / "control.sock"

    @property
    def stream_ends(self) -> Path:
        """The pipe through which Envoy tells of each stream that has ended."""
        return self.path / "stream-ends"

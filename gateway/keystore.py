"""The keys of issuers whose keys are files or variables, read again whenever Envoy asks: once a second."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from gateway.config import Issuer
from gateway.errors import Problem
from gateway.keys import Jwks, issuer_jwks
from gateway.loading import Loaded


class KeyStore:
    """A file that can no longer be used is said once, and the keys that were there stay in use.

    Withdrawing every key by breaking the file would shut everybody out; a key is withdrawn by a sound file
    without it.
    """

    def __init__(self, loaded: Loaded, say: Callable[[str], None]) -> None:
        self._base: Path = loaded.base
        self._environ = loaded.environ
        self._say = say
        self._issuers: dict[str, tuple[str, Issuer]] = {
            issuer.name: (f"issuers[{i}]", issuer)
            for i, issuer in enumerate(loaded.config.issuers)
            if issuer.name in loaded.jwks
        }
        self._good: dict[str, Jwks] = dict(loaded.jwks)
        self._said: dict[str, list[Problem]] = {}

    def jwks(self, name: str) -> bytes | None:
        """The JWKS as JSON; None for an issuer that has no files here. Reads files, so not on the loop."""
        if name not in self._issuers:
            return None
        where, issuer = self._issuers[name]
        keys, problems = issuer_jwks(issuer, self._base, where, self._environ)
        if keys is not None and not problems:
            if keys != self._good[name]:
                self._say(f"{where}: keys changed; now {', '.join(key['kid'] for key in keys['keys'])}")
            self._good[name] = keys
        elif problems != self._said.get(name):
            self._say("\n".join(f"{problem}; the keys from before stay in use" for problem in problems))
        self._said[name] = problems
        return json.dumps(self._good[name]).encode()

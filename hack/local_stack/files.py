"""What the local stack keeps under .local/: the secret, the gateway's config for this run, a token, logs."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from gateway.errors import ConfigError
from gateway.loading import Loaded, load
from hack.local_stack.errors import StackError


class LocalFolder:
    def __init__(self, root: Path) -> None:
        self.path = root / ".local"
        self.logs = self.path / "logs"
        self.secret = self.path / "jwt-secret"
        self.config = self.path / "gateway.yaml"
        self.token = self.path / "token"
        self._timings = self.path / "timings.json"

    def create(self) -> None:
        self.path.mkdir(mode=0o700, exist_ok=True)
        self.path.chmod(0o700)
        self.logs.mkdir(exist_ok=True)
        if not self.secret.exists():
            write_private(self.secret, secrets.token_hex(32) + "\n")

    @contextlib.contextmanager
    def owned(self) -> Iterator[None]:
        """One stack a clone: a second one would write its config over the first one's."""
        with (self.path / "lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StackError(
                    "the local stack of this clone is already running; stop that one first"
                ) from None
            yield

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def timings(self) -> dict[str, float]:
        """Seconds each process took to be ready the last time."""
        try:
            return {
                str(name): float(seconds) for name, seconds in json.loads(self._timings.read_text()).items()
            }
        except (OSError, ValueError, AttributeError, TypeError):
            return {}

    def keep_timings(self, timings: dict[str, float]) -> None:
        write_private(self._timings, json.dumps(self.timings() | timings) + "\n")


def write_private(path: Path, text: str) -> None:
    """Whole or not at all, and for nobody else to read."""
    part = path.with_name(f"{path.name}.part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    part.replace(path)


def read_config(path: Path) -> dict[str, Any]:
    """gateway/local.yaml as it stands; the gateway's own loader judges what is made of it."""
    try:
        raw = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise StackError(f"{path} cannot be read: {error}") from None
    if not isinstance(raw, dict) or not isinstance(raw.get("models"), dict):
        raise StackError(f"{path} has no map of models")
    return raw


def write_config(raw: dict[str, Any], models: list[str], base: Path, folder: LocalFolder) -> Loaded:
    """The config for a subset, checked; its relative paths still mean the same files from their new place."""
    chosen = {**raw, "models": {name: raw["models"][name] for name in models}}
    chosen["issuers"] = [_moved(issuer, base, folder.path) for issuer in raw.get("issuers") or []]
    write_private(folder.config, "# Written by make run.\n" + yaml.safe_dump(chosen, sort_keys=False))
    try:
        return load(folder.config)
    except ConfigError as error:
        raise StackError(str(error)) from None


def _moved(issuer: dict[str, Any], base: Path, to: Path) -> dict[str, Any]:
    def moved(path: str) -> str:
        return os.path.relpath(base / path, to)

    keys = dict(issuer.get("keys") or {})
    if "secret_files" in keys:
        keys["secret_files"] = [moved(path) for path in keys["secret_files"]]
    if "jwks_file" in keys:
        keys["jwks_file"] = moved(keys["jwks_file"])
    return {**issuer, "keys": keys}

"""``python -m hack.demo_models [MODEL ...]``: makes the models' demo checkpoints, each once.

A model has one when it has a package ``predictors/<model>/demo``; its command takes the folder to make. They
are kept outside the clone, under a name with a digest of its makers' sources: a changed recipe is a new
checkpoint, and an old one is never taken for it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STDERR = 2
MAKERS = ("demo", "training", "model_repository")
"""Packages of a model whose sources its demo checkpoint depends on."""


class DemoFailed(Exception):
    """A demo checkpoint could not be made; one sentence. Its maker's own words are on stderr."""


def demo_models(root: Path | None = None) -> list[str]:
    """Every model that has a demo package, found by looking."""
    return sorted(main.parent.parent.name for main in (root or ROOT).glob("predictors/*/demo/__main__.py"))


def cache_folder(model: str, root: Path | None = None) -> Path:
    """Where the model's checkpoint belongs, made or not."""
    cache = Path(os.environ.get("QUINTET_CACHE") or Path.home() / ".cache" / "quintet").expanduser()
    return cache.absolute() / "demo" / f"{model}-{_digest((root or ROOT) / 'predictors' / model)}"


def demo_checkpoint(model: str, root: Path | None = None) -> Path:
    """The folder of the model's demo checkpoint, which is made first, with progress on stderr, if missing."""
    if model not in demo_models(root):
        known = ", ".join(demo_models(root)) or "none"
        raise DemoFailed(f"There is no demo checkpoint for {model!r}; there is one for: {known}.")
    folder = cache_folder(model, root)
    if not folder.is_dir():
        with _one_at_a_time(folder):
            if not folder.is_dir():  # made by someone else while this process waited
                _make(model, folder, root or ROOT)
    return folder


def main(arguments: Sequence[str] | None = None) -> int:
    models = list(sys.argv[1:] if arguments is None else arguments) or demo_models()
    try:
        for model in models:
            print(demo_checkpoint(model), flush=True)
    except DemoFailed as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _digest(model: Path) -> str:
    """Over names and contents of the files that make it: its demo package, and its training if any."""
    digest = hashlib.sha256()
    for source in sorted(path for part in MAKERS for path in (model / part).rglob("*")):
        if not source.is_file() or "__pycache__" in source.parts:
            continue
        digest.update(f"{source.relative_to(model).as_posix()}\0".encode())
        digest.update(source.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Held by the kernel for this process, so a killed one holds nobody up."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with (folder.parent / f".{folder.name}.making").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
    except OSError as error:
        raise DemoFailed(f"The cache folder {folder.parent} cannot be used: {error.strerror}.") from error


def _make(model: str, folder: Path, root: Path) -> None:
    command = [sys.executable, "-m", f"predictors.{model}.demo", str(folder)]
    # All its words go to stderr: this command's own output is the folders, for scripts to read.
    with subprocess.Popen(command, cwd=root, stdout=STDERR) as maker:
        try:
            status = maker.wait()
        except BaseException:
            maker.terminate()
            maker.wait()  # until it has taken its half-made files away
            raise
    if status or not folder.is_dir():
        raise DemoFailed(f"The demo checkpoint of {model} was not made (exit status {status}).")


if __name__ == "__main__":
    sys.exit(main())

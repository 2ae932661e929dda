"""A checkpoint converted to an artifact, whole or not at all."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path

from predictors.gpt2.artifact import (
    FORMAT,
    MANIFEST,
    TOKENIZER,
    WEIGHTS,
    Artifact,
    File,
    Manifest,
    Shape,
    digest,
)
from predictors.gpt2.convert.checkpoint import read_checkpoint
from predictors.gpt2.convert.vocabulary import find_tokenizer
from predictors.gpt2.convert.weights import served
from predictors.gpt2.engine import tensors
from predictors.gpt2.shape import Encoding
from predictors.runtime.errors import LoadError


def convert(
    checkpoint_file: Path,
    target: Path,
    *,
    tokenizer_folder: Path | None = None,
    encoding: Encoding = "gpt2",
    trust_pickle: bool = False,
) -> Artifact:
    """Writes the artifact of a checkpoint to the folder ``target``, which must not be there yet.

    The vocabulary comes from ``tokenizer_folder``, by default the checkpoint's own. Raises LoadError.
    """
    if target.exists():
        raise LoadError(f"{target} is there already: remove it or name another folder.")
    tokenizer = find_tokenizer(tokenizer_folder or checkpoint_file.parent, encoding)
    checkpoint = read_checkpoint(checkpoint_file, trust_pickle=trust_pickle)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{target.name}.partial-", dir=target.parent))
    except OSError as error:
        raise LoadError(f"{target} cannot be written: {error.strerror}.") from None
    try:
        (part / TOKENIZER).write_bytes(tokenizer)
        tensors.write(served(checkpoint), part / WEIGHTS)
        shape = checkpoint.shape
        manifest = Manifest(
            format=FORMAT,
            shape=Shape.model_validate(asdict(shape)),
            tied=checkpoint.tied,
            source=checkpoint_file.name,
            source_sha256=checkpoint.checksum,
            files={
                name: File(size=(part / name).stat().st_size, sha256=digest(part / name))
                for name in (WEIGHTS, TOKENIZER)
            },
        )
        (part / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n")
        part.chmod(0o755)
        part.rename(target)  # whoever sees the folder sees all of it
    except OSError as error:
        raise LoadError(f"{target} cannot be written: {error.strerror}.") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return Artifact(target)

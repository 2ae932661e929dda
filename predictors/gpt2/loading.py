"""From weights on disk to models in memory: converted once where needed, verified, warmed up."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

from predictors.gpt2.artifact import FORMAT, TOKENIZER, Artifact, digest
from predictors.gpt2.convert.config import config_beside
from predictors.gpt2.convert.vocabulary import vocabulary_files
from predictors.gpt2.engine.decoder import CHUNK, Model
from predictors.gpt2.engine.session import Session, footprint
from predictors.gpt2.settings import Gpt2Settings
from predictors.gpt2.shape import ModelShape
from predictors.gpt2.sources import Source
from predictors.gpt2.tasks import SPAM_LENGTH
from predictors.gpt2.tokenizer import TextTokenizer
from predictors.runtime.cpus import available_cpus
from predictors.runtime.errors import LoadError
from predictors.runtime.folders import CannotWrite, only_writer


class Loader:
    """Makes models of artifacts; tokenizers that are the same are kept once."""

    def __init__(self, settings: Gpt2Settings) -> None:
        self._settings = settings
        self._threads = settings.threads or available_cpus()
        self._tokenizers: dict[str, TextTokenizer] = {}

    def artifact(self, source: Source) -> Artifact:
        """Of a checkpoint it is made first, unless the cache has it. Raises LoadError."""
        return Artifact(source.path if source.converted else self._converted(source.path))

    def bytes_needed(self, artifact: Artifact) -> int:
        """Memory of the loaded model at its greatest."""
        slots, context = self._cache_size(artifact.shape)
        return footprint(artifact, slots=slots, context=context, tokens=CHUNK + slots)

    def load(self, name: str, artifact: Artifact) -> Model:
        """Verified, in memory, every kind of pass run once. Raises LoadError."""
        artifact.verify()
        slots, context = self._cache_size(artifact.shape)
        session = Session(artifact, threads=self._threads, slots=slots, context=context)
        session.warm_up()
        return Model(name, session, self._tokenizer(artifact), artifact.checksum)

    def _cache_size(self, shape: ModelShape) -> tuple[int, int]:
        # A classifier reads one text at a time and decodes nothing.
        if shape.classifies:
            return 1, min(SPAM_LENGTH, shape.context)
        return self._settings.max_batch_items, min(self._settings.max_context, shape.context)

    def _tokenizer(self, artifact: Artifact) -> TextTokenizer:
        key = artifact.manifest.files[TOKENIZER].sha256
        if key not in self._tokenizers:
            self._tokenizers[key] = TextTokenizer(artifact.path(TOKENIZER))
        return self._tokenizers[key]

    def _converted(self, checkpoint: Path) -> Path:
        cache = self._settings.artifact_cache.expanduser().absolute()
        target = cache / f"{self._read(checkpoint)[:16]}-{FORMAT}"
        try:
            with only_writer(target):
                if not target.is_dir():
                    self._convert(checkpoint, target)
        except CannotWrite as error:
            raise LoadError(f"{checkpoint} cannot be converted: {error}") from None
        return target

    def _read(self, checkpoint: Path) -> str:
        """SHA-256 of all that a conversion reads, in hex."""
        files = [checkpoint, *vocabulary_files(checkpoint.parent, self._settings.tokenizer)]
        if (config := config_beside(checkpoint)) is not None:
            files.append(config)
        return hashlib.sha256(" ".join(map(digest, files)).encode()).hexdigest()

    def _convert(self, checkpoint: Path, target: Path) -> None:
        # In a process of its own, so that this one never holds the checkpoint or the libraries that read it.
        command = [sys.executable, "-m", "predictors.gpt2", "convert", str(checkpoint), str(target)]
        command += ["--encoding", self._settings.tokenizer]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        if run.returncode:
            reason = (run.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise LoadError(reason.removeprefix("error: "))

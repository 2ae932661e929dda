"""GPT-2's vocabulary, wherever a folder has it, as one tokenizer.json."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from predictors.runtime.errors import LoadError

FILES = (("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe"))
"""Token ids and merges, under transformers' names and under the original ones."""

_TIKTOKEN = ("6c7ea1a7e38e3a7f062df639a5b80947f075ffe6", "6d1cbeee0f20b3d9449abfede4726ed8212e3aee")
"""The same two in tiktoken's cache, which names a file by the SHA-1 of where it came from; encoding gpt2."""


def find_tokenizer(folder: Path, model_name: str) -> bytes:
    """tokenizer.json from ``folder``, or from tiktoken's cache for the encoding ``model_name``.

    Raises LoadError, which says what to put where.
    """
    if (whole := folder / "tokenizer.json").is_file():
        return _plain(whole)
    for ids, merges in _candidates(folder, model_name):
        if ids.is_file() and merges.is_file():
            return build(ids, merges)
    raise LoadError(
        f"{folder} has no vocabulary: put GPT-2's vocab.json and merges.txt (or tokenizer.json) beside the"
        " checkpoint."
    )


def _candidates(folder: Path, model_name: str) -> Iterator[tuple[Path, Path]]:
    yield from ((folder / ids, folder / merges) for ids, merges in FILES)
    if model_name == "gpt2":
        caches = [os.environ.get(name) for name in ("TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR")]
        for cache in [*filter(None, caches), os.path.join(tempfile.gettempdir(), "data-gym-cache")]:
            yield Path(cache, _TIKTOKEN[0]), Path(cache, _TIKTOKEN[1])


def _plain(file: Path) -> bytes:
    """The same tokenizer without tokens that are found in a text before it is split."""
    try:
        document = json.loads(file.read_bytes())
        return json.dumps({**document, "added_tokens": [], "post_processor": None}).encode()
    except (ValueError, TypeError) as error:
        raise LoadError(f"{file} is not a tokenizer: {error}.") from None


def build(ids: Path, merges: Path) -> bytes:
    """tokenizer.json of a vocabulary; "<|endoftext|>" in a text is not made the token of that name."""
    try:
        vocabulary = json.loads(ids.read_text("utf-8"))
        lines = merges.read_text("utf-8").splitlines()
        pairs = [tuple(line.split(" ")) for line in lines if line and not line.startswith("#version")]
        tokenizer = Tokenizer(models.BPE(vocabulary, pairs))  # pyright: ignore[reportArgumentType]
    except Exception as error:  # the library raises bare Exception
        raise LoadError(f"{ids} and {merges} are not a vocabulary: {error}.") from None
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = byte_level  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    return tokenizer.to_str().encode()

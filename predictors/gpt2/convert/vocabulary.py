"""GPT-2's vocabulary, wherever a folder has it, as one tokenizer.json."""

from __future__ import annotations

import base64
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from predictors.gpt2.shape import Encoding
from predictors.gpt2.tokenizer import END_OF_TEXT_TOKEN, byte_of_character
from predictors.runtime.errors import LoadError

FILES = (("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe"))
"""Token ids and merges, under transformers' names and under the original ones."""

_WHOLE = "tokenizer.json"
_TIKTOKEN: Mapping[Encoding, tuple[str, ...]] = {
    "gpt2": ("6c7ea1a7e38e3a7f062df639a5b80947f075ffe6", "6d1cbeee0f20b3d9449abfede4726ed8212e3aee"),
    "r50k_base": ("0ea1e91bbb3a60f729a8dc8f777fd2fc07cd8df4",),
}
"""The same in tiktoken's cache, which names a file by the SHA-1 of where it came from."""


def find_tokenizer(folder: Path, encoding: Encoding) -> bytes:
    """tokenizer.json from ``folder``, or from tiktoken's cache for ``encoding``.

    Raises LoadError, which says what to put where.
    """
    files = vocabulary_files(folder, encoding)
    if len(files) == 2:
        return build(*files)
    (file,) = files
    return _plain(file) if file.name == _WHOLE else _of_ranks(file)


def vocabulary_files(folder: Path, encoding: Encoding) -> tuple[Path, ...]:
    """The files that ``find_tokenizer`` reads: a whole one, ids and merges, or ranks. Raises LoadError."""
    for files in _candidates(folder, encoding):
        if all(file.is_file() for file in files):
            return files
    raise LoadError(
        f"{folder} has no vocabulary, nor has tiktoken's cache ($TIKTOKEN_CACHE_DIR) one for {encoding}"
        " (MODEL_NAME): put GPT-2's vocab.json and merges.txt (or tokenizer.json) beside the checkpoint."
    )


def _candidates(folder: Path, encoding: Encoding) -> Iterator[tuple[Path, ...]]:
    yield (folder / _WHOLE,)
    yield from ((folder / ids, folder / merges) for ids, merges in FILES)
    caches = [os.environ.get(name) for name in ("TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR")]
    for cache in [*filter(None, caches), os.path.join(tempfile.gettempdir(), "data-gym-cache")]:
        yield tuple(Path(cache, name) for name in _TIKTOKEN[encoding])


def _plain(file: Path) -> bytes:
    """The same tokenizer without tokens that are found in a text before it is split."""
    try:
        document = json.loads(file.read_bytes())
        return json.dumps({**document, "added_tokens": [], "post_processor": None}).encode()
    except (ValueError, TypeError) as error:
        raise LoadError(f"{file} is not a tokenizer: {error}.") from None


def _of_ranks(file: Path) -> bytes:
    """Of tiktoken's own format: a token in base64 and its rank on each line.

    The merges follow: a token is made of the two that are left of it once whatever ranks lower is merged.
    """
    try:
        lines = (line.split() for line in file.read_bytes().splitlines() if line)
        ranks = {base64.b64decode(token, validate=True): int(rank) for token, rank in lines}
        pairs = [_merged(token, rank, ranks) for token, rank in ranks.items() if len(token) > 1]
        character = {byte: name for name, byte in byte_of_character().items()}

        def name(token: bytes) -> str:
            return "".join(character[byte] for byte in token)

        vocabulary = {name(token): rank for token, rank in ranks.items()} | {END_OF_TEXT_TOKEN: len(ranks)}
        return _tokenizer(vocabulary, [(name(left), name(right)) for left, right in pairs])
    except Exception as error:  # the library raises bare Exception
        raise LoadError(f"{file} is not a vocabulary: {error}.") from None


def _merged(token: bytes, rank: int, ranks: Mapping[bytes, int]) -> tuple[bytes, bytes]:
    parts = [token[i : i + 1] for i in range(len(token))]
    while len(parts) > 2:
        found = [(ranks.get(left + right, rank), i) for i, (left, right) in enumerate(pairwise(parts))]
        lowest, at = min(found)
        if lowest >= rank:
            raise ValueError(f"the token of rank {rank} is made of no two others")
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return parts[0], parts[1]


def build(ids: Path, merges: Path) -> bytes:
    """tokenizer.json of a vocabulary; "<|endoftext|>" in a text is not made the token of that name."""
    try:
        vocabulary = json.loads(ids.read_text("utf-8"))
        lines = merges.read_text("utf-8").splitlines()
        pairs = [tuple(line.split(" ")) for line in lines if line and not line.startswith("#version")]
        return _tokenizer(vocabulary, pairs)
    except Exception as error:  # the library raises bare Exception
        raise LoadError(f"{ids} and {merges} are not a vocabulary: {error}.") from None


def _tokenizer(vocabulary: dict[str, int], merges: Sequence[tuple[str, ...]]) -> bytes:
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))  # pyright: ignore[reportArgumentType]
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = byte_level  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    return tokenizer.to_str().encode()

"""A small tokenizer built as Gemma's is: byte-pair pieces, spaces as ▁, bytes for what has no piece."""

from __future__ import annotations

import json
from collections.abc import Iterable

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

CONTROL = ("<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<start_of_turn>", "<end_of_turn>", "<unused0>")
"""With Gemma's names; the first four at Gemma's ids."""
BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))


def train(texts: Iterable[str], size: int) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")  # pyright: ignore[reportAttributeAccessIssue]
    # Pieces keep within words, and a digit is one by itself, so that a mark is; 3r, of a course, is one too.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(  # pyright: ignore[reportAttributeAccessIssue]
        [
            pre_tokenizers.Split(Regex(r"\d(?![rntè])|\n+|[\"{}:,.]"), "isolated"),
            pre_tokenizers.Split("▁", "merged_with_next"),
        ]
    )
    tokenizer.decoder = decoders.Sequence(  # pyright: ignore[reportAttributeAccessIssue]
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    special = [AddedToken(text, special=True, normalized=False) for text in CONTROL]
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=[*special, *BYTES], show_progress=False, min_frequency=3
    )
    tokenizer.train_from_iterator(texts, trainer)
    return _bytes_are_plain(tokenizer)


def _bytes_are_plain(tokenizer: Tokenizer) -> Tokenizer:
    """The trainer makes all it is given special; the bytes are ordinary pieces, read only as fallback."""
    document = json.loads(tokenizer.to_str())
    document["added_tokens"] = [entry for entry in document["added_tokens"] if entry["content"] in CONTROL]
    return Tokenizer.from_str(json.dumps(document))

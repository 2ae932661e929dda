"""A small Unigram tokenizer with the special ids, the pieces' form and the files of DeBERTa-v3's."""

from __future__ import annotations

import json
import string
from collections.abc import Iterable

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers.trainers import UnigramTrainer

PAD, CLS, SEP, UNK, MASK = "[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"
PAD_ID, CLS_ID, SEP_ID, UNK_ID = 0, 1, 2, 3
SPECIALS = (PAD, CLS, SEP, UNK)
MAX_LENGTH = 512


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Learns ``vocab_size`` pieces, specials included; ``[MASK]`` comes after them, as the last id."""
    tokenizer = Tokenizer(models.Unigram())
    _set_pipeline(tokenizer)
    trainer = UnigramTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIALS),
        unk_token=UNK,
        # A typed character must never be unknown only because no training prompt held it.
        initial_alphabet=list(string.ascii_letters + string.digits + string.punctuation),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer = _in_fixed_order(tokenizer)
    tokenizer.add_special_tokens([AddedToken(MASK, special=True, normalized=False)])
    return tokenizer


def _in_fixed_order(tokenizer: Tokenizer) -> Tokenizer:
    """Sorts the pieces by rounded score: the trainer sums in an order that differs from run to run, and an id
    must not depend on the last bits of a sum."""
    vocab = [(piece, round(score, 2)) for piece, score in json.loads(tokenizer.to_str())["model"]["vocab"]]
    specials, learnt = vocab[: len(SPECIALS)], vocab[len(SPECIALS) :]
    learnt.sort(key=lambda entry: (-entry[1], entry[0]))
    ordered = Tokenizer(models.Unigram([*specials, *learnt], unk_id=UNK_ID, byte_fallback=False))
    _set_pipeline(ordered)
    ordered.add_special_tokens(
        [AddedToken(token, special=True, normalized=token == UNK) for token in SPECIALS]
    )
    ordered.post_processor = processors.TemplateProcessing(
        single=f"{CLS}:0 $A:0 {SEP}:0",
        pair=f"{CLS}:0 $A:0 {SEP}:0 $B:1 {SEP}:1",
        special_tokens=[(CLS, CLS_ID), (SEP, SEP_ID)],
    )
    return ordered


def _set_pipeline(tokenizer: Tokenizer) -> None:
    # What the published tokenizer's SentencePiece charsmap (nmt_nfkc) does: new lines and controls become
    # spaces, compatibility forms are folded, runs of spaces are one.
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Strip(), normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")


def tokenizer_files(tokenizer: Tokenizer) -> dict[str, bytes]:
    """The four files, as the published repository has them (less ``spm.model``, which no fast tokenizer
    reads).
    """
    mask_id = tokenizer.token_to_id(MASK)
    added = {
        str(index): {
            "content": token,
            "lstrip": False,
            "normalized": token == UNK,
            "rstrip": False,
            "single_word": False,
            "special": True,
        }
        for index, token in ((PAD_ID, PAD), (CLS_ID, CLS), (SEP_ID, SEP), (UNK_ID, UNK), (mask_id, MASK))
    }
    names = {
        "bos_token": CLS,
        "cls_token": CLS,
        "eos_token": SEP,
        "mask_token": MASK,
        "pad_token": PAD,
        "sep_token": SEP,
    }
    config = {
        "added_tokens_decoder": added,
        "clean_up_tokenization_spaces": False,
        "do_lower_case": False,
        "model_max_length": MAX_LENGTH,
        "sp_model_kwargs": {},
        "split_by_punct": False,
        "tokenizer_class": "DebertaV2Tokenizer",
        "unk_token": UNK,
        "vocab_type": "spm",
        **names,
    }
    unk = {key: value for key, value in added[str(UNK_ID)].items() if key != "special"}
    return {
        "tokenizer.json": tokenizer.to_str(pretty=True).encode(),
        "tokenizer_config.json": _json(config),
        "special_tokens_map.json": _json({**names, "unk_token": unk}),
        "added_tokens.json": _json({MASK: mask_id}),
    }


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()

"""The engine against the published model in fp32, and against itself: alone, in a batch, in chunks."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from predictors.gpt2.artifact import Artifact
from predictors.gpt2.engine import decoder as decoding
from predictors.gpt2.engine.decoder import Model, TextDecoder, Work
from predictors.gpt2.engine.sampling import Sampling
from predictors.gpt2.engine.session import Session
from predictors.gpt2.shape import LABELS
from predictors.gpt2.tokenizer import TextTokenizer
from predictors.runtime.decoding import decode
from predictors.runtime.errors import LoadError
from tests.support.gpt2 import Reference, prompt_ids, state_dict, write_artifact

GREEDY = Sampling(temperature=0, top_p=1, top_k=1, seed=None)


@pytest.fixture(scope="module")
def model(language: Artifact, tokenizer: TextTokenizer) -> Model:
    return Model("m", Session(language, threads=1, slots=4, context=128), tokenizer, "")


def work(model: Model, length: int, *, new: int = 12, seed: int = 0, sampling: Sampling = GREEDY) -> Work:
    return Work(model, prompt_ids(length, seed), new, sampling, prompt_tokens=length)


def texts(outcomes: list[object]) -> list[str]:
    return [outcome.text for outcome in outcomes]  # type: ignore[attr-defined]


@pytest.mark.parametrize("length", [1, 7, 100])
def test_it_computes_the_published_model(model: Model, length: int) -> None:
    ids = prompt_ids(length)
    exact = Reference(state_dict()).logits(ids)[-1]
    top = model.session.read(0, ids, 0, 100)
    spread = exact.std()
    assert np.abs(top.logits[0] - exact[top.ids[0]]).max() < 0.1 * spread
    assert int(exact.argmax()) in top.ids[0, :3]


def test_a_prompt_read_in_chunks_is_the_same_prompt(model: Model) -> None:
    ids = prompt_ids(40)
    whole = model.session.read(0, ids, 0, 5).logits.copy()
    model.session.read(1, ids[:13], 0, 5)
    chunked = model.session.read(1, ids[13:], 13, 5)
    assert np.abs(whole - chunked.logits).max() < 0.05


def test_tied_and_own_heads_are_the_same_arithmetic(tmp_path: Path, model: Model) -> None:
    own = state_dict()
    own["out_head.weight"][0, 0] += 1e-3  # no longer the embedding
    artifact = write_artifact(tmp_path, own)
    assert not artifact.manifest.tied
    session = Session(artifact, threads=1, slots=1, context=128)
    ids = prompt_ids(9)
    assert np.array_equal(session.read(0, ids, 0, 3).ids, model.session.read(0, ids, 0, 3).ids)


def test_a_classifier_gives_its_labels(classifier: Artifact) -> None:
    session = Session(classifier, threads=1, slots=1, context=120)
    ids = prompt_ids(120)
    exact = Reference(state_dict(outputs=LABELS)).logits(ids)[-1]
    assert session.read(0, ids, 0, 1).logits[0] == pytest.approx(exact, abs=0.1)


def test_who_joins_and_leaves_changes_nobody_elses_text(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sequences come, end and are dropped in the middle, so slots move under those that stay."""
    monkeypatch.setattr(decoding, "CHUNK", 16)  # long prompts take several steps
    works = [work(model, 5 + 9 * n % 50, new=4 + 7 * n % 19, seed=n) for n in range(14)]
    alone = [texts(decode(TextDecoder(), [one]))[0] for one in works]
    rng = random.Random(0)
    together, running = TextDecoder(), {}
    waiting, found, dropped = list(enumerate(works)), {}, set()
    while waiting or running:
        while waiting and len(running) < model.session.slots and rng.random() < 0.7:
            index, one = waiting.pop(0)
            running[together.join(one)] = index
        if running and rng.random() < 0.2:
            handle = rng.choice(list(running))
            dropped.add(running.pop(handle))
            together.leave(handle)
        for news in together.step():
            if news.outcome is not None:
                found[running.pop(news.handle)] = news.outcome.text
    assert dropped
    assert found == {index: text for index, text in enumerate(alone) if index not in dropped}


def test_a_newcomer_is_read_and_decoded_in_the_step_it_joins(model: Model) -> None:
    decoder = TextDecoder()
    first = decoder.join(work(model, 5, new=9))
    list(decoder.step())
    second = decoder.join(work(model, 7, new=9, seed=1))
    assert [news.handle for news in decoder.step()] == [second, first, second]


def test_a_newcomer_that_ends_with_its_first_token_is_not_decoded(model: Model) -> None:
    decoder = TextDecoder()
    stays = decoder.join(work(model, 5, new=9))
    ends = decoder.join(work(model, 7, new=1, seed=1))
    news = list(decoder.step())
    assert [(item.handle, item.outcome is not None) for item in news] == [
        (stays, False),
        (ends, True),
        (stays, False),
    ]


def test_a_text_in_the_wrong_slot_is_seen(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = [prompt_ids(9, seed) for seed in range(3)]
    assert model.session.dependence(prompts) < 0.05
    read = Session.read
    monkeypatch.setattr(Session, "read", lambda self, _, *rest: read(self, 0, *rest))
    assert model.session.dependence(prompts) > 0.2


def test_pieces_make_up_the_text_and_usage_counts(model: Model) -> None:
    decoder = TextDecoder()
    decoder.join(Work(model, prompt_ids(6), 9, Sampling(0.8, 0.9, 50, 3), echo=True, prompt_tokens=6))
    pieces, outcome = [], None
    while outcome is None:
        for news in decoder.step():
            pieces.append(news.piece or "")
            outcome = news.outcome
    assert outcome.text == "".join(pieces)
    assert outcome.text.startswith(model.tokenizer.decode(list(prompt_ids(6))))
    assert (outcome.prompt_tokens, outcome.completion_tokens, outcome.finish_reason) == (6, 9, "length")


def test_the_same_seed_gives_the_same_text(model: Model) -> None:
    def drawn(seed: int) -> str:
        return texts(decode(TextDecoder(), [work(model, 6, sampling=Sampling(1.0, 1.0, 100, seed))]))[0]

    assert drawn(1) == drawn(1) != drawn(2)


def test_an_altered_artifact_is_refused(tmp_path: Path) -> None:
    artifact = write_artifact(tmp_path, state_dict(layers=1))
    weights = artifact.path("weights.bin")
    content = bytearray(weights.read_bytes())
    content[1000] ^= 1
    weights.write_bytes(bytes(content))
    with pytest.raises(LoadError, match="SHA-256 differs"):
        artifact.verify()
    weights.write_bytes(bytes(content[:-1]))
    with pytest.raises(LoadError, match="its manifest says"):
        artifact.verify()
    weights.unlink()
    with pytest.raises(LoadError, match=r"has no file weights\.bin"):
        artifact.verify()

"""The engine against the published model in fp32, and against itself: alone, in a batch, in chunks."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from predictors.gpt2.artifact import WEIGHTS, Artifact
from predictors.gpt2.engine import decoder as decoding
from predictors.gpt2.engine.decoder import Model, TextDecoder, Work
from predictors.gpt2.engine.sampling import Sampling, likeliest
from predictors.gpt2.engine.session import Part, Session
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
    (found,) = model.session.run([Part(0, 0, ids)])
    assert np.abs(found - exact).max() < 0.15 * exact.std()
    assert int(exact.argmax()) in likeliest(found, 3)


def test_a_prompt_read_in_chunks_is_the_same_prompt(model: Model) -> None:
    ids = prompt_ids(40)
    whole = model.session.run([Part(0, 0, ids)]).copy()
    model.session.run([Part(1, 0, ids[:13])])
    assert np.abs(whole - model.session.run([Part(1, 13, ids[13:])])).max() < 0.05


def test_prompts_parts_of_them_and_next_tokens_go_through_one_pass(model: Model) -> None:
    """Each as if it were alone; 33 and 65 are one more than whole blocks of the cache."""
    prompts = [prompt_ids(length, length) for length in (70, 40, 33, 65)]
    alone = [model.session.run([Part(0, 0, ids)])[0].copy() for ids in prompts]
    model.session.run([Part(1, 0, prompts[0][:32]), Part(3, 0, prompts[2][:-1])])
    together = model.session.run(
        [
            Part(1, 32, prompts[0][32:]),
            Part(0, 0, prompts[1]),
            Part(3, 32, prompts[2][-1:]),
            Part(2, 0, prompts[3]),
        ]
    )
    assert np.abs(together - alone).max() < 0.05


def test_what_an_earlier_text_left_in_the_cache_is_not_read(language: Artifact) -> None:
    session = Session(language, threads=1, slots=2, context=128)
    ids = prompt_ids(40)
    clean = session.run([Part(1, 0, ids)]).copy()
    for cache in session._caches:
        cache[...] = np.nan
    assert np.array_equal(session.run([Part(1, 0, ids)]), clean)
    session.run([Part(0, 0, ids[:-1])])
    assert np.abs(session.run([Part(0, 39, ids[-1:])]) - clean).max() < 0.05


def test_tied_and_own_heads_are_the_same_arithmetic(tmp_path: Path, model: Model) -> None:
    own = state_dict()
    own["out_head.weight"][0, 0] += 1e-3  # no longer the embedding
    artifact = write_artifact(tmp_path, own)
    assert not artifact.manifest.tied
    session = Session(artifact, threads=1, slots=1, context=128)
    ids = prompt_ids(9)
    found, tied = session.run([Part(0, 0, ids)])[0], model.session.run([Part(0, 0, ids)])[0]
    assert np.array_equal(likeliest(found, 3), likeliest(tied, 3))


def test_a_classifier_gives_its_labels(classifier: Artifact) -> None:
    session = Session(classifier, threads=1, slots=1, context=120)
    ids = prompt_ids(120)
    exact = Reference(state_dict(outputs=LABELS)).logits(ids)[-1]
    assert session.run([Part(0, 0, ids)])[0] == pytest.approx(exact, abs=0.1)


def test_who_joins_and_leaves_changes_nobody_elses_text(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sequences come, end and are dropped in the middle, so slots go from one to another."""
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


def test_a_newcomer_is_read_in_the_pass_that_decodes_the_others(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, passes = Session.run, []
    monkeypatch.setattr(Session, "run", lambda self, parts: passes.append(parts) or run(self, parts))
    decoder = TextDecoder()
    first = decoder.join(work(model, 5, new=9))
    list(decoder.step())
    second = decoder.join(work(model, 7, new=9, seed=1))
    assert [news.handle for news in decoder.step()] == [first, second]
    assert [[len(part.ids) for part in parts] for parts in passes] == [[5], [1, 7]]


def test_one_that_ends_makes_room_for_one_that_waits(model: Model) -> None:
    decoder = TextDecoder()
    stay = [decoder.join(work(model, 5, new=9, seed=seed)) for seed in range(3)]
    ends = decoder.join(work(model, 7, new=1, seed=4))
    waits = decoder.join(work(model, 7, new=9, seed=5))
    assert [news.handle for news in decoder.step()] == [*stay, ends]
    assert [news.handle for news in decoder.step()] == [*stay, waits]


def test_a_text_in_the_wrong_slot_is_seen(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = [prompt_ids(9, seed) for seed in range(3)]
    assert model.session.dependence(prompts) < 0.05
    run = Session.run

    def misplaced(self: Session, parts: Sequence[Part]) -> np.ndarray:
        return run(self, parts if len(parts) > 1 else [parts[0]._replace(slot=0)])

    monkeypatch.setattr(Session, "run", misplaced)
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
    weights = artifact.path(WEIGHTS)
    content = bytearray(weights.read_bytes())
    content[1000] ^= 1
    weights.write_bytes(bytes(content))
    with pytest.raises(LoadError, match="SHA-256 differs"):
        artifact.verify()
    weights.write_bytes(bytes(content[:-1]))
    with pytest.raises(LoadError, match="its manifest says"):
        artifact.verify()
    weights.unlink()
    with pytest.raises(LoadError, match=rf"has no file {WEIGHTS}"):
        artifact.verify()

"""8 bits against fp32: the same tokens at the published size, the same perplexity on a trained model."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hack.demo_models import demo_checkpoint
from predictors.gpt2.artifact import TOKENIZER, Artifact
from predictors.gpt2.demo import data
from predictors.gpt2.demo.build import CHECKPOINTS
from predictors.gpt2.engine.session import Part, Session
from predictors.gpt2.shape import END_OF_TEXT
from predictors.gpt2.tokenizer import TextTokenizer
from tests.support.gpt2 import (
    Reference,
    all_logits,
    perplexity,
    prompt_ids,
    state_dict,
    transformers_model,
    write_artifact,
)

pytestmark = pytest.mark.slow

PROMPT, STEPS = 32, 64


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, torch.Tensor], Session]:
    """GPT-2 of 124 million random weights, and the session of its artifact."""
    folder = tmp_path_factory.mktemp("base")
    state = state_dict(layers=12, hidden=768, context=256)
    artifact = write_artifact(folder, state)
    (folder / "model.pth").unlink()
    assert artifact.size < 130e6
    return state, Session(artifact, threads=2, slots=8, context=256)


def test_base_size_says_the_same_tokens_as_transformers(
    base: tuple[dict[str, torch.Tensor], Session],
) -> None:
    """Along the engine's greedy text: after each of its tokens, does transformers take the same next one?"""
    state, session = base
    model = transformers_model(state)
    for seed in range(2):
        ids = list(prompt_ids(PROMPT, seed))
        found = [*all_logits(session, ids)]
        while len(ids) < PROMPT + STEPS:
            ids.append(int(found[-1].argmax()))
            found.append(session.run([Part(0, len(ids) - 1, ids[-1:])])[0].copy())
        with torch.no_grad():
            exact = model(torch.tensor([ids])).logits[0].numpy()
        same = exact.argmax(-1)[PROMPT - 1 : -1] == ids[PROMPT:]
        assert same.sum() >= 60
        assert np.abs(np.array(found) - exact).max() < 0.15 * exact.std()


def test_base_size_says_the_same_in_a_batch(base: tuple[dict[str, torch.Tensor], Session]) -> None:
    """But for rounding: kernels may add in another order when there are more rows."""
    _, session = base
    prompts = [prompt_ids(3 + seed, seed) for seed in range(session.slots)]
    assert session.dependence(prompts) < 0.05


def test_a_trained_model_left_to_itself_answers_as_its_checkpoint_does() -> None:
    """Greedily, to the end of its answers. (Stories are made of ties: two runs of them part at the first.)"""
    folder = demo_checkpoint("gpt2")
    artifact = Artifact(folder / "got")
    session = Session(artifact, threads=2, slots=1, context=256)
    exact = Reference(torch.load(folder / CHECKPOINTS / "model.pth", weights_only=True))
    tokenizer = TextTokenizer(artifact.path(TOKENIZER))
    steps = same = 0
    for question in data.questions(held_out=False)[:8]:
        ours = tokenizer.encode(data.QUESTION.format(question.question))
        theirs, length = list(ours), len(ours)
        row = session.run([Part(0, 0, ours)])[0]
        while theirs[-1] != END_OF_TEXT:
            theirs.append(int(exact.logits(theirs)[-1].argmax()))
            ours.append(int(row.argmax()))
            row = session.run([Part(0, len(ours) - 1, ours[-1:])])[0]
        steps += len(ours) - length
        same += sum(a == b for a, b in zip(ours[length:], theirs[length:], strict=True))
    assert steps >= STEPS
    assert same >= 60 / 64 * steps


def test_a_trained_model_has_the_perplexity_of_its_checkpoint() -> None:
    folder = demo_checkpoint("gpt2")
    artifact = Artifact(folder / "generate")
    tokenizer = TextTokenizer(artifact.path(TOKENIZER))
    ids = tokenizer.encode(" ".join(data.stories(3, seed=1)))[:200]
    state = torch.load(folder / CHECKPOINTS / "gpt2.pth", weights_only=True)
    wanted = perplexity(Reference(state).logits(ids), ids)
    found = perplexity(all_logits(Session(artifact, threads=2, slots=1, context=256), ids), ids)
    assert found == pytest.approx(wanted, rel=0.01)

"""Which weights are found in a folder, which tasks they can do, and what the published sizes come to."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from predictors.gpt2.artifact import MANIFEST
from predictors.gpt2.shape import LABELS, VOCAB, ModelShape, expected_shapes
from predictors.gpt2.sources import GENERATE, GOT, SPAM, find_sources
from predictors.gpt2.tasks import tasks_of
from predictors.runtime.errors import LoadError


def put(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def found(folder: Path, checkpoint: Path | None = None) -> dict[str, str]:
    sources = find_sources(folder, checkpoint)
    return {name: str(source.path.relative_to(folder)) for name, source in sources.items()}


def test_checkpoints_go_by_their_published_names(tmp_path: Path) -> None:
    put(tmp_path, "spam_model.pth", "model.pth", "pytorch_model.bin")
    expected = {SPAM: "spam_model.pth", GOT: "model.pth", GENERATE: "pytorch_model.bin"}
    assert found(tmp_path) == expected
    put(tmp_path, "gpt2.pth")
    assert found(tmp_path) == {**expected, GENERATE: "gpt2.pth"}


def test_an_artifact_comes_before_a_checkpoint(tmp_path: Path) -> None:
    put(tmp_path, "spam_model.pth", f"spam/{MANIFEST}", "got/other")
    assert found(tmp_path) == {SPAM: "spam"}


def test_the_folder_may_itself_be_an_artifact(tmp_path: Path) -> None:
    put(tmp_path, MANIFEST)
    assert found(tmp_path) == {GENERATE: "."}


def test_a_checkpoint_named_by_itself_is_the_default_model(tmp_path: Path) -> None:
    """``CKPT_PATH``: as in the original it answers questions and goes on with any other text."""
    put(tmp_path, "gpt2.pth", "model.pth", "spam_model.pth", "mine.pth")
    assert found(tmp_path, tmp_path / "mine.pth") == {GOT: "mine.pth", SPAM: "spam_model.pth"}
    nowhere = tmp_path / "nowhere"
    assert find_sources(nowhere, tmp_path / "mine.pth")[GOT].path == tmp_path / "mine.pth"


def test_nothing_found_is_said(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"has no model: .*spam_model\.pth"):
        find_sources(tmp_path, None)
    with pytest.raises(LoadError, match="does not exist"):
        find_sources(tmp_path / "nowhere", None)
    with pytest.raises(LoadError, match=r"lost\.pth does not exist"):
        find_sources(tmp_path, tmp_path / "lost.pth")


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        ({SPAM, GOT, GENERATE}, {SPAM: SPAM, GOT: GOT, GENERATE: GENERATE}),
        ({GOT}, {GOT: GOT, GENERATE: GOT}),
        ({GENERATE}, {GOT: GENERATE, GENERATE: GENERATE}),
        ({SPAM}, {SPAM: SPAM}),
    ],
)
def test_a_task_without_a_model_of_its_own_takes_the_others(
    models: set[str], expected: dict[str, str]
) -> None:
    tasks = tasks_of(dict.fromkeys(models))
    assert {name: task.model for name, task in tasks.items()} == expected


def test_the_published_sizes_have_the_published_number_of_weights() -> None:
    def weights(shape: ModelShape) -> int:
        return sum(math.prod(size) for size in expected_shapes(shape).values())

    assert weights(ModelShape(12, 768, 1024, LABELS)) == 124_441_346
    assert weights(ModelShape(24, 1024, 1024, VOCAB)) == 406_286_336
    assert (ModelShape(12, 768, 1024, LABELS).heads, ModelShape(24, 1024, 1024, VOCAB).heads) == (12, 16)

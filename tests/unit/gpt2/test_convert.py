"""``convert``: its answers, its exit codes, and that a folder is there whole or not at all."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from predictors.gpt2.artifact import Artifact
from predictors.gpt2.convert import write
from predictors.gpt2.convert.command import NOT_CONVERTED, main
from predictors.gpt2.engine.session import Part, Session
from predictors.gpt2.shape import LABELS
from predictors.runtime.errors import LoadError
from tests.support.gpt2 import Reference, prompt_ids, state_dict, whole_model, write_vocabulary


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "weights"
    folder.mkdir()
    write_vocabulary(folder)
    torch.save(state_dict(layers=1, outputs=LABELS), folder / "spam_model.pth")
    return folder / "spam_model.pth"


def test_it_writes_what_is_served(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "models" / "spam"
    assert main([str(checkpoint), str(out)]) == 0
    assert "classifier, 1 layers of 64" in capsys.readouterr().out
    artifact = Artifact(out)
    artifact.verify()
    assert artifact.manifest.source == "spam_model.pth"
    assert all(path.stat().st_mode & 0o444 == 0o444 for path in out.iterdir()), "for whoever serves it"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["models", "weights"]
    assert [path.name for path in out.parent.iterdir()] == ["spam"], "nothing half-written stays"


def test_the_vocabulary_may_be_elsewhere(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "vocabulary").mkdir()
    for name in ("encoder.json", "vocab.bpe"):
        (checkpoint.parent / name).rename(tmp_path / "vocabulary" / name)
    assert main([str(checkpoint), str(tmp_path / "out")]) == NOT_CONVERTED
    assert "has no vocabulary" in capsys.readouterr().err
    assert main([str(checkpoint), str(tmp_path / "out"), "--tokenizer", str(tmp_path / "vocabulary")]) == 0


def test_what_cannot_be_converted_is_one_sentence(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    occupied = tmp_path / "occupied"
    occupied.mkdir()
    file = tmp_path / "file"
    file.touch()
    broken = checkpoint.with_name("broken.pth")
    broken.write_bytes(checkpoint.read_bytes()[:1000])
    for source, target, reason in (
        (checkpoint, occupied, "is there already"),
        (checkpoint, file / "below", "cannot be written"),
        (broken, tmp_path / "out", "truncated or not a checkpoint"),
        (checkpoint.with_name("none.pth"), tmp_path / "out", "does not exist"),
    ):
        assert main([str(source), str(target)]) == NOT_CONVERTED
        said = capsys.readouterr().err
        assert said.startswith("error: ")
        assert reason in said
        assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_conversion_that_fails_in_the_middle_leaves_nothing(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(write.tensors, "write", full)
    out = tmp_path / "models" / "spam"
    with pytest.raises(LoadError, match="cannot be written: No space left"):
        write.convert(checkpoint, out)
    assert list(out.parent.iterdir()) == []


def test_a_whole_model_object_needs_trust(
    checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its class stands in the author's own script, which is not here: the weights are read all the same."""
    script = ModuleType("train_of_another")
    exec("import torch\nclass GPTModel(torch.nn.Module): pass\nclass Config: width = 64", vars(script))
    monkeypatch.setitem(sys.modules, script.__name__, script)
    model = whole_model(state_dict(layers=1, outputs=LABELS), script.GPTModel())
    model.config = script.Config()
    torch.save(model, checkpoint)
    monkeypatch.delitem(sys.modules, script.__name__)
    assert main([str(checkpoint), str(tmp_path / "out")]) == NOT_CONVERTED
    assert "convert --trust-pickle" in capsys.readouterr().err
    assert main(["--trust-pickle", str(checkpoint), str(tmp_path / "out")]) == 0
    assert Artifact(tmp_path / "out").shape.classifies


def test_wrong_usage_is_exit_code_2() -> None:
    with pytest.raises(SystemExit) as ended:
        main(["only one"])
    assert ended.value.code == 2


def test_a_width_that_is_no_power_of_two(checkpoint: Path, tmp_path: Path) -> None:
    """GPT-2 XL's is 1600; 192 stands for it."""
    state = state_dict(layers=1, hidden=192, outputs=LABELS)
    torch.save(state, checkpoint)
    artifact = write.convert(checkpoint, tmp_path / "out")
    ids = prompt_ids(20)
    session = Session(artifact, threads=1, slots=1, context=120)
    assert session.run([Part(0, 0, ids)])[0] == pytest.approx(Reference(state).logits(ids)[-1], abs=0.1)

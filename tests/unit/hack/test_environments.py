"""Which models are served by a Python of their own, and that it is made whole or not at all."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from hack import environments

PIN = "{name}==1.0 \\\n    --hash=sha256:" + "0" * 64 + "\n"


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("QUINTET_CACHE", str(tmp_path / "cache"))
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements" / "dev.txt").write_text(PIN.format(name="a") + PIN.format(name="b"))
    (tmp_path / "requirements" / "small-model.txt").write_text(PIN.format(name="a"))
    (tmp_path / "requirements" / "big-model.txt").write_text(PIN.format(name="a") + PIN.format(name="engine"))
    return tmp_path


def test_what_development_holds_needs_no_environment_of_its_own(clone: Path) -> None:
    assert not environments.needs_own("small_model", clone)
    assert environments.python("small_model", clone) == Path(sys.executable)


def test_a_model_without_a_lock_is_served_by_development(clone: Path) -> None:
    assert environments.python("no_model", clone) == Path(sys.executable)


def test_what_it_does_not_hold_does(clone: Path) -> None:
    assert environments.needs_own("big_model", clone)


def test_another_lock_is_another_environment(clone: Path) -> None:
    before = environments.folder("big_model", clone)
    lock = clone / "requirements" / "big-model.txt"
    lock.write_text(lock.read_text().replace("1.0", "1.1"))
    assert environments.folder("big_model", clone) != before


def test_one_that_could_not_be_made_leaves_nothing_behind(
    clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_OFFLINE", "1")  # and no such hash anywhere
    with pytest.raises(environments.EnvironmentFailed, match="big_model"):
        environments.python("big_model", clone)
    assert not environments.folder("big_model", clone).exists()

from __future__ import annotations

import subprocess
import unittest
from pathlib import Path

import pytest

from hack import system
from hack.system import Part


@pytest.fixture
def apt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[str]]:
    """A machine with apt and root, without the programs; what apt was asked is kept."""
    asked: list[list[str]] = []
    monkeypatch.setenv("QUINTET_CACHE", str(tmp_path))
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr(system, "PARTS", PARTS)
    monkeypatch.setattr(system.os, "geteuid", lambda: 0)
    monkeypatch.setattr(
        system.shutil, "which", lambda name, path=None: "/usr/bin/apt-get" if name == "apt-get" else None
    )
    monkeypatch.setattr(system, "_quiet", lambda command, cwd=None: asked.append(command))
    return asked


PARTS = (
    Part("redis-server", "redis", "tests"),
    Part("java", "openjdk", "tests"),
    Part("wrk", "wrk", "benchmarks"),
)
SENTENCE = (
    "not on this machine: redis-server, java; "
    "install with: sudo apt-get install -y --no-install-recommends redis openjdk"
)


def test_all_that_is_missing_is_installed_in_one_go(apt: list[list[str]]) -> None:
    system.main(["tests"])
    assert apt == [["apt-get", "install", "-y", "-qq", "--no-install-recommends", "redis", "openjdk"]]


def test_old_package_lists_are_renewed_once(apt: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    def stale(command: list[str], cwd: str | None = None) -> None:
        apt.append(command)
        if len(apt) == 1:
            raise subprocess.CalledProcessError(100, command, stderr="404")

    monkeypatch.setattr(system, "_quiet", stale)
    system.main(["tests"])
    assert [command[1] for command in apt] == ["install", "update", "install"]


@pytest.mark.usefixtures("apt")
def test_what_cannot_be_installed_is_said_once_for_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert system.main(["tests"]) == 0
    assert SENTENCE in capsys.readouterr().err.splitlines()


def test_without_root_nothing_is_tried(apt: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system.os, "geteuid", lambda: 1000)
    assert system.main(["tests"]) == 0
    assert apt == []


@pytest.mark.usefixtures("apt")
def test_in_ci_a_missing_part_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    assert system.main(["tests"]) == 1
    with pytest.raises(system.MissingPart, match="java"):
        system.need("java")


@pytest.mark.usefixtures("apt")
def test_elsewhere_its_test_is_skipped() -> None:
    with pytest.raises(unittest.SkipTest, match="java"):
        system.need("java")


@pytest.mark.usefixtures("apt")
def test_benchmarks_do_not_begin_without_their_tools() -> None:
    assert system.main(["benchmarks"]) == 1


def test_a_found_part_is_its_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("QUINTET_CACHE", str(tmp_path))
    unpacked = tmp_path / "bin" / "promtool"
    unpacked.parent.mkdir()
    unpacked.touch(mode=0o755)
    monkeypatch.setenv("PATH", "/nowhere")
    assert system.need("promtool") == unpacked

"""The small parts: logs, private files, examples, progress on a terminal and elsewhere."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from hack.local_stack import child, files, hints
from hack.local_stack.errors import StackError
from hack.local_stack.progress import Progress, doing


def test_last_lines_of_a_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("".join(f"line {number}\n" for number in range(100)) + "x" * 500 + "\n")
    lines = child.last_lines(log, count=3)
    assert lines[:2] == ["line 98", "line 99"]
    assert lines[2] == "x" * 400 + " ..."


def test_our_own_questions_are_not_worth_a_line(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text('why\n{"message":"request","route":"/v2/health/ready"}\n{"route": "/health/detailed"}\n')
    assert child.last_lines(log) == ["why"]


def test_last_error_is_the_last_json_line_that_is_one(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(
        '{"level": "ERROR", "message": "first"}\n{"level": "INFO", "message": "no"}\nnot json\n[1]\n'
    )
    assert child.last_error(log) == "first"
    log.write_text("Traceback\n")
    assert child.last_error(log) is None


def test_a_private_file_is_whole_or_not_there(tmp_path: Path) -> None:
    (tmp_path / "token.part").write_text("left by a power cut")
    files.write_private(tmp_path / "token", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["token"]
    assert (tmp_path / "token").read_text() == "new"


def test_timings_that_cannot_be_read_are_none(tmp_path: Path) -> None:
    folder = files.LocalFolder(tmp_path)
    folder.create()
    assert folder.timings() == {}
    folder.keep_timings({"alpha": 1.5})
    folder.keep_timings({"beta": 2})
    assert folder.timings() == {"alpha": 1.5, "beta": 2.0}
    (folder.path / "timings.json").write_text("[")
    assert folder.timings() == {}


def test_relative_keys_mean_the_same_file_from_their_new_place(tmp_path: Path) -> None:
    folder = files.LocalFolder(tmp_path)
    folder.create()
    source = tmp_path / "etc" / "gateway"
    source.mkdir(parents=True)
    (source / "secret").write_text("0123456789abcdef" * 2)
    keys = {"secret_files": ["secret"]}
    raw = {
        "issuers": [{"name": "a", "issuer": "a", "audiences": ["a"], "keys": keys}],
        "models": {"alpha": {"upstream": {"host": "127.0.0.1"}}},
    }
    loaded = files.write_config(raw, ["alpha"], source, folder)
    moved = loaded.base / loaded.config.issuers[0].keys.secret_files[0]
    assert moved.resolve() == source / "secret"
    assert keys == {"secret_files": ["secret"]}


def test_a_config_with_a_mistake_says_which(tmp_path: Path) -> None:
    folder = files.LocalFolder(tmp_path)
    folder.create()
    with pytest.raises(StackError, match="models"):
        files.write_config({"issuers": [], "models": {"a": {"upstrem": {}}}}, ["a"], tmp_path, folder)


def test_examples_that_are_not_json_name_their_file(tmp_path: Path) -> None:
    (tmp_path / "examples.json").write_text("{")
    with pytest.raises(StackError, match=r"examples\.json"):
        hints.examples(tmp_path)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_on_a_terminal_is_one_line_that_moves() -> None:
    screen = Terminal()
    progress = Progress(screen)
    progress.update("alpha", "loading", 3.2, 8.0)
    assert screen.getvalue() == "\r\x1b[K  alpha: loading (3 of about 8 s)"
    progress.done("alpha", 4.0)
    assert screen.getvalue().endswith("\r\x1b[K  alpha: ready after 4.0 s\n")


def test_progress_elsewhere_is_a_line_a_step_and_now_and_then_its_count() -> None:
    log = io.StringIO()
    progress = Progress(log)
    for seconds in range(20):
        progress.update("alpha", f"training, step {seconds}/20", seconds, None)
    progress.update("alpha", "warming up", 20, None)
    said = [line.strip() for line in log.getvalue().splitlines()]
    assert said == [
        "alpha: training, step 0/20",
        "alpha: training, step 15/20",
        "alpha: warming up",
    ]


@pytest.mark.parametrize(
    ("details", "words"),
    [
        (None, "starting the process"),
        ({"state": "loading", "stage": "reading weights"}, "loading: reading weights"),
        ({"state": "ready"}, "ready"),
    ],
)
def test_details_in_a_few_words(details: dict[str, object] | None, words: str) -> None:
    assert doing(details) == words

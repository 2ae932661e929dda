"""The command's files: texts that are read or named by their line, and outcomes that are never lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from predictors.text_evaluator.client.files import MarksFile, Unusable, read_texts

TEXT = {"id_alumno": "A1", "curso": "3r ESO", "consigna": "Tema", "respuesta": "dues paraules"}
ODD = "a\u2028b\u2029c\u0085d\x0be\x0cf\x1cg"
"""What ends a line for Python, and for no JSON Lines."""


def file_of(folder: Path, *lines: str) -> Path:
    path = folder / "texts.jsonl"
    path.write_text("\n".join(lines), "utf-8", newline="")
    return path


def test_a_line_ends_at_a_line_feed_and_nowhere_else(tmp_path: Path) -> None:
    texts = [{**TEXT, "respuesta": ODD}, TEXT]
    path = file_of(
        tmp_path, "\ufeff" + json.dumps(texts[0], ensure_ascii=False) + "\r", "", json.dumps(texts[1])
    )
    assert read_texts(path) == texts


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"id_alumno": ', "it is not JSON (Expecting value: line 1 column 15 (char 14))"),
        ("[]", "it is not an object with id_alumno, curso, consigna, respuesta"),
        (json.dumps({**TEXT, "curso": 3}), "curso is not text"),
        (json.dumps({"id_alumno": "A"}), "curso is missing"),
        (json.dumps({**TEXT, "respuesta": "\ud800"}), "respuesta has half a character (a lone surrogate)"),
    ],
)
def test_a_line_that_is_no_text_is_named(tmp_path: Path, line: str, said: str) -> None:
    path = file_of(tmp_path, json.dumps(TEXT), "", line)
    with pytest.raises(Unusable) as raised:
        read_texts(path)
    assert str(raised.value) == f"{path}, line 3: {said}."


def test_a_file_that_is_not_there_or_has_no_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(Unusable, match=r"none\.jsonl: No such file or directory\."):
        read_texts(tmp_path / "none.jsonl")
    with pytest.raises(Unusable, match="there is no text in it"):
        read_texts(file_of(tmp_path, "", " "))
    path = tmp_path / "latin.jsonl"
    path.write_bytes(b'{"curso": "\xe9"}')
    with pytest.raises(Unusable, match=r"line 1: it is not UTF-8\."):
        read_texts(path)


TEXTS = [{**TEXT, "id_alumno": f"A{index}"} for index in range(4)]


def row(index: int, nota: int = 3, **other: Any) -> dict[str, Any]:
    return {"index": index, "id_alumno": f"A{index}", "nota": nota, "feedback": ODD, **other}


def written(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_outcomes_stand_as_they_come_and_in_order_at_the_end(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    marks = MarksFile(out, TEXTS)
    for index in (2, 0, 3, 1):
        marks.add(row(index))
    assert [one["index"] for one in written(out)] == [2, 0, 3, 1]
    marks.finish()
    assert written(out) == [row(index) for index in range(4)]
    assert list(tmp_path.iterdir()) == [out]


def test_what_was_written_stays_when_nothing_comes_and_is_not_written_twice(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    before = MarksFile(out, TEXTS)
    before.add(row(2))
    before.add(row(0))
    again = MarksFile(out, TEXTS)
    assert written(out) == [row(2), row(0)], "the service may be away"
    again.add(row(2))
    assert written(out) == [row(2), row(0)]
    again.add(row(0))
    again.add(row(1))
    assert written(out) == [row(2), row(0), row(1)]
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize(
    "old",
    [
        [row(0), row(1, nota=5)],  # another job of the same texts
        [row(0), row(7)],  # more texts than there are
        [row(0), row(1, id_alumno="B")],  # another class
        ["my diary"],
    ],
)
def test_what_is_of_another_job_is_kept_under_another_name(tmp_path: Path, old: list[Any]) -> None:
    out = tmp_path / "out.jsonl"
    (tmp_path / "out.jsonl.1").write_text("older still")
    out.write_text("".join(json.dumps(one) + "\n" for one in old))
    marks = MarksFile(out, TEXTS)
    marks.add(row(0))
    marks.add(row(1))
    assert written(out) == [row(0), row(1)]
    assert written(tmp_path / "out.jsonl.2") == old
    assert (tmp_path / "out.jsonl.1").read_text() == "older still"


def test_a_line_that_was_cut_off_is_kept_too(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    out.write_text(json.dumps(row(0)) + '\n{"index": 1, "id_al')
    MarksFile(out, TEXTS).add(row(0))
    assert written(out) == [row(0)]
    assert (tmp_path / "out.jsonl.1").read_text().endswith("id_al")


def test_where_nothing_can_be_written_is_known_before_anything_is_asked(tmp_path: Path) -> None:
    with pytest.raises(Unusable, match=r"nowhere/out\.jsonl: No such file or directory\."):
        MarksFile(tmp_path / "nowhere" / "out.jsonl", TEXTS)

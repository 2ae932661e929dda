"""The files of the command: one text a line in, one outcome a line out."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from predictors.text_evaluator.client.following import Row

FIELDS = ("id_alumno", "curso", "consigna", "respuesta")


class Unusable(Exception):
    """Why a file cannot be used: one sentence that names it, and the line."""


def read_texts(path: Path) -> list[dict[str, str]]:
    """Raises Unusable. Lines end at LF: other characters that end lines for some may stand in a text."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise Unusable(f"{path}: {error.strerror}.") from None
    texts = []
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if line.strip():
            try:
                texts.append(_text(line))
            except ValueError as error:
                raise Unusable(f"{path}, line {number}: {error}.") from None
    if not texts:
        raise Unusable(f"{path}: there is no text in it.")
    return texts


def _text(line: bytes) -> dict[str, str]:
    """Raises ValueError with what is wrong."""
    try:
        found = json.loads(line.decode())
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    except ValueError as error:
        raise ValueError(f"it is not JSON ({error})") from None
    if not isinstance(found, dict):
        raise ValueError(f"it is not an object with {', '.join(FIELDS)}")
    for field in FIELDS:
        value = found.get(field)
        if not isinstance(value, str):
            raise ValueError(f"{field} is not text" if field in found else f"{field} is missing")
        if any("\ud800" <= sign <= "\udfff" for sign in value):
            raise ValueError(f"{field} has half a character (a lone surrogate)")
    return {field: found[field] for field in FIELDS}


class MarksFile:
    """Outcomes of one job on disk. What stands there already is never lost.

    They are appended as they come; what is there, from the same job before, is not written again. A file that
    turns out to be of something else is kept beside it under a name of its own. Raises Unusable.
    """

    def __init__(self, path: Path, texts: Sequence[dict[str, str]]) -> None:
        self.path, self.rows = path, dict[int, Row]()
        try:
            with path.open("ab"):  # before hours of work are for nothing
                pass
            content = path.read_bytes()
        except OSError as error:
            raise self._unusable(error) from None
        *lines, rest = content.split(b"\n")
        self._there = {index: line for line in lines if (index := _index(line, texts)) is not None}
        self._is_ours = len(self._there) == len(lines) and not rest

    def add(self, row: Row) -> None:
        index, line = row["index"], _line(row)
        try:
            if not self._is_ours or self._there.get(index, line) != line:
                self._put_aside()
            if index not in self._there:
                self._append([line])
                self._there[index] = line
        except OSError as error:
            raise self._unusable(error) from None
        self.rows[index] = row

    def finish(self) -> None:
        """All outcomes, in the order of the texts, in place of what came as it came."""
        new = self.path.with_name(f"{self.path.name}.new")
        try:
            new.write_bytes(b"".join(_line(self.rows[index]) + b"\n" for index in sorted(self.rows)))
            os.replace(new, self.path)
        except OSError as error:
            raise self._unusable(error) from None

    def _append(self, lines: Sequence[bytes]) -> None:
        with self.path.open("ab") as file:
            file.writelines(line + b"\n" for line in lines)

    def _put_aside(self) -> None:
        number = 1
        while (aside := self.path.with_name(f"{self.path.name}.{number}")).exists():
            number += 1
        os.rename(self.path, aside)
        self._there, self._is_ours = {index: _line(row) for index, row in self.rows.items()}, True
        self._append(list(self._there.values()))

    def _unusable(self, error: OSError) -> Unusable:
        return Unusable(f"{self.path}: {error.strerror}.")


def _index(line: bytes, texts: Sequence[dict[str, str]]) -> int | None:
    """Which text it is an outcome of; None: of none of these."""
    try:
        row: Any = json.loads(line)
        index = row["index"]
        return index if row["id_alumno"] == texts[index]["id_alumno"] and index >= 0 else None
    except (ValueError, LookupError, TypeError):
        return None


def _line(row: Row) -> bytes:
    return json.dumps(row, ensure_ascii=False).encode()

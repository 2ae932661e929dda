"""A threat is only answered if the test that is named for it is there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "threat-model.md").read_text()
ROWS = re.findall(r"^\| ([A-Z]\d+) \|.*\| (\S+) \|$", TEXT, re.MULTILINE)


def test_every_threat_has_a_test_that_exists() -> None:
    assert len(ROWS) == len(re.findall(r"^\| [A-Z]\d+ \|", TEXT, re.MULTILINE)) > 40
    for row, named in ROWS:
        file, _, function = named.partition("::")
        path = ROOT / "tests" / (file if file.startswith("unit/") else f"gateway/{file}")
        assert path.is_file(), row
        assert re.search(rf"^(async )?def {function}\(", path.read_text(), re.MULTILINE), row


def test_no_number_twice() -> None:
    numbers = [row for row, _ in ROWS]
    assert len(set(numbers)) == len(numbers)

"""What a reader of values.yaml sees, and what follows from it."""

from __future__ import annotations

import json

import jsonschema_rs
import pytest

from hack.chart.documented import read
from hack.chart.readme import BEGIN, readme
from hack.chart.schema import schema

VALUES = """\
# How things
# are done.
# @definition thing
defaults:
  # @schema {minimum: 1}
  count: 2
  # Free.
  # @schema {additionalProperties: {type: string}}
  labels: {}
# @schema {additionalProperties: {$ref: "#/definitions/thing"}}
things:
  one: {count: 3}
# | or not
name: ""
"""


def test_comments_belong_to_the_field_below() -> None:
    defaults, things, name = read(VALUES)
    assert defaults.text == "How things are done."
    assert defaults.definition == "thing"
    assert [child.name for child in defaults.children] == ["count", "labels"]
    assert things.children == ()
    assert (name.path, name.default) == (("name",), "")


@pytest.mark.parametrize(
    ("values", "valid"),
    [
        ({"things": {"two": {"count": 1}}}, True),
        ({"things": {"two": {"count": 0}}}, False),
        ({"things": {"two": {"kount": 1}}}, False),
        ({"defaults": {"labels": {"any": "thing"}}}, True),
        ({"defaults": {"labels": {"any": 1}}}, False),
        ({"nam": ""}, False),
        ({"name": 1}, False),
    ],
)
def test_the_schema_takes_what_is_documented(values: object, valid: bool) -> None:
    assert jsonschema_rs.is_valid(json.loads(schema(read(VALUES))), values) is valid


def test_a_schema_that_is_no_yaml_is_named() -> None:
    with pytest.raises(ValueError, match=r"values.yaml, a: @schema"):
        read("# @schema {a: [}\na: 1\n")


def test_the_readme_keeps_what_people_wrote() -> None:
    made = readme(f"# Ours\n\n{BEGIN}\nold\n", read(VALUES))
    assert made.startswith(f"# Ours\n\n{BEGIN}\n")
    assert "old" not in made
    assert "| count | `2` |" in made

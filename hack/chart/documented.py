"""values.yaml as its reader sees it: each field with its default and the comment above it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

SCHEMA, DEFINITION = "@schema ", "@definition "


@dataclass(frozen=True)
class Field:
    path: tuple[str, ...]
    default: Any
    text: str = ""
    schema: dict[str, Any] = field(default_factory=dict)
    """What the comment adds to what follows from the default."""
    definition: str | None = None
    """Name under which other fields refer to the shape of this one."""
    children: tuple[Field, ...] = ()

    @property
    def name(self) -> str:
        return self.path[-1]

    def walk(self) -> Iterator[Field]:
        yield self
        for child in self.children:
            yield from child.walk()


def read(text: str) -> tuple[Field, ...]:
    """The top-level fields of values.yaml. Raises ValueError where a @schema comment is not YAML."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode)
    return _fields(root, text.splitlines(), (), yaml.safe_load(text))


def _fields(
    node: yaml.MappingNode, lines: list[str], parent: tuple[str, ...], values: dict[str, Any]
) -> tuple[Field, ...]:
    found: list[Field] = []
    for key, value in node.value:
        if key.value == "<<":
            continue
        path = (*parent, key.value)
        text, schema, definition = _comment(lines, key.start_mark.line, path)
        # What has a shape of its own is one field; a map in braces or with a free shape is a value.
        opened = isinstance(value, yaml.MappingNode) and value.value and not value.flow_style and not schema
        children = _fields(value, lines, path, values[key.value]) if opened else ()
        found.append(Field(path, values[key.value], text, schema, definition, children))
    return tuple(found)


def _comment(lines: list[str], at: int, path: tuple[str, ...]) -> tuple[str, dict[str, Any], str | None]:
    """Of the key in line ``at``: the text above it, what @schema adds, and what @definition names."""
    words: list[str] = []
    schema: dict[str, Any] = {}
    definition = None
    while at > 0 and lines[at - 1].lstrip().startswith("# "):
        at -= 1
        said = lines[at].lstrip()[2:].strip()
        if said.startswith(SCHEMA):
            try:
                schema = yaml.safe_load(said.removeprefix(SCHEMA))
            except yaml.YAMLError as error:
                raise ValueError(f"values.yaml, {'.'.join(path)}: @schema is not YAML: {error}") from None
        elif said.startswith(DEFINITION):
            definition = said.removeprefix(DEFINITION)
        else:
            words.insert(0, said)
    return " ".join(words), schema, definition

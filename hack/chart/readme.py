"""values.yaml -> the chart's README: one table a section."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from hack.chart.documented import Field

BEGIN = "<!-- values: made from values.yaml by `make chart` -->"


def readme(present: str, fields: Iterable[Field]) -> str:
    """The README whose part behind BEGIN is renewed; what stands before it is written by people."""
    return "\n".join([present.partition(BEGIN)[0] + BEGIN, *_tables(fields)]) + "\n"


def _tables(fields: Iterable[Field]) -> Iterator[str]:
    for top in fields:
        yield ""
        yield f"### {top.name}"
        yield ""
        if top.text:
            yield top.text
            yield ""
        leaves = [field for field in top.walk() if not field.children and field is not top]
        if top.children:
            yield "| key | default | meaning |"
            yield "|---|---|---|"
            yield from (_row(field) for field in leaves)
        else:
            yield f"Default: {_code(top)}"


def _row(field: Field) -> str:
    return f"| {'.'.join(field.path[1:])} | {_code(field)} | {field.text.replace('|', chr(92) + '|')} |"


def _code(field: Field) -> str:
    """Long defaults are better read where they stand."""
    if isinstance(field.default, dict | list) and len(json.dumps(field.default)) > 80:
        return "see values.yaml"
    return f"`{json.dumps(field.default)}`"

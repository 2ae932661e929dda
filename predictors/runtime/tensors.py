"""Tensors of the Open Inference Protocol: what a model declares, and the codec both transports share.

A tensor holds one row an item: shape ``[N]`` or ``[N, 1]`` for scalar items, ``[N, *item]`` for others.
BYTES are text: strings on our side, UTF-8 on the wire.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from predictors.runtime.errors import InvalidValue, Malformed

DTYPES: dict[str, np.dtype] = {
    "BOOL": np.dtype("?"),
    "INT8": np.dtype("i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "UINT8": np.dtype("u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}


@dataclass(frozen=True)
class TensorSpec:
    """One named tensor of a model; ``item`` is the shape of one item's row, () for a scalar."""

    name: str
    datatype: str
    item: tuple[int, ...] = ()
    optional: bool = False
    """An input that may lack; an output that may be None: v1 leaves it out, v2 sends ``empty``."""
    column: bool = False
    """An output that v2 sends as [N, 1] where others are [N], as Triton does for a model that batches."""
    json: bool = False
    """A BYTES output whose value is a list or an object: v1 has it as it is, v2 as its JSON text."""
    absent: Any = None
    """What stands in a tensor for no value, where "" or 0 could be one."""

    @property
    def shape(self) -> list[int]:
        return self.shape_of(-1)

    def shape_of(self, rows: int) -> list[int]:
        return [rows, 1] if self.column else [rows, *self.item]

    @property
    def empty(self) -> Any:
        """What stands in a tensor for no value."""
        if self.absent is not None:
            return self.absent
        return "" if self.datatype == "BYTES" else DTYPES[self.datatype].type(0).item()

    def element(self, value: Any) -> Any:
        """A rendered output's value as an element of its tensor."""
        if value is None:
            return self.empty
        return orjson.dumps(value).decode() if self.json else value

    def metadata(self) -> dict[str, Any]:
        """As the protocol's model metadata has it."""
        return {"name": self.name, "datatype": self.datatype, "shape": self.shape}


def text(value: object, field: str) -> str:
    """A BYTES element as text. Raises InvalidValue for anything that is not UTF-8 text."""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise InvalidValue(
                f"{field} is not valid UTF-8.", details=[detail(field, "not valid UTF-8")]
            ) from None
    if not isinstance(value, str):
        raise malformed(field, "must be a string")
    return value


def decode(spec: TensorSpec, datatype: object, shape: object, data: Any, field: str) -> list[Any]:
    """Rows of one input tensor. ``data`` is a (nested) list of elements, or bytes in the wire's raw layout.

    Raises Malformed for a wrong datatype, shape or element, InvalidValue for a value no model can take.
    """
    if datatype != spec.datatype:
        raise malformed(f"{field}.datatype", f"must be {spec.datatype}")
    count = _rows(spec, shape, f"{field}.shape")
    total = count * math.prod(spec.item)
    if spec.datatype == "BYTES":
        elements = _split_bytes(data, field) if isinstance(data, bytes) else _flatten(data, total, field)
        _expect(len(elements), total, field)
        column: list[Any] = [
            value if type(value) is str else text(value, f"{field}.data[{i}]")
            for i, value in enumerate(elements)
        ]
        return column if not spec.item else np.array(column, dtype=object).reshape(count, *spec.item).tolist()
    array = _numbers(spec, data, total, field)
    return array.reshape(count, *spec.item).tolist()


def encode_bytes(column: Sequence[Any]) -> bytes:
    """A BYTES column in the raw layout: each element with its length as 4 bytes little-endian before it."""
    parts = []
    for value in column:
        raw = value if isinstance(value, bytes) else str(value).encode()
        parts += [struct.pack("<I", len(raw)), raw]
    return b"".join(parts)


def encode_numbers(spec: TensorSpec, column: Sequence[Any]) -> np.ndarray:
    """A numeric column as a little-endian array of the declared datatype, shape [N, *item]."""
    return np.asarray(column, dtype=DTYPES[spec.datatype]).reshape(len(column), *spec.item)


def detail(field: str, message: str) -> dict[str, str]:
    return {"field": field, "message": message}


def malformed(field: str, message: str) -> Malformed:
    return Malformed(f"{field} {message}.", details=[detail(field, message)])


def _rows(spec: TensorSpec, shape: object, field: str) -> int:
    if not isinstance(shape, (list, tuple)):
        raise malformed(field, _NO_SHAPE)
    for size in shape:
        if type(size) is not int or size < 0:
            raise malformed(field, _NO_SHAPE)
    item = tuple(shape[1:])
    if not shape or (item != spec.item and (spec.item or item != (1,))):
        wanted = [["N", *spec.item]] + ([["N", 1]] if not spec.item else [])
        raise malformed(field, f"must be {' or '.join(map(str, wanted))}".replace("'", ""))
    if math.prod(shape) > 1 << 24:
        raise malformed(field, "names too many elements")
    return shape[0]


_NO_SHAPE = "must be a list of non-negative integers"


def _expect(found: int, total: int, field: str) -> None:
    if found != total:
        raise malformed(f"{field}.data", f"has {found} elements, its shape asks for {total}")


def _flatten(data: Any, total: int, field: str) -> list[Any]:
    if not isinstance(data, list):
        raise malformed(f"{field}.data", "must be a list")
    for _ in range(8):  # OIP allows nested rows; deeper than any tensor rank is not a tensor
        kinds = set(map(type, data))
        if list not in kinds:
            return data
        if len(kinds) > 1:
            break
        data = [element for row in data for element in row]
        if len(data) > total:
            _expect(len(data), total, field)
    raise malformed(f"{field}.data", "must be flat, or rows nested as its shape says")


def _split_bytes(data: bytes, field: str) -> list[bytes]:
    elements, at = [], 0
    while at < len(data):
        if at + 4 > len(data):
            raise malformed(f"{field}.data", "ends inside the length of an element")
        (length,) = struct.unpack_from("<I", data, at)
        at += 4
        if at + length > len(data):
            raise malformed(f"{field}.data", "ends inside an element")
        elements.append(data[at : at + length])
        at += length
    return elements


def _numbers(spec: TensorSpec, data: Any, total: int, field: str) -> np.ndarray:
    dtype = DTYPES[spec.datatype]
    if isinstance(data, bytes):
        if len(data) != total * dtype.itemsize:
            raise malformed(
                f"{field}.data", f"has {len(data)} bytes, its shape asks for {total * dtype.itemsize}"
            )
        array = np.frombuffer(data, dtype)
    else:
        elements = _flatten(data, total, field)
        _expect(len(elements), total, field)
        kinds = bool if dtype.kind == "b" else (int, float) if dtype.kind == "f" else int
        for i, value in enumerate(elements):
            if not isinstance(value, kinds) or (isinstance(value, bool) and dtype.kind != "b"):
                raise malformed(f"{field}.data[{i}]", f"must be {spec.datatype}")
        try:
            array = np.array(elements, dtype)
        except OverflowError:
            raise malformed(f"{field}.data", f"does not fit {spec.datatype}") from None
    if dtype.kind == "f" and not np.isfinite(array).all():
        where = f"{field}.data[{int(np.flatnonzero(~np.isfinite(array.ravel()))[0])}]"
        raise InvalidValue(f"{where} must be finite.", details=[detail(where, "must be finite")])
    return array

"""A file of torch.save's as numpy arrays, without torch, and with nothing in it that could be run.

The file is a zip (since torch 1.6): ``NAME/data.pkl`` says what there is, ``NAME/data/0`` and so on are the
numbers. The pickle is read here instruction by instruction, not by Python's unpickler: of the functions that
it may name, three are known, and they make a dict or a tensor. No name is ever imported.
"""

from __future__ import annotations

import math
import pickletools
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

_TYPES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "BFloat16Storage": "<u2",  # the upper half of an fp32
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}


class NotATorchFile(Exception):
    """One that is cut off, altered, or of another kind; says why, without a full stop."""


class MoreThanTensors(Exception):
    """The file names a class or a function: what it holds could only be had by running it."""


def is_zip(path: Path) -> bool:
    """By its first bytes: its end may be cut off."""
    return _begins_with(path, b"PK\x03\x04")


def is_of_old(path: Path) -> bool:
    """Whether it may be a file of torch.save's from before 1.6: a pickle that begins with a large number."""
    return _begins_with(path, b"\x80\x02\x8a\x0a")


def _begins_with(path: Path, first: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(first)) == first


def read(path: Path) -> Any:
    """What was saved, with numpy arrays for tensors (bfloat16 as fp32).

    Raises NotATorchFile or MoreThanTensors.
    """
    try:
        with zipfile.ZipFile(path) as file:
            return _Reader(file).read()
    except (MoreThanTensors, NotATorchFile):
        raise
    except zipfile.BadZipFile:
        raise NotATorchFile("its zip is not whole") from None
    except Exception as error:  # what a broken pickle does to a stack is not foreseen one by one
        raise NotATorchFile(f"its description cannot be read ({type(error).__name__})") from None


@dataclass(frozen=True)
class _Name:
    """Of a class or a function."""

    name: str


@dataclass(frozen=True)
class _Storage:
    kind: str
    values: np.ndarray


class _Mark:
    """Where a tuple, a list or a dict of many begins on the stack."""


class _Reader:
    def __init__(self, file: zipfile.ZipFile) -> None:
        self._file = file
        (description,) = (name for name in file.namelist() if name.endswith("/data.pkl"))
        self._folder = description.removesuffix("data.pkl")
        self._storages: dict[str, _Storage] = {}
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def read(self) -> Any:
        said = f"{self._folder}byteorder" in self._file.namelist()  # by newer versions
        if said and self._bytes("byteorder") != b"little":
            raise NotATorchFile("its numbers are big-endian")
        for instruction, argument, _ in pickletools.genops(self._bytes("data.pkl")):
            if instruction.name == "STOP":
                (saved,) = self._stack
                return saved
            self._run(instruction.name, argument)
        raise NotATorchFile("its description has no end")

    def _run(self, instruction: str, argument: Any) -> None:
        stack = self._stack
        match instruction:
            case "PROTO" | "FRAME":
                pass
            case "MARK":
                stack.append(_Mark)
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[instruction])
            case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT" | "BINUNICODE" | "SHORT_BINUNICODE":
                stack.append(argument)
            case "GLOBAL":
                stack.append(_Name(argument))
            case "STACK_GLOBAL":
                name, module = stack.pop(), stack.pop()
                stack.append(_Name(f"{module} {name}"))
            case "BINPUT" | "LONG_BINPUT":
                self._memo[argument] = stack[-1]
            case "MEMOIZE":
                self._memo[len(self._memo)] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(self._memo[argument])
            case "EMPTY_TUPLE" | "EMPTY_LIST" | "EMPTY_DICT":
                stack.append({"EMPTY_TUPLE": (), "EMPTY_LIST": [], "EMPTY_DICT": {}}[instruction])
            case "TUPLE":
                stack.append(tuple(self._since_mark()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack.append(tuple(self._last(int(instruction[-1]))))
            case "APPEND" | "APPENDS":
                values = self._since_mark() if instruction == "APPENDS" else self._last(1)
                _of(list, stack[-1]).extend(values)
            case "SETITEM" | "SETITEMS":
                pairs = self._since_mark() if instruction == "SETITEMS" else self._last(2)
                _of(dict, stack[-1]).update(zip(pairs[::2], pairs[1::2], strict=True))
            case "BINPERSID":
                stack.append(self._storage(*_of(tuple, stack.pop())))
            case "REDUCE":
                arguments = _of(tuple, stack.pop())
                stack.append(_made(stack.pop(), arguments))
            case "BUILD":
                stack.pop()  # what torch says of a state dict beside its tensors (`_metadata`)
                _of(dict, stack[-1])
            case _:
                raise MoreThanTensors(instruction)

    def _last(self, count: int) -> list[Any]:
        if len(self._stack) < count:
            raise NotATorchFile("its description takes what is not there")
        values = self._stack[-count:]
        del self._stack[-count:]
        return values

    def _since_mark(self) -> list[Any]:
        mark = max(place for place, value in enumerate(self._stack) if value is _Mark)
        values = self._stack[mark + 1 :]
        del self._stack[mark:]
        return values

    def _storage(self, what: str, kind: _Name, key: str, _: str, count: int) -> _Storage:
        module, _, name = _of(_Name, kind).name.partition(" ")
        if what != "storage" or module != "torch" or name not in _TYPES:
            raise MoreThanTensors(kind.name)
        if key not in self._storages:
            values = np.frombuffer(self._bytes(f"data/{key}"), _TYPES[name])
            self._storages[key] = _Storage(name, values)
        found = self._storages[key]
        if (found.kind, len(found.values)) != (name, count):
            raise NotATorchFile(f"data/{key} is not the {count} numbers that are said to be there")
        return found

    def _bytes(self, name: str) -> bytes:
        entry = self._file.getinfo(self._folder + name)
        if entry.compress_type != zipfile.ZIP_STORED:  # so that nothing is larger than the file
            raise NotATorchFile(f"its {name} is compressed")
        return self._file.read(entry)  # which checks its CRC


def _of(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise NotATorchFile(f"its description has a {type(value).__name__} where a {kind.__name__} belongs")
    return value


def _made(function: Any, arguments: tuple[Any, ...]) -> Any:
    match _of(_Name, function).name:
        case "collections OrderedDict":
            return dict(*arguments)
        case "torch._utils _rebuild_tensor_v2":
            storage, offset, size, stride = arguments[:4]
            return _tensor(_of(_Storage, storage), offset, size, stride)
        case "torch._utils _rebuild_parameter":
            return _of(np.ndarray, arguments[0])
        case name:
            raise MoreThanTensors(name)


def _tensor(storage: _Storage, offset: int, size: Sequence[int], stride: Sequence[int]) -> np.ndarray:
    numbers = (offset, *_of(tuple, size), *_of(tuple, stride))
    if len(size) != len(stride) or not all(type(number) is int and number >= 0 for number in numbers):
        raise NotATorchFile("a tensor's shape is none")
    last = offset + sum((count - 1) * step for count, step in zip(size, stride, strict=True))
    # Neither beyond its numbers nor more than there are: no stride of 0 makes a small file a large array.
    if math.prod(size) > len(storage.values) or (math.prod(size) and last >= len(storage.values)):
        raise NotATorchFile("a tensor is larger than its numbers")
    values = storage.values[offset:]
    steps = [step * values.itemsize for step in stride]
    array = np.lib.stride_tricks.as_strided(values, size, steps, writeable=False)
    if storage.kind == "BFloat16Storage":
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array

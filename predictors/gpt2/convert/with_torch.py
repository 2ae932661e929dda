"""What is read by torch alone: .safetensors, files from before torch 1.6, and whole model objects.

Numpy arrays stand for tensors in what is returned, and its state dict for a model.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors.torch import load_file

from predictors.gpt2.convert.torch_file import MoreThanTensors, NotATorchFile
from predictors.runtime.errors import LoadError


def read(path: Path) -> Any:
    """Tensors and nothing else. Raises NotATorchFile or MoreThanTensors."""
    try:
        if path.suffix == ".safetensors":
            return _arrays(load_file(path))
        return _arrays(torch.load(path, map_location="cpu", weights_only=True))
    except pickle.UnpicklingError as error:
        if "global" in str(error):  # it names a class or a function
            raise MoreThanTensors from None
        raise NotATorchFile("it is no file of torch.save") from None
    except Exception as error:  # what a broken file makes of torch's reader is not foreseen there
        lines = str(error).splitlines()
        raise NotATorchFile(lines[0].rstrip(".") if lines else "it ends too early") from None


def read_trusted(path: Path) -> Any:
    """Whatever the file makes when it is run. Raises LoadError."""
    reader = ModuleType("pickle")  # what torch asks for: it takes the class of this name from it
    vars(reader).update(vars(pickle), Unpickler=_Unpickler)
    try:
        return _arrays(torch.load(path, map_location="cpu", weights_only=False, pickle_module=reader))
    except Exception as error:  # the file may do anything
        raise LoadError(f"{path} cannot be unpickled: {type(error).__name__}: {error}.") from None


def _arrays(loaded: Any) -> Any:
    if isinstance(loaded, torch.nn.Module):
        loaded = loaded.state_dict()
    if isinstance(loaded, Mapping):
        return {key: _arrays(value) for key, value in loaded.items()}
    if isinstance(loaded, torch.Tensor):
        loaded = loaded.detach()
        return (loaded.float() if loaded.is_floating_point() else loaded).numpy()
    return loaded


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Where the author's class cannot be imported, a bare module: its tensors are all that is wanted."""
        try:
            return super().find_class(module, name)
        except (ImportError, AttributeError):
            return type(name, (_Unknown,), {"__module__": module})


class _Unknown(torch.nn.Module):
    def __init__(self, *_: object, **__: object) -> None:
        super().__init__()

"""Triton loads this file; the model is the package's. Triton's Python does not read PYTHONPATH by itself."""

import os
import sys

sys.path[:0] = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]

from predictors.gpt4_nano.backends.model import StreamingModel as TritonPythonModel  # noqa: E402

__all__ = ["TritonPythonModel"]

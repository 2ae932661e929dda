"""What OpenVINO leaves behind in a thread does no harm when its models are dropped in another."""

from __future__ import annotations

import subprocess
import sys

from tests.support.servers import ROOT

DROPPED_ELSEWHERE = """
import os, signal, sys, threading
import numpy, openvino
from openvino import opset13 as ops
from predictors.runtime.openvino import core

given = ops.parameter([1], numpy.float32)
models = [core().compile_model(openvino.Model([ops.relu(given)], [given], "model"), "CPU")]
dropping = threading.Thread(target=models.clear)
dropping.start()
dropping.join()
signal.signal(signal.SIGTERM, lambda number, _: sys.exit(7))
os.kill(os.getpid(), signal.SIGTERM)
"""


def test_a_signal_is_heard_after_a_model_was_dropped_in_another_thread() -> None:
    ended = subprocess.run([sys.executable, "-c", DROPPED_ELSEWHERE], cwd=ROOT, timeout=60, check=False)
    assert ended.returncode == 7

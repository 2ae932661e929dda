"""OpenVINO's one Core of a process."""

from __future__ import annotations

from functools import cache

import openvino


@cache
def core() -> openvino.Core:
    """The same one always, which lives as long as the process.

    OpenVINO's CPU plugin gives the thread that makes it a stack for signals, and takes that stack away from
    the thread in which the last model of a Core happens to be dropped. Were that another one, the next
    signal to the first thread, a SIGTERM say, would end the process with SIGSEGV (OpenVINO 2026.4).
    """
    return openvino.Core()

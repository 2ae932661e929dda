"""No process of the engine outlives ours."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

from predictors.text_evaluator.engine.children import Tether, descendants
from tests.support.servers import ROOT

PARENT = """
import os, subprocess, sys
from predictors.text_evaluator.engine.children import Tether, descendants
before = descendants(os.getpid())
child = subprocess.Popen(["sleep", "300"], start_new_session=True)
tether = Tether.of_new_children(before)
print(child.pid, flush=True)
sys.stdin.read()
"""


def test_a_killed_process_takes_its_children_along() -> None:
    command = [sys.executable, "-c", PARENT]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        watched = os.pidfd_open(child)
        parent.send_signal(signal.SIGKILL)
    # Readable when the child has ended; whoever adopts it may take its time to bury it.
    assert select.select([watched], [], [], 30)[0]
    os.close(watched)


def test_children_of_children_are_found() -> None:
    with subprocess.Popen(
        ["sh", "-c", "sleep 300 & echo $!; wait"], stdout=subprocess.PIPE, text=True
    ) as shell:
        assert shell.stdout is not None
        sleeper = int(shell.stdout.readline())
        assert {shell.pid, sleeper} <= set(descendants(os.getpid()))
        Tether([sleeper, shell.pid]).cut()
    assert not Path(f"/proc/{shell.pid}").exists()


def test_a_process_that_has_ended_has_none() -> None:
    with subprocess.Popen(["true"]) as ended:
        pass
    assert descendants(ended.pid) == []

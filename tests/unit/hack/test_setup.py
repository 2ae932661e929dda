"""hack/setup.sh with stand-ins for Python and uv: what it does when, and that a failure leaves no stamp."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "hack" / "setup.sh"

UV = """#!/bin/sh
echo "uv $*" >>"$TRACE"
case $1 in
  venv) mkdir -p .venv/bin; ln -sf "$REAL_PYTHON" .venv/bin/python ;;
  pip) [ -z "$SYNC_FAILS" ] ;;
esac
"""


class Clone:
    def __init__(self, root: Path) -> None:
        self.root, self.trace, self.cache = root, root / "trace", root / "cache"
        (root / "hack").mkdir()
        (root / "requirements").mkdir()
        shutil.copy(SCRIPT, root / "hack")
        self.lock("dev", "one==1\n")
        self.lock("uv", "uv==1\n")
        self.trace.touch()
        # Where uv is found, so that nothing is fetched.
        self.uv = self.cache / f"uv-{hashlib.sha256(b'uv==1' + bytes([10])).hexdigest()[:12]}" / "bin" / "uv"
        self.program(self.uv, UV)

    def lock(self, name: str, text: str) -> None:
        (self.root / "requirements" / f"{name}.txt").write_text(text)

    def program(self, path: Path, text: str) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
        return path

    def setup(self, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command, env=self.environ(**environ), capture_output=True, text=True, check=False
        )

    @property
    def command(self) -> list[str]:
        return ["sh", str(self.root / "hack" / "setup.sh")]

    def environ(self, **changes: str) -> dict[str, str]:
        clean = {"PATH": os.environ["PATH"], "HOME": str(self.root), "QUINTET_CACHE": str(self.cache)}
        clean |= {"TRACE": str(self.trace), "REAL_PYTHON": sys.executable, "SYNC_FAILS": ""}
        return clean | {"PYTHON": sys.executable} | changes

    def did(self) -> list[str]:
        steps = [line.split()[1] for line in self.trace.read_text().splitlines()]
        self.trace.write_text("")
        return steps


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path)


def test_first_time_makes_the_environment_then_nothing_until_the_lock_changes(clone: Clone) -> None:
    assert clone.setup().returncode == 0
    assert clone.did() == ["venv", "pip"]

    done = clone.setup(PYTHON="/not/even/looked/at")
    assert (done.returncode, done.stderr, clone.did()) == (0, "", [])

    clone.lock("dev", "one==2\n")
    assert clone.setup().returncode == 0
    assert clone.did() == ["pip"]


def test_failed_set_up_is_tried_again(clone: Clone) -> None:
    assert clone.setup(SYNC_FAILS="yes").returncode != 0
    clone.did()
    assert clone.setup().returncode == 0
    assert clone.did() == ["pip"]


def test_failed_renewal_does_not_pass_for_the_old_environment(clone: Clone) -> None:
    clone.setup()
    clone.lock("dev", "one==2\n")
    assert clone.setup(SYNC_FAILS="yes").returncode != 0
    clone.lock("dev", "one==1\n")  # a checkout of the old branch: half of the new one is installed
    clone.did()
    assert clone.setup().returncode == 0
    assert clone.did() == ["pip"]


def test_another_python_is_one_sentence(clone: Clone) -> None:
    old = clone.program(
        clone.root / "old" / "python", "#!/bin/sh\n[ $1 = --version ] && echo Python 3.9.2\nexit 1\n"
    )
    done = clone.setup(PYTHON=str(old))
    assert done.returncode == 1
    assert done.stderr == (
        f"setup: Python 3.11 or 3.12 is needed and {old} is Python 3.9.2; "
        "name another with PYTHON=/path/to/python3.11 make setup\n"
    )
    assert clone.did() == []


def test_no_ensurepip_and_no_root_is_one_sentence(clone: Clone) -> None:
    clone.uv.unlink()
    bare = clone.program(
        clone.root / "bare" / "python",
        f'#!/bin/sh\ncase "$2" in *ensurepip*) exit 1 ;; *) exec {sys.executable} "$@" ;; esac\n',
    )
    clone.program(clone.root / "bare" / "id", "#!/bin/sh\necho 1000\n")
    done = clone.setup(PYTHON=str(bare), PATH=f"{bare.parent}:{os.environ['PATH']}")
    assert done.returncode == 1
    assert done.stderr == (
        f"setup: {bare} has no ensurepip; install it with: sudo apt-get install -y python3-venv\n"
    )


def test_uv_that_cannot_be_fetched_leaves_no_half_folder(clone: Clone) -> None:
    clone.uv.unlink()
    clone.uv.parent.rmdir()
    clone.uv.parent.parent.rmdir()
    clone.lock("uv", "uv==1\n")  # without a hash: pip refuses it before it asks anybody
    done = clone.setup(PIP_NO_INDEX="1")
    assert done.returncode != 0
    assert list(clone.cache.iterdir()) == []
    assert not (clone.root / ".venv").exists()


def test_ctrl_c_leaves_no_half_folder(clone: Clone) -> None:
    shutil.rmtree(clone.uv.parents[1])
    slow = clone.program(
        clone.root / "slow" / "python",
        f'#!/bin/sh\n[ "$2" = venv ] || exec {sys.executable} "$@"\n'
        'mkdir -p "$3/bin"; echo made >"$TRACE"; exec sleep 60\n',
    )
    os.mkfifo(clone.root / "made")
    environ = clone.environ(PYTHON=str(slow), TRACE=str(clone.root / "made"))
    # In a process group of its own, all of which hears Ctrl-C, as in a terminal.
    with subprocess.Popen(clone.command, env=environ, process_group=0, preexec_fn=heed_ctrl_c) as setup:
        assert (clone.root / "made").read_text() == "made\n"
        assert list(clone.cache.iterdir()) != []
        os.killpg(setup.pid, signal.SIGINT)
    assert list(clone.cache.iterdir()) == []


def heed_ctrl_c() -> None:
    """In a job in the background it would be ignored, by children too."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)

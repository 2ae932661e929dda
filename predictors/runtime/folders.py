"""Puts a set of files in place as one folder: all of it or none of it.

The files are written into a hidden folder beside the target, synced, and renamed. A lock file beside it,
which the kernel gives back when its holder dies, keeps two writers apart; whoever holds it may sweep away
what a killed writer left.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


class CannotWrite(Exception):
    """The checkpoint was not written; one sentence says why."""


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Waits until no other run writes to the folder, then sweeps away what killed ones left."""
    lock = folder.parent / f".{folder.name}.lock"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        handle = _locked(lock)
    except OSError as error:
        raise CannotWrite(_sentence(folder, error)) from error
    try:
        for beside in folder.parent.iterdir():
            if beside.name.startswith(f".{folder.name}.partial-"):
                shutil.rmtree(beside, ignore_errors=True)
        yield
    finally:
        lock.unlink(missing_ok=True)
        os.close(handle)


def check_target(folder: Path, needed: int, mark: str = "config.json") -> None:
    """Says before the long work what could only fail after it.

    ``needed``: bytes. A folder that holds the file ``mark`` is taken for an older checkpoint, to be replaced.
    """
    try:
        if folder.exists() and any(folder.iterdir()) and not (folder / mark).is_file():
            raise CannotWrite(f"{folder} holds other files; name a new folder, or a checkpoint to replace.")
        free = shutil.disk_usage(folder.parent).free
    except OSError as error:
        raise CannotWrite(_sentence(folder, error)) from error
    if free < needed:
        room = f"{free / 1e6:.1f} MB left, the checkpoint needs {needed / 1e6:.0f} MB"
        raise CannotWrite(f"The disk under {folder.parent} has {room}.")


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """An empty folder to write to, which takes ``folder``'s place when the block ends without an error.

    An older checkpoint there is replaced. Enter with ``only_writer`` held. A full disk, and a file below the
    yielded folder that cannot be written, are CannotWrite; other errors of the block pass as they are.
    """
    partial: Path | None = None
    filled = False
    try:
        partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.partial-", dir=folder.parent))
        partial.chmod(0o755)
        yield partial
        filled = True
        _sync_tree(partial)
        if folder.exists():
            # Moved aside under a name that the next run sweeps away, should this one die in between.
            folder.rename(partial.with_name(f"{partial.name}-old"))
        partial.rename(folder)
        _sync(folder.parent)
    except OSError as error:
        if partial is not None and not filled and not _of_writing(error, partial):
            raise
        raise CannotWrite(_sentence(folder, error)) from error
    finally:
        if partial is not None:
            shutil.rmtree(partial, ignore_errors=True)
            shutil.rmtree(partial.with_name(f"{partial.name}-old"), ignore_errors=True)


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """``files``: content by path below the folder."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def write_checkpoint(folder: Path, files: Mapping[str, bytes]) -> None:
    """The files in place of the folder. Call with ``only_writer`` held."""
    with replacing(folder) as partial:
        write_files(partial, files)


def _locked(path: Path) -> int:
    """The lock file, open and ours."""
    while True:
        handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
        fcntl.flock(handle, fcntl.LOCK_EX)
        # Its last holder removed it: what was locked may be a file that is no longer there.
        try:
            if os.stat(path).st_ino == os.fstat(handle).st_ino:
                return handle
        except FileNotFoundError:
            pass
        os.close(handle)


def _sync_tree(folder: Path) -> None:
    for place, _, files in os.walk(folder):
        for name in files:
            _sync(Path(place, name))
        _sync(Path(place))


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


_FULL = (errno.ENOSPC, errno.EDQUOT)


def _of_writing(error: OSError, partial: Path) -> bool:
    """Whether it is what was to be written that failed, not something that was to be read for it."""
    if _full(error):
        return True
    if isinstance(error, shutil.Error):
        return any(str(partial) in why for why in _copies(error))
    file = error.filename
    return isinstance(file, (str, os.PathLike)) and Path(file).absolute().is_relative_to(partial.absolute())


def _full(error: OSError) -> bool:
    if isinstance(error, shutil.Error):
        return any(why.startswith(f"[Errno {number}]") for why in _copies(error) for number in _FULL)
    return error.errno in _FULL


def _copies(error: shutil.Error) -> list[str]:
    """What went wrong with each file of a tree that was copied, in the words of its OSError."""
    failed = error.args[0]
    return [str(why) for _, _, why in failed] if isinstance(failed, list) else [str(failed)]


def _sentence(folder: Path, error: OSError) -> str:
    reason = error.strerror or str(error)
    if _full(error):
        reason = "the disk is full"
    elif isinstance(error, shutil.Error):
        reason = _copies(error)[0]
    return f"The checkpoint could not be written to {folder}: {reason}; nothing was left behind."

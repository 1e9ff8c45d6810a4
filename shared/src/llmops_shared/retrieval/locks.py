"""File locks between processes; the kernel lets go of them however a process ends."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds the lock alone; waits for it."""
    handle = hold(path, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(handle)


def hold(path: Path, kind: int) -> int:
    """An open file with a lock of this kind; closing it lets go."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(handle, kind)
    return handle


def try_hold(path: Path) -> int | None:
    """The lock alone, or None when anybody holds it."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle

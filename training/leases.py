"""Who maps a bundle: a shared lock on its manifest, for as long as the bundle may be read.

The lock is the kernel's (flock): it goes with the process, whatever ends it. Whoever removes a
bundle takes it alone and without waiting; a file system without locks keeps every bundle.
"""

from __future__ import annotations

import os
import sys
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

if sys.platform != "win32":
    import fcntl

MANIFEST = "manifest.json"  # the file of a bundle that carries the lock


class Lease:
    """Keeps a bundle from being removed until nothing refers to this any more.

    Raises OSError where there is no bundle, or where it goes away in this very moment.
    """

    def __init__(self, directory: Path) -> None:
        descriptor = os.open(directory / MANIFEST, os.O_RDONLY)
        weakref.finalize(self, os.close, descriptor)
        if sys.platform != "win32":
            with suppress(OSError):  # no locks here: then nothing is ever removed here, either
                fcntl.flock(descriptor, fcntl.LOCK_SH)  # waits no longer than a rename takes
        if not os.path.samestat(os.fstat(descriptor), (directory / MANIFEST).stat()):
            raise FileNotFoundError(f"{directory} has just been removed")


@contextmanager
def unleased(directory: Path) -> Iterator[bool]:
    """True: no process has a lease, and none can take one within the block."""
    try:
        descriptor = os.open(directory / MANIFEST, os.O_RDWR)  # some file systems want to write
    except OSError as error:
        yield isinstance(error, FileNotFoundError)  # what is no bundle nobody has open
        return
    try:
        yield _taken_alone(descriptor)
    finally:
        os.close(descriptor)


def _taken_alone(descriptor: int) -> bool:
    if sys.platform == "win32":
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True

"""A disk that never answers: a FUSE file system whose server says nothing (fuse(4))."""

import contextlib
import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

_libc = ctypes.CDLL(None, use_errno=True)
_MNT_FORCE, _MNT_DETACH = 1, 2  # umount2(2)


@contextlib.contextmanager
def dead_disk(folder: Path) -> Iterator[None]:
    """Mount such a disk at ``folder``: whoever looks at what is in it waits until the end."""
    try:
        server = os.open("/dev/fuse", os.O_RDWR)
    except OSError as error:
        pytest.skip(f"needs /dev/fuse: {error.strerror}")
    try:
        options = f"fd={server},rootmode=40000,user_id=0,group_id=0"
        kind = b"fuse"
        if _libc.mount(b"dead", os.fsencode(folder), kind, 0, options.encode()) != 0:
            pytest.skip(f"cannot mount: {os.strerror(ctypes.get_errno())}")
        try:
            yield
        finally:
            _libc.umount2(os.fsencode(folder), _MNT_FORCE | _MNT_DETACH)
    finally:
        os.close(server)  # whoever waits gets ENOTCONN

"""Whether the wall clock is synchronised with a time server.

The kernel knows (adjtimex(2)): whoever sets the clock, systemd-timesyncd, chrony or ntpd, clears
its STA_UNSYNC, and the kernel sets that again when nobody has corrected the clock for hours. Where
the call is forbidden, as in some containers, the file is asked that systemd-timesyncd touches at
each synchronisation (systemd-timesyncd.service(8)).
"""

import ctypes
from collections.abc import Callable
from pathlib import Path

_STA_UNSYNC = 0x40
_TIMESYNCD = Path("run/systemd/timesync/synchronized")

_libc = ctypes.CDLL(None, use_errno=True)


class _Timex(ctypes.Structure):
    """The head of ``struct timex``; the kernel writes the rest into the padding."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 512),
    )


def kernel_status() -> int | None:
    """Return the status bits of the kernel's clock; None where the call is forbidden."""
    values = _Timex()  # modes = 0: read only
    return None if _libc.adjtimex(ctypes.byref(values)) < 0 else int(values.status)


def is_synchronised(root: Path, status: Callable[[], int | None] = kernel_status) -> bool | None:
    """Return whether the clock is synchronised; None where nothing on this machine knows."""
    bits = status()
    if bits is not None:
        return not bits & _STA_UNSYNC
    return True if (root / _TIMESYNCD).exists() else None

"""Disks: how full they are, whether they can be written, and what the SD card reports.

Mounts come from /proc/self/mountinfo (proc(5)). Whether a file system can be written is in the
options of its superblock: those of the mount are also ``ro`` where systemd's ProtectSystem has made
the rest of the machine read-only for this service. A file system that meets an error it can't
repair becomes read-only (``errors=remount-ro``, ext4(5)); kernels from 6.15 on leave ``rw`` in its
options then, and add ``emergency_ro`` (fs/ext4/super.c). What ext4 has counted stays in its
superblock over reboots, until e2fsck clears it (``errors_count``,
Documentation/ABI/testing/sysfs-fs-ext4). The kernel counts no errors of the card itself outside of
debugfs.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from supervisor.host.source_files import read_number, read_text

_MB = 2**20
_CARD = re.compile(r"mmcblk\d+")
_ESCAPED = re.compile(r"\\([0-7]{3})")  # a space, tab or backslash: getmntent(3)
_READ_ONLY = {"ro", "emergency_ro"}


@dataclass(frozen=True, slots=True)
class Mount:
    """One mounted file system."""

    point: str
    block_device: str | None  # its name below /sys; None for a file system without one
    is_read_only: bool  # the file system as a whole, wherever it is mounted

    @property
    def card(self) -> str | None:
        """The name of the SD or MMC card it lies on, None for another disk."""
        found = _CARD.match(self.block_device or "")
        return found[0] if found else None


def mount_of(root: Path, path: str) -> Mount | None:
    """Return where the absolute ``path`` is mounted: of the longest mount point, the last line."""
    found: Mount | None = None
    for mount in _mounts(root):
        above = mount.point.rstrip("/")
        is_above = path == mount.point or path.startswith(f"{above}/")
        if is_above and (found is None or len(mount.point) >= len(found.point)):
            found = mount
    return found


def _mounts(root: Path) -> Iterator[Mount]:
    for line in (read_text(root / "proc/self/mountinfo") or "").splitlines():
        own, _, rest = line.partition(" - ")
        words, superblock = own.split(" "), rest.split(" ")
        if len(words) < 6 or len(superblock) < 3:
            continue
        yield Mount(
            point=_ESCAPED.sub(lambda m: chr(int(m[1], 8)), words[4]),
            block_device=_block_device(root, words[2]),
            is_read_only=not _READ_ONLY.isdisjoint(superblock[2].split(",")),
        )


def _block_device(root: Path, number: str) -> str | None:
    """Return the name of the block device "major:minor"; /proc/mounts may say /dev/root."""
    text = read_text(root / "sys/dev/block" / number / "uevent") or ""
    found = re.search(r"^DEVNAME=(\S+)$", text, re.MULTILINE)
    return found[1] if found else None


def disk_facts(root: Path, path: str) -> dict[str, Any] | None:
    """Return ``total_mb``, ``free_mb``, ``free_percent`` and ``read_only`` of the disk of ``path``.

    ``free`` is what this user may write. Blocks while the disk does; None where it can't be read.
    """
    mount = mount_of(root, path)
    try:
        found = os.statvfs(root / path.lstrip("/"))
    except OSError:
        return None
    facts: dict[str, Any] = {}
    if found.f_blocks:
        facts["total_mb"] = round(found.f_blocks * found.f_frsize / _MB, 1)
        facts["free_mb"] = round(found.f_bavail * found.f_frsize / _MB, 1)
        # as df: what only root may use counts as used
        usable = found.f_blocks - found.f_bfree + found.f_bavail
        facts["free_percent"] = round(100 * found.f_bavail / usable, 1) if usable else 0.0
    if mount is not None:
        facts["read_only"] = mount.is_read_only
    return facts or None


def card_facts(root: Path, paths: list[str]) -> dict[str, Any] | None:
    """Return what is known of the SD card that ``paths`` lie on; None where none of them does.

    Keys: ``device``, ``name`` and ``kind`` (``SD`` or ``MMC``) where the kernel has them,
    ``read_only`` (a file system on it can't be written, though /etc/fstab doesn't ask for that)
    and ``errors`` (counted by ext4 since its last repair).
    """
    mounts = [mount for path in paths if (mount := mount_of(root, path)) and mount.card]
    if not mounts:
        return None
    card = str(mounts[0].card)
    device = root / "sys/block" / card / "device"
    errors = [
        count
        for name in {str(mount.block_device) for mount in mounts if mount.card == card}
        if (count := read_number(root / "sys/fs/ext4" / name / "errors_count")) is not None
    ]
    facts = {
        "device": card,
        "name": read_text(device / "name"),
        "kind": read_text(device / "type"),
        "read_only": any(m.is_read_only and not _wanted_read_only(root, m) for m in mounts),
        "errors": sum(errors) if errors else None,
    }
    return {key: value for key, value in facts.items() if value is not None}


def _wanted_read_only(root: Path, mount: Mount) -> bool:
    """Return whether /etc/fstab asks for a read-only mount there (fstab(5))."""
    for line in (read_text(root / "etc/fstab") or "").splitlines():
        words = line.split()
        if len(words) >= 4 and not words[0].startswith("#") and words[1] == mount.point:
            return "ro" in words[3].split(",")
    return False

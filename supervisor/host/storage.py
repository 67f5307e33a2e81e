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
    device: str  # "major:minor"
    is_read_only: bool  # the file system as a whole, wherever it is mounted


def read_mounts(root: Path) -> list[Mount]:
    """Return what is mounted, in the order of /proc/self/mountinfo."""
    found = []
    for line in (read_text(root / "proc/self/mountinfo") or "").splitlines():
        own, _, rest = line.partition(" - ")
        words, superblock = own.split(" "), rest.split(" ")
        if len(words) >= 6 and len(superblock) >= 3:
            point = _ESCAPED.sub(lambda m: chr(int(m[1], 8)), words[4])
            is_read_only = not _READ_ONLY.isdisjoint(superblock[2].split(","))
            found.append(Mount(point, words[2], is_read_only))
    return found


def mount_of(mounts: list[Mount], path: str) -> Mount | None:
    """Return where the absolute ``path`` is mounted: of the longest mount point, the last line."""
    found: Mount | None = None
    for mount in mounts:
        above = mount.point.rstrip("/")
        is_above = path == mount.point or path.startswith(f"{above}/")
        if is_above and (found is None or len(mount.point) >= len(found.point)):
            found = mount
    return found


def block_device(root: Path, mount: Mount) -> str | None:
    """Return the name of the block device below /sys (/proc/mounts may say /dev/root), or None."""
    text = read_text(root / "sys/dev/block" / mount.device / "uevent") or ""
    found = re.search(r"^DEVNAME=(\S+)$", text, re.MULTILINE)
    return found[1] if found else None


def disk_facts(root: Path, mounts: list[Mount], path: str) -> dict[str, Any] | None:
    """Return ``total_mb``, ``free_mb``, ``free_percent``, ``free_inodes_percent``, ``read_only``.

    All are of the disk of ``path``; a file system without a fixed number of inodes (as btrfs) has
    none to be short of. ``free`` is what this user may write. Blocks while the disk does; None
    where it can't be read.
    """
    mount = mount_of(mounts, path)
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
    if found.f_files:
        usable = found.f_files - found.f_ffree + found.f_favail
        facts["free_inodes_percent"] = round(100 * found.f_favail / usable, 1) if usable else 0.0
    if mount is not None:
        facts["read_only"] = mount.is_read_only
    return facts or None


def card_facts(root: Path, mounts: list[Mount], paths: list[str]) -> dict[str, Any] | None:
    """Return what is known of the SD card that ``paths`` lie on; None where none of them does.

    Keys: ``device``, ``name`` and ``kind`` (``SD`` or ``MMC``) where the kernel has them,
    ``read_only`` (a file system on it can't be written, though /etc/fstab doesn't ask for that)
    and ``errors`` (counted by ext4 since its last repair).
    """
    on_cards = {
        name: mount
        for path in paths
        if (mount := mount_of(mounts, path))
        and (name := block_device(root, mount))
        and _CARD.match(name)
    }
    if not on_cards:
        return None
    card = _CARD.match(next(iter(on_cards)))
    device = card[0] if card else ""
    errors = [
        count
        for name in on_cards
        if (count := read_number(root / "sys/fs/ext4" / name / "errors_count")) is not None
    ]
    facts = {
        "device": device,
        "name": read_text(root / "sys/block" / device / "device/name"),
        "kind": read_text(root / "sys/block" / device / "device/type"),
        "read_only": any(
            one.is_read_only and not _wanted_read_only(root, one) for one in on_cards.values()
        ),
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

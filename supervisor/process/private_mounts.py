"""Gives a process folders of its own: what it writes there goes to other files, not to the disk.

Each folder becomes an overlay in mounts that only this process and its children have. It shows the
files that are there; what is written, by C code and started programs too, goes to a scratch folder.
Without root this takes a user namespace, which many machines and containers forbid.

Sources: mount_namespaces(7), user_namespaces(7), capset(2), and Documentation/filesystems/
overlayfs.rst of the kernel, in which unprivileged overlays exist since 5.11.
"""

import contextlib
import ctypes
import errno
import os
import stat
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path

from supervisor.process.mount_points import mount_points

_CLONE_NEWNS = 0x00020000
_CLONE_NEWUSER = 0x10000000
_MNT_DETACH = 2
_MS_REC = 0x4000
_MS_PRIVATE = 0x40000
_CAPABILITY_VERSION_3 = 0x20080522

_Look = tuple[int, int, int, bool]

_libc = ctypes.CDLL(None, use_errno=True)


def outermost(folders: Iterable[Path]) -> list[str]:
    """Return the real paths of those folders that exist, without any that lies in another one."""
    real = {os.path.realpath(one) for one in folders if os.path.isdir(one)}
    return sorted(one for one in real if not any(_is_below(one, other) for other in real - {one}))


def why_not(folders: Sequence[str], scratch: str) -> str | None:
    """Return why `Overlays` can't be mounted here, None if they can; for a child of its own."""
    try:
        _refuse_inner_mounts(folders)
        _refuse_inner_scratch(folders, scratch)
        if os.geteuid() != 0:
            _refuse_files_of_others(folders)
        Overlays(folders, scratch).mount()
    except OSError as error:
        return error.strerror
    return None


class Overlays:
    """Send what this process and its children write below ``folders`` to ``scratch``.

    ``folders`` are real paths, as `outermost` returns; ``scratch`` is an empty folder outside of
    them. To be used by a process with one thread, if `why_not` had no reason.
    """

    def __init__(self, folders: Sequence[str], scratch: str) -> None:
        self._folders = folders
        self._scratch = scratch
        self._on_tmpfs = False
        self._uppers: dict[str, tuple[str, _Look]] = {}  # by folder
        self._count = 0
        self._here: str | None = None

    def mount(self) -> None:
        """Enter mounts of this process's own, without root in a user namespace; add the overlays.

        There is no way back. Raises OSError.
        """
        is_root, uid, gid = os.geteuid() == 0, os.geteuid(), os.getegid()
        _checked(_libc.unshare(_CLONE_NEWNS | (0 if is_root else _CLONE_NEWUSER)), "unshare")
        if not is_root:
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
            Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
        _mount("none", "/", "", _MS_REC | _MS_PRIVATE, "")
        with contextlib.suppress(OSError):  # a current folder that is gone stays so
            self._here = os.getcwd()
        try:
            self._mount_all(self._folders)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            self._unmount(list(self._uppers))
            _mount("tmpfs", self._scratch, "tmpfs", 0, "mode=700")  # no overlay writes to another
            self._on_tmpfs = True
            self._mount_all(self._folders)
        self._stay_here()

    def renew(self) -> None:
        """Forget what has been written; what still runs goes on with its own. Raises OSError."""
        written = [
            folder for folder, (upper, look) in self._uppers.items() if _look_of(upper) != look
        ]
        self._unmount(written)
        self._mount_all(written)
        self._stay_here()

    def close(self) -> None:
        """Unmount everything, so that ``scratch`` can be removed. Raises OSError."""
        self._unmount(list(self._uppers))
        if self._on_tmpfs:
            _unmount(self._scratch)
        self._stay_here()

    def _mount_all(self, folders: Sequence[str]) -> None:
        # without redirect_dir, rename(2) of a folder fails with EXDEV; users may not set it
        end = ",redirect_dir=on" if os.geteuid() == 0 else ",userxattr"
        if not self._on_tmpfs:
            end += ",volatile"  # the kernel flushes no disk for what is thrown away
        for folder in folders:
            self._count += 1
            upper, options = _layers(folder, f"{self._scratch}/{self._count}")
            _mount("overlay", folder, "overlay", 0, options + end)
            self._uppers[folder] = (upper, _look_of(upper))

    def _unmount(self, folders: Sequence[str]) -> None:
        for folder in folders:
            _unmount(folder)
            del self._uppers[folder]

    def _stay_here(self) -> None:
        """Enter the same current folder by way of what is mounted now."""
        if self._here is not None:
            with contextlib.suppress(OSError):
                os.chdir(self._here)


def enter_copy() -> None:
    """Give this process, a child, the mounts as they are now; it may not change them, unless root.

    Raises OSError.
    """
    _checked(_libc.unshare(_CLONE_NEWNS), "unshare")
    if os.geteuid() != 0:
        _drop_capabilities()


def _refuse_inner_mounts(folders: Sequence[str]) -> None:
    """Raise OSError where an overlay would hide a file system that is mounted in a folder."""
    for place in mount_points():
        if any(place != folder and _is_below(place, folder) for folder in folders):
            raise OSError(0, f"another file system is mounted at {place}")


def _refuse_inner_scratch(folders: Sequence[str], scratch: str) -> None:
    for folder in folders:
        if _is_below(os.path.realpath(scratch), folder):
            raise OSError(0, f"the folder for temporary files, {scratch}, lies in {folder}")


def _refuse_files_of_others(folders: Sequence[str]) -> None:
    """Raise OSError for a file that could be written, but not copied within a user namespace.

    Only one user and one group exist there, and the copy has to keep those of the file.
    """
    mine = (os.geteuid(), os.getegid())
    for folder in folders:
        for parent, names, files in os.walk(folder):
            for path in (parent, *(f"{parent}/{name}" for name in (*names, *files))):
                with contextlib.suppress(FileNotFoundError):
                    found = os.lstat(path)
                    is_foreign = (found.st_uid, found.st_gid) != mine
                    if is_foreign and not stat.S_ISLNK(found.st_mode) and os.access(path, os.W_OK):
                        raise OSError(0, f"{path} belongs to another user or group")


def _is_below(path: str, folder: str) -> bool:
    return os.path.join(path, "").startswith(os.path.join(folder, ""))


def _layers(folder: str, place: str) -> tuple[str, str]:
    """Create what an overlay of ``folder`` needs at ``place``.

    Return the folder that gets what is written, and the options of the mount.
    """
    upper, work = f"{place}/upper", f"{place}/work"
    os.makedirs(upper)
    os.mkdir(work)
    found = os.stat(folder)  # the overlay's own folder takes owner and mode from its upper layer
    mode = stat.S_IMODE(found.st_mode)
    if os.geteuid() == 0:
        os.chown(upper, found.st_uid, found.st_gid)
    elif found.st_uid != os.geteuid():
        mode &= 0o555
    os.chmod(upper, mode)
    layers = {"lowerdir": folder, "upperdir": upper, "workdir": work}
    return upper, ",".join(f"{name}={_escaped(path)}" for name, path in layers.items())


def _look_of(upper: str) -> _Look:
    """Return what differs once something was written; attributes of the folder itself included."""
    found = os.stat(upper)
    return found.st_mode, found.st_uid, found.st_gid, bool(os.listdir(upper))


def _escaped(path: str) -> str:
    for special in "\\:,":
        path = path.replace(special, f"\\{special}")
    return path


def _mount(source: str, target: str, kind: str, flags: int, options: str) -> None:
    texts = (source.encode(), os.fsencode(target), kind.encode())
    failed = _libc.mount(*texts, ctypes.c_ulong(flags), os.fsencode(options))
    _checked(failed, f"mount {kind}".strip())


def _unmount(target: str) -> None:
    _checked(_libc.umount2(os.fsencode(target), _MNT_DETACH), "umount")


def _drop_capabilities() -> None:
    """Give up what the first process of a user namespace may do, since the user may not."""
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    _checked(_libc.capset(header, bytes(24)), "capset")


def _checked(failed: int, what: str) -> None:
    if failed:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")

"""Archives for the tests of unpacking, and what checks that nothing leaves the target."""

import io
import shutil
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from supervisor.releases.unpack_writer import Limits, UnpackError
from supervisor.releases.unpacking import refuse_links, unpack

PROPERTY = settings(
    deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)


Member = tuple[str, dict[str, object]]


def make_tar(*members: tuple[str, dict[str, object]], compress: bool = True) -> bytes:
    """Return a tar archive of members; ``data`` is their content, the rest fields of `TarInfo`."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz" if compress else "w") as archive:
        for name, fields in members:
            info = tarfile.TarInfo(name)
            data = fields.get("data", b"x")
            assert isinstance(data, bytes)
            for key, value in fields.items():
                if key != "data":
                    setattr(info, key, value)
            info.size = len(data) if info.isreg() else 0
            archive.addfile(info, io.BytesIO(data) if info.isreg() else None)
    return stream.getvalue()


def make_zip(*members: tuple[str, dict[str, object]]) -> bytes:
    """Return a zip archive of members; ``mode`` is the whole Unix mode."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, fields in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = int(str(fields.get("mode", 0o100644))) << 16
            data = fields.get("data", b"x")
            assert isinstance(data, bytes)
            archive.writestr(info, data, zipfile.ZIP_DEFLATED)
    return stream.getvalue()


def outside(folder: Path, target: Path) -> dict[str, object]:
    """Return all that lies in a folder, but not in the target."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        if path != target and not path.is_relative_to(target):
            status = path.lstat()
            found[str(path)] = (status.st_mode, status.st_size, status.st_nlink)
    return found


def unpack_bytes(folder: Path, data: bytes, limits: Limits | None = None) -> Path:
    """Unpack an archive; check that nothing outside of the target changed, and return that."""
    source, target = folder / "source", folder / "a" / "b" / "target"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    source.write_bytes(data)
    before = outside(folder, target)
    try:
        links = unpack(source, target, limits=limits)
        refuse_links(source, links, ".", {path.split("/")[0] for path in links.leading_out})
    finally:
        assert outside(folder, target) == before
    return target


def refusal(folder: Path, data: bytes, limits: Limits | None = None) -> str:
    """Return why an archive is refused."""
    with pytest.raises(UnpackError) as raised:
        unpack_bytes(folder, data, limits)
    assert raised.value.message.startswith("cannot unpack source: ")
    return raised.value.message.removeprefix("cannot unpack source: ")

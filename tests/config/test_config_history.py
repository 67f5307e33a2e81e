"""Configurations that worked are kept and can be restored."""

import os
import resource
from pathlib import Path

import pytest

from supervisor.config.history import KEPT, ConfigHistory, HistoryError
from supervisor.process.throwaway import call_in_child


@pytest.fixture
def history(tmp_path: Path) -> ConfigHistory:
    """A history whose folder doesn't exist yet."""
    return ConfigHistory(tmp_path / "state" / "config")


def texts(history: ConfigHistory) -> list[bytes]:
    """Return all kept texts, newest first."""
    return [history.read(entry) for entry in history.entries()]


def test_texts_are_kept_unchanged(tmp_path: Path, history: ConfigHistory) -> None:
    """Each text is numbered and readable by its owner only."""
    assert history.entries() == []
    assert history.keep(b"a = 1\n")
    assert history.keep(b"a = 2\n")
    newest, oldest = history.entries()
    assert (newest.number, oldest.number) == (2, 1)
    assert texts(history) == [b"a = 2\n", b"a = 1\n"]
    assert newest.path.stat().st_mode & 0o777 == 0o600
    assert newest.path.parent.stat().st_mode & 0o777 == 0o700


def test_the_newest_text_is_not_written_again(tmp_path: Path, history: ConfigHistory) -> None:
    """A start with the same configuration writes nothing: SD cards wear out."""
    history.keep(b"a = 1\n")
    folder = tmp_path / "state" / "config"
    before = [(p.name, p.stat().st_mtime_ns, p.stat().st_ino) for p in folder.iterdir()]
    changed = folder.stat().st_mtime_ns
    assert not history.keep(b"a = 1\n")
    assert [(p.name, p.stat().st_mtime_ns, p.stat().st_ino) for p in folder.iterdir()] == before
    assert folder.stat().st_mtime_ns == changed


def test_an_older_text_becomes_the_newest(history: ConfigHistory) -> None:
    """The newest entry is the one that came up last, with a new number."""
    for text in (b"1", b"2", b"1"):
        history.keep(text)
    assert texts(history) == [b"1", b"2"]
    assert history.entries()[0].number == 3


def test_the_newest_twenty_are_kept(history: ConfigHistory) -> None:
    """Older ones are removed; numbers are not used again."""
    for number in range(KEPT + 5):
        history.keep(str(number).encode())
    assert [entry.number for entry in history.entries()] == list(range(KEPT + 5, 5, -1))
    assert KEPT == 20


def test_garbage_in_the_folder(tmp_path: Path, history: ConfigHistory) -> None:
    """Damaged, incomplete and other files are ignored; incomplete ones are removed."""
    history.keep(b"good")
    history.keep(b"to be damaged")
    history.keep(b"to be cut")
    folder = tmp_path / "state" / "config"
    cut, damaged, _good = history.entries()
    damaged.path.write_bytes(b"\xff\0garbage")
    os.truncate(cut.path, 3)
    (folder / ".new-1-000009-12345678.toml").write_text("half")
    (folder / "README").write_text("")
    (folder / "000009-12345678.toml").mkdir()
    assert texts(history) == [b"good"]
    assert history.keep(b"next")
    assert texts(history) == [b"next", b"good"]
    assert not list(folder.glob(".new-*"))


def test_finding_one(history: ConfigHistory) -> None:
    """By number, name or beginning of its digest; otherwise the hint lists all."""
    for text in (b"1", b"2"):
        history.keep(text)
    two, one = history.entries()
    for wanted in ("1", one.name, one.digest[:5]):
        assert history.find(wanted) == one
    for wanted in ("", "3", "zzzzz", one.digest[:3]):
        with pytest.raises(HistoryError, match="there is no configuration") as raised:
            history.find(wanted)
        assert raised.value.hint == f"known: {two.name}, {one.name}"


def keep_where_files_may_not_grow(folder: Path) -> list[object]:
    """Keep a text as on a full disk."""
    history = ConfigHistory(folder)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        history.keep(b"new")
    except HistoryError as error:
        return [error.message, sorted(os.listdir(folder))]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    return ["kept"]


def test_a_full_disk(tmp_path: Path, history: ConfigHistory) -> None:
    """The error is reported, and no partial file remains."""
    history.keep(b"old")
    [entry] = history.entries()
    said = call_in_child(keep_where_files_may_not_grow, entry.path.parent, timeout_s=30)
    assert said == ["cannot keep the configuration: File too large", [entry.path.name]]
    assert texts(history) == [b"old"]


# ---- putting one back


def test_restoring_keeps_the_replaced_text(tmp_path: Path, history: ConfigHistory) -> None:
    """The file has the restored text, its mode and owner; the replaced text is in the history."""
    history.keep(b"good = 1\n")
    file = tmp_path / "supervisor.toml"
    file.write_bytes(b"broken [")
    file.chmod(0o640)
    inode = file.stat().st_ino
    [entry] = history.entries()
    history.restore(entry, file)
    assert file.read_bytes() == b"good = 1\n"
    assert file.stat().st_mode & 0o777 == 0o640
    assert file.stat().st_ino != inode  # written beside it, then renamed
    replaced, kept = history.entries()
    assert (replaced.worked, kept.worked) == (False, True)
    assert history.read(replaced) == b"broken ["
    history.restore(replaced, file)  # and back: both are in the history by now
    assert file.read_bytes() == b"broken ["
    assert len(history.entries()) == 2


def test_restoring_a_missing_file(tmp_path: Path, history: ConfigHistory) -> None:
    """A missing configuration file is created."""
    history.keep(b"good")
    history.restore(history.entries()[0], tmp_path / "supervisor.toml")
    assert (tmp_path / "supervisor.toml").read_bytes() == b"good"


def test_restoring_through_a_link(tmp_path: Path, history: ConfigHistory) -> None:
    """A link stays a link, and its target is replaced."""
    history.keep(b"good")
    (tmp_path / "real.toml").write_bytes(b"bad")
    link = tmp_path / "supervisor.toml"
    link.symlink_to("real.toml")
    history.restore(history.entries()[0], link)
    assert link.is_symlink()
    assert (tmp_path / "real.toml").read_bytes() == b"good"


@pytest.mark.root
def test_restoring_as_root(tmp_path: Path, history: ConfigHistory) -> None:
    """Files that sudo writes belong to the user of the supervisor."""
    file = tmp_path / "supervisor.toml"
    file.write_bytes(b"bad")
    history.keep(b"good")
    for path in (file, tmp_path / "state", tmp_path / "state/config"):
        os.chown(path, 1000, 1001)
    history.restore(history.entries()[0], file)
    replaced = history.entries()[0]
    assert [(p.stat().st_uid, p.stat().st_gid) for p in (file, replaced.path)] == [(1000, 1001)] * 2


STRANGER = 1000


@pytest.mark.root
def test_root_is_not_led_astray_by_the_history(tmp_path: Path) -> None:
    """A link in the place of the history's folder, or of the state folder, gives nothing away."""
    target, owned = tmp_path / "target", tmp_path / "owned"
    for folder in (target, owned / "state"):
        folder.mkdir(parents=True)
        os.chown(folder, STRANGER if folder != target else 0, -1)
    os.chown(owned, STRANGER, -1)
    (owned / "state/config").symlink_to(target)
    (owned / "other").symlink_to(target)
    for state in ("state", "other"):
        with pytest.raises(HistoryError, match="root follows no link"):
            ConfigHistory(owned / state / "config").keep(b"text")
    assert list(target.iterdir()) == []
    assert target.stat().st_uid == 0


@pytest.mark.root
def test_root_restores_no_file_behind_anothers_link(tmp_path: Path, history: ConfigHistory) -> None:
    """The supervisor's user may write the history: root must not copy it over any file."""
    history.keep(b"theirs")
    secret = tmp_path / "secret"
    secret.write_bytes(b"root's")
    (tmp_path / "owned").mkdir()
    (tmp_path / "owned/supervisor.toml").symlink_to(secret)
    os.chown(tmp_path / "owned", STRANGER, STRANGER)
    with pytest.raises(HistoryError, match="root follows no link"):
        history.restore(history.entries()[0], tmp_path / "owned/supervisor.toml")
    assert secret.read_bytes() == b"root's"
    assert texts(history) == [b"theirs"]

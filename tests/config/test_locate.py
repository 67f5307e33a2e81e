"""Where the configuration is searched, and when root uses what it finds."""

import os
from pathlib import Path

import pytest

from supervisor.config import locate
from supervisor.config.locate import folders_above
from supervisor.config.trust import why_distrusted
from supervisor.process.throwaway import call_in_child
from supervisor.values.errors import ConfigError

NOBODY = 65534


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, two below a home of its own."""
    folder = tmp_path / "project" / "docs"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    return folder


def write(*files: Path) -> None:
    """Create empty files and their folders."""
    for file in files:
        file.parent.mkdir(exist_ok=True)
        file.write_text("")


def test_the_order(here: Path, tmp_path: Path) -> None:
    """The option, the variable, this folder, those above it: each is used before the next."""
    environment = {"HOME": str(tmp_path), "FLASK_SUPERVISOR_CONFIG": "/variable.toml"}
    assert locate.find("given.toml", environment) == Path("given.toml")
    assert locate.find(None, environment) == Path("/variable.toml")
    above = [folder / name for folder in (here.parent, tmp_path) for name in locate.NAMES]
    places = [*map(Path, locate.NAMES), *above]
    write(*places)
    for place in places:
        for variables in (
            {"HOME": str(tmp_path)},
            {"HOME": str(tmp_path), "FLASK_SUPERVISOR_CONFIG": ""},
        ):
            assert locate.find(None, variables) == place
        place.unlink()


@pytest.mark.parametrize(
    ("start", "home", "expected"),
    [
        ("/home/pi/field/docs", "/home/pi", ["/home/pi/field", "/home/pi"]),
        ("/home/pi", "/home/pi", []),
        ("/home/pi/field", "/root", ["/home/pi", "/home", "/"]),
        ("/home/pi/field", None, ["/home/pi", "/home", "/"]),
        ("/media/usb/field/docs", "/home/pi", ["/media/usb/field", "/media/usb"]),
        ("/media/usb", "/home/pi", []),
        ("/", "/home/pi", []),
    ],
)
def test_folders_to_search(start: str, home: str | None, expected: list[str]) -> None:
    """They end at the user's home, and at the root of a file system."""
    found = folders_above(
        Path(start),
        None if home is None else Path(home),
        lambda folder: 2 if str(folder).startswith("/media/usb") else 1,
    )
    assert [str(folder) for folder in found] == expected


@pytest.mark.skipif(
    locate.OF_THE_MACHINE.exists(), reason="this machine has a configuration in /etc"
)
def test_no_file_is_found(here: Path, tmp_path: Path) -> None:
    """The message names every place that was searched; a home is not left."""
    write(tmp_path / "supervisor.toml")
    with pytest.raises(ConfigError) as raised:
        locate.find(None, {"HOME": str(here.parent)})
    for place in ("$FLASK_SUPERVISOR_CONFIG", *locate.NAMES, str(locate.OF_THE_MACHINE)):
        assert place in raised.value.message
    assert raised.value.hint == "name one with --config FILE"


def test_a_folder_that_is_gone(here: Path) -> None:
    """Without a current folder only the other places are searched."""
    here.rmdir()
    with pytest.raises(ConfigError, match="no configuration file found"):
        locate.find(None, {"HOME": "/"})


def find_as_nobody(folder: Path) -> str:
    """Return what another user finds in ``folder``, or the error."""
    os.chdir(folder)
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    try:
        return str(locate.find(None, {"HOME": str(folder.parent)}))
    except ConfigError as error:
        return error.message


@pytest.mark.parametrize(
    ("closed", "found"),
    [
        ("docs/config", "config/supervisor.toml: cannot look for it: Permission denied"),
        ("config", "no configuration file found"),
    ],
)
def test_a_folder_that_may_not_be_entered(tmp_path: Path, closed: str, found: str) -> None:
    """In the current folder that is an error; a folder above may belong to somebody else."""
    if closed == "config" and locate.OF_THE_MACHINE.exists():
        pytest.skip("this machine has a configuration in /etc")
    tmp_path.chmod(0o755)
    (tmp_path / "docs").mkdir()
    write(tmp_path / closed / "supervisor.toml")
    (tmp_path / closed).chmod(0)
    try:
        assert call_in_child(find_as_nobody, tmp_path / "docs", timeout_s=30).startswith(found)
    finally:
        (tmp_path / closed).chmod(0o755)


# ---- what root trusts

ME = os.getuid()
OWNERS_ABOVE = {0} - {ME}  # of the folders above those of a test


@pytest.mark.parametrize(
    ("modes", "trusted", "reason", "command"),
    [
        ({}, {ME}, None, None),
        ({"a/supervisor.toml": 0o640}, {ME, 1}, None, None),
        ({}, {ME + 1}, "the file {}/a/supervisor.toml belongs to ", "chown root {}/a/supervisor"),
        (
            {"a/supervisor.toml": 0o664},
            {ME},
            "others may write to the file {}/a/supervisor.toml",
            "chmod go-w {}/a/supervisor.toml",
        ),
        ({"a/supervisor.toml": 0o646}, {ME}, "others may write to the file {}/a/", "chmod go-w"),
        ({"a": 0o777}, {ME}, "others may write to the folder {}/a", "chmod go-w {}/a"),
        ({"a": 0o775}, {ME}, "others may write to the folder {}/a", "chmod go-w {}/a"),
        ({"a": 0o1777}, {ME}, None, None),
        ({".": 0o777}, {ME}, "others may write to the folder {}", "chmod go-w {}"),
    ],
)
def test_who_could_have_written_it(
    tmp_path: Path,
    modes: dict[str, int],
    trusted: set[int],
    reason: str | None,
    command: str | None,
) -> None:
    """Owner and modes of the file and of every folder above it decide."""
    write(tmp_path / "a" / "supervisor.toml")
    for name, mode in modes.items():
        (tmp_path / name).chmod(mode)
    found = why_distrusted(tmp_path / "a" / "supervisor.toml", {*trusted, *OWNERS_ABOVE})
    if reason is None or command is None:
        assert found is None
    else:
        assert found is not None
        assert found[0].startswith(reason.format(tmp_path))
        assert found[1].startswith(command.format(tmp_path))


def test_links_are_followed(tmp_path: Path) -> None:
    """The link and its target are checked, each with the folders above it."""
    (tmp_path / "open").mkdir(mode=0o755)
    write(tmp_path / "open" / "real.toml")
    link = tmp_path / "supervisor.toml"
    link.symlink_to("open/real.toml")
    trusted = {ME, *OWNERS_ABOVE}
    assert why_distrusted(link, trusted) is None
    (tmp_path / "open").chmod(0o777)
    reason = f"others may write to the folder {tmp_path}/open"
    assert why_distrusted(link, trusted) == (reason, f"chmod go-w {tmp_path}/open")


@pytest.mark.root
def test_root_uses_files_of_root_and_of_the_caller(here: Path, tmp_path: Path) -> None:
    """A file that sudo's caller owns is used; another user's is an error that says what to do."""
    file = here / "supervisor.toml"
    write(file)
    environment = {"HOME": str(tmp_path)}
    assert locate.find(None, environment) == Path("supervisor.toml")
    os.chown(file, 1, 1)
    assert locate.find(None, {**environment, "SUDO_UID": "1"}) == Path("supervisor.toml")
    for caller in ({}, {"SUDO_UID": "2"}, {"SUDO_UID": "x"}):
        with pytest.raises(ConfigError) as raised:
            locate.find(None, {**environment, **caller})
        assert raised.value.message.startswith(
            f"supervisor.toml: found, but not trusted by root: the file {file} belongs to "
        )
        hint = f"name it with --config supervisor.toml, or run: chown root {file}"
        assert raised.value.hint == hint
    assert locate.find("supervisor.toml", environment) == Path("supervisor.toml")

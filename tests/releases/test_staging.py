"""A new version beside the app: unpacked, imported, refused."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from app_code_case import (
    OTHERS,
    TARGET,
    WALL,
    deploy,
    files_of,
    make_archive,
    make_source,
    snapshot,
)
from importing_case import write

from supervisor.releases import operations, staging
from supervisor.releases.app_code import AppCode
from supervisor.releases.operations import answer


def test_only_what_the_configuration_names(tmp_path: Path, code: AppCode) -> None:
    """With `include` set, nothing else of a working folder is read."""
    source = make_source(tmp_path, 2, "folder", **{"big/blob.py": "x" * 1000})
    explicit = replace(code, include=("app.py", "helper.py", "pkg"))
    assert deploy(explicit, source, explicit=True)["ok"]
    found = snapshot(code.path)
    assert found["app.py"] == files_of(2)["app.py"]
    assert found["static/style.css"] == files_of(1)["static/style.css"]


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import nosuch", "No module named 'nosuch'"),
        ("def app(:", "SyntaxError"),
        ("import os; os._exit(3)", "exit code 3"),
        ("import time; time.sleep(60)", "took longer than 0.5 s"),
    ],
)
def test_a_version_that_cannot_be_imported(
    tmp_path: Path, code: AppCode, source: str, reason: str
) -> None:
    """It is refused while it is still beside the app; the next deploy is possible."""
    folder = make_source(tmp_path, 2)
    write(folder, {"app.py": source})
    staged = Path(staging.stage_source(code, folder, False)["staged"])
    answered = answer(staging.try_staged, code, staged, TARGET, {}, 0.5)
    assert not answered["ok"]
    assert reason in answered["reason"]
    assert snapshot(code.path / "pkg") == snapshot(tmp_path / "live/pkg")
    assert operations.take_back(code) == {"found": "scrap"}
    assert snapshot(code.path) == {**files_of(1), **OTHERS}


def test_a_staged_version_finds_what_lies_beside(tmp_path: Path, code: AppCode) -> None:
    """Files that are not part of the release are there for the import, as they will be."""
    reads = "from pathlib import Path\nassert Path('notes.txt').read_text() == 'mine'\n"
    source = make_source(tmp_path, 2)
    write(source, {"app.py": reads + "import other_app\ndef app(*_): return []\n"})
    (code.path / "__pycache__").mkdir(exist_ok=True)
    assert deploy(code, source)["ok"]
    assert snapshot(code.path)["other_app.py"] == ""
    assert not (code.path / "other_app.py").is_symlink()


def test_the_old_version_is_not_found_by_the_new_one(tmp_path: Path, code: AppCode) -> None:
    """A module that the new version lacks is missing in the check, though the app has it."""
    source = make_source(tmp_path, 2)
    (source / "helper.py").unlink()
    staged = Path(staging.stage_source(code, source, False)["staged"])
    answered = answer(staging.try_staged, code, staged, TARGET, {}, 30.0)
    assert "No module named 'helper'" in answered["reason"]
    operations.take_back(code)


def test_there_is_nothing_to_go_back_to(code: AppCode) -> None:
    """Neither without releases, nor when the only one is in place."""
    for _ in range(2):
        answered = answer(staging.stage_release, code, None)
        assert "there is no release of app 'coach' that differs" in answered["reason"]
        operations.keep_good(code, None, WALL)


def test_the_check_leaves_no_compiled_code(tmp_path: Path, code: AppCode) -> None:
    """What was compiled in the staged folder would be compiled for another place."""
    staged = Path(staging.stage_source(code, make_source(tmp_path, 2), False)["staged"])
    staging.try_staged(code, staged, TARGET, {}, 30.0)
    assert not list(staged.rglob("*.pyc"))
    operations.take_back(code)


# ---- links


def with_links(tmp_path: Path, links: dict[str, str], kind: str) -> Path:
    """Create version 2 with these links, as a folder or an archive; return its path."""
    folder = make_source(tmp_path, 2)
    for path, leads_to in links.items():
        (folder / path).unlink(missing_ok=True)
        (folder / path).symlink_to(leads_to)
    return folder if kind == "folder" else make_archive(folder, wrapped=kind == "wrapped")


KINDS = ["folder", "archive", "wrapped"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("explicit", [True, False])
def test_a_link_that_is_not_deployed_may_lead_anywhere(
    tmp_path: Path, code: AppCode, kind: str, explicit: bool
) -> None:
    """It lies outside of what belongs to the app, in an operator's working folder."""
    links = {"uploads": "/var/uploads", "docs": "../../docs", "old/x.py": "/opt/x.py"}
    (tmp_path / "version-2/old").mkdir(parents=True)
    source = with_links(tmp_path, links, kind)
    assert deploy(code, source, explicit=explicit)["ok"]
    assert snapshot(code.path) == {**files_of(2), **OTHERS}
    assert not os.path.lexists(code.path / "uploads")


@pytest.mark.parametrize("kind", KINDS)
def test_a_link_into_the_apps_own_folder(tmp_path: Path, code: AppCode, kind: str) -> None:
    """An absolute link that leads to the right place once the version is there is kept as it is."""
    links = {
        "static/style.css": f"{code.path}/data/theme.css",
        "helper.py": f"{code.path}/helper_two.py",
        "pkg/same": "../static/style.css",
    }
    write(tmp_path / "version-2", {"helper_two.py": "H = 'two'"})
    write(code.path, {"data/theme.css": "mine", "helper_two.py": ""})
    assert deploy(code, with_links(tmp_path, links, kind))["ok"]
    assert os.readlink(code.path / "static/style.css") == f"{code.path}/data/theme.css"
    assert (code.path / "static/style.css").read_text() == "mine"
    assert (code.path / "helper.py").is_symlink()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("path", "leads_to"),
    [
        ("helper.py", "/opt/helper.py"),
        ("static/uploads", "/var/uploads"),
        ("static/up", "../../up"),
        ("unknown.py", "/opt/unknown.py"),
        ("pkg/sly", "{home}/../secret"),
    ],
)
def test_a_link_of_the_app_that_leads_out(
    tmp_path: Path, code: AppCode, kind: str, path: str, leads_to: str
) -> None:
    """The refusal names the link and where it leads to; nothing has changed."""
    leads_to = leads_to.format(home=code.path)
    source = with_links(tmp_path, {path: leads_to}, kind)
    answered = answer(staging.stage_source, code, source, False)
    assert not answered["ok"]
    assert f"{path} leads out of it, to '{leads_to[:80]}'" in answered["reason"]
    assert "include" in answered["hint"]
    operations.take_back(code)
    assert snapshot(code.path) == {**files_of(1), **OTHERS}

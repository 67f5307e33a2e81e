"""Data of the field: no release holds it, and neither a deploy nor a rollback touches it."""

from dataclasses import replace
from pathlib import Path

import pytest
from app_code_case import INCLUDE, OTHERS, WALL, deploy, files_of, make_source, prepare, snapshot
from hypothesis import given
from hypothesis import strategies as st

from supervisor.releases import operations, staging
from supervisor.releases.app_code import AppCode
from supervisor.releases.app_data import AppData
from supervisor.releases.app_notes import AppNotes
from supervisor.releases.operations import answer
from supervisor.releases.release import ReleaseError
from supervisor.releases.replacement import Mode

DATA = {"static/uploads/p.png": "a photo", "pkg/config/device1.json": "calibrated"}


def write_data(code: AppCode, files: dict[str, str] | None = None) -> None:
    """Write files as the app does while it runs, and note them as its worker does."""
    for path, text in (files or DATA).items():
        (code.path / path).parent.mkdir(parents=True, exist_ok=True)
        (code.path / path).write_text(text)
    operations.note_written(code, list(files or DATA))
    code.__dict__.pop("data", None)  # the next child reads it again


def data_of(code: AppCode, files: dict[str, str] | None = None) -> dict[str, str]:
    """Return what is left of the data."""
    return {path: text for path, text in snapshot(code.path).items() if path in (files or DATA)}


@pytest.mark.parametrize(
    ("path", "is_data"),
    [
        ("cache/a.json", True),
        ("pkg/deep/x.log", True),
        ("pkg/generated/a.py", True),
        ("pkg/generator.py", False),
        ("uploads/p.png", True),
        ("uploads/__init__.py", False),
        ("config.json", True),
        ("pkg/config.json", False),
    ],
)
def test_what_is_data(path: str, is_data: bool) -> None:
    """Patterns of the configuration, files that the app wrote, and folders full of them."""
    data = AppData(("cache", "*.log", "pkg/generated/"), ("uploads/", "config.json"))
    assert data.holds(path) is is_data


def test_data_stays_through_a_deploy_and_a_rollback(tmp_path: Path, code: AppCode) -> None:
    """It is in no release, and SOURCE need not have it; the rest is exactly the version."""
    operations.keep_good(code, None, WALL)
    write_data(code)
    assert deploy(code, make_source(tmp_path, 2))["ok"]
    assert snapshot(code.path) == {**files_of(2), **OTHERS, **DATA}
    staged = staging.stage_release(code, None)
    folder = Path(staged["staged"])
    plan = prepare(code, folder, staged["include"], Mode(is_rollback=True))
    operations.put_in_place(code, folder, plan)
    operations.make_final(code, plan)
    assert snapshot(code.path) == {**files_of(1), **OTHERS, **DATA}


def test_a_note_makes_no_folder_for_releases(code: AppCode) -> None:
    """An app without releases has no empty folder that looks like one of its own."""
    write_data(code)
    assert code.store.notes(code.owner).written == set(DATA)
    folder = code.state_dir / "releases"
    assert [entry.name for entry in folder.iterdir() if entry.is_dir()] == []


def test_changes_of_data_make_no_new_release(code: AppCode) -> None:
    """A calibration that changes six times pushes no version out."""
    (code.path / "pkg/calibration.json").write_text("as shipped")
    operations.keep_good(code, None, WALL)
    for number in range(6):
        write_data(code, {"pkg/calibration.json": f"measured {number}"})
        operations.keep_good(code, None, WALL)
    assert len(code.store.all_of("coach")) <= 2


def test_what_the_app_writes_wins_over_source(tmp_path: Path, code: AppCode) -> None:
    """SOURCE ships a default of a file that was calibrated here: the deploy says that it stays."""
    write_data(code)
    source = make_source(tmp_path, 2, **{"pkg/config/device1.json": "default"})
    staged = Path(staging.stage_source(code, source, False)["staged"])
    plan = prepare(code, staged)
    assert plan["data"] == ["pkg/config/device1.json"]
    operations.put_in_place(code, staged, plan)
    operations.make_final(code, plan)
    assert data_of(code) == DATA


def test_a_file_that_came_since_the_start_is_no_change(code: AppCode) -> None:
    """A folder of uploads that nobody has noted doesn't keep the code from being known as good."""
    before = code.scan().stamps
    (code.path / "static/uploads").mkdir()
    (code.path / "static/uploads/q.png").write_text("by another program")
    kept = operations.keep_good(code, before, WALL)
    [release] = code.store.good("coach")
    assert (kept["written"], snapshot(release.files)) == (True, files_of(1))


@pytest.mark.parametrize("kept", [False, True])
def test_a_source_that_lacks_files_is_refused(tmp_path: Path, code: AppCode, kept: bool) -> None:
    """It says which it would remove; a file that no release has is not one of them."""
    if kept:
        operations.keep_good(code, None, WALL)
    source = make_source(tmp_path, 2)
    (source / "templates/index.html").unlink()
    (source / "static/style.css").unlink()
    before = snapshot(code.path)
    staged = Path(staging.stage_source(code, source, False)["staged"])
    found = answer(lambda: {"plan": prepare(code, staged, INCLUDE, Mode())})
    lost = ["static/style.css", "templates/index.html"] if kept else ["templates/index.html"]
    assert found["would_remove"] == lost
    assert "SOURCE lacks" in found["reason"]
    assert "--only" in found["hint"]
    operations.take_back(code)
    assert snapshot(code.path) == before


def test_only_replaces_what_source_has(tmp_path: Path, code: AppCode) -> None:
    """A module, and the templates stay as they are."""
    source = tmp_path / "part"
    (source / "pkg").mkdir(parents=True)
    (source / "pkg/inner.py").write_text("I = 3")
    staged = Path(staging.stage_source(code, source, False)["staged"])
    plan = prepare(code, staged, (), Mode(only=True))
    operations.put_in_place(code, staged, plan)
    operations.make_final(code, plan)
    assert snapshot(code.path) == {**files_of(1), **OTHERS, "pkg/inner.py": "I = 3"}


def test_a_single_file_takes_the_place_of_its_name(tmp_path: Path, code: AppCode) -> None:
    """Wherever it lies in the app; a name that it doesn't have is a new file at the top."""
    file = tmp_path / "inner.py"
    file.write_text("I = 4")
    found = staging.stage_source(code, file, False)
    assert (found["only"], found["include"]) == (True, ["pkg/inner.py"])
    plan = prepare(code, Path(found["staged"]), (), Mode(only=True))
    operations.put_in_place(code, Path(found["staged"]), plan)
    operations.make_final(code, plan)
    assert snapshot(code.path) == {**files_of(1), **OTHERS, "pkg/inner.py": "I = 4"}
    new = tmp_path / "extra.py"
    new.write_text("")
    assert staging.stage_source(code, new, False)["include"] == ["extra.py"]


def test_a_single_file_with_several_places(tmp_path: Path, code: AppCode) -> None:
    """The operator has to say which."""
    (code.path / "pkg/style.css").write_text("")
    file = tmp_path / "style.css"
    file.write_text("new")
    with pytest.raises(ReleaseError, match=r"several files.*pkg/style.css, static/style.css"):
        staging.stage_source(code, file, False)


def test_a_rollback_removes_only_what_deploys_brought(tmp_path: Path, code: AppCode) -> None:
    """A file that was there before, and that only the broken version names, stays."""
    operations.keep_good(code, None, WALL)
    (code.path / "tracked.py").write_text("T = 1")
    assert deploy(code, make_source(tmp_path, 2, **{"pkg/new.py": ""}))["ok"]
    wide = replace(code, include=(*INCLUDE, "tracked.py"))
    staged = staging.stage_release(wide, None)
    folder = Path(staged["staged"])
    plan = prepare(wide, folder, staged["include"], Mode(is_rollback=True))
    operations.put_in_place(wide, folder, plan)
    operations.make_final(wide, plan)
    assert snapshot(code.path) == {**files_of(1), **OTHERS, "tracked.py": "T = 1"}


@given(st.sets(st.from_regex(r"\A[a-c](/[a-c]){0,2}\Z")), st.integers(1, 4))
def test_notes_hold_what_they_were_given(paths: set[str], limit: int) -> None:
    """In fewer words where a folder has many files, and through a file."""
    from supervisor.releases import app_notes

    before, app_notes.IN_FOLDER_MAX = app_notes.IN_FOLDER_MAX, limit
    try:
        notes = AppNotes().with_written(paths)
    finally:
        app_notes.IN_FOLDER_MAX = before
    data = AppData((), notes.written)
    assert all(data.holds(path) for path in paths)
    assert notes.with_written(paths).written >= notes.written


def test_damaged_notes_are_no_notes(tmp_path: Path) -> None:
    """Whatever the card has made of the file."""
    file = tmp_path / "notes.json"
    notes = AppNotes().with_written(["a.json"]).with_created(["b.py"], [])
    file.write_bytes(notes.to_bytes())
    assert AppNotes.read(file) == notes
    for text in (b"", b"{", b"[]", b'{"written": 1, "created": []}', b'{"written": []}'):
        file.write_bytes(text)
        assert AppNotes.read(file) == AppNotes()

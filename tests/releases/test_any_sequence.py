"""Any sequence of deploys, rollbacks, edits, data and power cuts keeps one whole version."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

from app_code_case import INCLUDE, WALL, prepare, snapshot
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from importing_case import write

from supervisor.releases import operations, staging
from supervisor.releases.app_code import AppCode
from supervisor.releases.app_data import is_code_by_name
from supervisor.releases.release import ReleaseError
from supervisor.releases.replacement import Mode

PATHS = ["app.py", "helper.py", "pkg/__init__.py", "pkg/a.py", "static/s.css", "templates/t.html"]
DATA = ["pkg/config/d.json", "static/uploads/p.png", "instance/x.bin", "app.db", "pkg/m.txt"]

versions = st.sets(st.sampled_from(PATHS), min_size=1).map(lambda paths: sorted({*paths, "app.py"}))
steps = st.one_of(
    st.tuples(st.just("deploy"), versions, st.none() | st.integers(0, 30)),
    st.tuples(st.just("rollback"), st.none(), st.none() | st.integers(0, 30)),
    st.tuples(st.just("write"), st.sampled_from(DATA), st.none()),
    st.tuples(st.just("break"), st.sampled_from(PATHS), st.none()),
    st.tuples(st.just("keep"), st.none(), st.none()),
)


class PowerCut(BaseException):
    """The process ends here, whatever it was doing."""


class Machine:
    """The folder of an app, and what has to be in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.number = 0
        self.data: dict[str, str] = {}
        self.code = AppCode(
            app="coach",
            owner="coach",
            path=folder / "live",
            include=INCLUDE,
            state_dir=folder / "state",
        )
        self.version = self._write(self.code.path, ["app.py", "pkg/__init__.py", "pkg/a.py"])

    def _write(self, folder: Path, paths: list[str]) -> dict[str, str]:
        self.number += 1
        files = {path: f"# {self.number} {path}" for path in paths}
        write(folder, files)
        return files

    def deploy(self, paths: list[str], cut_at: int | None) -> None:
        """Deploy a version with these files; the power goes at a step of the swap, or doesn't."""
        source = self.folder / f"source-{self.number}"
        files = self._write(source, paths)
        found = staging.stage_source(self._fresh(), source, False)
        self._swap(Path(found["staged"]), Mode(delete=True), {**self._others(), **files}, cut_at)

    def _others(self) -> dict[str, str]:
        """Return the files that no release and no deploy knows, and that are no modules."""
        store = self.code.store
        known = {entry.path for one in store.all_of("coach") for entry in one.manifest.entries}
        known |= store.notes("coach").created
        return {
            path: text
            for path, text in self.version.items()
            if path not in known and not is_code_by_name(path)
        }

    def rollback(self, _nothing: None, cut_at: int | None) -> None:
        """Go back to the last good release, if there is one to go back to."""
        code = self._fresh()
        try:
            found = staging.stage_release(code, None)
        except ReleaseError:
            return
        release = code.store.find("coach", found["name"])
        files = snapshot(release.files)
        created = code.store.notes("coach").created
        kept = {p: t for p, t in self.version.items() if p not in created and p not in files}
        self._swap(Path(found["staged"]), Mode(is_rollback=True), {**kept, **files}, cut_at)

    def _swap(self, staged: Path, mode: Mode, files: dict[str, str], cut_at: int | None) -> None:
        code, old, seen = self._fresh(), self.version, 0

        def hook(_step: str) -> None:
            nonlocal seen
            seen += 1
            if seen == cut_at:
                raise PowerCut

        plan = prepare(code, staged, INCLUDE, mode)
        new = {path: text for path, text in files.items() if path not in self.data}
        try:
            operations.put_in_place(code, staged, plan, hook)
            operations.make_final(code, plan)
        except PowerCut:
            operations.recover([code.path])
            new = old
        self.version = new

    def write(self, path: str, _nothing: None) -> None:
        """Let the app write a file while it runs."""
        self.number += 1
        self.data[path] = f"data {self.number}"
        write(self.code.path, {path: self.data[path]})
        operations.note_written(self.code, [path])

    def spoil(self, path: str, _nothing: None) -> None:
        """Let somebody copy a broken file over one of the app's."""
        self.number += 1
        self.version = {**self.version, path: f"broken {self.number}"}
        write(self.code.path, {path: self.version[path]})

    def keep(self, *_nothing: None) -> None:
        """Keep what is there as known to be good."""
        operations.keep_good(self._fresh(), None, WALL)

    def _fresh(self) -> AppCode:
        """Return the code as a new child sees it."""
        self.code.__dict__.pop("data", None)
        return self.code

    def check(self) -> None:
        """One version is there, whole, with all that was written; no release has been touched."""
        assert snapshot(self.code.path) == {**self.version, **self.data}
        for release in self.code.store.all_of("coach"):
            assert self.code.store.faults(release) == []


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(steps, max_size=7))
def test_whatever_happens_one_whole_version_is_there(sequence: list[tuple[Any, ...]]) -> None:
    """No byte that the app wrote is lost, and nothing is a mixture of two versions."""
    folder = Path(tempfile.mkdtemp(prefix="any-sequence-"))
    try:
        machine = Machine(folder)
        methods = {"break": machine.spoil}
        for name, what, when in sequence:
            methods.get(name, getattr(machine, name, machine.spoil))(what, when)
            machine.check()
    finally:
        shutil.rmtree(folder)

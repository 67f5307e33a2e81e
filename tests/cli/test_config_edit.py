"""``flask-supervisor config edit``: what somebody types is checked before it is written."""

import subprocess
from pathlib import Path

import pytest
from harness import Project


def edit(project: Project, script: str) -> "subprocess.CompletedProcess[str]":
    """Run ``config edit`` with an editor that runs a script of the shell on the file ``$1``."""
    editor = project.folder / "editor"
    editor.write_text(f"#!/bin/sh\n{script}\n")
    editor.chmod(0o755)
    return project.command("config", "edit", env={"VISUAL": str(editor)})


def test_an_edit_is_applied(project: Project) -> None:
    """The running supervisor serves the new configuration; the text before is in the history."""
    project.app("coach")
    running = project.start()
    worker = running.worker("coach")
    project.config.chmod(0o640)
    done = edit(project, "echo 'env = { A = \"1\" }' >>$1")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == f"wrote {project.config}"
    assert "coach: ready, as pid" in done.stdout
    assert running.worker("coach") != worker
    assert project.config.read_text().endswith('env = { A = "1" }\n')
    assert project.config.stat().st_mode & 0o777 == 0o640
    assert " in supervisor.toml now" in project.command("config", "history").stdout  # written anew


def test_an_invalid_edit_changes_nothing(project: Project) -> None:
    """Every problem is named, and what somebody has typed is kept."""
    project.app("coach")
    before = project.write().read_bytes()
    done = edit(project, "echo 'thread = 5' >>$1; echo 'prot = 5' >>$1")
    assert done.returncode == 1
    assert 'apps.coach.thread: unknown key; did you mean "threads"?' in done.stderr
    assert 'apps.coach.prot: unknown key; did you mean "port"?' in done.stderr
    assert f"{project.config} is unchanged: the new text is not valid" in done.stderr
    assert project.config.read_bytes() == before
    kept = Path(done.stderr.split("your text is in ")[1].strip())
    assert kept.read_text().endswith("prot = 5\n")
    assert kept.parent.stat().st_mode & 0o777 == 0o700
    kept.unlink()
    kept.parent.rmdir()


def test_an_edit_without_a_change(project: Project) -> None:
    """Nothing is written, and nothing is left."""
    project.app("coach")
    done = edit(project, "true")
    assert (done.returncode, done.stdout) == (0, f"{project.config} is unchanged\n")


def test_an_edit_without_a_supervisor(project: Project) -> None:
    """The file is written, and no state folder is created."""
    project.app("coach")
    done = edit(project, "echo '# by hand' >>$1")
    assert done.stdout.splitlines()[1:] == ["no supervisor is running: the next start uses it"]
    assert not (project.folder / ".flask-supervisor").exists()


def test_somebody_else_edits_too(project: Project) -> None:
    """What the other has written stays."""
    project.app("coach")
    other = f"echo '# the other' >>{project.config}"
    done = edit(project, f"echo '# mine' >>$1; {other}")
    assert done.returncode == 1
    assert "is unchanged: somebody else has changed it meanwhile" in done.stderr
    assert project.config.read_text().endswith("# the other\n")
    kept = Path(done.stderr.split("your text is in ")[1].strip())
    kept.unlink()
    kept.parent.rmdir()


@pytest.mark.parametrize(
    ("script", "said", "kept"),
    [
        ("exit 3", "Editing failed", False),
        ("rm $1", "No such file", False),
        ("echo '# mine' >>$1; exit 3", "Editing failed", True),
    ],
)
def test_an_editor_that_fails(project: Project, script: str, said: str, kept: bool) -> None:
    """The error says why, nothing is written, and what somebody has typed is kept."""
    project.app("coach")
    before = project.write().read_bytes()
    done = edit(project, script)
    assert done.returncode == 1
    assert f"{project.config} is unchanged: the editor failed" in done.stderr
    assert said in done.stderr
    assert project.config.read_bytes() == before
    if kept:
        file = Path(done.stderr.split("your text is in ")[1].strip())
        assert file.read_text().endswith("# mine\n")
        file.unlink()
        file.parent.rmdir()
    else:
        assert "EDITOR=nano flask-supervisor config edit" in done.stderr


def test_the_name_of_an_editor(project: Project) -> None:
    """It may have arguments; one that is no command is reported."""
    project.app("coach")
    script = project.folder / "editor"
    script.write_text("#!/bin/sh\necho '# edited' >>$3\n")
    script.chmod(0o755)
    for name, code in ((f"{script} --wait -n", 0), ("'open quote", 1), ("nosuch", 1)):
        done = project.command("config", "edit", env={"VISUAL": name})
        assert done.returncode == code
        assert done.stdout.startswith("wrote ") == (code == 0)
        assert "Traceback" not in done.stderr
        assert ("the editor failed" in done.stderr) == bool(code)

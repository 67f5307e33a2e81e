"""Lines fit a narrow terminal, as a phone's; programs get whole lines."""

import pytest
from harness import Project
from operating_case import ESCAPES, wait_until_ready
from terminal_case import shown_on_terminal


def on_terminal(project: Project, *words: str, columns: int) -> list[str]:
    """Run a command on a terminal of this width, and return the lines it shows, without colours."""
    return ESCAPES.sub("", shown_on_terminal(project, *words, columns=columns)).splitlines()


@pytest.mark.parametrize("columns", [50, 70])
def test_long_texts_go_on_below_themselves(project: Project, columns: int) -> None:
    """Each line fits and keeps the indent of the first; a pipe gets the text on one line."""
    project.app("coach", "raise RuntimeError('no sensor answers ' * 10)\n")
    running = project.start()
    running.wait_for("coach", state="backoff")
    commands = (("status", "no sensor", 7), ("doctor", "packages", 21), ("check", "no sensor", 2))
    for command, about, indent in commands:
        whole = project.command(command).stdout.splitlines()
        longest = next(line for line in whole if about in line)
        assert len(longest) > columns
        shown = on_terminal(project, command, columns=columns)
        start = next(n for n, line in enumerate(shown) if longest.startswith(line))
        parts = longest[indent:].split()
        for line in shown[start:]:
            assert len(line) <= columns
            assert not line[:indent].strip() or line is shown[start]
            assert line[indent:].split() == parts[: len(line[indent:].split())]
            del parts[: len(line[indent:].split())]
            if not parts:
                break
        assert not parts


def test_the_table_of_status_is_narrow(project: Project) -> None:
    """Its columns stand below their titles, and 66 characters hold it."""
    project.app("coach")
    wait_until_ready(project.start(), "coach")
    _, title, row = on_terminal(project, "status", columns=80)
    values = {"STATE": "ready", "SERVING": "app", "PORT": str(project.port("coach"))}
    for word, value in values.items():
        assert row[title.index(word) :].startswith(value)
    assert max(map(len, (title, row))) <= 66

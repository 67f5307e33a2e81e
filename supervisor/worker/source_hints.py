"""Says what to do about a file that Python can't read as source: often it holds something else.

Needs the standard library alone, because a worker may run on the interpreter of the app's own
virtual environment.
"""

from supervisor.worker.failure import Failure

_NOT_PYTHON = {  # how a line begins, in lower case, and what it is
    **dict.fromkeys(
        ("<<<<<<<", "=======", ">>>>>>>", "|||||||"),
        "git left a conflict between two versions here: choose one, and remove the marks",
    ),
    **dict.fromkeys(
        ("<!doctype", "<html", "<head"),
        "this is a web page about the file: download the file itself (on GitHub: Raw)",
    ),
    ">>> ": "remove the >>> and ... which the Python prompt shows",
    "```": "remove the line: it is a mark of the text from which the code was copied",
    **dict.fromkeys(
        ("$ ", "pip install ", "pip3 install ", "sudo ", "python3 -m "),
        "this is a command for the terminal, and no Python: remove the line",
    ),
}
_OF_SYNTAX = {  # what Python says, and what to do
    "codec can't decode": "save the file as UTF-8",
    "Non-UTF-8": "save the file as UTF-8",
    "null bytes": "the file is damaged, or is not UTF-8: copy it again, or save it as UTF-8",
    "non-printable character": (
        "delete that character: it came from a web page, and looks like a space or nothing"
    ),
    **dict.fromkeys(
        (f"invalid character '{quote}'" for quote in "\u201c\u201d\u2018\u2019"),
        "write straight quotes, \" or ', in place of those of a web page",
    ),
}


def of_source(failure: Failure) -> str | None:
    """Return the hint for a source that is no valid Python, None for any other error."""
    error = failure.error
    if not isinstance(error, SyntaxError):
        return None
    line = error.text.strip() if isinstance(error.text, str) else ""
    for begins, what in _NOT_PYTHON.items():
        if line.lower().startswith(begins):
            return what
    for said, what in _OF_SYNTAX.items():
        if said in failure.text:
            return what
    if isinstance(error, TabError):
        return "indent every line of the file with spaces alone"
    if failure.text.startswith("Missing parentheses in call to"):
        return f"this is Python 2; in Python 3 it is a function: {line[:100]}"
    return f"correct this line: {line[:100]}" if line else "correct the file"

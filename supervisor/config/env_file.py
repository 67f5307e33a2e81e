"""Reads the ``NAME=value`` lines of an ``env_file``."""

import re

_LINE = re.compile(r"(?:export\s+)?(?P<name>[\w.-]+)\s*=(?P<value>.*)")
_QUOTED = re.compile(r"(?P<quote>['\"])(?P<text>.*)(?P=quote)(\s+#.*)?")
_TYPOGRAPHIC = "“”„‘’"


def parse(text: str) -> tuple[dict[str, str], list[tuple[int, str]]]:
    """Return the variables, and the number of each line that can't be read with the reason.

    Blank lines, comments and ``export`` are skipped; a comment may follow a value in quotes, which
    are removed. Nothing is expanded.
    """
    values: dict[str, str] = {}
    wrong = []
    for number, line in enumerate(text.split("\n"), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        found = _LINE.fullmatch(line)
        if found is None:
            wrong.append((number, "is not NAME=value"))
            continue
        name, value = found["name"], found["value"].strip()
        if quoted := _QUOTED.fullmatch(value):
            values[name] = quoted["text"]
        elif value[:1] and value[0] in _TYPOGRAPHIC:
            wrong.append((number, f"has a typographic quote, {value[0]}: write a straight one"))
        elif " #" in found["value"]:  # dotenv takes it as a comment, systemd as part of the value
            wrong.append((number, "has a # behind a space: put the value in quotes"))
        else:
            values[name] = value
    return values, wrong

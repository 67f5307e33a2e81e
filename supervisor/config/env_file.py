"""Reads the ``NAME=value`` lines of an ``env_file``."""


def parse(text: str) -> tuple[dict[str, str], list[tuple[int, str]]]:
    """Return the variables, and the number of each line that can't be read with the reason.

    Blank lines, comments and ``export`` are skipped; quotes around a value are removed, nothing
    is expanded.
    """
    values: dict[str, str] = {}
    wrong = []
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip().removeprefix("export ")
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.partition("=")
        name, value = name.strip(), value.strip()
        if not equals or not name or " " in name or "\0" in line:
            wrong.append((number, "is not NAME=value"))
            continue
        if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        values[name] = value
    return values, wrong

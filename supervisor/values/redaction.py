"""Removes secrets from text: what an app raises or prints may quote one.

Finds the values themselves, and the forms that `repr`, JSON and URLs give them. Standard library
only: workers use it too.
"""

import json
import re
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any
from urllib.parse import quote, quote_plus

HIDDEN = "(hidden)"
_SHORTEST = 4  # a shorter value can't be distinguished from ordinary text
_UNMISTAKABLE = 8  # a shorter value is hidden only where it is a whole word


class Redaction:
    """Replaces secret ``values`` in texts by `HIDDEN`."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        forms = {form for value in values for form in _forms(value) if len(form) >= _SHORTEST}
        self._forms = sorted(forms, key=lambda form: (-len(form), form))  # the whole before a part
        self._pattern = re.compile("|".join(map(_pattern, self._forms))) if forms else None

    def __call__(self, text: str) -> str:
        """Return ``text`` without secrets."""
        return text if self._pattern is None else self._pattern.sub(HIDDEN, text)

    def cut(self, text: str) -> str:
        """Return a truncated text without secrets, also without the beginning of one at its end."""
        text = self(text)
        for form in self._forms:
            for length in range(len(form) - 1, _SHORTEST - 1, -1):
                if text.endswith(form[:length]):
                    return text[:-length] + HIDDEN
        return text

    def everywhere(self, content: Any) -> Any:
        """Return JSON ``content`` without secrets in any text, keys excepted."""
        match content:
            case str():
                return self(content)
            case dict():
                return {key: self.everywhere(value) for key, value in content.items()}
            case list() | tuple():
                return [self.everywhere(value) for value in content]
        return content


def _forms(value: str) -> Iterator[str]:
    """Yield the forms in which a text may contain ``value``: whole or by line, plain or escaped."""
    value = value.strip()
    lines = [line.strip() for line in value.splitlines()]
    # the frame of a PEM file is not secret, and a short line of a key could be any word
    secret_lines = [line for line in lines if len(line) >= _UNMISTAKABLE and line[:5] != "-----"]
    for part in [value, *(secret_lines if len(lines) > 1 else ())]:
        yield from (part, " ".join(part.split()), repr(part)[1:-1])
        yield from (json.dumps(part)[1:-1], json.dumps(part, ensure_ascii=False)[1:-1])
        # a variable that is not UTF-8 contains surrogates
        for quoted in (partial(quote, safe=""), quote, quote_plus):
            yield quoted(part, errors="surrogatepass")


def _pattern(form: str) -> str:
    found = re.escape(form)
    return found if len(form) >= _UNMISTAKABLE else rf"(?<!\w){found}(?!\w)"

"""Takes secrets out of text: what an app raised or printed may quote one.

Text is searched for the values themselves, and for how they look when quoted by `repr`, in JSON
or in an address. Standard library only: workers use it too.
"""

import json
import re
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any
from urllib.parse import quote, quote_plus

HIDDEN = "(hidden)"
_SHORTEST = 4  # a shorter value can't be told from ordinary text
_UNMISTAKABLE = 8  # a shorter one counts as a whole word only


class Redaction:
    """Replaces secret ``values`` in texts by `HIDDEN`; costs nothing when there are none."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        forms = {form for value in values for form in _forms(value) if len(form) >= _SHORTEST}
        self._forms = sorted(forms, key=lambda form: (-len(form), form))  # the whole before a part
        self._pattern = re.compile("|".join(map(_pattern, self._forms))) if forms else None

    def __call__(self, text: str) -> str:
        """Give ``text`` without secrets."""
        return text if self._pattern is None else self._pattern.sub(HIDDEN, text)

    def cut(self, text: str) -> str:
        """Give a text whose end was cut off without secrets, a half one at its end included."""
        text = self(text)
        for form in self._forms:
            for length in range(len(form) - 1, _SHORTEST - 1, -1):
                if text.endswith(form[:length]):
                    return text[:-length] + HIDDEN
        return text

    def everywhere(self, content: Any) -> Any:
        """Give JSON ``content`` with every text in it, keys aside, without secrets."""
        match content:
            case str():
                return self(content)
            case dict():
                return {key: self.everywhere(value) for key, value in content.items()}
            case list() | tuple():
                return [self.everywhere(value) for value in content]
        return content


def _forms(value: str) -> Iterator[str]:
    """Give ``value`` as it may stand in a text: whole or by lines, plain or escaped."""
    value = value.strip()
    lines = [line.strip() for line in value.splitlines()]
    # the frame of a PEM file is no secret; a short line of a key could be any word
    telling = [line for line in lines if len(line) >= _UNMISTAKABLE and line[:5] != "-----"]
    for part in [value, *(telling if len(lines) > 1 else ())]:
        yield from (part, " ".join(part.split()), repr(part)[1:-1])
        yield from (json.dumps(part)[1:-1], json.dumps(part, ensure_ascii=False)[1:-1])
        # a variable that is no UTF-8 has surrogates in it
        for quoted in (partial(quote, safe=""), quote, quote_plus):
            yield quoted(part, errors="surrogatepass")


def _pattern(form: str) -> str:
    found = re.escape(form)
    return found if len(form) >= _UNMISTAKABLE else rf"(?<!\w){found}(?!\w)"

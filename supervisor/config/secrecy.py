"""Which values of a configuration are secrets: told by their key, their name or their look."""

import re
from collections.abc import Collection
from urllib.parse import unquote

from supervisor.values.redaction import HIDDEN

_SECRET_NAME = re.compile(r"SECRET|TOKEN|PASSW|PASSPHRASE|CREDENTIAL|(^|_)KEY$", re.IGNORECASE)
_SECRET_KEY = re.compile(r"(^|\.)requires\[\d+\]\.token$|^notify\[\d+\]\.url$")
_ORDINARY = re.compile(r"[A-Za-z]*|[\d.:]*|(/[\w.-]+)+/?")  # a word, a number, an address, a path
_URL_PASSWORD = re.compile(r"(?<=://)([^\s/?#:@]*:)([^\s/?#@]+)(?=@)")
_INHERITED_MIN = 8  # characters


def is_secret(path: str, hidden: Collection[str]) -> bool:
    """Return whether the value at a key path must not be shown.

    That holds for the ``hidden`` paths, for tables and lists that contain one of them, for
    variables of an app whose name says it, for tokens, and for where messages go.
    """
    if any(path == one or one.startswith((f"{path}.", f"{path}[")) for one in hidden):
        return True
    if _SECRET_KEY.search(path):
        return True
    return ".env." in path and has_secret_name(path.rpartition(".")[2])


def has_secret_name(variable: str) -> bool:
    """Return whether the name of a variable says that its value is a secret."""
    return _SECRET_NAME.search(variable) is not None


def is_ordinary(value: str) -> bool:
    """Return whether ``value`` looks like none: hiding it would make output unreadable."""
    return _ORDINARY.fullmatch(value) is not None


def without_url_passwords(text: str) -> str:
    """Return ``text`` with `HIDDEN` in place of the passwords in its URLs."""
    return _URL_PASSWORD.sub(rf"\1{HIDDEN}", text)


def url_passwords(text: str) -> set[str]:
    """Return the passwords in the URLs of ``text``; ordinary words with what is around them."""
    found = {
        part for match in _URL_PASSWORD.finditer(text) for part in (match[2], unquote(match[2]))
    }
    return {f":{one}@" if is_ordinary(one) else one for one in found}


def is_inherited_secret(name: str, value: str) -> bool:
    """Return whether a variable of the supervisor's own environment is a secret."""
    is_path = value.startswith("/")  # CREDENTIALS_DIRECTORY, for one
    return has_secret_name(name) and len(value) >= _INHERITED_MIN and not is_path

"""The options of waitress that an app may set: which there are, and what they accept.

waitress itself is loaded only when there is something to check.
"""

import difflib
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from supervisor.config.rules import Problem, shown

# What the supervisor sees to by itself, and the key to use instead, if there is one.
OWNED = {
    "host": "set `host` of the app",
    "port": "set `port` of the app",
    "listen": "set `host` and `port` of the app",
    "unix_socket": 'set `host = "unix:/path"` of the app',
    "unix_socket_perms": "the supervisor makes the socket",
    "sockets": "the supervisor binds the ports",
    "ipv4": "the family follows from `host` of the app",
    "ipv6": "the family follows from `host` of the app",
    "threads": "set `threads` and `max_threads` of the app",
    "backlog": "the supervisor listens",
    "asyncore_use_poll": "poll is used always",
    "asyncore_loop_timeout": "the loop wakes when there is something to do",
}
_MAY_BE_ZERO = {"channel_request_lookahead"}
_PROXY_HEADERS = "trusted_proxy_headers"


def checked_options(
    options: Mapping[str, Any], path: str, *, is_hidden: Callable[[str], bool] = lambda _path: False
) -> list[Problem]:
    """Give everything that is wrong with ``options``, the table at the key path ``path``."""
    if not options:
        return []
    problems = [
        Problem(f"{path}.{name}", text.format(value=_shown(value, f"{path}.{name}", is_hidden)))
        for name, value in options.items()
        if (text := _wrong(name, value)) is not None
    ]
    return problems or list(_contradictions(options, path))


def _shown(value: object, path: str, is_hidden: Callable[[str], bool]) -> str:
    return "(hidden)" if is_hidden(path) else shown(value)


def _wrong(name: str, value: Any) -> str | None:
    """Say what is wrong with one option, with {value} in place of its value; None if nothing is."""
    from waitress import adjustments

    known = dict(adjustments.Adjustments._params)
    if name in OWNED:
        return f": can't be set here: {OWNED[name]}"
    if name not in known:
        return f": waitress has no such option{_did_you_mean(name, known.keys() - OWNED.keys())}"
    accepted = _accepted(name, value, known[name])
    return None if accepted is None else f" = {{value}}: must be {accepted}"


def _accepted(name: str, value: Any, conversion: Any) -> str | None:
    """Say what the option accepts, unless ``value`` is that; ``conversion`` is waitress's."""
    from waitress import adjustments

    if conversion is adjustments.asbool:
        return None if isinstance(value, bool) else "true or false"
    if conversion is int:
        least = 0 if name in _MAY_BE_ZERO else 1
        right = type(value) is int and value >= least
        return None if right else f"a whole number, {least} or more"
    if conversion is adjustments.asset:
        texts = value if isinstance(value, list) else [value]
        known = sorted(adjustments.KNOWN_PROXY_HEADERS)
        right = bool(texts) and all(str(text).lower() in known for text in texts)
        return None if right else f"a list of these: {', '.join(known)}"
    return None if isinstance(value, str) and "\n" not in value else "a text of one line"


def _contradictions(options: Mapping[str, Any], path: str) -> Iterator[Problem]:
    """Give what is wrong between options that are right by themselves."""
    from waitress.adjustments import Adjustments

    if options.get("trusted_proxy") and not options.get(_PROXY_HEADERS):
        text = ': needs `trusted_proxy_headers`, for instance ["x-forwarded-for"]'
        yield Problem(f"{path}.trusted_proxy", text)
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # it says when options will go
            Adjustments(**options)
    except ValueError as error:
        yield Problem(path, f": {error}")


def _did_you_mean(name: str, known: set[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f'; did you mean "{close[0]}"?' if close else f" (it has: {', '.join(sorted(known))})"

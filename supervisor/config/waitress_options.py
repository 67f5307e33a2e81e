"""The options of waitress that an app may set: which there are, and what they accept.

waitress itself is loaded only when there is something to check.
"""

import warnings
from collections.abc import Mapping
from typing import Any

from supervisor.config.problems import Problems, did_you_mean

# What the supervisor controls itself, and the key to use instead, if there is one.
OWNED = {
    "host": "set `host` of the app",
    "port": "set `port` of the app",
    "listen": "set `host` and `port` of the app",
    "unix_socket": 'set `host = "unix:/path"` of the app',
    "unix_socket_perms": "the supervisor creates the socket",
    "sockets": "the supervisor binds the ports",
    "ipv4": "the family follows from `host` of the app",
    "ipv6": "the family follows from `host` of the app",
    "threads": "set `threads` and `max_threads` of the app",
    "backlog": "the supervisor listens",
    "asyncore_use_poll": "the server always uses poll",
    "asyncore_loop_timeout": "the server waits without a timeout",
}
_MAY_BE_ZERO = {"channel_request_lookahead"}
_PROXY_HEADERS = "trusted_proxy_headers"


def check_options(options: Mapping[str, Any], path: str, problems: Problems) -> None:
    """Add to ``problems`` what is wrong with ``options``, the table at the key path ``path``."""
    before = len(problems.found)
    for name, value in options.items():
        _check_option(name, value, f"{path}.{name}", problems)
    if options and len(problems.found) == before:
        _check_together(options, path, problems)


def _check_option(name: str, value: Any, path: str, problems: Problems) -> None:
    from waitress import adjustments

    known = dict(adjustments.Adjustments._params)
    if name in OWNED:
        problems.add(path, f"can't be set here: {OWNED[name]}")
    elif name not in known:
        close = did_you_mean(name, known.keys() - OWNED.keys(), otherwise="it has")
        problems.add(path, f"waitress has no such option{close}")
    elif accepted := _accepted(name, value, known[name]):
        problems.add_value(path, value, f"must be {accepted}")


def _accepted(name: str, value: Any, conversion: Any) -> str | None:
    """Return what the option accepts; None if it accepts ``value``."""
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
    return None if isinstance(value, str) and "\n" not in value else "a string of one line"


def _check_together(options: Mapping[str, Any], path: str, problems: Problems) -> None:
    """Check options that are right by themselves against each other."""
    from waitress.adjustments import Adjustments

    if options.get("trusted_proxy") and not options.get(_PROXY_HEADERS):
        text = 'needs `trusted_proxy_headers`, for instance ["x-forwarded-for"]'
        problems.add(f"{path}.trusted_proxy", text)
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of options that will go
            Adjustments(**options)
    except ValueError as error:
        problems.add(path, str(error))

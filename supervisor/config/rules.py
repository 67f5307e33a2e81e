"""What the values of the configuration have to be: a type with a `Rule` for each kind of value."""

import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from supervisor.values import targets
from supervisor.values.records import dataclass

NAME = re.compile(r"[a-z][a-z0-9_]*")
_FUNCTION = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


@dataclass(frozen=True)
class Rule:
    """What a value has to be, beyond its type; ``accepted`` completes "must be ...".

    ``advice`` returns how to write what a wrong value probably means, "" if that isn't known; it
    follows ``accepted``.
    """

    accepted: str
    holds: Callable[[Any], Any]
    advice: Callable[[Any], str] = lambda _value: ""


def _is_text(value: str) -> bool:
    return "\0" not in value


def _is_host(value: str) -> bool:
    if value == "localhost" or (value.startswith("unix:") and value != "unix:"):
        return _is_text(value)
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, value)
        except (OSError, ValueError):  # ValueError: not ASCII, or a null character
            continue
        return True
    return False


def _is_below(value: str) -> bool:
    parts = Path(value).parts
    is_inside = bool(parts) and not value.startswith("/") and ".." not in parts
    return is_inside and _is_text(value)


def _between(low: float, high: float, what: str) -> Rule:
    return Rule(f"{what} from {low:g} to {high:g}", lambda value: low <= value <= high)


Port = Annotated[int, _between(1, 65535, "a port number")]
Host = Annotated[
    str,
    Rule('a numeric IPv4 or IPv6 address, "localhost" or "unix:/path/of/socket"', _is_host),
]
Seconds = Annotated[float, Rule("a number of seconds above 0", lambda v: 0 < v < float("inf"))]
# Below three heartbeats, workers in good order would be killed.
HangTimeout = Annotated[float, _between(7, 86_400, "a number of seconds")]
Factor = Annotated[float, _between(1, 10, "a number")]
Percent = Annotated[float, _between(0, 100, "a percentage")]
Celsius = Annotated[float, _between(0, 150, "a temperature")]
Attempts = Annotated[int, _between(1, 100, "a whole number")]
Threads = Annotated[int, _between(1, 256, "a whole number")]
Workers = Annotated[int, _between(1, 64, "a whole number")]
Count = Annotated[int, Rule("a whole number above 0", lambda v: v > 0)]
Target = Annotated[
    str, Rule('"module:app" or "module:factory()"', targets.is_target, advice=targets.advice)
]
Function = Annotated[str, Rule('"module:function"', _FUNCTION.fullmatch)]
Name = Annotated[str, Rule("a name of a-z, 0-9 and _", NAME.fullmatch)]
Text = Annotated[str, Rule("a string that is not empty", lambda v: v != "" and _is_text(v))]
FilePath = Annotated[
    str,
    Rule(
        "a string that is not empty, without control characters",
        lambda v: v != "" and not any(c < " " for c in v),
        advice=lambda v: "; a \\ in \"...\" begins an escape: write it in '...'" if v else "",
    ),
]
Value = Annotated[str, Rule("a string", _is_text)]
Below = Annotated[str, Rule("a path below the app's `path`", _is_below)]
UrlPath = Annotated[str, Rule('a path that starts with "/"', re.compile(r"/[!-~]*").fullmatch)]
Umask = Annotated[
    str, Rule('three octal digits in quotes, as "022"', re.compile(r"0?[0-7]{3}").fullmatch)
]
Hardware = Literal["gpio", "i2c", "spi", "serial", "camera", "audio", "can"]
HttpStatus = Annotated[int, _between(100, 599, "a status of HTTP")]
_HEADER = re.compile(r"[\w!#$%&'*+.^`|~-]+(:[ -~]*)?")
HttpHeader = Annotated[str, Rule('"Name: value" or "Name"', _HEADER.fullmatch)]
_TOKEN = re.compile(r"[!-~]+")
Token = Annotated[str, Rule("a token of visible ASCII characters", _TOKEN.fullmatch)]
NotifyUrl = Annotated[
    str,
    Rule('an address of Apprise, as "mailto://..."', re.compile(r"[a-z][a-z0-9]+://\S+").fullmatch),
]
Url = Annotated[str, Rule('"http://..." or "https://..."', re.compile(r"https?://[^/\s]").match)]

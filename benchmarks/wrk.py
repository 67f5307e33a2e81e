"""Load by wrk on loopback, from one thread on 16 keep-alive connections."""

import re
import shutil
import subprocess
from dataclasses import dataclass

CONNECTIONS = 16
_MARGIN_S = 15.0
_UNITS_MS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}


@dataclass(frozen=True, slots=True)
class Load:
    """What wrk counted; ``errors`` are broken connections and answers other than 2xx and 3xx.

    ``detail`` describes the errors in wrk's words.
    """

    requests: int
    per_s: float
    p99_ms: float
    errors: int = 0
    detail: str = ""


def is_installed() -> bool:
    """Return whether wrk can be run."""
    return shutil.which("wrk") is not None


def load(port: int, *, seconds: float, path: str = "/") -> Load:
    """Run wrk for ``seconds``; raise RuntimeError if it can't be run or its report not be read."""
    if not is_installed():
        raise RuntimeError("needs the Debian package wrk: sudo apt-get install wrk")
    duration = max(1, round(seconds))
    done = subprocess.run(
        [
            "wrk",
            "-t1",
            f"-c{CONNECTIONS}",
            f"-d{duration}s",
            "--latency",
            f"http://127.0.0.1:{port}{path}",
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=duration + _MARGIN_S,
    )
    result = parse(done.stdout)
    if result.errors:
        import sys

        print(done.stdout, file=sys.stderr)
    return result


def parse(text: str) -> Load:
    """Parse wrk's report; raise RuntimeError if it has another form."""
    requests = re.search(r"^ *(\d+) requests in ", text, re.MULTILINE)
    per_s = re.search(r"^Requests/sec: +([\d.]+)", text, re.MULTILINE)
    p99 = re.search(r"^ +99% +([\d.]+)(us|ms|s|m)$", text, re.MULTILINE)
    if not (requests and per_s and p99):
        raise RuntimeError(f"cannot read the report of wrk: {text!r}")
    found = re.findall(r"^ *(Socket errors: .*|Non-2xx or 3xx responses: .*)$", text, re.MULTILINE)
    detail = "; ".join(found)
    numbers = re.findall(r" (\d+)\b", detail)
    milliseconds = float(p99[1]) * _UNITS_MS[p99[2]]
    errors = sum(map(int, numbers))
    return Load(int(requests[1]), float(per_s[1]), milliseconds, errors, detail)

"""What tests in network namespaces share."""

import subprocess
import sys

ABSENT = "192.0.2.1"  # RFC 5737: an address for documentation, nobody's
_READ = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1]).read().decode(), end='')"


def text_inside(inside: list[str], url: str) -> str:
    """Return what ``url`` answers where the command ``inside`` leads, as ``nsenter``."""
    answer = subprocess.run(
        [*inside, sys.executable, "-c", _READ, url],
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    )
    return answer.stdout

"""Sends one message through Apprise: a program of its own, run with ``python -m``.

It reads a JSON object with ``url``, ``title``, ``body`` and ``kind`` from standard input (nothing
secret stands in its arguments or its environment), and writes one with ``problem``, null when the
message was delivered. Apprise loads much, so this process ends after each message.
"""

import json
import logging
import sys

from supervisor.values.redaction import Redaction

_WORDS_MAX = 200  # characters of what a service says
_KINDS = {"pass": "success", "warn": "warning", "unsteady": "warning", "fail": "failure"}


class _LastWords(logging.Handler):
    """Keeps what Apprise logs last: why a message could not be delivered."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.text = record.getMessage()


def send(url: str, title: str, body: str, kind: str) -> str | None:
    """Return why a message could not be delivered, or None; blocks while the service does."""
    try:
        import apprise
    except ImportError:
        return "apprise is not installed: pip install 'flask-supervisor[notify]'"
    words = _LastWords()
    logger = logging.getLogger("apprise")
    logger.handlers = [words]
    logger.propagate = False
    destination = apprise.Apprise()
    if not destination.add(url):
        return "apprise does not know this kind of address, or it is incomplete"
    if destination.notify(body=body, title=title, notify_type=apprise.NotifyType(_KINDS[kind])):
        return None
    said = " ".join(Redaction([url])(words.text).split())
    return said[:_WORDS_MAX] or "the service did not take the message"


def main() -> None:
    """Send the message on standard input."""
    given = json.load(sys.stdin)
    problem = send(given["url"], given["title"], given["body"], given["kind"])
    json.dump({"problem": problem}, sys.stdout)


if __name__ == "__main__":
    main()

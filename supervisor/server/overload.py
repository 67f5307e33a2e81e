"""The answer of an overloaded server: 503 with the reason at once, instead of a long wait."""

import json
from dataclasses import dataclass

QUEUE_WAIT_MAX_S = 5.0  # most clients give up after a longer wait
RETRY_AFTER_S = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Overloaded:
    """All threads are busy and the queue doesn't move; used as the error of a waitress request."""

    name: str
    threads: int
    oldest_s: float
    queue_wait_s: float

    @property
    def reason(self) -> str:
        """The reason in one line, as clients receive it."""
        all_busy = (
            "the only thread is busy"
            if self.threads == 1
            else f"all {self.threads} threads are busy"
        )
        return (
            f"{all_busy}, the oldest request for {self.oldest_s:.0f} s, and requests have "
            f"waited for {self.queue_wait_s:.0f} s"
        )

    def to_response(self, ident: str | None = None) -> tuple[str, list[tuple[str, str]], bytes]:
        """Return status, headers and body: what waitress calls on an error.

        The body is a problem document (RFC 9457).
        """
        problem = {
            "type": "about:blank",
            "title": f"{self.name} is overloaded" if self.name else "overloaded",
            "status": 503,
            "detail": self.reason,
            "app": self.name or None,
            "threads": self.threads,
            "oldest_s": round(self.oldest_s, 1),
            "queue_wait_s": round(self.queue_wait_s, 1),
            "retry_after_s": RETRY_AFTER_S,
        }
        headers = [
            ("Content-Type", "application/problem+json"),
            ("Retry-After", str(RETRY_AFTER_S)),
            ("Cache-Control", "no-store"),
        ]
        if ident:
            headers.append(("Server", ident))
        body = (json.dumps(problem, ensure_ascii=False) + "\n").encode()
        return "503 Service Unavailable", headers, body

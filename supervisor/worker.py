"""The life of a worker process: import one app, serve it, drain, end.

Runs in a forked child. Tells the main process ``importing``, then ``import_failed`` with the
report or ``ready``; is told ``drain``. When the main process is gone, so is the worker.
"""

import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from supervisor.beats import Beats, pin
from supervisor.beforestart import run_before_start
from supervisor.channel import Channel, Message
from supervisor.errors import ChannelClosed
from supervisor.importing import import_app
from supervisor.redaction import Redaction
from supervisor.serving import Server
from supervisor.watching import Watch, beyond_tree, fingerprint, look

_SEND_TIMEOUT_S = 10.0
IDLE_S = 0.3  # keep-alive clients get this long for one more request


@dataclass(frozen=True, slots=True, kw_only=True)
class AppWorker:
    """What a worker has to know; ``listener`` is inherited and never closed by it."""

    name: str
    target: str
    path: Path
    listener: socket.socket
    threads: int
    max_threads: int
    import_timeout_s: float
    shutdown_timeout_s: float
    environment: dict[str, str] = field(repr=False)
    before_start: list[list[str]]
    options: dict[str, Any]
    core: int | None = None
    secrets: frozenset[str] = field(default=frozenset(), repr=False)  # never in a report

    def run(self, connection: socket.socket) -> int:
        """Be the worker; gives the exit code."""
        os.environ.update(self.environment)
        time.tzset()  # the environment of the app may set TZ
        if self.core is not None:
            pin(self.core)
        channel = Channel(connection)
        deadline = time.monotonic() + self.import_timeout_s
        report = run_before_start(self.before_start, self.path, timeout_s=self.import_timeout_s)
        sources = Watch(trees=(str(self.path),))
        found, lately = look(sources)
        if lately:
            # Python takes a cached file as good by size and whole second: an edit of the same size
            # in the same second would be served as it was before.
            sys.dont_write_bytecode = True
        watched = [{"watch": sources.to_json(), "fingerprint": found}]
        channel.send_all({"type": "importing", "watch": watched}, timeout_s=_SEND_TIMEOUT_S)
        app = None
        if report is None:
            app, report = import_app(
                self.target,
                self.path,
                timeout_s=max(0.1, round(deadline - time.monotonic(), 1)),
                hide=Redaction(self.secrets),
            )
        if app is None:
            assert report is not None
            beyond = _beyond(self.path, report.missing_module)
            message = {
                "type": "import_failed",
                "report": report.to_json(),
                "watch": [
                    *watched,
                    {"watch": beyond.to_json(), "fingerprint": fingerprint(beyond)},
                ],
            }
            channel.send_all(message, timeout_s=_SEND_TIMEOUT_S)
            return 1
        server = Server()
        server.add(
            self.listener,
            app,
            name=self.name,
            threads=self.threads,
            max_threads=self.max_threads,
            options=self.options,
        )
        serve(server, channel, shutdown_timeout_s=self.shutdown_timeout_s)
        return 0


def serve(
    server: Server,
    channel: Channel,
    *,
    shutdown_timeout_s: float,
    on_message: Callable[[Message], None] | None = None,
) -> None:
    """Report ``ready`` and serve until told to drain, by message, SIGTERM or SIGINT.

    Any other message goes to ``on_message``, in the thread that runs the server's loop.
    """

    def end(_number: int, _frame: object) -> None:
        server.drain(timeout_s=shutdown_timeout_s, idle_s=IDLE_S)

    def hear() -> None:
        try:
            messages = channel.receive()
        except ChannelClosed:
            os._exit(1)  # the main process is gone: nobody would ever end us
        for message in messages:
            match message["type"]:
                case "drain":
                    server.drain(timeout_s=message["timeout_s"], idle_s=message["idle_s"])
                case "pause":
                    server.pause()
                case "resume":
                    server.resume()
                case _ if on_message is not None:
                    on_message(message)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    server.watch(channel.fileno(), hear)
    channel.send_all({"type": "ready"}, timeout_s=_SEND_TIMEOUT_S)
    beats = Beats(server, channel)
    beats.start()
    cut_off = server.run()
    beats.beat()
    if cut_off:
        sys.stderr.write(f"{cut_off} requests in flight were cut off: they took too long to end\n")


def _beyond(path: Path, missing: str | None) -> Watch:
    """Watch what lies elsewhere, and where the missing module would come."""
    parent = sys.modules.get((missing or "").rpartition(".")[0])
    folders = [*sys.path, *getattr(parent, "__path__", [])]
    files = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    return beyond_tree(path, folders, [file for file in files if file])

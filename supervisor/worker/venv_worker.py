"""A worker on the interpreter of its app's own virtual environment."""

import os
import socket
from dataclasses import asdict, dataclass
from pathlib import Path

from supervisor.process.channel import SEND_TIMEOUT_S, Channel
from supervisor.source.fingerprints import Watch, taken
from supervisor.systemd import hand_over
from supervisor.values.reports import ImportReport
from supervisor.worker import interpreter
from supervisor.worker.entry import AppWorker


@dataclass(frozen=True, slots=True, kw_only=True)
class VenvWorker:
    """``worker`` on the interpreter ``python`` of the app's own virtual environment."""

    python: Path
    worker: AppWorker
    name: str

    def run(self, connection: socket.socket) -> int:
        """Execute that interpreter in this process; return an exit code where it can't be used."""
        worker = self.worker
        terms = hand_over.allowed_limits()
        sockets = {
            name: [one.fileno() for one in listener] for name, listener in worker.listeners.items()
        }
        kept_fds = [connection.fileno(), *(fd for fds in sockets.values() for fd in fds)]
        if terms is not None:
            kept_fds.append(terms.log_fd)
        task = {
            "do": "serve",
            "descriptors": kept_fds,
            "name": self.name,
            "apps": [app.to_json() for app in worker.apps],
            "code": worker.code.to_json(),
            "listeners": sockets,
            "shutdown_timeout_s": worker.shutdown_timeout_s,
            "core": worker.core,
            "channel": connection.fileno(),
            "terms": None if terms is None else asdict(terms),
        }
        try:
            interpreter.check_interpreter(self.python)
            fd = interpreter.memory_file(task)
            for kept in (fd, *kept_fds):
                os.set_inheritable(kept, True)
            command = interpreter.command_line(self.python, fd)
            os.execv(command[0], command)
        except interpreter.InterpreterError as error:
            self._report(connection, error.message, error.hint)
        except OSError as error:
            reason = f"cannot start the interpreter {self.python.name}: {error.strerror}"
            self._report(connection, reason, "correct `python` in the app's section")
        return 1

    def _report(self, connection: socket.socket, reason: str, hint: str | None) -> None:
        report = ImportReport.without_place(
            type="InterpreterError",
            message=reason,
            hint=hint,
        )
        code = self.worker.code
        watch = Watch(trees=(str(code.path),), files=(str(self.python),), skip=code.skip)
        watched = [taken(watch)]
        channel = Channel(connection)
        message = {"type": "import_failed", "report": report.to_json(), "watch": watched}
        for one in ({"type": "importing", "watch": watched}, message):
            channel.send_all(one, timeout_s=SEND_TIMEOUT_S)

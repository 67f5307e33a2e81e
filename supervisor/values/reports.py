"""Why an app does not serve: a cause, the report of a failed import, how a process ended."""

import signal
from dataclasses import asdict
from typing import Any, Self

from supervisor.values.records import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Why an app does not serve: the reason in one line, and what to do about it.

    ``reason`` contains no absolute path, traceback or secret: every client of the app's port may
    see it.
    """

    reason: str
    hint: str | None = None

    @property
    def in_full(self) -> str:
        """Reason and hint in one line, for the log."""
        return f"{self.reason}; {self.hint}" if self.hint else self.reason


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """A failed import: the exception, where it was raised, how long it took.

    ``file`` is relative to the app's ``path``.
    """

    type: str
    message: str
    file: str | None
    line: int | None
    missing_module: str | None
    hint: str | None
    traceback: str
    seconds: float

    @classmethod
    def without_place(
        cls, *, type: str, message: str, hint: str | None, traceback: str = "", seconds: float = 0.0
    ) -> Self:
        """Return the report of a failure that has no place in the app's files."""
        return cls(
            type=type,
            message=message,
            file=None,
            line=None,
            missing_module=None,
            hint=hint,
            traceback=traceback,
            seconds=seconds,
        )

    @property
    def cause(self) -> Cause:
        """The report in one line, as the app's port and the health document show it."""
        reason = f"{self.type}: {self.message}" if self.message else self.type
        if self.file and self.line:
            reason += f" ({self.file}, line {self.line})"
        return Cause(reason=reason, hint=self.hint)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object that `from_json` reads."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Self:
        """Return the report in an object of `to_json`; raises TypeError for anything else."""
        return cls(**fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """How a process ended: exactly one of ``code`` and ``signal`` is set.

    ``out_of_memory``: whether the kernel sent a SIGKILL for lack of memory; None if unknown.
    """

    code: int | None = None
    signal: int | None = None
    out_of_memory: bool | None = None

    @classmethod
    def from_exitcode(cls, exitcode: int, *, out_of_memory: bool | None = None) -> Self:
        """Return the exit for a value of `os.waitstatus_to_exitcode`, negative for a signal."""
        if exitcode < 0:
            return cls(signal=-exitcode, out_of_memory=out_of_memory)
        return cls(code=exitcode)

    def __str__(self) -> str:
        if self.signal is None:
            return "ended by itself (exit code 0)" if self.code == 0 else f"exit code {self.code}"
        try:
            name = signal.Signals(self.signal).name
        except ValueError:  # real-time signals have no name
            name = f"signal {self.signal}"
        if self.signal == signal.SIGKILL:
            why = {
                True: "the machine or the service ran out of memory",
                False: "by a person or a program, not for lack of memory",
                None: "by a person, or perhaps out of memory",
            }
            return f"killed by {name} ({why[self.out_of_memory]})"
        return f"killed by {name}"

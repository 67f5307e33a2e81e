"""The errors that an operator reads.

Each is shown as its ``message`` and, where there is something to do next, its ``hint`` on lines of
their own. A message starts in lower case and names the thing and the cause.
"""


class SupervisorError(Exception):
    """An error for the operator; ``hint`` says what to do next."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        if not self.hint:
            return self.message
        return "\n  ".join([self.message, *self.hint.splitlines()])


class ConfigError(SupervisorError):
    """The configuration can't be used; ``problems`` has one line for each mistake."""

    def __init__(self, problems: list[str], *, hint: str | None = None) -> None:
        super().__init__("\n".join(problems), hint=hint)
        self.problems = problems


class AlreadyRunning(SupervisorError):
    """Another supervisor holds the lock of the state folder."""


class ChannelClosed(SupervisorError):
    """The process at the other end of a channel is gone."""


class ControlError(SupervisorError):
    """The supervisor refused a request; ``code`` names the error for programs."""

    def __init__(self, message: str, *, code: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.code = code


class NotRunning(ControlError):
    """No supervisor answers on the control socket."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message, code="not_running", hint=hint)

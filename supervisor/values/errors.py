"""The errors that a person reads.

Every one of them is shown as ``message`` and, where there is a next step, ``hint`` on a line
of its own. Messages start in lower case, name the thing and give the cause.
"""


class SupervisorError(Exception):
    """Something a person has to know about; ``hint`` says what to do next."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message


class UsageError(SupervisorError):
    """The command line asks for something that can't be: exit code 2."""


class ConfigError(SupervisorError):
    """The configuration can't be used; ``problems`` holds every single finding."""

    def __init__(self, problems: list[str], *, hint: str | None = None) -> None:
        super().__init__("\n".join(problems), hint=hint)
        self.problems = problems


class AlreadyRunning(SupervisorError):
    """Another supervisor holds the state folder's lock."""


class ChannelClosed(SupervisorError):
    """The process at the other end of a channel is gone."""


class ControlError(SupervisorError):
    """The supervisor answered a request with an error; ``code`` is its short name."""

    def __init__(self, message: str, *, code: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.code = code


class NotRunning(ControlError):
    """No supervisor answers on the control socket."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message, code="not_running", hint=hint)

"""What people and programs change by way of this app: each is recorded as an event, then done.

The pages and the API call these, and answer each in its own way. What the supervisor refuses raises
`ControlError`; nothing is recorded about an app that doesn't exist.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

from werkzeug.datastructures import FileStorage

from apps.admin import link, uploads
from apps.admin.access.guard import audit
from apps.admin.access.store import Store, Token, TokenRight
from supervisor.client import ControlError

VERBS = {  # with what a page says then
    "start": "{app} is being started.",
    "stop": "{app} is being stopped: its port answers 503 until somebody starts it.",
    "restart": "{app} is being restarted.",
    "reload": "{app} is being reloaded: what runs goes on until the new code serves.",
}
_SEND_S = 200.0  # for messages to all destinations


def operate(app: str, verb: str) -> None:
    """Have one of `VERBS` done with an app; doesn't wait for the outcome."""
    link.app_snapshot(app)
    audit(f"{verb} of {app}", app=app)
    link.ask(verb, apps=[app], wait=False)


def deploy(app: str, archive: FileStorage, mode: str) -> None:
    """Begin the deploy of an uploaded archive; ``mode`` is one of `uploads.MODES`."""
    link.app_snapshot(app)
    source = uploads.save(archive)
    audit(f"deploy of {uploads.safe_name(archive.filename or '')} to {app}", app=app)
    flags = {mode: True} if mode else {}
    try:
        link.ask("release.deploy", app=app, source=source, wait=False, **flags)
    except ControlError:
        uploads.remove(source)
        raise


def rollback(app: str, release: str | None) -> None:
    """Begin to put a release back in place, or the last good one."""
    link.app_snapshot(app)
    audit(f"rollback of {app}" + (f" to {release}" if release else ""), app=app)
    link.ask("release.rollback", app=app, release=release, wait=False)


def interrupt_deploy() -> dict[str, Any]:
    """Have the deploy that is under way undone."""
    audit("interrupt of the deploy")
    return dict(link.ask("release.interrupt"))


def apply_configuration(text: str, digest: str) -> dict[str, Any]:
    """Replace the configuration, which must still have this ``digest``; return the changes."""
    audit("change of the configuration")
    return dict(link.ask_long("config.apply", text=text, digest=digest))


def restore_configuration(name: str, digest: str) -> dict[str, Any]:
    """Replace the configuration by an entry of its history, as `apply_configuration`."""
    text = link.ask_long("config.kept", name=name)["text"]
    audit(f"restore of the configuration {name}")
    return dict(link.ask_long("config.apply", text=text, digest=digest))


def reload_configuration() -> dict[str, Any]:
    """Have the configuration read again; return the changes."""
    audit("reload of the configuration")
    return dict(link.ask_long("config.reload"))


def test_notifications() -> dict[str, Any]:
    """Send a test message to each destination; return what came of it."""
    audit("test of the notifications")
    return dict(link.ask("notify.test", timeout_s=_SEND_S))


def create_token(known: Store, name: str, right: TokenRight) -> tuple[Token, str]:
    """Create an API token that `token_problem` allows; return it, and its secret."""
    with _kept(f"creation of the API token {name} ({right})"):
        return known.add_token(name, right)


def revoke_token(known: Store, number: str) -> Token | None:
    """Revoke an API token; return it, or None if there is no such token."""
    found = next((one for one in known.tokens() if one.id == number), None)
    if found is not None:
        with _kept(f"revocation of the API token {found.name}"):
            known.revoke_token(number)
    return found


def set_password(known: Store, new: str) -> None:
    """Replace the password by one that `password_problem` allows; all sessions end."""
    with _kept("change of the password"):
        known.set_password(new)


@contextlib.contextmanager
def _kept(text: str) -> Iterator[None]:
    """Record what is written in the ``with`` block; raises `ControlError` where that fails."""
    audit(text)
    try:
        yield
    except OSError as error:
        why = f"can't be written: {error.strerror}"
        audit(f"no {text}: it {why}")
        raise ControlError(
            f"the {text} {why}", code="not_written", hint="nothing was changed: see df -h"
        ) from error

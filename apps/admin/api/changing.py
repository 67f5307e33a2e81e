"""Answers the operations about releases, the configuration, tokens and people."""

from dataclasses import asdict
from typing import Any

from flask import abort, request

from apps.admin import actions, link, peers, uploads
from apps.admin.access.guard import Right, is_password, store
from apps.admin.access.store import (
    PASSWORD_MAX,
    PASSWORD_MIN,
    Store,
    password_problem,
    token_problem,
)
from apps.admin.api import schemas
from apps.admin.api.operations import (
    OBJECT,
    TEXT,
    fields,
    list_of,
    maybe,
    operation,
    record,
)

Answer = dict[str, Any]

_SOME_TEXT = {**TEXT, "minLength": 1}


def _closed(**properties: Any) -> Answer:
    return {**record(**properties), "additionalProperties": False}


@operation(
    "POST",
    "/apps/<app>/deploy",
    "Deploy an archive; the answer comes at once, `/deploy` has the progress and the outcome",
    right=Right.OPERATE,
    form={
        "type": "object",
        "properties": {
            "archive": {"type": "string", "format": "binary"},
            "mode": {"type": "string", "enum": ["only", "delete"]},
        },
        "required": ["archive"],
    },
    answer=schemas.BEGUN,
    status=202,
    errors={409: "another one is under way, or it has no port", 507: "no room for the archive"},
)
def deploy(app: str) -> tuple[Answer, int]:
    """Deploy the archive that was uploaded."""
    uploaded = request.files.get("archive")
    if uploaded is None or not uploaded.filename:
        abort(400, 'send the archive as the file "archive" of a multipart/form-data form')
    mode = request.form.get("mode", "")
    if mode not in uploads.MODES:
        abort(400, '"mode" is one of: only, delete')
    actions.deploy(app, uploaded, mode)
    return {"app": app, "begun": True}, 202


@operation(
    "POST",
    "/apps/<app>/rollback",
    "Put a release back; null stands for the last good one. The answer comes at once",
    right=Right.OPERATE,
    body=_closed(release=maybe(_SOME_TEXT)),
    answer=schemas.BEGUN,
    status=202,
    errors={409: "another one is under way, or it has no port"},
)
def rollback(app: str) -> tuple[Answer, int]:
    """Put a release back in place."""
    actions.rollback(app, fields(release=(str, type(None)))["release"])
    return {"app": app, "begun": True}, 202


@operation(
    "GET",
    "/deploy",
    "The deploy that is under way, or was last, and how it ended",
    right=Right.READ,
    answer=schemas.DEPLOY,
)
def deploy_progress() -> Answer:
    """Return the progress of a deploy."""
    return dict(link.ask("release.progress"))


@operation(
    "DELETE",
    "/deploy",
    "Have the deploy that is under way undone",
    right=Right.OPERATE,
    answer=record(interrupted={"type": "boolean"}),
)
def interrupt_deploy() -> Answer:
    """Interrupt a deploy."""
    return actions.interrupt_deploy()


@operation(
    "GET",
    "/configuration",
    "Every value in effect, and its origin; secrets are hidden",
    right=Right.READ,
    answer=record(settings=list_of(record(path=TEXT, origin=TEXT, value={}))),
)
def configuration() -> Answer:
    """Return the values in effect."""
    return dict(link.ask("config.show"))


@operation(
    "GET",
    "/configuration/text",
    "The text of the file with its digest, and the history",
    right=Right.OPERATE,
    answer=record(file=TEXT, text=TEXT, digest=TEXT, history=list_of(OBJECT)),
    errors={422: "the file can't be read"},
)
def configuration_text() -> Answer:
    """Return the text of the configuration."""
    return dict(link.ask_long("config.text"))


@operation(
    "GET",
    "/configuration/history/<name>",
    "The text of an earlier configuration",
    right=Right.OPERATE,
    answer=record(name=TEXT, text=TEXT),
    errors={422: "there is no such configuration"},
)
def configuration_kept(name: str) -> Answer:
    """Return an earlier configuration."""
    return dict(link.ask_long("config.kept", name=name))


@operation(
    "POST",
    "/configuration/history/<name>/restore",
    "Put an earlier configuration back into the file, which must still have this digest",
    right=Right.OPERATE,
    body=_closed(digest=_SOME_TEXT),
    answer=record(changes=TEXT),
    errors={
        409: "somebody else has changed it",
        422: "there is no such configuration, it is not valid any more, or can't be written",
    },
)
def restore_configuration(name: str) -> Answer:
    """Restore an earlier configuration."""
    return actions.restore_configuration(name, fields(digest=str)["digest"])


@operation(
    "POST",
    "/configuration/check",
    "What is wrong with a text as the configuration, or what it would change",
    right=Right.OPERATE,
    body=_closed(text=_SOME_TEXT),
    answer=record(problems=list_of(TEXT), hint=maybe(TEXT), changes=maybe(TEXT)),
)
def check_configuration() -> Answer:
    """Check a text as the configuration."""
    return dict(link.ask_long("config.check", text=fields(text=str)["text"]))


@operation(
    "PUT",
    "/configuration/text",
    "Replace the file, which must still have this digest, and put it into effect",
    right=Right.OPERATE,
    body=_closed(text=_SOME_TEXT, digest=_SOME_TEXT),
    answer=record(changes=TEXT),
    errors={409: "somebody else has changed it", 422: "it is not valid, or can't be written"},
)
def apply_configuration() -> Answer:
    """Apply a configuration."""
    given = fields(text=str, digest=str)
    return actions.apply_configuration(given["text"], given["digest"])


@operation(
    "POST",
    "/configuration/reload",
    "Read the file again, and reload what it changes",
    right=Right.OPERATE,
    answer=record(changes=TEXT),
    errors={422: "it is not valid: nothing has changed"},
)
def reload_configuration() -> Answer:
    """Read the configuration again."""
    return actions.reload_configuration()


@operation(
    "POST",
    "/machines/compare",
    "Compare the files of an app with those on another machine",
    right=Right.OPERATE,
    body=_closed(app=_SOME_TEXT, address=_SOME_TEXT, token=_SOME_TEXT),
    answer=record(
        same={"type": "integer"},
        changed=list_of(TEXT),
        only_here=list_of(TEXT),
        only_there=list_of(TEXT),
    ),
    errors={404: "there is no such app", 422: "the other machine gives no answer"},
)
def compare_machines() -> Answer:
    """Compare an app's files with another machine's."""
    given = fields(app=str, address=str, token=str)
    try:
        return asdict(peers.compare(given["app"], given["address"], given["token"]))
    except peers.PeerError as error:
        abort(422, str(error))


@operation(
    "POST",
    "/notifications/test",
    "Send a test message to each destination: why it could not be delivered, or null",
    right=Right.OPERATE,
    answer=record(problems=list_of(maybe(TEXT))),
    errors={422: "it could not be done"},
)
def test_notifications() -> Answer:
    """Send a test message to each destination."""
    return actions.test_notifications()


@operation(
    "GET",
    "/tokens",
    "The API tokens, without their secrets",
    right=Right.OPERATE,
    answer=record(tokens=list_of(schemas.TOKEN)),
)
def tokens() -> Answer:
    """Return the tokens."""
    return {"tokens": [_token(one) for one in _store().tokens()]}


@operation(
    "POST",
    "/tokens",
    "Create a token; its secret is in this answer only",
    right=Right.OPERATE,
    body=_closed(
        name={**TEXT, "minLength": 1, "maxLength": 60},
        right={"type": "string", "enum": ["read", "operate"]},
    ),
    answer=record(**schemas.TOKEN["properties"], secret=TEXT),
    status=201,
    errors={422: "not such a name, or too many tokens", 507: "no room to keep it"},
)
def create_token() -> tuple[Answer, int]:
    """Create a token."""
    given = fields(name=str, right=str)
    problem = token_problem(given["name"], given["right"], len(_store().tokens()))
    if problem is not None:
        abort(422 if given["right"] in ("read", "operate") else 400, problem)
    token, secret = actions.create_token(_store(), given["name"], given["right"])
    return {**_token(token), "secret": secret}, 201


@operation(
    "DELETE",
    "/tokens/<number>",
    "Revoke a token",
    right=Right.OPERATE,
    answer=schemas.TOKEN,
    errors={507: "no room to keep that"},
)
def revoke_token(number: str) -> Answer:
    """Revoke a token."""
    found = actions.revoke_token(_store(), number)
    if found is None:
        abort(404, "there is no such token")
    return _token(found)


@operation(
    "PUT",
    "/password",
    "Replace the password: all sessions end, tokens stay",
    right=Right.OPERATE,
    body=_closed(
        old=_SOME_TEXT, new={**TEXT, "minLength": PASSWORD_MIN, "maxLength": PASSWORD_MAX}
    ),
    answer=record(changed={"type": "boolean"}),
    errors={
        403: "the token may not do this, or that is not the present password",
        422: "too short or too long",
        429: "too many wrong passwords",
        507: "no room to keep it",
    },
)
def change_password() -> Answer:
    """Replace the password."""
    given = fields(old=str, new=str)
    problem = password_problem(given["new"])
    if problem is not None:
        abort(422, problem)
    if not is_password(given["old"]):
        abort(403, "that is not the present password")
    actions.set_password(_store(), given["new"])
    return {"changed": True}


def _token(token: Any) -> Answer:
    return {key: value for key, value in asdict(token).items() if key != "digest"}


def _store() -> Store:
    known = store()
    if known is None:
        abort(503, "this app is not run by a supervisor")
    return known

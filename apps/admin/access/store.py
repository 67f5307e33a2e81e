"""The password, the API tokens and the secret key, in ``admin`` of the supervisor's state folder.

Only hashes are kept. `flask-supervisor password` writes the password's file too, and two workers
may use the folder at once, so every question looks at the files.
"""

import contextlib
import hashlib
import json
import secrets
import threading
import time
from collections import deque
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from werkzeug.security import check_password_hash, generate_password_hash

from apps.data_folder import prepared_by_one, secret_key, write_whole

PASSWORD_MIN, PASSWORD_MAX = 8, 200  # as `flask-supervisor password`
NAME_MAX, TOKENS_MAX = 60, 50
_USED_STEP_S = 3600.0  # the last use is written once an hour: an SD card wears out
_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"  # nothing that looks like something else
_PREFIX = "fs_"
_PASSWORD, _TOKENS, _ENDED = "password", "tokens", "ended_sessions"
_ENDED_MAX = 1000
_SIZE_MAX = 2**20  # characters; what is larger is not ours

TokenRight = Literal["read", "operate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Password:
    """What is kept of the password; ``id`` changes with it, and ends the sessions."""

    hash: str
    one_time: bool
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """What is kept of an API token; times are RFC 3339, UTC."""

    id: str
    name: str
    right: TokenRight
    digest: str
    created: str
    last_used: str | None = None


class Store:
    """The files in ``folder``, which is created."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._hashing = threading.Lock()  # scrypt takes 32 MiB: one at a time
        self._used: dict[str, float] = {}
        self._ended: deque[str] = deque(maxlen=_ENDED_MAX)  # also where they can't be written
        try:
            with prepared_by_one(folder):
                folder.chmod(0o700)
                self.secret_key = secret_key(folder)
        except OSError:  # a disk that became read-only: who knows the password still gets in
            self.secret_key = secrets.token_hex(32)

    # ---- the password

    def password(self) -> Password | None:
        """Return what is kept of the password; None if there is none, or it is damaged."""
        try:
            return _password_of(self._load(_PASSWORD))
        except (OSError, ValueError):
            return None

    def damage(self) -> str | None:
        """Return why nobody can log in, and what to do; None if that is possible."""
        try:
            _password_of(self._load(_PASSWORD))
        except OSError as error:
            why = f"can't be read ({error.strerror})"
        except ValueError:
            why = "is damaged"
        else:
            return None
        return f"The file of the password {why}. Set one on the machine: flask-supervisor password"

    def first_password(self) -> str | None:
        """Create a one-time password if there is no password, and return it; else None.

        A damaged file is set aside. Raises OSError, also for a file that can't be read: the
        password in it may be good.
        """
        if self.password() is not None:
            return None
        with prepared_by_one(self._folder):
            try:
                _password_of(self._load(_PASSWORD))
            except FileNotFoundError:
                pass
            except ValueError:
                self._set_aside(_PASSWORD)
            else:
                return None
            words = ("".join(secrets.choice(_ALPHABET) for _ in range(4)) for _ in range(4))
            password = "-".join(words)
            self._write_password(password, one_time=True)
            return password

    def is_password(self, given: str) -> bool:
        """Return whether ``given`` is the password."""
        known = self.password()
        if known is None or len(given) > PASSWORD_MAX:
            return False
        try:
            with self._hashing:
                return check_password_hash(known.hash, given)
        except (ValueError, TypeError):  # the hash is damaged
            return False

    def set_password(self, password: str) -> Password:
        """Replace the password; returns what is kept of it. Raises OSError."""
        with prepared_by_one(self._folder):
            return self._write_password(password, one_time=False)

    def _write_password(self, password: str, *, one_time: bool) -> Password:
        kept = Password(
            hash=generate_password_hash(password), one_time=one_time, id=secrets.token_hex(8)
        )
        write_whole(self._folder / _PASSWORD, json.dumps(asdict(kept)))
        self._ended.clear()
        (self._folder / _ENDED).unlink(missing_ok=True)
        return kept

    # ---- sessions that have ended before their password

    def end_session(self, number: str) -> None:
        """Let a session be worth nothing any more."""
        self._ended.append(number)
        with contextlib.suppress(OSError), prepared_by_one(self._folder):
            ended = [*self._ended_sessions(), number][-_ENDED_MAX:]
            write_whole(self._folder / _ENDED, json.dumps(ended))

    def has_ended(self, number: object) -> bool:
        """Return whether a session with this number is worth nothing."""
        return not number or number in self._ended or number in self._ended_sessions()

    def _ended_sessions(self) -> list[str]:
        try:
            found = self._load(_ENDED)
        except (OSError, ValueError):
            return []
        return found if isinstance(found, list) else []

    # ---- API tokens

    def tokens(self) -> list[Token]:
        """Return all tokens, oldest first; none where they can't be read."""
        try:
            return _tokens_of(self._load(_TOKENS))
        except (OSError, ValueError):
            return []

    def add_token(self, name: str, right: TokenRight) -> tuple[Token, str]:
        """Create a token; returns it with its secret, which is kept nowhere. Raises OSError."""
        secret = _PREFIX + secrets.token_urlsafe(32)
        token = Token(
            id=secrets.token_hex(4), name=name, right=right, digest=_digest(secret), created=_now()
        )
        with prepared_by_one(self._folder):
            self._write_tokens([*self._tokens_to_change(), token])
        return token, secret

    def revoke_token(self, number: str) -> Token | None:
        """Remove the token with this id and return it; None if there is none. Raises OSError."""
        with prepared_by_one(self._folder):
            tokens = self._tokens_to_change()
            found = next((one for one in tokens if one.id == number), None)
            if found is not None:
                self._write_tokens([one for one in tokens if one.id != number])
            return found

    def token_of(self, secret: str) -> Token | None:
        """Return the token with this secret, and remember that it was used."""
        digest = _digest(secret)
        for token in self.tokens():
            if secrets.compare_digest(token.digest, digest):
                self._note_use(token)
                return token
        return None

    def _note_use(self, token: Token) -> None:
        now = time.monotonic()
        if now - self._used.get(token.id, -_USED_STEP_S) < _USED_STEP_S:
            return
        self._used[token.id] = now
        try:
            with prepared_by_one(self._folder):
                used = replace(token, last_used=_now())
                tokens = self._tokens_to_change()
                self._write_tokens([used if one.id == token.id else one for one in tokens])
        except OSError:  # a full disk: the token works all the same, its last use stays older
            self._used.pop(token.id, None)

    def _tokens_to_change(self) -> list[Token]:
        """Return all tokens, and set a damaged file aside; raises OSError if there may be some."""
        try:
            return _tokens_of(self._load(_TOKENS))
        except FileNotFoundError:
            return []
        except ValueError:
            self._set_aside(_TOKENS)
            return []

    def _write_tokens(self, tokens: list[Token]) -> None:
        write_whole(self._folder / _TOKENS, json.dumps([asdict(one) for one in tokens]))

    # ---- files

    def _load(self, name: str) -> Any:
        """Return the JSON of a file; raises OSError, and ValueError if it is damaged."""
        with open(self._folder / name, encoding="utf-8") as file:
            text = file.read(_SIZE_MAX)
        try:
            return json.loads(text)
        except RecursionError as error:
            raise ValueError("it is nested too deeply") from error

    def _set_aside(self, name: str) -> None:
        (self._folder / name).replace(self._folder / f"{name}.damaged")


def _password_of(content: Any) -> Password:
    """Return the password that a file has; raises ValueError."""
    match content:
        case {"hash": str(kept), "one_time": bool(one_time), "id": str(number)} if number:
            return Password(hash=kept, one_time=one_time, id=number)
    raise ValueError("this is no password")


def _tokens_of(content: Any) -> list[Token]:
    """Return the tokens that a file has; raises ValueError."""
    try:
        tokens = [Token(**one) for one in content]
    except TypeError as error:
        raise ValueError("these are no tokens") from error
    for one in tokens:
        texts = (one.id, one.name, one.digest, one.created, one.last_used or "")
        if one.right not in ("read", "operate") or not all(isinstance(text, str) for text in texts):
            raise ValueError("this is no token")
    return tokens


def password_problem(password: str) -> str | None:
    """Return what is wrong with a new password, None if nothing is."""
    if len(password) < PASSWORD_MIN:
        return f"The new password needs at least {PASSWORD_MIN} characters."
    if len(password) > PASSWORD_MAX:
        return f"The new password may have at most {PASSWORD_MAX} characters."
    return None


def token_problem(name: str, right: str, count: int) -> str | None:
    """Return what is wrong with a new token, where there are ``count`` already."""
    if not 0 < len(name) <= NAME_MAX or not name.isprintable():
        return f"Give the token a name of 1 to {NAME_MAX} printable characters."
    if right not in ("read", "operate"):
        return "A token may read, or operate."
    if count >= TOKENS_MAX:
        return f"There are {TOKENS_MAX} tokens already: revoke one first."
    return None


def _digest(secret: str) -> str:
    # 256 random bits need no slow hash
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")

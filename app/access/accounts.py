"""Manage accounts, passwords and sessions; `python -m app.people` (app/people.py) adds people.

On loopback the app needs no accounts: anyone who can reach it is the one person of this machine.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from types import ModuleType
from typing import TYPE_CHECKING, Any

from app.access.rules import Role
from user_errors import UserError

if TYPE_CHECKING:
    from argon2 import PasswordHasher

    from db.engine import Engine, Session
    from db.models import Account

SESSION_LASTS = timedelta(hours=12)
IDLE_LASTS = timedelta(hours=2)
"""A session that nobody uses ends earlier. A page that follows jobs asks every few seconds, which counts as use."""
TOKEN_BYTES = 32
KEY_PREFIX = "grain-key-"
"""Begins the tokens that a person gives to a program: they come in a header, and rest does not end them."""
PASSWORD_LENGTH = (10, 1000)
MOST_DAYS = 366
ADD_ONE = "python -m app.people add NAME --role admin"
PERSON_KEY = "grain_person"


@dataclass(frozen=True)
class Person:
    """The person who is asking. name: what the edit history says."""

    name: str
    role: Role


LOCAL_PERSON = Person("local", "admin")
"""The person who uses the app on this machine, without a login. The name of the machine's user stays out of exports."""


def person_of(request: Any) -> Person:
    """Return the person behind an event.

    Args:   request: the gr.Request that a handler takes, or a plain one.
    Raises: PermissionError: it did not come through the gate.
    """
    person = scope_of(request).get(PERSON_KEY)
    if not isinstance(person, Person):
        raise PermissionError("expected a request that came through the gate (app/access/gate.py)")
    return person


def scope_of(request: Any) -> MutableMapping[str, Any]:
    """Return the ASGI scope that the gate wrote on, of a gr.Request or a plain one."""
    plain = getattr(request, "request", None) or request  # gr.Request copies what is asked of it through JSON
    scope: MutableMapping[str, Any] = getattr(plain, "scope", {})
    return scope


class People:
    """Accounts and sessions, in the database.

    Passwords are kept as argon2 hashes, tokens as sha256: a copy of the database lets nobody in.
    """

    def __init__(
        self, engine: Callable[[], Engine], *, required: bool, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        """engine: asked when first needed. required: whether one must sign in. clock: replaced by tests."""
        self.required = required
        self.clock = clock
        self._engine = engine
        self._used: dict[str, datetime] = {}  # a session's hash -> when it was used last; a restart forgets
        self._turn = threading.Lock()

    def must_exist(self) -> None:
        """Refuse to start an app that nobody could sign in to.

        Raises: UserError: no active account.
        """
        if self.required and not any(account.active for account in self.accounts()):
            raise UserError(
                f"this app would ask for a login and nobody has an account yet: add one with `{ADD_ONE}`, "
                "or unset GRAIN_HOST and GRAIN_LOGIN to use it on this machine alone"
            )

    def accounts(self) -> list[Account]:
        """Return all accounts, by name.

        Raises: UserError: the database cannot be used.
        """
        from db.engine import DatabaseError, reading
        from db.queries.account_queries import list_accounts

        try:
            with reading(self._engine()) as session:
                return list(list_accounts(session))
        except DatabaseError as error:
            raise UserError(str(error)) from error

    def add(self, name: str, password: str, role: Role) -> None:
        """Add an account.

        Raises: UserError: the name is taken or none, or the password too short.
        """
        hashed = self._hash_new(password)
        self._change(lambda ask, to: ask.create_account(to, name=name, password_hash=hashed, role=role))

    def set_password(self, name: str, password: str) -> None:
        """Set another password; earlier sessions and keys end.

        Raises: UserError: nobody active has that name, or the password is too short.
        """
        hashed = self._hash_new(password)
        self._change(lambda ask, to: ask.set_password_hash(to, name=name, password_hash=hashed))

    def set_role(self, name: str, role: Role) -> None:
        """Set another role, valid from the next request on.

        Raises: UserError: nobody active has that name, or no admin would be left.
        """
        self._change(lambda ask, to: ask.set_role(to, name=name, role=role))

    def deactivate(self, name: str) -> None:
        """Deactivate an account; its sessions and keys end.

        Raises: UserError: nobody has that name, or no admin would be left.
        """
        self._change(lambda ask, to: ask.deactivate(to, name=name))

    def activate(self, name: str) -> None:
        """Let somebody in again whose account was deactivated.

        Raises: UserError: nobody has that name.
        """
        self._change(lambda ask, to: ask.activate(to, name=name))

    def key(self, name: str, days: int) -> str:
        """Make a token for a program (MCP, gradio_client): `Authorization: Bearer …`. It is shown only once.

        Raises: UserError: nobody active has that name, or the days are too many or none.
        """
        if not 1 <= days <= MOST_DAYS:
            raise UserError(f"expected 1 to {MOST_DAYS} days, got {days}")
        account = self._account(name)
        if account is None or not account.active:
            raise UserError(f"expected the name of an active account, got {name!r}")
        return self._open(account, KEY_PREFIX, timedelta(days=days))

    def sign_in(self, name: str, password: str) -> str | None:
        """Return the token of a new session; None if name and password do not match. Both take the same time."""
        account = self._account(name)
        fits = self._fits(account.password_hash if account else self._nobodys_hash, password)
        if account is None or not account.active or not fits:
            return None
        return self._open(account, "", SESSION_LASTS)

    def signed_in(self, token: str) -> Person | None:
        """Return the person of a token; None if it is unknown or expired, or its account is deactivated."""
        from db.engine import reading
        from db.queries.account_queries import account_of_session

        sha256, now = _sha256(token), self.clock()
        with reading(self._engine()) as session:
            account = account_of_session(session, token_sha256=sha256, moment=now)
        if account is None:
            return None
        if not token.startswith(KEY_PREFIX) and self._rested(sha256, now):
            self.sign_out(token)
            return None
        return Person(account.name, account.role)

    def sign_out(self, token: str) -> None:
        """End a session."""
        from db.engine import retrying
        from db.queries.account_queries import close_session

        sha256 = _sha256(token)
        retrying(self._engine(), lambda session: close_session(session, token_sha256=sha256))
        with self._turn:
            self._used.pop(sha256, None)

    def _rested(self, sha256: str, now: datetime) -> bool:
        with self._turn:
            rested = now - self._used.get(sha256, now) > IDLE_LASTS
            self._used = {key: used for key, used in self._used.items() if now - used <= SESSION_LASTS}
            self._used[sha256] = now
        return rested

    def _open(self, account: Account, prefix: str, lasts: timedelta) -> str:
        from db.engine import transaction
        from db.queries.account_queries import open_session

        token, now = prefix + secrets.token_urlsafe(TOKEN_BYTES), self.clock()
        with transaction(self._engine()) as session:
            open_session(
                session, account_id=account.id, token_sha256=_sha256(token), expires_at=now + lasts, moment=now
            )
        return token

    def _account(self, name: str) -> Account | None:
        from db.engine import reading
        from db.queries.account_queries import get_account

        with reading(self._engine()) as session:
            return get_account(session, name=name)

    def _change(self, work: Callable[[ModuleType, Session], object]) -> None:
        from db.engine import transaction
        from db.queries import account_queries

        try:
            with transaction(self._engine()) as session:
                work(account_queries, session)
        except ValueError as error:
            raise UserError(str(error)) from error

    def _hash_new(self, password: str) -> str:
        least, most = PASSWORD_LENGTH
        if not least <= len(password) <= most:
            raise UserError(f"expected a password of {least} to {most} characters, got {len(password)}")
        return self.hasher.hash(password)

    def _fits(self, hashed: str, password: str) -> bool:
        from argon2.exceptions import Argon2Error

        try:
            return self.hasher.verify(hashed, password[: PASSWORD_LENGTH[1] + 1])
        except Argon2Error:
            return False

    @cached_property
    def hasher(self) -> PasswordHasher:
        """Return Argon2id with its library's recommended parameters."""
        from argon2 import PasswordHasher

        return PasswordHasher()

    @cached_property
    def _nobodys_hash(self) -> str:
        return self.hasher.hash(secrets.token_urlsafe(TOKEN_BYTES))


def _sha256(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()

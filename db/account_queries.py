"""Questions about people who sign in, by name. Habits as in db/queries.py.

Passwords are hashed and checked by the app; a session is known by its token's hash, so that a copy of the database
lets nobody in.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import get_args

from sqlmodel import Session, col, delete, select

from db.models import Account, LoginSession, Role, now
from db.queries import must_be_sha256, storable


def create_account(session: Session, *, name: str, password_hash: str, role: Role) -> Account:
    """Add a person.

    Raises: ValueError: the name is taken, empty or no printable line, the hash is empty, or the role is unknown.
    """
    if not name.strip() or not name.isprintable():
        raise ValueError(f"expected a name for the account, one printable line, got {name!r}")
    if not password_hash:
        raise ValueError("expected the hash of a password, got none")
    if get_account(session, name=name) is not None:
        raise ValueError(f"expected a new name, got {name!r}, which somebody has: choose another")
    account = Account(name=name, password_hash=password_hash, role=_known(role))
    session.add(account)
    session.flush()
    return account


def get_account(session: Session, *, name: str) -> Account | None:
    """The person of that name, active or not; None when there is none."""
    return session.exec(select(Account).where(Account.name == storable(name))).first()


def list_accounts(session: Session) -> Sequence[Account]:
    """All people, by name."""
    return session.exec(select(Account).order_by(Account.name)).all()


def set_role(session: Session, *, name: str, role: Role) -> Account:
    """Give a person another role.

    Raises: ValueError: no such person or role, or nobody would be an admin any more.
    """
    account = _must_have(session, name)
    if role != "admin":
        _must_leave_an_admin(session, account)
    account.role = _known(role)
    session.flush()
    return account


def set_password_hash(session: Session, *, name: str, password_hash: str) -> Account:
    """Give a person another password; sessions of the old one end."""
    account = _must_have(session, name)
    account.password_hash = password_hash
    session.exec(delete(LoginSession).where(col(LoginSession.account_id) == account.id))
    session.flush()
    return account


def deactivate(session: Session, *, name: str) -> Account:
    """Let a person in no more, and end their sessions; what they did keeps their name.

    Raises: ValueError: no such person, or nobody would be an admin any more.
    """
    account = _must_have(session, name)
    _must_leave_an_admin(session, account)
    account.active = False
    session.exec(delete(LoginSession).where(col(LoginSession.account_id) == account.id))
    session.flush()
    return account


def open_session(
    session: Session, *, account_id: int, token_sha256: str, expires_at: datetime, moment: datetime | None = None
) -> LoginSession:
    """Note that a person signed in; sessions that have run out are cleared away.

    Args:   token_sha256: of the token that the browser keeps. moment: what counts as now.
    Raises: ValueError: the token's hash is not one, or no active person has that id.
    """
    must_be_sha256(token_sha256=token_sha256)
    account = session.get(Account, account_id)
    if account is None or not account.active:
        raise ValueError(f"expected the id of an active account, got {account_id}")
    session.exec(delete(LoginSession).where(col(LoginSession.expires_at) <= (moment or now())))
    opened = LoginSession(token_sha256=token_sha256, account_id=account_id, expires_at=expires_at)
    session.add(opened)
    session.flush()
    return opened


def account_of_session(session: Session, *, token_sha256: str, moment: datetime | None = None) -> Account | None:
    """Who is signed in by a token; None when it is unknown, has run out, or the person is let in no more."""
    asked = select(Account).join(LoginSession, col(LoginSession.account_id) == Account.id)
    asked = asked.where(LoginSession.token_sha256 == token_sha256, LoginSession.expires_at > (moment or now()))
    return session.exec(asked.where(col(Account.active).is_(True))).first()


def close_session(session: Session, *, token_sha256: str) -> None:
    """Sign out; a token that is unknown is signed out already."""
    session.exec(delete(LoginSession).where(col(LoginSession.token_sha256) == token_sha256))


def _known(role: Role) -> Role:
    if role not in get_args(Role):
        raise ValueError(f"expected the role {', '.join(get_args(Role))}, got {role!r}")
    return role


def _must_have(session: Session, name: str) -> Account:
    account = session.exec(select(Account).where(Account.name == storable(name)).with_for_update()).first()
    if account is None:
        raise ValueError(f"expected the name of an account, got {name!r}")
    return account


def _must_leave_an_admin(session: Session, account: Account) -> None:
    admins = (Account.role == "admin", col(Account.active).is_(True), Account.id != account.id)
    # locked: of two admins who remove each other at once, the second is refused
    others = session.exec(select(Account.id).where(*admins).with_for_update()).first()
    if account.role == "admin" and account.active and others is None:
        raise ValueError(f"{account.name!r} is the only admin: make somebody else one first")

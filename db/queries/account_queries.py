"""Query people who sign in, and their sessions.

Passwords are hashed and checked by the app; a session is known by its token's hash, so that a copy of the database
lets nobody in.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import get_args

from sqlmodel import Session, col, delete, select

from db.models import Account, LoginSession, Role, now
from db.queries.values import check_known, check_line, must_be_sha256, storable
from user_errors import UserError


def create_account(session: Session, *, name: str, password_hash: str, role: Role) -> Account:
    """Add a person.

    Raises: UserError: the name is taken, empty or no printable line, or the role is unknown. ValueError: no hash.
    """
    check_line(name, "a name for the account")
    if name != name.strip():  # the form for signing in takes spaces around a name away
        raise UserError(f"expected a name for the account without spaces around it, got {name!r}: leave them out")
    if not password_hash:
        raise ValueError("expected the hash of a password, got none")
    if (there := get_account(session, name=name)) is not None:
        mend = "choose another" if there.active else "activate that account again or choose another name"
        raise UserError(f"expected a new name, got {name!r}, which somebody has: {mend}")
    check_known(role, get_args(Role), "the role")
    account = Account(name=name, password_hash=password_hash, role=role)
    session.add(account)
    session.flush()
    return account


def get_account(session: Session, *, name: str) -> Account | None:
    """Return the person of that name, active or not; None when there is none."""
    return session.exec(select(Account).where(Account.name == storable(name))).first()


def list_accounts(session: Session) -> Sequence[Account]:
    """Return all people, by name."""
    return session.exec(select(Account).order_by(Account.name)).all()


def set_role(session: Session, *, name: str, role: Role) -> Account:
    """Give a person another role.

    Raises: UserError: no such person or role, an account that is not active, or nobody would be an admin any more.
    """
    check_known(role, get_args(Role), "the role")
    account = _lock_active_account(session, name)
    if role != "admin":
        _check_other_admin(session, account)
    account.role = role
    session.flush()
    return account


def set_password_hash(session: Session, *, name: str, password_hash: str) -> Account:
    """Give a person another password; sessions of the old one end.

    Raises: UserError: no such person, or an account that is not active.
    """
    account = _lock_active_account(session, name)
    account.password_hash = password_hash
    session.exec(delete(LoginSession).where(col(LoginSession.account_id) == account.id))
    session.flush()
    return account


def deactivate(session: Session, *, name: str) -> Account:
    """Deactivate an account and end its sessions; what the person did keeps their name.

    Raises: UserError: no such person, or nobody would be an admin any more.
    """
    account = _lock_account(session, name)
    _check_other_admin(session, account)
    account.active = False
    session.exec(delete(LoginSession).where(col(LoginSession.account_id) == account.id))
    session.flush()
    return account


def activate(session: Session, *, name: str) -> Account:
    """Let a person in again, with the password and the role from before.

    Raises: UserError: no such person.
    """
    account = _lock_account(session, name)
    account.active = True
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
    """Return who is signed in by a token; None when it is unknown or expired, or the account is inactive."""
    asked = select(Account).join(LoginSession, col(LoginSession.account_id) == Account.id)
    asked = asked.where(LoginSession.token_sha256 == token_sha256, LoginSession.expires_at > (moment or now()))
    return session.exec(asked.where(col(Account.active).is_(True))).first()


def close_session(session: Session, *, token_sha256: str) -> None:
    """Sign out; a token that is unknown is signed out already."""
    session.exec(delete(LoginSession).where(col(LoginSession.token_sha256) == token_sha256))


def _lock_account(session: Session, name: str) -> Account:
    account = session.exec(select(Account).where(Account.name == storable(name)).with_for_update()).first()
    if account is None:
        raise UserError(f"expected the name of an account, got {name!r}: choose one that is there")
    return account


def _lock_active_account(session: Session, name: str) -> Account:
    account = _lock_account(session, name)
    if not account.active:
        raise UserError(f"expected the name of an active account, got {name!r}, which is let in no more: activate it")
    return account


def _check_other_admin(session: Session, account: Account) -> None:
    admins = (Account.role == "admin", col(Account.active).is_(True), Account.id != account.id)
    # locked: of two admins who remove each other at once, the second is refused
    others = session.exec(select(Account.id).where(*admins).with_for_update()).first()
    if account.role == "admin" and account.active and others is None:
        raise UserError(f"{account.name!r} is the only admin: make somebody else one first")

"""Accounts and sessions; on both databases."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine

from db.engine import reading, transaction
from db.queries.account_queries import (
    account_of_session,
    close_session,
    create_account,
    deactivate,
    get_account,
    list_accounts,
    open_session,
    set_password_hash,
    set_role,
)
from tests.support.databases import sha


def test_a_session_lets_its_person_in_until_it_ends(engine: Engine) -> None:
    moment = datetime(2026, 11, 25, 10, tzinfo=UTC)
    later = moment + timedelta(hours=8)
    with transaction(engine) as session:
        account = create_account(session, name="ada", password_hash="$argon2id$…", role="admin")
        for token in (1, 2, 3):
            open_session(session, account_id=account.id, token_sha256=sha(token), expires_at=later, moment=moment)
        close_session(session, token_sha256=sha(3))
    with reading(engine) as session:
        for token, when, name in ((1, moment, "ada"), (1, later, None), (3, moment, None), (9, moment, None)):
            found = account_of_session(session, token_sha256=sha(token), moment=when)
            assert (found and found.name) == name
    with transaction(engine) as session:
        set_password_hash(session, name="ada", password_hash="$argon2id$another")
        assert account_of_session(session, token_sha256=sha(1), moment=moment) is None


def test_who_is_let_in_no_more_loses_their_sessions(engine: Engine) -> None:
    until = datetime.now(UTC) + timedelta(hours=1)
    with transaction(engine) as session:
        create_account(session, name="ada", password_hash="x", role="admin")
        bob = create_account(session, name="bob", password_hash="x", role="viewer")
        open_session(session, account_id=bob.id, token_sha256=sha(1), expires_at=until)
        assert set_role(session, name="bob", role="curator").role == "curator"
    with transaction(engine) as session:
        assert deactivate(session, name="bob").active is False
        assert account_of_session(session, token_sha256=sha(1)) is None
        assert [account.name for account in list_accounts(session)] == ["ada", "bob"]
        assert get_account(session, name="eve") is None
        with pytest.raises(ValueError, match="active account"):
            open_session(session, account_id=bob.id, token_sha256=sha(2), expires_at=until)


def test_accounts_that_cannot_be_are_refused(engine: Engine) -> None:
    with transaction(engine) as session:
        create_account(session, name="ada", password_hash="x", role="admin")
    for fields, sentence in (
        ({"name": "ada"}, "which somebody has"),
        ({"name": ""}, "one printable line"),
        ({"password_hash": ""}, "hash of a password"),
        ({"role": "root"}, "expected the role viewer, curator, admin"),
    ):
        with pytest.raises(ValueError, match=sentence), transaction(engine) as session:
            create_account(session, **({"name": "bob", "password_hash": "x", "role": "viewer"} | fields))  # type: ignore[arg-type]
    for work in (deactivate, lambda session, name: set_role(session, name=name, role="viewer")):
        with pytest.raises(ValueError, match="'ada' is the only admin"), transaction(engine) as session:
            work(session, name="ada")
        with pytest.raises(ValueError, match="expected the name of an account"), transaction(engine) as session:
            work(session, name="eve")

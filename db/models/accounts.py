"""Define the tables of people who sign in, and of their sessions."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from sqlalchemy import String
from sqlmodel import Field, SQLModel

from db.models.columns import UtcDateTime, now, one_of

Role = Literal["viewer", "curator", "admin"]


class Account(SQLModel, table=True):
    """A person who may sign in."""

    __table_args__ = (one_of("role", Role),)

    id: int = Field(default=None, primary_key=True)
    name: str = Field(unique=True)
    password_hash: str
    """Made and checked by the app; never shown."""
    role: Role = Field(sa_type=String)
    active: bool = True
    created_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)


class LoginSession(SQLModel, table=True):
    """A signed-in browser, known by the hash of its token, until it expires."""

    __tablename__ = "login_session"

    token_sha256: str = Field(primary_key=True)
    account_id: int = Field(foreign_key="account.id", index=True)
    created_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    expires_at: datetime = Field(sa_type=UtcDateTime)

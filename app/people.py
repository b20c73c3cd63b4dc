"""Manage who may sign in, with which role, and keys for programs: python -m app.people."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import tyro

from app.access.accounts import People
from app.access.rules import Role
from app.core.settings import load_settings
from app.services import open_database
from user_errors import UserError


@dataclass(frozen=True)
class Command:
    """People who may sign in to the app. Passwords are asked for on the terminal, or read as a line from the input."""

    action: tyro.conf.Positional[Literal["list", "add", "password", "role", "deactivate", "activate", "key"]]
    """list all; add one; give a new password or another role; let somebody in no more, or again; print a key for a
    program."""
    name: tyro.conf.Positional[str] = ""
    """Of the person."""
    role: Role = "viewer"
    """For add and role: viewers look, curators also change and start work, admins may all."""
    days: int = 90
    """For key: how long it lasts."""


def run(command: Command, people: People, ask: Callable[[], str]) -> list[str]:
    """Run one command and return the lines to print.

    Raises: UserError, UserError.
    """
    name = command.name
    if command.action == "list":
        return [f"{each.name}  {each.role}{'' if each.active else '  (let in no more)'}" for each in people.accounts()]
    if command.action == "key":
        return [people.key(name, command.days)]
    if command.action == "add":
        people.add(name, ask(), command.role)
    elif command.action == "password":
        people.set_password(name, ask())
    elif command.action == "role":
        people.set_role(name, command.role)
    elif command.action == "activate":
        people.activate(name)
    else:
        people.deactivate(name)
    return []


def ask_password() -> str:
    """Read a password: twice and hidden on a terminal, else one line of the input.

    Raises: UserError: the two differ.
    """
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    password = getpass.getpass("Password: ")
    if getpass.getpass("The same again: ") != password:
        raise UserError("expected the same password twice: try again")
    return password


def main() -> None:
    """Run the command line."""
    command = tyro.cli(Command, prog="python -m app.people")
    try:
        settings = load_settings()
        people = People(lambda: open_database(settings.database), required=True)
        print(*run(command, people, ask_password), sep="\n", end="\n" if command.action in ("list", "key") else "")
    except UserError as error:
        sys.exit(f"app.people: {error}")


if __name__ == "__main__":
    main()

"""Decide which paths of this machine and which model servers a person may name; every field that takes one asks."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from pathlib import Path

from app.access.accounts import Person
from app.access.rules import Role, allows
from app.core.checkpoints import Registry
from app.core.settings import ROOT
from curation.annotate.servers import known_servers, same_address
from db.queries.values import check_storable
from grain.checkpoint import EMBEDDED, WHOLE_MODELS
from user_errors import UserError

HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
PRIVATE = (  # below GRAIN_HOME: people's uploads and logs, accounts, keys, what a database keeps beside itself
    *("pictures", "recent_pictures", "cache", "jobs", "label-studio*", "servers.json"),
    *("*.sqlite*", "*.db", "*.db-*", "huggingface/*token*"),
)


def check_readable(home: Path, role: Role, *paths: str | Path) -> None:
    """Check that a person may have files of this machine read: what a job reads, its results show.

    Raises: UserError: a path is none; or the person is no admin, and it is outside GRAIN_HOME, links followed, or is
            or holds what is PRIVATE there.
    """
    for path in paths:
        check_storable(str(path), "a path")
    if allows(role, "admin"):
        return
    for path in paths:
        below = _below(path, home.resolve())
        if below is None:
            raise UserError(
                f"The path {str(path)[:40]!r} lies outside GRAIN_HOME, where only an admin may read: "
                "name one below it, or ask an admin."
            )
        if any(_meets(below, private) for private in PRIVATE):
            raise UserError(
                f"The path {str(path)[:40]!r} is or holds what the app keeps for itself below GRAIN_HOME: "
                "name another folder there, or ask an admin."
            )


def check_model(home: Path, role: Role, model: str) -> None:
    """Check that a person may name a model: one on the Hugging Face hub, or a folder that the person may have read.

    Raises: UserError: as of check_readable.
    """
    if not HUB_NAME.fullmatch(model) or (ROOT / model).exists():
        check_readable(home, role, model)


def check_open_clip(home: Path, role: Role, *, name: str, weights: str) -> None:
    """Check that a person may name a model of open_clip: an architecture, and a published tag or a readable file.

    Raises: UserError: as of check_readable; or the name is a folder's or the hub's, and the person is no admin.
    """
    # the colon: Train's field is cut at its first one, and leaves `hf-hub` of `hf-hub:owner/model`
    if f"{name}:".startswith(WHOLE_MODELS) and not allows(role, "admin"):
        raise UserError(
            f"Only an admin may name a folder or a model of the hub as open_clip's, got {name[:40]!r}: "
            "name an architecture and its weights, or ask an admin."
        )
    if "/" in weights or weights.endswith(".safetensors") or (ROOT / weights).exists():
        check_readable(home, role, weights)


def checkpoint_spec(registry: Registry, name: str, *, home: Path, role: Role) -> str:
    """Return what a job calls a checkpoint: an embedded one by its name, any other by its folder.

    Args:   name: of the registry; or a folder, as in runs/first/best. The job says whether a folder is there: a person
            who may only read learns nothing of this machine.
    Raises: UserError: there is none of that name, or it is where the person may not read.
    """
    if "/" in name:
        place = str(Path(name).expanduser().absolute())
        check_readable(home, role, place)
        return place
    folder = registry.find(name).folder
    return name if folder.parent == EMBEDDED else str(folder)


def check_server(home: Path, person: Person, address: str) -> None:
    """Check that a person may have a model server asked. What an admin has asked is known from then on (add_server).

    Raises: UserError: it is not known, and the person is no admin.
    """
    known = known_servers(home).values()
    if not allows(person.role, "admin") and not any(same_address(address, each) for each in known):
        raise UserError(
            f"Expected a model server that this app knows ({', '.join(sorted(known)) or 'there is none yet'}), got "
            f"{address[:60]!r}: choose one, or ask an admin to add it."
        )


def _below(path: str | Path, home: Path) -> Path | None:
    """Return a path as seen from the home, links followed; None where it is not below."""
    try:
        return (ROOT / Path(path).expanduser()).resolve().relative_to(home)
    except (OSError, RuntimeError, ValueError):  # elsewhere, a loop of links, or no path at all
        return None


def _meets(path: Path, private: str) -> bool:
    """Return whether a path is, holds or lies in what a pattern names, both as seen from the home, in any case."""
    return all(
        fnmatchcase(part.lower(), pattern) for part, pattern in zip(path.parts, private.split("/"), strict=False)
    )

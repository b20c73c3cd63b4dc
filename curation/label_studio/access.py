"""Read and write where the Label Studio server is, its token, and the secret that it shows when it calls us."""

from __future__ import annotations

import hmac
import json
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from atomic_files import write_atomically
from curation.label_studio.convert import LabelStudioError

FOLDER = "label-studio"  # under GRAIN_HOME
ACCESS = "access.json"  # in that folder: where the server is and its token, for this user's eyes only
KEYS = ("url", "token", "secret")  # of that file, for us
FILES = "files"  # in that folder: what the server may hand out
URL_VARIABLE, TOKEN_VARIABLE = "GRAIN_LABEL_STUDIO_URL", "GRAIN_LABEL_STUDIO_TOKEN"
PAGE_VARIABLE = "GRAIN_LABEL_STUDIO_PAGE"  # its address for people's browsers, where a proxy gives it another one
APP_VARIABLE = "GRAIN_LABEL_STUDIO_APP"  # the app's address for the server, where that runs elsewhere
VARIABLES = (URL_VARIABLE, TOKEN_VARIABLE, PAGE_VARIABLE, APP_VARIABLE)
SECRET_HEADER = "X-Grain-Secret"
BACKEND_USER = "grain"


@dataclass(frozen=True, slots=True)
class Access:
    """The address of a server and the key to it. secret: that it shows when it calls us."""

    url: str
    token: str = field(repr=False)
    secret: str = field(default="", repr=False)


def read_access(home: Path) -> Access | None:
    """Return the server of the environment, or the one that `make label-studio` started; None without either.

    Raises: LabelStudioError: half of the environment, or a file that is not as it was written.
    """
    url, token = (os.environ.get(name, "").strip() for name in (URL_VARIABLE, TOKEN_VARIABLE))
    if bool(url) != bool(token):
        raise LabelStudioError(f"{URL_VARIABLE} and {TOKEN_VARIABLE} belong together: set both or neither.")
    if url:
        return Access(url, token, hmac.new(token.encode(), b"grain calls back", "sha256").hexdigest())
    kept = read_kept(home)
    return Access(*(kept[name] for name in KEYS)) if kept else None


def read_kept(home: Path) -> dict[str, str]:
    """Read what write_access wrote; return {} when there is no such file yet.

    Raises: LabelStudioError: the file is not as it was written.
    """
    file = home / FOLDER / ACCESS
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
        return {**{str(name): str(value) for name, value in kept.items()}, **{name: str(kept[name]) for name in KEYS}}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise LabelStudioError(f"{file} cannot be read: remove it and run make label-studio again.") from error


def write_access(home: Path, access: Access, **more: str) -> None:
    """Write the access where read_access finds it, for this user only. more: what only the server itself needs."""
    folder = home / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(stat.S_IRWXU)
    kept = {"url": access.url, "token": access.token, "secret": access.secret, **more}
    before = os.umask(0o077)
    try:
        write_atomically(folder / ACCESS, json.dumps(kept))
    finally:
        os.umask(before)


def page_for_people(address: str) -> str:
    """Return an address of the server as people's browsers reach it."""
    url, page = (os.environ.get(name, "").strip().rstrip("/") for name in (URL_VARIABLE, PAGE_VARIABLE))
    ours = bool(url and page) and f"{address}/".startswith(f"{url}/")
    return page + address.removeprefix(url) if ours else address


def task_page(project: str, task_id: int) -> str:
    """Return the page of a task for people. project: its name in the database."""
    return f"{page_for_people(project)}/data?task={task_id}"


def is_secret(given: str | None, secret: str) -> bool:
    """Check in constant time whether a caller knows the secret. Nobody knows an empty one."""
    return bool(secret) and hmac.compare_digest((given or "").encode(), secret.encode())

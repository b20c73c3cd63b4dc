"""Name the model servers that may be asked, and give each its own key and no other's.

The operator lists servers in GRAIN_SERVERS (`vllm=http://127.0.0.1:8000/v1, big=https://models.example/v1`); what an
admin adds on a page is kept in GRAIN_HOME/servers.json. The key of the server NAME is the variable GRAIN_KEY_NAME.
OPENAI_API_KEY belongs to OPENAI_BASE_URL, and without that to OpenAI's own address.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

import httpx

from atomic_files import write_atomically
from curation.files.home import home_folder
from user_errors import UserError

SERVERS, KEY_PREFIX = "GRAIN_SERVERS", "GRAIN_KEY_"
OPENAI_KEY, OPENAI_ADDRESS, OPENAI_DEFAULT = "OPENAI_API_KEY", "OPENAI_BASE_URL", "https://api.openai.com/v1"
ADDED = "servers.json"
MOST_PORT = 65535
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}")
Environment = Mapping[str, str]


def check_address(server: str) -> None:
    """Refuse a server's address before it reaches a command line, a database or a page.

    Raises: UserError: no plain http address, or one that holds a password, which the sentence does not repeat.
    """
    try:
        address = httpx.URL(server)
    except httpx.InvalidURL:
        address = httpx.URL("")
    if address.userinfo:
        raise UserError(f"the server's address holds a password: put it into {KEY_PREFIX}NAME instead")
    plain = address.scheme in ("http", "https") and address.host and not (address.query or address.fragment)
    if not plain or (address.port or 1) > MOST_PORT:
        raise UserError("the server's address must look like http://127.0.0.1:8000/v1")


def same_address(one: str, other: str) -> bool:
    """Tell whether two addresses mean the same server: scheme, host, port and path are the same."""
    return _parts(one) == _parts(other)


def listed_servers(text: str) -> dict[str, str]:
    """Read `name=address, …` as name -> address.

    Raises: UserError: a part is no pair of a name and an address.
    """
    servers: dict[str, str] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, _, address = (piece.strip() for piece in part.partition("="))
        if not NAME.fullmatch(name):
            raise UserError(f"{SERVERS}: expected name=address with commas between, got {name[:40]!r}: correct it")
        check_address(address)
        if name.upper() in (each.upper() for each in servers):
            raise UserError(f"{SERVERS}: expected each name once, got {name!r} twice: rename one")
        servers[name] = address
    return servers


def known_servers(home: Path | None = None, environment: Environment = os.environ) -> dict[str, str]:
    """Return name -> address of every server that anybody may name: the operator's, and those that an admin added.

    Raises: UserError: GRAIN_SERVERS cannot be read.
    """
    servers = listed_servers(environment.get(SERVERS, ""))
    openai = environment.get(OPENAI_ADDRESS, OPENAI_DEFAULT if environment.get(OPENAI_KEY) else "")
    if openai and not any(same_address(openai, each) for each in servers.values()):
        servers["openai"] = openai
    return _added(home or home_folder()) | servers


def add_server(home: Path, address: str) -> None:
    """Keep a server that an admin named, under its host's name, unless it is known already.

    Raises: UserError: it is no address, or it cannot be written.
    """
    check_address(address)
    servers = known_servers(home)
    if any(same_address(address, each) for each in servers.values()):
        return
    url = httpx.URL(address)
    stem = re.sub(r"\W", "_", f"at_{url.host}_{url.port or url.scheme}", flags=re.ASCII)[:34]
    name = next(each for each in (stem, *(f"{stem}_{number}" for number in range(2, 10_000))) if each not in servers)
    write_atomically(home / ADDED, json.dumps(_added(home) | {name: address}, indent=1))


def key_variable(address: str, environment: Environment = os.environ) -> str:
    """Return the variable that holds the key of the server at an address, and of no other."""
    if same_address(address, environment.get(OPENAI_ADDRESS, OPENAI_DEFAULT)):
        return OPENAI_KEY
    known = known_servers(environment=environment)
    names = [name for name, each in known.items() if same_address(address, each)]
    return f"{KEY_PREFIX}{names[0].upper() if names else 'NAME, and list it as NAME in ' + SERVERS}"


def key_of(address: str, environment: Environment = os.environ) -> str:
    """Return the key of the server at an address; "" if it has none. No other server's key is ever given to it."""
    return environment.get(key_variable(address, environment), "")


def _added(home: Path) -> dict[str, str]:
    try:
        kept = json.loads((home / ADDED).read_text(encoding="utf-8"))
        return {str(name): str(address) for name, address in kept.items()}
    except (OSError, ValueError, AttributeError, RecursionError):
        return {}


def _parts(address: str) -> tuple[str, str, int, str] | None:
    try:
        url = httpx.URL(address.strip())
    except httpx.InvalidURL:
        return None
    port = url.port or {"http": 80, "https": 443}.get(url.scheme, 0)
    return url.scheme, url.host, port, url.path.rstrip("/")

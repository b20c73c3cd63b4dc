"""Start Label Studio's own server on loopback, and keep its token where the app finds it.

python -m app.label_studio.server; `make label-studio` installs it first, into an environment of its own.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import tyro

from curation.files.home import home_folder
from curation.label_studio.access import FILES, FOLDER, Access, read_kept, write_access
from curation.label_studio.client import LabelStudio
from curation.label_studio.convert import LabelStudioError

ENVIRONMENT = Path(__file__).parents[2] / ".venv-label-studio"
LOOPBACK = "127.0.0.1"
USER = "grain@localhost.localdomain"
LOG = "server.log"
PATIENCE = 300.0  # seconds until the first start, which makes its tables, must be over
POLL_SECONDS = 0.2  # between checks that it is up
GRACE = 10.0  # seconds to end by itself


@dataclass(frozen=True)
class ServerConfig:
    """The settings of the server."""

    port: int = 8081
    """On loopback."""
    home: Path = field(default_factory=home_folder)
    """GRAIN_HOME: the server's data are kept in its folder label-studio."""
    program: Path = ENVIRONMENT / "bin" / "label-studio"
    """The server's own command."""


class Server:
    """A running server; `with` ends it."""

    def __init__(self, config: ServerConfig, *, patience: float = PATIENCE) -> None:
        """Start it, and wait until it lets us in.

        Raises: LabelStudioError: it is not installed, the port is taken, or it does not come up.
        """
        if not config.program.exists():
            raise LabelStudioError(f"Label Studio's server is not at {config.program}: run make label-studio.")
        _check_port(config.port)
        self.access, password = _keys(config)
        folder = config.home / FOLDER
        for name in (FILES, "server"):
            (folder / name).mkdir(exist_ok=True)
        with (folder / LOG).open("ab") as log:
            self._process = subprocess.Popen(
                [config.program, "start", "--no-browser", "--internal-host", LOOPBACK, "--port", str(config.port)],
                env=environment(folder, self.access.token, password),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self._await(time.monotonic() + patience, folder / LOG)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """Return the id of its process."""
        return self._process.pid

    def wait(self) -> int:
        """Wait until it ends; return its exit status."""
        return self._process.wait()

    def close(self) -> None:
        """End it with whatever it started."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self._process.pid, number)
                self._process.wait(GRACE)
            except subprocess.TimeoutExpired:
                continue
            except ProcessLookupError:
                pass
            return

    def _await(self, late: float, log: Path) -> None:
        label_studio = LabelStudio(self.access)
        pause = threading.Event()
        problem = label_studio.health()
        while problem:
            if self._process.poll() is not None:
                raise LabelStudioError(f"Label Studio's server ended while it started: {log} says why.")
            if time.monotonic() > late:
                raise LabelStudioError(f"Label Studio's server does not come up ({problem}): {log} may say why.")
            pause.wait(POLL_SECONDS)
            problem = label_studio.health()
        label_studio.close()


def environment(folder: Path, token: str, password: str) -> dict[str, str]:
    """Return the server's environment, without ours: it would read bare names such as USERNAME, PORT and HOST."""
    return {
        "PATH": os.defpath,
        "HOME": str(folder / "server"),
        "LANG": "C.UTF-8",
        "LABEL_STUDIO_BASE_DATA_DIR": str(folder / "server"),
        "DJANGO_DB": "sqlite",
        "LABEL_STUDIO_USERNAME": USER,
        "LABEL_STUDIO_PASSWORD": password,
        "LABEL_STUDIO_USER_TOKEN": token,
        "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
        "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true",
        "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(folder / FILES),
        "LABEL_STUDIO_DISABLE_SIGNUP_WITHOUT_LINK": "true",
        "SSRF_PROTECTION_ENABLED": "false",  # it calls our webhook and annotators, which are on loopback as it is
        "ML_BLOCK_LOCAL_IP": "false",
        "COLLECT_ANALYTICS": "false",
        "LATEST_VERSION_CHECK": "false",
        "SENTRY_DSN": "",
        "FRONTEND_SENTRY_DSN": "",
    }


def _keys(config: ServerConfig) -> tuple[Access, str]:
    """Return the token and password of the first start: the server would not take later ones."""
    kept = read_kept(config.home)
    url = f"http://{LOOPBACK}:{config.port}"
    access = Access(url, kept.get("token") or secrets.token_hex(20), kept.get("secret") or secrets.token_urlsafe(32))
    password = kept.get("password") or secrets.token_urlsafe(16)
    write_access(config.home, access, user=USER, password=password)
    return access, password


def _check_port(port: int) -> None:
    """Refuse a port that is taken: Label Studio would silently use the next."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            raise LabelStudioError(f"Port {port} is taken: stop what runs there or choose another.") from error


def _interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def main(config: ServerConfig) -> int:
    """Run the command line until it is interrupted."""
    signal.signal(signal.SIGTERM, _interrupted)
    print(f"Label Studio starts; the first time takes a minute. Its log: {config.home / FOLDER / LOG}", flush=True)
    try:
        with Server(config) as server:
            where = config.home / FOLDER / "access.json"
            print(f"Label Studio is at {server.access.url}; user {USER}, its password is in {where}", flush=True)
            return server.wait()
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    try:
        sys.exit(main(tyro.cli(ServerConfig, description=__doc__)))
    except LabelStudioError as error:
        sys.exit(f"app.label_studio.server: {error}")

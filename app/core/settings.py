"""Read the settings from the environment and check them once at the start. GRAIN_HOME holds everything."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
from pathlib import Path
from typing import Self

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from curation.files.decode import Limits
from curation.files.home import database_url, home_folder
from curation.files.import_limits import whole_number_of
from user_errors import UserError

PREFIX = "GRAIN_"
MOST_SECONDS = 24 * 3600  # of a wait: what the system's clocks and timers take ends somewhere above
MOST_HOURS = 366 * 24
MOST_MEMORY = 2**44
LOOPBACK = ("127.0.0.1", "localhost", "::1")
NO_PROXY = ("no_proxy", "NO_PROXY")  # libraries read the first, and the second only where the first is not set
ROOT = Path(__file__).parents[2]  # `python -m room.stage` runs from here, and relative paths begin here


def is_loopback(host: str) -> bool:
    """Return whether a host name or address means this machine alone."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


class Settings(BaseSettings):
    """Settings of the app; each field is the variable GRAIN_<FIELD>."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore")

    home: Path = Field(default_factory=home_folder)
    """Database, saved pictures, checkpoints of one's own, cache."""
    host: str = "127.0.0.1"
    """Address to listen on; anything but loopback shows the app to the network, and asks for a login."""
    login: bool = False
    """Ask for a login on loopback too: behind a proxy, or where others have a user on this machine."""
    proxies: str = ""
    """Addresses and networks of proxies whose X-Forwarded-* is believed, with commas between; empty: nobody's."""
    port: int = Field(default=7860, ge=1, le=65535)
    database_url: str = Field(default="", repr=False)  # it may hold a password
    """Empty: SQLite under home."""
    servers: str = ""
    """Model servers that people may ask, as name=address with commas between; see curation/annotate/servers.py."""
    gpu_jobs: int = Field(default=1, ge=1)
    """Jobs at a time on each GPU."""
    model_seconds: float = Field(default=120.0, gt=0, le=MOST_SECONDS)
    """Seconds for which one visitor's request may hold the model while others wait; loading weights not counted."""
    job_retries: int = Field(default=5, ge=0)
    """How often an interrupted job is tried again by itself without getting further; 0: when a person resumes it."""
    shared_url: str = ""
    """Where clusters read data and write checkpoints: file, s3, gs, …; GRAIN_HOME itself where all machines see it."""
    ray_address: str = ""
    """A Ray cluster's job server, as http://127.0.0.1:8265. Another machine's needs RAY_AUTH_TOKEN_PATH."""
    slurm: bool = False
    """Offer the Slurm cluster whose sbatch is on this machine."""
    cluster_jobs: int = Field(default=4, ge=1)
    """Jobs at a time on each cluster."""
    cluster_partition: str = ""
    """Slurm's partition for a job that names none; empty: the cluster's own."""
    cluster_account: str = ""
    """Slurm's account likewise."""
    cluster_hours: float = Field(default=24.0, gt=0, le=MOST_HOURS)
    """Hours after which Slurm ends a job that names no others."""
    cluster_cpus: int = Field(default=0, ge=0)
    """Processor cores of a job that names no others; 0: one for each of its processes and of their loaders."""
    cluster_memory_gb: int = Field(default=0, ge=0)
    """GB of memory of a job that names no others; 0: the cluster's own."""
    upload_bytes: int = Field(default=Limits.file_bytes, ge=1)
    """Bytes of one uploaded file."""
    upload_pixels: int = Field(default=Limits.pixels, ge=1)
    """Pixels of one picture."""
    upload_side: int = Field(default=Limits.side, ge=1)
    """Pixels along one side."""
    upload_frames: int = Field(default=Limits.frames, ge=1)
    """Frames of one animation."""
    upload_seconds: float = Field(default=Limits.seconds, gt=0, le=MOST_SECONDS)
    """Processor time to read one picture."""
    upload_memory_bytes: int = Field(default=Limits.memory_bytes, ge=64 * 2**20, le=MOST_MEMORY)
    """Memory to read one picture."""
    import_pixels: int = Field(default=Limits.pixels, ge=1)
    """Pixels of one picture of a data set; imports and all who read it obey (curation/files/import_limits.py)."""
    import_bytes: int = Field(default=Limits.file_bytes, ge=1)
    """Bytes of one likewise."""
    import_pictures: int = Field(default=0, ge=0)
    """Files that one import may bring; 0: any number."""

    @field_validator("home", mode="before")
    @classmethod
    def _found(cls, home: Path | str) -> Path:
        return home_folder(home)

    @field_validator("proxies")
    @classmethod
    def _addresses(cls, proxies: str) -> str:
        for each in filter(None, map(str.strip, proxies.split(","))):
            try:
                ipaddress.ip_network(each)
            except ValueError as error:
                raise ValueError(
                    f"{PREFIX}PROXIES: expected addresses and networks as 127.0.0.1 or 10.0.0.0/8, got {each!r} "
                    f"({error}): correct or unset it"
                ) from error
        return proxies

    @field_validator("import_pixels", "import_bytes", "import_pictures", mode="before")
    @classmethod
    def _as_imports_read_it(cls, value: object, field: ValidationInfo) -> object:
        return whole_number_of(f"{PREFIX}{field.field_name}".upper(), value) if isinstance(value, str) else value

    @field_validator("servers")
    @classmethod
    def _list(cls, servers: str) -> str:
        from curation.annotate.servers import listed_servers  # the first page does not wait for it

        if servers:
            listed_servers(servers)
        return servers

    @model_validator(mode="after")
    def _home_is_a_folder(self) -> Self:
        if self.home.exists() and not self.home.is_dir():
            raise ValueError(f"expected a folder for {PREFIX}HOME, got the file {self.home}: name a folder")
        return self

    @property
    def database(self) -> str:
        """Return the database's SQLAlchemy URL."""
        return database_url(self.home, self.database_url)

    @property
    def clusters(self) -> dict[str, int]:
        """Return the clusters that jobs may run on, each with its number of jobs at a time."""
        there = {"ray": bool(self.ray_address), "slurm": self.slurm}
        return {name: self.cluster_jobs for name, is_there in there.items() if is_there}

    @property
    def needs_accounts(self) -> bool:
        """Return whether people sign in: always, except on loopback."""
        return self.login or not is_loopback(self.host)

    @property
    def pictures(self) -> Path:
        """Return the folder of saved questions' images, named by content."""
        return self.home / "pictures"

    @property
    def recent_pictures(self) -> Path:
        """Return the folder of the pictures that people last worked with, a folder a person."""
        return self.home / "recent_pictures"

    @property
    def checkpoints(self) -> Path:
        """Return the folder of one's own checkpoints, a folder each."""
        return self.home / "checkpoints"

    @property
    def cache(self) -> Path:
        """Return the folder of uploaded files; old ones are removed."""
        return self.home / "cache"

    @property
    def limits(self) -> Limits:
        """Return the limits of one upload."""
        return Limits(
            file_bytes=self.upload_bytes,
            pixels=self.upload_pixels,
            side=self.upload_side,
            frames=self.upload_frames,
            seconds=self.upload_seconds,
            memory_bytes=self.upload_memory_bytes,
        )


def load_settings() -> Settings:
    """Read the environment.

    Raises: UserError: the first variable that is wrong, in one sentence.
    """
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        if "error" in first.get("ctx", {}):  # said by a validator of ours, in its own words
            raise UserError(str(first["ctx"]["error"])) from error
        name = f"{PREFIX}{first['loc'][0]}".upper()
        raise UserError(f"{name}: {_expected(first['msg'])}, got {first['input']!r}: correct or unset it") from error


def prepare_home(settings: Settings) -> None:
    """Make home, and close it and all that is written from now on to the other users of this machine.

    Raises: UserError: it cannot be made, or cannot be written to.
    """
    os.umask(0o077)
    home = settings.home
    try:
        home.mkdir(parents=True, exist_ok=True)
        if not os.access(home, os.W_OK | os.X_OK):
            raise OSError(errno.EACCES, "it cannot be written to")
        home.chmod(0o700)
    except OSError as error:
        raise UserError(
            f"{PREFIX}HOME: expected a folder of your own to write to, got {home} ({error.strerror}): name another one"
        ) from error


def prepare_gradio(settings: Settings) -> None:
    """Set what Gradio and the jobs read from the environment: call this before Gradio is imported.

    Uploads lie under home instead of a /tmp that users share. This machine is asked directly, whatever proxy leads
    outside: Gradio asks the app itself while it starts, and the pages ask Label Studio and model servers here.
    """
    named = [host.strip() for name in NO_PROXY for host in os.environ.get(name, "").split(",") if host.strip()]
    direct = ["*"] if "*" in named else [*named, *LOOPBACK, settings.host]  # * means every host where it stands alone
    os.environ |= dict.fromkeys(NO_PROXY, ",".join(dict.fromkeys(direct)))
    os.environ["GRADIO_TEMP_DIR"] = str(settings.cache)
    os.environ.setdefault("MPLBACKEND", "agg")  # else the first event imports pyplot while all others wait
    os.environ["FORWARDED_ALLOW_IPS"] = ""  # uvicorn's own belief in loopback; app/access/proxies.py decides


def check_port(settings: Settings) -> None:
    """Refuse a port that cannot be listened on.

    Raises: UserError: somebody else listens there.
    """
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Gradio does: one just left is free
            probe.bind((LOOPBACK[0], settings.port))
    except OSError as error:
        raise port_is_taken(settings) from error


def port_is_taken(settings: Settings) -> UserError:
    """Return the error of an address that cannot be listened on."""
    where = f"{settings.host}:{settings.port}"
    return UserError(f"GRAIN_PORT: {where} cannot be listened on: stop what runs there or choose another")


def _expected(message: str) -> str:
    return message.replace("Input should be", "expected").split(", unable")[0]

"""Start runners and the watchdog as processes of their own, which outlive the process that started them.

The database comes to them by GRAIN_DATABASE_URL, since everybody may read a command line and the URL may hold a
password.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

from app.core.settings import ROOT
from curation.files.home import DATABASE, HOME
from job_progress import PROGRESS

LOG_BYTES = 2**20  # runners and watchdogs say little; a longer log is begun again
WATCHDOG_LOCK = "watchdog.lock"  # held by the one watchdog of a home as long as it lives


@dataclass(frozen=True)
class Pace:
    """Intervals and limits, in seconds."""

    heartbeat_s: float = 1.0
    """Between two looks at what was asked."""
    lease_s: float = 60.0
    """So long a runner may be silent."""
    tick_s: float = 0.1
    """Between two looks at the job."""
    cancel_grace_s: float = 10.0
    """From asking a job to end to killing it."""
    pause_grace_s: float = 120.0
    """The same on pause: it may have much to save."""
    watch_s: float = 2.0
    """Between two looks of the watchdog at all jobs, and of everybody at the watchdog."""
    retries: int = 5
    """How often an interrupted job is tried again without getting further."""
    retry_s: float = 2.0
    """Before the first of these tries; twice as long before each further one."""


@dataclass(frozen=True)
class RunnerConfig:
    """One runner, or the watchdog."""

    home: Path
    """GRAIN_HOME."""
    slots: dict[str, int]
    """How many jobs each device runs at a time."""
    pace: Pace = field(default_factory=Pace)
    """How often and how long."""
    watched: bool = False
    """See that a watchdog lives."""


def start_process(
    module: str, config: RunnerConfig, database: str, *, stdout: int, pass_fds: Sequence[int] = ()
) -> subprocess.Popen[bytes]:
    """Start a module of this folder in a session of its own.

    Args:   database: URL, with its password. stdout: as of Popen. pass_fds: what it inherits.
    """
    (config.home / "jobs").mkdir(parents=True, exist_ok=True)
    argv = [sys.executable, "-m", module, "--home", str(config.home), "--slots"]
    argv += [word for device, count in config.slots.items() for word in (device, str(count))]
    for flag in fields(config.pace):
        argv += [f"--pace.{flag.name.replace('_', '-')}", str(getattr(config.pace, flag.name))]
    argv += ["--watched"] if config.watched else []
    environment = {name: value for name, value in os.environ.items() if name != PROGRESS}  # it belongs to no job
    environment |= {DATABASE: database, HOME: str(config.home)}  # the second for the jobs
    with (config.home / "jobs" / "runners.txt").open("ab") as log:
        if log.tell() > LOG_BYTES:
            log.truncate(0)
        return subprocess.Popen(
            argv,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=log,
            start_new_session=True,
            pass_fds=pass_fds,
        )


def keep_watchdog(config: RunnerConfig, database: str) -> bool:
    """Start a watchdog unless one lives; return whether one was started.

    The watchdog inherits the lock, so there is no moment at which two could begin, and a killed one has let go of it.
    """
    (config.home / "jobs").mkdir(parents=True, exist_ok=True)
    lock = os.open(config.home / "jobs" / WATCHDOG_LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        start_process("app.jobs.watchdog", config, database, stdout=subprocess.DEVNULL, pass_fds=(lock,))
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True

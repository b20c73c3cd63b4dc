"""Look after the jobs of a home while no page is open and no app lives: python -m app.jobs.watchdog.

It takes jobs back whose runner is dead, tries them again, and starts runners for what is queued, every few seconds
until nothing is left to do. The app and every runner see that one lives (app/jobs/launch.py), so each of the three may
be killed and the others put it right.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback

import tyro

from app.jobs.control import Jobs
from app.jobs.launch import RunnerConfig
from curation.files.home import DATABASE
from db.engine import DatabaseError, connect_to

MOST_FAILURES = 150  # looks in a row that come to nothing, five minutes: the database is gone for good


def look_after(jobs: Jobs, config: RunnerConfig, stopped: threading.Event) -> None:
    """Look after the jobs until there is nothing to do for this machine, its home is gone, or it is stopped."""
    failures = 0
    while failures < MOST_FAILURES and config.home.is_dir():
        try:
            jobs.reconcile()
            if not jobs.has_work():
                return
            failures = 0
        except Exception:  # whatever the database has, the next look tries again
            traceback.print_exc()
            failures += 1
        if stopped.wait(config.pace.watch_s):
            return


def main(config: RunnerConfig) -> None:
    """Run as a process of its own.

    Raises: DatabaseError: no such database.
    """
    if DATABASE not in os.environ:
        raise DatabaseError(f"expected the database of the queue in {DATABASE}: set it")
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    engine = connect_to(os.environ[DATABASE])
    look_after(Jobs(engine, config.home, config.slots, pace=config.pace, watched=config.watched), config, stopped)


if __name__ == "__main__":
    try:
        main(tyro.cli(RunnerConfig))
    except DatabaseError as error:
        sys.exit(f"app.jobs.watchdog: {error}")

"""Small programs that tests run as jobs, and one that stands for the app: `python job_programs.py NAME WORDS…`."""

from __future__ import annotations

import fcntl
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

TICK_S = 0.01


def echo(*words: str) -> None:
    """Say which words came."""
    print(json.dumps(words), flush=True)
    report(len(words), len(words), "said")


def count(folder: str, total: str) -> None:
    """Count as far as FOLDER/allowed says, and wait there; go on where the last one stopped; complain about a second.

    On SIGTERM it says goodbye in FOLDER/events.
    """
    work = Path(folder)
    lock = (work / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        note(work, "two at once")
        sys.exit(9)

    def save(*_: object) -> None:
        note(work, "saved")
        sys.exit()

    signal.signal(signal.SIGTERM, save)
    note(work, "start")
    kept = work / "kept"
    for number in range(len(kept.read_text().split()) if kept.exists() else 0, int(total)):
        while number >= int((work / "allowed").read_text()):
            time.sleep(TICK_S)
        with kept.open("a") as file:
            file.write(f"{number}\n")
        print("counted", number)
        report(number + 1, int(total), f"at {number}")
    note(work, "end")


def launch(*words: str) -> None:
    """Run another of these and know nothing of SIGTERM, as `accelerate launch` does."""
    subprocess.run([sys.executable, __file__, *words], check=True)


def family(folder: str) -> None:
    """Wait with three others: a plain one, one in a session of its own, one that will not be asked to end."""
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(600)"
    children = [
        subprocess.Popen(["sleep", "600"]),
        subprocess.Popen(["sleep", "600"], start_new_session=True),
        subprocess.Popen([sys.executable, "-c", deaf], stdout=subprocess.PIPE),
    ]
    assert children[2].stdout is not None and children[2].stdout.readline()
    write_whole(Path(folder) / "pids", json.dumps([os.getpid(), *(child.pid for child in children)]))
    time.sleep(600)


def leave_one_behind(folder: str) -> None:
    """End at once, but not what was started."""
    write_whole(Path(folder) / "pids", json.dumps([subprocess.Popen(["sleep", "600"], start_new_session=True).pid]))


def exhaust() -> None:
    """Take more memory than there is."""
    resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))
    bytearray(2**31)


def shout(megabytes: str) -> None:
    """Say very much."""
    for _ in range(int(megabytes)):
        sys.stdout.write("x" * (2**20 - 1) + "\n")
    print("the end")


def fail(code: str) -> None:
    """End badly; a negative code is a signal."""
    print("café\rthis went wrong", flush=True)
    if int(code) < 0:
        os.kill(os.getpid(), -int(code))
    sys.exit(int(code))


def write_run(data: str, out: str, rows: str) -> None:
    """Stand for a training: see that the data are there, write so many rows of a log, go on where the last one was."""
    assert (Path(data) / "manifest.json").is_file(), "the data did not come along"
    log = Path(out) / "metrics.jsonl"
    log.parent.mkdir(parents=True, exist_ok=True)
    for step in range(1 + (len(log.read_text().splitlines()) if log.exists() else 0), int(rows) + 1):
        with log.open("a") as file:
            file.write(json.dumps({"step": step, "loss": 1.0}) + "\n")
        report(step, int(rows), f"step {step}")
        time.sleep(TICK_S)


def app(home: str, folder: str) -> None:
    """Put a count to three in the queue, as a page would, and live on."""
    from app.jobs.control import Jobs, NewJob
    from db.engine import open_engine

    jobs = Jobs(open_engine(os.environ["GRAIN_DATABASE_URL"]), Path(home))
    argv = [sys.executable, __file__, "count", folder, "3"]
    print(jobs.submit(NewJob(kind="annotate", owner="ada", config={}, argv=argv)), flush=True)
    time.sleep(600)


def report(done: int, total: int, message: str) -> None:
    """How any job says how far it is."""
    said = json.dumps({"done": done, "total": total, "message": message})
    Path(os.environ["GRAIN_JOB_PROGRESS"]).write_text(said)


def note(folder: Path, event: str) -> None:
    """Add a line to FOLDER/events."""
    with (folder / "events").open("a") as file:
        file.write(f"{event}\n")


def write_whole(file: Path, text: str) -> None:
    """Whole or not at all, since a test waits for it."""
    file.with_suffix(".tmp").write_text(text)
    file.with_suffix(".tmp").replace(file)


if __name__ == "__main__":
    programs = (echo, count, launch, family, leave_one_behind, exhaust, shout, fail, write_run, app)
    {program.__name__: program for program in programs}[sys.argv[1]](*sys.argv[2:])

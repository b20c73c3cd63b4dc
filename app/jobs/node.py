"""Run on a cluster's node: fetch what a job needs, run its command and send back what it writes.

`python -m app.jobs.node` finds its order as JSON in GRAIN_NODE: no word of it is ever read by a shell. Where the shared
URL is GRAIN_HOME itself, a folder of all machines, nothing is copied.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from app.jobs.shared import Shared
from atomic_files import write_atomically
from job_progress import PROGRESS

ORDER = "GRAIN_NODE"
PROGRESS_FILE = "progress.json"
SEND_S = 3.0  # between two looks at what is new
PATIENCE_S = 1800.0  # with a store that does not take what a job that has ended left
LIMIT_NEAR = signal.SIGUSR2
"""What submitit has Slurm send to all of a job's processes 90 s before its time limit; it would kill those."""
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Order:
    """One attempt at a job.

    home: GRAIN_HOME where it was queued. url: the shared one. argv: the words, with paths below home; the first one is
    this node's Python. needs: names of folders to fetch. out: the name of the run folder. verdict: a file of all
    machines in which the exit code is left, or "".
    """

    home: str
    url: str
    argv: tuple[str, ...]
    needs: tuple[str, ...]
    out: str
    verdict: str = ""

    def to_json(self) -> str:
        """Return it as JSON, for the environment."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Order:
        """Parse what to_json returned."""
        values = json.loads(text)
        return cls(**values | {name: tuple(values[name]) for name in ("argv", "needs")})


def run(text: str) -> int:
    """Run the job and return its exit code, negative for a signal. text: an Order as JSON."""
    order = Order.from_json(text)
    code = 1
    try:
        code = _run(order)
    finally:
        if order.verdict:
            write_atomically(Path(order.verdict), str(code))
    return code


def _run(order: Order) -> int:
    shared, home = Shared(order.url), Path(order.home)
    if shared.is_folder(home):
        return _Child(order.argv, home / order.out).wait()
    with tempfile.TemporaryDirectory(prefix="grain-node-") as scratch:
        place = Path(scratch).resolve()
        for name in order.needs:
            shared.pull(name, place / name)
        out = place / order.out
        shared.pull(order.out, out)  # a run that was begun elsewhere goes on
        child = _Child([word.replace(f"{order.home}/", f"{place}/") for word in order.argv], out)
        while not child.is_over(SEND_S):
            _send(shared, out, order.out)
        ended = time.monotonic()
        while not _send(shared, out, order.out):
            if time.monotonic() > ended + PATIENCE_S:
                raise OSError(f"expected {order.url} to take the files of {order.out}: it did not")
            time.sleep(SEND_S)
        return child.wait()


def _send(shared: Shared, out: Path, name: str) -> bool:
    """Send what is new, and return whether all of it is there: a job outlives a store that is away for a while."""
    try:
        shared.push(out, name)
    except Exception as error:  # whatever the store's client raises
        print(f"{name} is not sent yet: {type(error).__name__}: {error}", file=sys.stderr)
        return False
    return True


class _Child:
    """The job's own process, which hears what this one is told."""

    def __init__(self, words: Sequence[str], out: Path) -> None:
        out.mkdir(parents=True, exist_ok=True)
        environment = os.environ | {PROGRESS: str(out / PROGRESS_FILE), "PYTHONUNBUFFERED": "1"}
        environment.pop(ORDER, None)
        argv = [sys.executable, *words[1:]]
        is_main = threading.current_thread() is threading.main_thread()
        signals = (signal.SIGTERM, signal.SIGINT, LIMIT_NEAR) if is_main else ()
        self._before = {each: signal.getsignal(each) for each in signals}
        if is_main:
            signal.signal(LIMIT_NEAR, signal.SIG_IGN)  # as the job's own processes, which inherit that, shall have it
        self._process = subprocess.Popen(argv, cwd=ROOT, env=environment, start_new_session=True)
        for each in signals:
            signal.signal(each, self._terminate)

    def is_over(self, patience_s: float) -> bool:
        """Return whether it has ended, waiting at most so long."""
        try:
            self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def wait(self) -> int:
        """Wait for its exit code; from then on this process obeys signals itself."""
        code = self._process.wait()
        for each, handler in self._before.items():
            signal.signal(each, handler)
        return code

    def _terminate(self, *_: object) -> None:
        """Send a signal to all of the job: a launcher may die at once, and its training saves first."""
        with suppress(ProcessLookupError):  # it has just ended
            os.killpg(self._process.pid, signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(run(os.environ[ORDER]))

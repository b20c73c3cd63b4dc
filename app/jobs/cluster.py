"""Share what jobs on clusters have in common: data sent, results fetched, jobs found again by another runner."""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from abc import ABC, abstractmethod
from pathlib import Path

from app.jobs.backend import OutOfSightError, Submitted, VanishedError
from app.jobs.folder import Log, last_lines, progress_file
from app.jobs.node import PROGRESS_FILE, Order
from app.jobs.resources import ClusterResources
from app.jobs.shared import Shared
from db.models import Job
from grain.train_config import mixed_folders
from user_errors import UserError

SHARED_URL = "GRAIN_SHARED_URL"
LOOK_S = 2.0  # between two looks at the cluster
OUT_OF_SIGHT_S = 300.0  # of looks that all come to nothing
MOST_CHARACTERS = 200  # of what a cluster says
MOST_STARTS = 150  # tries to hand it over, five minutes
REMEMBERED_LINES = 60
SENDING = threading.Lock()  # two jobs that need the same folder do not replace it at once
NOT_FETCHED = "checkpoints/"  # states to go on from stay under the shared URL


def refused(error: Exception) -> UserError:
    """Return the error of a cluster that does not take a job, with the cluster's own last line."""
    reason = last_words(error)
    return UserError(f"the cluster refused the job ({reason}): correct its partition, account, hours, cores and memory")


def last_words(error: Exception) -> str:
    """Return the last line of what a cluster's client says."""
    return str(error).strip().rpartition("\n")[2][:MOST_CHARACTERS] or type(error).__name__


class ClusterJob(ABC):
    """A Backend whose work goes on without the runner. A thread of its own waits for the cluster.

    Work counts as over when an exit code is read or the cluster knows it no more, and only then is it submitted again.
    Whatever else ends the watch leaves it out of sight: the next attempt asks for it by its name before it submits.
    """

    look_s, out_of_sight_s = LOOK_S, OUT_OF_SIGHT_S

    def __init__(self, job: Job, folder: Path) -> None:
        """folder: the job's, which exists."""
        self._job, self._folder, self._home = job, folder, folder.parents[1]
        self.name = job.external_id or f"grain-{folder.parents[1].name}-{job.id}-{job.token}"
        self._known = self._begun = bool(job.external_id)  # begun: it may be on the cluster
        self._log, self._copied = Log(folder), 0
        self._end: int | RuntimeError | None = None
        self._tail = b""
        self._stop, self._force = threading.Event(), False

    @property
    def resources(self) -> ClusterResources:
        """Return what it asks of a node, as the page showed it."""
        asked = self._job.config["asked"]
        return ClusterResources.of(asked.get("resources") or {"gpus": int(asked["processes"])})

    @abstractmethod
    def start(self, order: Order) -> None:
        """Submit it to the cluster under `self.name`.

        Raises: UserError: it refuses it. OSError, ValueError, RuntimeError: it does not take it, or does not answer.
        """

    @abstractmethod
    def look(self) -> int | None:
        """Return its exit code; None while it waits or runs.

        Raises: LookupError: the cluster knows none of that name. OSError, RuntimeError: it does not answer.
        """

    @abstractmethod
    def output(self) -> str:
        """Return all of its output."""

    @abstractmethod
    def end(self, *, force: bool) -> None:
        """Ask it to end, or make it."""

    def submit(self) -> Submitted:
        """Start sending what it needs, or find it again if it runs already.

        Raises: UserError: it is not set up for that.
        """
        self._shared = Shared(self._url())
        threading.Thread(target=self._follow, name="cluster", daemon=True).start()
        return Submitted(external_id=self.name)

    def poll(self) -> int | None:
        """Return its exit code once it is over and fetched.

        Raises: VanishedError: the cluster knows it no more. OutOfSightError: nothing can be learned of it.
        """
        if isinstance(self._end, RuntimeError):
            raise self._end
        return self._end

    def cancel(self, *, force: bool) -> None:
        """Request its end; the thread sees that at its next poll."""
        self._force = force
        self._stop.set()

    def killed_for_memory(self) -> bool:
        """Return False: the kernel that would know is another machine's."""
        return False

    def tail(self) -> str:
        """Return the last lines of this attempt."""
        return last_lines(self._tail, REMEMBERED_LINES)

    def order(self) -> Order:
        """Return the node's instructions: the job's words, and the folders below GRAIN_HOME that they name."""
        train = self._job.config["train"]
        paths = [train["data"], *([train["init"]] if str(train.get("init") or "").startswith("/") else [])]
        paths += [str(folder) for folder, _ in mixed_folders(train.get("mix") or ())]
        paths += [place] if (place := str(train.get("zero_shot") or "").partition("#")[0]) else []
        names = tuple(dict.fromkeys(self._below(path) for path in paths))
        return Order(str(self._home), self._url(), tuple(self._job.argv), names, self._below(train["out"]), "")

    def _url(self) -> str:
        url = os.environ.get(SHARED_URL, "")
        if not url:
            raise UserError(f"expected {SHARED_URL}, where the cluster reads data and writes checkpoints: set it")
        return url

    def _below(self, path: str) -> str:
        try:
            return Path(path).relative_to(self._home).as_posix()
        except ValueError as error:
            raise UserError(f"expected a folder below {self._home}, got {path}: copy it there first") from error

    def _follow(self) -> None:
        """Run one attempt, from sending the data to the exit code."""
        try:
            order = self.order()
            if not self._known or self._is_unknown():
                self._send(order)
                if not self._stop.is_set():
                    self._start(order)
            self._end = self._wait(order)
        except VanishedError as error:
            self._end = error
        except UserError as error:
            self._say(f"{__name__}: {error}\n")
            self._end = self._broken_off(error)
        except Exception as error:  # whatever a cluster's client raises: the job says why
            traceback.print_exc()
            self._say(f"{type(error).__name__}: {error}\n")
            self._end = self._broken_off(error)

    def _broken_off(self, error: Exception) -> int | RuntimeError:
        """Return the end of an attempt that an error broke off: failed only where the cluster has none of its work."""
        if not self._begun or self._is_unknown():
            return 1
        return OutOfSightError(f"nothing can be learned of its work on the cluster ({last_words(error)})")

    def _start(self, order: Order) -> None:
        """Submit with retries: a cluster that has just started refuses at first, or accepts without an answer."""
        self._begun = True
        for left in reversed(range(MOST_STARTS)):
            try:
                return self.start(order)
            except UserError:
                self._begun = False  # it was refused: the cluster has nothing of it
                raise
            except (OSError, RuntimeError) as error:
                stopped = self._stop.wait(self.look_s)
                if not self._is_unknown():
                    return None
                if stopped or not left:
                    raise refused(error) from error
        return None

    def _is_unknown(self) -> bool:
        """Return whether the cluster says that it has none of its work; False while it says nothing."""
        try:
            self.look()
        except LookupError:
            return True
        except Exception:  # it does not answer now, in whatever way: what may be there is waited for
            return False
        return False

    def _send(self, order: Order) -> None:
        if self._shared.is_folder(self._home):
            return
        with SENDING:
            for name in order.needs:
                self._shared.send(self._home / name, name, last="manifest.json")

    def _wait(self, order: Order) -> int:
        answered = fetched = time.monotonic()
        asked = False
        while True:
            try:
                code = self.look()
                self._copy_output()
                if self._stop.is_set() and (self._force or not asked) and code is None:
                    self.end(force=self._force)
                    asked = True
                answered = time.monotonic()
            except LookupError as error:
                if self._stop.is_set():
                    return -15
                raise VanishedError("the cluster knows it no more, and it left no exit code") from error
            except (OSError, RuntimeError) as error:
                code = None
                print(f"{self.name}: {error}", file=sys.stderr)
                if time.monotonic() > answered + self.out_of_sight_s:
                    raise
            here = self._fetch(order)
            if code is not None and (here or self._stop.is_set()):
                return code
            if here:
                fetched = time.monotonic()
            elif code is not None and time.monotonic() > fetched + self.out_of_sight_s:
                raise OSError(f"expected the files of {order.out} from {order.url}: they cannot be fetched")
            self._stop.wait(self.look_s) if not asked else threading.Event().wait(self.look_s)

    def _fetch(self, order: Order) -> bool:
        """Copy what is new here, and return whether all of it is."""
        out = self._home / order.out
        try:
            if not self._shared.is_folder(self._home):
                self._shared.pull(order.out, out, wanted=lambda below: not below.startswith(NOT_FETCHED))
            if (progress := out / PROGRESS_FILE).is_file():
                progress_file(self._folder, self._job.token).write_bytes(progress.read_bytes())
        except UserError:
            raise
        except Exception as error:  # whatever a disk or a store raises: the next look tries again
            print(f"{self.name}: {type(error).__name__}: {error}", file=sys.stderr)
            return False
        return True

    def _copy_output(self) -> None:
        output = self.output()
        if len(output) > self._copied:
            self._say(output[self._copied :])
        self._copied = len(output)

    def _say(self, text: str) -> None:
        self._log.write(text.encode("utf-8", "replace"))
        self._tail = (self._tail + text.encode("utf-8", "replace"))[-8192:]

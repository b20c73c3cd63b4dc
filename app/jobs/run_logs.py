"""Read what a training has logged so far, as it grows, thinned out for plots; the training is never blocked."""

from __future__ import annotations

import json
import math
import os
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.core.file_cache import FileCache
from grain.checkpoint import METRICS

METRICS_LOG, WATCHED = "metrics.jsonl", "watched"
HELD_OUT = "held_out_"
MOST_READ = 16  # runs kept in memory
TAIL_BYTES = 4096  # a row has some hundred
POINTS = 400  # of a curve: more than its pixels
MOST_MOMENTS = 6  # of the fixed pictures

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Rows:
    """Rows of numbers by name, [N] each, nan where a row has none. step: [N], rising."""

    step: Values
    columns: dict[str, Values]

    def __len__(self) -> int:
        return len(self.step)

    def get(self, name: str) -> Values:
        """Return a column; nan where the run never wrote it."""
        return self.columns.get(name, np.full(len(self.step), math.nan))

    def thinned(self, points: int = POINTS) -> Rows:
        """Return at most so many rows, each the mean of its neighbours at the last one's step."""
        if len(self) <= points:
            return self
        starts = np.linspace(0, len(self), points, endpoint=False).astype(int)
        ends = np.append(starts[1:], len(self)) - 1
        return Rows(self.step[ends], {name: _means(values, starts) for name, values in self.columns.items()})


@dataclass(frozen=True)
class RunLog:
    """steps: what each training step said. evaluations: the rows with held-out numbers."""

    steps: Rows
    evaluations: Rows

    @property
    def last_step(self) -> int:
        """Return the last step, 0 before the first."""
        return int(self.steps.step[-1]) if len(self.steps) else 0


@dataclass(frozen=True)
class Moment:
    """The fixed pictures as one evaluation saw them; `pictures` as grain/train/watch.py writes them."""

    step: int
    pictures: tuple[dict[str, Any], ...]


class RunLogs:
    """The logs of runs by their folders; only what is new is read. Safe to use from several threads."""

    def __init__(self) -> None:
        self._logs: OrderedDict[Path, _Growing] = OrderedDict()
        self._latest: FileCache[dict[str, Any]] = FileCache(_last_row, missing={})
        self._grounding: FileCache[float] = FileCache(_grounding, missing=math.nan)
        self._turn = threading.Lock()

    def read(self, folder: Path) -> RunLog:
        """Return everything that a run has logged; empty before it started."""
        with self._turn:
            log = self._logs.setdefault(folder, _Growing(folder / METRICS_LOG))
            self._logs.move_to_end(folder)
            while len(self._logs) > MOST_READ:
                self._logs.popitem(last=False)
            return log.read()

    def latest(self, folder: Path) -> dict[str, Any]:
        """Return the last row with a loss; empty before it. The cost does not depend on the log's length."""
        return self._latest.get(folder / METRICS_LOG)

    def grounding(self, folder: Path) -> float:
        """Return the share of held-out descriptions that a run's best checkpoint grounds; nan without one."""
        return self._grounding.get(folder / "best" / METRICS)


def moments(folder: Path) -> list[Moment]:
    """Return the fixed images over time: the first evaluation, the last, and some between."""
    files = sorted((folder / WATCHED).glob("step-*.json"))
    kept = np.unique(np.linspace(0, len(files) - 1, min(len(files), MOST_MOMENTS)).round().astype(int)) if files else []
    found = []
    for index in kept:
        try:
            evaluation = json.loads(files[index].read_text(encoding="utf-8"))
            found.append(Moment(int(evaluation["step"]), tuple(dict(picture) for picture in evaluation["pictures"])))
        except (OSError, ValueError, LookupError, TypeError):
            continue  # of another version, or gone meanwhile
    return found


@dataclass
class _Growing:
    """A log that is read on from where the last reading ended; from the start when it was written again."""

    file: Path
    inode: int = 0
    offset: int = 0
    steps: _Table = field(default_factory=lambda: _Table())
    evaluations: _Table = field(default_factory=lambda: _Table())

    def read(self) -> RunLog:
        try:
            with self.file.open("rb") as stream:
                self._go_on(stream)
        except OSError:
            self._forget(0)
        return RunLog(self.steps.rows(), self.evaluations.rows())

    def _go_on(self, stream: Any) -> None:
        facts = self.file.stat()
        if facts.st_ino != self.inode or facts.st_size < self.offset:
            self._forget(facts.st_ino)
        stream.seek(self.offset)
        new, _, _ = stream.read().rpartition(b"\n")  # the last line may be half written
        if not new:
            return
        self.offset += len(new) + 1
        rows = _parsed(new)
        self.steps.add([row for row in rows if "loss" in row])
        self.evaluations.add([row for row in rows if "loss" not in row])

    def _forget(self, inode: int) -> None:
        self.inode, self.offset, self.steps, self.evaluations = inode, 0, _Table(), _Table()


@dataclass
class _Table:
    """Columns that grow."""

    parts: dict[str, list[Values]] = field(default_factory=dict)
    count: int = 0

    def add(self, rows: list[dict[str, Any]]) -> None:
        if not rows:
            return
        names = dict.fromkeys(name for row in (rows[0], rows[-1]) for name in row)
        for name in (*names, *(known for known in self.parts if known not in names)):
            values = np.array([_number(row.get(name)) for row in rows], dtype=np.float64)
            before: list[Values] = [np.full(self.count, math.nan)] if self.count else []
            self.parts.setdefault(name, before).append(values)
        self.count += len(rows)

    def rows(self) -> Rows:
        for name, parts in self.parts.items():
            self.parts[name] = [np.concatenate(parts)] if len(parts) > 1 else parts
        columns = {name: parts[0] for name, parts in self.parts.items()}
        return Rows(columns.pop("step", np.zeros(0)), columns)


def _parsed(lines: bytes) -> list[dict[str, Any]]:
    try:
        rows = json.loads(b"[" + lines.replace(b"\n", b",") + b"]")
    except ValueError:
        rows = [row for line in lines.split(b"\n") if (row := _row(line))]
    return [row for row in rows if isinstance(row, dict) and isinstance(row.get("step"), int)]


def _row(line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError:
        return {}
    return row if isinstance(row, dict) else {}


def _last_row(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - TAIL_BYTES))
            lines = stream.read(TAIL_BYTES).split(b"\n")
    except OSError:
        return {}
    return next((row for line in reversed(lines) if "loss" in (row := _row(line))), {})


def _grounding(file: Path) -> float:
    try:
        return float(json.loads(file.read_text(encoding="utf-8"))["grounding_acc50"])
    except (OSError, ValueError, LookupError, TypeError):
        return math.nan


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _means(values: Values, starts: NDArray[np.int_]) -> Values:
    """Return the mean of each bucket, ignoring values that are not finite; nan if there is none."""
    finite = np.isfinite(values)
    counts = np.add.reduceat(finite.astype(np.float64), starts)
    sums = np.add.reduceat(np.where(finite, values, 0.0), starts)
    means: Values = np.divide(sums, counts, out=np.full(len(starts), math.nan), where=counts > 0)
    return means

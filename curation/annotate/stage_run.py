"""Work through one stage of a run under leases: lease a batch, read its pictures, have them done, save the results.

A stop, a kill or a power cut loses no result and doubles none; several workers may share a data set.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain, repeat
from typing import Any, TypeVar

from PIL import Image as Pictures

from curation.annotate.describe import DescriberError
from curation.annotate.registry import StageWork
from curation.annotate.sample_annotators import ROW
from curation.files.images import PictureReader
from db.engine import LONG_PAUSES_S, DatabaseError, DBAPIError, Engine, Session, reading, retrying
from db.models import Image
from db.queries.data_set_queries import count_images
from db.queries.lease_queries import (
    LeasedImages,
    LeaseLostError,
    first_unfinished,
    lease_images,
    release_lease,
    renew_lease,
)
from db.queries.run_queries import plan_counts
from db.queries.stage_result_queries import NewStageResult, save_stage_result

RENEW_AGAIN_S = 5.0  # after a renewal that failed
WAITS_S = (0.05, 0.1, 0.2, 0.4, 1.0)  # before asking again for pictures that others hold, the last one ever after

OpenedPicture = tuple[Image, Pictures.Image]
Make = Callable[[Sequence[OpenedPicture]], Iterator[NewStageResult]]
"""Rows and their upright RGB pictures -> a result each."""
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """Settings that every stage shares."""

    batch: int = 16
    """Pictures of one claim, one call and one transaction."""
    attempts: int = 2
    """Tries of a picture that fails, within a run."""
    lease_seconds: float = 300.0
    """How long a worker that died keeps others from its pictures."""

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        if self.batch < 1 or self.attempts < 1 or self.lease_seconds <= 0:
            raise ValueError("batch, attempts and lease_seconds must be above 0")


@dataclass(frozen=True)
class StageProgress:
    """pictures: finished at this stage, of total. rate: pictures a second since the stage's model was loaded."""

    stage: str
    pictures: int
    total: int
    rate: float


@dataclass(frozen=True, kw_only=True)
class StageContext:
    """The run, data set and worker of a stage. run_id: counts the work. worker: names this process among others."""

    engine: Engine
    config: StageConfig
    reader: PictureReader
    dataset_id: int
    run_id: int
    worker: str
    work: StageWork


class StageRun:
    """One stage of a run, by one worker: claims, leases, batches, failures. What the work is, a subclass says."""

    def __init__(self, context: StageContext) -> None:
        """context: kept, in parts."""
        self._engine, self._pace, self._work = context.engine, context.config, context.work
        self._reader = context.reader
        self._waits = _waits()
        self._open: dict[str, Any] = {
            "dataset_id": context.dataset_id,
            "recipe": context.work.recipe,
            "needs": context.work.needs,
            "run_id": context.run_id,
            "max_attempts": context.config.attempts,
        }
        self._dataset_id, self._run_id, self._worker = context.dataset_id, context.run_id, context.worker

    def run(self, report: Callable[[StageProgress], None], stop: Callable[[], bool]) -> bool:
        """Work until nothing is left, and return True; return False where `stop` came first."""
        began, worked, make = 0.0, 0, None
        before, total = self._done()
        while not stop():
            first = self._first_unfinished()
            if first is None:
                report(StageProgress(self._work.stage, before + worked, total, 0.0))
                return True
            if make is None:
                make, began = self._maker(), time.perf_counter()
            for some in self._pass(make, first - 1, stop):
                worked += some
                rate = worked / (time.perf_counter() - began)
                report(StageProgress(self._work.stage, min(total, before + worked), total, rate))
        return False

    def _pass(self, make: Make, after: int, stop: Callable[[], bool]) -> Iterator[int]:
        """Do batches in the order of the pictures until nothing more can be leased; yield how many each had."""
        with _held(self._engine, self._pace.lease_seconds) as held:
            batch = self._next(after, held)
            if not batch.images and not stop():
                time.sleep(next(self._waits))  # others hold what is left: they finish it, or their leases run out
            else:
                self._waits = _waits()
            while batch.images and not stop():
                results, opened = self._opened(batch)
                following = self._next(batch.images[-1].id, held)  # read while the model works on this one
                results |= self._made(make, opened)
                self._save(batch, results)
                held.discard(batch.claim.token)
                yield len(batch.images)
                batch = following

    def _next(self, after: int, held: set[str]) -> _Batch:
        """Lease a batch and begin to read those of its pictures that somebody has to look at."""
        claim = self._claim(after)
        if not claim.images:
            return _Batch(claim, {}, iter(()))
        held.add(claim.token)
        known = self._known(claim.images)
        return _Batch(claim, known, self._reader.open_images([row for row in claim.images if row.id not in known]))

    def _opened(self, batch: _Batch) -> tuple[dict[int, NewStageResult], list[OpenedPicture]]:
        """Return the results that need no model, failures to open among them; and the pictures that need one."""
        results, opened = dict(batch.known), []
        for row, picture in batch.pictures:
            if isinstance(picture, str):
                results[row.id] = self._result(row, state="failed", reason=picture)
            else:
                picture.info[ROW] = row
                opened.append((row, picture))
        return results, opened

    def _made(self, make: Make, opened: Sequence[OpenedPicture]) -> dict[int, NewStageResult]:
        def failed(pair: OpenedPicture, reason: str) -> NewStageResult:
            return self._result(pair[0], state="failed", reason=reason)

        return {result.image_id: result for result in try_together(make, opened, failed)}

    def _save(self, batch: _Batch, results: Mapping[int, NewStageResult]) -> None:
        """Save a batch in one transaction, each picture whole; one that went to another worker is left to it."""

        def save(session: Session) -> None:
            for image in batch.images:
                with suppress(LeaseLostError):
                    save_stage_result(session, result=results[image.id], token=batch.claim.token)

        self._written(save)

    def _maker(self) -> Make:
        """Load the models of this stage, and return what makes results with them."""
        raise NotImplementedError

    def _known(self, images: Sequence[Image]) -> dict[int, NewStageResult]:
        """Return the results that need no model, by picture."""
        return {}

    def _result(self, row: Image, **values: Any) -> NewStageResult:
        return NewStageResult(
            dataset_id=self._dataset_id,
            image_id=row.id,
            key=self._work.key(row.sha256),
            recipe=self._work.recipe,
            stage=self._work.stage,
            source=self._work.source,
            run_id=self._run_id,
            **({"state": "done"} | values),
        )

    def _claim(self, after: int) -> LeasedImages:
        def claim(session: Any) -> LeasedImages:
            return lease_images(
                session,
                **self._open,
                worker=self._worker,
                count=self._pace.batch,
                lease_seconds=self._pace.lease_seconds,
                after=after,
            )

        return self._written(claim)

    def _first_unfinished(self) -> int | None:
        return self._asked(partial(first_unfinished, **self._open))

    def _done(self) -> tuple[int, int]:
        def counted(session: Session) -> tuple[int, int]:
            counts = plan_counts(session, dataset_id=self._dataset_id, recipes=[self._work.recipe])[self._work.recipe]
            return counts.done + counts.quarantined, count_images(session, dataset_id=self._dataset_id)

        return self._asked(counted)

    def _asked(self, question: Callable[[Session], Result]) -> Result:
        """Read from the database; one that is away for a while is waited for."""
        return retrying(self._engine, question, pauses_s=LONG_PAUSES_S, opened=reading)

    def _written(self, work: Callable[[Session], Result]) -> Result:
        return retrying(self._engine, work, pauses_s=LONG_PAUSES_S)


def try_together(
    make: Callable[[Sequence[Item]], Iterable[Result]], items: Sequence[Item], failed: Callable[[Item, str], Result]
) -> list[Result]:
    """Make the results of a batch; retry a failed batch item by item.

    Args:   failed: makes a result of an item and the reason why there is none.
    Raises: DescriberError, DatabaseError, DBAPIError, MemoryError, torch's OutOfMemoryError: the next batch would fail
            as well.
    """
    if not items:
        return []
    try:
        return list(make(items))
    except (DescriberError, DatabaseError, DBAPIError, MemoryError):
        raise
    except Exception as error:  # whatever it is, it is told beside its picture and the rest goes on
        if type(error).__name__ == "OutOfMemoryError":
            raise
        if len(items) == 1:
            return [failed(items[0], _reason(error))]
        return [result for item in items for result in try_together(make, [item], failed)]


@dataclass(frozen=True)
class _Batch:
    """Pictures that are ours: what is known of some already, and the others as they are read."""

    claim: LeasedImages
    known: Mapping[int, NewStageResult]
    pictures: Iterator[tuple[Image, Pictures.Image | str]]

    @property
    def images(self) -> tuple[Image, ...]:
        return self.claim.images


def _waits() -> Iterator[float]:
    return chain(WAITS_S, repeat(WAITS_S[-1]))


@contextmanager
def _held(engine: Engine, lease_seconds: float) -> Iterator[set[str]]:
    """Yield a set for tokens of leases: renewed while they are in it, released if they are there at the end."""
    tokens: set[str] = set()
    over = threading.Event()

    def renew() -> None:
        pause_s = lease_seconds / 3
        while not over.wait(pause_s):
            try:
                for token in tuple(tokens):
                    retrying(engine, partial(renew_lease, token=token, lease_seconds=lease_seconds))
                pause_s = lease_seconds / 3
            except (DatabaseError, DBAPIError):  # it may be back before the leases run out
                pause_s = min(RENEW_AGAIN_S, lease_seconds / 3)

    thread = threading.Thread(target=renew, name="lease", daemon=True)
    thread.start()
    try:
        yield tokens
    finally:
        over.set()
        thread.join()
        with suppress(DatabaseError, DBAPIError):
            for token in tokens:
                retrying(engine, partial(release_lease, token=token))


def _reason(error: Exception) -> str:
    words = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}: {words}" if words else type(error).__name__

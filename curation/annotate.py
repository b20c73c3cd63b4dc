"""python -m curation.annotate: describe every picture of a data set, then find where the descriptions hold.

Each picture is worked on under a lease and its result is found by what made it: asking again does nothing, another
threshold runs the boxes anew, another prompt the descriptions and what follows. A stop, a kill or a power cut loses no
result and doubles none; several workers may share a data set.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import chain, repeat
from typing import Any, TypeVar

import tyro
from PIL import Image as Pictures
from tqdm import tqdm

from curation.annotators import DescriberChoice, LocalizerChoice, Work, make_describer, make_localizer, works_of
from curation.describe import Described, Describer, DescriberError
from curation.filters import FilterConfig, Filtered, filter_regions, filter_texts
from curation.home import database_url, home_folder, job_id, report_progress
from curation.images import PictureReader
from curation.localize import Localizer
from curation.sample_annotators import ROW, SampleConfig
from db.curate_queries import regions_as_made
from db.engine import DatabaseError, Engine, Session, open_engine, reading, retrying, transaction
from db.gallery_queries import index_annotations
from db.models import Dataset, Description, Image, RunState, StageState
from db.queries import NewAnnotation, count_images, get_dataset, list_datasets
from db.run_queries import (
    Claim,
    LeaseLostError,
    NewStageResult,
    StageCounts,
    claim_images,
    descriptions_of,
    equal_work,
    failures_of_work,
    first_unfinished,
    list_runs,
    plan_counts,
    release_lease,
    release_worker,
    renew_lease,
    run_of_job,
    run_tallies,
    save_stage_result,
    set_run_state,
    start_run,
    try_again,
)
from grain.structures import Region

WAITS_S = (0.05, 0.1, 0.2, 0.4, 1.0)  # before asking again for pictures that others hold, the last one ever after
REASONS = 5  # that a run's end names
RUNS_FOR_PACE = 20  # that a pace is looked for in
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

_Opened = tuple[Image, Pictures.Image]
Make = Callable[[Sequence[_Opened]], Iterator[NewStageResult]]
"""Rows and their upright RGB pictures -> a result each."""
Item = TypeVar("Item")
Result = TypeVar("Result")


class AnnotateError(RuntimeError):
    """The run cannot go on; the message is one sentence that says what to do."""


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """How every stage goes about a data set."""

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
class AnnotateConfig(StageConfig):
    """Describe and localize every picture of a data set; run again, it goes on where it was."""

    dataset: str
    """Its name; curation.ingest makes one."""
    describer: DescriberChoice = field(default_factory=DescriberChoice)
    localizer: LocalizerChoice = field(default_factory=LocalizerChoice)
    sample: SampleConfig = field(default_factory=SampleConfig)
    """How the sample world's annotators err."""

    def works(self) -> tuple[Work, ...]:
        """The stages in their order.

        Raises: MissingModelError: weights are not on this machine.
        """
        return works_of(self.describer, self.localizer, self.sample)


@dataclass(frozen=True)
class Annotators:
    """What does the work; each is made when its stage begins, and only if there is something to do."""

    describer: Callable[[], Describer]
    localizer: Callable[[], Localizer]

    @classmethod
    def of(cls, config: AnnotateConfig) -> Annotators:
        """Those that the settings name."""
        return cls(
            lambda: make_describer(config.describer, config.sample),
            lambda: make_localizer(config.localizer, config.sample),
        )


@dataclass(frozen=True)
class StagePlan:
    """How far a data set is at one stage. left: pictures. seconds: what they will take, None where no run tells."""

    work: Work
    counts: StageCounts
    left: int
    seconds: float | None


@dataclass(frozen=True)
class Plan:
    """What a run would do."""

    images: int
    stages: tuple[StagePlan, ...]

    @property
    def seconds(self) -> float | None:
        """What all of it will take, as far as it was measured."""
        known = [stage.seconds for stage in self.stages]
        return None if None in known else sum(seconds for seconds in known if seconds is not None)


@dataclass(frozen=True)
class Progress:
    """pictures: finished at this stage, of total. rate: pictures a second since the stage began."""

    stage: str
    pictures: int
    total: int
    rate: float


@dataclass(frozen=True)
class Trial:
    """What the annotators make of one picture, step by step. texts, regions: None where it did not get so far."""

    described: Described | None
    texts: Filtered[str] | None
    regions: Filtered[Region] | None
    seconds: dict[str, float]


def plan(engine: Engine, config: AnnotateConfig) -> Plan:
    """What is done already and what is left.

    Raises: AnnotateError: no such data set. MissingModelError: weights are not on this machine.
    """
    dataset, works = find_dataset(engine, config.dataset), config.works()
    with reading(engine) as session:
        images = count_images(session, dataset_id=dataset.id)
        counts = plan_counts(session, dataset_id=dataset.id, recipes=[work.recipe for work in works])
        paces = _paces(session, dataset.id, works)
    stages = []
    for work in works:
        found = counts[work.recipe]
        left = images - found.done - found.quarantined
        pace = paces.get(work.recipe)
        stages.append(StagePlan(work, found, left, 0.0 if left == 0 else None if pace is None else left * pace))
    return Plan(images, tuple(stages))


def try_picture(config: AnnotateConfig, annotators: Annotators, image: Pictures.Image) -> Trial:
    """All stages on one picture, nothing kept.

    Raises: MissingModelError, DescriberError, ValueError: one sentence that says what to do.
    """
    described, seconds, texts = None, {}, tuple(config.describer.vocabulary)
    if config.describer.kind != "vocabulary":
        began = time.perf_counter()
        described = annotators.describer().describe([image])[0]
        seconds["describe"] = time.perf_counter() - began
        if described.problem:
            return Trial(described, None, None, seconds)
        texts = described.descriptions
    began = time.perf_counter()
    [(kept, regions)] = find_regions(annotators.localizer(), config.localizer.keep, [image], [texts])
    seconds["localize"] = time.perf_counter() - began
    return Trial(described, kept, regions, seconds)


def find_regions(
    localizer: Localizer, keep: FilterConfig, pictures: Sequence[Pictures.Image], said: Sequence[Sequence[str]]
) -> list[tuple[Filtered[str], Filtered[Region]]]:
    """The second stage on pictures and what was said of each: the texts that were looked for, the regions found."""
    texts = [filter_texts(each, keep, unreadable=localizer.too_long(each)) for each in said]
    found = localizer.localize(pictures, [each.kept for each in texts])
    return [
        (kept, filter_regions(regions, keep, width=picture.width, height=picture.height))
        for kept, picture, regions in zip(texts, pictures, found, strict=True)
    ]


def state_of(said: Described) -> StageState:
    """What a description counts as."""
    if not said.problem:
        return "done"
    return "quarantined" if said.answered else "failed"


def try_together(
    make: Callable[[Sequence[Item]], Iterable[Result]], items: Sequence[Item], failed: Callable[[Item, str], Result]
) -> list[Result]:
    """What make gives; a batch that fails is tried one by one, so that one picture does not take the others along.

    Args:   failed: makes a result of an item and the reason why there is none.
    Raises: DescriberError, DatabaseError, MemoryError, torch's OutOfMemoryError: the next batch would fail as well.
    """
    if not items:
        return []
    try:
        return list(make(items))
    except (DescriberError, DatabaseError, MemoryError):
        raise
    except Exception as error:  # whatever it is, it is told beside its picture and the rest goes on
        if type(error).__name__ == "OutOfMemoryError":
            raise
        if len(items) == 1:
            return [failed(items[0], _reason(error))]
        return [result for item in items for result in try_together(make, [item], failed)]


def annotate(
    engine: Engine,
    config: AnnotateConfig,
    annotators: Annotators,
    *,
    worker: str,
    job_id: int | None = None,
    report: Callable[[Progress], None] = lambda progress: None,
    stop: Callable[[], bool] = lambda: False,
) -> RunState:
    """Work until nothing is left, or until stop says so; returns the state in which the run is left.

    That is "failed" where pictures of the data set failed at a stage and none came to anything.

    Args:   worker: names this process among others; one that was killed and starts anew under its name gets its
            pictures back at once. job_id: the run of a job is taken up again.
    Raises: AnnotateError: no such data set, or no picture can be described now. MissingModelError.
    """
    dataset, works = find_dataset(engine, config.dataset), config.works()
    run_id = begin_run(engine, dataset, asdict(config), works, worker, job_id)
    state: RunState = "failed"
    try:
        with PictureReader() as reader:
            for work in works:
                shared = (engine, config, reader, dataset.id, run_id, worker, work)
                stage = _AnnotateStage(*shared, config=config, annotators=annotators)
                if not stage.run(report, stop):
                    state = "paused"
                    return state
        state = "failed" if _all_failed(engine, dataset.id, works) else "done"
        return state
    except DescriberError as error:
        raise AnnotateError(str(error)) from error
    finally:
        with transaction(engine) as session:
            release_worker(session, worker=worker)
            set_run_state(session, run_id=run_id, state=state)


def outcome(engine: Engine, config: AnnotateConfig) -> list[str]:
    """How a data set stands, a line a stage, and why pictures came to nothing, the commonest reason first.

    Raises: AnnotateError: no such data set. MissingModelError.
    """
    dataset, works = find_dataset(engine, config.dataset), config.works()
    recipes = [work.recipe for work in works]
    with reading(engine) as session:
        counts = plan_counts(session, dataset_id=dataset.id, recipes=recipes)
        failures = failures_of_work(session, dataset_id=dataset.id, recipes=recipes, limit=REASONS)
    said = []
    for work in works:
        parts = ", ".join(
            f"{pictures:,} {state}" for state, pictures in asdict(counts[work.recipe]).items() if pictures
        )
        said.append(f"{work.stage}: {parts or 'no picture'}")
    said += [f"{each.pictures:,} {each.state} at {each.stage}: {each.reason}" for each in failures]
    return said


def _all_failed(engine: Engine, dataset_id: int, works: Sequence[Work]) -> bool:
    with reading(engine) as session:
        counts = plan_counts(session, dataset_id=dataset_id, recipes=[work.recipe for work in works])
    return any(each.failed and not each.done for each in counts.values())


class StageRun:
    """One stage of a run, by one worker: claims, leases, batches, failures. What the work is, a subclass says."""

    def __init__(
        self,
        engine: Engine,
        config: StageConfig,
        reader: PictureReader,
        dataset_id: int,
        run_id: int,
        worker: str,
        work: Work,
    ) -> None:
        """worker: names this process among others. run_id: what the work is counted under."""
        self._engine, self._pace, self._work = engine, config, work
        self._reader = reader
        self._waits = _waits()
        self._open: dict[str, Any] = {
            "dataset_id": dataset_id,
            "recipe": work.recipe,
            "needs": work.needs,
            "run_id": run_id,
            "max_attempts": config.attempts,
        }
        self._dataset_id, self._run_id, self._worker = dataset_id, run_id, worker

    def run(self, report: Callable[[Progress], None], stop: Callable[[], bool]) -> bool:
        """Whether it came to its end; False where it was told to stop."""
        began, worked, make = time.perf_counter(), 0, None
        before, total = self._done()
        while not stop():
            first = self._first_unfinished()
            if first is None:
                report(Progress(self._work.stage, before + worked, total, 0.0))
                return True
            make = make or self._maker()
            for some in self._pass(make, first - 1, stop):
                worked += some
                rate = worked / (time.perf_counter() - began)
                report(Progress(self._work.stage, min(total, before + worked), total, rate))
        return False

    def _pass(self, make: Make, after: int, stop: Callable[[], bool]) -> Iterator[int]:
        """Batches in the order of the pictures, until nothing more can be claimed; yields how many each had."""
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
        """Claim a batch and begin to read those of its pictures that somebody has to look at."""
        claim = self._claim(after)
        if not claim.images:
            return _Batch(claim, {}, iter(()))
        held.add(claim.token)
        known = self._known(claim.images)
        return _Batch(claim, known, self._reader.open_images([row for row in claim.images if row.id not in known]))

    def _opened(self, batch: _Batch) -> tuple[dict[int, NewStageResult], list[_Opened]]:
        """Results that need no model: known ones, and of pictures that cannot be opened the reason; and the others."""
        results, opened = dict(batch.known), []
        for row, picture in batch.pictures:
            if isinstance(picture, str):
                results[row.id] = self._result(row, state="failed", reason=picture)
            else:
                picture.info[ROW] = row
                opened.append((row, picture))
        return results, opened

    def _made(self, make: Make, opened: Sequence[_Opened]) -> dict[int, NewStageResult]:
        def failed(pair: _Opened, reason: str) -> NewStageResult:
            return self._result(pair[0], state="failed", reason=reason)

        return {result.image_id: result for result in try_together(make, opened, failed)}

    def _save(self, batch: _Batch, results: Mapping[int, NewStageResult]) -> None:
        """A batch in one transaction, each picture whole; one that went to another worker is left to it."""

        def save(session: Session) -> None:
            for image in batch.images:
                with suppress(LeaseLostError):
                    save_stage_result(session, result=results[image.id], token=batch.claim.token)

        retrying(self._engine, save)

    def _maker(self) -> Make:
        """Loads the models of this stage."""
        raise NotImplementedError

    def _known(self, images: Sequence[Image]) -> dict[int, NewStageResult]:
        """Results that need no model, by picture."""
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

    def _claim(self, after: int) -> Claim:
        def claim(session: Any) -> Claim:
            return claim_images(
                session,
                **self._open,
                worker=self._worker,
                count=self._pace.batch,
                lease_seconds=self._pace.lease_seconds,
                after=after,
            )

        return retrying(self._engine, claim)

    def _first_unfinished(self) -> int | None:
        with reading(self._engine) as session:
            return first_unfinished(session, **self._open)

    def _done(self) -> tuple[int, int]:
        with reading(self._engine) as session:
            counts = plan_counts(session, dataset_id=self._dataset_id, recipes=[self._work.recipe])[self._work.recipe]
            return counts.done + counts.quarantined, count_images(session, dataset_id=self._dataset_id)


class _AnnotateStage(StageRun):
    """Describing or localizing."""

    def __init__(self, *shared: Any, config: AnnotateConfig, annotators: Annotators) -> None:
        """shared: see StageRun."""
        super().__init__(*shared)
        self._config, self._annotators = config, annotators

    def _maker(self) -> Make:
        """See StageRun."""
        if self._work.stage == "describe":
            describer = self._annotators.describer()
            return lambda opened: self._describe(describer, opened)
        localizer = self._annotators.localizer()
        return lambda opened: self._localize(localizer, opened)

    def _describe(self, describer: Describer, opened: Sequence[_Opened]) -> Iterator[NewStageResult]:
        answers = describer.describe([picture for _, picture in opened])
        for (row, _), said in zip(opened, answers, strict=True):
            yield self._result(
                row,
                state=state_of(said),
                reason=said.problem,
                raw=said.raw,
                subject=said.subject,
                caption=said.caption,
                seconds=said.seconds,
                tokens=said.prompt_tokens + said.answer_tokens,
                descriptions=said.descriptions,
            )

    def _localize(self, localizer: Localizer, opened: Sequence[_Opened]) -> Iterator[NewStageResult]:
        began, keep = time.perf_counter(), self._config.localizer.keep
        said = self._texts([row.id for row, _ in opened])
        found = find_regions(localizer, keep, [picture for _, picture in opened], [list(each) for each in said])
        seconds = (time.perf_counter() - began) / len(opened)
        for (row, _), ids, (_, regions) in zip(opened, said, found, strict=True):
            yield self._result(
                row,
                seconds=seconds,
                regions=tuple(
                    NewAnnotation(
                        row.id, each.xyxy, each.text, localizer.name, each.score, description_id=ids[each.text]
                    )
                    for each in regions.kept
                ),
            )

    def _texts(self, image_ids: Sequence[int]) -> list[dict[str, int | None]]:
        """Of each picture what to look for: text -> id of its description, None for a class name."""
        if not self._work.needs:
            return [dict.fromkeys(self._config.describer.vocabulary)] * len(image_ids)
        with reading(self._engine) as session:
            said = descriptions_of(session, image_ids=image_ids, recipe=self._work.needs)
        return [{description.text: description.id for description in said[image_id]} for image_id in image_ids]

    def _known(self, images: Sequence[Image]) -> dict[int, NewStageResult]:
        """Results of equal work on equal pictures of other data sets, as the models gave them."""
        keys = {self._work.key(image.sha256): image for image in images}
        with reading(self._engine) as session:
            before = equal_work(session, keys=list(keys))
            sources = [result.image_id for result in before.values()]
            said = descriptions_of(session, image_ids=sources, recipe=self._work.recipe)
            found = regions_as_made(session, image_ids=sources, recipe=self._work.recipe)
            mine = self._texts([keys[key].id for key in before]) if self._work.stage == "localize" else []
        texts = dict(zip(before, mine, strict=True)) if mine else {}
        return {
            keys[key].id: self._result(
                keys[key],
                raw=tuple(result.raw),
                subject=result.subject,
                caption=result.caption,
                descriptions=tuple(_text(each) for each in said[result.image_id]),
                regions=tuple(_copied(each, keys[key].id, texts[key]) for each in regions),
            )
            for key, result in before.items()
            if (regions := found[result.image_id]) is not None
        }


@dataclass(frozen=True)
class _Batch:
    """Pictures that are ours: what is known of some already, and the others as they are read."""

    claim: Claim
    known: Mapping[int, NewStageResult]
    pictures: Iterator[tuple[Image, Pictures.Image | str]]

    @property
    def images(self) -> tuple[Image, ...]:
        return self.claim.images


def _waits() -> Iterator[float]:
    return chain(WAITS_S, repeat(WAITS_S[-1]))


@contextmanager
def _held(engine: Engine, lease_seconds: float) -> Iterator[set[str]]:
    """A set for the tokens of claims: renewed while they are in it, given back if they are still there at the end."""
    tokens: set[str] = set()
    over = threading.Event()

    def renew() -> None:
        while not over.wait(lease_seconds / 3):
            for token in tuple(tokens):
                retrying(engine, partial(renew_lease, token=token, lease_seconds=lease_seconds))

    thread = threading.Thread(target=renew, name="lease", daemon=True)
    thread.start()
    try:
        yield tokens
    finally:
        over.set()
        thread.join()
        with suppress(DatabaseError):
            for token in tokens:
                retrying(engine, partial(release_lease, token=token))


def begin_run(
    engine: Engine, dataset: Dataset, config: Mapping[str, Any], works: Sequence[Work], worker: str, job_id: int | None
) -> int:
    """The run's id: a job's own, or a new one. What a worker of this name held is given back.

    A job's run that ended as failed tries its pictures anew: somebody asked for it.
    """
    with transaction(engine) as session:
        release_worker(session, worker=worker)
        run = run_of_job(session, job_id=job_id) if job_id is not None else None
        if run is None:
            recipes: dict[str, str] = {work.stage: work.recipe for work in works}
            run = start_run(session, dataset_id=dataset.id, config=config, recipes=recipes, job_id=job_id)
        elif run.state == "failed":
            try_again(session, dataset_id=dataset.id, recipes=list(run.recipes.values()))
        set_run_state(session, run_id=run.id, state="running")
        return run.id


def find_dataset(engine: Engine, name: str) -> Dataset:
    """A data set by its name.

    Raises: AnnotateError: there is none.
    """
    with reading(engine) as session:
        dataset = get_dataset(session, name=name)
        if dataset is not None:
            return dataset
        names = ", ".join(each.name for each in list_datasets(session)) or "none yet"
    raise AnnotateError(
        f"There is no data set {name[:60]!r} (there is {names}): make it with `python -m curation.ingest SOURCE "
        "--dataset NAME`."
    )


def _paces(session: Session, dataset_id: int, works: Sequence[Work]) -> dict[str, float]:
    """Recipe -> seconds a picture, of the latest run that tells."""
    paces: dict[str, float] = {}
    for run in list_runs(session, dataset_id=dataset_id, limit=RUNS_FOR_PACE):
        wanted = [work for work in works if run.recipes.get(work.stage) == work.recipe and work.recipe not in paces]
        tallies = run_tallies(session, run_id=run.id) if wanted else []
        for work in wanted:
            mine = [tally for tally in tallies if tally.stage == work.stage]
            if pictures := sum(tally.pictures for tally in mine):
                paces[work.recipe] = sum(tally.seconds for tally in mine) / pictures
    return paces


def _copied(region: NewAnnotation, image_id: int, ids: Mapping[str, int | None]) -> NewAnnotation:
    return replace(region, image_id=image_id, description_id=ids.get(region.text))


def _text(description: Description) -> str:
    return description.text


def _reason(error: Exception) -> str:
    words = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


def command_line(config: AnnotateConfig) -> list[str]:
    """The words that run it from a terminal: what differs from the defaults, flag by flag."""
    return ["-m", "curation.annotate", *flags_of(asdict(config), asdict(AnnotateConfig(config.dataset)))]


def flags_of(config: Mapping[str, Any], default: Mapping[str, Any]) -> list[str]:
    """The flags of settings with a data set's name, what is as by default left out."""
    flags = [f"--dataset={config['dataset']}"]
    for name, value in _leaves(config).items():
        if value != _leaves(default)[name]:
            flags += _flag(name.replace("_", "-"), value)
    return flags


def _leaves(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in settings.items():
        found |= _leaves(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return found


def _flag(name: str, value: Any) -> list[str]:
    if isinstance(value, bool):
        head, _, last = name.rpartition(".")
        return [f"--{name}" if value else f"--{head}.no-{last}" if head else f"--no-{last}"]
    if isinstance(value, tuple):
        return [f"--{name}", *value]
    return [f"--{name}={value}"]  # in one word, so that a value may begin with a dash


def main(config: AnnotateConfig) -> None:
    """The command line."""
    gc.freeze()  # what was imported stays: going through it at every full collection and at the end takes 0.3 s
    job, stopped = job_id(), threading.Event()
    for number in STOP_SIGNALS:
        signal.signal(number, lambda *_: stopped.set())
    worker = f"job {job}" if job is not None else f"{socket.gethostname()} {os.getpid()}"
    engine = open_engine(database_url(home_folder()))
    bar = tqdm(unit="picture", dynamic_ncols=True)

    def report(progress: Progress) -> None:
        if progress.stage != bar.desc:
            bar.reset(progress.total)
            bar.desc = progress.stage
        bar.update(progress.pictures - bar.n)
        stages: list[str] = [work.stage for work in config.works()]
        done = progress.total * stages.index(progress.stage) + progress.pictures
        left = (progress.total - progress.pictures) / progress.rate if progress.rate else 0.0
        pace = f", {progress.rate:.1f} pictures/s, {tqdm.format_interval(left)} left" if progress.rate else ""
        message = f"{progress.stage}: {progress.pictures:,} of {progress.total:,}{pace}"
        report_progress(done, progress.total * len(stages), message)

    annotators = Annotators.of(config)
    state = annotate(engine, config, annotators, worker=worker, job_id=job, report=report, stop=stopped.is_set)
    bar.close()
    while retrying(engine, lambda session: index_annotations(session)):  # for the Curate page
        continue
    print(f"{config.dataset}: {state}", *outcome(engine, config), sep="\n")
    if state == "failed":
        raise AnnotateError(
            f"No picture of {config.dataset!r} could be annotated: see to the reasons above and run the same again."
        )


if __name__ == "__main__":
    try:
        main(tyro.cli(AnnotateConfig, description=__doc__))
    except (AnnotateError, DescriberError, DatabaseError, ValueError) as error:
        sys.exit(f"curation.annotate: {error}")

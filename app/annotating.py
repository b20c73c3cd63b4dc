"""What the Annotate page asks: settings checked, data sets, plan, jobs, one picture tried, results by page."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from PIL import Image

from app.jobs.control import Jobs
from app.looking import sentence
from app.services import Services
from app.uploads import RefusedError, read_picture
from curation.annotate import AnnotateConfig, AnnotateError, Plan, Trial, command_line, plan, try_picture
from curation.annotators import DescriberChoice, LocalizerChoice
from curation.describe import DescribeConfig, DescriberError
from curation.images import open_image
from curation.ingest import IngestConfig
from curation.ingest import command_line as ingest_command
from curation.localize import LocalizeConfig
from curation.sample_annotators import ROW, SampleConfig
from db.engine import DatabaseError, reading
from db.job_queries import job_page
from db.models import Annotation, Job, StageResult
from db.models import Image as Picture
from db.queries import annotations_of, get_dataset, get_image, image_page, list_datasets
from db.run_queries import FailureGroup, StageTally, failures_by_reason, run_of_job, run_tallies, stage_result_page

KINDS = ("annotate", "import")  # of jobs that the page shows
PAGE = 12  # results of one page
MOST_PICTURES = 10**12  # no data set has more; a database takes no number of any size
MOST_JOBS, SEARCHED_JOBS = 8, 50


class AnnotatingError(ValueError):
    """What was asked cannot be done; the message is one sentence for the person."""


@dataclass(frozen=True)
class Wanted:
    """What a person chose, as the page's fields hold it."""

    dataset: str
    describer: str
    describer_model: str
    server: str
    vocabulary: str
    prompts: str
    localizer: str
    localizer_model: str
    threshold: float
    most_of_text: float
    wrong: float
    shifted: float


@dataclass(frozen=True)
class JobView:
    """A job with what its run has come to."""

    job: Job
    tallies: Sequence[StageTally]
    failures: Sequence[FailureGroup]


@dataclass(frozen=True)
class ResultView:
    """One annotated picture."""

    image: Picture
    described: StageResult | None
    regions: Sequence[Annotation]


def config_of(wanted: Wanted) -> AnnotateConfig:
    """The settings of a run.

    Raises: AnnotatingError: one of them is wrong.
    """
    if not wanted.dataset:
        raise AnnotatingError("There is no data set yet: import one first.")
    try:
        vocabulary = tuple(name.strip() for name in wanted.vocabulary.splitlines() if name.strip())
        describer: dict[str, Any] = {"kind": wanted.describer, "ask": DescribeConfig(prompts=wanted.prompts)}
        if wanted.describer_model.strip():
            describer["model"] = wanted.describer_model.strip()
        if wanted.describer == "server":
            describer["server"] = wanted.server.strip()
        if wanted.describer == "vocabulary":
            describer["vocabulary"] = vocabulary
        localizer: dict[str, Any] = {"kind": wanted.localizer}
        if wanted.localizer_model.strip():
            localizer["model"] = wanted.localizer_model.strip()
        boxes = LocalizeConfig(
            threshold=wanted.threshold,
            most_of_text=int(wanted.most_of_text),
            exclusive=wanted.describer == "vocabulary",
        )
        sample = SampleConfig(wrong=wanted.wrong, shifted=wanted.shifted)
        return AnnotateConfig(
            wanted.dataset, DescriberChoice(**describer), LocalizerChoice(**localizer, boxes=boxes), sample
        )
    except ValueError as error:
        raise AnnotatingError(sentence(error)) from error


def dataset_names(services: Services) -> list[str]:
    """All data sets."""
    with reading(services.engine) as session:
        return [dataset.name for dataset in list_datasets(session)]


def plan_of(services: Services, config: AnnotateConfig) -> Plan:
    """What is done and what is left.

    Raises: AnnotatingError: weights are missing, or there is no such data set.
    """
    try:
        return plan(services.engine, config)
    except (AnnotateError, ValueError) as error:
        raise AnnotatingError(sentence(error)) from error


def start(services: Services, config: AnnotateConfig, owner: str) -> int:
    """Queue a run; the id of its job.

    Raises: AnnotatingError: it could not begin.
    """
    plan_of(services, config)  # what is missing is said now, not by a job that fails
    return _enqueue(services.jobs, "annotate", asdict(config), command_line(config), owner)


def import_data(services: Services, source: str, name: str, owner: str, sample: int = 0) -> int:
    """Queue an import of what lies at a path on this machine, or of freshly drawn pictures of the sample world.

    Raises: AnnotatingError: there is no name, or neither.
    """
    if not name.strip():
        raise AnnotatingError("The data set needs a name: write one.")
    try:
        config = IngestConfig(source.strip(), dataset=name.strip(), sample=sample)
    except ValueError as error:
        raise AnnotatingError(sentence(error)) from error
    return _enqueue(services.jobs, "import", asdict(config), ingest_command(config), owner)


def jobs_now(
    services: Services, kinds: Sequence[str] = KINDS, *, dataset: str | None = None, most: int = MOST_JOBS
) -> list[JobView]:
    """The latest jobs of some kinds, newest first. A job whose process is dead is found out here.

    Args: dataset: only those about it, among the latest SEARCHED_JOBS of each kind. most: how many.
    """
    services.jobs.reconcile()
    views = []
    with reading(services.engine) as session:
        limit = most if dataset is None else SEARCHED_JOBS
        jobs = [job for kind in kinds for job in job_page(session, kind=kind, limit=limit)]
        mine = [job for job in jobs if dataset is None or job.config.get("dataset") == dataset]
        for job in sorted(mine, key=lambda job: -job.id)[:most]:
            run = run_of_job(session, job_id=job.id)
            tallies = run_tallies(session, run_id=run.id) if run else []
            failures = failures_by_reason(session, run_id=run.id, limit=5) if run else []
            views.append(JobView(job, tallies, failures))
    return views


def try_one(services: Services, config: AnnotateConfig, upload: str | None, number: int) -> tuple[Image.Image, Trial]:
    """All stages on an uploaded picture, or on one of the data set, by its number from 1.

    Raises: AnnotatingError: there is no such picture, it cannot be read, or an annotator cannot work.
    """
    try:
        image = read_picture(upload, services.settings.limits) if upload else _picture(services, config, number)
        with services.model_turn:
            return image, try_picture(config, services.annotators(config), image)
    except (RefusedError, DescriberError, ValueError) as error:
        raise AnnotatingError(sentence(error)) from error


def results(services: Services, config: AnnotateConfig, after: int = 0) -> list[ResultView]:
    """Annotated pictures of the settings' own recipe, a page of them.

    Args:   after: id of the last picture of the page before.
    Raises: AnnotatingError: weights are missing, so that the recipe is not known.
    """
    try:
        last = config.works()[-1]
    except ValueError as error:
        raise AnnotatingError(sentence(error)) from error
    with reading(services.engine) as session:
        dataset = get_dataset(session, name=config.dataset)
        if dataset is None:
            return []
        page = stage_result_page(
            session, dataset_id=dataset.id, recipe=last.recipe, state="done", after=after, limit=PAGE
        )
        ids = [result.image_id for result in page]
        regions = annotations_of(session, image_ids=ids, recipe=last.recipe)
        images = [get_image(session, image_id=number) for number in ids]
        return [ResultView(image, None, regions.get(image.id, [])) for image in images if image is not None]


def _picture(services: Services, config: AnnotateConfig, number: int) -> Image.Image:
    if not 1 <= number <= MOST_PICTURES:
        raise AnnotatingError(f"Expected the number of a picture, 1 or more, got {number:,}: choose another one.")
    with reading(services.engine) as session:
        dataset = get_dataset(session, name=config.dataset)
        first = image_page(session, dataset_id=dataset.id, limit=1) if dataset else []
        # counted from the first one's id, so that the millionth costs no more; where imports ran at once, one nearby
        rows = [
            row
            for each in first
            for row in image_page(session, dataset_id=each.dataset_id, after=each.id + number - 2, limit=1)
        ]
    if not rows:
        raise AnnotatingError(f"The data set has no picture number {number}: choose a smaller one.")
    [row] = rows
    image = open_image(row)
    image.info[ROW] = row
    return image


def _enqueue(jobs: Jobs, kind: str, config: Mapping[str, Any], words: Sequence[str], owner: str) -> int:
    try:
        return jobs.enqueue(kind=kind, owner=owner, config=config, argv=[sys.executable, *words])
    except (ValueError, DatabaseError) as error:
        raise AnnotatingError(sentence(error)) from error

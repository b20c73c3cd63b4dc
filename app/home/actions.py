"""Find how far a data set is on its road: imported, described, reviewed, frozen, trained on, promoted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal
from urllib.parse import urlencode

import numpy as np

from app.access.accounts import Person
from app.core.templates import things
from app.jobs.imports import IMPORT, queue_example
from app.jobs.run_logs import HELD_OUT
from app.services import Services
from db.engine import Engine, reading
from db.models import Dataset, DatasetVersion, Image, Job
from db.queries.data_set_queries import count_images, existing_dataset, image_page, refusals_by_reason
from db.queries.job_queries import IN_PROGRESS, is_about, job_page
from db.queries.region_index_queries import count_by_status
from db.queries.region_queries import regions_of
from db.queries.version_queries import count_described, count_reviews, edited_at, last_ids, list_versions

FAILED = ("failed", "interrupted")
SEARCHED = 200  # latest jobs of a kind that are looked through for the data set's
SHOWN_PICTURES = 8
GROUNDING = HELD_OUT + "grounding_acc50"


@dataclass(frozen=True)
class RoadStep:
    """A step of the road. state: done, going (begun), open (nothing there yet) or bad.

    count: its number. detail: in words. problem: what is wrong, "" for nothing. action, link: what to do and where.
    """

    name: str
    state: Literal["done", "going", "open", "bad"]
    count: str
    detail: str = ""
    problem: str = ""
    action: str = ""
    link: str = ""


@dataclass(frozen=True)
class DatasetRoad:
    """The steps of a data set in their order, and its first pictures. next_step: the place of what to do next."""

    dataset: str
    steps: Sequence[RoadStep]
    pictures: Sequence[Image]

    @property
    def next_step(self) -> int:
        """Return the place of the first step that has a problem or is not begun, else of the last one begun."""
        able = [place for place, step in enumerate(self.steps) if step.action]
        for states in (("bad",), ("open",), ("going",), ("done",)):
            if found := [place for place in able if self.steps[place].state in states]:
                return found[0] if states[0] in ("bad", "open") else found[-1]
        return -1


def import_example(services: Services, name: str, person: Person) -> int:
    """Queue the import of an example data set; return the id of the job.

    Raises: UserError: there is no such example.
    """
    return queue_example(services.jobs, name, owner=person.name)


def imports_going_on(services: Services) -> list[str]:
    """Return the names of the data sets whose pictures are being imported, or wait to be."""
    services.jobs.reconcile()
    with reading(services.engine) as session:
        jobs = job_page(session, kind=IMPORT, states=IN_PROGRESS, limit=SEARCHED)
    return [str(job.config.get("dataset")) for job in jobs]


def road(services: Services, dataset: str) -> DatasetRoad:
    """Return how far a data set is.

    Raises: UserError: there is none of that name.
    """
    services.jobs.reconcile()
    with reading(services.engine) as session:
        found = existing_dataset(session, name=dataset)
        versions = list_versions(session, dataset_id=found.id)
        imports, annotations, trainings = (
            job_page(session, kind=kind, limit=SEARCHED) for kind in (IMPORT, "annotate", "train")
        )
        pictures = count_images(session, dataset_id=found.id)
        _, left_out = refusals_by_reason(session, dataset_id=found.id, most=0, examples=0)
        reviewed = count_reviews(session, dataset_id=found.id)
        verdicts: Counter[str] = Counter()
        for each in count_by_status(session, dataset_id=found.id):
            verdicts[each.status] += each.regions
        described = _described(services.engine, found.id, last_ids(session))
        edited = edited_at(session, dataset_id=found.id)
        first = image_page(session, dataset_id=found.id, limit=SHOWN_PICTURES)
        regions = regions_of(session, image_ids=[image.id for image in first])
    changed = bool(versions and edited and edited > versions[0].created_at)
    finished = reviewed.get("reviewed", 0) + reviewed.get("empty", 0)
    run = _run_of(trainings, versions)
    steps = [
        imported_step(dataset, pictures, _latest(imports, found), left_out=left_out),
        described_step(dataset, described, pictures, job=_latest(annotations, found)),
        reviewed_step(dataset, verdicts, finished),
        version_step(dataset, versions, verdicts["accepted"], changed=changed),
        trained_step(dataset, versions, run),
        promoted_step(services, run, max(regions, key=lambda image: bool(regions[image]), default=None)),
    ]
    return DatasetRoad(dataset, steps, first)


@lru_cache(maxsize=64)
def _described(engine: Engine, dataset_id: int, unchanged: tuple[int, ...]) -> int:
    """Count the pictures that are described; kept while nothing comes and nobody edits."""
    with reading(engine) as session:
        return count_described(session, dataset_id=dataset_id)


def imported_step(dataset: str, pictures: int, job: Job | None, *, left_out: int = 0) -> RoadStep:
    """Return the step of the pictures. job: the latest import. left_out: files that are no picture here."""
    files = f"; {left_out:,} {'file was' if left_out == 1 else 'files were'} left out" if left_out else ""
    step = RoadStep("Imported", "done" if pictures else "open", f"{pictures:,}", f"pictures{files}")
    action = "See which, or import more" if left_out else "Import more"
    step = replace(step, action=action, link=_link("annotate", dataset) + "&import=1")
    if job and job.state in IN_PROGRESS:
        return replace(step, state="going", detail=_progress(job), action="")
    if job and job.state in FAILED:
        return replace(step, state="bad", problem=job.exit_reason, action="Import again")
    return step


def described_step(dataset: str, described: int, pictures: int, *, job: Job | None) -> RoadStep:
    """Return the step of descriptions and boxes. job: the latest annotation."""
    left = pictures - described
    step = RoadStep("Described", "open", f"{described:,}", f"of {pictures:,} pictures", link=_link("annotate", dataset))
    if job and job.state in IN_PROGRESS:
        return replace(step, state="going", detail=_progress(job))
    if job and job.state in FAILED:
        return replace(step, state="bad", problem=job.exit_reason, action="Look at the job")
    if described:
        action = f"Describe {left:,} more" if left else ""
        return replace(step, state="going" if left else "done", action=action)
    return replace(step, action="Describe the pictures" if pictures else "")


def reviewed_step(dataset: str, verdicts: Mapping[str, int], finished: int) -> RoadStep:
    """Return the step of verdicts. verdicts: descriptions of each. finished: pictures that somebody has reviewed."""
    decided, pending = verdicts.get("accepted", 0) + verdicts.get("rejected", 0), verdicts.get("pending", 0)
    words = f"of {decided + pending:,} descriptions" if decided or pending else "descriptions"
    words += f" · {finished:,} pictures finished" if finished else ""
    step = RoadStep("Reviewed", "open", f"{decided:,}", words, link=_link("curate", dataset))
    if pending:
        action, link = f"Review {pending:,}{' more' if decided else ''}", f"{step.link}&statuses=pending"
        return replace(step, state="going" if decided else "open", action=action, link=link)
    return replace(step, state="done", action="Look again") if decided else step


def version_step(dataset: str, versions: Sequence[DatasetVersion], accepted: int, *, changed: bool) -> RoadStep:
    """Return the step of frozen versions. versions: newest first. changed: somebody has edited since the newest."""
    step = RoadStep("Frozen", "open", "0", "versions", link=_link("data", dataset))
    if not versions:
        return replace(step, action="Freeze a version" if accepted else "")
    newest = versions[0]
    words = f"{newest.created_at:%d %b} · {things(newest.pictures, 'picture')}, {things(newest.regions, 'region')}"
    step = replace(step, state="done", count=newest.name, detail=words, action="Freeze another")
    if not newest.regions:
        return replace(step, state="bad", problem="It holds no region: accept some, and freeze again.")
    if changed:
        return replace(step, state="going", detail=f"{words} · edited since", action="Freeze again")
    return step


def trained_step(dataset: str, versions: Sequence[DatasetVersion], run: Job | None) -> RoadStep:
    """Return the step of trainings. run: the latest one on a version of the data set."""
    step = RoadStep("Trained", "open", "0", "runs", link=_link("train", dataset))
    if run is None:
        return replace(step, action=f"Train on {versions[0].name}" if versions and versions[0].regions else "")
    step = replace(step, count=str(run.config["train"]["name"]), detail=run.state, link=f"{step.link}&run={run.id}")
    if run.state in IN_PROGRESS:
        return replace(step, state="going", detail=_progress(run), action="Watch it")
    if run.state in FAILED:
        return replace(step, state="bad", problem=run.exit_reason, action="Look at the run")
    return replace(step, state="done", action="Train again")


def promoted_step(services: Services, run: Job | None, picture: int | None = None) -> RoadStep:
    """Return the step of the model: how well the run's best checkpoint grounds held-out pictures, and where it is.

    Args: picture: id of one of the data set, on which Ground opens.
    """
    if run is None:
        return RoadStep("Promoted", "open", "–", "a model for Ground")
    name, folder = str(run.config["train"]["name"]), Path(run.config["train"]["out"])
    scores = services.run_logs.read(folder).evaluations.get(GROUNDING)
    scores = scores[np.isfinite(scores)]
    count = f"{scores.max():.0%}" if len(scores) else "–"
    words = "of held-out descriptions grounded" if len(scores) else "no evaluation yet"
    if any(each.name in (name, f"{name}-final") for each in services.registry.usable()):
        link = "/?" + urlencode({"checkpoint": name} | ({} if picture is None else {"image": picture}))
        return RoadStep("Promoted", "done", count, words, action="Ground with it", link=link)
    if not (folder / "best").is_dir():
        return RoadStep("Promoted", "open", count, words)
    return RoadStep("Promoted", "open", count, words, action="Compare and promote", link=f"/train?run={run.id}")


def _latest(jobs: Sequence[Job], dataset: Dataset) -> Job | None:
    return next((job for job in jobs if is_about(job, dataset=dataset.name, made=dataset.created_at)), None)


def _run_of(trainings: Sequence[Job], versions: Sequence[DatasetVersion]) -> Job | None:
    keys = {f"version:{version.sha256}" for version in versions}
    return next((job for job in trainings if dict(job.config.get("asked") or {}).get("data") in keys), None)


def _progress(job: Job) -> str:
    share = f"{job.done / job.total:.0%} · " if job.total else ""
    return f"{share}{job.message or job.state}"


def _link(page: str, dataset: str) -> str:
    return f"/{page}?{urlencode({'dataset': dataset})}"

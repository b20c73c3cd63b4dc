"""Answer what the Data page takes back.

Versions restored, runs and imports undone, pictures removed, data sets renamed and deleted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from app.core.page_values import whole_number
from app.jobs.control import NewJob
from app.jobs.devices import DATA
from app.jobs.imports import IMPORT
from app.services import Services
from curation.data_sets.delete import DeleteConfig
from curation.data_sets.delete import command_line as delete_command
from curation.data_sets.dependents import DatasetDependents, check_no_job, dependents_of
from curation.data_sets.remove_pictures import PictureDependents, RemovePicturesConfig, dependents_of_pictures
from curation.data_sets.remove_pictures import command_line as remove_command
from curation.data_sets.rename import check_rename, rename
from curation.review.restore import RestoreConfig
from curation.review.restore import command_line as restore_command
from curation.review.restore_version import RestoreCount, count_restore
from curation.review.undo import UndoConfig
from curation.review.undo import command_line as undo_command
from curation.review.wide_acts import count_work, import_work, run_work
from db.engine import reading
from db.models import AnnotationRun, Dataset, ImportRecord, Job, ReviewAct
from db.queries.data_set_queries import existing_dataset, get_dataset
from db.queries.job_queries import get_job, is_about, job_page
from db.queries.review_queries import count_tags, get_act, latest_acts
from db.queries.run_queries import list_runs
from db.queries.wide_act_queries import BroughtCount, list_imports
from user_errors import UserError

RESTORE, UNDO, REMOVE, DELETE = "restore-version", "undo", "remove-pictures", "delete-dataset"  # kinds of jobs
MOST_WORKS = 8  # runs, imports and acts that are listed, each
MOST_IMPORTS = 200  # the latest imports of all data sets, among which a data set's are looked for
WIDE = ("restore version", "undo run", "undo import")


@dataclass(frozen=True)
class DatasetWorks:
    """Acts and runs that can be undone whole, the latest first. acts: of any size. who: the person who looks."""

    runs: Sequence[AnnotationRun]
    imports: Sequence[ImportRecord]
    acts: Sequence[ReviewAct]
    who: str


@dataclass(frozen=True)
class RemovablePictures:
    """Ways to name pictures that are to be removed: the latest imports of pictures, and tags with their regions."""

    imports: Sequence[Job]
    tags: Mapping[str, int]


@dataclass(frozen=True)
class UpkeepQuestion:
    """An undo that is to be asked first. ask: what the page sends for it. count: what it changes."""

    what: str
    ask: Mapping[str, Any]
    count: RestoreCount | BroughtCount | None = None


def works(services: Services, dataset: str, *, who: str) -> DatasetWorks:
    """Return the latest runs, imports and acts of any size of a data set; none where there is no such data set."""
    with reading(services.engine) as session:
        found = get_dataset(session, name=dataset) if dataset else None
        if found is None:
            return DatasetWorks((), (), (), who)
        runs = list_runs(session, dataset_id=found.id, limit=MOST_WORKS)
        imports = list_imports(session, dataset_id=found.id, limit=MOST_WORKS)
        acts = [act for act in latest_acts(session, dataset_id=found.id) if act.kind in WIDE]
    return DatasetWorks(runs, imports, acts[:MOST_WORKS], who)


def question(services: Services, dataset: str, ask: Mapping[str, Any]) -> UpkeepQuestion:
    """Count what a restore or an undo would change. Its `ask` names the data set too, "in", for check_chosen.

    Raises: UserError: there is no such version, run, import or act, or it is another data set's.
    """
    what, of, ask = str(ask.get("do")), ask.get("of"), {**ask, "in": dataset}
    if what == "restore":
        named = {"dataset": dataset, "version": str(of)}
        return UpkeepQuestion(f"Restore {of}", ask, count_restore(services.engine, services.settings.home, **named))
    if what == "act":
        with reading(services.engine) as session:
            act = get_act(session, action=str(of))
        if act is None or act.dataset_id != _number(services, dataset):
            raise UserError("Expected an act of this data set, got another: reload the page.")
        return UpkeepQuestion(f"{'Redo' if act.undone_by else 'Undo'} “{act.kind} {act.text}”", ask)
    number = whole_number(what, of)
    work = run_work(services.engine, number) if what == "run" else import_work(services.engine, number)
    if work.brought.dataset_id != _number(services, dataset):
        raise UserError(f"Expected work on this data set, got {work.text} on another: reload the page.")
    return UpkeepQuestion(f"Undo {work.text}", ask, count_work(services.engine, work))


def queue(services: Services, dataset: str, ask: Mapping[str, Any], *, who: str) -> list[str]:
    """Queue what was asked; return its command.

    Raises: UserError: it was asked of another data set.
    """
    check_chosen(ask.get("in"), dataset)
    what, of, everything = str(ask.get("do")), ask.get("of"), bool(ask.get("everything"))
    config: RestoreConfig | UndoConfig
    if what == "restore":
        config = RestoreConfig(dataset, str(of), who=who)
        argv, kind = restore_command(config), RESTORE
    else:
        given: dict[str, Any]
        if what == "act":
            with reading(services.engine) as session:
                act = get_act(session, action=str(of))
            given = {"act": str(of), "redo": bool(act and act.undone_by)}
        else:
            given = {"run" if what == "run" else "import_number": whole_number(what, of)}
        config = UndoConfig(**given, everything=everything, who=who)
        argv, kind = undo_command(config), UNDO
    settings = {"dataset": dataset, **asdict(config)}
    services.jobs.submit(NewJob(kind=kind, owner=who, config=settings, argv=argv, device=DATA))
    return argv


def check_chosen(asked: Any, dataset: str) -> None:
    """Refuse what a question asked of another data set than is chosen by now.

    Raises: UserError.
    """
    if asked != dataset:
        raise UserError("Another data set is chosen by now: press the button again.")


def _number(services: Services, dataset: str) -> int:
    with reading(services.engine) as session:
        return existing_dataset(session, name=dataset).id


def removable(services: Services, dataset: str) -> RemovablePictures:
    """Return how pictures of a data set can be named; nothing where there is no such data set."""
    with reading(services.engine) as session:
        found = get_dataset(session, name=dataset) if dataset else None
        if found is None:
            return RemovablePictures((), {})
        imports = [job for job in job_page(session, kind=IMPORT, limit=MOST_IMPORTS) if _source(job, found)]
        return RemovablePictures(imports[:MOST_WORKS], count_tags(session, dataset_id=found.id))


def removal(services: Services, dataset: str, ask: Mapping[str, Any]) -> PictureDependents:
    """Return what depends on the pictures that are to be removed.

    Raises: UserError: as of `removal_config`, or there are no such pictures.
    """
    return dependents_of_pictures(services.engine, removal_config(services, dataset, ask))


def queue_removal(services: Services, dataset: str, ask: Mapping[str, Any], *, who: str) -> list[str]:
    """Queue the removal of pictures; return its command.

    Raises: UserError: as of `removal`, they are others than the person saw, or a job needs the data set.
    """
    config = removal_config(services, dataset, ask)
    found = dependents_of_pictures(services.engine, config)
    if (ask.get("in"), ask.get("seen")) != (dataset, found.pictures):
        raise UserError("Another data set is chosen by now, or there are other pictures: look again first.")
    check_no_job(found.jobs)
    argv = remove_command(config)
    services.jobs.submit(NewJob(kind=REMOVE, owner=who, config=config, argv=argv, device=DATA))
    return argv


def removal_config(services: Services, dataset: str, ask: Mapping[str, Any]) -> RemovePicturesConfig:
    """Return the pictures that a page asks for: of an import, of a tag, or one.

    Raises: UserError: it names none.
    """
    what, of = str(ask.get("do")), ask.get("of")
    if what == "import":
        with reading(services.engine) as session:
            job = get_job(session, job_id=whole_number("import", of))
            place = _source(job, existing_dataset(session, name=dataset)) if job else ""
        if not place:
            raise UserError("Expected an import of this data set, got another: reload the page.")
        return RemovePicturesConfig(dataset, place=place, yes=True)
    if what == "tag" and of:
        return RemovePicturesConfig(dataset, tag=str(of), yes=True)
    return RemovePicturesConfig(dataset, images=(whole_number("picture", of),), yes=True)


def _source(job: Job, dataset: Dataset) -> str:
    """Return the place whose pictures an import brought into a data set; "" for another data set's."""
    mine = is_about(job, dataset=dataset.name, made=dataset.created_at)
    return str(job.config.get("source") or "") if mine else ""


def dependents(services: Services, dataset: str) -> DatasetDependents:
    """Return what depends on a data set.

    Raises: UserError: there is none of that name.
    """
    return dependents_of(services.engine, services.settings.home, dataset=dataset)


def queue_deletion(services: Services, dataset: str, *, who: str) -> None:
    """Queue the deletion of a data set.

    Raises: UserError: there is none of that name, or a job needs it.
    """
    check_no_job(dependents(services, dataset).jobs)
    config = DeleteConfig(dataset, yes=True)
    argv = delete_command(config)
    services.jobs.submit(NewJob(kind=DELETE, owner=who, config=config, argv=argv, device=DATA))


def name_dependents(services: Services, dataset: str, name: str) -> DatasetDependents:
    """Return what depends on a data set that is to get another name.

    Raises: UserError: as of `curation.data_sets.rename.check_rename`.
    """
    return check_rename(services.engine, services.settings.home, dataset=dataset, name=name)


def give_name(services: Services, dataset: str, name: str) -> str:
    """Rename a data set; return its new name.

    Raises: UserError: as of `curation.data_sets.rename.rename`.
    """
    rename(services.engine, services.settings.home, dataset=dataset, name=name)
    return name.strip()

"""Queue imports of pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from app.core.example_data import EXAMPLES
from app.jobs.control import Jobs, NewJob
from app.jobs.devices import DATA
from curation.concepts.concepts import ConceptsConfig
from curation.concepts.concepts import command_line as concepts_command
from curation.exchange.import_annotations import ImportAnnotationsConfig
from curation.exchange.import_annotations import command_line as annotations_command
from curation.ingest.ingest import IngestConfig, command_line
from curation.ingest.uploads import keep_upload
from db.queries.values import check_line
from user_errors import UserError

IMPORTS = IMPORT, ANNOTATIONS, CONCEPTS = "import", "import-annotations", "concepts"
"""The kinds of these jobs."""


def queue_import(jobs: Jobs, *, name: str, owner: str, once: bool = False, **settings: Any) -> int:
    """Queue an import of pictures; return the id of the job.

    Args:   once: not where the same is under way. settings: of IngestConfig: source, a path on this machine, or sample,
            new pictures of the sample world; and annotations.
    Raises: UserError: there is no name, or neither source nor sample.
    """
    try:
        config = IngestConfig(dataset=_checked(name), who=owner, **settings)
    except ValueError as error:
        raise UserError(str(error)) from error
    argv = command_line(config)
    return jobs.submit(NewJob(kind=IMPORT, owner=owner, config=config, argv=argv, device=DATA, once=once))


def queue_upload(
    jobs: Jobs, home: Path, *, files: Mapping[str, Path], name: str, owner: str, accept: bool = False
) -> int:
    """Queue the import of uploaded pictures and archives, and after it that of the COCO files among them.

    Args:    files: name to keep it by -> file; they are kept below the home. accept: people made the annotations.
    Returns: the id of the last job.
    Raises:  UserError: there is no name, or no picture, or a file is gone; nothing is kept then.
    """
    name = _checked(name)
    kept = keep_upload(home, files)
    last = queue_import(jobs, name=name, owner=owner, source=str(kept.pictures))
    for file in kept.annotations:
        config = ImportAnnotationsConfig(file, name, "coco", who=owner, accept=accept)
        last = queue_annotations(jobs, config, after=(last,))
    return last


def queue_annotations(jobs: Jobs, config: ImportAnnotationsConfig, *, after: Sequence[int] = ()) -> int:
    """Queue an import of annotations; return the id of the job. after: jobs that have to be done before."""
    argv = annotations_command(config)
    new = NewJob(kind=ANNOTATIONS, owner=config.who, config=config, argv=argv, device=DATA, after=after)
    return jobs.submit(new)


def _checked(name: str) -> str:
    if not name.strip():
        raise UserError("The data set needs a name: write one.")
    return check_line(name, "a name for the data set")


def queue_example(jobs: Jobs, name: str, *, owner: str) -> int:
    """Queue the import of an example data set, and after it that of its classes' texts; return the id of the first job.

    Pressed twice, it is queued once.

    Raises: UserError: there is no such example.
    """
    if name not in EXAMPLES:
        raise UserError(f"There is no example {name[:40]!r}: choose one of {', '.join(EXAMPLES)}.")
    example = EXAMPLES[name]
    job = queue_import(jobs, name=name, owner=owner, once=True, **example.settings)
    if example.classes:
        config = ConceptsConfig(dataset=name, classes=example.classes, who=owner)
        argv = concepts_command(config)
        new = NewJob(kind=CONCEPTS, owner=owner, config=config, argv=argv, device=DATA, after=(job,), once=True)
        jobs.submit(new)
    return job

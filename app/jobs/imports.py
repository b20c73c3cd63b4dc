"""Queue imports of pictures."""

from __future__ import annotations

from typing import Any

from app.core.example_data import EXAMPLES
from app.jobs.control import Jobs, NewJob
from curation.ingest.ingest import IngestConfig, command_line
from db.queries.values import check_line
from user_errors import UserError

IMPORT = "import"  # the kind of these jobs


def queue_import(jobs: Jobs, *, name: str, owner: str, **settings: Any) -> int:
    """Queue an import of pictures; return the id of the job.

    Args:   settings: of IngestConfig: source, a path on this machine, or sample, new pictures of the sample world.
    Raises: UserError: there is no name, or neither source nor sample.
    """
    if not name.strip():
        raise UserError("The data set needs a name: write one.")
    check_line(name.strip(), "a name for the data set")
    try:
        config = IngestConfig(dataset=name.strip(), **settings)
    except ValueError as error:
        raise UserError(str(error)) from error
    return jobs.submit(NewJob(kind=IMPORT, owner=owner, config=config, argv=command_line(config)))


def queue_example(jobs: Jobs, name: str, *, owner: str) -> int:
    """Queue the import of an example data set; return the id of the job.

    Raises: UserError: there is no such example.
    """
    if name not in EXAMPLES:
        raise UserError(f"There is no example {name[:40]!r}: choose one of {', '.join(EXAMPLES)}.")
    return queue_import(jobs, name=name, owner=owner, **EXAMPLES[name].settings)

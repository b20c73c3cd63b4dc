"""Rename a data set: `python -m curation.data_sets.rename --dataset OLD --name NEW`; prints a JSON object."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from atomic_files import write_atomically
from curation.audit.judges import judge_path
from curation.data_sets.dependents import DatasetDependents, check_no_job, dependents_of
from curation.files.home import database_url, home_folder
from db.engine import Engine, open_engine, reading, retrying
from db.queries.dataset_removal_queries import check_new_name, rename_dataset
from grain.command import run_command

KEPT = (
    "All of it stays. Versions, runs and reports that were written under the old name keep it in their files; links to "
    "the old name lead nowhere, and its project in Label Studio keeps its title."
)


@dataclass(frozen=True)
class RenameConfig:
    """Give a data set another name; its exports and its judge of claims go with it."""

    dataset: str
    """Its name."""
    name: str
    """Its new name."""


def check_rename(engine: Engine, home: Path, *, dataset: str, name: str) -> DatasetDependents:
    """Return what depends on a data set that is to get another name.

    Raises: UserError: the name is taken or no name, or there is no such data set.
    """
    with reading(engine) as session:
        check_new_name(session, name=name.strip())
    return dependents_of(engine, home, dataset=dataset)


def rename(engine: Engine, home: Path, *, dataset: str, name: str) -> DatasetDependents:
    """Rename a data set and return what depended on it.

    Raises: UserError: the name is taken or no name, there is no such data set, or a job needs it.
    """
    found = dependents_of(engine, home, dataset=dataset)
    check_no_job(found.jobs)
    retrying(engine, lambda session: rename_dataset(session, dataset_id=found.dataset.id, name=name.strip()))
    for mark in found.exports:
        plain = json.loads(mark.read_text(encoding="utf-8")) | {"dataset": name.strip()}
        write_atomically(mark, json.dumps(plain, indent=1, ensure_ascii=False) + "\n")
    judge = judge_path(home, dataset)
    if judge.exists():
        judge.replace(judge_path(home, name.strip()))
    return found


def main(config: RenameConfig) -> None:
    """Run the command line."""
    engine = open_engine(database_url(home := home_folder()))
    try:
        found = rename(engine, home, dataset=config.dataset, name=config.name)
    finally:
        engine.dispose()
    for sentence in (*found.sentences(), KEPT):
        print(sentence, file=sys.stderr)
    json.dump({"dataset": config.name.strip(), **found.counts}, sys.stdout, indent=1, ensure_ascii=False)
    print()


if __name__ == "__main__":
    run_command(main, RenameConfig, module="curation.data_sets.rename")

"""Freeze a data set and print one JSON object: `python -m curation.versions.freeze --dataset NAME --name VERSION`."""

from __future__ import annotations

import getpass
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from curation.files.home import database_url, home_folder
from curation.files.records import Status
from curation.versions.versions import freeze
from db.engine import open_engine
from db.models import DatasetVersion
from grain.command import flags_of, run_command
from job_progress import report_progress


@dataclass(frozen=True)
class FreezeConfig:
    """Freeze a data set: the same state is one version, and has one name."""

    dataset: str
    """Its name."""
    name: str
    """The version's name."""
    note: str = ""
    """Why it was made."""
    statuses: tuple[Status, ...] = ("accepted",)
    """Descriptions of these verdicts."""
    who: str = ""
    """Its author; "" for the user of this machine."""


def command_line(config: FreezeConfig) -> list[str]:
    """Return the arguments that run it from a terminal, after the name of Python."""
    return ["-m", "curation.versions.freeze", *flags_of(config)]


def warning(version: DatasetVersion, statuses: Sequence[Status]) -> str:
    """Return the end of a sentence that warns of a version without a region; "" of others."""
    if version.regions:
        return ""
    return f", without any region: no description is {' or '.join(statuses)}, so that training learns no regions"


def main(config: FreezeConfig) -> None:
    """Run the command line."""
    home = home_folder()
    engine = open_engine(database_url(home))
    try:
        version = freeze(
            engine,
            home,
            dataset=config.dataset,
            name=config.name,
            who=config.who or getpass.getuser(),
            statuses=config.statuses,
            note=config.note,
        )
    finally:
        engine.dispose()
    report_progress(1, 1, f"{version.pictures:,} pictures frozen as {version.name}{warning(version, config.statuses)}")
    names = ("name", "sha256", "pictures", "regions", "created_by", "note")
    json.dump({name: getattr(version, name) for name in names}, sys.stdout, indent=1, ensure_ascii=False)
    print()


if __name__ == "__main__":
    run_command(main, FreezeConfig, module="curation.versions.freeze", description=__doc__)

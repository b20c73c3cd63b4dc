"""`python -m curation.freeze --dataset NAME --name VERSION`: freeze a data set as it is now; prints one JSON object."""

from __future__ import annotations

import getpass
import json
import sys
from dataclasses import dataclass

import tyro

from curation.home import database_url, home_folder, report_progress
from curation.records import Status
from curation.versions import VersionError, freeze
from db.engine import DatabaseError, open_engine


@dataclass(frozen=True)
class FreezeConfig:
    """Freeze a data set: the same state is one version, and has one name."""

    dataset: str
    """Its name."""
    name: str
    """Of the version."""
    note: str = ""
    """Why it was made, for those who come after."""
    statuses: tuple[Status, ...] = ("accepted",)
    """Descriptions of these verdicts."""
    who: str = ""
    """Who does it; "" for the user of this machine."""


def command_line(config: FreezeConfig) -> list[str]:
    """The words that run it from a terminal, after the name of Python."""
    words = [f"--dataset={config.dataset}", f"--name={config.name}"]
    words += [f"--{name}={value}" for name in ("note", "who") if (value := getattr(config, name))]
    return ["-m", "curation.freeze", *words, "--statuses", *config.statuses]


def main(config: FreezeConfig) -> None:
    """The command line."""
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
    report_progress(1, 1, f"{version.pictures:,} pictures frozen as {version.name}")
    names = ("name", "sha256", "pictures", "regions", "created_by", "note")
    json.dump({name: getattr(version, name) for name in names}, sys.stdout, indent=1, ensure_ascii=False)
    print()


if __name__ == "__main__":
    try:
        main(tyro.cli(FreezeConfig, description=__doc__))
    except (ValueError, VersionError, DatabaseError) as error:
        sys.exit(f"curation.freeze: {error}")

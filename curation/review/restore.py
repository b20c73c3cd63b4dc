"""Restore a frozen version, as one act with one undo: `python -m curation.review.restore`; prints a JSON object."""

from __future__ import annotations

import getpass
import json
import secrets
import sys
from dataclasses import asdict, dataclass, field

from curation.files.home import database_url, home_folder
from curation.review.restore_version import count_restore, restore_version
from db.engine import open_engine
from grain.command import flags_of, run_command
from job_progress import report_progress


@dataclass(frozen=True)
class RestoreConfig:
    """Give a data set what a version holds again, as one act with one undo; prints what it changes first."""

    dataset: str
    """Its name."""
    version: str
    """The version's name."""
    dry_run: bool = False
    """Only count what would change."""
    who: str = field(default_factory=getpass.getuser)
    """Author, for the history."""
    action: str = field(default_factory=lambda: secrets.token_hex(8))
    """Name of the act in the history; the same one resumes."""


def command_line(config: RestoreConfig) -> list[str]:
    """Return the arguments that run it from a terminal, after the name of Python."""
    return ["-m", "curation.review.restore", *flags_of(config)]


def main(config: RestoreConfig) -> None:
    """Run the command line."""
    home = home_folder()
    engine = open_engine(database_url(home))
    named = {"dataset": config.dataset, "version": config.version}
    try:
        count = count_restore(engine, home, **named)
        found = asdict(count)
        print(f"{count.regions:,} regions on {count.pictures:,} pictures change", file=sys.stderr)
        if not config.dry_run:

            def on_progress(regions: int) -> None:
                report_progress(regions, max(count.regions, regions), f"{regions:,} regions restored")

            act = restore_version(engine, home, **named, who=config.who, action=config.action, on_progress=on_progress)
            found |= {"changed": act.regions, "undo": f"python -m curation.review.undo --act {act.action}"}
    finally:
        engine.dispose()
    if not config.dry_run:
        report_progress(1, 1, f"{act.regions:,} regions on {act.pictures:,} pictures are as in {config.version}")
    json.dump(found, sys.stdout, indent=1, ensure_ascii=False)
    print()


if __name__ == "__main__":
    run_command(main, RestoreConfig, module="curation.review.restore")

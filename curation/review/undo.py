"""Undo a run, an import or an act on many regions: `python -m curation.review.undo --run 3`; prints a JSON object."""

from __future__ import annotations

import getpass
import json
import secrets
import sys
from dataclasses import asdict, dataclass, field
from typing import Any

from curation.files.home import database_url, home_folder
from curation.review.wide_acts import count_work, import_work, run_work, take_back_wide, undo_work
from db.engine import Engine, open_engine
from grain.command import flags_of, run_command
from job_progress import report_progress


@dataclass(frozen=True)
class UndoConfig:
    """Put what a run or an import brought into the trash, or take back an act; this is an act with an undo itself."""

    run: int | None = None
    """Number of a run of the annotators."""
    import_number: int | None = None
    """Number of an import of annotations."""
    act: str = ""
    """Name of an act in the history."""
    redo: bool = False
    """Do an act again that was undone."""
    everything: bool = False
    """Also regions of a run or an import that somebody judged or edited since; left out, these stay."""
    dry_run: bool = False
    """Only count."""
    who: str = field(default_factory=getpass.getuser)
    """Author, for the history."""
    action: str = field(default_factory=lambda: secrets.token_hex(8))
    """Name of this undo in the history; the same one resumes."""

    def __post_init__(self) -> None:
        """Refuse settings that name nothing or more than one thing.

        Raises: ValueError.
        """
        given = [self.run is not None, self.import_number is not None, bool(self.act)]
        if sum(given) != 1:
            raise ValueError(f"expected one of --run, --import-number and --act, got {sum(given)}: name what to undo")


def command_line(config: UndoConfig) -> list[str]:
    """Return the arguments that run it from a terminal, after the name of Python."""
    return ["-m", "curation.review.undo", *flags_of(config)]


def main(config: UndoConfig) -> None:
    """Run the command line."""
    engine = open_engine(database_url(home_folder()))
    try:
        found = _undone_act(engine, config) if config.act else _undone_work(engine, config)
    finally:
        engine.dispose()
    json.dump(found, sys.stdout, indent=1, ensure_ascii=False)
    print()


def _undone_act(engine: Engine, config: UndoConfig) -> dict[str, Any]:
    def on_progress(regions: int) -> None:
        report_progress(regions, 0, f"{regions:,} regions taken back")

    named: dict[str, Any] = {"undone": config.act, "who": config.who, "action": config.action}
    done = take_back_wide(engine, **named, redo=config.redo, on_progress=on_progress)
    report_progress(1, 1, f"{done.regions:,} regions on {len(done.pictures):,} pictures taken back")
    return {"regions": done.regions, "pictures": len(done.pictures), "changed_since": done.skipped}


def _undone_work(engine: Engine, config: UndoConfig) -> dict[str, Any]:
    work = run_work(engine, config.run) if config.run is not None else import_work(engine, config.import_number or 0)
    count = count_work(engine, work)
    stay = 0 if config.everything else count.decided
    print(
        f"{count.regions - stay:,} regions on {count.pictures:,} pictures; {stay:,} that people decided stay",
        file=sys.stderr,
    )
    if config.dry_run:
        return asdict(count)

    def on_progress(regions: int) -> None:
        report_progress(regions, max(count.regions - stay, regions), f"{regions:,} regions are in the trash")

    act = undo_work(
        engine, work, who=config.who, action=config.action, everything=config.everything, on_progress=on_progress
    )
    report_progress(1, 1, f"{work.text} is undone: {act.regions:,} regions on {act.pictures:,} pictures")
    return asdict(count) | {"changed": act.regions, "undo": f"python -m curation.review.undo --act {act.action}"}


if __name__ == "__main__":
    run_command(main, UndoConfig, module="curation.review.undo")

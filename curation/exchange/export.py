"""Export a data set's accepted regions for training or other programs: `python -m curation.exchange.export`.

`python -m curation.exchange.export --dataset NAME --format FORMAT --out DIR` writes WebDataset shards (grain.train
reads them directly), COCO, ODVG, an ImageFolder, parquet or Label Studio's JSON, with a dataset card beside them, and
prints a JSON object. You see what the format cannot store before anything is written. Stopped at any moment, the same
command starts again and reuses the pictures that are there; a folder whose export.json says "complete" is whole.

Pictures are copied byte by byte, except those that other programs would show turned or not at all: these are encoded
again, upright. Boxes are those of the upright picture.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from atomic_files import clean_leftovers, is_temporary, write_atomically
from curation.audit.data_set_audits import find_audit
from curation.exchange.classes import Classes, ClassTally, check_list_complete, read_classes
from curation.exchange.dataset_card import CARD, ExportTally, dataset_card
from curation.exchange.export_config import ExportConfig
from curation.exchange.export_files import ExportWriter
from curation.exchange.export_mark import MARK, read_mark
from curation.exchange.export_selection import ExportSelection
from curation.exchange.export_share import ExportShare, export_share
from curation.exchange.formats import losses
from curation.exchange.unreadable import MOST_REMEMBERED
from curation.files.home import database_url, home_folder
from curation.versions.state_file import FrozenState
from curation.versions.versions import check_statuses, dataset_of_version, open_version, write_current_state
from db.engine import Engine, open_engine, reading
from db.models import Dataset
from db.queries.data_set_queries import get_dataset
from grain.command import flags_of, run_command
from job_progress import report_progress
from user_errors import DiskFullError, UserError, is_disk_full

STATE = ".state.jsonl.gz"
NOT_COMPLETE = "the export is not complete until then"


def command_line(config: ExportConfig) -> list[str]:
    """Return the arguments that run it from a terminal, after the name of Python."""
    out = Path(os.path.abspath(config.out))
    classes = Path(os.path.abspath(config.classes)) if config.classes else None
    return ["-m", "curation.exchange.export", *flags_of(replace(config, out=out, classes=classes))]


def export(
    engine: Engine,
    home: Path,
    config: ExportConfig,
    *,
    on_losses: Callable[[list[str]], object] = lambda sentences: None,
    on_share: Callable[[ExportShare], object] = lambda share: None,
    on_progress: Callable[[int, int], object] = lambda done, total: None,
) -> dict[str, Any]:
    """Write an export and return its counts and losses.

    Args:    on_losses: called with what the format cannot store before the first picture is written. on_share: likewise
             with what the filter takes and leaves out. on_progress: called with the pictures done and in all.
    Returns: counts and losses, as printed.
    Raises:  UserError: the folder holds something else or cannot be written, there is no such data set or version,
             the version lacks a status, parquet without pyarrow, or the disk is full.
    """
    start = time.perf_counter()
    try:
        answer = _ExportRun(engine, home, config, on_losses, on_share, on_progress).run()
    except Exception as error:
        if not is_disk_full(error):
            raise
        raise DiskFullError.on(config.out, NOT_COMPLETE) from error
    return answer | {"seconds": round(time.perf_counter() - start, 2)}


@dataclass
class _ExportRun:
    """An export that is running."""

    engine: Engine
    home: Path
    config: ExportConfig
    on_losses: Callable[[list[str]], object]
    on_share: Callable[[ExportShare], object]
    on_progress: Callable[[int, int], object]
    dataset: Dataset = field(init=False)

    @property
    def out(self) -> Path:
        return self.config.out

    def run(self) -> dict[str, Any]:
        state = self._state()
        share = self._share(state)
        self.on_share(share)
        selection = ExportSelection(state, self.config, self.engine, self._audit())
        tally, class_tally = ExportTally(), ClassTally()
        for record in selection:
            tally.count(record)
            class_tally.count(record)
        classes = self._classes(selection, class_tally)
        lost = losses(self.config.format, selection)
        self.on_losses(lost)
        mark = {"schema": 1, "dataset": self.dataset.name, "state_sha256": state.sha256, **self.config.options()}
        self._mark(mark | {"state": "writing"})
        writer = ExportWriter(self.engine, self.config, self.dataset.id, self.on_progress, tally)
        writer.write(selection, classes)
        answer = {
            **mark,
            "pictures": dict(sorted(writer.progress.pictures.items())),
            "regions": tally.regions,
            "descriptions": tally.descriptions,
            "encoded_anew": writer.progress.encoded,
            "classes": len(classes),
            "class_list": self.config.classes is not None,
            "left_out": dict(sorted((writer.progress.left_out + selection.not_settled()).items())),
            "losses": lost,
            "filter": share.sentences(),
            **({"concepts": state.head.concepts} if selection.classes else {}),
        }
        write_atomically(self.out / CARD, dataset_card(tally, answer))
        if self.config.version == "":
            state.path.unlink()
        unreadable = writer.progress.unreadable
        remembered = unreadable if len(unreadable) <= MOST_REMEMBERED else {}
        self._mark(answer | {"unreadable": remembered, "state": "complete"})
        return {"out": str(self.out), **answer}

    def _share(self, state: FrozenState) -> ExportShare:
        frozen = state if self.config.version else None
        return export_share(self.engine, self.config, dataset_id=self.dataset.id, frozen=frozen)

    def _state(self) -> FrozenState:
        """Write what is exported to a file, which is read several times and is the same each time."""
        config = self.config
        if config.version:
            state = open_version(self.engine, self.home, dataset=config.dataset, version=config.version)
            check_statuses(state, config.statuses, version=config.version)
            self.dataset = dataset_of_version(self.engine, sha256=state.sha256, dataset=config.dataset)
            self._prepare_folder(state.sha256)
            return state
        with reading(self.engine) as session:
            dataset = get_dataset(session, name=config.dataset)
        if dataset is None:
            raise UserError(f"expected the name of a data set, got {config.dataset!r}, which none has: correct it")
        self.dataset = dataset
        self._prepare_folder()
        return write_current_state(self.out / STATE, self.engine, dataset, statuses=config.statuses)

    def _classes(self, selection: ExportSelection, tally: ClassTally) -> Classes:
        """Return the content of classes.json; {} where there is none.

        Raises: UserError: the list that was given lacks one.
        """
        if self.config.format != "shards" or not self.config.novel:
            return {}
        if self.config.classes is None:
            return selection.classes or tally.descriptions()
        given = read_classes(self.config.classes)
        check_list_complete(given, tally)
        return given

    def _audit(self) -> str:
        """Return the audit's recipe, where the policy needs one."""
        if self.config.audit == "keep":
            return ""
        with reading(self.engine) as session:
            return find_audit(session, dataset=self.dataset, audit=self.config.audit_run).key["recipe"]

    def _prepare_folder(self, sha256: str = "") -> None:
        """Make the folder, or check that what it holds may be replaced. sha256: of the version that is exported."""
        out, dataset = self.out, self.dataset.name
        if out.exists() and not out.is_dir():
            raise UserError(f"expected a folder for --out, got the file {out}: choose another")
        try:
            out.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=out):
                pass
        except OSError as error:
            if is_disk_full(error):
                raise
            raise UserError(
                f"expected a folder that can be written for --out, got {out} ({error.strerror}): choose another"
            ) from error
        names = (entry.name for entry in out.iterdir())
        existing = sorted(name for name in names if not (is_temporary(name) or name.startswith(STATE)))
        if existing and not self._may_replace(read_mark(out), sha256):
            raise UserError(
                f"expected a new or empty folder, or an earlier export of {dataset!r} as {self.config.format}, but "
                f"{out} holds {existing[0]!r}: choose another --out"
            )
        clean_leftovers(out)  # of an export that was killed
        self._mark({"dataset": dataset, "format": self.config.format, "state_sha256": sha256, "state": "writing"})

    def _may_replace(self, mark: dict[str, Any], sha256: str) -> bool:
        """Tell whether a mark is of this data set or version, or of a half export by a name that no data set has."""
        if mark.get("format") != self.config.format:
            return False
        if mark.get("dataset") == self.dataset.name or (sha256 and mark.get("state_sha256") == sha256):
            return True
        with reading(self.engine) as session:
            return mark.get("state") == "writing" and get_dataset(session, name=str(mark.get("dataset"))) is None

    def _mark(self, content: dict[str, Any]) -> None:
        write_atomically(self.out / MARK, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def main(config: ExportConfig) -> None:
    """Run the command line."""
    home = home_folder(config.home)
    config = replace(config, out=config.out.expanduser().absolute())
    engine = open_engine(database_url(home))
    try:
        with tqdm(unit=" pictures", smoothing=0.1) as bar:

            def show(done: int, total: int) -> None:
                bar.total = total
                bar.update(done - bar.n)
                report_progress(done, total, f"{done:,} of {total:,} pictures written")

            def say(sentences: list[str]) -> None:
                for sentence in sentences:
                    bar.write(sentence, file=sys.stderr)

            answer = export(
                engine, home, config, on_losses=say, on_share=lambda share: say(share.sentences()), on_progress=show
            )
    finally:
        engine.dispose()
    json.dump(answer, sys.stdout, indent=1, ensure_ascii=False)
    print()


if __name__ == "__main__":
    run_command(
        main,
        ExportConfig,
        module="curation.exchange.export",
        stopped="stopped: the same command starts again and reuses the pictures that are there",
    )

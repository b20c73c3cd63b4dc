"""Import a novel-concept data set's pictures and classes and print its status: `python -m curation.concepts`.

How far a set is is read off what is known of it, so that it goes on from any browser, and two people may work at once.
Nothing is deleted: a picture that is not to be used says so among its facts, with who decided it in the history.

`python -m curation.concepts FOLDER --dataset NAME --classes FILE` brings pictures with where and when each was found,
and classes; without either it only prints how the set stands, as a JSON object.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tyro
from tqdm import tqdm

from curation.concepts.class_list import parse_keeping_facts, save_classes
from curation.concepts.metadata import create_set, import_pictures
from curation.concepts.status import status_of
from curation.files.home import database_url, home_folder
from curation.ingest.annotations_beside import Annotations
from curation.ingest.ingest import ImportTally
from db.engine import Engine, open_engine
from grain.command import flags_of, run_command
from job_progress import report_progress
from user_errors import UserError


@dataclass(frozen=True)
class ConceptsConfig:
    """Import pictures and classes into a novel-concept data set; prints its status as one JSON object."""

    source: tyro.conf.Positional[str] = ""
    """Folder of pictures with metadata.csv, metadata.jsonl or a JSON beside each; left out: import none."""
    dataset: str = tyro.MISSING
    """Its name; made where there is none."""
    classes: Path | None = None
    """File of classes: lines `name: description; description`, DCLIP's or CuPL's JSON, or ours."""
    annotations: Annotations = "leave"
    """COCO files in the folder, such as instances.json: leave them, bring them too, or bring them as accepted, because
    people made them."""
    licence: str = ""
    """Licence of the pictures, for the dataset card; left out: unchanged."""
    who: str = "import"
    """Author, for the history."""
    home: Path | None = None
    """Folder of database and thumbnails; by default GRAIN_HOME."""


def command_line(config: ConceptsConfig) -> list[str]:
    """Return the arguments that run it from a terminal, after the name of Python."""
    source = str(Path(config.source).absolute()) if config.source else ""
    return ["-m", "curation.concepts", *flags_of(replace(config, source=source))]


def main(config: ConceptsConfig) -> None:
    """Run the command line."""
    home = home_folder(config.home)
    engine = open_engine(database_url(home))
    answer: dict[str, Any] = {"dataset": config.dataset}
    try:
        if config.source:
            with tqdm(unit=" pictures", smoothing=0.1) as bar:

                def show(tally: ImportTally) -> None:
                    bar.update(tally.seen - bar.n)
                    report_progress(tally.seen, tally.total or 0, f"{tally.added:,} pictures added")

                named: dict[str, Any] = {"annotations": config.annotations, "who": config.who, "on_progress": show}
                imported = import_pictures(engine, home, Path(config.source), dataset=config.dataset, **named)
            if imported.tally.nothing_came_in:
                raise UserError(imported.tally.nothing_came_in)
            answer |= {"annotations": [*imported.annotations]} if imported.annotations else {}
            answer |= {**imported.tally.to_json(), "located": imported.located, "problems": list(imported.problems)}
            left = f", {len(imported.problems):,} problems in the metadata" * bool(imported.problems)
            report_progress(
                imported.tally.seen,
                imported.tally.seen,
                f"{imported.tally.added:,} pictures added, {imported.located:,} with where or when found{left}",
            )
        if config.classes or config.licence:
            _import_classes(engine, config)
        now = status_of(engine, config.dataset)
    finally:
        engine.dispose()
    answer["steps"] = {step.name: {"done": step.done, "message": step.message} for step in now.steps()}
    if now.everybody_labelled:
        answer["agreement"] = [vars(one) for one in now.agreements()]
        answer["disagreements"] = [{"picture": one.image_id, **one.labels} for one in now.disagreements()]
    json.dump(answer, sys.stdout, indent=1, ensure_ascii=False)
    print()


def _import_classes(engine: Engine, config: ConceptsConfig) -> None:
    create_set(engine, config.dataset, config.who)
    now = status_of(engine, config.dataset)
    assert now.concept is not None
    classes = now.classes
    if config.classes:
        try:
            classes = parse_keeping_facts(config.classes.expanduser().read_text(encoding="utf-8-sig"), classes)
        except UnicodeDecodeError as error:
            raise UserError(f"{config.classes} is no UTF-8 text: save it again") from error
    save_classes(
        engine,
        config.dataset,
        classes,
        who=config.who,
        expected_version=now.concept.version,
        licence=config.licence or None,
    )


def command() -> None:
    """Run `python -m curation.concepts`."""
    run_command(main, ConceptsConfig, module="curation.concepts")

"""Run an evaluation of the Evaluate page, python -m app.evaluate.job: write missing data sets, then evaluate.

Some names stand for data that the app has or makes: `sample-world`, drawn on demand, `sample-sketch`, the same in
coloured pencil, `groceries`, the example photographs, and `version:SHA256`, a frozen version, exported as shards. The
rest goes to grain.evaluate as it is; so do all flags.
"""

from __future__ import annotations

import re
from pathlib import Path

from app.core.example_data import GROCERIES, PHOTOGRAPHS
from app.evaluate.request import SAMPLE_WORLD, SKETCHED, VERSION
from curation.exchange.export import export
from curation.exchange.export_config import ExportConfig
from curation.exchange.training_census import trained_statuses
from curation.files.home import database_url, home_folder
from curation.sample.world import WorldConfig, write_world
from curation.versions.versions import read_version
from db.engine import open_engine
from grain.command import run_command
from grain.evaluate.evaluate import EvaluateConfig
from grain.evaluate.evaluate import main as evaluate
from job_progress import report_progress

WORLD_SEED = 900  # no training of ours drew its pictures or its classes from it
WORLD_CLASSES, PICTURES_OF_A_CLASS = 50, 10


def prepare(spec: str, home: Path) -> str:
    """Return a data set as grain.evaluate knows it, written first where the app makes it.

    Raises: UserError: it cannot be made.
    """
    if spec in (SAMPLE_WORLD, SKETCHED):
        report_progress(0, 0, "drawing the sample world")
        return str(write_world(world(home, spec)))
    if spec.startswith(VERSION):
        report_progress(0, 0, "writing the frozen version")
        return export_version(spec.removeprefix(VERSION), home)
    return f"{GROCERIES.parent}#{GROCERIES.name}" if spec == PHOTOGRAPHS.name else spec


def world(home: Path, name: str = SAMPLE_WORLD) -> WorldConfig:
    """Return the settings of the novel classes that the page evaluates on, painted or in pencil."""
    return WorldConfig(
        out=home / "evaluations" / "data" / name,
        images=0,
        held_out_images=0,
        seed=WORLD_SEED,
        classes=WORLD_CLASSES,
        novel_images_per_class=PICTURES_OF_A_CLASS,
        rendering="sketch" if name == SKETCHED else "painted",
    )


def export_version(sha256: str, home: Path) -> str:
    """Export a frozen version as shards; return the split of its pictures with a class, or all where none has one.

    Raises: UserError: there is no such version, it is damaged, or it holds rejected descriptions only.
    """
    head = read_version(home, sha256).head
    name = re.sub(r"[^A-Za-z0-9-]+", "-", head.dataset)
    out = home / "evaluations" / "data" / f"{name}-{sha256[:12]}"
    statuses = trained_statuses(head)
    config = ExportConfig("shards", out, version=sha256, statuses=statuses, unreviewed=True, held_out=0.0)
    engine = open_engine(database_url(home))
    try:
        found = export(engine, home, config)
    finally:
        engine.dispose()
    return str(out) if found["pictures"].get("novel") else f"{out}#train"


def main(config: EvaluateConfig) -> None:
    """Run an evaluation; a data set that the app makes is written in its turn."""
    home = home_folder()
    evaluate(config, lambda spec: prepare(spec, home))


if __name__ == "__main__":
    run_command(main, EvaluateConfig, module="app.evaluate.job")

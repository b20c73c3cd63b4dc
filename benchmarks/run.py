"""Run benchmarks: `python -m benchmarks.run NAME` prints its row as one JSON line; `--all` also rewrites the page."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from dataclasses import dataclass

import tyro

from benchmarks import (
    annotation,
    annotation_worth,
    annotators,
    app_start,
    audit,
    audit_photos,
    classifier,
    composed_phrases,
    curate_hand,
    curate_random,
    curation,
    database,
    domains,
    experiments,
    formats,
    free_descriptions,
    gallery,
    inference,
    matching,
    night,
    oracles,
    people,
    photo_experiment_scores,
    photographs,
    phrases,
    pipeline,
    recognition,
    recognition_sets,
    region_rules,
    retrieving,
    road_counts,
    same_numbers,
    second_world,
    significance,
    train_page,
    training_scale,
    training_step,
    training_switches,
    tuned_regions,
    worn_colours,
)
from benchmarks.page import Row, merge
from benchmarks.rows import ROOT, Benchmark, failure, row_of

BENCHMARKS: dict[str, Benchmark] = {
    benchmark.name: benchmark
    for room in (
        recognition,
        recognition_sets,
        experiments,
        oracles,
        second_world,
        region_rules,
        training_step,
        training_switches,
        training_scale,
        matching,
        inference,
        retrieving,
        road_counts,
        classifier,
        same_numbers,
        significance,
        photographs,
        photo_experiment_scores,
        phrases,
        composed_phrases,
        free_descriptions,
        worn_colours,
        domains,
        annotation,
        annotators,
        pipeline,
        night,
        audit,
        audit_photos,
        database,
        gallery,
        curation,
        curate_hand,
        curate_random,
        formats,
        app_start,
        people,
        train_page,
        annotation_worth,
        tuned_regions,
    )
    for benchmark in room.BENCHMARKS
}


@dataclass(frozen=True)
class RunConfig:
    """Measure one benchmark, or all."""

    name: tyro.conf.Positional[str | None] = None
    """One of those that --list names."""
    list: bool = False
    """Name the benchmarks, one a line."""
    all: bool = False
    """Run every benchmark, each in a process of its own, and rewrite docs/benchmarks.md."""
    write: bool = False
    """Put the row of NAME into docs/benchmarks.json and rewrite docs/benchmarks.md."""

    page: bool = False
    """Rewrite docs/benchmarks.md from the rows in docs/benchmarks.json, measuring nothing."""

    def __post_init__(self) -> None:
        """Refuse what names no benchmark."""
        if self.name is not None and self.name not in BENCHMARKS:
            raise ValueError(f"no benchmark {self.name!r}: choose one of {', '.join(BENCHMARKS)}")
        if (self.name is not None) + self.list + self.all + self.page != 1:
            raise ValueError("give the name of a benchmark, or --list, --all or --page")


def measure(name: str) -> Row:
    """The row of a benchmark; one that cannot run gives a row with its reason."""
    benchmark = BENCHMARKS[name]
    with contextlib.redirect_stdout(sys.stderr):  # stdout carries the row alone
        try:
            finding = benchmark.measure()
        except Exception as error:  # whatever it was, it is told in the row and no other benchmark is lost
            finding = failure(f"{type(error).__name__}: {error}")
    return row_of(benchmark, finding)


def measure_apart(name: str) -> Row:
    """The same in a process of its own: no benchmark warms, slows or kills the next."""
    command = [sys.executable, "-m", "benchmarks.run", name]
    child = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    try:
        row: Row = json.loads(child.stdout)
    except ValueError:
        return row_of(BENCHMARKS[name], failure(f"ended with status {child.returncode} and no row"))
    return row


def main(config: RunConfig) -> int:
    """The command line; 1 where a benchmark could not run (a bar that does not hold is a finding, not an error)."""
    if config.list:
        print("\n".join(BENCHMARKS))
        return 0
    if config.page:
        merge([], list(BENCHMARKS))
        return 0
    failed = False
    for name in BENCHMARKS if config.all else [str(config.name)]:
        row = measure_apart(name) if config.all else measure(name)
        print(json.dumps(row, ensure_ascii=False), flush=True)
        if config.all or config.write:
            merge([row], list(BENCHMARKS))
        failed = failed or row["value"] is None
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(tyro.cli(RunConfig)))

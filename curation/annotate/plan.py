"""Count what a run of annotation has left to do and how long it will take, and sum up how it ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from curation.annotate.registry import StageWork
from curation.annotate.runs import find_dataset
from curation.annotate.settings import AnnotateConfig
from db.engine import Engine, Session, reading
from db.queries.data_set_queries import count_images
from db.queries.run_queries import StageCounts, failures_of_work, list_runs, plan_counts, run_tallies

REASONS = 5  # that a run's end names
RUNS_FOR_PACE = 20  # that a pace is looked for in


@dataclass(frozen=True)
class StagePlan:
    """The progress of a data set at one stage.

    left: pictures that can still come to it. seconds: for them, None where no run tells.
    """

    work: StageWork
    counts: StageCounts
    left: int
    seconds: float | None


@dataclass(frozen=True)
class AnnotationPlan:
    """The work of a run before it begins."""

    images: int
    stages: tuple[StagePlan, ...]

    @property
    def seconds(self) -> float | None:
        """Add up what the stages will take; None where a pace is unknown."""
        known = [stage.seconds for stage in self.stages]
        return None if None in known else sum(seconds for seconds in known if seconds is not None)


def works_in(engine: Engine, dataset_id: int, config: AnnotateConfig) -> tuple[StageWork, ...]:
    """Return the stages of a run, each under the recipe that its results have in a data set.

    That is the former one where an earlier release worked there with the same settings: what is done stays done.
    Raises: UserError: weights are not on this machine.
    """
    works = config.works()
    recipes = [recipe for work in works if work.former for recipe in (work.recipe, work.former)]
    if not recipes:
        return works
    with reading(engine) as session:
        counts = plan_counts(session, dataset_id=dataset_id, recipes=recipes)
    begun = {recipe for recipe, found in counts.items() if found != StageCounts()}
    return tuple(
        replace(work, recipe=work.former) if work.former in begun and work.recipe not in begun else work
        for work in works
    )


def plan(engine: Engine, config: AnnotateConfig) -> AnnotationPlan:
    """Count what is done already and what is left, stage by stage.

    Raises: UserError: no such data set. UserError: weights are not on this machine.
    """
    dataset = find_dataset(engine, config.dataset)
    works = works_in(engine, dataset.id, config)
    with reading(engine) as session:
        images = count_images(session, dataset_id=dataset.id)
        counts = plan_counts(session, dataset_id=dataset.id, recipes=[work.recipe for work in works])
        paces = _paces(session, dataset.id, works)
    stages = []
    for work in works:
        found = counts[work.recipe]
        lost = counts[work.needs].quarantined if work.needs else 0  # they never come to this stage
        left = images - lost - found.done - found.quarantined
        pace = paces.get(work.recipe)
        stages.append(StagePlan(work, found, left, 0.0 if left == 0 else None if pace is None else left * pace))
    return AnnotationPlan(images, tuple(stages))


def outcome(engine: Engine, config: AnnotateConfig) -> list[str]:
    """Write how a data set stands, a line a stage, and why pictures came to nothing, the commonest reason first.

    Raises: UserError: no such data set. UserError: weights are not on this machine.
    """
    dataset = find_dataset(engine, config.dataset)
    works = works_in(engine, dataset.id, config)
    recipes = [work.recipe for work in works]
    with reading(engine) as session:
        counts = plan_counts(session, dataset_id=dataset.id, recipes=recipes)
        failures = failures_of_work(session, dataset_id=dataset.id, recipes=recipes, limit=REASONS)
    lines = []
    for work in works:
        parts = ", ".join(
            f"{pictures:,} {state}" for state, pictures in asdict(counts[work.recipe]).items() if pictures
        )
        lines.append(f"{work.stage}: {parts or 'no picture'}")
    return lines + [f"{each.pictures:,} {each.state} at {each.stage}: {each.reason}" for each in failures]


def all_failed(engine: Engine, dataset_id: int, works: Sequence[StageWork]) -> bool:
    """Tell whether a stage has failures and not a single picture done."""
    with reading(engine) as session:
        counts = plan_counts(session, dataset_id=dataset_id, recipes=[work.recipe for work in works])
    return any(each.failed and not each.done for each in counts.values())


def _paces(session: Session, dataset_id: int, works: Sequence[StageWork]) -> dict[str, float]:
    """Return recipe -> seconds a picture, of the latest run that tells."""
    paces: dict[str, float] = {}
    for run in list_runs(session, dataset_id=dataset_id, limit=RUNS_FOR_PACE):
        wanted = [work for work in works if run.recipes.get(work.stage) == work.recipe and work.recipe not in paces]
        tallies = run_tallies(session, run_id=run.id) if wanted else []
        for work in wanted:
            mine = [tally for tally in tallies if tally.stage == work.stage]
            if pictures := sum(tally.pictures for tally in mine):
                paces[work.recipe] = sum(tally.seconds for tally in mine) / pictures
    return paces

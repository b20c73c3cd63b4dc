"""Describe a sample of pictures with both prompts and audit both: `python -m curation.audit.compare_prompts`.

The sample is a data set of its own, so that its sentences do not mix with those of the data set that it is drawn from.
Everything in it is found again by what made it: stopped at any moment, the same command resumes.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from tqdm import tqdm

from curation.annotate.annotate import annotate
from curation.annotate.plan import outcome
from curation.annotate.prompts import PROMPTS
from curation.annotate.registry import DescriberChoice, LocalizerChoice
from curation.annotate.runs import find_dataset, stop_on_signals, worker_name
from curation.annotate.sample_annotators import SampleConfig
from curation.annotate.settings import AnnotateConfig, AnnotatorFactory
from curation.annotate.stage_run import StageConfig, StageProgress
from curation.audit.audit import AuditConfig, audit
from curation.audit.judges import judge_path
from curation.audit.prompt_comparison import MOST_PICTURES, audit_recipe, prompt_comparison
from curation.audit.sources import SourceChoice
from curation.files.home import database_url, home_folder
from db.engine import Engine, Session, open_engine, reading, retrying
from db.models import Dataset, Stage
from db.queries.audit_sample_queries import draw_sample
from db.queries.data_set_queries import NewImage, add_images, count_images, create_dataset, get_dataset, images_at
from db.queries.values import MOST_NAME_CHARACTERS
from grain.command import flags_of, run_command
from job_progress import job_id, report_progress
from user_errors import UserError

DESCRIBE: tuple[Stage, ...] = ("describe",)  # nobody looks for boxes
CHANCE = "compare prompts"  # seeds the draw of the pictures


@dataclass(frozen=True)
class ComparePromptsConfig(StageConfig):
    """Compare two-stage with one-stage prompts on a sample; run again, it resumes."""

    dataset: str
    """Its name."""
    pictures: int = 50
    """Drawn at random from the data set, the same ones each time."""
    describer: DescriberChoice = field(default_factory=DescriberChoice)
    sample: SampleConfig = field(default_factory=SampleConfig)
    """How the sample world's describer errs."""
    sources: SourceChoice = field(default_factory=lambda: SourceChoice("photo"))
    claims: int = 20
    """Of each prompt's claims, drawn for people to judge; 0 for none."""

    def __post_init__(self) -> None:
        """Refuse what is no comparison."""
        super().__post_init__()
        if not 1 <= self.pictures <= MOST_PICTURES:
            raise UserError(f"expected 1 to {MOST_PICTURES:,} pictures, got {self.pictures:,}: correct the number")
        if self.claims < 0:
            raise UserError(f"expected a number of claims from 0, got {self.claims}: correct it")
        if self.describer.row.spec is None:
            raise UserError(f"{self.describer.row.label} describe nothing: choose a describer to compare prompts with")

    @property
    def sample_name(self) -> str:
        """Return the name of the sample's data set."""
        end = f" · prompts on {self.pictures}"
        if len(self.dataset) + len(end) <= MOST_NAME_CHARACTERS:
            return self.dataset + end
        short = hashlib.sha256(self.dataset.encode()).hexdigest()[:6]
        return f"{self.dataset[: MOST_NAME_CHARACTERS - len(end) - 7]} {short}{end}"

    def annotate_config(self, prompts: str) -> AnnotateConfig:
        """Return the settings that describe the sample with a prompt; boxes are looked for by nobody."""
        describer = replace(self.describer, ask=replace(self.describer.ask, prompts=prompts))
        pace = {name: getattr(self, name) for name in StageConfig.__dataclass_fields__}
        return AnnotateConfig(self.sample_name, describer, LocalizerChoice("photo"), self.sample, **pace)

    def recipes(self) -> dict[str, str]:
        """Return the recipe of the descriptions that each prompt gives.

        Raises: UserError: weights are not on this machine.
        """
        return {prompts: self.annotate_config(prompts).works()[0].recipe for prompts in PROMPTS}


def command_line(config: ComparePromptsConfig) -> list[str]:
    """Return the words that run it from a terminal, after the name of Python."""
    return ["-m", "curation.audit.compare_prompts", *flags_of(config)]


def draw_pictures(engine: Engine, config: ComparePromptsConfig) -> Dataset:
    """Draw the sample as a data set of its own, or return it where it is there already.

    Raises: UserError: no such data set, it has no picture, or another one has the sample's name.
    """
    dataset = find_dataset(engine, config.dataset)
    source = f"sample of data set {dataset.id}"

    def draw(session: Session) -> Dataset:
        found = get_dataset(session, name=config.sample_name)
        if found is not None:
            return found
        available = count_images(session, dataset_id=dataset.id)
        if not available:
            raise UserError(f"{config.dataset!r} has no picture to describe: import some first.")
        chance = random.Random(f"{CHANCE}/{dataset.id}")
        places = sorted(chance.sample(range(available), min(available, config.pictures)))
        made = create_dataset(session, name=config.sample_name, source=source)
        copied = NewImage.__dataclass_fields__
        images = images_at(session, dataset_id=dataset.id, places=places)
        rows = [NewImage(**{name: getattr(image, name) for name in copied}) for image in images]
        add_images(session, dataset_id=made.id, images=rows)
        return made

    sample = retrying(engine, draw)
    if sample.source != source:
        raise UserError(f"There is a data set {sample.name!r} that is no sample of this one: rename it.")
    return sample


def compare_prompts(
    engine: Engine,
    config: ComparePromptsConfig,
    *,
    worker: str,
    home: Path,
    report: Callable[[str, int, int], None] = lambda message, done, total: None,
    stop: Callable[[], bool] = lambda: False,
) -> bool:
    """Describe and audit the sample with each prompt, and draw claims for people; return False where `stop` came first.

    Args:   home: where judges of data sets are. report: called with words, steps done and steps in all.
    Raises: UserError: something is missing, or no picture of the sample could be described.
    """
    sample, judge = draw_pictures(engine, config), judge_path(home, config.dataset)
    for number, (prompts, recipe) in enumerate(config.recipes().items()):

        def report_stage(step: int, progress: StageProgress, prompts: str = prompts) -> None:
            words = f"{progress.stage}, {prompts}: {progress.pictures:,} of {progress.total:,} pictures"
            report(words, step * progress.total + progress.pictures, 2 * len(PROMPTS) * progress.total)

        asked = config.annotate_config(prompts)
        described = annotate(
            engine,
            asked,
            AnnotatorFactory.of(asked),
            worker=worker,
            only=DESCRIBE,
            report=partial(report_stage, 2 * number),
            stop=stop,
        )
        if described == "failed":
            raise UserError(" ".join(("No picture could be described.", *outcome(engine, asked)[-1:])))
        auditing = AuditConfig(
            sample.name, recipe, config.sources, str(judge) if judge.exists() else "", batch=config.batch
        )
        report_audit = partial(report_stage, 2 * number + 1)
        if (
            described != "done"
            or audit(engine, auditing, worker=worker, home=home, report=report_audit, stop=stop) != "done"
        ):
            return False
        if config.claims:
            with reading(engine) as session:
                audited = audit_recipe(session, dataset_id=sample.id, described=recipe)
            drawing = partial(draw_sample, dataset_id=sample.id, recipe=audited, count=config.claims)
            retrying(engine, drawing)
    return True


def main(config: ComparePromptsConfig) -> None:
    """Run the command line."""
    job, stopped, home = job_id(), stop_on_signals(), home_folder()
    engine = open_engine(database_url(home))
    with tqdm(unit="step", dynamic_ncols=True) as bar:

        def report(message: str, done: int, total: int) -> None:
            bar.total, bar.desc = total, message
            bar.update(done - bar.n)
            report_progress(done, total, message)

        done = compare_prompts(engine, config, worker=worker_name(job), home=home, report=report, stop=stopped.is_set)
    if not done:
        print("stopped: the same command resumes")
        return
    with reading(engine) as session:
        found = prompt_comparison(session, sample=config.sample_name, recipes=config.recipes())
    print(*(found.lines() if found else ()), sep="\n")


def command() -> None:
    """Run `python -m curation.audit.compare_prompts`."""
    run_command(main, ComparePromptsConfig, module="curation.audit.compare_prompts", description=__doc__)


if __name__ == "__main__":
    command()

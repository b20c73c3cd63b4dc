"""Judge which claims of a data set's descriptions each picture supports: `python -m curation.audit`.

A stage like those of curation.annotate: it follows a description run, works on pictures under leases, is identified by
its recipe, and resumes. The judge, fitted on claims that people judged, is part of the recipe. Where only the judge
changed, claims are rejudged on stored evidence without running any model.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from PIL import Image as Pictures
from tqdm import tqdm

from curation.annotate.describe import DEFAULT_MODEL, DescribeConfig, LlavaDescriber
from curation.annotate.localize import OWLV2, REVISIONS, LocalizeConfig, Localizer, Owlv2Localizer
from curation.annotate.openai_describer import OpenAIDescriber
from curation.annotate.photo_annotators import PhotoLocalizer
from curation.annotate.prompts import Prompts
from curation.annotate.registry import DESCRIBERS, uses_of
from curation.annotate.runs import find_dataset, open_run, stop_on_signals, worker_name
from curation.annotate.servers import check_address
from curation.annotate.stage_run import Make, StageConfig, StageContext, StageProgress, StageRun
from curation.annotate.weights import find_model
from curation.audit.claim_judge import PHOTO_FILE, Judge, JudgedClaim
from curation.audit.claims import split_claims
from curation.audit.description_runs import audited_description_runs
from curation.audit.evidence import (
    DetectorWitness,
    LikenessWitness,
    Measurer,
    VqaModel,
    Witness,
    WitnessKind,
    gather,
)
from curation.audit.independence import NOBODY, Independence, is_independent
from curation.audit.judges import Basis, rejudge_audits, saved_judge
from curation.audit.measured import BoxMeasurer
from curation.audit.photo_instances import PhotoInstances
from curation.audit.sample_truth import SampleDetector, SampleVqaModel
from curation.files.home import database_url, home_folder, job_id, report_progress
from db.engine import Engine, open_engine, reading
from db.models import Image, RunState
from db.queries.audit_queries import descriptions_for_vocabulary
from db.queries.run_queries import list_runs
from db.queries.stage_result_queries import (
    NewClaim,
    NewStageResult,
    descriptions_of,
    stage_result_page,
    stage_results_of,
)
from grain.checkpoint import locate, read_info
from grain.command import flags_of, run_command
from grain.predict import Predictor
from user_errors import UserError

MOST_THINGS = 64  # in the vocabulary from which absent things are drawn
DESCRIPTIONS_READ = 20_000  # for that vocabulary
WEAK_BOXES = LocalizeConfig(threshold=0.01, most_of_text=20)  # counterfactuals and counts are made of weak boxes
SHIPPED = "shipped"  # the judge that GRAIN ships for the sources
RARE_THINGS = tuple(
    "zebra giraffe elephant bear toaster kite surfboard skateboard snowboard pizza donut scissors toothbrush suitcase "
    "banana broccoli toilet refrigerator airplane train sheep umbrella clock carrot frisbee microwave".split()
)
BY_DETECTOR: tuple[WitnessKind, ...] = ("detector", "counted", "placed")
DetectorKind = Literal["owlv2", "photo", "sample", "none"]
VqaKind = Literal["llava", "server", "sample", "none"]


@dataclass(frozen=True)
class SourceChoice:
    """The sources of evidence; one that wrote the descriptions does not count."""

    detector: DetectorKind = "owlv2"
    """owlv2: a model on this machine. photo, sample: stand-ins that work offline. none: no detector."""
    detector_model: str = OWLV2
    """Of owlv2: a name on the hub, or a folder."""
    checkpoint: str = "photo"
    """GRAIN's: a folder, or a bundled one by its name; empty: none."""
    vqa: VqaKind = "none"
    """A model that answers questions. llava: on this machine. server: by OpenAI's schema. sample: a stand-in."""
    vqa_model: str = DEFAULT_MODEL
    """For llava and server; another one than wrote the descriptions."""
    server: str = ""
    """Address of the server, as in http://127.0.0.1:8000/v1."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot work."""
        if self.vqa == "server" and not self.server:
            raise UserError("a model behind a server needs its address: give one such as http://127.0.0.1:8000/v1")
        if self.server:
            check_address(self.server)
        if self.detector == "none" and not self.checkpoint and self.vqa == "none":
            raise UserError("an audit needs a source of evidence: choose a detector, a checkpoint or a VQA model")

    @property
    def of_sample_world(self) -> bool:
        """Return whether all of them know the sample world alone."""
        return {self.detector, self.checkpoint, self.vqa} <= {"sample", "none", ""}


@dataclass(frozen=True)
class AuditConfig(StageConfig):
    """Judge every claim of a data set's descriptions; run again, it resumes."""

    dataset: str
    """Its name."""
    described: str = ""
    """Recipe of the description run; left out: the latest."""
    sources: SourceChoice = field(default_factory=SourceChoice)
    judge: str = ""
    """A judge as JSON, or shipped: the one GRAIN ships; left out: its own (curation.audit.fit_judge), if any."""


@dataclass(frozen=True)
class Auditor:
    """Evidence sources, judge and vocabulary together."""

    witnesses: tuple[Witness, ...]
    vqa: VqaModel | None
    judge: Judge
    vocabulary: tuple[str, ...]
    measurer: Measurer | None = None

    def audit(
        self, images: Sequence[Pictures.Image], texts: Sequence[Sequence[str]]
    ) -> list[list[tuple[JudgedClaim, ...]]]:
        """Return the judged claims of each description of each upright RGB picture, without storing them."""
        found = gather(
            images,
            texts,
            witnesses=self.witnesses,
            vqa=self.vqa,
            vocabulary=self.vocabulary,
            measurer=self.measurer,
        )
        return [[self.judge.description(claims) for claims in each] for each in found]


@dataclass(frozen=True)
class DescriptionRun:
    """The description run that is audited: its recipe, its source, its prompts and how many questions were asked."""

    recipe: str
    source: str
    prompts: str
    stages: int


def audit(
    engine: Engine,
    config: AuditConfig,
    *,
    worker: str,
    job_id: int | None = None,
    home: Path | None = None,
    make: Callable[[tuple[str, ...]], Auditor] | None = None,
    report: Callable[[StageProgress], None] = lambda progress: None,
    stop: Callable[[], bool] = lambda: False,
) -> RunState:
    """Judge pictures until none is left or `stop` returns True, and return the run's final state.

    Args:   home: where judges of data sets are; left out: GRAIN_HOME. make: makes the auditor of a vocabulary; left
            out: by the settings.
    Raises: UserError: no such data set, nothing in it is described, or a source of evidence is missing.
    """
    dataset, judge = find_dataset(engine, config.dataset), judge_of(config, home or home_folder())
    described = find_description_run(engine, config)
    basis = basis_of(config, described)
    work = basis.work(judge)
    with reading(engine) as session:
        texts = descriptions_for_vocabulary(
            session, dataset_id=dataset.id, recipe=described.recipe, limit=DESCRIPTIONS_READ
        )
    vocabulary = absent_things(config.sources, texts)
    maker = make or (lambda things: auditor_of(config.sources, judge, things, describer=described.source))
    settings = asdict(config) | basis.run_settings() | independence_of(config, described, judge).run_settings()
    with open_run(engine, dataset, config, settings=settings, works=(work,), worker=worker, job_id=job_id) as run:
        rejudge_audits(engine, dataset.id, basis=basis, judge=judge)
        stage = _AuditStage(run.context(work), load=lambda: maker(vocabulary), description_run=described)
        run.state = "done" if stage.run(report, stop) else "paused"
    return run.state


class _AuditStage(StageRun):
    """The audit as a stage that works under leases."""

    def __init__(self, context: StageContext, *, load: Callable[[], Auditor], description_run: DescriptionRun) -> None:
        """context: see StageRun. load: loads the auditor. description_run: the one that is audited."""
        super().__init__(context)
        self._load, self._description_run = load, description_run

    def _maker(self) -> Make:
        """Load the auditor and return what judges a batch (see StageRun)."""
        auditor = self._load()
        return lambda opened: self._audit(auditor, opened)

    def _audit(self, auditor: Auditor, opened: Sequence[tuple[Image, Pictures.Image]]) -> Iterator[NewStageResult]:
        ids = [row.id for row, _ in opened]
        with reading(self._engine) as session:
            descriptions = descriptions_of(session, image_ids=ids, recipe=self._description_run.recipe)
            stage_results = stage_results_of(session, image_ids=ids, recipe=self._description_run.recipe)
        texts = [[each.text for each in descriptions[image_id]] for image_id in ids]
        audited = auditor.audit([picture for _, picture in opened], texts)
        for (row, _), judged in zip(opened, audited, strict=True):
            described_claims = zip(descriptions[row.id], judged, strict=True)
            claims = (
                new_claim(
                    one,
                    each.id,
                    each.text,
                    position=place,
                    run=self._description_run,
                    subject=stage_results[row.id].subject,
                )
                for each, some in described_claims
                for place, one in enumerate(some)
            )
            yield self._result(row, claims=tuple(claims))


def new_claim(
    judged: JudgedClaim, description_id: int, text: str, *, position: int, run: DescriptionRun, subject: str
) -> NewClaim:
    """Return a judged claim as the database keeps it."""
    claim = judged.claim
    return NewClaim(
        description_id,
        position,
        claim.owner,
        claim.kind,
        claim.start,
        claim.end,
        claim.words(text),
        judged.verdict,
        judged.probability,
        tuple(each.to_json() for each in judged.evidence),
        run.source,
        run.prompts,
        run.stages,
        subject,
    )


def absent_things(sources: SourceChoice, texts: Iterable[str]) -> tuple[str, ...]:
    """Return what objects are measured against: the other things of the sample world, of photographs rare ones.

    What other descriptions of photographs name is often there too, or is the same thing in another word.
    """
    return vocabulary_of(texts) if sources.of_sample_world else RARE_THINGS


def vocabulary_of(texts: Iterable[str], most: int = MOST_THINGS) -> tuple[str, ...]:
    """Return the objects and parts named most often; those that no text of a picture names count as absent there."""
    count = Counter(
        claim.words(text).lower() for text in texts for claim in split_claims(text) if claim.kind in ("object", "part")
    )
    return tuple(word for word, _ in sorted(count.items(), key=lambda pair: (-pair[1], pair[0]))[:most])


def find_description_run(engine: Engine, config: AuditConfig) -> DescriptionRun:
    """Return the description run that the settings name, from the latest run that had it.

    Raises: UserError: there is none.
    """
    dataset = find_dataset(engine, config.dataset)
    with reading(engine) as session:
        for run in list_runs(session, dataset_id=dataset.id):
            recipe = run.recipes.get("describe", "")
            if recipe and config.described in ("", recipe):
                done = stage_result_page(session, dataset_id=dataset.id, recipe=recipe, state="done", limit=1)
                return _description_run(recipe, done[0].source if done else "", run.config.get("describer", {}))
    raise UserError(
        f"Nothing in {config.dataset[:60]!r} is described yet: run `python -m curation.annotate --dataset NAME` first."
    )


def basis_of(config: AuditConfig, described: DescriptionRun) -> Basis:
    """Return what is audited and with which sources of evidence.

    Raises: UserError, CheckpointError: something is not on this machine.
    """
    return Basis(source_of(config.sources, described.source), described.recipe)


def source_of(sources: SourceChoice, describer: str) -> str:
    """Return the names of the sources that are independent of the describer, each with its revision.

    Raises: UserError, CheckpointError: something is not on this machine.
    """
    return " + ".join(_independent(sources, describer).values()) or NOBODY


def named_sources(sources: SourceChoice) -> dict[WitnessKind, str]:
    """Return kind -> name of all sources that were chosen.

    Raises: UserError, CheckpointError: something is not on this machine.
    """
    names: dict[WitnessKind, str] = {
        "detector": _detector_name(sources),
        "likeness": _checkpoint_name(sources.checkpoint),
        "asked": _vqa_name(sources),
    }
    return {kind: name for kind, name in names.items() if name}


def independence_of(config: AuditConfig, described: DescriptionRun, judge: Judge) -> Independence:
    """Return what the audit of a description run counts on.

    Raises: UserError, CheckpointError: something is not on this machine.
    """
    names = named_sources(config.sources).values()
    left_out = tuple(name for name in names if not is_independent(name, described.source))
    return Independence(described.source, source_of(config.sources, described.source), left_out, judge.decides)


def _independent(sources: SourceChoice, describer: str) -> dict[WitnessKind, str]:
    return {kind: name for kind, name in named_sources(sources).items() if is_independent(name, describer)}


def judge_of(config: AuditConfig, home: Path) -> Judge:
    """Load the judge that the settings name.

    Raises: UserError: it cannot be read.
    """
    if config.judge in ("", SHIPPED):
        mine = saved_judge(home, config.dataset) if not config.judge else None
        chosen = config.sources
        return mine or shipped_judge(detector=chosen.detector, checkpoint=chosen.checkpoint, vqa=chosen.vqa)
    return Judge.load(Path(config.judge))


def shipped_judge(*, detector: str, checkpoint: str, vqa: str = "none") -> Judge:
    """Load the judge that was fitted on these sources; where none was, one whose probabilities only order claims.

    Args: each as in SourceChoice, or another annotator's kind.
    """
    chosen = dict.fromkeys(BY_DETECTOR, detector) | {"likeness": checkpoint, "asked": vqa}
    if of_photo := [kind for kind, name in chosen.items() if name == "photo"]:
        return Judge.load(PHOTO_FILE).hearing(of_photo)
    of_sample = set(chosen.values()) <= {"sample", "none", ""}
    return Judge.load() if of_sample else replace(Judge.load(), decides=False)


def auditor_of(sources: SourceChoice, judge: Judge, vocabulary: tuple[str, ...], *, describer: str) -> Auditor:
    """Load the sources that are independent of the describer into an auditor.

    Raises: UserError, CheckpointError, ValueError: one sentence that says what to do.
    """
    names = _independent(sources, describer)
    witnesses: list[Witness] = []
    measurer: Measurer | None = None
    predictor = Predictor.from_pretrained(sources.checkpoint) if "likeness" in names else None
    if "detector" in names:
        localizer = _localizer(sources, predictor)
        witnesses.append(DetectorWitness(localizer))
        measurer = measurer_of(localizer, sources.detector)
    if predictor is not None:
        witnesses.append(LikenessWitness(predictor, names["likeness"]))
    vqa = _vqa_model(sources) if "asked" in names else None
    return Auditor(tuple(witnesses), vqa, judge, vocabulary, measurer)


def measurer_of(localizer: Localizer, kind: str) -> Measurer | None:
    """Return what counts and places a detector's boxes; None for the sample world's, whose boxes are whole pictures.

    Args: kind: of the detector, as in SourceChoice.
    """
    if kind == "sample":
        return None
    return BoxMeasurer(localizer, PhotoInstances(localizer) if kind == "photo" else None)


def _localizer(sources: SourceChoice, predictor: Predictor | None) -> Localizer:
    """Load the detector. predictor: of the checkpoint; photo's is the detector's too, and sees each picture once."""
    if sources.detector == "owlv2":
        return Owlv2Localizer.from_pretrained(sources.detector_model, config=WEAK_BOXES)
    shared = predictor if sources.checkpoint == "photo" else None
    return PhotoLocalizer(WEAK_BOXES, shared) if sources.detector == "photo" else SampleDetector()


def _vqa_model(sources: SourceChoice) -> VqaModel:
    if sources.vqa == "llava":
        return LlavaDescriber.from_pretrained(sources.vqa_model)
    if sources.vqa == "server":
        return OpenAIDescriber(sources.vqa_model, base_url=sources.server)
    return SampleVqaModel()


def command_line(config: AuditConfig) -> list[str]:
    """Return the arguments that run it from a terminal, after the name of Python."""
    return ["-m", "curation.audit", *flags_of(config)]


def _description_run(recipe: str, source: str, describer: dict[str, Any]) -> DescriptionRun:
    """Return the description run of a recipe; `source` is the describer, "" where nothing is described yet."""
    if "ask" not in uses_of(DESCRIBERS, describer.get("kind", "")):
        return DescriptionRun(recipe, source, "", 0)
    prompts: Prompts = DescribeConfig(**describer["ask"]).words
    return DescriptionRun(
        recipe, source, prompts.version, len([stage for stage in prompts.questions if stage != "caption"])
    )


def _detector_name(sources: SourceChoice) -> str:
    if sources.detector == "owlv2":
        return find_model(sources.detector_model, REVISIONS.get(sources.detector_model, "main")).name
    names = {"photo": PhotoLocalizer.name, "sample": SampleDetector.name, "none": ""}
    return names[sources.detector]


def _checkpoint_name(checkpoint: str) -> str:
    """Return a checkpoint's name with a digest of its files, so that another training is another source."""
    if not checkpoint:
        return ""
    folder = locate(checkpoint)
    files = sorted(path for path in folder.iterdir() if path.suffix == ".json")
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
    return f"{read_info(folder).name}@{digest[:12]}"


def _vqa_name(sources: SourceChoice) -> str:
    if sources.vqa == "llava":
        return find_model(sources.vqa_model, "main").name
    return {"server": f"{sources.vqa_model}@served", "sample": SampleVqaModel.name, "none": ""}[sources.vqa]


def main(config: AuditConfig) -> None:
    """Run the command line."""
    job, stopped = job_id(), stop_on_signals()
    engine = open_engine(database_url(home_folder()))
    with tqdm(unit="picture", dynamic_ncols=True) as bar:

        def report(progress: StageProgress) -> None:
            bar.total = progress.total
            bar.update(progress.pictures - bar.n)
            message = f"{progress.pictures:,} of {progress.total:,} pictures audited"
            report_progress(progress.pictures, progress.total, message)

        state = audit(engine, config, worker=worker_name(job), job_id=job, report=report, stop=stopped.is_set)
    print(f"{config.dataset}: {state}")
    runs = audited_description_runs(engine, dataset_id=find_dataset(engine, config.dataset).id)
    for doubt in runs[0].independence.sentences() if runs and runs[0].independence else ():
        print(f"  {doubt}")
    for each in runs:
        print(f"  {each}")


def command() -> None:
    """Run `python -m curation.audit`."""
    run_command(main, AuditConfig, module="curation.audit", description=__doc__)

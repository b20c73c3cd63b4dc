"""python -m curation.audit: which claims of a data set's descriptions does each picture support?

A stage like those of curation.annotate: it follows a describing, works on pictures under leases, is found again by what
made it, and goes on where it was. The judge was fitted on claims that people judged; it is part of what names the work.
Where only the judge is another one, claims are judged anew on the evidence that is kept, and no model is asked.
"""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import tyro
from PIL import Image as Pictures
from tqdm import tqdm

from curation.annotate import (
    STOP_SIGNALS,
    AnnotateError,
    Make,
    Progress,
    StageConfig,
    StageRun,
    begin_run,
    find_dataset,
    flags_of,
)
from curation.claims import split_claims
from curation.combine import Judge, Judged, JudgeError
from curation.describe import DEFAULT_MODEL, DescribeConfig, DescriberError, LlavaDescriber
from curation.describings import describings
from curation.evidence import Asked, DetectorWitness, LikenessWitness, Witness, gather
from curation.home import database_url, home_folder, job_id, report_progress
from curation.images import PictureReader
from curation.judges import Basis, kept_judge, take_over
from curation.localize import OWLV2, REVISIONS, LocalizeConfig, Owlv2Localizer
from curation.photo_annotators import PhotoLocalizer
from curation.prompts import Prompts
from curation.sample_truth import SampleAsked, SampleDetector
from curation.served import OpenAIDescriber, check_address
from curation.weights import find_model
from db.audit_queries import things_said
from db.engine import DatabaseError, Engine, open_engine, reading, transaction
from db.models import Image, RunState
from db.run_queries import (
    NewClaim,
    NewStageResult,
    descriptions_of,
    list_runs,
    release_worker,
    set_run_state,
    stage_result_page,
    stage_results_of,
)
from grain.checkpoint import locate, read_info
from grain.predict import Predictor

MOST_THINGS = 64  # of the vocabulary that absent things are taken from
DESCRIPTIONS_READ = 20_000  # for that vocabulary
WEAK_BOXES = LocalizeConfig(threshold=0.01, most_of_text=1)  # counterfactuals are made of weak boxes
SAMPLE = "sample"  # the judge that comes along
DetectorKind = Literal["owlv2", "photo", "sample", "none"]
AskedKind = Literal["llava", "server", "sample", "none"]


@dataclass(frozen=True)
class SourceChoice:
    """Where evidence comes from; none of them wrote the claims."""

    detector: DetectorKind = "owlv2"
    """owlv2: a model on this machine. photo, sample: stand-ins that work offline. none: do without."""
    detector_model: str = OWLV2
    """Of owlv2: a name on the hub, or a folder."""
    checkpoint: str = "sample"
    """GRAIN's: a folder, or an embedded one by its name; empty: do without."""
    asked: AskedKind = "none"
    """llava: a model on this machine. server: one that speaks OpenAI's schema. sample: a stand-in."""
    asked_model: str = DEFAULT_MODEL
    """Of llava and server; another one than wrote the descriptions."""
    server: str = ""
    """Address of the server, as in http://127.0.0.1:8000/v1."""

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        if self.asked == "server" and not self.server:
            raise ValueError("a model behind a server needs its address: give one such as http://127.0.0.1:8000/v1")
        if self.server:
            check_address(self.server)
        if self.detector == "none" and not self.checkpoint and self.asked == "none":
            raise ValueError("an audit needs a source of evidence: choose a detector, a checkpoint or a model to ask")


@dataclass(frozen=True)
class AuditConfig(StageConfig):
    """Judge every claim of a data set's descriptions; run again, it goes on where it was."""

    dataset: str
    """Its name."""
    described: str = ""
    """Recipe of the describing; left out: the latest."""
    sources: SourceChoice = field(default_factory=SourceChoice)
    judge: str = ""
    """A judge as JSON, or sample: the one that comes along; left out: its own (curation.fit_judge), if any."""


@dataclass(frozen=True)
class Auditor:
    """Sources, judge and vocabulary together."""

    witnesses: tuple[Witness, ...]
    asked: Asked | None
    judge: Judge
    vocabulary: tuple[str, ...]

    def audit(self, images: Sequence[Pictures.Image], texts: Sequence[Sequence[str]]) -> list[list[tuple[Judged, ...]]]:
        """Of each upright RGB picture and each of its descriptions the claims, judged. Nothing is kept."""
        found = gather(images, texts, witnesses=self.witnesses, asked=self.asked, vocabulary=self.vocabulary)
        return [[self.judge.description(claims) for claims in each] for each in found]


@dataclass(frozen=True)
class Described:
    """The describing that is audited: its recipe, and what the settings say of it."""

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
    report: Callable[[Progress], None] = lambda progress: None,
    stop: Callable[[], bool] = lambda: False,
) -> RunState:
    """Work until nothing is left, or until stop says so; returns the state in which the run is left.

    Args:   home: where judges of data sets are; left out: GRAIN_HOME. make: the auditor of a vocabulary; left out, what
            the settings name.
    Raises: AnnotateError: no such data set, or nothing in it is described. JudgeError, MissingModelError, ValueError.
    """
    dataset, judge = find_dataset(engine, config.dataset), judge_of(config, home or home_folder())
    described = described_by(engine, config)
    basis = basis_of(config, described)
    work = basis.work(judge)
    with reading(engine) as session:
        texts = things_said(session, dataset_id=dataset.id, recipe=described.recipe, limit=DESCRIPTIONS_READ)
    vocabulary = vocabulary_of(texts)
    maker = make or (lambda things: auditor_of(config.sources, judge, things))
    run_id = begin_run(engine, dataset, asdict(config) | basis.noted(), (work,), worker, job_id)
    state: RunState = "failed"
    try:
        take_over(engine, dataset.id, basis, judge)
        with PictureReader() as reader:
            stage = _AuditStage(
                engine, config, reader, dataset.id, run_id, worker, work, lambda: maker(vocabulary), described
            )
            state = "done" if stage.run(report, stop) else "paused"
        return state
    except DescriberError as error:
        raise AnnotateError(str(error)) from error
    finally:
        with transaction(engine) as session:
            release_worker(session, worker=worker)
            set_run_state(session, run_id=run_id, state=state)


class _AuditStage(StageRun):
    """Auditing, as a stage."""

    def __init__(self, *shared: Any) -> None:
        """shared: see StageRun; then what loads the auditor, and the describing."""
        *rest, self._load, self._described = shared
        super().__init__(*rest)

    def _maker(self) -> Make:
        """See StageRun."""
        auditor: Auditor = self._load()
        return lambda opened: self._audit(auditor, opened)

    def _audit(self, auditor: Auditor, opened: Sequence[tuple[Image, Pictures.Image]]) -> Iterator[NewStageResult]:
        ids = [row.id for row, _ in opened]
        with reading(self._engine) as session:
            said = descriptions_of(session, image_ids=ids, recipe=self._described.recipe)
            before = stage_results_of(session, image_ids=ids, recipe=self._described.recipe)
        texts = [[each.text for each in said[image_id]] for image_id in ids]
        found = auditor.audit([picture for _, picture in opened], texts)
        for (row, _), judged in zip(opened, found, strict=True):
            described = zip(said[row.id], judged, strict=True)
            claims = (
                new_claim(each.id, each.text, place, one, self._described, before[row.id].subject)
                for each, some in described
                for place, one in enumerate(some)
            )
            yield self._result(row, claims=tuple(claims))


def new_claim(
    description_id: int, text: str, position: int, judged: Judged, described: Described, subject: str
) -> NewClaim:
    """A claim as it is kept."""
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
        described.source,
        described.prompts,
        described.stages,
        subject,
    )


def vocabulary_of(texts: Iterable[str], most: int = MOST_THINGS) -> tuple[str, ...]:
    """The objects and parts that descriptions speak of most: what is not said of a picture is taken for absent."""
    count = Counter(
        claim.words(text).lower() for text in texts for claim in split_claims(text) if claim.kind in ("object", "part")
    )
    return tuple(word for word, _ in sorted(count.items(), key=lambda pair: (-pair[1], pair[0]))[:most])


def described_by(engine: Engine, config: AuditConfig) -> Described:
    """The describing that the settings mean, from the latest run that had it.

    Raises: AnnotateError: there is none.
    """
    dataset = find_dataset(engine, config.dataset)
    with reading(engine) as session:
        for run in list_runs(session, dataset_id=dataset.id):
            recipe = run.recipes.get("describe", "")
            if recipe and config.described in ("", recipe):
                done = stage_result_page(session, dataset_id=dataset.id, recipe=recipe, state="done", limit=1)
                return _described(recipe, done[0].source if done else "", run.config.get("describer", {}))
    raise AnnotateError(
        f"Nothing in {config.dataset[:60]!r} is described yet: run `python -m curation.annotate --dataset NAME` first."
    )


def basis_of(config: AuditConfig, described: Described) -> Basis:
    """What is audited with which sources of evidence.

    Raises: MissingModelError, CheckpointError: something is not on this machine.
    """
    return Basis(source_of(config.sources), described.recipe)


def source_of(sources: SourceChoice) -> str:
    """All sources of evidence, each with its revision.

    Raises: MissingModelError, CheckpointError: something is not on this machine.
    """
    names = [_detector_name(sources), _checkpoint_name(sources.checkpoint), _asked_name(sources)]
    return " + ".join(name for name in names if name)


def judge_of(config: AuditConfig, home: Path) -> Judge:
    """The judge that the settings name.

    Raises: JudgeError: it cannot be read.
    """
    if config.judge in ("", SAMPLE):
        mine = kept_judge(home, config.dataset) if not config.judge else None
        return mine or Judge.load()
    return Judge.load(Path(config.judge))


def auditor_of(sources: SourceChoice, judge: Judge, vocabulary: tuple[str, ...]) -> Auditor:
    """Load the sources.

    Raises: MissingModelError, CheckpointError, ValueError: one sentence that says what to do.
    """
    witnesses: list[Witness] = []
    if sources.detector == "owlv2":
        witnesses.append(DetectorWitness(Owlv2Localizer.from_pretrained(sources.detector_model, config=WEAK_BOXES)))
    elif sources.detector == "photo":
        witnesses.append(DetectorWitness(PhotoLocalizer(WEAK_BOXES)))
    elif sources.detector == "sample":
        witnesses.append(DetectorWitness(SampleDetector()))
    if sources.checkpoint:
        predictor = Predictor.from_pretrained(sources.checkpoint)
        witnesses.append(LikenessWitness(predictor, _checkpoint_name(sources.checkpoint)))
    asked: Asked | None = None
    if sources.asked == "llava":
        asked = LlavaDescriber.from_pretrained(sources.asked_model)
    elif sources.asked == "server":
        asked = OpenAIDescriber(sources.asked_model, base_url=sources.server)
    elif sources.asked == "sample":
        asked = SampleAsked()
    return Auditor(tuple(witnesses), asked, judge, vocabulary)


def command_line(config: AuditConfig) -> list[str]:
    """The words that run it from a terminal, after the name of Python."""
    return ["-m", "curation.audit", *flags_of(asdict(config), asdict(AuditConfig(config.dataset)))]


def _described(recipe: str, source: str, describer: dict[str, Any]) -> Described:
    """source: that made the descriptions, as they note it; "" where there is none yet."""
    if describer.get("kind", "") not in ("llava", "server"):
        return Described(recipe, source, "", 0)
    prompts: Prompts = DescribeConfig(**describer["ask"]).words
    return Described(recipe, source, prompts.version, len([stage for stage in prompts.questions if stage != "caption"]))


def _detector_name(sources: SourceChoice) -> str:
    if sources.detector == "owlv2":
        return find_model(sources.detector_model, REVISIONS.get(sources.detector_model, "main")).name
    names = {"photo": PhotoLocalizer.name, "sample": SampleDetector.name, "none": ""}
    return names[sources.detector]


def _checkpoint_name(checkpoint: str) -> str:
    """Its name with a digest of its weights' own list of hashes, so that another training is another source."""
    if not checkpoint:
        return ""
    folder = locate(checkpoint)
    files = sorted(path for path in folder.iterdir() if path.suffix == ".json")
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
    return f"{read_info(folder).name}@{digest[:12]}"


def _asked_name(sources: SourceChoice) -> str:
    if sources.asked == "llava":
        return find_model(sources.asked_model, "main").name
    return {"server": f"{sources.asked_model}@served", "sample": SampleAsked.name, "none": ""}[sources.asked]


def main(config: AuditConfig) -> None:
    """The command line."""
    job, stopped = job_id(), threading.Event()
    for number in STOP_SIGNALS:
        signal.signal(number, lambda *_: stopped.set())
    worker = f"job {job}" if job is not None else f"{socket.gethostname()} {os.getpid()}"
    engine = open_engine(database_url(home_folder()))
    with tqdm(unit="picture", dynamic_ncols=True) as bar:

        def report(progress: Progress) -> None:
            bar.total = progress.total
            bar.update(progress.pictures - bar.n)
            message = f"{progress.pictures:,} of {progress.total:,} pictures audited"
            report_progress(progress.pictures, progress.total, message)

        state = audit(engine, config, worker=worker, job_id=job, report=report, stop=stopped.is_set)
    print(f"{config.dataset}: {state}")
    for each in describings(engine, dataset_id=find_dataset(engine, config.dataset).id):
        print(f"  {each}")


if __name__ == "__main__":
    try:
        main(tyro.cli(AuditConfig, description=__doc__))
    except (AnnotateError, DescriberError, DatabaseError, JudgeError, ValueError) as error:
        sys.exit(f"curation.audit: {error}")

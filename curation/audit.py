"""python -m curation.audit: which claims of a data set's descriptions does each picture support?

A stage like those of curation.annotate: it follows a describing, works on pictures under leases, is found again by what
made it, and goes on where it was. The judge was fitted on claims that people judged; it is part of what names the work.
"""

from __future__ import annotations

import hashlib
import json
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

from curation.annotate import STOP_SIGNALS, AnnotateError, Make, Progress, StageRun, begin_run, find_dataset, flags_of
from curation.annotators import Work, digest_of
from curation.claims import Claim, split_claims
from curation.combine import Judge, Judged, JudgeError
from curation.describe import DEFAULT_MODEL, DescriberError, LlavaDescriber
from curation.evidence import Asked, DetectorWitness, Evidence, LikenessWitness, Witness, gather
from curation.home import database_url, home_folder, job_id, report_progress
from curation.images import PictureReader
from curation.localize import OWLV2, REVISIONS, LocalizeConfig, Owlv2Localizer
from curation.photo_annotators import PhotoLocalizer
from curation.prompts import PROMPTS, Prompts
from curation.sample_truth import SampleAsked, SampleDetector
from curation.served import OpenAIDescriber
from curation.weights import find_model
from db.audit_queries import claims_after, set_judgements, things_said
from db.engine import DatabaseError, Engine, open_engine, reading, transaction
from db.models import AuditedClaim, Image, RunState
from db.run_queries import (
    NewClaim,
    NewStageResult,
    descriptions_of,
    list_runs,
    release_worker,
    set_run_state,
    stage_results_of,
)
from grain.checkpoint import locate, read_info
from grain.predict import Predictor

MOST_THINGS = 64  # of the vocabulary that absent things are taken from
DESCRIPTIONS_READ = 20_000  # for that vocabulary
WEAK_BOXES = LocalizeConfig(threshold=0.01, most_of_text=1)  # counterfactuals are made of weak boxes
VERSION = 1  # grows when equal settings begin to mean other work
CLAIMS_AT_ONCE = 5000  # judged anew in one transaction
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
        if self.detector == "none" and not self.checkpoint and self.asked == "none":
            raise ValueError("an audit needs a source of evidence: choose a detector, a checkpoint or a model to ask")


@dataclass(frozen=True)
class AuditConfig:
    """Judge every claim of a data set's descriptions; run again, it goes on where it was."""

    dataset: str
    """Its name."""
    described: str = ""
    """Recipe of the describing; left out: the latest."""
    sources: SourceChoice = field(default_factory=SourceChoice)
    judge: Path | None = None
    """A judge as JSON; left out: the one fitted on the sample world."""
    batch: int = 16
    """Pictures of one claim, one call and one transaction."""
    attempts: int = 2
    """Tries of a picture that fails, within a run."""
    lease_seconds: float = 300.0
    """How long a worker that died keeps others from its pictures."""

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        if self.batch < 1 or self.attempts < 1 or self.lease_seconds <= 0:
            raise ValueError("batch, attempts and lease_seconds must be above 0")


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
    make: Callable[[tuple[str, ...]], Auditor] | None = None,
    report: Callable[[Progress], None] = lambda progress: None,
    stop: Callable[[], bool] = lambda: False,
) -> RunState:
    """Work until nothing is left, or until stop says so; returns the state in which the run is left.

    Args:   make: the auditor of a vocabulary; left out, what the settings name.
    Raises: AnnotateError: no such data set, or nothing in it is described. JudgeError, MissingModelError, ValueError.
    """
    dataset, judge = find_dataset(engine, config.dataset), judge_of(config)
    described = described_by(engine, config)
    work = work_of(config, judge, described)
    with reading(engine) as session:
        texts = things_said(session, dataset_id=dataset.id, recipe=described.recipe, limit=DESCRIPTIONS_READ)
    vocabulary = vocabulary_of(texts)
    maker = make or (lambda things: auditor_of(config.sources, judge, things))
    run_id = begin_run(engine, dataset, _plain(asdict(config)), (work,), worker, job_id)
    state: RunState = "failed"
    try:
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


def rejudge(engine: Engine, *, dataset: str, recipe: str, judge: Judge) -> Counter[str]:
    """Judge an audit's claims anew on the evidence that is kept: another judge, or other thresholds. No model is asked.

    Returns: how many claims have which verdict now. Memory does not grow with the data set.
    Raises:  AnnotateError: no such data set.
    """
    dataset_id, after, counts = find_dataset(engine, dataset).id, 0, Counter[str]()
    rest: list[AuditedClaim] = []
    while True:
        with reading(engine) as session:
            page = claims_after(session, dataset_id=dataset_id, recipe=recipe, after=after, limit=CLAIMS_AT_ONCE)
        rows, rest = [*rest, *page], []
        if page:  # the last description may go on behind this page
            after, last = page[-1].id, page[-1].description_id
            whole = len(page) == CLAIMS_AT_ONCE
            rest = [row for row in rows if row.description_id == last] if whole else []
            rows = [row for row in rows if row.description_id != last] if whole else rows
        judged = list(_rejudged(rows, judge))
        counts.update(verdict for _, verdict, _ in judged)
        with transaction(engine) as session:
            set_judgements(session, rows=judged)
        if len(page) < CLAIMS_AT_ONCE:
            return counts


def _rejudged(rows: Sequence[AuditedClaim], judge: Judge) -> Iterator[tuple[int, Any, float | None]]:
    grouped: dict[int, list[AuditedClaim]] = {}
    for row in rows:
        grouped.setdefault(row.description_id, []).append(row)
    for some in grouped.values():
        found = [(Claim(row.kind, row.span_start, row.span_end, row.owner), evidence_of(row)) for row in some]
        for row, one in zip(some, judge.description(found), strict=True):
            yield row.id, one.verdict, one.probability


def evidence_of(row: AuditedClaim) -> tuple[Evidence, ...]:
    """What is kept of a claim's evidence."""
    return tuple(Evidence(**each) for each in row.evidence)


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
                return _described(recipe, run.config.get("describer", {}))
    raise AnnotateError(
        f"Nothing in {config.dataset[:60]!r} is described yet: run `python -m curation.annotate --dataset NAME` first."
    )


def work_of(config: AuditConfig, judge: Judge, described: Described) -> Work:
    """The stage. Its source names all sources of evidence.

    Raises: MissingModelError, CheckpointError: something is not on this machine.
    """
    sources = config.sources
    names = [_detector_name(sources), _checkpoint_name(sources.checkpoint), _asked_name(sources)]
    source = " + ".join(name for name in names if name)
    facts = {"version": VERSION, "source": source, "judge": digest_of(judge.to_json()), "needs": described.recipe}
    return Work("audit", source, digest_of({"stage": "audit", **facts}), described.recipe)


def judge_of(config: AuditConfig) -> Judge:
    """The judge that the settings name.

    Raises: JudgeError: it cannot be read.
    """
    return Judge.load(config.judge) if config.judge else Judge.load()


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
    return ["-m", "curation.audit", *flags_of(_plain(asdict(config)), _plain(asdict(AuditConfig(config.dataset))))]


def _described(recipe: str, describer: dict[str, Any]) -> Described:
    kind, ask = describer.get("kind", ""), describer.get("ask", {})
    if kind not in ("llava", "server"):
        return Described(recipe, f"{kind} stand-in", "", 0)
    prompts: Prompts = PROMPTS[ask["prompts"]]
    stages = len([stage for stage in prompts.questions if stage != "caption"])
    return Described(recipe, f"{describer['model']}@{describer['revision']}", prompts.version, stages)


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


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    """JSON's own types."""
    plain: dict[str, Any] = json.loads(json.dumps(settings, default=str))
    return plain


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


if __name__ == "__main__":
    try:
        main(tyro.cli(AuditConfig, description=__doc__))
    except (AnnotateError, DescriberError, DatabaseError, JudgeError, ValueError) as error:
        sys.exit(f"curation.audit: {error}")

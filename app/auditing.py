"""What the Audit page asks: claims worst first, one claim with its evidence, people's verdicts, rules, rates, jobs."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, cast, get_args

from app.looking import sentence
from app.services import Services
from app.shown import Pictures
from curation.agreement import Agreement
from curation.annotate import AnnotateError
from curation.audit import AuditConfig, SourceChoice, basis_of, command_line, described_by, judge_of
from curation.combine import JudgeError
from curation.decode import RefusedError
from curation.describings import Describing, describings
from curation.fit_judge import FitConfig, Fitted, judged_by_people, must_suffice
from curation.fit_judge import command_line as fit_command
from curation.judges import Basis, kept_judge, known_of_judge
from curation.measure import (
    AuditorQuality,
    CurvePoint,
    Rate,
    agreement,
    curve,
    curve_of,
    hallucination_rate,
    quality,
    rates_by,
)
from curation.reject import SETTLED, Judged, RejectConfig
from curation.reject import command_line as reject_command
from db.audit_queries import (
    ClaimFilter,
    ClaimRow,
    Group,
    GroupCount,
    Place,
    Touched,
    audit_runs,
    claim_page,
    claims_of,
    counts_by,
    draw_sample,
    get_claim,
    latest_audit,
    next_to_judge,
    regions_of,
    sample_judgements,
    sample_size,
    set_claim_verdict,
    take_back_verdict,
    touched,
    verdicts_on,
)
from db.curate_queries import AnnotationChange, EditConflictError, edit_annotation
from db.engine import DatabaseError, Session, reading, retrying
from db.models import Annotation, ClaimKind, ClaimVerdict, Verdict
from db.queries import get_dataset

PAGE = 40  # claims of a page
KINDS = ("audit", "reject", "fit-judge")  # of jobs that the page shows
GROUPS: tuple[Group, ...] = ("kind", "prompts", "stages", "describer", "subject")
MOST_RATES = 8  # of one group, those with most judged claims
MOST_TEXT = 500  # characters of a description


class AuditingError(ValueError):
    """What was asked cannot be done; the message is one sentence for the person."""


@dataclass(frozen=True)
class Wanted:
    """Which claims a person wants to see, as the page's fields hold it.

    likely: the largest probability of supported. judged: who has spoken: anybody (or nobody), nobody, people.
    """

    dataset: str
    kinds: Sequence[str]
    verdicts: Sequence[str]
    likely: float
    words: str
    judged: str


@dataclass(frozen=True)
class Claims:
    """A page of claims. after: asks for the next one; "" when nothing follows."""

    rows: tuple[ClaimRow, ...]
    after: str


@dataclass(frozen=True)
class Opened:
    """A claim to judge. siblings: all claims of its description, itself among them. said: what people say of it.

    uri: "" where the picture cannot be shown; problem says why. sample: its position where it was drawn for people.
    """

    row: ClaimRow
    siblings: tuple[ClaimRow, ...]
    regions: tuple[Annotation, ...]
    said: tuple[ClaimVerdict, ...]
    uri: str
    problem: str = ""
    sample: int | None = None


@dataclass(frozen=True)
class Report:
    """What an audit comes to.

    counts: the auditor's own verdicts by kind. drawn, judged: claims of the sample, and of it those that people judged.
    rate: of hallucination, as people say. rates: the same by group and value. fitted: of a judge that was fitted on
    this sample; quality and curve are then of claims that it was not fitted on: drawn since, or else cross-validated
    (unseen is False). describings: all that were audited of the data set, side by side.
    """

    counts: tuple[GroupCount, ...]
    drawn: int
    judged: int
    rate: Rate | None
    rates: Mapping[Group, Mapping[str, Rate]]
    quality: AuditorQuality
    agreement: Agreement
    curve: tuple[CurvePoint, ...]
    fitted: Fitted | None = None
    unseen: bool = True
    describings: tuple[Describing, ...] = ()


def report(services: Services, dataset: str) -> Report:
    """Rates and the auditor's quality, from what people judged so far.

    Raises: AuditingError: no such data set, it was not audited, or its judge's file is damaged.
    """
    with reading(services.engine) as session:
        dataset_id, recipe = _audit(session, dataset)
        fitted = _fitted(session, services, dataset_id, dataset)
        counts = counts_by(session, dataset_id=dataset_id, recipe=recipe, group="kind")
        drawn = sample_size(session, dataset_id=dataset_id, recipe=recipe)
        judged = sample_judgements(session, dataset_id=dataset_id, recipe=recipe)
    rates = {group: _largest(rates_by(judged, group)) for group in GROUPS} if judged else {}
    since = [each for each in judged if each.fresh]
    unseen = fitted is None or bool(since)
    measured = judged if fitted is None else since
    return Report(
        tuple(counts),
        drawn,
        len(judged),
        hallucination_rate(judged),
        rates,
        fitted.held_out if fitted and not unseen else quality(measured),
        agreement(judged),
        curve(fitted.scored) if fitted and not unseen else curve_of(measured),
        fitted,
        unseen,
        tuple(describings(services.engine, dataset_id=dataset_id)),
    )


def _largest(rates: Mapping[str, Rate]) -> dict[str, Rate]:
    """Those that most claims were judged of, in that order."""
    return dict(sorted(rates.items(), key=lambda pair: -pair[1].claims)[:MOST_RATES])


def _fitted(session: Session, services: Services, dataset_id: int, dataset: str) -> Fitted | None:
    """What is known of the judge of the latest audit, where it was fitted on people's verdicts."""
    try:
        judge = kept_judge(services.settings.home, dataset)
        run = audit_runs(session, dataset_id=dataset_id)[0]
        basis = Basis.of_run(run.config)
        if judge is None or basis is None or basis.work(judge).recipe != run.recipes["audit"]:
            return None
        return Fitted.from_json(known_of_judge(services.settings.home, dataset))
    except JudgeError as error:
        raise AuditingError(sentence(error)) from error


def fit(services: Services, dataset: str, owner: str) -> int:
    """Queue the fit of the data set's own judge on what people said of the sample; the id of its job.

    Raises: AuditingError: it was not audited, or too few claims of its sample were judged.
    """
    with reading(services.engine) as session:
        dataset_id, recipe = _audit(session, dataset)
    try:  # said now, not by a job that fails
        must_suffice(judged_by_people(services.engine, dataset_id=dataset_id, recipe=recipe))
        config = FitConfig(dataset)
        argv = [sys.executable, *fit_command(config)]
        return services.jobs.enqueue(kind="fit-judge", owner=owner, config=asdict(config), argv=argv)
    except (JudgeError, DatabaseError, ValueError) as error:
        raise AuditingError(sentence(error)) from error


def config_of(dataset: str, detector: str, checkpoint: str, asked: str, server: str, judge: str) -> AuditConfig:
    """The settings of an audit.

    Raises: AuditingError: one of them is wrong.
    """
    if not dataset:
        raise AuditingError("There is no data set yet: import and annotate one on the Annotate page.")
    try:
        kinds: Any = {"detector": detector, "asked": asked}
        address = server.strip() if asked == "server" else ""  # the field is hidden otherwise
        sources = SourceChoice(checkpoint=checkpoint, server=address, **kinds)
        return AuditConfig(dataset, sources=sources, judge=judge)
    except ValueError as error:
        raise AuditingError(sentence(error)) from error


def start(services: Services, config: AuditConfig, owner: str) -> int:
    """Queue an audit; the id of its job.

    Raises: AuditingError: nothing is described yet, weights are missing, or it could not begin.
    """
    try:  # what is missing is said now, not by a job that fails
        judge_of(config, services.settings.home)
        basis_of(config, described_by(services.engine, config))
        return services.jobs.enqueue(
            kind="audit", owner=owner, config={"dataset": config.dataset}, argv=[sys.executable, *command_line(config)]
        )
    except (AnnotateError, JudgeError, DatabaseError, ValueError) as error:
        raise AuditingError(sentence(error)) from error


def reject(services: Services, wanted: Wanted, owner: str) -> int:
    """Queue the rejection of every region whose description holds a claim that matches; the id of its job.

    Raises: AuditingError: nothing to go by.
    """
    keep = _filter(wanted)
    try:
        judged = cast(Judged, wanted.judged)
        config = RejectConfig(wanted.dataset, owner, keep.kinds, keep.verdicts, wanted.likely, keep.words, judged)
        argv = [sys.executable, *reject_command(config)]
        return services.jobs.enqueue(kind="reject", owner=owner, config=asdict(config), argv=argv)
    except (DatabaseError, ValueError) as error:
        raise AuditingError(sentence(error)) from error


def following(services: Services, wanted: Wanted, claim_id: int) -> int | None:
    """The claim behind one in the order of the list; None at its end.

    Raises: AuditingError.
    """
    with reading(services.engine) as session:
        dataset_id, recipe = _audit(session, wanted.dataset)
        claim = get_claim(session, claim_id=claim_id)
        at = Place(claim.probability, claim.id) if claim and claim.probability is not None else None
        rows = claim_page(session, dataset_id=dataset_id, recipe=recipe, wanted=_filter(wanted), after=at, limit=1)
    return rows[0].claim.id if rows else None


def claims(services: Services, wanted: Wanted, after: str = "") -> Claims:
    """A page of claims, worst first.

    Raises: AuditingError: no such data set, it was not audited, or a filter has no meaning.
    """
    with reading(services.engine) as session:
        dataset_id, recipe = _audit(session, wanted.dataset)
        rows = claim_page(
            session, dataset_id=dataset_id, recipe=recipe, wanted=_filter(wanted), after=_place(after), limit=PAGE
        )
    last = rows[-1].claim if len(rows) == PAGE else None
    return Claims(tuple(rows), f"{last.probability!r}/{last.id}" if last else "")


def open_claim(services: Services, pictures: Pictures, claim_id: int, sample: int | None = None) -> Opened:
    """A claim with what it was said in, its regions, and what people say.

    Raises: AuditingError: there is none of that id.
    """
    with reading(services.engine) as session:
        claim = get_claim(session, claim_id=claim_id)
        if claim is None:
            raise AuditingError(f"There is no claim {claim_id}: the audit was run anew meanwhile.")
        rows = claims_of(session, image_ids=[claim.image_id], recipe=claim.recipe)[claim.image_id]
        siblings = tuple(row for row in rows if row.claim.description_id == claim.description_id)
        regions = tuple(regions_of(session, description_ids=[claim.description_id])[claim.description_id])
        said = tuple(verdicts_on(session, claim_id=claim_id))
    row = next(each for each in siblings if each.claim.id == claim_id)
    try:
        return Opened(row, siblings, regions, said, pictures.get(row.image)[1], sample=sample)
    except RefusedError as error:
        return Opened(row, siblings, regions, said, "", str(error), sample)


def verdict_of(services: Services, claim_id: int) -> Verdict:
    """The auditor's own.

    Raises: AuditingError: no such claim.
    """
    with reading(services.engine) as session:
        claim = get_claim(session, claim_id=claim_id)
    if claim is None:
        raise AuditingError(f"There is no claim {claim_id}: the audit was run anew meanwhile.")
    return claim.verdict


def decide(services: Services, claim_id: int, verdict: str, who: str, note: str = "") -> None:
    """Say whether the picture supports a claim.

    Raises: AuditingError: no such claim or verdict.
    """
    if verdict not in get_args(Verdict):
        raise AuditingError(f"Expected {', '.join(get_args(Verdict))}, got {verdict[:40]!r}: choose one.")
    verdict_of(services, claim_id)
    say = partial(set_claim_verdict, claim_id=claim_id, who=who, verdict=cast(Verdict, verdict), note=note)
    _write(services, say)


def take_back(services: Services, claim_id: int, who: str) -> None:
    """Forget what a person said of a claim."""
    _write(services, partial(take_back_verdict, claim_id=claim_id, who=who))


def fix(services: Services, claim_id: int, text: str, who: str) -> str:
    """Other words for the description, in every region that has it; what was done, for people.

    The claim counts as unsupported from now on: the words that made it were changed for that.

    Raises: AuditingError: no words, too many, or somebody else changed a region meanwhile.
    """
    words = " ".join(text.split())
    if not 0 < len(words) <= MOST_TEXT:
        raise AuditingError(f"A description has 1 to {MOST_TEXT} characters, got {len(words)}: correct it.")

    def write(session: Session) -> int:
        claim = get_claim(session, claim_id=claim_id)
        if claim is None:
            raise AuditingError(f"There is no claim {claim_id}: the audit was run anew meanwhile.")
        rows = regions_of(session, description_ids=[claim.description_id])[claim.description_id]
        for row in rows:
            change = AnnotationChange(text=words)
            edit_annotation(session, annotation_id=row.id, expected_version=row.version, who=who, change=change)
        set_claim_verdict(session, claim_id=claim_id, who=who, verdict="unsupported", note=f"fixed: {words}")
        return len(rows)

    regions = int(_write(services, write))
    if not regions:
        return "No region has this description, so there is nothing to change; the claim counts as unsupported."
    return f"Changed in {regions} region{'s' if regions > 1 else ''}; Curate's undo brings the old words back."


def preview(services: Services, wanted: Wanted) -> Touched:
    """What rejecting everything that matches would touch.

    Raises: AuditingError.
    """
    with reading(services.engine) as session:
        dataset_id, recipe = _audit(session, wanted.dataset)
        return touched(session, dataset_id=dataset_id, recipe=recipe, wanted=_filter(wanted))


def draw(services: Services, dataset: str, count: int) -> int:
    """Draw a sample for people, or add to it; how many were added.

    Raises: AuditingError.
    """

    def work(session: Session) -> int:
        dataset_id, recipe = _audit(session, dataset)
        return draw_sample(session, dataset_id=dataset_id, recipe=recipe, count=count)

    return int(_write(services, work))


def next_in_sample(services: Services, pictures: Pictures, dataset: str, who: str, after: int = -1) -> Opened | None:
    """The next claim of the sample that wants this person's verdict; None when there is none.

    Raises: AuditingError.
    """
    with reading(services.engine) as session:
        dataset_id, recipe = _audit(session, dataset)
        found = next_to_judge(session, dataset_id=dataset_id, recipe=recipe, who=who, after=after)
    return None if found is None else open_claim(services, pictures, found[1].claim.id, found[0])


def _audit(session: Session, name: str) -> tuple[int, str]:
    dataset = get_dataset(session, name=name) if name else None
    if dataset is None:
        raise AuditingError("There is no data set yet: import one on the Annotate page.")
    recipe = latest_audit(session, dataset_id=dataset.id)
    if not recipe:
        raise AuditingError(f"The data set {name[:60]!r} was not audited yet: press Audit.")
    return dataset.id, recipe


def _filter(wanted: Wanted) -> ClaimFilter:
    return ClaimFilter(
        kinds=cast(tuple[ClaimKind, ...], tuple(each for each in wanted.kinds if each in get_args(ClaimKind))),
        verdicts=cast(tuple[Verdict, ...], tuple(each for each in wanted.verdicts if each in get_args(Verdict))),
        at_most=wanted.likely if wanted.likely < 1 else None,
        words=wanted.words.strip(),
        settled=SETTLED.get(cast(Judged, wanted.judged)),
    )


def _place(after: str) -> Place | None:
    probability, _, last = after.partition("/")
    return Place(float(probability), int(last)) if last else None


def _write(services: Services, work: Any) -> Any:
    try:
        return retrying(services.engine, work)
    except EditConflictError as error:
        raise AuditingError(f"{error.by or 'Somebody'} changed a region of it meanwhile: look again.") from error
    except (ValueError, DatabaseError) as error:
        raise AuditingError(sentence(error)) from error

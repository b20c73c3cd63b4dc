"""Do what the Audit page asks for: audit, fit a judge, draw a sample, keep verdicts, reject by a rule."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, cast, get_args

from app.access.accounts import Person
from app.access.permissions import check_readable, check_server, checkpoint_spec
from app.audit.claims import AuditFilter, audit_of, existing_claim
from app.core.page_values import chosen_dataset
from app.jobs.control import NewJob
from app.jobs.devices import DATA
from app.services import Services
from curation.annotate.sample_annotators import SampleDescriber
from curation.annotate.servers import add_server
from curation.audit.audit import SHIPPED, AuditConfig, basis_of, command_line, find_description_run, judge_of
from curation.audit.fit_judge import FitConfig, check_sample_size, judged_by_people
from curation.audit.fit_judge import command_line as fit_command
from curation.audit.reject import JudgedBy, RejectConfig
from curation.audit.reject import command_line as reject_command
from curation.audit.sources import SourceChoice
from db.engine import Session, reading, retrying
from db.models import Verdict
from db.queries.audit_queries import regions_of_descriptions, set_claim_verdict, take_back_verdict
from db.queries.audit_sample_queries import draw_sample
from db.queries.curate_queries import edit_region
from db.queries.edit_conflicts import EditConflictError
from db.queries.edit_values import RegionChange
from grain.texts import one_line
from user_errors import UserError

KINDS = ("audit", "reject", "fit-judge")  # of jobs that the page shows


def audit_config(
    dataset: str, *, detector: str, checkpoint: str, vqa: str, server: str = "", judge: str = ""
) -> AuditConfig:
    """Return the settings of an audit.

    Raises: UserError: one of them is wrong.
    """
    chosen_dataset(dataset)
    kinds: Any = {"detector": detector, "vqa": vqa}
    address = server.strip() if vqa == "server" else ""  # the field is hidden otherwise
    return AuditConfig(dataset, sources=SourceChoice(checkpoint=checkpoint, server=address, **kinds), judge=judge)


def fitting_sources(services: Services, dataset: str) -> SourceChoice:
    """Return sources that work offline: for pictures of the sample world those that know it, else photo's."""
    with suppress(UserError):
        described = find_description_run(services.engine, AuditConfig(dataset)).source
        if described == SampleDescriber.name:
            return SourceChoice("sample", checkpoint="sample", vqa="sample")
    return SourceChoice("photo")


def start(services: Services, config: AuditConfig, person: Person) -> int:
    """Queue an audit; return the id of its job.

    Raises: UserError: nothing is described yet, weights are missing, it could not begin, or the person may not name
            the server, the checkpoint or the judge.
    """
    home = services.settings.home
    if config.sources.server:
        check_server(home, person, config.sources.server)
    check_readable(home, person.role, *([config.judge] if config.judge not in ("", SHIPPED) else []))
    if checkpoint := config.sources.checkpoint:
        place = checkpoint_spec(services.registry, checkpoint, home=home, role=person.role)
        config = replace(config, sources=replace(config.sources, checkpoint=place))
    judge_of(config, home)  # before a job fails for the same reason
    basis_of(config, find_description_run(services.engine, config))
    if config.sources.server:
        add_server(home, config.sources.server)
    settings = {"dataset": config.dataset}
    return services.jobs.submit(NewJob(kind="audit", owner=person.name, config=settings, argv=command_line(config)))


def fit(services: Services, dataset: str, owner: str, *, audit: int = 0) -> int:
    """Queue the fit of the data set's own judge on people's verdicts on an audit's sample; return the id of its job.

    Raises: UserError: it was not audited, or too few claims of its sample were judged.
    """
    with reading(services.engine) as session:
        key = audit_of(session, dataset, audit).key
    check_sample_size(judged_by_people(services.engine, **key))
    config = FitConfig(dataset, audit_run=audit)
    return services.jobs.submit(NewJob(kind="fit-judge", owner=owner, config=config, argv=fit_command(config)))


def reject(services: Services, claim_filter: AuditFilter, owner: str) -> int:
    """Queue the rejection of every region whose description holds a claim that matches; return the id of its job.

    Raises: UserError: the filter matches everything.
    """
    query = claim_filter.query()
    config = RejectConfig(
        claim_filter.dataset,
        owner,
        kinds=query.kinds,
        verdicts=query.verdicts,
        at_most=claim_filter.at_most,
        words=query.words,
        judged=cast(JudgedBy, claim_filter.judged),
        audit_run=claim_filter.audit,
    )
    argv = reject_command(config)
    return services.jobs.submit(NewJob(kind="reject", owner=owner, config=config, argv=argv, device=DATA))


def draw(services: Services, dataset: str, count: int, *, audit: int = 0) -> int:
    """Draw an audit's sample for people, or add to it; return how many claims were added.

    Raises: UserError: no such data set or audit, it was not audited, or the number is none.
    """
    if count < 1:
        raise UserError(f"A sample has 1 claim or more, got {count}: correct the number.")

    def work(session: Session) -> int:
        return draw_sample(session, **audit_of(session, dataset, audit).key, count=count)

    return retrying(services.engine, work)


def auditor_verdict(services: Services, claim_id: int) -> Verdict:
    """Return the auditor's own verdict on a claim.

    Raises: UserError: no such claim.
    """
    with reading(services.engine) as session:
        return existing_claim(session, claim_id).verdict


def decide(services: Services, claim_id: int, *, verdict: str, who: str) -> None:
    """Keep a person's verdict on a claim.

    Raises: UserError: no such claim or verdict.
    """
    if verdict not in get_args(Verdict):
        raise UserError(f"Expected {', '.join(get_args(Verdict))}, got {verdict[:40]!r}: choose one.")

    def write(session: Session) -> None:
        existing_claim(session, claim_id)
        set_claim_verdict(session, claim_id=claim_id, who=who, verdict=cast(Verdict, verdict))

    retrying(services.engine, write)


def take_back(services: Services, claim_id: int, *, who: str) -> None:
    """Remove a person's verdict on a claim."""
    retrying(services.engine, partial(take_back_verdict, claim_id=claim_id, who=who))


def rewrite(services: Services, claim_id: int, *, text: str, seen: Mapping[int, int], who: str) -> str:
    """Change the description in every region that has it; return what was done, for people.

    The claim counts as unsupported from now on: the words that made it were changed for that.

    Args:   seen: the version of each region that the person saw.
    Raises: UserError: no words, too many, or somebody else changed a region meanwhile.
    """
    words = one_line(text)

    def write(session: Session) -> int:
        claim = existing_claim(session, claim_id)
        found = regions_of_descriptions(session, description_ids=[claim.description_id])
        rows = found[claim.description_id]
        for row in rows:
            change = RegionChange(text=words)
            edit_region(session, region_id=row.id, expected_version=seen.get(row.id, 0), who=who, change=change)
        set_claim_verdict(session, claim_id=claim_id, who=who, verdict="unsupported", note=f"fixed: {words}")
        return len(rows)

    try:
        regions = retrying(services.engine, write)
    except EditConflictError as error:
        person = error.by or "Somebody"
        raise UserError(f"{person} changed a region of it meanwhile: open the claim again.") from error
    if not regions:
        return "No region has this description, so there is nothing to change; the claim counts as unsupported."
    return f"Changed in {regions} region{'s' if regions > 1 else ''}; Curate's undo brings the old words back."

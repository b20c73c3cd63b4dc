"""Answer the comparison of prompts on the Annotate page: queue it, read it, take people's verdicts on its claims."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, cast, get_args

from app.access.accounts import Person
from app.annotate.actions import config_of, integer_field, keep_server, slots_of
from app.annotate.form import AUDITOR_CHOICES, AnnotateForm
from app.jobs.control import NewJob
from app.services import Services
from curation.audit.compare_prompts import ComparePromptsConfig, command_line
from curation.audit.prompt_comparison import PromptComparison, next_claim, prompt_comparison
from curation.audit.sources import SourceChoice, named_sources
from curation.files.decode import RefusedError
from db.engine import reading, retrying
from db.models import Verdict
from db.queries.audit_queries import ClaimRow, set_claim_verdict
from user_errors import UserError

EXAMPLES = 4  # pictures that are shown with what both prompts said of them
AUDITORS = OFFLINE, OWLV2 = tuple(value for _, value in AUDITOR_CHOICES)


@dataclass(frozen=True)
class ClaimToJudge:
    """A claim of either prompt; which one is not told. uri: "" where the picture cannot be shown, problem says why."""

    row: ClaimRow
    uri: str
    problem: str = ""


def compare_config(
    services: Services, form: AnnotateForm, person: Person, *, pictures: Any, auditor: str, claims: Any
) -> ComparePromptsConfig:
    """Return the settings of a comparison by the describer of the form.

    Raises: UserError: see config_of, or a number is no number.
    """
    asked = config_of(services, form, person)
    if auditor not in AUDITORS:
        raise UserError(f"Expected the auditor {' or '.join(AUDITORS)}, got {str(auditor)[:40]!r}: choose one.")
    return ComparePromptsConfig(
        asked.dataset,
        integer_field(pictures, "pictures"),
        asked.describer,
        asked.sample,
        _sources(asked.describer.kind, auditor),
        integer_field(claims, "claims"),
        batch=asked.batch,
    )


def _sources(describer: str, auditor: str) -> SourceChoice:
    if auditor == OWLV2:
        return SourceChoice("owlv2")
    return SourceChoice("sample", checkpoint="sample", vqa="sample") if describer == "sample" else SourceChoice("photo")


def start(services: Services, config: ComparePromptsConfig, owner: str) -> int:
    """Queue a comparison; return the id of its job.

    Raises: UserError: weights of the describer or of a source are missing.
    """
    config.recipes()
    named_sources(config.sources)
    keep_server(services, config.describer.server)
    device, width = slots_of(services.jobs.slots, config.describer)
    return services.jobs.submit(
        NewJob(
            kind="compare-prompts", owner=owner, config=config, argv=command_line(config), device=device, width=width
        )
    )


def comparison(services: Services, config: ComparePromptsConfig) -> PromptComparison | None:
    """Return the comparison of these settings; None where it is not done.

    Raises: UserError: weights are missing, so that the recipes are not known.
    """
    recipes = config.recipes()
    with reading(services.engine) as session:
        return prompt_comparison(session, sample=config.sample_name, recipes=recipes, examples=EXAMPLES)


def claim_to_judge(services: Services, config: ComparePromptsConfig, *, who: str) -> ClaimToJudge | None:
    """Return a person's next claim; None where all are judged, or none was drawn.

    Raises: UserError: as of comparison.
    """
    recipes = config.recipes()
    with reading(services.engine) as session:
        row = next_claim(session, sample=config.sample_name, recipes=recipes, who=who)
    if row is None:
        return None
    try:
        return ClaimToJudge(row, services.pictures.get(row.image)[1])
    except RefusedError as error:
        return ClaimToJudge(row, "", error.sentence)


def judge(services: Services, claim_id: int, verdict: str, *, who: str) -> None:
    """Keep a person's verdict on a claim.

    Raises: UserError: no such claim or verdict.
    """
    if verdict not in get_args(Verdict):
        raise UserError(f"Expected {', '.join(get_args(Verdict))}, got {verdict[:40]!r}: choose one.")
    kept = partial(set_claim_verdict, claim_id=claim_id, who=who, verdict=cast(Verdict, verdict))
    retrying(services.engine, kept)

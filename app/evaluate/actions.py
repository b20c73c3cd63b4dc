"""Do what the Evaluate page asks for: start an evaluation, open a picture of one on Ground, review drafts."""

from __future__ import annotations

import json
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from app.access.accounts import Person
from app.core.ground_links import GroundQuestion, save_question
from app.core.typed_descriptions import typed_descriptions
from app.evaluate.request import EvaluateRequest, command_line
from app.evaluate.results import EvaluationResult, model_of
from app.jobs.control import NewJob
from app.services import Services
from curation.annotate.describe_classes import ENDING, Drafts, Verdict, accepted_path, decide, load
from user_errors import UserError

KIND = "evaluate"  # of jobs
MOST_JOBS = 4
MOST_CLASSES = 12  # on Ground, beside the true class and those of the models


def start(services: Services, request: EvaluateRequest, person: Person) -> int:
    """Queue an evaluation; return the id of its job, or of one that asks the same and is under way.

    Raises: UserError: it could not begin.
    """
    name = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
    words = command_line(services, request, out=name, role=person.role)
    compared = [f"experiment {request.experiment}"] if request.experiment else list(request.models)
    asked = [word for word in words if not word.startswith("--out=")]
    config = {"model": ", ".join(compared), "asked": asked}  # no data set: one of a model's name would be renamed in it
    return services.jobs.submit(NewJob(kind=KIND, owner=person.name, config=config, argv=words, once=True))


def link_to_ground(services: Services, result: EvaluationResult, *, data_set: int, picture: int, model: str) -> str:
    """Save a question about a picture with its class's descriptions; return the id of its link.

    Raises: UserError: there is no such picture.
    """
    try:
        details = result.details["data_sets"][data_set]
        one = details["pictures"][str(picture)]
    except (KeyError, IndexError) as error:
        raise UserError("This picture was not kept: only those in the lists were.") from error
    usable = [each.name for each in services.registry.usable()]
    checkpoint = model if model in usable else next(iter(usable), "")
    predicted = [row["said"] for name, row in one["rows"].items() if model_of(name) == model]
    names = list(dict.fromkeys([one["true"], *predicted, *details["classes"]]))[:MOST_CLASSES]
    descriptions = details["descriptions"]
    question = GroundQuestion(
        picture=str(result.folder / "pictures" / Path(one["file"]).name),
        descriptions=typed_descriptions(descriptions.get(one["true"], [])[:MOST_CLASSES]),
        classes=json.dumps({name: descriptions.get(name, []) for name in names}, ensure_ascii=False),
        checkpoint=checkpoint,
        alpha=services.registry.default_alpha(checkpoint),
    )
    return save_question(services.settings, services.engine, question)


def review_names(services: Services) -> list[str]:
    """Return the names of the review files of drafted class descriptions."""
    return sorted(path.name for path in _reviews(services).glob(f"*{ENDING}"))


def read_review(services: Services, name: str) -> tuple[Drafts, Path]:
    """Return the drafts of a review file, and the file of the accepted ones.

    Raises: UserError: there is no such file, or it cannot be read.
    """
    path = _review_file(services, name)
    return load(path), accepted_path(path)


def judge_draft(services: Services, name: str, *, class_name: str, text: str, verdict: str) -> None:
    """Accept or reject a draft, or take its verdict back.

    Raises: UserError: it is not there any more.
    """
    decide(_review_file(services, name), class_name=class_name, text=text, verdict=cast(Verdict, verdict))


def _reviews(services: Services) -> Path:
    return services.settings.home / "class_descriptions"


def _review_file(services: Services, name: str) -> Path:
    if name not in review_names(services):
        raise UserError("There is no such review: choose one of the list.")
    return _reviews(services) / name

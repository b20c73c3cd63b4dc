"""Freeze a novel-concept data set with its classes, provenance, labelling and leak checks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from curation.concepts.compare import ORDER
from curation.concepts.status import STATED, ConceptSetStatus, person_name, status_of
from curation.exchange.concept_classes import to_plain
from curation.ingest.provenance import FOUND_ON
from curation.versions.versions import freeze
from db.engine import Engine
from db.models import DatasetVersion
from user_errors import UserError


def freeze_set(engine: Engine, home: Path, dataset: str, *, name: str, who: str) -> DatasetVersion:
    """Freeze a set with its classes, provenance, labelling and leak checks.

    Raises: UserError: something is missing, or as freeze.
    """
    now = status_of(engine, dataset)
    if missing := [step for step in now.steps() if not step.done and step.name != "freeze"]:
        raise UserError(f"{missing[0].title} first: {missing[0].message}")
    if not name.strip():
        raise UserError("The version needs a name: write one, such as v1.")
    return freeze(
        engine,
        home,
        dataset=dataset,
        name=name.strip(),
        who=person_name(who),
        concepts=frozen_facts(now),
        note="novel concepts",
        pictures=len(now.kept),
    )


def frozen_facts(now: ConceptSetStatus) -> dict[str, Any]:
    """Return what is frozen with the pictures, as plain JSON whose sentences name no person."""
    assert now.concept is not None
    return {
        "classes": to_plain(now.classes),
        "licence": now.concept.licence,
        "intended_use": now.concept.intended_use,
        "provenance": _provenance(now),
        "labelling": _labelling(now),
        "leaks": _leak_report(now),
    }


def _provenance(now: ConceptSetStatus) -> list[str]:
    days = sorted(day for image in now.kept if (day := (image.facts or {}).get(FOUND_ON)))
    released = sorted(one.release_date for one in now.classes if one.release_date)
    found = [f"{len(now.kept):,} pictures, found from {days[0]} to {days[-1]}; each says where."] if days else []
    return found + ([f"The concepts were released from {released[0]} to {released[-1]}."] if released else [])


def _labelling(now: ConceptSetStatus) -> list[str]:
    sentences = []
    for one in now.agreements():
        kappa = "not defined, since both used one label only"
        if one.kappa is not None:
            how = "" if one.low is None else ", 95 % bootstrap over pictures"
            kappa = f"{one.kappa:.2f} {one.interval}{how}"
        sentences.append(
            f"Two people labelled {one.pictures:,} pictures without seeing each other's labels and agreed on "
            f"{one.agreed:,}: Cohen's kappa {kappa}."
        )
    for count, who in zip(now.decided_disagreements(), ("a third person", "one of the two labellers"), strict=True):
        sentences += [f"{count:,} disputed pictures were decided by {who}, who saw both labels."] * bool(count)
    named = any(who.startswith(STATED) for who in now.labelled)
    return sentences + ["The labellers stated their names themselves, without a login."] * named


def _leak_report(now: ConceptSetStatus) -> list[str]:
    sentences = []
    for check in now.checks:
        mine = [one for one in now.suspects if one.against == check.against]
        kinds = ", ".join(f"{sum(one.how == how for one in mine):,} by {how}" for how in ORDER)
        rules = f"looks at most {check.settings['distance']} of 64 bits apart"
        if model := check.settings.get("checkpoint"):
            rules += f", embeddings of {Path(str(model)).name} with a cosine of at least {check.settings['nearest']:g}"
        dropped = sum(one.decision == "drop" for one in mine)
        sentences.append(
            f"{check.checked:,} pictures against {_without_folder(check.against)} ({check.compared:,} pictures"
            + f", {check.skipped:,} of them by content only" * bool(check.skipped)
            + f"): {len(mine):,} suspects ({kinds}; {rules}), of which {dropped:,} dropped and {len(mine) - dropped:,} "
            "kept by a person."
        )
    return sentences


def _without_folder(against: str) -> str:
    """Return the name of a set of training data without this machine's folders."""
    words, slash, path = against.partition("/")
    return words + Path(path).name if slash else against

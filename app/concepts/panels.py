"""Prepare what the page Novel concepts shows: the steps of a set and the work of the open one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from app.concepts.actions import ConceptEvaluation, ExportedVersion
from app.concepts.lists import MOST_SHOWN
from app.core.thumbnails import picture_name, thumbnail_address
from app.ui.html import empty_state, render, utc
from curation.audit.agreement import Agreement
from curation.concepts.freeze_set import frozen_facts
from curation.concepts.status import ConceptSetStatus, Step, person_name, settled_class
from curation.exchange.concept_classes import FACTS, LEFT_OUT, ConceptClass
from curation.ingest.provenance import FOUND_AT, FOUND_ON
from db.models import Image, LeakCheck, LeakSuspect
from db.queries.concept_label_queries import NONE_OF_THESE

MOST_CONFUSIONS = 12
MOST_CLASSES = 100  # in the table at once
KEYS = "123456789qwertyuiopasdfghjklxcvbm"  # of classes, in their order; Z, N and 0 mean something else
NONE_KEY = "0"
LIKENESS = {"content": "the same file", "look": "looks alike", "embedding": "is alike in meaning"}
DATES = (FOUND_ON, "release date")
DATE_EXAMPLE = "2023-09-12"
Field = tuple[str, str, Mapping[str, Any], str]
"""An input: its key, its value, what it sends, its placeholder."""


def steps_panel(steps: Sequence[Step], current: str) -> str:
    """Render the flow: each step with its state in a sign, a word and a sentence."""
    rows = [(step.name, step.title, step.done, step.message) for step in steps]
    return render("concepts/templates/steps.html", steps=rows, current=current)


def work_panel(work: str, link: Mapping[str, str], turn: int) -> str:
    """Render the work with what its address says. work: markup of a panel. turn: grows with every answer."""
    return render("concepts/templates/work.html", work=work, link=link, turn=turn)


def pictures_panel(now: ConceptSetStatus, home: Path, images: Sequence[Image]) -> str:
    """Render pictures that say where and when they were found, or lack it, and those that were left out."""
    if not now.images:
        return empty_state("No pictures yet", "Import a folder: pictures, and a metadata.csv that says where and when.")
    left_out = [(image, (image.facts or {}).get(LEFT_OUT)) for image in now.images]
    return render(
        "concepts/templates/pictures.html",
        unfound=[
            (thumbnail_address(home, image.sha256), picture_name(image), _provenance_fields(image)) for image in images
        ],
        more=len({image.id for image in now.unfound} - {image.id for image in images}),
        left_out=[
            (thumbnail_address(home, image.sha256), picture_name(image), reason) for image, reason in left_out if reason
        ][:MOST_SHOWN],
    )


def _provenance_fields(image: Image) -> list[tuple[str, *Field]]:
    facts, ask = image.facts or {}, {"do": "provenance", "image": image.id}
    return [
        (fact, *_field(f"{image.id} {fact}", facts.get(fact, ""), ask | {"fact": fact}))
        for fact in (FOUND_AT, FOUND_ON)
    ]


def _field(key: str, value: str, ask: Mapping[str, Any]) -> Field:
    return key, value, {**ask, "seen": value}, DATE_EXAMPLE if ask["fact"] in DATES else ""


def leaks_panel(now: ConceptSetStatus, home: Path, suspects: Sequence[LeakSuspect]) -> str:
    """Render the leak checks, and suspects, each beside its match."""
    if not now.checks:
        return empty_state("Not checked yet", "Name the data that models were trained on, and compare.")
    counts = Counter(one.against for one in now.suspects)
    images = {image.id: image for image in now.images}
    return render(
        "concepts/templates/leaks.html",
        checks=[
            (check.against, f"{check.compared:,}", f"{check.checked:,}", f"{counts[check.against]:,}", _rules(check))
            for check in now.checks
        ],
        suspects=[_suspect(one, images[one.image_id], home) for one in suspects],
        more=len(now.suspects) - len(suspects),
    )


def _rules(check: LeakCheck) -> str:
    settings = check.settings
    rules = f"content, look ≤ {settings.get('distance')} bits"
    model = settings.get("checkpoint")
    return rules + (f", {Path(str(model)).name} cosine ≥ {settings.get('nearest'):g}" if model else "")


def _suspect(one: LeakSuspect, image: Image, home: Path) -> dict[str, Any]:
    value = {"content": "", "look": f", {one.value:.0f} of 64 bits apart", "embedding": f", cosine {one.value:.2f}"}
    ask = {"do": "decide_leak", "id": one.id, "seen": one.decision}
    return {
        "uri": thumbnail_address(home, image.sha256),
        "name": picture_name(image),
        "match_uri": thumbnail_address(home, one.match_sha256),
        "match_name": one.match_name,
        "against": one.against,
        "likeness": LIKENESS[one.how],
        "value": value[one.how],
        "choices": [(word, one.decision == word, ask | {"value": word}) for word in ("keep", "drop")],
        "by": person_name(one.decided_by) if one.decision else "",
    }


def classes_panel(now: ConceptSetStatus, first: int = 0) -> str:
    """Render some of the classes with their facts, to fill in. first: where they begin among all."""
    if not now.classes or now.concept is None:
        return empty_state("No classes yet", "Write them above, one a line, or paste a JSON of DCLIP or CuPL.")
    total = len(now.classes)
    first = first if 0 <= first < total else 0
    last = min(first + MOST_CLASSES, total)
    rows = [(one.name, _fact_fields(one), "; ".join(one.descriptions)) for one in now.classes[first:last]]
    return render(
        "concepts/templates/classes.html",
        heads=("class", *FACTS, "descriptions"),
        rows=rows,
        place=f"{first + 1:,} to {last:,} of {total:,} classes" if total > MOST_CLASSES else "",
        back=max(first - MOST_CLASSES, 0) if first else None,
        forward=last if last < total else None,
    )


def _fact_fields(one: ConceptClass) -> list[Field]:
    ask = {"do": "class_fact", "name": one.name}
    return [
        _field(f"{one.name} {fact}", getattr(one, attribute), ask | {"fact": fact}) for fact, attribute in FACTS.items()
    ]


def label_panel(now: ConceptSetStatus, image: Image | None, uri: str, *, who: str, message: str) -> str:
    """Render one picture and the classes to choose from; nothing of what others chose.

    Args: image: None when this person has labelled all. uri: its pixels, "" where they cannot be read.
    """
    if len(now.classes) < 2:
        return empty_state("No classes to choose from", "Write at least two in the step Classes.")
    keys = [*KEYS, *[""] * len(now.classes)]
    choices = [(key, one.name, "; ".join(one.descriptions)) for key, one in zip(keys, now.classes, strict=False)]
    choices.append((NONE_KEY, NONE_OF_THESE, "the picture shows something else, or cannot be told"))
    return render(
        "concepts/templates/label.html",
        image=image.id if image else 0,
        uri=uri,
        message=message,
        person=person_name(who),
        done=now.labelled.get(who, 0),
        total=len(now.kept),
        choices=choices,
        without_key=len(now.classes) > len(KEYS),
    )


def agreement_panel(now: ConceptSetStatus, home: Path, images: Sequence[Image], *, message: str) -> str:
    """Render kappa, who disagreed on pictures, and what to decide; before both are done, only that they are not."""
    if not now.everybody_labelled:
        return empty_state(
            "Two people have to label every picture first", "Until then nobody sees another person's labels."
        )
    differ = {one.image_id: one.labels for one in now.disagreements()}
    confused = Counter(tuple(sorted(set(labels.values()))) for labels in differ.values())
    return render(
        "concepts/templates/agreement.html",
        message=message,
        pairs=[_kappa(one) for one in now.agreements()],
        agreed=len(now.agreed()),
        confusions=[(" / ".join(names), count) for names, count in confused.most_common(MOST_CONFUSIONS)],
        disagreements=[_disagreement(image, differ[image.id], now, home=home) for image in images],
        more=len(differ) - len(images),
        classes=[*(one.name for one in now.classes), NONE_OF_THESE],
    )


def _kappa(one: Agreement) -> tuple[str, str, str]:
    sentence = (
        f"Cohen’s kappa of {person_name(one.first)} and {person_name(one.second)}, 95 % interval; they agree on "
        f"{one.agreed:,} of {one.pictures:,} pictures"
    )
    if one.kappa is None:
        return "not defined: both used one label only", "", sentence
    return f"κ = {one.kappa:.2f}", one.interval, sentence


def _disagreement(image: Image, labels: Mapping[str, str], now: ConceptSetStatus, *, home: Path) -> dict[str, Any]:
    settled = settled_class(image)
    ask = {"do": "settle", "image": image.id, "seen": settled}
    other = "" if settled in labels.values() else settled
    return {
        "uri": thumbnail_address(home, image.sha256),
        "name": picture_name(image),
        "labels": [(person_name(who), name) for who, name in sorted(labels.items())],
        "decided": _decided(image, now),
        "chosen": [(name, name == settled, ask | {"value": name}) for name in dict.fromkeys(labels.values())],
        "other": (f"another class for picture {image.id}", other, ask, "another class"),
    }


def _decided(image: Image, now: ConceptSetStatus) -> str:
    """Return who decided a disputed picture; "" where nobody has."""
    if image.id not in now.deciders:
        return ""
    role = "one of its labellers" if now.is_own_decision(image.id) else "a third person"
    return f"decided by {person_name(now.deciders[image.id])}, {role}"


def freeze_panel(now: ConceptSetStatus) -> str:
    """Render what is missing before a freeze, or what the data card will say; and the versions there are."""
    missing = [(step.title, step.message) for step in now.steps() if not step.done and step.name != "freeze"]
    return render(
        "concepts/templates/freeze.html",
        missing=missing,
        card=[] if missing else _card_lines(now),
        versions=[
            (one.name, f"{one.pictures:,}", f"{one.sha256[:12]}…", utc(one.created_at), one.created_by)
            for one in now.versions
        ],
    )


def _card_lines(now: ConceptSetStatus) -> list[str]:
    facts = frozen_facts(now)
    licence = facts["licence"] or "not given yet; write it in the step Classes"
    return [*facts["provenance"], *facts["labelling"], *facts["leaks"], f"Licence: {licence}."]


def evaluations_panel(exported: Sequence[ExportedVersion]) -> str:
    """Render each version's shards, and how well checkpoints recognise its concepts."""
    if not exported:
        return empty_state("No version yet", "Freeze the set: its shards are then written by themselves.")
    versions = [
        {
            "name": one.version.name,
            "shards": str(one.shards or ""),
            "rows": [
                (name, f"{100 * top1:.1f} %", f"[{100 * low:.1f}, {100 * high:.1f}]")
                for each in one.evaluations
                for name, (top1, low, high) in each.top1.items()
            ],
            "counted": _counted(one.evaluations[0]) if one.evaluations else "",
        }
        for one in exported
    ]
    return render("concepts/templates/evaluations.html", versions=versions)


def _counted(one: ConceptEvaluation) -> str:
    chance = f"{100 / one.classes:.0f} %" if one.classes else "–"
    return (
        f"{one.pictures:,} pictures of {one.classes:,} classes; by chance {chance}. "
        "In brackets: 95 % bootstrap intervals over pictures."
    )

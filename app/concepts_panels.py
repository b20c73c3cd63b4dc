"""What the page Novel concepts says, as HTML. Everything that people wrote is escaped."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from app.concepts_flow import Exported
from app.panels import empty_state, notice
from curation.agreement import Agreement
from curation.concept_classes import CLASS, FACTS, LEFT_OUT
from curation.concepts import NONE_OF_THESE, Standing, Step, called, frozen_facts
from curation.ingest import thumbnail_path
from curation.provenance import FOUND_AT, FOUND_ON
from db.models import Image, LeakSuspect

MOST_SHOWN = 60  # pictures in one list; the rest comes as these are dealt with
KEYS = "123456789qwertyuiopasdfghjklxcvbm"  # of classes, in their order; Z, N and 0 mean something else
LIKENESS = {"content": "the same file", "look": "looks alike", "embedding": "means alike"}
NONE_KEY = "0"


def steps_panel(steps: Sequence[Step], current: str) -> str:
    """The flow: each step with its state in a sign, a word and a sentence."""
    rows = "".join(
        f'<li class="{"done" if step.done else "open"}">'
        f'<button type="button" data-ask="{_ask(do="go", step=step.name)}"'
        f"{' aria-current=step' if step.name == current else ''}><b>{'✓' if step.done else number} {step.title}</b>"
        f'<span class="quiet">{"done" if step.done else "to do"} · {escape(step.said)}</span></button></li>'
        for number, step in enumerate(steps, 1)
    )
    return f'<ol class="steps">{rows}</ol>'


def pictures_panel(now: Standing, home: Path) -> str:
    """What was imported, what is not known of it, and what was left out."""
    if not now.images:
        return empty_state("No pictures yet", "Import a folder: pictures, and a metadata.csv that says where and when.")
    missing = "".join(_found_fields(image, home) for image in now.unfound[:MOST_SHOWN])
    more = len(now.unfound) - MOST_SHOWN
    head = f"<h3>Where and when were these found?</h3>{_tail(more)}" if missing else ""
    out = [image for image in now.images if (image.facts or {}).get(LEFT_OUT)]
    gone = "".join(
        f'<figure class="small">{_thumb(home, image.sha256)}<figcaption>{escape((image.facts or {})[LEFT_OUT])}'
        "</figcaption></figure>"
        for image in out[:MOST_SHOWN]
    )
    left = f"<h3>Left out</h3><div class='smalls'>{gone}</div>" if gone else ""
    whole = "" if missing else '<p class="quiet">Every picture says where and when it was found.</p>'
    return f'{whole}{head}<div class="found">{missing}</div>{left}'


def leaks_panel(now: Standing, home: Path) -> str:
    """The checks, and each suspect beside its match."""
    if not now.checks:
        return empty_state("Not checked yet", "Name the data that models were trained on, and compare.")
    rows = "".join(
        f"<tr><th>{escape(check.against)}</th><td>{check.compared:,}</td><td>{check.checked:,}</td>"
        f"<td>{sum(one.against == check.against for one in now.suspects):,}</td>"
        f'<td class="quiet">{escape(_rules(check.settings))}</td></tr>'
        for check in now.checks
    )
    table = (
        '<table class="costs"><thead><tr><th>compared with</th><th>training pictures</th><th>checked</th>'
        f"<th>suspects</th><th>by</th></tr></thead>{rows}</table>"
    )
    images = {image.id: image for image in now.images}
    ordered = sorted(now.suspects, key=lambda one: (bool(one.decision), one.id))
    shown = "".join(_suspect(one, images[one.image_id], home) for one in ordered[:MOST_SHOWN])
    none = "" if shown else '<p class="quiet">No picture is like a training picture.</p>'
    return f'{table}{none}<div class="suspects">{shown}</div>{_tail(len(ordered) - MOST_SHOWN)}'


def classes_panel(now: Standing) -> str:
    """What each class is, to fill in."""
    if not now.classes or now.concept is None:
        return empty_state("No classes yet", "Write them above, one a line, or paste a JSON of DCLIP or CuPL.")
    heads = "".join(f"<th>{name}</th>" for name in FACTS)
    rows = ""
    for one in now.classes:
        fields = "".join(
            "<td>"
            + _field(
                f"{one.name} {fact}",
                getattr(one, field),
                do="fact",
                name=one.name,
                fact=fact,
                version=now.concept.version,
            )
            + "</td>"
            for fact, field in FACTS.items()
        )
        rows += (
            f"<tr><th>{escape(one.name)}</th>{fields}<td class='quiet'>{escape('; '.join(one.descriptions))}</td></tr>"
        )
    return (
        f'<div class="wide"><table class="costs facts-table"><thead><tr><th>class</th>{heads}<th>descriptions</th></tr>'
        f"</thead>{rows}</table></div>"
    )


def label_panel(now: Standing, image: Image | None, uri: str, who: str, said: str) -> str:
    """One picture and the classes to choose from; nothing of what others said."""
    if len(now.classes) < 2:
        return empty_state("No classes to choose from", "Write at least two in the step Classes.")
    mine, whole = now.labelled.get(who, 0), len(now.kept)
    head = (
        f'<p class="said" role="status">{escape(said)}</p><div class="meter"><span>{escape(called(who))}</span>'
        f'<span class="progress"><i style="width:{100 * mine / max(1, whole):.1f}%"></i></span>'
        f'<span class="number">{mine:,} of {whole:,}</span></div>'
    )
    undo = f'<button type="button" data-ask="{_ask(do="undo")}"><kbd>Z</kbd> undo</button>'
    if image is None:
        end = empty_state("You have labelled every picture", "The step Agreement opens when two people have.")
        return f'<div class="label-work">{head}{end}<div class="row-acts">{undo}</div></div>'
    frame = f'<img src="{uri}" alt="The picture to label">' if uri else notice("This picture cannot be read any more.")
    keys = [*KEYS, *[""] * len(now.classes)]
    buttons = "".join(
        _choice(image, key, one.name, "; ".join(one.descriptions)) for key, one in zip(keys, now.classes, strict=False)
    ) + _choice(image, NONE_KEY, NONE_OF_THESE, "the picture shows something else, or cannot be told")
    skip = f'<button type="button" data-ask="{_ask(do="skip")}"><kbd>N</kbd> later</button>'
    return (
        f'<div class="label-work" data-image="{image.id}">{head}<div class="label-frame">{frame}</div>'
        f'<div class="choices" role="group" aria-label="It shows">{buttons}</div>'
        f'<div class="row-acts">{undo}{skip}'
        '<button type="button" class="show-keys"><kbd>?</kbd> all keys</button></div></div>'
    )


def agreement_panel(now: Standing, home: Path, said: str) -> str:
    """Kappa, who disagreed where, and what to decide; before both are done, only that they are not."""
    if not now.everybody_labelled:
        return empty_state(
            "Two people have to label every picture first", "Until then nobody is shown what another person said."
        )
    pairs = "".join(map(_kappa, now.agreements()))
    agreed = now.agreed()
    take = (
        f'<button type="button" class="primary" data-ask="{_ask(do="take")}">'
        f"Take over the {len(agreed):,} on which all agree</button>"
        if agreed
        else ""
    )
    images = {image.id: image for image in now.images}
    differ = [(images[one.image_id], one.labels) for one in now.disagreements()]
    ordered = sorted(differ, key=lambda pair: (_settled(pair[0]) != "", pair[0].id))
    rows = "".join(_disputed(image, labels, now, home) for image, labels in ordered[:MOST_SHOWN])
    where = Counter(tuple(sorted(set(labels.values()))) for _, labels in differ)
    most = "".join(f"<li>{escape(' / '.join(names))} <b>{count:,}</b></li>" for names, count in where.most_common(12))
    return (
        f'<p class="said" role="status">{escape(said)}</p>{pairs}{take}'
        + (f'<h3>What was taken for what</h3><ul class="sources">{most}</ul>' if most else "")
        + (f'<h3>Disputed</h3><div class="suspects">{rows}</div>{_tail(len(ordered) - MOST_SHOWN)}' if rows else "")
    )


def freeze_panel(now: Standing) -> str:
    """What the data card will say, or what is missing; the versions there are."""
    missing = [step for step in now.steps() if not step.done and step.name != "freeze"]
    if missing:
        rows = "".join(f"<li><b>{step.title}</b> {escape(step.said)}</li>" for step in missing)
        card = f'{notice("Before the set can be frozen:")}<ul class="sources">{rows}</ul>'
    else:
        facts = frozen_facts(now)
        lines = [*facts["provenance"], *facts["labelling"], *facts["leaks"]]
        lines.append(f"Licence: {facts['licence'] or 'not said yet; write it in the step Classes'}.")
        card = "<h3>The data card will say</h3><ul class='sources'>" + "".join(
            f"<li>{escape(line)}</li>" for line in lines
        )
        card += "</ul>"
    versions = "".join(
        f"<tr><th>{escape(one.name)}</th><td>{one.pictures:,} pictures</td><td><code>{one.sha256[:12]}…</code></td>"
        f"<td>{one.created_at:%Y-%m-%d %H:%M} UTC</td><td>{escape(one.created_by)}</td></tr>"
        for one in now.versions
    )
    return card + (f'<h3>Versions</h3><table class="costs">{versions}</table>' if versions else "")


def evaluations_panel(made: Sequence[Exported]) -> str:
    """Each version's export, and how well checkpoints recognise its concepts."""
    if not made:
        return empty_state("No version yet", "Freeze the set: its shards are then written by themselves.")
    return "".join(_evaluated(one) for one in made)


def _evaluated(one: Exported) -> str:
    where = f"<code>{escape(str(one.shards))}</code>" if one.shards else "its shards are not written yet"
    head = f'<h3>Version {escape(one.version.name)}</h3><p class="quiet">{where}</p>'
    if not one.evaluations:
        return head + '<p class="quiet">No checkpoint was evaluated on it yet.</p>'
    rows = "".join(
        f"<tr><th>{escape(name)}</th><td>{_with_interval(found)}</td></tr>"
        for each in one.evaluations
        for name, found in each.top1.items()
    )
    first = one.evaluations[0]
    chance = f"{100 / first.classes:.0f} %" if first.classes else "–"
    return (
        f'{head}<div class="wide"><table class="costs"><thead><tr><th>model · way</th><th>top-1</th></tr></thead>{rows}'
        f'</table></div><p class="quiet">{first.pictures:,} pictures of {first.classes:,} classes; by chance {chance}. '
        "In brackets: 95 % bootstrap intervals over pictures.</p>"
    )


def _with_interval(value: tuple[float, float, float]) -> str:
    return f"<b>{100 * value[0]:.1f} %</b> [{100 * value[1]:.1f}, {100 * value[2]:.1f}]"


def _kappa(one: Agreement) -> str:
    kappa = "not defined: both used one label only" if one.kappa is None else f"κ = {one.kappa:.2f}"
    interval = "" if one.kappa is None else f" {one.interval}"
    return (
        f'<p class="kappa"><b>{kappa}</b>{interval} <span class="quiet">Cohen’s kappa of '
        f"{escape(called(one.first))} and {escape(called(one.second))}, 95 % interval; they agree on {one.agreed:,} of "
        f"{one.pictures:,} pictures</span></p>"
    )


def _disputed(image: Image, labels: Any, now: Standing, home: Path) -> str:
    chosen = _settled(image)
    said = "".join(f"<li>{escape(called(who))}: <b>{escape(name)}</b></li>" for who, name in sorted(labels.items()))
    first = dict.fromkeys([*labels.values(), *(one.name for one in now.classes), NONE_OF_THESE])
    buttons = [
        f'<button type="button" aria-pressed="{str(name == chosen).lower()}" '
        f'data-ask="{_ask(do="settle", image=image.id, version=image.version, label=name)}">{escape(name)}</button>'
        for name in first
    ]
    count = len(set(labels.values()))
    others = f"<details><summary>another class</summary>{''.join(buttons[count:])}</details>"
    return (
        f'<div class="suspect">{_thumb(home, image.sha256)}<div><ul class="sources">{said}</ul>'
        f'<div class="row-acts">{"".join(buttons[:count])}</div>{others}</div></div>'
    )


def _settled(image: Image) -> str:
    facts = image.facts or {}
    return NONE_OF_THESE if facts.get(LEFT_OUT) else facts.get(CLASS, "")


def _suspect(one: LeakSuspect, image: Image, home: Path) -> str:
    value = {"content": "", "look": f", {one.value:.0f} of 64 bits apart", "embedding": f", cosine {one.value:.2f}"}
    buttons = "".join(
        f'<button type="button" aria-pressed="{str(one.decision == decision).lower()}" '
        f'data-ask="{_ask(do="leak", id=one.id, expected=one.decision, decision=decision)}">{decision}</button>'
        for decision in ("keep", "drop")
    )
    by = f' <span class="quiet">{escape(called(one.decided_by))}</span>' if one.decision else ""
    return (
        f'<div class="suspect">{_thumb(home, image.sha256)}{_thumb(home, one.match_sha256)}<div>'
        f"<b>{LIKENESS[one.how]}</b>{value[one.how]}"
        f'<p class="quiet">{escape(Path(image.location).name)} is like {escape(one.match_name)} of '
        f"{escape(one.against)}</p>"
        f'<div class="row-acts">{buttons}{by}</div></div></div>'
    )


def _found_fields(image: Image, home: Path) -> str:
    facts = image.facts or {}
    say: dict[str, Any] = {"do": "tell", "image": image.id, "version": image.version}
    fields = "".join(
        f"<label>{fact}{_field(f'{image.id} {fact}', facts.get(fact, ''), **say, fact=fact)}</label>"
        for fact in (FOUND_AT, FOUND_ON)
    )
    name = escape(Path(image.member or image.location).name)
    return (
        f'<div class="suspect">{_thumb(home, image.sha256)}<div><span class="quiet">{name}</span>{fields}</div></div>'
    )


def _field(key: str, value: str, **say: Any) -> str:
    """An input that says its value when it is left. key: finds it again after the page was drawn anew."""
    hint = ' placeholder="2023-09-12"' if say.get("fact") in (FOUND_ON, "release date") else ""
    known = f'data-key="{escape(key)}" aria-label="{escape(key)}"'
    return f'<input value="{escape(value)}" {known} data-say="{_ask(**say)}"{hint}>'


def _choice(image: Image, key: str, name: str, looks: str) -> str:
    shown = f"<kbd>{key.upper()}</kbd> " if key else ""
    return (
        f'<button type="button" data-choice="{key}" data-ask="{_ask(do="label", image=image.id, label=name)}">'
        f'{shown}<b>{escape(name)}</b><span class="quiet">{escape(looks)}</span></button>'
    )


def _rules(settings: Any) -> str:
    said = f"content, look ≤ {settings.get('distance')} bits"
    model = settings.get("checkpoint")
    return said + (f", {Path(str(model)).name} cosine ≥ {settings.get('nearest'):g}" if model else "")


def _thumb(home: Path, sha256: str) -> str:
    file = thumbnail_path(home, sha256)
    if not file.is_file():
        return '<span class="no-thumb">no picture</span>'
    return f'<img src="data:image/jpeg;base64,{base64.b64encode(file.read_bytes()).decode()}" alt="">'


def _tail(more: int) -> str:
    return f'<p class="quiet">and {more:,} more, shown as these are dealt with</p>' if more > 0 else ""


def _ask(**ask: Any) -> str:
    return escape(json.dumps(ask, ensure_ascii=False))

"""What the Ground page says in words and numbers, as HTML. Everything that a person or a model wrote is escaped."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from typing import TYPE_CHECKING

from app.draw import swatch, thumbnail_uri
from app.gallery import Example
from app.looking import Question, Sight
from app.registry import Checkpoint
from grain.checkpoint import EMBEDDED
from grain.structures import ClassScore
from grain.zero_shot import parse_classes, parse_descriptions

if TYPE_CHECKING:
    from app.second_opinion import Comparison
    from curation.describe import Described

AGREE = 0.5  # IoU
MOST_CLASSES = 10  # rows shown; the JSON has them all
MOST_COMMAND_CLASSES = 12
API_PICTURE = "picture.jpg"
ADDRESS = "http://127.0.0.1:7860/"  # the page's script puts its own in its place


def deeds(rows: Iterable[tuple[str, str, datetime]]) -> str:
    """Who did or said what, and when: a row each of a list."""
    return "".join(
        f'<li><b>{escape(who)}</b> {escape(what)} <span class="quiet">{at:%Y-%m-%d %H:%M} UTC</span></li>'
        for who, what, at in rows
    )


def empty_state(title: str, advice: str) -> str:
    """What stands where a result will be."""
    return f'<div class="empty"><b>{escape(title)}</b><span>{escape(advice)}</span></div>'


def notice(sentence: str) -> str:
    """A sentence beside the field it is about; "" clears it."""
    return f'<p class="notice" role="alert">{escape(sentence)}</p>' if sentence else ""


def described(said: Described) -> str:
    """What a describer said of the picture, stage by stage."""
    raw = escape("\n\n".join(said.raw)) or "(no answer)"
    problem = notice(f"It cannot be used: {said.problem}.") if said.problem else ""
    subject = f"<h4>Stage 1 · subject</h4><p>{escape(said.subject)}</p>" if said.subject else ""
    tail = f'<p class="quiet">{len(said.descriptions)} descriptions · {said.seconds:.2f} s</p>'
    return f'<div class="trial">{subject}<h4>As the model wrote it</h4><pre>{raw}</pre>{problem}{tail}</div>'


def comparison(rows: Sequence[Comparison], *, same_model: bool) -> str:
    """Each description under GRAIN and under the detector, and how far their boxes agree.

    Args:   same_model: both are the photo stand-in.
    """
    body = "".join(_comparison_row(index, row) for index, row in enumerate(rows))
    both = [row.iou for row in rows if row.iou is not None]
    agreed = sum(iou >= AGREE for iou in both)
    finding = f"{agreed} of {len(rows)} descriptions have boxes that agree (IoU ≥ {AGREE})."
    honest = notice("Both are the photo stand-in here, so they agree: choose another checkpoint or OWLv2.")
    return (
        f'{honest if same_model else ""}<p class="finding">{finding} '
        '<span class="quiet">Whole lines: GRAIN. Dashed: the detector.</span></p>'
        '<table class="why compare"><thead><tr><th>description</th><th>GRAIN, cosine</th><th>detector, score</th>'
        f"<th>IoU</th></tr></thead><tbody>{body}</tbody></table>"
    )


def _comparison_row(index: int, row: Comparison) -> str:
    own = "not found" if row.grain_xyxy is None else f"{row.cosine:.2f}"
    other = (row.reason or "not found") if row.detector_xyxy is None else f"{row.score:.2f}"
    iou = "–" if row.iou is None else f"{row.iou:.2f}"
    return f"<tr><th>{swatch(index)}{escape(row.text)}</th><td>{own}</td><td>{escape(other)}</td><td>{iou}</td></tr>"


def about(checkpoints: Sequence[Checkpoint], chosen: str, versus: str) -> str:
    """The honest lines: where the chosen checkpoints come from, and which ones cannot be used, and why."""
    by_name = {each.name: each for each in checkpoints}
    lines = [_origin(by_name[name]) for name in dict.fromkeys((chosen, versus)) if name in by_name]
    broken = [each for each in checkpoints if each.problem]
    if not any(not each.problem for each in checkpoints):
        lines.append("There is no checkpoint yet: train one (<code>python -m grain.train --help</code>).")
    if broken:
        rows = "".join(f"<li><b>{escape(each.name)}</b> {escape(each.problem)}</li>" for each in broken)
        lines.append(f"<details><summary>{len(broken)} cannot be used</summary><ul>{rows}</ul></details>")
    return "".join(f'<div class="about">{line}</div>' for line in lines)


def _origin(checkpoint: Checkpoint) -> str:
    info = checkpoint.info
    if info is None:
        return f"<b>{escape(checkpoint.name)}</b> {escape(checkpoint.problem)}"
    note = f"; {escape(info.grounding_note)}" if info.grounding_note else ""
    return f"<b>{escape(checkpoint.name)}</b> {escape(info.origin)}{note}"


def gallery(examples: Sequence[Example]) -> str:
    """A button with a small picture for each example."""
    buttons = "".join(
        f'<button type="button" data-example="{index}" title="{escape(example.title)}">'
        f'<img src="{thumbnail_uri(example.path)}" alt="{escape(example.title)}" loading="lazy"></button>'
        for index, example in enumerate(examples)
    )
    return f'<div class="gallery" role="group" aria-label="Examples">{buttons}</div>'


def classes_panel(sight: Sight, versus: Sight | None, *, alpha: float) -> str:
    """Who recognises what: a headline a model, then a row a class with both models' bars and the reasons."""
    if not sight.look.classes:
        return empty_state("No classes asked", "Write some on the left, one a line: name: description; description")
    sights = [sight] + ([versus] if versus else [])
    scores = [{score.name: score for score in each.look.classes} for each in sights]
    names = [score.name for score in sight.look.classes]
    rows = [
        _class_row(sights, [by_name[name] for by_name in scores], opened=rank == 0)
        for rank, name in enumerate(names[:MOST_CLASSES])
    ]
    more = len(names) - MOST_CLASSES
    rest = f'<p class="quiet">{more:,} more classes score lower; the JSON has them all.</p>' if more > 0 else ""
    heads = "".join(map(_verdict, sights))
    return f'<div class="verdicts">{heads}</div><ol class="classes">{"".join(rows)}</ol>{rest}{_formula(sight, alpha)}'


def _verdict(sight: Sight) -> str:
    best = sight.look.classes[0]
    return (
        f'<div class="verdict {_kind(sight)}"><span class="who">{_who(sight)}</span>'
        f'<b>{escape(best.name)}</b><span class="number">{_percent(best.probability)}</span></div>'
    )


def _class_row(sights: Sequence[Sight], scores: Sequence[ClassScore], *, opened: bool) -> str:
    bars = "".join(
        f'<div class="bar {_kind(sight)}" title="{_who(sight)}: probability among the classes asked">'
        f'<i style="width:{100 * score.probability:.1f}%"></i>'
        f'<span class="number">{_percent(score.probability)}</span></div>'
        for sight, score in zip(sights, scores, strict=True)
    )
    return (
        f'<li><details{" open" if opened else ""}><summary><span class="name">{escape(scores[0].name)}</span>'
        f"{bars}</summary>{_why(sights, scores)}</details></li>"
    )


@dataclass(frozen=True)
class _Column:
    """Cosines of one class: one a description, and the class's own. kind: whose, `grain` or `clip`."""

    head: str
    kind: str
    cells: tuple[float | None, ...]
    total: float | None


def _columns(sight: Sight, score: ClassScore) -> list[_Column]:
    """With the whole picture; and with the regions, where the checkpoint has any."""
    kind = escape(sight.info.kind.upper())
    whole = tuple(each.global_score for each in score.descriptions)
    columns = [_Column(f"{kind}<br>picture", _kind(sight), whole, score.global_score)]
    if sight.info.can_ground:
        parts = tuple(each.region_score for each in score.descriptions)
        columns.append(_Column(f"{kind}<br>region", _kind(sight), parts, score.region_score))
    return columns


def _why(sights: Sequence[Sight], scores: Sequence[ClassScore]) -> str:
    """A table of cosines, a row a description, and below it the class."""
    columns = [column for sight, score in zip(sights, scores, strict=True) for column in _columns(sight, score)]
    heads = "".join(f"<th>{column.head}</th>" for column in columns)
    rows = "".join(
        f"<tr><th>{_marked(each.text, sights[0])}</th>{_cells(columns, row)}</tr>"
        for row, each in enumerate(scores[0].descriptions)
    )
    mixed = " · ".join(f"{_who(sight)} {score.score:.3f}" for sight, score in zip(sights, scores, strict=True))
    return (
        f'<table class="why"><thead><tr><th>cosine of</th>{heads}</tr></thead><tbody>{rows}</tbody>'
        f"<tfoot><tr><th>the class</th>{_cells(columns, None)}</tr></tfoot></table>"
        f'<p class="quiet">mixed score: {mixed}</p>'
    )


def _cells(columns: Sequence[_Column], row: int | None) -> str:
    """The cells of one description, or with row None those of the class."""
    values = [(column.kind, column.total if row is None else column.cells[row]) for column in columns]
    return "".join(
        "<td>–</td>"
        if value is None
        else f'<td class="number {kind}" style="--v:{100 * min(1.0, max(0.0, value)):.0f}%">{value:.2f}</td>'
        for kind, value in values
    )


def _marked(text: str, sight: Sight) -> str:
    """A description with its colour, where it is one of those looked for."""
    known = sight.look.descriptions
    return (swatch(known.index(text)) if text in known else "") + escape(text)


def _formula(sight: Sight, alpha: float) -> str:
    if not sight.info.can_ground:
        return '<p class="quiet">Bars are probabilities among the classes asked.</p>'
    return (
        '<p class="quiet">Bars are probabilities among the classes asked. Score = '
        f"{alpha:.2f} × whole picture + {1 - alpha:.2f} × mean of best regions (cosines).</p>"
    )


def _kind(sight: Sight) -> str:
    return "clip" if sight.info.kind == "clip" else "grain"


def _who(sight: Sight) -> str:
    return f"{escape(sight.info.kind.upper())} · {escape(sight.checkpoint.name)}"


def _percent(probability: float) -> str:
    return "&lt;1 %" if 0 < probability < 0.005 else f"{100 * probability:.0f} %"


def timing(sights: Sequence[Sight]) -> str:
    """How long each model took."""
    parts = (
        f'<span title="{escape(", ".join(f"{name} {ms:.0f} ms" for name, ms in sight.look.timing_ms.items()))}">'
        f"{escape(sight.checkpoint.name)} <b>{sum(sight.look.timing_ms.values()):.0f} ms</b></span>"
        for sight in sights
    )
    return f'<p class="timing quiet">{" · ".join(parts)}</p>'


def code(question: Question, checkpoint: Checkpoint) -> str:
    """The same look from a command line and from Python; the page fills in its own address."""
    shell = " \\\n  ".join(command_line(question, checkpoint))
    arguments = ", ".join(json.dumps(text, ensure_ascii=False) for text in (question.descriptions, question.classes))
    call = (
        "from gradio_client import Client, handle_file\n\n"
        f'client = Client("{ADDRESS}")\nlook = client.predict(\n    handle_file("{API_PICTURE}"), {arguments},\n'
        f'    {json.dumps(question.checkpoint)}, {question.threshold:g}, {question.alpha:g}, api_name="/ground",\n)'
    )
    origin = f'<span class="origin">{ADDRESS}</span>'
    return (
        f'<div class="code"><h4>Command line</h4><pre>{escape(shell)}</pre>'
        f"<h4>Python</h4><pre>{escape(call).replace(ADDRESS, origin)}</pre>"
        f"<h4>MCP</h4><pre>{origin}gradio_api/mcp/</pre></div>"
    )


def command_line(question: Question, checkpoint: Checkpoint) -> list[str]:
    """`python -m grain.predict` with the same question, a piece a line."""
    embedded = checkpoint.folder.parent == EMBEDDED
    classes = list(parse_classes(question.classes).items())
    lines = [f"{name}: {'; '.join(rows)}" for name, rows in classes[:MOST_COMMAND_CLASSES]]
    return [
        f"python -m grain.predict {API_PICTURE}",
        *_flag("--description", parse_descriptions(question.descriptions)),
        *_flag("--class-text", lines),
        *_flag("--checkpoint", [checkpoint.name if embedded else str(checkpoint.folder)]),
        f"--threshold {question.threshold:g} --alpha {question.alpha:g}",
    ]


def _flag(name: str, values: Sequence[str]) -> list[str]:
    return [f"{name} {shlex.join(values)}"] if values else []


def link(address: str) -> str:
    """A saved look's link, to copy."""
    return (
        '<div class="link"><label>Link to this look'
        f'<input readonly value="{escape(address)}" onfocus="this.select()"></label></div>'
    )

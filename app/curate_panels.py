"""What the Curate page says, as HTML. Everything that a person or a model wrote is escaped."""

from __future__ import annotations

import base64
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from app.curating import FACTS, Gallery, Opened, Tile
from app.draw import mark_of, swatch
from app.panels import deeds, empty_state, notice
from curation.disputes import Dispute
from curation.ingest import thumbnail_path
from curation.versions import name_of
from db.curate_queries import EditConflictError, Throughput
from db.gallery_queries import SourceCount
from db.models import Annotation, AnnotationEdit, Image

VERDICTS = {"accepted": ("✓", "accepted"), "rejected": ("✗", "rejected"), "pending": ("○", "pending")}
DECISIONS = ("accepted", "rejected", "edited", "created")
LEAST_SECONDS = 60  # of work, below which a pace would be made up
REVIEWS = {"open": "not finished", "reviewed": "reviewed", "empty": "reviewed, nothing to mark"}


def gallery_panel(found: Gallery, home: Path) -> str:
    """A page of regions: each on its picture, with its text, scores and verdict."""
    if not found.tiles:
        return empty_state("No regions here", "Change the filters, or annotate the data set first.")
    return f'<div class="tiles">{"".join(_tile(tile, home) for tile in found.tiles)}</div>'


def _tile(tile: Tile, home: Path) -> str:
    row, image = tile.annotation, tile.image
    box = (row.x1, row.y1, row.x2, row.y2)
    return (
        f'<button type="button" class="tile" data-id="{row.id}" data-ask="{_ask(do="open", id=row.id)}">'
        f'{_thumb(image, home, [(box, "line")])}<span class="says">{escape(row.text)}</span>'
        f'<span class="quiet">{_verdict(row.status)} {_scores(row)}</span>'
        "</button>"
    )


def _thumb(image: Image, home: Path, boxes: Iterable[tuple[Sequence[float], str]]) -> str:
    """A picture's thumbnail under boxes, normalized xyxy, each with the class of its line."""
    drawn = "".join(
        f'<rect x="{x1:.4f}" y="{y1:.4f}" width="{x2 - x1:.4f}" height="{y2 - y1:.4f}" class="{kind}" />'
        for (x1, y1, x2, y2), line in boxes
        for kind in ("casing", line)
    )
    return (
        f'<span class="thumb" style="aspect-ratio:{image.width}/{image.height}">'
        f'<img src="{thumbnail(home, image)}" alt="">'
        f'<svg viewBox="0 0 1 1" preserveAspectRatio="none">{drawn}</svg></span>'
    )


def thumbnail(home: Path, image: Image) -> str:
    """A picture's thumbnail as a data URI; "" where it has none."""
    file = thumbnail_path(home, image.sha256)
    return f"data:image/jpeg;base64,{base64.b64encode(file.read_bytes()).decode()}" if file.is_file() else ""


def _verdict(status: str) -> str:
    sign, word = VERDICTS.get(status, ("–", status))
    return f'<b class="sign {status}">{sign} {word}</b>'


def _scores(row: Annotation) -> str:
    said = [f"score {row.score:.2f}"] if row.score is not None else []
    said += [f"GRAIN {row.similarity:.2f}"] if row.similarity is not None else []
    return " · ".join(said)


def _ask(**ask: Any) -> str:
    return escape(json.dumps(ask, ensure_ascii=False))


def counts_panel(counts: Sequence[SourceCount]) -> str:
    """Regions by status, and by source."""
    by_status: dict[str, int] = defaultdict(int)
    by_source: dict[str, int] = defaultdict(int)
    for each in counts:
        by_status[each.status] += each.annotations
        if each.status != "deleted":
            by_source[each.source] += each.annotations
    whole = sum(count for status, count in by_status.items() if status != "deleted")
    if not whole:
        return empty_state("No regions yet", "Annotate the data set, or draw some.")
    rows = "".join(
        f'<div class="meter"><span>{status}</span><span class="progress"><i style="width:'
        f'{100 * by_status[status] / whole:.1f}%"></i></span><span class="number">{by_status[status]:,}</span></div>'
        for status in ("accepted", "rejected", "pending")
    )
    sources = "".join(f"<li>{escape(source)} <b>{count:,}</b></li>" for source, count in sorted(by_source.items()))
    return f'<div class="plan">{rows}</div><ul class="sources quiet">{sources}</ul>'


def curators_panel(rows: Sequence[Throughput]) -> str:
    """Who decided how much and how quickly, by day. A decision: accepted, rejected, edited or drawn."""
    if not rows:
        return '<p class="quiet">Nobody has edited anything in the last two weeks.</p>'
    made: dict[tuple[str, str], int] = defaultdict(int)
    seconds: dict[tuple[str, str], float] = defaultdict(float)
    for row in rows:
        made[row.day, row.who] += row.edits if row.what in DECISIONS else 0
        seconds[row.day, row.who] += row.seconds
    cells = "".join(
        f'<tr><th>{day}</th><td>{escape(who)}</td><td class="number">{count:,}</td>'
        f'<td class="number">{_pace(count, seconds[day, who])}</td></tr>'
        for (day, who), count in made.items()
    )
    head = "<tr><th>day</th><th>who</th><th>decisions</th><th>an hour</th></tr>"
    return (
        f'<table class="costs"><thead>{head}</thead>{cells}</table>'
        '<p class="quiet">An hour of work: pauses of more than five minutes do not count.</p>'
    )


def _pace(count: int, seconds: float) -> str:
    return f"{3600 * count / seconds:,.0f}" if seconds >= LEAST_SECONDS else "–"


def editor_panel(opened: Opened, said: str = "", conflict: EditConflictError | None = None) -> str:
    """One picture to work on: its boxes, what is said of each, verdicts, caption, facts, history."""
    image = opened.image
    head = (
        f'<div class="editor" data-image="{image.id}" data-version="{image.version}" '
        f'data-chosen="{opened.chosen or ""}">'
    )
    note = conflict_panel(conflict) if conflict else f'<p class="said" role="status">{escape(said)}</p>'
    frame = notice(opened.problem) if opened.problem else _frame(opened)
    return (
        f"{head}{note}{frame}{_marks(opened)}{_whole(opened)}{_facts(image.facts or {})}{_history(opened.edits)}</div>"
    )


def _frame(opened: Opened) -> str:
    image = opened.image
    groups = "".join(_group(index, region, opened.chosen) for index, region in enumerate(opened.regions))
    return (
        f'<div class="frame" style="--ratio:{image.width / image.height:.5f}">'
        f'<img src="{opened.uri}" alt="The picture, upright" draggable="false">'
        f'<svg viewBox="0 0 1 1" preserveAspectRatio="none" role="group" aria-label="Regions">{groups}</svg></div>'
    )


def _group(index: int, region: Sequence[Annotation], chosen: int | None) -> str:
    row = next((each for each in region if each.id == chosen), region[0])
    mark = mark_of(index)
    place = f'x="{row.x1}" y="{row.y1}" width="{row.x2 - row.x1}" height="{row.y2 - row.y1}"'
    text = escape("; ".join(each.text for each in region))
    lit = " chosen" if row.id == chosen else ""
    return (
        f'<g class="region{lit}" data-id="{row.id}" data-version="{row.version}" tabindex="0" role="button" '
        f'aria-label="{text}"><title>{text}</title><rect class="casing" {place}/>'
        f'<rect class="line" {place} stroke="{mark.color}" stroke-dasharray="{mark.dash}"/></g>'
    )


def _marks(opened: Opened) -> str:
    if not opened.regions:
        return '<p class="quiet">No regions: drag on the picture to draw one.</p>'
    rows = "".join(_mark(index, region, opened) for index, region in enumerate(opened.regions))
    return f'<ol class="marks">{rows}</ol>'


def _mark(index: int, region: Sequence[Annotation], opened: Opened) -> str:
    texts = "".join(_description(row, opened.chosen) for row in region)
    first = region[0]
    add = _ask(do="describe", image=opened.image.id, region=first.id)
    gone = _ask(do="delete", id=first.id, version=first.version, whole=True)
    return (
        f'<li>{swatch(index)}<div class="texts">{texts}<div class="row-acts">'
        f'<button type="button" data-prompt="{add}">+ description</button>'
        f'<button type="button" data-ask="{gone}">delete box</button></div></div></li>'
    )


def _description(row: Annotation, chosen: int | None) -> str:
    seen: Mapping[str, Any] = {"id": row.id, "version": row.version}
    verdicts = "".join(
        f'<button type="button" title="{word}" aria-pressed="{str(row.status == status).lower()}" class="{status}" '
        f'data-ask="{_ask(do="verdict", status="pending" if row.status == status else status, **seen)}">{sign}</button>'
        for status, (sign, word) in VERDICTS.items()
        if status != "pending"
    )
    lit = " chosen" if row.id == chosen else ""
    return (
        f'<div class="text {row.status}{lit}" data-id="{row.id}" data-version="{row.version}" '
        f'data-status="{row.status}"><input value="{escape(row.text)}" aria-label="description" '
        f'data-edit="{_ask(do="text", **seen)}">'
        f'<span class="verdicts-of">{verdicts}<button type="button" title="delete this description" '
        f'data-ask="{_ask(do="delete", **seen)}">–</button></span>'
        f'<span class="quiet">{escape(row.source)} {_scores(row)}</span></div>'
    )


def _whole(opened: Opened) -> str:
    image = opened.image
    seen: Mapping[str, Any] = {"image": image.id, "version": image.version, "chosen": opened.chosen}
    reviews = "".join(
        f'<button type="button" aria-pressed="{str(image.review == review).lower()}" '
        f'data-ask="{_ask(do="review", review=review, **seen)}">{word}</button>'
        for review, word in REVIEWS.items()
    )
    return (
        f'<label class="caption">caption<input value="{escape(image.caption)}" '
        f'data-edit="{_ask(do="caption", **seen)}"></label><div class="reviews" role="group" '
        f'aria-label="This picture is">{reviews}</div>'
    )


def _facts(facts: Mapping[str, str]) -> str:
    names = [*FACTS, *(name for name in facts if name not in FACTS)]
    fields = "".join(
        f'<label>{escape(name)}<input data-fact="{escape(name)}" value="{escape(facts.get(name, ""))}"></label>'
        for name in names
    )
    filled = f" ({len(facts)})" if facts else ""
    return f'<details class="facts"><summary>Facts of the picture{filled}</summary>{fields}</details>'


def _history(edits: Sequence[AnnotationEdit]) -> str:
    if not edits:
        return '<p class="quiet">Nobody has edited this picture.</p>'
    rows = deeds((edit.who, f"{edit.what} {_what(edit)}", edit.at) for edit in edits)
    return f'<details class="history"><summary>History ({len(edits)})</summary><ul>{rows}</ul></details>'


def _what(edit: AnnotationEdit) -> str:
    before, after = edit.before or {}, edit.after
    changed = [name for name in after if before.get(name) != after[name] and name not in ("similarity", "disagreement")]
    about = "the picture" if edit.annotation_id is None else f"“{after.get('text', '')}”{_of(edit)}"
    if edit.what != "edited":
        return about
    return f"{about}: " + ", ".join(_change(name, before.get(name), after[name]) for name in changed)


def _of(edit: AnnotationEdit) -> str:
    """From which model, or whose, it was."""
    source = (edit.before or edit.after).get("source", "")
    proposed = f", proposed by {edit.from_model}" if edit.from_model else ""
    return f" of {source}{proposed}" if source else proposed


def _change(name: str, before: Any, after: Any) -> str:
    return "box moved" if name == "xyxy" else f"{name} {before or '–'} → {after or '–'}"


def conflict_panel(conflict: EditConflictError) -> str:
    """Both versions, for the second of two editors to choose from."""
    mine = _ask(do="mine", version=conflict.version)
    theirs = conflict.by or "Somebody"
    return (
        f'<div class="conflict" role="alert"><p><b>{escape(theirs)} changed this meanwhile.</b> Nothing of yours is '
        f"written yet: choose.</p>{_versions(conflict.present, conflict.wanted, theirs, 'you')}"
        f'<button type="button" data-ask="{_ask(do="theirs")}">keep theirs</button>'
        f'<button type="button" data-ask="{mine}">use mine</button></div>'
    )


def disputes_panel(disputes: Sequence[Dispute], home: Path) -> str:
    """Decisions of Label Studio that met another edit, each with both versions and a choice; "" for none."""
    if not disputes:
        return ""
    return (
        "<h3>Changed on both sides</h3>"
        '<p class="quiet">Somebody changed these here after they went to Label Studio. What is here stays until you '
        f"choose.</p>{''.join(_dispute(each, home) for each in disputes)}"
    )


def _dispute(dispute: Dispute, home: Path) -> str:
    row, by = dispute.conflict, dispute.by or "somebody"
    what = f"region {row.annotation_id}" if row.annotation_id is not None else "the whole picture"
    there = row.wanted.get("xyxy")
    boxes = [(dispute.present.get("xyxy", there), "line"), (there, "line theirs")] if there else []
    ours, theirs = (_ask(conflict=row.id, version=dispute.version, take=take) for take in ("ours", "theirs"))
    return (
        f'<div class="conflict dispute" data-id="{row.id}">{_thumb(dispute.image, home, boxes)}<div>'
        f"<p><b>{escape(name_of(dispute.image))}</b>, {what}</p>"
        f"{_versions(dispute.present, dispute.wanted, f'━ here · {by}', f'┅ Label Studio · {row.who}')}"
        f'<div class="asks"><button type="button" data-ask="{ours}">keep ours</button>'
        f'<button type="button" data-ask="{theirs}">take theirs</button></div></div></div>'
    )


def _versions(present: Mapping[str, Any], wanted: Mapping[str, Any], left: str, right: str) -> str:
    """What differs, side by side."""
    rows = "".join(
        f"<tr><th>{'box' if name == 'xyxy' else escape(name)}</th><td>{escape(_shown(present[name]))}</td>"
        f"<td>{escape(_shown(wanted[name]))}</td></tr>"
        for name in wanted
        if name in present and present[name] != wanted[name] and name not in ("similarity", "disagreement")
    )
    head = f"<tr><th></th><th>{escape(left)}</th><th>{escape(right)}</th></tr>"
    return f'<table class="costs"><thead>{head}</thead>{rows}</table>'


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(f"{number:.3f}" for number in value)
    return "–" if value in (None, "") else str(value)

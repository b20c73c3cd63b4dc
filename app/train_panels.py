"""What the Train page says, as HTML. Everything that a person or a program wrote is escaped."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from app import draw
from app.panels import empty_state, notice
from app.train_form import FIRST, FormField, form_fields
from app.train_runs import Kept, RunRow, RunView, seconds_left, settings_difference
from app.training import Check, Planned, duration, name_of
from db.models import Job

MARKS = {"ok": "✓", "warn": "⚠", "bad": "✕", "open": "○"}
SHOWN_METRICS = {
    "grounding_acc50": "grounding",
    "grounding_miou": "mean IoU",
    "retrieval_image_to_text_r1": "text R@1",
    "retrieval_text_to_image_r1": "image R@1",
}
NO_RUN = empty_state("No run yet", "Choose data and a start on the left, look at the preflight, and press Queue.")
NOTHING_CHOSEN = empty_state(
    "No run chosen", "Press one or several runs in the table: their curves lie over each other."
)
Choices = Sequence[tuple[str, str]]


def form_panel(values: Mapping[str, Any], data: Choices, starts: Choices, places: Choices) -> str:
    """The form, under a number of its own. values: as app.training.Asked reads them, defaults for what is missing."""
    fields = dict(values.get("fields") or {})
    by_name = {each.name: each for each in form_fields()}
    first = "".join(_field(by_name[name], fields) for name in FIRST)
    rest = "".join(_field(each, fields) for each in form_fields() if each.name not in FIRST)
    captions = (("the picture's own", "picture"), ("its descriptions in a row", "descriptions"))
    gpus = _own("processes", "GPUs", _number(values.get("processes", 1), least=0))
    return (
        f'<form class="train-form" autocomplete="off" data-drawn="{uuid4().hex}">'
        + _own("name", "name of the run", _text(values.get("name", ""), "my-first-run"))
        + _own("data", "data", _select(data, values.get("data", "")))
        + _own("caption", "captions, of a version", _select(captions, values.get("caption", "")))
        + _own("start", "start point", _select(starts, values.get("start", "")))
        + _own("open_clip", "open_clip weights", _text(values.get("open_clip", ""), "ViT-B-16:openai, or a file"))
        + _own("where", "runs on", _select(places, values.get("where", "")))
        + gpus
        + _own("priority", "priority; the larger goes first", _number(values.get("priority", 0)))
        + f'<fieldset>{first}</fieldset><details class="advanced"><summary>advanced</summary>{rest}</details></form>'
    )


def _own(name: str, label: str, control: str) -> str:
    return f'<label class="field" data-own="{name}"><span>{escape(label)}</span>{control}</label>'


def _field(each: FormField, values: Mapping[str, Any]) -> str:
    value = values.get(each.name, each.default)
    if each.kind == "switch":
        control = f'<input type="checkbox"{" checked" if value else ""}>'
    elif each.kind == "choice":
        control = _select([(choice, choice) for choice in each.choices], str(value))
    elif each.kind == "text":
        control = _text("" if value is None else value, "none" if each.optional else "")
    else:
        control = f'<input inputmode="decimal" value="{escape(f"{value:g}" if each.kind == "number" else str(value))}">'
    about = f"<small>{escape(said)}</small>" if (said := _about(each)) else ""
    switch = " switch" if each.kind == "switch" else ""
    label = f"<span>{escape(each.label)}</span>"
    return f'<label class="field{switch}" data-field="{each.name}">{label}{control}{about}</label>'


def _about(each: FormField) -> str:
    """What a field's docstring says, and how little it may be where that is one or more."""
    least = f"At least {each.least:g}." if each.least >= 1 else ""
    return " ".join(filter(None, (each.about, least)))


def _text(value: Any, placeholder: str) -> str:
    return f'<input value="{escape(str(value))}" placeholder="{escape(placeholder)}">'


def _number(value: Any, least: int | None = None) -> str:
    low = f' min="{least}"' if least is not None else ""
    return f'<input type="number" value="{int(value)}"{low}>'


def _select(choices: Choices, chosen: Any) -> str:
    options = "".join(
        f'<option value="{escape(value)}"{" selected" if value == chosen else ""}>{escape(label)}</option>'
        for label, value in choices
    )
    return f"<select>{options}</select>"


def plan_panel(planned: Planned, checks: Sequence[Check]) -> str:
    """The preflight, and the very command."""
    rows = "".join(
        f'<li class="{each.state}"><b>{MARKS[each.state]} {escape(each.name)}</b><span>{escape(each.found)}</span></li>'
        for each in checks
    )
    return (
        f'<ul class="checks">{rows}</ul><div class="code command"><h4>The command that runs '
        f'<button type="button" data-copy>copy</button></h4><pre>{escape(planned.command)}</pre></div>'
    )


def runs_panel(rows: Sequence[RunRow], chosen: Sequence[int], more: bool) -> str:
    """The table of runs."""
    if not rows:
        return NO_RUN
    body = "".join(_run_row(row, chosen) for row in rows)
    further = '<button type="button" class="further" data-more>more runs</button>' if more else ""
    return (
        '<table class="runs"><thead><tr><th>run</th><th>state</th><th>done</th><th>loss</th><th>left</th><th></th></tr>'
        f"</thead><tbody>{body}</tbody></table>{further}"
    )


def _run_row(row: RunRow, chosen: Sequence[int]) -> str:
    job, latest = row.job, row.latest
    mark = draw.swatch(chosen.index(job.id)) if job.id in chosen else ""
    share = f"{100 * job.done / job.total:.0f} %" if job.total else "–"
    if job.state == "done":
        share = "100 %"
    loss = latest.get("loss")
    left = seconds_left(latest, job.config["train"]) if job.state == "running" else None
    return (
        f'<tr class="run {job.state}{" chosen" if job.id in chosen else ""}" data-watch="{job.id}">'
        f'<td>{mark}<button type="button" class="plain">{escape(name_of(job))}</button>'
        f"<small>{job.id} · {escape(job.owner)}</small></td>"
        f'<td class="state">{_state(job)}</td><td class="number">{share}</td>'
        f'<td class="number">{_short(loss)}</td><td class="number">{duration(left) if left is not None else "–"}</td>'
        f'<td class="asks">{_asks(job)}</td></tr>'
    )


def _state(job: Job) -> str:
    reason = f' title="{escape(job.exit_reason)}"' if job.exit_reason else ""
    asked = f", asked to {job.request}" if job.request else ""
    priority = f" · priority {job.priority}" if job.state == "queued" and job.priority else ""
    return f"<span{reason}>{job.state}{asked}{priority}</span>"


def _asks(job: Job) -> str:
    asks: tuple[str, ...] = ()
    if job.state == "running":
        asks = () if job.request else ("pause", "cancel")
    elif job.state == "queued":
        asks = ("sooner", "later", "cancel")
    elif job.state in ("paused", "interrupted"):
        asks = ("resume", "cancel")
    elif job.state in ("failed", "cancelled"):
        asks = ("resume",)
    more = ("duplicate",) if job.kind == "train" else ()
    return "".join(
        f'<button type="button" data-job="{job.id}" data-ask="{ask}">{ask}</button>' for ask in (*asks, *more)
    )


def side_panel(jobs: Sequence[Job]) -> str:
    """Data, dry steps and exports under way, and how the last ones ended."""
    words = {"data": "data", "preflight": "dry steps", "keep": "export"}
    rows = "".join(
        f'<li class="job {job.state}"><div class="job-head"><b>{words[job.kind]} {job.id}</b>'
        f'<span class="state">{job.state}</span><span class="quiet">{escape(_side_words(job))}</span>'
        f'<span class="asks">{_asks(job) if job.state != "done" else ""}</span></div></li>'
        for job in jobs
    )
    return f'<ol class="jobs side">{rows}</ol>' if rows else ""


def _side_words(job: Job) -> str:
    if job.state == "done":
        return str(job.config["out"]) if job.kind == "keep" else ""
    return job.exit_reason if job.exit_reason and job.state in ("failed", "interrupted") else job.message


def watch_panel(views: Sequence[RunView]) -> str:
    """What the chosen runs say beside their curves: how far, alerts, differences, what is kept."""
    if not views:
        return NOTHING_CHOSEN
    return "".join(map(_watched, enumerate(views), [len(views) > 1] * len(views))) + _differences(views)


def _watched(numbered: tuple[int, RunView], several: bool) -> str:
    index, view = numbered
    job, latest = view.job, view.log.steps
    total = int(job.config["train"]["images"]) // int(job.config["train"]["batch_size"])
    facts = [f"step {view.log.last_step:,} of {total:,}"]
    if len(latest):
        facts += [
            f"{latest.get('images_per_second')[-1]:,.1f} images/s",
            f"{latest.get('memory_bytes')[-1] / 2**30:,.2f} GB",
        ]
        row = {name: float(values[-1]) for name, values in latest.columns.items()}
        left = seconds_left(row | {"images": int(row.get("images", 0))}, job.config["train"])
        facts += [f"about {duration(left)} left"] if job.state == "running" and left is not None else []
        skipped = int(row.get("skipped", 0) or 0)
        facts += [f"{skipped} steps skipped"] if skipped else []
    waits = view.waits_for
    said = notice(f"Waits for job {waits.id} ({waits.kind}), which is {waits.state}.") if waits else ""
    said += notice(job.exit_reason) if job.state in ("failed", "interrupted") and job.exit_reason else ""
    found = "".join(
        f"<li><b>{escape(each.kind)}</b> {escape(each.found)}. <span>{escape(each.advice)}.</span></li>"
        for each in view.alerts
    )
    state = f'<span class="state">{job.state}</span>'
    return (
        f'<section class="watched"><h3>{draw.swatch(index)}{escape(view.label)} {state}</h3>'
        f'<p class="quiet number">{escape(" · ".join(facts))}</p>{said}'
        f'{f"""<ul class="alerts">{found}</ul>""" if found else ""}{_kept(view)}{_settings(view)}</section>'
    )


def _kept(view: RunView) -> str:
    if not view.kept and not view.states:
        return ""
    names = [name for name in SHOWN_METRICS if any(name in each.metrics for each in view.kept)]
    heads = "".join(f"<th>{SHOWN_METRICS[name]}</th>" for name in names)
    rows = "".join(_kept_row(view, each, names) for each in view.kept)
    states = f'<p class="quiet">Saved states: {escape(", ".join(view.states))}</p>' if view.states else ""
    if not rows:
        return states
    return (
        f'<div class="scroll"><table class="kept"><thead><tr><th>checkpoint</th>{heads}<th></th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>{states}"
    )


def _kept_row(view: RunView, each: Kept, names: Sequence[str]) -> str:
    cells = "".join(f'<td class="number">{_short(each.metrics.get(name))}</td>' for name in names)
    mine = f'data-run="{view.job.id}" data-which="{each.name}"'
    buttons = "".join(
        f'<button type="button" {mine} data-keep="{what}">{what}</button>' for what in ("promote", "export", "push")
    )
    return f'<tr><th>{each.name}</th>{cells}<td class="asks">{buttons}</td></tr>'


def promoted_panel(name: str, before: str) -> str:
    """After a promotion: where to look."""
    versus = f"&versus={quote(before)}" if before and before != name else ""
    than = f" beside {escape(before)}" if versus else ""
    links = (
        f'<a href="/?checkpoint={quote(name)}{versus}">look at it on Ground{than}</a> · '
        f'<a href="/evaluate?a={quote(name)}{f"&b={quote(before)}" if versus else ""}">compare it on Evaluate</a>'
    )
    return f'<p class="finding"><b>{escape(name)}</b> is promoted: Ground begins with it. {links}</p>'


def _settings(view: RunView) -> str:
    """The snapshot, word for word what runs."""
    train = json.dumps(view.job.config["train"], indent=1)
    return (
        f'<details><summary>settings, as they run</summary><div class="code"><pre>{escape(train)}</pre></div></details>'
    )


def _differences(views: Sequence[RunView]) -> str:
    if len(views) < 2:
        return ""
    rows = settings_difference([view.job for view in views])
    if not rows:
        return '<p class="finding">The chosen runs have the same settings.</p>'
    heads = "".join(f"<th>{draw.swatch(index)}{escape(view.label)}</th>" for index, view in enumerate(views))
    body = "".join(
        f"<tr><th>{escape(name)}</th>{''.join(f'<td>{escape(_last(value))}</td>' for value in values)}</tr>"
        for name, values in rows.items()
    )
    return (
        f'<p class="finding">They differ in {len(rows)} setting{"s"[: len(rows) > 1]}.</p>'
        f'<table class="differences"><thead><tr><th></th>{heads}</tr></thead><tbody>{body}</tbody></table>'
    )


def pictures_panel(views: Sequence[RunView]) -> str:
    """The fixed pictures over time, a row a picture; what the model says whole, the truth dashed."""
    parts = []
    for view in views:
        if not view.moments:
            continue
        heads = "".join(f'<th class="number">step {moment.step:,}</th>' for moment in view.moments)
        rows = "".join(_picture_row(view, index) for index in range(len(view.moments[0].pictures)))
        parts.append(
            f'<div class="over-time"><h3>{escape(view.label)}</h3><div class="scroll"><table><thead><tr>{heads}</tr>'
            f"</thead><tbody>{rows}</tbody></table></div></div>"
        )
    if not parts:
        return empty_state("No picture yet", "A few fixed pictures are grounded at each evaluation.")
    return "".join(parts) + '<p class="quiet">Whole lines: where the model finds it. Dashed: where it is.</p>'


def _picture_row(view: RunView, index: int) -> str:
    cells = []
    for moment in view.moments:
        picture = moment.pictures[index] if index < len(moment.pictures) else None
        cells.append(f"<td>{_grounded(view.folder, picture) if picture else ''}</td>")
    texts = (
        "".join(
            f"<li>{draw.swatch(at)}{escape(str(region.get('text', '')))}</li>"
            for at, region in enumerate(view.moments[-1].pictures[index].get("regions", []))
        )
        if index < len(view.moments[-1].pictures)
        else ""
    )
    return f'<tr>{"".join(cells)}</tr><tr class="named"><td colspan="{len(cells)}"><ul>{texts}</ul></td></tr>'


def _grounded(folder: Path, picture: Mapping[str, Any]) -> str:
    try:
        pairs = [(_box(region["box"]), _box(region["truth"])) for region in picture["regions"]]
        file = folder / "watched" / Path(str(picture["file"])).name
        uri = f"data:image/jpeg;base64,{base64.b64encode(file.read_bytes()).decode()}"
        return draw.comparison_frame(uri, int(picture["width"]), int(picture["height"]), pairs)
    except (OSError, LookupError, TypeError, ValueError):
        return ""


def _box(values: Any) -> draw.Box:
    x0, y0, x1, y1 = (float(value) for value in values)
    return (x0, y0, x1, y1)


def log_panel(views: Sequence[RunView]) -> str:
    """The end of what each chosen run said."""
    return "".join(
        f"<h4>{escape(view.label)}</h4><pre>{escape(view.tail) or 'It has said nothing yet.'}</pre>" for view in views
    )


def _short(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, int | float) else "–"


def _last(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 40 else f"…{text[-39:]}"

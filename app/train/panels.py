"""Prepare what the Train page shows, for the templates: numbers in words, rows and buttons chosen."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

from app.jobs.resources import FIELDS
from app.train.data_checks import PreflightCheck
from app.train.form import FIRST, GROUPS, form_fields
from app.train.plan import HELD_OUT, OPEN_CLIP, TrainPlan
from app.train.run_jobs import DATA, DRY, KEEP, TRAIN, name_of
from app.train.runs import KeptCheckpoint, RunRow, RunView, seconds_left, settings_difference
from app.ui.frames import Box, comparison_frame
from app.ui.html import duration, empty_state, fixed, render, thousands
from app.ui.jobs_list import BUTTONS
from db.models import Job
from grain.train_config import REGION_SETTINGS

MARKS = {"ok": "✓", "warn": "⚠", "bad": "✕", "open": "○"}
SHOWN_METRICS = {
    "grounding_acc50": "grounding",
    "grounding_miou": "mean IoU",
    "retrieval_image_to_text_r1": "text R@1",
    "retrieval_text_to_image_r1": "image R@1",
}
SIDE_KINDS = {DATA: "data", DRY: "dry steps", KEEP: "export"}
CAPTIONS = (
    ("the picture's own", "picture"),
    ("the one that a describer wrote", "written"),
    ("its descriptions in a row", "descriptions"),
)
CLUSTER_FIELDS = (
    ("partition", "partition of Slurm", "as in the settings"),
    ("account", "account of Slurm", "as in the settings"),
    ("hours", "hours, at most", "as in the settings"),
    ("cpus", "processor cores", "one for each process and loader"),
    ("memory_gb", "GB of memory", "the cluster's own"),
)
EMPTY_FORM = dict.fromkeys(("name", "data", "caption", "unreviewed", "start", "open_clip", "where", *FIELDS), "")
EMPTY_FORM |= {"mix": "", "mix_weight": "1", "zero_shot": "", "zero_shot_folder": ""}
GIGABYTE = 2**30
MOST_CHARACTERS = 40  # of a setting in the table of differences
NO_RUN = empty_state("No run yet", "Choose data and a start, read the preflight, and press Queue.")
NOTHING_FOUND = empty_state("No such run", "No name, owner, state, tag or note holds these words: write others.")
NOTHING_CHOSEN = empty_state("No run chosen", "Press one or several runs in the table to draw their curves together.")
NO_PICTURE = empty_state("No picture yet", "A few fixed pictures are grounded at each evaluation.")
Choices = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class RunLine:
    """A run in the table. color: its place among the chosen runs, None of others."""

    job: Job
    name: str
    color: int | None
    state: str
    done: str
    loss: str
    grounded: str
    left: str
    tags: tuple[str, ...]
    buttons: tuple[str, ...]


@dataclass(frozen=True)
class SideLine:
    """A further job of the page."""

    job: Job
    name: str
    message: str
    buttons: tuple[str, ...]


@dataclass(frozen=True)
class WatchedRun:
    """A chosen run in words. metrics: names of the numbers that kept has of each checkpoint, beside its evaluation."""

    view: RunView
    facts: Sequence[str]
    waits: str
    obstacle: str
    ended: str
    metrics: list[str]
    kept: Sequence[tuple[KeptCheckpoint, Sequence[str], str]]
    settings: str


def form_panel(
    values: Mapping[str, Any],
    *,
    data: Choices,
    starts: Choices,
    places: Choices,
    zero_shot: Choices = (),
    region_starts: Sequence[str] = (),
) -> str:
    """Render the form.

    Args: values: as app.train.plan.TrainRequest reads them. region_starts: keys of the starts of which nothing but
          regions can be trained, which need few of the settings.
    """
    given = dict(values.get("fields") or {})
    fields = {each.name: (each, given.get(each.name, each.default)) for each in form_fields()}
    return render(
        "train/templates/form.html",
        drawn=uuid4().hex,
        values=EMPTY_FORM | {"processes": 1, "priority": 0, "held_out": f"{HELD_OUT:g}"} | dict(values),
        data=data,
        mixable=[("nothing", ""), *((label, key) for label, key in data if key)],
        zero_shot=zero_shot,
        starts=starts,
        region_starts=region_starts,
        region_settings=REGION_SETTINGS,
        places=places,
        captions=CAPTIONS,
        cluster=CLUSTER_FIELDS,
        first=[fields[name] for name in FIRST],
        groups=[(title, [fields[name] for name in names]) for title, names in GROUPS.items()],
    )


def plan_panel(plan: TrainPlan, checks: Sequence[PreflightCheck]) -> str:
    """Render the preflight, and the very command."""
    return render("train/templates/plan.html", checks=checks, marks=MARKS, command=plan.command)


def runs_panel(rows: Sequence[RunRow], chosen: Sequence[int], *, more: bool, searched: bool = False) -> str:
    """Render the table of runs. searched: they are those that hold some words."""
    if not rows:
        return NOTHING_FOUND if searched else NO_RUN
    return render("train/templates/runs.html", rows=[_run_line(row, chosen) for row in rows], more=more)


def _run_line(row: RunRow, chosen: Sequence[int]) -> RunLine:
    job = row.job
    left = seconds_left(row.latest, job.config["train"]) if job.state == "running" else None
    share = 1.0 if job.state == "done" else job.done / job.total if job.total else None
    requested = f", {job.request} requested" if job.request else ""
    priority = f" · priority {job.priority}" if job.state == "queued" and job.priority else ""
    return RunLine(
        job=job,
        name=name_of(job),
        color=chosen.index(job.id) if job.id in chosen else None,
        state=f"{job.state}{requested}{priority}",
        done="–" if share is None else f"{100 * share:.0f} %",
        loss=_number(row.latest.get("loss")),
        grounded="–" if math.isnan(row.grounding) else f"{row.grounding:.0%}",
        tags=row.notes.tags,
        left="–" if left is None else duration(left),
        buttons=_buttons(job),
    )


def _buttons(job: Job) -> tuple[str, ...]:
    """Return what a person may do with a job now."""
    if job.state == "running" and job.request:
        found: tuple[str, ...] = ()
    elif job.state == "queued":
        found = ("sooner", "later", "cancel")
    elif job.state == "interrupted":
        found = ("resume", "cancel")
    else:
        found = BUTTONS.get(job.state, ())
    return (*found, "duplicate") if job.kind == TRAIN else found


def side_panel(jobs: Sequence[Job]) -> str:
    """Render data, dry steps and exports in progress, and how the last ones ended."""
    rows = [SideLine(job, _side_name(job), _side_message(job), _buttons(job)) for job in jobs]
    return render("train/templates/side_jobs.html", rows=rows) if rows else ""


def _side_name(job: Job) -> str:
    """Return the name of a further job: an export and dry steps say of which run, as several may go on at a time."""
    about = ""
    if job.kind == KEEP:
        about = Path(str(job.config["out"])).name
    elif job.kind == DRY:
        about = str(job.config["asked"]["name"])
    return f"{SIDE_KINDS[job.kind]} {job.id}" + (f" · {about}" if about else "")


def _side_message(job: Job) -> str:
    if job.state == "done":
        return str(job.config["out"]) if job.kind == KEEP else ""
    return job.exit_reason if job.exit_reason and job.state in ("failed", "interrupted") else job.message


def watch_panel(views: Sequence[RunView]) -> str:
    """Render the chosen runs beside their curves: progress, alerts, differences, checkpoints."""
    if not views:
        return NOTHING_CHOSEN
    differences = None
    if len(views) > 1:
        rows = settings_difference([view.job for view in views])
        differences = [(name, [_setting(value) for value in values]) for name, values in rows.items()]
    return render("train/templates/watched.html", runs=[_watched(view) for view in views], differences=differences)


def _watched(view: RunView) -> WatchedRun:
    job = view.job
    waits = " and ".join(f"{each.kind} {each.id} ({each.state})" for each in view.waits_for)
    metrics = [name for name in SHOWN_METRICS if any(name in each.metrics for each in view.kept)]
    return WatchedRun(
        view=view,
        facts=_facts(view),
        waits=f"Waits for {waits}." if waits else "",
        obstacle=f"It cannot begin here: {view.obstacle}." if view.obstacle else "",
        ended=job.exit_reason if job.state in ("failed", "interrupted") else "",
        metrics=[SHOWN_METRICS[name] for name in metrics],
        kept=[
            (each, [_number(each.metrics.get(name)) for name in metrics], evaluation_link(job, each))
            for each in view.kept
        ],
        settings=json.dumps(job.config["train"], indent=1),
    )


def _facts(view: RunView) -> list[str]:
    """Return how far a run is, on what it computes, how fast, and what it needs."""
    job, latest = view.job, view.log.steps
    total = int(job.config["train"]["images"]) // int(job.config["train"]["batch_size"])
    facts = [f"step {thousands(view.log.last_step)} of {thousands(total)}"]
    facts += [str(view.hardware)] if view.hardware else []
    if not len(latest):
        return facts
    row = {name: float(values[-1]) for name, values in latest.columns.items()}
    for name, scale, form in (("images_per_second", 1, "{:,.1f} images/s"), ("memory_bytes", GIGABYTE, "{:,.2f} GB")):
        if math.isfinite(value := row.get(name, math.nan)):
            facts.append(form.format(value / scale))
    left = seconds_left(row | {"images": int(row.get("images", 0))}, job.config["train"])
    if job.state == "running" and left is not None:
        facts.append(f"about {duration(left)} left")
    if skipped := int(row.get("skipped", 0) or 0):
        facts.append(f"{skipped} steps skipped")
    return facts


def evaluation_link(job: Job, kept: KeptCheckpoint) -> str:
    """Return the address that compares a checkpoint with the run's start on the pictures that the run held out."""
    asked = dict(job.config.get("asked") or {})
    kind, _, name = str(asked.get("start") or "").partition(":")
    if kind == OPEN_CLIP:
        name = f"{OPEN_CLIP}:{str(asked.get('open_clip')).replace(':', '=', 1)}"
    models = ({"a": name} if name else {}) | {"b": str(kept.folder)}
    return "/evaluate?" + urlencode(models | {"data": f"{job.config['train']['data']}#held_out"})


def promoted_panel(name: str, before: str, ground: str) -> str:
    """Render the links to a checkpoint that was promoted. before: the one beside it, "" for none. ground: a link."""
    evaluate = {"a": name} | ({"b": before} if before else {})
    links = {"ground": ground, "evaluate": f"/evaluate?{urlencode(evaluate)}"}
    return render("train/templates/promoted.html", name=name, before=before, **links)


def pictures_panel(views: Sequence[RunView]) -> str:
    """Render the fixed pictures over time, a row a picture: the model's boxes solid, the true ones dashed."""
    runs = [
        {
            "label": view.label,
            "steps": [moment.step for moment in view.moments],
            "rows": [_picture_row(view, index) for index in range(len(view.moments[0].pictures))],
        }
        for view in views
        if view.moments
    ]
    return render("train/templates/pictures.html", runs=runs) if runs else NO_PICTURE


def _picture_row(view: RunView, index: int) -> dict[str, Any]:
    """Return a picture at each moment, and its descriptions."""
    pictures = [moment.pictures[index] if index < len(moment.pictures) else None for moment in view.moments]
    regions = (pictures[-1] or {}).get("regions", [])
    return {
        "frames": [_frame(view.folder, picture) if picture else "" for picture in pictures],
        "texts": [str(region.get("text", "")) for region in regions],
    }


def _frame(folder: Path, picture: Mapping[str, Any]) -> str:
    """Return a picture with its boxes; "" where the file is gone or of another version."""
    try:
        pairs = [(_box(region["box"]), _box(region["truth"])) for region in picture["regions"]]
        file = folder / "watched" / Path(str(picture["file"])).name
        uri = f"data:image/jpeg;base64,{base64.b64encode(file.read_bytes()).decode()}"
        return comparison_frame(uri, pairs, width=int(picture["width"]), height=int(picture["height"]))
    except (OSError, LookupError, TypeError, ValueError):
        return ""


def _box(values: Sequence[float]) -> Box:
    x0, y0, x1, y1 = (float(value) for value in values)
    return (x0, y0, x1, y1)


def log_panel(views: Sequence[RunView]) -> str:
    """Render the end of the output of each chosen run."""
    return render("train/templates/log.html", views=views)


def _number(value: object) -> str:
    return fixed(value, 3) if isinstance(value, int | float) else "–"


def _setting(value: object) -> str:
    """Return a setting's value, its end where it is long."""
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    text = "none" if value is None or not text else text
    return text if len(text) <= MOST_CHARACTERS else f"…{text[1 - MOST_CHARACTERS :]}"

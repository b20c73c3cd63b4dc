"""What the Annotate page says, as HTML. Everything that a person or a model wrote is escaped."""

from __future__ import annotations

import base64
import shlex
from collections.abc import Sequence
from datetime import datetime
from html import escape
from pathlib import Path

from PIL import Image

from app import draw
from app.annotating import JobView, ResultView
from app.panels import empty_state, notice
from curation.annotate import AnnotateConfig, Plan, Trial, command_line
from curation.ingest import thumbnail_path
from db.models import Job, now
from grain.structures import Region

STAGES = {"describe": "described", "localize": "boxed"}
PUBLISHED = {"CC3M": (3_300_000, 600), "CC12M": (12_400_000, 2_200)}  # pictures, A40-hours (arXiv 2412.04429)
OPEN_STATES = ("queued", "running")
MOST_TEXTS = 6  # of a result in the gallery


def plan_panel(found: Plan) -> str:
    """What is done at each stage, and how long the rest will take."""
    if found.images == 0:
        return empty_state("The data set has no pictures", "Import some, or choose another.")
    rows = "".join(
        f'<div class="meter"><span>{STAGES[stage.work.stage]}</span>{_bar(stage.counts.done, found.images)}'
        f'<span class="number">{stage.counts.done:,} of {found.images:,}</span>'
        f'<span class="quiet">{_aside(stage.counts.quarantined, stage.counts.failed)}</span></div>'
        for stage in found.stages
    )
    if not any(stage.left for stage in found.stages):
        end = "Everything is done with these settings: starting again does nothing."
    elif found.seconds is None:
        end = "How long the rest takes is known once the first pictures are done."
    else:
        end = f"About {_duration(found.seconds)} left, by the pace of the last run."
    return f'<div class="plan">{rows}<p class="quiet">{end}</p></div>'


def command_panel(config: AnnotateConfig) -> str:
    """The run from a terminal."""
    return f'<div class="code"><pre>{escape(shlex.join(["python", *command_line(config)]))}</pre></div>'


def jobs_panel(views: Sequence[JobView], advice: str = "Choose a data set and annotators, and press Start.") -> str:
    """The latest jobs: how far, how fast, what failed and why. advice: what to do while there is none."""
    if not views:
        return empty_state("No job yet", advice)
    return f'<ol class="jobs">{"".join(map(_job, views))}</ol>'


def _job(view: JobView) -> str:
    job = view.job
    share = f"{100 * job.done / job.total:.0f} %" if job.total else ""
    buttons = "".join(
        f'<button type="button" data-job="{job.id}" data-ask="{ask}">{ask}</button>' for ask in _asks(job)
    )
    reason = notice(job.exit_reason) if job.state in ("failed", "interrupted") and job.exit_reason else ""
    return (
        f'<li class="job {job.state}"><div class="job-head"><b>{escape(job.kind)} {job.id}</b>'
        f'<span class="quiet">{escape(_subject(job))}</span><span class="state">{job.state}</span>'
        f'<span class="number">{share}</span><span class="asks">{buttons}</span></div>'
        f'{_bar(job.done, job.total)}<p class="quiet">{escape(job.message)}{_eta(job)}</p>{reason}'
        f"{_failures(view)}{_costs(view)}</li>"
    )


def _asks(job: Job) -> tuple[str, ...]:
    if job.state == "running" and job.request:
        return ()
    if job.state in OPEN_STATES:
        return ("pause", "cancel")
    if job.state in ("paused", "interrupted", "failed", "cancelled"):
        return ("resume",) if job.state != "paused" else ("resume", "cancel")
    return ()


def _subject(job: Job) -> str:
    return str(job.config.get("dataset", ""))


def _eta(job: Job) -> str:
    if job.state != "running" or job.started_at is None or not 0 < job.done < job.total:
        return ""
    return f" · began {_ago(job.started_at)}"


def _failures(view: JobView) -> str:
    if not view.failures:
        return ""
    rows = "".join(
        f"<li><b>{group.pictures:,}</b> {group.state} at {group.stage}: {escape(group.reason)}</li>"
        for group in view.failures
    )
    many = sum(group.pictures for group in view.failures)
    return f"<details><summary>{many:,} pictures came to nothing</summary><ul>{rows}</ul></details>"


def _costs(view: JobView) -> str:
    """Pictures, tokens and hours a stage, and what the paper's data sets would take at that pace."""
    stages = {tally.stage for tally in view.tallies}
    rows, whole = "", 0.0
    for stage in sorted(stages):
        mine = [tally for tally in view.tallies if tally.stage == stage]
        pictures, seconds = sum(tally.pictures for tally in mine), sum(tally.seconds for tally in mine)
        if not pictures:
            continue
        whole += seconds / pictures
        rows += (
            f"<tr><th>{stage}</th><td>{pictures:,}</td><td>{sum(tally.tokens for tally in mine):,}</td>"
            f"<td>{seconds / pictures:.3f}</td><td>{seconds / 3600:.2f}</td></tr>"
        )
    if not rows:
        return ""
    projected = "".join(
        f"<tr><th>{name}, {pictures / 1e6:.1f} M pictures</th><td>{whole * pictures / 3600:,.0f} hours here</td>"
        f'<td class="quiet">{hours:,} A40-hours published</td></tr>'
        for name, (pictures, hours) in PUBLISHED.items()
    )
    return (
        '<details><summary>What it costs</summary><table class="costs"><thead><tr><th>stage</th><th>pictures</th>'
        f"<th>tokens</th><th>s a picture</th><th>hours</th></tr></thead><tbody>{rows}</tbody></table>"
        f'<table class="costs"><tbody>{projected}</tbody></table></details>'
    )


def trial_panel(image: Image.Image, trial: Trial, found: Plan) -> str:
    """One picture, step by step: subject, raw text, parsed descriptions, boxes; and what the rest takes at its pace."""
    said, parts = trial.described, []
    if said is not None:
        raw = "\n\n".join(said.raw) or "(no answer)"
        parts.append(_step("Stage 1 · subject", f"<p>{escape(said.subject) or '–'}</p>"))
        parts.append(_step("Stage 2 · as the model wrote it", f"<pre>{escape(raw)}</pre>"))
        if said.problem:
            parts.append(notice(f"Quarantined: {said.problem}."))
        if said.caption:
            parts.append(_step("Caption", f"<p>{escape(said.caption)}</p>"))
    if trial.texts is not None:
        dropped = [(each.item, each.reason) for each in trial.texts.dropped]
        parts.append(_step("Parsed descriptions", _list(trial.texts.kept, dropped)))
    if trial.regions is not None:
        lost = [(each.item.text, each.reason) for each in trial.regions.dropped]
        parts.append(_step("Boxes", draw.regions_picture(image, trial.regions.kept) + _list((), lost)))
    seconds = " · ".join(f"{stage} {took:.2f} s" for stage, took in trial.seconds.items())
    rest = sum(stage.left * trial.seconds.get(stage.work.stage, 0.0) for stage in found.stages)
    pace = f"<p>At this pace the rest of the data set takes about {_duration(rest)}.</p>" if rest else ""
    return f'<div class="trial">{"".join(parts)}<p class="quiet">{seconds}</p>{pace}</div>'


def results_panel(views: Sequence[ResultView], home: Path) -> str:
    """A gallery of annotated pictures."""
    if not views:
        return empty_state("No results yet", "Pictures appear here as they are done with the settings above.")
    return f'<div class="results">{"".join(_result(view, home) for view in views)}</div>'


def _result(view: ResultView, home: Path) -> str:
    regions = [
        Region((each.x1, each.y1, each.x2, each.y2), each.text, each.score or 0.0, row)
        for row, each in enumerate(view.regions)
    ]
    file = thumbnail_path(home, view.image.sha256)
    uri = f"data:image/jpeg;base64,{base64.b64encode(file.read_bytes()).decode()}" if file.is_file() else ""
    texts = "".join(
        f"<li>{draw.swatch(region.index)}{escape(region.text)} <i>{region.score:.2f}</i></li>"
        for region in regions[:MOST_TEXTS]
    )
    more = f'<li class="quiet">and {len(regions) - MOST_TEXTS} more</li>' if len(regions) > MOST_TEXTS else ""
    picture = draw.regions_frame(uri, view.image.width, view.image.height, regions)
    return f'<figure class="result">{picture}<ul>{texts}{more}</ul></figure>'


def _step(title: str, content: str) -> str:
    return f"<section><h4>{title}</h4>{content}</section>"


def _list(kept: Sequence[str], dropped: Sequence[tuple[str, str]]) -> str:
    rows = "".join(f"<li>{draw.swatch(index)}{escape(text)}</li>" for index, text in enumerate(kept))
    rows += "".join(f'<li class="quiet"><s>{escape(text)}</s> {escape(reason)}</li>' for text, reason in dropped)
    return f"<ul>{rows}</ul>" if rows else ""


def _bar(done: int, total: int) -> str:
    share = min(1.0, done / total) if total else 0.0
    return (
        f'<span class="progress" role="progressbar" aria-valuenow="{100 * share:.0f}">'
        f'<i style="width:{100 * share:.1f}%"></i></span>'
    )


def _aside(quarantined: int, failed: int) -> str:
    said = [f"{quarantined:,} quarantined"] * (quarantined > 0) + [f"{failed:,} failed"] * (failed > 0)
    return ", ".join(said)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} hours"


def _ago(moment: datetime) -> str:
    return f"{_duration((now() - moment).total_seconds())} ago"

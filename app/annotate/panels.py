"""Prepare what the Annotate page shows of a plan, a trial and the results, and render it by the page's templates."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path, PurePath

from PIL import Image

from app.annotate.actions import ResultView
from app.core.thumbnails import thumbnail_address
from app.ui.frames import regions_frame, regions_picture
from app.ui.html import command_block, duration, empty_state, render
from curation.annotate.messages import PLACEHOLDER, Message, PreviewedRequest
from curation.annotate.plan import AnnotationPlan
from curation.annotate.settings import AnnotateConfig, command_line
from curation.annotate.trial import PictureTrial
from db.queries.data_set_queries import RefusalCount
from grain.structures import Region

STAGE_WORDS = {"stage1": "the subject", "stage2": "the descriptions", "caption": "the caption"}
STAGES = {"describe": "described", "localize": "boxed"}
MOST_TEXTS = 6  # of a result in the gallery


def plan_panel(plan: AnnotationPlan) -> str:
    """Render what is done at each stage, and how long the rest will take."""
    if plan.images == 0:
        return empty_state("The data set has no pictures", "Import some, or choose another.")
    stages = [
        (STAGES[each.work.stage], each.counts.done, _remark(each.counts.quarantined, each.counts.failed))
        for each in plan.stages
    ]
    return render("annotate/templates/plan.html", stages=stages, images=plan.images, outlook=_outlook(plan))


def _outlook(plan: AnnotationPlan) -> str:
    if not any(stage.left for stage in plan.stages):
        return "Everything is done with these settings: starting again does nothing."
    if plan.seconds is None:
        return "How long the rest takes is known once the first pictures are done."
    return f"About {duration(plan.seconds)} left, by the pace of the last run."


def _remark(quarantined: int, failed: int) -> str:
    counts = ((quarantined, "quarantined"), (failed, "failed"))
    return ", ".join(f"{count:,} {state}" for count, state in counts if count)


def left_out_panel(reasons: Sequence[RefusalCount], files: int) -> str:
    """Render the files that imports left out, folded, by reason; "" where there are none. Folders stay unnamed."""
    if not files:
        return ""
    rows = [(each.reason, each.files, [_name(*place) for place in each.first]) for each in reasons]
    more = files - sum(each.files for each in reasons)
    return render("annotate/templates/left_out.html", files=files, reasons=rows, more=more)


def _name(location: str, member: str) -> str:
    return f"{PurePath(location).name}: {member}" if member else PurePath(location).name


def command_panel(config: AnnotateConfig) -> str:
    """Render the run from a terminal."""
    return command_block(shlex.join(["python", *command_line(config)]))


def trial_panel(image: Image.Image, trial: PictureTrial, plan: AnnotationPlan) -> str:
    """Render one picture step by step: subject, raw text, parsed descriptions, boxes; and the time left at its pace."""
    rest = sum(stage.left * trial.seconds.get(stage.work.stage, 0.0) for stage in plan.stages)
    return render(
        "annotate/templates/trial.html",
        described=trial.described,
        texts=trial.texts,
        boxes=trial.regions,
        picture=regions_picture(image, trial.regions.kept) if trial.regions is not None else "",
        seconds=" · ".join(f"{stage} {took:.2f} s" for stage, took in trial.seconds.items()),
        rest=rest,
    )


def messages_panel(requests: Sequence[PreviewedRequest]) -> str:
    """Render the requests about a picture, one after the other, as they would be sent."""
    shown = [
        (STAGE_WORDS.get(each.stage, each.stage), each.most_tokens, [*map(_message, each.messages)], each.text)
        for each in requests
    ]
    return render("annotate/templates/messages.html", requests=shown, answer=PLACEHOLDER)


def _message(message: Message) -> tuple[str, list[tuple[str, str]]]:
    """Return who speaks, and the parts of what is said: "picture" or "text", and its words."""
    content = message["content"]
    if isinstance(content, str):
        return message["role"], [("text", content)]
    return message["role"], [
        ("picture", part["picture"]) if "picture" in part else ("text", part["text"]) for part in content
    ]


def results_panel(views: Sequence[ResultView], home: Path) -> str:
    """Render a gallery of annotated pictures."""
    if not views:
        return empty_state("No results yet", "Pictures appear here as they are done with the settings above.")
    return render("annotate/templates/results.html", results=[_result(view, home) for view in views], most=MOST_TEXTS)


def _result(view: ResultView, home: Path) -> tuple[str, list[Region]]:
    """Return a picture under its regions, and the regions."""
    regions = [
        Region((each.x1, each.y1, each.x2, each.y2), each.text, each.score or 0.0, row)
        for row, each in enumerate(view.regions)
    ]
    image = view.image
    return regions_frame(
        thumbnail_address(home, image.sha256), regions, width=image.width, height=image.height
    ), regions

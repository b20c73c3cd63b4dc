"""Prepare what the Ground page shows in words and numbers, and render it by the page's templates."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

from app.core.checkpoints import Checkpoint
from app.core.ground_links import GroundQuestion
from app.core.typed_descriptions import split_descriptions
from app.ground.actions import CheckpointResult
from app.ground.examples import GroundExample
from app.ui.frames import comparison_frame, regions_frame, thumbnail_uri
from app.ui.html import duration, empty_state, render
from grain.checkpoint import EMBEDDED
from grain.class_texts import few_names
from grain.structures import REGION_RULES, ClassScore, Prediction
from grain.zero_shot import Classes, parse_classes

if TYPE_CHECKING:
    from app.ground.model_comparison import BoxComparison
    from app.ground.several import PictureAnswer
    from curation.annotate.describe import DescriberResult
    from curation.audit.claim_judge import JudgedClaim

AGREE = 0.5  # IoU
MOST_CLASSES = 10  # rows shown; the JSON has them all
MOST_COMMAND_CLASSES = 12
LEAST_PERCENT = 0.005  # probabilities below it are shown as "<1 %"
API_PICTURE = "picture.jpg"
ADDRESS = "http://127.0.0.1:7860/"  # the page's script puts its own in its place


def described_panel(described: DescriberResult) -> str:
    """Render the answer of a describer, stage by stage."""
    return render("ground/templates/described.html", described=described, raw="\n\n".join(described.raw))


def comparison_panel(prediction: Prediction, uri: str, rows: Sequence[BoxComparison], *, same_model: bool) -> str:
    """Render each description's boxes of GRAIN and of the detector, and how far they agree.

    Args:   uri: of the picture. same_model: both are the embedded `photo`.
    """
    agreed = sum(row.iou is not None and row.iou >= AGREE for row in rows)
    pairs = [(row.grain_xyxy, row.detector_xyxy) for row in rows]
    return render(
        "ground/templates/comparison.html",
        picture=comparison_frame(uri, pairs, width=prediction.width, height=prediction.height),
        rows=rows,
        finding=f"{agreed} of {len(rows)} descriptions have boxes that agree (IoU ≥ {AGREE}).",
        same_model=same_model,
    )


def audit_panel(rows: Sequence[tuple[str, Sequence[JudgedClaim]]]) -> str:
    """Render the descriptions of one picture with their claims judged, and why."""
    from app.ui.claims import SIGNS, ClaimSpan, marked
    from curation.audit.claim_judge import reasons

    counts = Counter(one.verdict for _, judged in rows for one in judged)
    descriptions = []
    for text, judged in rows:
        spans = [ClaimSpan(one.claim.start, one.claim.end, one.claim.kind, one.verdict) for one in judged]
        why = [(one.claim.words(text), one.verdict, " ".join(reasons(one.evidence))) for one in judged]
        descriptions.append((marked(text, spans), why))
    finding = ", ".join(f"{counts[verdict]} {verdict}" for verdict in SIGNS)
    return render("ground/templates/audit.html", finding=finding, descriptions=descriptions)


def about_panel(checkpoints: Sequence[Checkpoint], chosen: str, versus: str) -> str:
    """Render where the chosen checkpoints come from, and which ones cannot be used, and why."""
    by_name = {each.name: each for each in checkpoints}
    return render(
        "ground/templates/about.html",
        chosen=[by_name[name] for name in dict.fromkeys((chosen, versus)) if name in by_name],
        usable=any(not each.problem for each in checkpoints),
        broken=[each for each in checkpoints if each.problem],
    )


def gallery_panel(examples: Sequence[GroundExample]) -> str:
    """Render a button with a small picture for each example."""
    pictures = [(example, thumbnail_uri(example.path)) for example in examples]
    return render("ground/templates/gallery.html", pictures=pictures)


def several_panel(answers: Sequence[PictureAnswer]) -> str:
    """Render the pictures of a run, a card each."""
    return render("ground/templates/several.html", rows=[_several_row(each) for each in answers])


def _several_row(answer: PictureAnswer) -> dict[str, object]:
    if answer.found is None:
        return {"name": answer.name, "problem": answer.problem, "found": [], "absent": {}, "far": None}
    prediction = answer.found.prediction
    index = {text: row for row, text in enumerate(prediction.descriptions)}
    regions = [replace(region, index=index[region.text]) for region in prediction.regions]
    best = {text: max(each.score for each in regions if each.text == text) for text in {r.text for r in regions}}
    absent: dict[str, list[str]] = {}
    for text, word in zip(prediction.descriptions, prediction.answers, strict=True):
        if text not in best:
            absent.setdefault(word, []).append(text)
    return {
        "name": answer.name,
        "problem": "",
        "frame": regions_frame(answer.uri, regions, width=prediction.width, height=prediction.height),
        "found": [(text, row, best[text]) for text, row in index.items() if text in best],
        "absent": absent,
        "far": prediction.far,
    }


def several_note(answers: Sequence[PictureAnswer], *, total: int, last: bool) -> str:
    """Render how far a run is, at its end on how many pictures each description was found, and which are strange.

    Pictures that could not be read are named.
    """
    from app.ground.several import unread_of

    unread = unread_of(answers)
    found = Counter(text for each in answers if each.found for text in {r.text for r in each.found.prediction.regions})
    texts = next((each.found.prediction.descriptions for each in answers if each.found), ())
    counts = [(text, found[text]) for text in texts]
    far = [each for each in answers if each.found and each.found.prediction.far]
    return render(
        "ground/templates/several_note.html",
        done=len(answers),
        total=total,
        last=last,
        counts=counts,
        unread=len(unread),
        unread_names=few_names(list(unread)),
        far=len(far),
        checkpoint=far[0].checkpoint if far else "",
    )


def progress_line(done: int, total: int, *, seconds: float) -> str:
    """Render how many class texts are embedded, and how long the rest will take once that is known."""
    left = duration(seconds / done * (total - done)) if done else ""
    return render("ground/templates/progress.html", done=done, total=total, left=left)


def seen_panel(names: Sequence[str]) -> str:
    """Render what the picture seems to show, a button each; without names, that it is too strange to tell."""
    return render("ground/templates/seen.html", names=names)


def kept_mark(owner: str, picture: str) -> str:
    """Render what the page's script keeps in the browser of a picture that the server keeps, invisibly."""
    return render("ground/templates/kept.html", owner=owner, picture=picture)


@dataclass(frozen=True)
class ScoreColumn:
    """The cosines of one class: one a description, and the class's own. kind: whose, `grain` or `clip`."""

    model: str
    part: str
    kind: str
    cells: tuple[float | None, ...]
    total: float | None


def classes_panel(result: CheckpointResult, versus: CheckpointResult | None, *, alpha: float) -> str:
    """Render the best class of each model, then a row a class with both models' bars and the reasons."""
    if not result.prediction.classes:
        return empty_state("No classes asked", "Write some on the left, one a line: name: description; description")
    results = [result] + ([versus] if versus else [])
    scores = [{score.name: score for score in each.prediction.classes} for each in results]
    names = [score.name for score in result.prediction.classes]
    return render(
        "ground/templates/classes.html",
        verdicts=[(_who(each), _best(each).name, _percent(_best(each).probability), _kind(each)) for each in results],
        rows=[_class_row(results, [by_name[name] for by_name in scores]) for name in names[:MOST_CLASSES]],
        more=max(0, len(names) - MOST_CLASSES),
        alpha=alpha if result.info.can_ground else None,
        rule=REGION_RULES[result.info.region_rule],
        note=result.info.recognition_note if any(score.descriptions for score in result.prediction.classes) else "",
    )


def _class_row(results: Sequence[CheckpointResult], scores: Sequence[ClassScore]) -> dict[str, object]:
    """Return a class as the template needs it: a bar a model, a table of cosines, and the scores."""
    pairs = list(zip(results, scores, strict=True))
    drawn = results[0].prediction.descriptions
    return {
        "name": scores[0].name,
        "bars": [(s.probability, _percent(s.probability), _kind(r), f"{_who(r)}: probability") for r, s in pairs],
        "columns": [column for result, score in pairs for column in _columns(result, score)],
        "texts": [
            (each.text, drawn.index(each.text) if each.text in drawn else None) for each in scores[0].descriptions
        ],
        "mixed": " · ".join(f"{_who(result)} {score.score:.3f}" for result, score in pairs),
    }


def _columns(result: CheckpointResult, score: ClassScore) -> list[ScoreColumn]:
    """Return the cosines with the whole picture; and with the regions, where the checkpoint has any."""
    model, kind = result.checkpoint.name, _kind(result)  # two checkpoints may be of one kind
    image_scores = tuple(each.global_score for each in score.descriptions)
    columns = [ScoreColumn(model, "picture", kind, image_scores, score.global_score)]
    if result.info.can_ground:
        parts = tuple(each.region_score for each in score.descriptions)
        columns.append(ScoreColumn(model, "region", kind, parts, score.region_score))
    return columns


def _best(result: CheckpointResult) -> ClassScore:
    return result.prediction.classes[0]


def _kind(result: CheckpointResult) -> str:
    return "clip" if result.info.kind == "clip" else "grain"


def _who(result: CheckpointResult) -> str:
    return f"{result.info.kind.upper()} · {result.checkpoint.name}"


def _percent(probability: float) -> str:
    return "<1 %" if 0 < probability < LEAST_PERCENT else f"{100 * probability:.0f} %"


def timing_panel(results: Sequence[CheckpointResult]) -> str:
    """Render how long each model took."""
    rows = [(each.checkpoint.name, each.prediction.timing_ms) for each in results]
    return render("ground/templates/timing.html", rows=rows)


def code_panel(question: GroundQuestion, checkpoint: Checkpoint) -> str:
    """Render the same run from a command line and from Python; the page fills in its own address."""
    quoted = [json.dumps(text, ensure_ascii=False) for text in (question.descriptions, question.classes)]
    checkpoint_name = json.dumps(question.checkpoint, ensure_ascii=False)
    classes = len(parse_classes(question.classes))
    return render(
        "ground/templates/code.html",
        address=ADDRESS,
        shell=" \\\n  ".join(command_line(question, checkpoint)),
        classes=classes if classes > MOST_COMMAND_CLASSES else 0,
        most=MOST_COMMAND_CLASSES,
        texts=f'handle_file("{API_PICTURE}"), {", ".join(quoted)}',
        numbers=f"{checkpoint_name}, {question.threshold:g}, {question.alpha:g}",
    )


def command_line(question: GroundQuestion, checkpoint: Checkpoint) -> list[str]:
    """Return `python -m grain.predict` with the same question, a piece a line, and the first classes of many."""
    embedded = checkpoint.folder.parent == EMBEDDED
    classes = dict(islice(parse_classes(question.classes).items(), MOST_COMMAND_CLASSES))
    return [
        f"python -m grain.predict {API_PICTURE}",
        *_flag("--description", split_descriptions(question.descriptions, one_a_line=question.one_a_line)),
        *_flag("--class-text", _class_texts(classes)),
        *_flag("--checkpoint", [checkpoint.name if embedded else str(checkpoint.folder)]),
        f"--instances all --threshold {question.threshold:g} --alpha {question.alpha:g}",
    ]


def _class_texts(classes: Classes) -> list[str]:
    """Return classes as lines, or all as JSON where a line cannot hold one, as a description with a semicolon."""
    lines = [f"{name}: {'; '.join(rows)}" for name, rows in classes.items()]
    try:
        same = parse_classes("\n".join(lines)) == classes
    except ValueError:
        same = False
    return lines if same else [json.dumps(classes, ensure_ascii=False)]


def _flag(name: str, values: Sequence[str]) -> list[str]:
    return [f"{name} {shlex.join(values)}"] if values else []


def link_panel(address: str) -> str:
    """Render the link of a saved question, to copy."""
    return render("ground/templates/link.html", address=address)

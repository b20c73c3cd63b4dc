"""Prepare what the Evaluate page shows, for the templates: numbers in words, rows in order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from app.evaluate.experiments import ArmView, ExperimentView
from app.evaluate.results import BEST, REGION_WAYS, RETRIEVAL, WAYS, find_pair, model_of, way_label
from app.ui.html import render, render_macro, thousands
from curation.annotate.describe_classes import DraftDescription, Drafts
from grain.evaluate.comparison import FEWEST_GROUPS
from grain.evaluate.experiments import EXPERIMENTS

LEAST_P = 0.001  # smaller ones are written as less than this
NARROWEST = 0.6  # % of the bar: an interval that can be seen
VERDICTS = (("accepted", "accept", "✓"), ("rejected", "reject", "✗"), ("pending", "take back", "?"))
DETECTION = {"ap": "AP", "ap50": "AP50", "ap_rare": "rare", "ap_common": "common", "ap_frequent": "frequent"}
CONTRASTS = {"text": "captions", "image": "pictures", "group": "both"}
NO_CLASSES = render_macro("note", "No pictures with classes.")


class ShareText(NamedTuple):
    """A share with its 95 % interval, in per cent."""

    value: str
    low: str
    high: str


@dataclass(frozen=True)
class ResultLine:
    """A row of the results. about: the way in a sentence. width: of the interval's bar. others: further numbers."""

    model: str
    way: str
    about: str
    best: bool
    top1: ShareText
    width: str
    others: Sequence[str]


@dataclass(frozen=True)
class DraftLine:
    """A drafted description. choices: verdict, verb and sign of each button."""

    text: str
    about: str
    by_name: bool
    verdict: str
    choices: Sequence[tuple[str, str, str]]


Table = tuple[Sequence[str], Sequence[tuple[str, Sequence[ShareText | str | None]]]]
"""Heads, and rows: a name and its cells."""


def share_text(shares: Sequence[float], form: str = ".1f") -> ShareText:
    """Return a share and the ends of its interval in per cent."""
    return ShareText(*(format(100 * share, form) for share in shares))


def head_panel(data: Mapping[str, Any]) -> str:
    """Render what was evaluated on, and what was wrong with its descriptions."""
    described = data["descriptions"]
    pictures = f"{thousands(data['pictures'])} pictures"
    if data["pictures"] < data["pictures_in_all"]:
        pictures += f" drawn from {thousands(data['pictures_in_all'])}"
    facts = [f"{data['name']}, split {data['split']}", data["source"], pictures]
    facts += [f"{thousands(data[name])} {name}" for name in ("classes", "captions") if data.get(name)]
    if described["source"]:
        facts.append(f"{thousands(described['texts'])} descriptions ({described['source']})")
    notes = [*filter(None, [data.get("note")]), *data.get("notes", []), *described["report"]]
    return render("evaluate/templates/head.html", facts=facts, notes=notes)


def table_panel(data: Mapping[str, Any]) -> str:
    """Render a row for each model and way of prompting: top-1 with its interval as a bar, and the rest."""
    if not data["rows"]:
        return ""
    best = max(row["top1"][0] for row in data["rows"])
    rows = [
        ResultLine(
            model=row["model"],
            way=row["way"],
            about=WAYS.get(row["way"], ""),
            best=row["top1"][0] == best,
            top1=share_text(row["top1"]),
            width=f"{max(NARROWEST, 100 * (row['top1'][2] - row['top1'][1])):.1f}",
            others=[f"{100 * share:.1f}" for share in _other_shares(row)],
        )
        for row in data["rows"]
    ]
    return render("evaluate/templates/table.html", rows=rows, ways=WAYS.items())


def _other_shares(row: Mapping[str, Any]) -> tuple[float, float, float]:
    return row["top5"][0], row["mean_class_recall"], row["calibration_error"]


def costs_panel(data: Mapping[str, Any]) -> str:
    """Render size and time of each model, so that better can be read per parameter."""
    tops: dict[str, float] = {}
    for row in data["rows"]:
        tops[row["model"]] = max(row["top1"][0], tops.get(row["model"], 0.0))
    rows = [
        (
            model["model"],
            f"{model['parameters'] / 1e6:.1f} M",
            f"{model['ms_a_picture']:.1f} ms",
            thousands(model["texts_encoded"]),
            f"{100 * tops[model['model']]:.1f} %" if model["model"] in tops else "–",
            " · ".join(f"{value:g}" for value in model["alpha"] or ()) or "–",
        )
        for model in data["models"]
    ]
    origins = [(model["model"], model["trained_on"]) for model in data["models"]]
    return render("evaluate/templates/costs.html", rows=rows, origins=origins)


def measures_panel(data: Mapping[str, Any]) -> str:
    """Render retrieval, grounding, detection and captions told apart, where the pictures have what it takes."""
    tables: list[Table] = []
    if data["retrieval"]:
        rows = [(row["model"], [share_text(row[name]) for name in RETRIEVAL]) for row in data["retrieval"]]
        tables.append((("Retrieval, % [95 %]", *RETRIEVAL.values()), rows))
    if data["grounding"]:
        heads = ("Grounding, % [95 %]", "IoU ≥ 0.5", "mean IoU", "descriptions")
        tables.append((heads, [(row["model"], _grounding_cells(row)) for row in data["grounding"]]))
    if data.get("detection"):  # evaluations of earlier versions have none, nor contrasts
        tables.append(_measured_table(data["detection"], "Detection, % [95 %]", DETECTION, counted="categories"))
    if data.get("contrasts"):
        tables.append(_measured_table(data["contrasts"], "Told apart, % [95 %]", CONTRASTS, counted="examples"))
    return _tables(tables)


def _grounding_cells(row: Mapping[str, Any]) -> list[ShareText | str | None]:
    return [share_text(row["acc50"]), share_text(row["miou"]), thousands(row["descriptions"])]


def _measured_table(
    rows: Sequence[Mapping[str, Any]], title: str, columns: Mapping[str, str], *, counted: str
) -> Table:
    """Return a table of a row a model. columns: measure -> head, of those that any row has; counted: the last one."""
    shown = {name: head for name, head in columns.items() if any(name in row for row in rows)}
    cells = [
        (row["model"], [share_text(row[name]) if name in row else None for name in shown] + [thousands(row[counted])])
        for row in rows
    ]
    return (title, *shown.values(), counted), cells


def leads_panel(data: Mapping[str, Any]) -> str:
    """Render how far every model is ahead of the first one, a column for each way of prompting."""
    leads = data.get("leads", [])  # evaluations of earlier versions have none
    if not leads:
        return ""
    ways = [way for way in (*WAYS, BEST, *RETRIEVAL, *REGION_WAYS) if any(lead["way"] == way for lead in leads)]
    cells = {(lead["model"], lead["way"]): share_text(lead["lead"], "+.1f") for lead in leads}
    models = dict.fromkeys(lead["model"] for lead in leads)
    rows = [(model, [cells.get((model, way)) for way in ways]) for model in models]
    return _tables([(("model", *map(way_label, ways)), rows)], over=first_model(leads))


def first_model(leads: Sequence[Mapping[str, Any]]) -> str:
    """Return the model that leads are over."""
    return model_of(str(leads[0]["other"]))


def across_panel(metrics: Mapping[str, Any]) -> str:
    """Render top-1 of every row on every data set with classes, where there are several."""
    sets = [data for data in metrics["data_sets"] if data["rows"]]
    if len(sets) < 2:
        return ""
    found = [{row["row"]: share_text(row["top1"]) for row in data["rows"]} for data in sets]
    names = dict.fromkeys(name for rows in found for name in rows)
    heads = ("Top-1, % [95 %]", *(data["name"] for data in sets))
    return _tables([(heads, [(name, [rows.get(name) for rows in found]) for name in names])])


def _tables(tables: Sequence[Table], over: str = "") -> str:
    return render("evaluate/templates/estimates.html", tables=tables, over=over) if tables else ""


def pair_panel(data: Mapping[str, Any], one: str, other: str) -> str:
    """Render the lead of one row over another, in a sentence."""
    pair = find_pair(data["pairs"], one, other)
    if pair is None:
        return render_macro("note", "Choose two different rows to compare.")
    value, low, high = (100 * end for end in pair["lead"])
    return render(
        "evaluate/templates/pair.html",
        one=one,
        other=other,
        lead=share_text(pair["lead"], "+.1f"),
        points=f"{abs(value):.1f}",
        where="ahead of" if value >= 0 else "behind",
        sure=not low <= 0 <= high,
        test=_test_words(pair, data["classes"]),
        only_one=pair["only_one"],
        only_other=pair["only_other"],
    )


def _test_words(pair: Mapping[str, Any], classes: int) -> str:
    """Return the test behind a lead, which is of the same units as its interval; "" of earlier versions, where not."""
    if "groups" not in pair:
        return ""
    p = format_p(pair["p_value"])
    p = f"p {p}" if p.startswith("<") else f"p = {p}"
    if pair["groups"]:
        return f"permutation test over {thousands(pair['groups'])} classes, {p}"
    only = f"; it is about {'this class' if classes == 1 else f'these {classes} classes'} alone"
    return f"McNemar's test, each picture on its own, {p}{only if classes < FEWEST_GROUPS else ''}"


def failures_panel(failures: Sequence[Mapping[str, str]]) -> str:
    """Render which models could not be evaluated on which data sets, and why: a line a reason."""
    by_reason: dict[str, list[Mapping[str, str]]] = {}
    for failure in failures:
        by_reason.setdefault(failure["reason"], []).append(failure)
    rows = [
        (reason, *(_distinct(each[name] for each in pairs) for name in ("model", "data_set")))
        for reason, pairs in by_reason.items()
    ]
    return render("evaluate/templates/failures.html", failed=len(failures), rows=rows) if rows else ""


def _distinct(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(names))


def format_p(value: float) -> str:
    """Return a p-value in words."""
    return f"< {LEAST_P}" if value < LEAST_P else f"{value:.3f}"


def experiment_panel(view: ExperimentView) -> str:
    """Render an experiment's question, its arms and their checkpoints, and how the missing ones are trained."""
    missing = [each for each in view.arms if not each.checkpoint]
    return render(
        "evaluate/templates/experiment.html",
        question=view.experiment.question,
        rows=view.experiment.measured,
        show=view.experiment.show,
        arms=[_arm(each) for each in view.arms],
        missing=len(missing),
        commands="\n".join([*view.worlds, *(each.train for each in missing)]),
    )


def _arm(view: ArmView) -> tuple[str, str, str, str]:
    checkpoint = Path(view.checkpoint).parent.name if "/" in view.checkpoint else view.checkpoint
    return view.arm.name, view.arm.description, " ".join(view.arm.flags), checkpoint


def experiment_head(metrics: Mapping[str, Any]) -> str:
    """Render which experiment an evaluation is the result of; "" of none."""
    experiment = EXPERIMENTS.get(metrics["asked"].get("experiment") or "")
    if experiment is None:
        return ""
    words = {arm.name: arm.description for arm in experiment.arms}
    shown = dict.fromkeys(model["model"] for data in metrics["data_sets"] for model in data["models"])
    arms = [(name, words[name]) for name in shown if name in words]
    rows = experiment.measured
    return render("evaluate/templates/experiment_head.html", question=experiment.question, arms=arms, rows=rows)


def missing_panel(sets: Sequence[tuple[str, str]]) -> str:
    """Render the published data sets that are not on this machine, and what to do."""
    return render("evaluate/templates/missing.html", sets=sets) if sets else ""


def review_panel(drafts: Drafts, accepted: Path) -> str:
    """Render drafted descriptions, each with its verdict and buttons for another."""
    return render(
        "evaluate/templates/review.html",
        waiting=sum(each.verdict == "pending" for rows in drafts.values() for each in rows),
        accepted=accepted,
        classes=[(name, [_draft(each) for each in rows]) for name, rows in drafts.items()],
    )


def _draft(draft: DraftDescription) -> DraftLine:
    origin = (
        f"described in {thousands(draft.seen)} example pictures"
        if draft.seen
        else "written of the name alone, no picture seen"
    )
    return DraftLine(
        text=draft.text,
        about=f"{origin}, by {draft.source}",
        by_name=not draft.seen,
        verdict=draft.verdict,
        choices=[each for each in VERDICTS if each[0] != draft.verdict],
    )

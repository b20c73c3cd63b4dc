"""What the Evaluate page says, as HTML. Everything that a person or a model wrote is escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from PIL import Image

from app import draw
from app.evaluating import Result
from app.experimenting import ArmView, ExperimentView
from app.panels import empty_state
from curation.describe_classes import Drafted, Drafts
from grain.experiments import EXPERIMENTS, Experiment
from grain.structures import Region

EXAMPLE_SIDE = 360  # pixels
MOST_EFFECTS = 8  # of each kind
RETRIEVAL = {
    "image_to_text_r1": "picture → caption R@1",
    "image_to_text_r5": "R@5",
    "image_to_text_r10": "R@10",
    "text_to_image_r1": "caption → picture R@1",
    "text_to_image_r5": "R@5",
    "text_to_image_r10": "R@10",
}
BEST = "best"  # as grain/report.py calls it: each model by the way of asking that does best
WAYS = {
    "names": "class names alone",
    "descriptions": "names with descriptions, whole picture",
    "regions": "descriptions against the best regions",
    "mixed": "whole picture and regions; α chosen on the other half of the pictures",
}


def head(data: Mapping[str, Any]) -> str:
    """What was evaluated on, and what was wrong with its descriptions."""
    described = data["descriptions"]
    pictures = f"{data['pictures']:,} pictures"
    if data["pictures"] < data["pictures_in_all"]:
        pictures += f" drawn from {data['pictures_in_all']:,}"
    texts = f" · {described['texts']:,} descriptions ({escape(described['source'])})" if described["source"] else ""
    notes = [note] if (note := data.get("note")) else []
    report = "".join(f"<li>{escape(sentence)}</li>" for sentence in (*notes, *described["report"]))
    said = f"{data['name']}, split {data['split']} · {data['source']}"
    captions = f" · {data['captions']:,} captions" if data.get("captions") else ""
    classes = f" · {data['classes']:,} classes" if data["classes"] else ""
    return f'<p class="quiet">{escape(said)} · {pictures}{classes}{captions}{texts}</p>' + (
        f'<ul class="quiet report">{report}</ul>' if report else ""
    )


def table(data: Mapping[str, Any]) -> str:
    """A row a model and way of asking: top-1 with its interval as a bar, and the rest."""
    if not data["rows"]:
        return empty_state("No classes here", "These pictures have captions or regions alone: see below.")
    best = max(row["top1"][0] for row in data["rows"])
    body = "".join(
        f'<tr{" class=best" if row["top1"][0] == best else ""}><th title="{WAYS.get(row["way"], "")}">'
        f"{escape(row['model'])} <span>{escape(row['way'])}</span></th><td>{interval(row['top1'])}</td>"
        + "".join(
            f'<td class="number">{100 * value:.1f}</td>'
            for value in (row["top5"][0], row["mean_class_recall"], row["calibration_error"])
        )
        + "</tr>"
        for row in data["rows"]
    )
    ways = "".join(f"<li><b>{name}</b> {said}</li>" for name, said in WAYS.items())
    return (
        '<div class="scroll"><table class="results-table"><thead><tr><th>model, asked by</th><th>top-1, % [95 %]</th>'
        "<th>top-5</th><th>class mean</th><th>calibration error</th></tr></thead>"
        f"<tbody>{body}</tbody></table></div><details><summary>How they are asked</summary>"
        f'<ul class="quiet">{ways}<li>Intervals: bootstrap, the pictures of a class drawn together.</li></ul>'
        "</details>"
    )


def interval(estimate: Sequence[float]) -> str:
    """A share with its 95 % interval, as numbers and as a bar."""
    value, low, high = (100 * number for number in estimate)
    return (
        f'<span class="number">{value:.1f} <i>[{low:.1f}, {high:.1f}]</i></span><span class="span" aria-hidden="true">'
        f'<i style="left:{low:.1f}%;width:{max(0.6, high - low):.1f}%"></i><b style="left:{value:.1f}%"></b></span>'
    )


def costs(data: Mapping[str, Any]) -> str:
    """Size and time of each model, so that better can be read per parameter."""
    tops = {row["model"]: max(r["top1"][0] for r in data["rows"] if r["model"] == row["model"]) for row in data["rows"]}
    rows = "".join(
        f"<tr><th>{escape(model['model'])}</th><td>{model['parameters'] / 1e6:.1f} M</td>"
        f"<td>{model['ms_a_picture']:.1f} ms</td><td>{model['texts_encoded']:,}</td>"
        f"<td>{_percent(tops.get(model['model']))}</td><td>{_alpha(model['alpha'])}</td></tr>"
        for model in data["models"]
    )
    origin = "".join(f"<li><b>{escape(m['model'])}</b> {escape(m['trained_on'])}</li>" for m in data["models"])
    return (
        '<div class="scroll"><table class="costs"><thead><tr><th>model</th><th>parameters</th><th>a picture</th>'
        "<th>texts encoded</th><th>best top-1</th><th>α</th></tr></thead>"
        f"<tbody>{rows}</tbody></table></div><details><summary>What they were trained on</summary>"
        f'<ul class="quiet">{origin}</ul></details>'
    )


def others(data: Mapping[str, Any]) -> str:
    """Retrieval and grounding, where the pictures have captions or regions."""
    parts = ""
    if data["retrieval"]:
        heads = "".join(f"<th>{name}</th>" for name in RETRIEVAL.values())
        rows = "".join(
            f"<tr><th>{escape(row['model'])}</th>{''.join(_cell(row[name]) for name in RETRIEVAL)}</tr>"
            for row in data["retrieval"]
        )
        parts += _small_table("Retrieval, % [95 %]", heads, rows)
    if data["grounding"]:
        rows = "".join(
            f"<tr><th>{escape(row['model'])}</th>{_cell(row['acc50'])}{_cell(row['miou'])}"
            f'<td class="number">{row["descriptions"]:,}</td></tr>'
            for row in data["grounding"]
        )
        parts += _small_table("Grounding, % [95 %]", "<th>IoU ≥ 0.5</th><th>mean IoU</th><th>descriptions</th>", rows)
    return parts


def experiment(one: ExperimentView) -> str:
    """What an experiment asks, its arms and whether they are here, and how the missing ones are trained."""
    rows = "".join(_arm(each) for each in one.arms)
    show = f" Show it {escape(one.asked.show)}." if one.asked.show else ""
    missing = [each for each in one.arms if not each.checkpoint]
    lines = [*one.worlds, *(each.train for each in missing)]
    training = (
        f"<details><summary>{len(missing)} to train: the commands</summary>"
        f'<div class="code"><pre>{escape(chr(10).join(lines))}</pre></div></details>'
    )
    return (
        f'<p class="finding">{escape(one.asked.question)}</p><p class="quiet">{_measured(one.asked)}{show}</p>'
        '<div class="scroll"><table class="costs arms"><thead><tr><th>arm</th><th>what it is</th><th>here</th></tr>'
        f"</thead><tbody>{rows}</tbody></table></div>{training if missing else ''}"
        '<p class="quiet">The checkpoint of each, by its name or its folder; arms left empty are left out:</p>'
    )


def _arm(one: ArmView) -> str:
    flags = " ".join(one.arm.flags)
    how = f"<code>{escape(flags)}</code>" if flags else ""
    here = escape(Path(one.checkpoint).parent.name if "/" in one.checkpoint else one.checkpoint) or "to train"
    return f"<tr><th>{escape(one.arm.name)}</th><td>{escape(one.arm.said)} {how}</td><td>{here}</td></tr>"


def _measured(asked: Experiment) -> str:
    rows = ", ".join(f"<code>{row}</code>" for row in asked.measured)
    return f"Our result on the sample world: row {rows} of docs/benchmarks.md, told in docs/experiments.md."


def experiment_head(metrics: Mapping[str, Any]) -> str:
    """Of which experiment an evaluation is the result; "" of none."""
    asked = EXPERIMENTS.get(metrics["asked"].get("experiment") or "")
    if asked is None:
        return ""
    said = {arm.name: arm.said for arm in asked.arms}
    shown = dict.fromkeys(model["model"] for data in metrics["data_sets"] for model in data["models"])
    arms = " · ".join(f"<b>{escape(name)}</b> {escape(said[name])}" for name in shown if name in said)
    return f'<p class="finding">{escape(asked.question)}</p><p class="quiet">{arms}. {_measured(asked)}</p>'


def leads(data: Mapping[str, Any]) -> str:
    """How far every model is ahead of the first one, a column a way of asking."""
    found = data.get("leads", [])  # evaluations of earlier versions have none
    if not found:
        return ""
    ways = [way for way in (*WAYS, BEST, *RETRIEVAL) if any(lead["way"] == way for lead in found)]
    models = list(dict.fromkeys(lead["model"] for lead in found))
    cells = {(lead["model"], lead["way"]): _lead(lead["lead"]) for lead in found}
    rows = "".join(
        f"<tr><th>{escape(model)}</th>{''.join(cells.get((model, way), '<td>–</td>') for way in ways)}</tr>"
        for model in models
    )
    heads = "".join(f"<th>{way_said(way)}</th>" for way in ways)
    return (
        f'<p class="quiet">Points ahead of <b>{escape(first_model(found))}</b>, with 95 % intervals; '
        "where an interval holds 0, chance may well explain it.</p>" + _small_table("", heads, rows)
    )


def way_said(way: str) -> str:
    """A column of leads, in words."""
    return "each by its best" if way == BEST else RETRIEVAL.get(way, way)


def first_model(found: Sequence[Mapping[str, Any]]) -> str:
    """The one that the leads are over."""
    return str(found[0]["other"]).rpartition(" · ")[0]


def _lead(estimate: Sequence[float]) -> str:
    value, low, high = (100 * number for number in estimate)
    return f'<td class="number">{value:+.1f} <i>[{low:+.1f}, {high:+.1f}]</i></td>'


def across(metrics: Mapping[str, Any]) -> str:
    """Top-1 of every row on every data set with classes, where there are several."""
    sets = [data for data in metrics["data_sets"] if data["rows"]]
    if len(sets) < 2:
        return ""
    found = [{row["row"]: _cell(row["top1"]) for row in data["rows"]} for data in sets]
    names = dict.fromkeys(name for rows in found for name in rows)
    lines = "".join(
        f"<tr><th>{escape(name)}</th>{''.join(rows.get(name, '<td>–</td>') for rows in found)}</tr>" for name in names
    )
    return _small_table("Top-1, % [95 %]", "".join(f"<th>{escape(data['name'])}</th>" for data in sets), lines)


def pair(data: Mapping[str, Any], one: str, other: str) -> str:
    """The lead of one row over another, in a sentence."""
    found = find_pair(data["pairs"], one, other)
    if found is None:
        return '<p class="quiet">Choose two different rows to compare.</p>'
    value, low, high = (100 * number for number in found["lead"])
    sure = "more than chance explains" if found["p_value"] < 0.05 else "which chance may well explain"
    where = "ahead of" if value >= 0 else "behind"
    return (
        f'<p class="finding"><b>{escape(one)}</b> is {abs(value):.1f} points {where} <b>{escape(other)}</b> '
        f'<span class="quiet">[{low:+.1f}, {high:+.1f}]; it alone is right on {found["only_one"]:,} pictures, '
        f"the other alone on {found['only_other']:,}: {sure} (McNemar, p {_p(found['p_value'])})</span></p>"
    )


def find_pair(pairs: Sequence[Mapping[str, Any]], one: str, other: str) -> dict[str, Any] | None:
    """A pair of rows whichever way round it was written; None where it was not compared."""
    for each in pairs:
        if (each["one"], each["other"]) == (one, other):
            return dict(each)
        if (each["one"], each["other"]) == (other, one):
            return _turned(each)
    return None


def _turned(pair: Mapping[str, Any]) -> dict[str, Any]:
    """The same seen from the other side."""
    turned = dict(pair) | {"one": pair["other"], "other": pair["one"]}
    if "lead" in pair:
        turned |= {
            "lead": _negative(pair["lead"]),
            "only_one": pair["only_other"],
            "only_other": pair["only_one"],
        }
    if "classes" in pair:
        rows = [
            dict(row) | {"one": row["other"], "other": row["one"], "lead": _negative(row["lead"])}
            for row in pair["classes"]
        ]
        turned |= {"classes": rows[::-1], "wins": pair["losses"], "losses": pair["wins"]}
    return turned


def _negative(estimate: Sequence[float]) -> list[float]:
    value, low, high = estimate
    return [-value, -high, -low]


def examples(found: Result, data_set: int, one: str, other: str) -> str:
    """Pictures that one row alone gets right, and those that it alone gets wrong, with both models' regions."""
    details = found.details["data_sets"][data_set]
    pair = find_pair(details["deltas"], one, other)
    if pair is None or not (pair["wins"] or pair["losses"]):
        return empty_state("No picture tells them apart", "Both are right, or wrong, on the same pictures.")
    parts = ""
    for title, rows in ((f"{one} alone is right", pair["wins"]), (f"{other} alone is right", pair["losses"])):
        if rows:
            cards = "".join(_example(found, data_set, row, (one, other)) for row in rows)
            parts += f'<h4>{escape(title)}</h4><div class="examples">{cards}</div>'
    return parts


def _example(found: Result, data_set: int, row: int, names: Sequence[str]) -> str:
    one = found.details["data_sets"][data_set]["pictures"][str(row)]
    uri = _uri(found.folder / "pictures" / Path(one["file"]).name)
    sides = "".join(_side(one, name, uri, data_set, row) for name in names)
    title = f"<figcaption>{escape(one['true'])}</figcaption>"
    return f'<figure class="example">{title}<div class="pair">{sides}</div></figure>'


def _side(one: Mapping[str, Any], name: str, uri: str, data_set: int, row: int) -> str:
    model, said = name.rpartition(" · ")[0], one["rows"][name]
    regions = [
        Region(tuple(region["box"]), region["text"], region["cosine"], index)
        for index, region in enumerate(one["regions"].get(model, []))
    ]
    picture = draw.regions_frame(uri, one["width"], one["height"], regions)
    right = said["said"] == one["true"]
    return (
        f'<button type="button" {_target(data_set, row, model)} title="Look at it on Ground">{picture}'
        f'<span class="{"right" if right else "wrong"}">{escape(said["said"])} '
        f'<i class="number">{100 * said["probability"]:.0f} %</i></span>'
        f'<span class="quiet">{escape(name)}</span></button>'
    )


def apart(found: Result, data_set: int, one: str, other: str) -> str:
    """The classes that two rows differ on most, each with a picture to click."""
    pair = find_pair(found.details["data_sets"][data_set]["deltas"], one, other)
    if pair is None or not pair.get("apart"):  # evaluations of earlier versions have none
        return ""
    rows = {row["name"]: row for row in pair["classes"]}
    model = one.rpartition(" · ")[0]
    lines = "".join(
        f'<li><span class="number">{100 * rows[each["name"]]["lead"][0]:+.0f}</span><span>{escape(each["name"])} '
        f"<i>{100 * rows[each['name']]['one']:.0f} % against {100 * rows[each['name']]['other']:.0f} %, "
        f"{rows[each['name']]['pictures']:,} pictures</i></span>"
        f'<span class="thumbs">{_thumb(found, data_set, each["picture"], model)}</span></li>'
        for each in sorted(pair["apart"], key=lambda each: -rows[each["name"]]["lead"][0])
    )
    return f'<details><summary>Classes furthest apart</summary><ol class="confused apart">{lines}</ol></details>'


def confusion(found: Result, data_set: int, row: str) -> str:
    """What is taken for what, the most frequent first, with a few pictures."""
    details = found.details["data_sets"][data_set]
    pairs = details["rows"].get(row, {}).get("confused", [])
    if not pairs:
        return empty_state("Nothing confused", "Every picture got its class.")
    model = row.rpartition(" · ")[0]
    lines = "".join(
        f'<li><span class="number">{pair["count"]:,}×</span><span>{escape(pair["true"])} <i>taken for</i> '
        f'{escape(pair["said"])}</span><span class="thumbs">'
        + "".join(_thumb(found, data_set, picture, model) for picture in pair["pictures"])
        + "</span></li>"
        for pair in pairs
    )
    return f'<ol class="confused">{lines}</ol>'


def _thumb(found: Result, data_set: int, row: int, model: str) -> str:
    one = found.details["data_sets"][data_set]["pictures"][str(row)]
    uri = _uri(found.folder / "pictures" / Path(one["file"]).name, draw.THUMBNAIL_SIDE)
    return (
        f'<button type="button" {_target(data_set, row, model)} title="Look at it on Ground">'
        f'<img src="{uri}" alt="{escape(one["true"])}" loading="lazy"></button>'
    )


def effects(result: Result, data_set: int, model: str) -> str:
    """Which descriptions bring pictures and which cost some, when they are left out one by one; a picture of each."""
    found = result.details["data_sets"][data_set]["effects"].get(model)
    if not found:
        return empty_state("No descriptions to leave out", "Classes need two or more each.")
    shown = found["shown"]
    good = [each for each in shown if each["helped"] > each["hurt"]][:MOST_EFFECTS]
    bad = [each for each in shown[::-1] if each["hurt"] > each["helped"]][:MOST_EFFECTS]
    tables = "".join(
        _small_table(title, "<th>brings</th><th>costs</th><th>p</th><th></th>", "".join(rows))
        for title, rows in (
            ("Help most", [_effect(result, data_set, each, model) for each in good]),
            ("Hurt most", [_effect(result, data_set, each, model) for each in bad]),
        )
        if rows
    )
    return (
        f'<p class="finding">Of {found["descriptions"]:,} descriptions {found["helpful"]:,} bring pictures and '
        f'{found["harmful"]:,} cost some. <span class="quiet">{escape(model)}, whole picture; each left out in turn.'
        f"</span></p>{tables}"
    )


def _effect(result: Result, data_set: int, row: Mapping[str, Any], model: str) -> str:
    picture = row.get("picture")  # evaluations of earlier versions have none
    thumb = "" if picture is None else _thumb(result, data_set, picture, model)
    return (
        f"<tr><th>{escape(row['text'])} <span>{escape(row['class'])}</span></th>"
        f'<td class="number">+{row["helped"]}</td><td class="number">−{row["hurt"]}</td>'
        f'<td class="number">{_p(row["p"]).removeprefix("= ")}</td><td class="thumbs">{thumb}</td></tr>'
    )


def missing(sets: Sequence[tuple[str, str]]) -> str:
    """Published data sets that are not on this machine, and what to do."""
    if not sets:
        return ""
    rows = "".join(f"<li><b>{escape(title)}</b> {escape(advice)}</li>" for title, advice in sets)
    title = f"<summary>{len(sets)} published data sets are not here</summary>"
    return f'<details class="about">{title}<ul>{rows}</ul></details>'


def review(drafts: Drafts, accepted: Path) -> str:
    """Drafted descriptions, each with its verdict and buttons for another."""
    waiting = sum(each.verdict == "pending" for rows in drafts.values() for each in rows)
    parts = "".join(
        f"<h4>{escape(name)}</h4><ul>{''.join(_drafted(name, each) for each in rows)}</ul>"
        for name, rows in drafts.items()
    )
    return (
        f'<p class="quiet">{waiting:,} wait for a verdict. The accepted ones, for the field above: '
        f"<code>{escape(str(accepted))}</code></p>{parts}"
    )


def _drafted(class_name: str, one: Drafted) -> str:
    buttons = "".join(
        f'<button type="button" data-class="{escape(class_name)}" data-text="{escape(one.text)}" '
        f'data-verdict="{verdict}" title="{verdict}">{sign}</button>'
        for verdict, sign in (("accepted", "✓"), ("rejected", "✗"), ("pending", "?"))
        if verdict != one.verdict
    )
    said = f"said of {one.seen:,} example pictures" if one.seen else "written of the name alone, no picture seen"
    blind = "" if one.seen else ' <i title="no picture seen">by name</i>'
    return (
        f'<li class="{one.verdict}"><span title="{said}, by {escape(one.source)}">{escape(one.text)}{blind}</span>'
        f'<span class="asks">{buttons}</span></li>'
    )


def command(line: str) -> str:
    """The evaluation from a terminal."""
    return f'<div class="code"><pre>{escape(line)}</pre></div>'


def _small_table(title: str, heads: str, rows: str) -> str:
    return (
        f'<div class="scroll"><table class="costs"><thead><tr><th>{title}</th>{heads}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _target(data_set: int, row: int, model: str) -> str:
    return f'data-set="{data_set}" data-picture="{row}" data-model="{escape(model)}"'


def _cell(estimate: Sequence[float]) -> str:
    value, low, high = (100 * number for number in estimate)
    return f'<td class="number">{value:.1f} <i>[{low:.1f}, {high:.1f}]</i></td>'


def _uri(path: Path, side: int = EXAMPLE_SIDE) -> str:
    try:
        with Image.open(path) as image:
            return draw.picture_uri(image, side)
    except OSError:  # taken away since: the place stays empty
        return ""


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"


def _alpha(chosen: Sequence[float] | None) -> str:
    return " · ".join(f"{value:g}" for value in chosen) if chosen else "–"


def _p(value: float) -> str:
    return "&lt; 0.001" if value < 0.001 else f"= {value:.3f}"

"""What grounding pays: the embedded pair and benchmarks.learning's trainings on novel classes and held-out pictures."""

from __future__ import annotations

from typing import Any

from benchmarks.evaluation import (
    BOTH,
    GLOBAL,
    GRAIN,
    REGIONS,
    SPLITS,
    TWIN,
    Scores,
    described,
    lead,
    percent,
    scores_of,
)
from benchmarks.learning import (
    ABLATIONS,
    EVALUATION_SEEDS,
    PART_SHARES,
    SHARE_IMAGES,
    SHORT_IMAGES,
    TRAININGS,
    train,
)
from benchmarks.plot import Line, draw
from benchmarks.rows import AS_MEASURED, ROOT, Benchmark, Finding

LEAD_BAR, GRAIN_BAR = 15.0, 60.0  # percentage points, percent
ACCURACY_BAR, IOU_BAR = 80.0, 0.65
PLOT = "images/part_share.svg"
WORLDS = {
    "evaluation seeds": ", ".join(map(str, EVALUATION_SEEDS)),
    "intervals": "95 % bootstrap, over classes where classes are recognised, over descriptions where boxes are found",
}


def novel_regions() -> Finding:
    """GRAIN by its regions against its CLIP twin."""
    grain, clip = scores_of(GRAIN), scores_of(TWIN)
    ahead, accuracy = lead(grain.hits[REGIONS], clip.hits[GLOBAL]), percent(grain.hits[REGIONS])
    holds = ahead[0] >= LEAD_BAR and ahead[1] > 0 and accuracy is not None and accuracy[0] >= GRAIN_BAR
    detail = {
        "lead, points": ahead,
        "GRAIN, regions %": accuracy,
        "GRAIN, both %": percent(grain.hits[BOTH]),
        "CLIP twin %": percent(clip.hits[GLOBAL]),
        "classes": f"{len(grain.hits[REGIONS])} in {len(EVALUATION_SEEDS)} worlds of 100, chance 1 %",
        **WORLDS,
    }
    return Finding(ahead[0], holds, detail)


def novel_global() -> Finding:
    """Image embeddings alone, both models."""
    grain, clip = scores_of(GRAIN), scores_of(TWIN)
    ahead = lead(grain.hits[GLOBAL], clip.hits[GLOBAL])
    detail = {
        "lead, points": ahead,
        "GRAIN %": percent(grain.hits[GLOBAL]),
        "CLIP twin %": percent(clip.hits[GLOBAL]),
        "the paper's lead, points": "up to 9, over its 11 data sets of photographs",
        **WORLDS,
    }
    return Finding(ahead[0], ahead[0] >= 0, detail)


def grounding() -> Finding:
    """For a true description, the best-matching region's box against the part's box."""
    ious = scores_of(GRAIN).ious
    table = [
        {
            "split": split,
            "descriptions": len(ious[split]),
            "IoU ≥ 0.5 %": percent((ious[split] >= 0.5).astype(float)),
            "mean IoU %": percent(ious[split]),
        }
        for split in SPLITS
    ]
    accuracy, mean = 100 * float((ious["held_out"] >= 0.5).mean()), float(ious["held_out"].mean())
    holds = accuracy >= ACCURACY_BAR and mean >= IOU_BAR
    return Finding(accuracy, holds, {"mean IoU": mean, **WORLDS, "splits": table})


def strong_twin() -> Finding:
    """GRAIN against CLIP that was given the descriptions as extra captions, at equal short budgets."""
    grain = scores_of(train("full"))
    strong = {name: scores_of(train(name)) for name in ("strong-steps", "strong-time")}
    label = {"strong-steps": "CLIP + descriptions, same steps", "strong-time": "CLIP + descriptions, same wall time"}
    models = [
        _model("GRAIN", SHORT_IMAGES, grain),
        _model("CLIP, captions only", SHORT_IMAGES, scores_of(train("clip"))),
        *(_model(label[name], TRAININGS[name].images, scores) for name, scores in strong.items()),
    ]
    leads: list[dict[str, Any]] = [
        {"over": label[name], **{_way(way): lead(grain.hits[way], scores.hits[GLOBAL]) for way in grain.hits}}
        for name, scores in strong.items()
    ]
    smallest = min(row[_way(REGIONS)][0] for row in leads)
    return Finding(smallest, None, {**WORLDS, "models": models, "GRAIN's lead, points": leads})


def ablations() -> Finding:
    """GRAIN without one or both of its losses, all else equal."""
    names = {name: name for name in ABLATIONS} | {"CLIP, captions only": "clip"}
    scores = {label: scores_of(train(name)) for label, name in names.items()}
    models = [_model(label, SHORT_IMAGES, found) for label, found in scores.items()]
    ahead = lead(scores["full"].best_hits(), scores["neither"].best_hits())
    return Finding(ahead[0], None, {"full over neither, points": ahead, **WORLDS, "models": models})


def part_share() -> Finding:
    """GRAIN and CLIP where captions name no part, some parts, every part; also drawn."""
    pairs = {
        share: (scores_of(train(f"share-{share}-grain")), scores_of(train(f"share-{share}-clip")))
        for share in PART_SHARES
    }
    leads = {share: lead(grain.hits[REGIONS], clip.hits[GLOBAL]) for share, (grain, clip) in pairs.items()}
    models = [
        {"part share": share, **_model(label, SHARE_IMAGES, scores)}
        for share, pair in pairs.items()
        for label, scores in zip(("GRAIN", "CLIP"), pair, strict=True)
    ]
    _draw_shares(pairs, leads)
    ahead = [{"part share": share, "regions over CLIP, points": found} for share, found in leads.items()]
    return Finding(leads["0.3"][0], None, {**WORLDS, "plot": PLOT, "models": models, "GRAIN's lead": ahead})


def _model(label: str, images: int, scores: Scores) -> dict[str, Any]:
    return {"model": label, "images seen": images, **described(scores)}


def _way(way: str) -> str:
    return {GLOBAL: "global", REGIONS: "regions", BOTH: "both"}[way]


def _draw_shares(pairs: dict[str, tuple[Scores, Scores]], leads: dict[str, list[float]]) -> None:
    x = tuple(float(share) for share in pairs)
    lines = [
        Line("GRAIN, regions", x, tuple(percent(grain.hits[REGIONS]) or [] for grain, _ in pairs.values())),
        Line("GRAIN, global", x, tuple(percent(grain.hits[GLOBAL]) or [] for grain, _ in pairs.values())),
        Line("CLIP", x, tuple(percent(clip.hits[GLOBAL]) or [] for _, clip in pairs.values())),
    ]
    least, most = leads[PART_SHARES[0]][0], leads[PART_SHARES[-1]][0]
    draw(
        ROOT / "docs" / PLOT,
        lines,
        title=f"GRAIN leads CLIP by {least:+.0f} points where captions name no part, {most:+.0f} where they name all",
        x_label="share of the parts that a caption names",
        y_label="novel classes recognised, % (95 % interval)",
    )


BENCHMARKS = (
    Benchmark(
        "novel_regions",
        "100 novel classes, fresh seeds: GRAIN with regions ahead of its CLIP twin",
        f"≥ {LEAD_BAR:g} points, interval excludes 0, GRAIN ≥ {GRAIN_BAR:g} %",
        "points",
        EVALUATION_SEEDS[0],
        novel_regions,
    ),
    Benchmark(
        "novel_global",
        "the same by global scores",
        "≥ 0 points",
        "points",
        EVALUATION_SEEDS[0],
        novel_global,
    ),
    Benchmark(
        "strong_twin",
        f"after {SHORT_IMAGES:,} images, GRAIN with regions ahead of CLIP given the descriptions as captions too: "
        "the lesser of the leads at the same steps and at the same wall time",
        AS_MEASURED,
        "points",
        EVALUATION_SEEDS[0],
        strong_twin,
    ),
    Benchmark(
        "part_share",
        f"after {SHARE_IMAGES:,} images, GRAIN's lead where captions name a share 0, 0.3 (the value) or 1 of the parts",
        AS_MEASURED,
        "points",
        EVALUATION_SEEDS[0],
        part_share,
    ),
    Benchmark(
        "grounding",
        "held-out pictures: a true description's best-matching region has IoU ≥ 0.5 with the part's box",
        f"≥ {ACCURACY_BAR:g} %, mean IoU ≥ {IOU_BAR:g}",
        "%",
        EVALUATION_SEEDS[0],
        grounding,
    ),
    Benchmark(
        "ablations",
        f"after {SHORT_IMAGES:,} images, no L_rd, no L_box, neither: GRAIN's best score with both over with neither",
        AS_MEASURED,
        "points",
        EVALUATION_SEEDS[0],
        ablations,
    ),
)

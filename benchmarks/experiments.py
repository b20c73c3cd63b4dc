"""The checks that a doubter asks for, on the sample world: equal size, another look, α from elsewhere, no box head."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.evaluation import (
    BOTH,
    GLOBAL,
    GRAIN,
    REGIONS,
    TWIN,
    Scores,
    described,
    lead,
    scores_of,
    scores_on,
    top1_hits,
)
from benchmarks.learning import (
    EQUAL_SIZE,
    EVALUATION_SEEDS,
    SHORT_IMAGES,
    World,
    evaluation_world,
    repeated,
    train,
    write,
)
from benchmarks.rows import AS_MEASURED, Benchmark, Finding
from benchmarks.timing import take_turns
from grain.checkpoint import read_info
from grain.data.loader import find_shards, read_records
from grain.evaluate.comparison import AlphaPoint, Rows, best_alpha, paired_lead
from grain.evaluate.held_out import encode_records
from grain.evaluate.metrics import Estimate, mean_interval
from grain.model.encode import TorchEncoder
from grain.model.pretrained import from_pretrained
from grain.predict import Predictor
from grain.preprocess import image_to_array
from grain.structures import Array, GrainOutput
from grain.zero_shot import build_class_bank, global_scores, mix, region_scores

WAYS = {GLOBAL: "global", REGIONS: "regions", BOTH: "both"}
INTERVALS = "95 % bootstrap over classes"

# ------------------------------------------------------------------------------------------------ equal size

MODEL_NAMES = {
    "full": "GRAIN",
    "small": "GRAIN, image tower of 128 channels for 192",
    "two-queries": "GRAIN, 2 region queries for 5",
    "clip-wide": "CLIP of GRAIN's size",
    "strong-wide": "CLIP of GRAIN's size, descriptions as captions too",
}


def equal_size() -> Finding:
    """Whether the lead is that of more parameters: GRAIN no larger than CLIP, and CLIP as large as GRAIN."""
    folders = {(name, seed): train(repeated(name, seed)) for name, seeds in EQUAL_SIZE.items() for seed in seeds}
    scores = {run: scores_of(folder) for run, folder in folders.items()}
    models = [
        {
            "model": MODEL_NAMES[name],
            "parameters": read_info(folders[name, seed]).parameters,
            "training seed": seed,
            **described(found),
        }
        for (name, seed), found in scores.items()
    ]
    wide = scores["strong-wide", 0].hits[GLOBAL]
    leads = [
        {
            "model": MODEL_NAMES[name],
            "training seed": seed,
            "by regions, points": lead(found.hits[REGIONS], wide),
            "by the image alone, points": lead(found.hits[GLOBAL], wide),
        }
        for (name, seed), found in scores.items()
        if REGIONS in found.hits
    ]
    ahead = lead(scores["small", 0].hits[REGIONS], wide)
    detail = {
        "images seen": SHORT_IMAGES,
        "intervals": INTERVALS,
        "models": models,
        f"lead over {MODEL_NAMES['strong-wide']}": leads,
    }
    return Finding(ahead[0], None, detail)


# ------------------------------------------------------------------------------------------------ another look


def other_look() -> Finding:
    """The embedded models on the same products painted, as in training, and in coloured pencil."""
    models = {"GRAIN": GRAIN, "CLIP twin": TWIN}
    table: list[dict[str, Any]] = []
    drops: list[dict[str, Any]] = []
    for model, folder in models.items():
        painted, sketch = scores_of(folder), _on_sketches(folder)
        table += [
            {"model": model, "pictures": look, **described(found)}
            for look, found in (("painted", painted), ("pencil", sketch))
        ]
        lost = {way: lead(sketch.hits[way], painted.hits[way]) if way in painted.hits else None for way in WAYS}
        drops.append({"model": model, **{WAYS[way]: points for way, points in lost.items()}})
    detail = {
        "evaluation seeds": ", ".join(map(str, EVALUATION_SEEDS)),
        "intervals": INTERVALS,
        "models": table,
        "pencil less painted, points": drops,
    }
    return Finding(drops[0][WAYS[REGIONS]][0], None, detail)


def _on_sketches(checkpoint: Path) -> Scores:
    return scores_on(checkpoint, tuple(evaluation_world(seed, rendering="sketch") for seed in EVALUATION_SEEDS))


# ------------------------------------------------------------------------------------------------ alpha

CHOOSING, TELLING = EVALUATION_SEEDS[:1], EVALUATION_SEEDS[1:]


@dataclass(frozen=True)
class Parts:
    """image_scores, regions: [N, C] scores of one world's novel pictures. target: [N]."""

    image_scores: Array
    regions: Array
    target: Rows


def sweep_alpha(
    image_scores: Array, parts: Array, target: Rows, *, steps: int = 11, groups: Rows | None = None
) -> tuple[AlphaPoint, ...]:
    """Top-1 for alphas from 0 to 1, evenly spaced.

    Choose on one split (best_alpha) and tell the number of another: the best of a curve flatters itself.

    Args: image_scores, parts: [N, C] global and region scores (parts may be NaN, see mix). groups: see lead.
    """
    return tuple(
        AlphaPoint(float(alpha), mean_interval(top1_hits(mix(image_scores, parts, alpha), target), groups=groups))
        for alpha in np.linspace(0, 1, steps)
    )


def alpha_elsewhere() -> Finding:
    """α chosen on the novel classes of one world, told of two others."""
    rows: list[dict[str, Any]] = []
    curves: list[dict[str, Any]] = []
    gains: list[Estimate] = []
    for model, folder in (("embedded GRAIN", GRAIN), ("GRAIN after 25,600 images", train("full"))):
        chosen_on = _parts(folder, evaluation_world(CHOOSING[0]))
        curve = sweep_alpha(chosen_on.image_scores, chosen_on.regions, chosen_on.target, groups=chosen_on.target)
        alpha = best_alpha(curve)
        curves += [{"model": model, "alpha": point.alpha, "top-1 %": _percent(point.top1)} for point in curve]
        hits: dict[float, Any] = {at: _hits(folder, at) for at in (alpha, 1.0, 0.0)}
        classes = np.concatenate(
            [100 * row + _parts(folder, evaluation_world(seed)).target for row, seed in enumerate(TELLING)]
        )
        gain = paired_lead(hits[alpha], hits[0.0], groups=classes).lead
        gains.append(gain)
        top1 = {at: _percent(mean_interval(found, groups=classes)) for at, found in hits.items()}
        rows.append(
            {
                "model": model,
                "chosen α": alpha,
                "top-1 with it %": top1[alpha],
                "regions alone %": top1[0.0],
                "image alone %": top1[1.0],
                "gain over regions alone, points": _percent(gain),
            }
        )
    detail = {
        "chosen on": f"novel classes of seed {CHOOSING[0]}",
        "told of": f"those of seeds {', '.join(map(str, TELLING))}",
        "intervals": INTERVALS,
        "models": rows,
        "curve where it was chosen": curves,
    }
    return Finding(100 * gains[1].value, None, detail)


def _hits(folder: Path, alpha: float) -> Array:
    worlds = [_parts(folder, evaluation_world(seed)) for seed in TELLING]
    return np.concatenate([top1_hits(mix(world.image_scores, world.regions, alpha), world.target) for world in worlds])


def _classes(folder: Path) -> Rows:
    """[N] a number for each picture's class, none of one world equal to one of the other."""
    targets = [_parts(folder, evaluation_world(seed)).target for seed in TELLING]
    return np.concatenate([1000 * row + target for row, target in enumerate(targets)])


@lru_cache(maxsize=8)
def _parts(checkpoint: Path, world: World) -> Parts:
    encoder = TorchEncoder.load(checkpoint)
    predictor = Predictor(encoder)
    folder = write(world)
    shards = find_shards(folder, "novel")
    features, records = encode_records(predictor, read_records(shards), total=shards.images)
    classes: dict[str, list[str]] = json.loads((folder / "classes.json").read_text(encoding="utf-8"))
    bank = build_class_bank(classes, encoder.class_texts, predictor.embed_texts)
    order = {name: row for row, name in enumerate(classes)}
    return Parts(
        global_scores(np.stack([each.image_embed for each in features]), bank),
        region_scores(np.stack([each.region_embeds for each in features]), bank),
        np.array([order[str(record.class_name)] for record in records]),
    )


def _percent(found: Estimate) -> list[float]:
    return [100 * found.value, 100 * found.low, 100 * found.high]


# ------------------------------------------------------------------------------------------------ no box head

BATCH, ROUNDS = 32, 15  # pictures, batches


def box_head_off() -> Finding:
    """What the box head costs at inference, and that recognition does not need it."""
    shards = find_shards(write(evaluation_world(EVALUATION_SEEDS[0])), "novel")
    model, config = from_pretrained(GRAIN)
    size, mean, std = config.image_size, config.mean, config.std
    images = [record.image for record in read_records(shards, limit=BATCH)]
    pixels = torch.stack([torch.from_numpy(image_to_array(each, size=size, mean=mean, std=std)) for each in images])

    @torch.inference_mode()
    def look(with_boxes: bool) -> GrainOutput:
        return model.encode_image(pixels, with_boxes=with_boxes)

    ways = {"with": partial(look, True), "without": partial(look, False)}
    one, other = (way() for way in ways.values())
    differs = max(
        float((one.image_embeds - other.image_embeds).abs().max()),
        float((one.region_embeds - other.region_embeds).abs().max()),
    )
    rounds = take_turns(ways, rounds=ROUNDS, clock=time.process_time)
    ratio = rounds.ratio("with", "without")
    detail = {
        "with over without, with quartiles": ratio,
        "largest difference of embeddings": differs,
        **{f"{name} box head, processor ms a picture": 1000 * rounds.median(name) / BATCH for name in ways},
        "batch": BATCH,
        "rounds": ROUNDS,
    }
    return Finding(ratio[0], differs == 0, detail)


BENCHMARKS = (
    Benchmark(
        "equal_size",
        f"after {SHORT_IMAGES:,} images, GRAIN of CLIP's size (regions) ahead of CLIP of GRAIN's size that had the "
        "descriptions as captions too",
        AS_MEASURED,
        "points",
        EVALUATION_SEEDS[0],
        equal_size,
    ),
    Benchmark(
        "other_look",
        "novel classes in coloured pencil, a look that training never saw: GRAIN's regions against the same products "
        "painted",
        AS_MEASURED,
        "points",
        EVALUATION_SEEDS[0],
        other_look,
    ),
    Benchmark(
        "alpha_elsewhere",
        f"α chosen on one world's novel classes: its gain over regions alone on two others ({SHORT_IMAGES:,} images)",
        AS_MEASURED,
        "points",
        EVALUATION_SEEDS[0],
        alpha_elsewhere,
    ),
    Benchmark(
        "box_head_off",
        "one batch with the box head over one without",
        "embeddings equal",
        "×",
        EVALUATION_SEEDS[0],
        box_head_off,
    ),
)

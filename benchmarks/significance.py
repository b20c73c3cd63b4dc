"""Whether an evaluation's intervals and tests hold their promise, and whether broken pairs leave the others whole."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import bootstrap

from benchmarks.rows import Benchmark, Finding
from grain.config import preset
from grain.evaluate.comparison import SURE, mcnemar, paired_lead
from grain.evaluate.evaluate import EvaluateConfig, evaluate
from grain.evaluate.metrics import mean_interval
from grain.model.model import GrainModel
from grain.model.pretrained import ModelCard, save_pretrained

SEED, SIMULATIONS = 20, 1000
COVERAGE, FALSE_POSITIVES = (0.93, 0.97), (0.03, 0.07)
SHARED = 0.7  # of the pictures on which both models meet the same difficulty
SAME_CLASSES = 0.6  # share of the classes on which both models are alike
MODELS = SETS = 6
PICTURES_OF_A_CLASS, CLASS_COUNT, SIDE = 4, 5, 64


class SimulatedWorld(NamedTuple):
    """Classes with a rate of their own. sizes: pictures of a class. rates: mean, and how alike classes are."""

    name: str
    classes: int
    sizes: Callable[[np.random.Generator, int], NDArray[np.int64]]
    mean: float
    alike: float


def _equal(rng: np.random.Generator, classes: int) -> NDArray[np.int64]:
    return np.full(classes, 20)


def _unequal(rng: np.random.Generator, classes: int) -> NDArray[np.int64]:
    return rng.geometric(1 / 20, classes) + 2


BAR_WORLDS = (
    SimulatedWorld("50 classes of 20", 50, _equal, 0.5, 2.0),
    SimulatedWorld("50 classes, 3 to 100", 50, _unequal, 0.5, 2.0),
    SimulatedWorld("100 classes, 3 to 100", 100, _unequal, 0.8, 3.0),
    SimulatedWorld("200 classes of 20", 200, _equal, 0.8, 3.0),
)
HARD_WORLDS = (
    SimulatedWorld("10 classes of 20", 10, _equal, 0.5, 2.0),
    SimulatedWorld("15 classes, 3 to 100", 15, _unequal, 0.8, 3.0),
    SimulatedWorld("50 classes, 3 to 100, 95 % right", 50, _unequal, 0.95, 5.0),
)


def _simulated(world: SimulatedWorld, seed: int) -> tuple[Any, Any, Any]:
    """Hits of two equally good models, and the class of each picture: each model has rates of its own."""
    rng = np.random.default_rng((SEED, seed))
    sizes = world.sizes(rng, world.classes)
    owner = np.repeat(np.arange(world.classes), sizes)
    shape = (world.mean * world.alike, (1 - world.mean) * world.alike)
    one_rates, other_rates = rng.beta(*shape, world.classes), rng.beta(*shape, world.classes)
    other_rates = np.where(rng.random(world.classes) < SAME_CLASSES, one_rates, other_rates)
    luck = rng.random(len(owner))
    other_luck = np.where(rng.random(len(owner)) < SHARED, luck, rng.random(len(owner)))
    return (luck < one_rates[owner]) * 1.0, (other_luck < other_rates[owner]) * 1.0, owner


def _plain_bootstrap(sums: Any, counts: Any) -> tuple[float, float]:
    """The percentile bootstrap over classes, as it was before."""
    found = bootstrap(
        (sums, counts),
        lambda s, n, axis=-1: s.sum(axis=axis) / n.sum(axis=axis),
        paired=True,
        method="percentile",
        n_resamples=1000,
        rng=np.random.default_rng(0),
    ).confidence_interval
    return float(found.low), float(found.high)


def _promises(world: SimulatedWorld) -> dict[str, Any]:
    """What the simulations hold, in per cent."""
    share = before = lead = false = by_pictures = 0
    for seed in range(SIMULATIONS):
        one, other, owner = _simulated(world, seed)
        found = mean_interval(one, groups=owner)
        share += found.low <= world.mean <= found.high
        low, high = _plain_bootstrap(np.bincount(owner, one), np.bincount(owner))
        before += low <= world.mean <= high
        ahead = paired_lead(one, other, groups=owner)
        lead += ahead.lead.low <= 0 <= ahead.lead.high
        false += ahead.p_value <= SURE
        by_pictures += mcnemar(one, other).p_value <= SURE
    counts = {
        "share covered %": share,
        "lead covered %": lead,
        "false positives %": false,
        "plain bootstrap, share covered %": before,
        "McNemar, false positives %": by_pictures,
    }
    return {"world": world.name, **{name: 100 * count / SIMULATIONS for name, count in counts.items()}}


def evaluation_promises() -> Finding:
    """Coverage of intervals and false positives of the test, on classes that differ."""
    rows = [_promises(world) for world in BAR_WORLDS]
    hard = [_promises(world) for world in HARD_WORLDS]
    coverage = [row[name] / 100 for row in rows for name in ("share covered %", "lead covered %")]
    false = [row["false positives %"] / 100 for row in rows]
    holds = all(COVERAGE[0] <= each <= COVERAGE[1] for each in coverage) and all(
        FALSE_POSITIVES[0] <= each <= FALSE_POSITIVES[1] for each in false
    )
    detail = {"simulations": SIMULATIONS, "worlds": rows, "few classes, or few misses (no bar)": hard}
    return Finding(100 * min(coverage), holds, detail)


# broken pairs


def _write_model(folder: Path, seed: int, *, broken: bool = False) -> str:
    config = preset("sample-small").as_clip()
    torch.manual_seed(seed)
    model = GrainModel(config)
    if broken:
        with torch.no_grad():
            next(model.vision.parameters()).fill_(torch.nan)
    save_pretrained(model, config, folder, card=ModelCard(folder.name, "nothing"))
    return str(folder)


def _write_set(folder: Path, seed: int, *, broken: bool = False) -> str:
    from PIL import Image

    rng = np.random.default_rng(seed)
    for row in range(CLASS_COUNT):
        (folder / f"class {row}").mkdir(parents=True)
        for number in range(PICTURES_OF_A_CLASS):
            pixels = rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
            Image.fromarray(pixels).save(folder / f"class {row}" / f"{number}.png")
    if broken:
        file = folder / "class 2" / "1.png"
        file.write_bytes(file.read_bytes()[:200])
    return str(folder)


def evaluation_cells() -> Finding:
    """Six models on six sets, one of each broken, against each pair evaluated alone."""
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        models = tuple(_write_model(root / f"model-{row}", row, broken=row == 1) for row in range(MODELS))
        sets = tuple(_write_set(root / f"set-{row}", row, broken=row == 3) for row in range(SETS))
        config = EvaluateConfig(models, sets, root / "all", twins=False)
        found = evaluate(config)
        tops = {
            (row["model"], data["asked"]): row["top1"]
            for data in json.loads((root / "all" / "metrics.json").read_text())["data_sets"]
            for row in data["rows"]
        }
        right = 0
        for (name, data_set), top in tops.items():
            one = replace(config, models=(str(root / name),), data_sets=(data_set,), out=root / "one" / name)
            right += evaluate(one)["data_sets"][0]["rows"][0]["top1"] == top
        reasons = [failure["reason"] for failure in found["failures"]]
    explained = sum("NaN" in reason or "cannot be read as a picture" in reason for reason in reasons)
    expected = (MODELS - 1) * (SETS - 1)
    holds = right == len(tops) == expected and explained == len(reasons) == MODELS * SETS - expected
    return Finding(right, holds, {"with a result": len(tops), "with their reason": explained, "pairs": MODELS * SETS})


BENCHMARKS = (
    Benchmark(
        "evaluation_promises",
        f"{SIMULATIONS:,} simulated evaluations of two equal models whose hits cluster by class: the least coverage of "
        "the 95 % intervals of a share and of a lead",
        "93 to 97 % each, false positives of the test 3 to 7 %, on 50 to 200 classes of equal and unequal sizes",
        "%",
        SEED,
        evaluation_promises,
    ),
    Benchmark(
        "evaluation_cells",
        f"{MODELS} models × {SETS} data sets, one model with NaN weights, one set with a damaged picture: pairs as "
        "they are when evaluated alone",
        "25, the other 11 with their reason",
        "pairs",
        SEED,
        evaluation_cells,
    ),
)

"""Train and measure GRAIN and the strong CLIP twins on the second edition of the sample world.

    python -m benchmarks.second_world train --images 300000 --seeds 0 1 2
    python -m benchmarks.second_world measure --images 300000 --seeds 0 1 2

Trainings lie in GRAIN_BENCH_DIR/world2, go on where they were and see the same pictures in the same order.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro

from benchmarks.evaluation import GRAIN
from benchmarks.families import measure_arm, table_of
from benchmarks.learning import EVALUATION_SEEDS, Training, World, finish, flags_of
from benchmarks.oracles import CLASSES
from benchmarks.rows import AS_MEASURED, Benchmark, Finding

PLACE = "world2"
FEW_PICTURES, MANY_PICTURES = 12_800, 100_000  # to train on
TRIAL_IMAGES, SCRATCH_IMAGES, FULL_IMAGES = 6_400, 100_000, 300_000
CLIP = ("--clip",)
SENTENCE = ("--caption-source", "with_sentence")
NEGATIVES = (*SENTENCE, "--hard-negatives")
WARM = ("--init", "grain/checkpoints/sample", "--learning-rate", "5e-4")
ARMS: Mapping[str, tuple[str, ...]] = {
    "grain": (),
    "clip-sentence": (*CLIP, *SENTENCE),
    "clip-descriptions": (*CLIP, "--caption-source", "with_descriptions"),
    "clip": CLIP,
    "grain-sentence": SENTENCE,
    "clip-negatives": (*CLIP, *NEGATIVES),
    "grain-negatives": NEGATIVES,
    "grain-warm": WARM,
    "clip-descriptions-warm": (*WARM, *CLIP, "--caption-source", "with_descriptions"),
    "grain-descriptions-warm": (*WARM, "--caption-source", "with_descriptions"),
    "grain-sentence-warm": (*WARM, *SENTENCE),
    "grain-negatives-warm": (*WARM, *NEGATIVES),
}
"""Arm -> what grain.train is told of it.

Those that end in warm begin with the embedded GRAIN: a CLIP with its towers, a GRAIN with its decoder too.
"""
FROM_SCRATCH = tuple(arm for arm in ARMS if not arm.endswith("-warm"))
SCRATCH_ARMS = ("grain-sentence", "clip-sentence")
"""Arms from scratch that are told the same: CLIP, too, has all descriptions in captions."""
WARM_ARMS = tuple(arm for arm in ARMS if arm.endswith("-warm"))
MODEL_NAMES = {
    "grain": "GRAIN",
    "clip-sentence": "CLIP, half its captions all descriptions in a sentence",
    "clip-descriptions": "CLIP, descriptions as captions too",
    "clip": "CLIP on captions",
    "grain-sentence": "GRAIN, half its captions all descriptions in a sentence",
    "clip-negatives": "CLIP, the same with hard negatives",
    "grain-negatives": "GRAIN, the same with hard negatives",
    "grain-warm": "GRAIN, warm",
    "clip-descriptions-warm": "CLIP, warm, descriptions as captions too",
    "grain-descriptions-warm": "GRAIN, warm, descriptions as captions too",
    "grain-sentence-warm": "GRAIN, warm, half its captions all descriptions in a sentence",
    "grain-negatives-warm": "GRAIN, warm, the same with hard negatives",
}


def training_world(images: int) -> World:
    """Pictures to train on, few for a short training; no novel ones."""
    pictures = FEW_PICTURES if images <= 4 * FEW_PICTURES else MANY_PICTURES
    none = ("--classes", "1", "--novel-images-per-class", "0")
    flags = ("--images", str(pictures), "--held-out-images", "300", *none, "--edition", "2", "--seed", "1")
    return World(f"train-{pictures}", flags, place=PLACE)


def evaluation_world(seed: int) -> World:
    """Pictures to measure on: novel classes in families, and held-out pictures."""
    flags = ("--images", "0", "--held-out-images", "300", "--classes", str(CLASSES), "--edition", "2")
    return World(f"evaluate-{seed}", (*flags, "--seed", str(seed)), place=PLACE)


def training_of(arm: str, images: int, seed: int) -> Training:
    """Define one training: all arms of a seed see the same pictures in the same order."""
    kept = ("--checkpoint-images", str(min(images // 4, 12_800)))  # what a stop loses at most
    flags = ("--preset", "sample-sentences", "--warmup-images", str(images // 10), "--seed", str(seed), *kept)
    return Training(f"{arm}-{images}-seed-{seed}", training_world(images), images, (*flags, *ARMS[arm]))


def measured(
    images: int, seeds: tuple[int, ...], arms: tuple[str, ...], *, others: Mapping[str, Path] | None = None
) -> dict[str, Any]:
    """Measure arms, training those that were not trained; returns the detail of a row. others: model -> checkpoint."""
    worlds = tuple(evaluation_world(seed) for seed in EVALUATION_SEEDS)
    folders = {(MODEL_NAMES[arm], seed): finish(training_of(arm, images, seed)) for arm in arms for seed in seeds}
    folders |= {(model, seeds[0]): folder for model, folder in (others or {}).items()}
    return {
        "images seen": images,
        "training seeds": ", ".join(map(str, seeds)),
        "evaluation seeds": ", ".join(map(str, EVALUATION_SEEDS)),
        "classes": f"{CLASSES} a world in families of 16, 10 pictures each, chance {100 / CLASSES:.2g} %",
        "intervals": "95 % bootstrap over classes",
        **table_of({key: measure_arm(folder, worlds) for key, folder in folders.items()}),
    }


def trial() -> Finding:
    """The warm arms after a short training of one seed."""
    detail = measured(TRIAL_IMAGES, (0,), WARM_ARMS, others={"GRAIN, embedded, first edition only": GRAIN})
    return Finding(detail[f"{MODEL_NAMES['grain-warm']} by regions over the strongest twin, points"][0], None, detail)


def from_scratch() -> Finding:
    """GRAIN and CLIP from random weights, told the same; one seed."""
    detail = measured(SCRATCH_IMAGES, (0,), SCRATCH_ARMS)
    ahead = f"{MODEL_NAMES[SCRATCH_ARMS[0]]} by image embedding over the strongest twin's, points"
    return Finding(detail[ahead][0], None, detail)


@dataclass(frozen=True)
class SecondWorldConfig:
    """Train the arms, measure them, or list what is done."""

    action: tyro.conf.Positional[Literal["train", "measure", "list"]]
    images: int = FULL_IMAGES
    """Images that each training sees."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Of the trainings."""
    arms: tuple[str, ...] = FROM_SCRATCH
    """Which of them, in this order."""

    def __post_init__(self) -> None:
        """Refuse an arm that is not there."""
        unknown = [arm for arm in self.arms if arm not in ARMS]
        if unknown:
            raise ValueError(f"no arm {unknown[0]!r}: choose of {', '.join(ARMS)}")


def main(config: SecondWorldConfig) -> None:
    """The command line."""
    if config.action == "measure":
        print(json.dumps(measured(config.images, config.seeds, config.arms), ensure_ascii=False, indent=1))
        return
    for seed in config.seeds:
        for arm in config.arms:
            training = training_of(arm, config.images, seed)
            if config.action == "train":
                finish(training)
            done = "finished" if training.final.is_dir() else "to do"
            print(f"{training.name}: {done}: {' '.join(flags_of(training))}", flush=True)


BENCHMARKS = (
    Benchmark(
        "families_trial",
        f"novel classes that differ in one thing, after {TRIAL_IMAGES:,} images of the second sample world from the "
        "embedded GRAIN's towers: GRAIN by its regions against CLIP that has the descriptions too, in its best way",
        AS_MEASURED,
        "points",
        EVALUATION_SEEDS[0],
        trial,
    ),
    Benchmark(
        "families_from_scratch",
        f"novel classes that differ in one thing, after {SCRATCH_IMAGES:,} images of the second sample world from "
        "random weights, every other caption all descriptions in a sentence: GRAIN by its image embedding over that "
        "of a CLIP that was told as much",
        AS_MEASURED,
        "points",
        EVALUATION_SEEDS[0],
        from_scratch,
    ),
)


if __name__ == "__main__":
    try:
        main(tyro.cli(SecondWorldConfig))
    except subprocess.CalledProcessError as error:
        sys.exit(f"benchmarks.second_world: {error.cmd[2]} failed, see above; the same command resumes")

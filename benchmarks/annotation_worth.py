"""What annotation is worth, on photographs: fewer pictures, wrong descriptions, and what the audit or a person mends.

    python -m benchmarks.photo_experiment features
    python -m benchmarks.annotation_worth
    python -m benchmarks.run annotation_worth --write

GRAIN with a query a token is trained on POOL photographs of Flickr8k with one phrase of Flickr30k Entities a region, as
a describer writes it, for as many steps each time. A wrong description is a phrase of another picture, which the right
region then has. The audit is the one that ships, over a checkpoint that learned from none of these pictures: it is
trained here, too. Trainings lie in GRAIN_BENCH_DIR/annotation_worth and are resumed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from PIL import Image
from safetensors.torch import load_file
from tqdm import tqdm

from atomic_files import write_atomically
from benchmarks.evaluation import Numbers, lead, percent
from benchmarks.learning import bench_folder
from benchmarks.photo_experiment import Photograph, Sentences, photographs
from benchmarks.phrases import folder, upright_picture
from benchmarks.plot import Line, draw
from benchmarks.rows import AS_MEASURED, ROOT, Benchmark, Finding
from curation.annotate.photo_annotators import PhotoLocalizer
from curation.audit.claim_judge import PHOTO_FILE, Judge
from curation.audit.evidence import DetectorWitness, LikenessWitness, Witness, gather
from curation.audit.measured import BoxMeasurer
from curation.audit.photo_instances import PhotoInstances
from curation.audit.sources import RARE_THINGS, WEAK_BOXES
from grain.checkpoint import EMBEDDED
from grain.dense.features import Entity
from grain.dense.measure import ground
from grain.dense.model import DenseRegions
from grain.dense.publish import DensePublishConfig
from grain.dense.publish import main as publish
from grain.dense.train import WEIGHTS, DenseConfig, Phrases, Picture, Run, batches
from grain.predict import Predictor

After = Literal["", "the audit", "a person"]
SEED = 0
POOL, STEPS, BATCH, WARM_STEPS = 2_000, 120, 32, 30
AUDITOR_EPOCHS = 1
SHARES, MIDDLE, SOME_WRONG, MOST_WRONG = (0.1, 0.3, 1.0), 0.3, 0.2, 0.4
BY_HAND, VERDICT = 12.5, 2.0
"""Seconds of a person: a box and its words (Gygli and Ferrari 2019, arXiv 1905.10576, the two-stage way); a verdict."""
PLOT = "images/annotation_worth.svg"


class Arm(NamedTuple):
    """What a training learns from. share: of the pool's pictures. wrong: share of descriptions. after: who left out."""

    share: float
    wrong: float
    after: After = ""

    @property
    def name(self) -> str:
        """Name of its folder."""
        return "-".join(str(part).replace(" ", "-") for part in self if part != "")


CLEAN, SOME, NOISY = (tuple(Arm(share, wrong) for share in SHARES) for wrong in (0.0, SOME_WRONG, MOST_WRONG))
AUDITED, JUDGED = Arm(MIDDLE, MOST_WRONG, "the audit"), Arm(MIDDLE, MOST_WRONG, "a person")
ARMS = (*CLEAN, *SOME, *NOISY, AUDITED, JUDGED)


class DescribedRegion(NamedTuple):
    """A region with the phrase of it, and one of another picture, which it gets where more than `draw` are wrong.

    draw: 0 to 1, uniform.
    """

    boxes: tuple[Any, ...]
    text: str
    other: str
    draw: float

    def written(self, wrong: float) -> str:
        """Return what is written where a share of descriptions is wrong."""
        return self.other if self.draw < wrong else self.text


@dataclass(frozen=True, eq=False)
class DescribedPicture:
    """A picture of the pool. key: its file."""

    key: str
    kept: Picture
    regions: tuple[DescribedRegion, ...]


def main() -> None:
    """Train what is not trained, and audit what is not audited."""
    for arm in tqdm(ARMS, unit="training"):
        weights_of(arm)


def place() -> Path:
    """Where all of it lies."""
    return bench_folder() / "annotation_worth"


@cache
def learned_from() -> tuple[tuple[str, Photograph], ...]:
    """The pictures of the training split that have a phrase, with their keys, in an order that is drawn."""
    mine = [(key, each) for key, each in keyed_photographs() if each.split == "train" and each.kept.entities]
    order = np.random.default_rng(SEED).permutation(len(mine))
    return tuple(mine[row] for row in order)


def keyed_photographs() -> Iterator[tuple[str, Photograph]]:
    """All pictures, with the names of their files."""
    yield from zip(entity_rows()[1], photographs(), strict=True)


@cache
def pool() -> tuple[DescribedPicture, ...]:
    """The pictures that are trained on, the smaller shares first, and what is written of them."""
    return describe_pool([(key, each.kept) for key, each in learned_from()[:POOL]])


def describe_pool(pictures: Sequence[tuple[str, Picture]]) -> tuple[DescribedPicture, ...]:
    """Draw one phrase for each region, and one of another picture that may be written in its place."""
    order = np.random.default_rng([SEED, 1])
    drawn = [
        [(entity.boxes, entity.phrases[order.integers(len(entity.phrases))]) for entity in kept.entities]
        for _, kept in pictures
    ]
    found = []
    for row, ((key, kept), phrases) in enumerate(zip(pictures, drawn, strict=True)):
        regions = []
        for boxes, text in phrases:
            elsewhere = drawn[(row + 1 + order.integers(len(drawn) - 1)) % len(drawn)]
            other = elsewhere[order.integers(len(elsewhere))][1]
            regions.append(DescribedRegion(boxes, text, other, order.random()))
        found.append(DescribedPicture(key, kept, tuple(regions)))
    return tuple(found)


def learned_regions(picture: DescribedPicture, arm: Arm) -> list[DescribedRegion]:
    """The regions of a picture that an arm learns."""
    if arm.after == "a person":
        return [region for region in picture.regions if region.draw >= arm.wrong]
    dropped = audited()[picture.key] if arm.after == "the audit" else frozenset()
    return [region for region in picture.regions if region.written(arm.wrong) not in dropped]


def pictures_of(arm: Arm) -> list[Picture]:
    """The pictures that an arm learns from."""
    described = []
    for picture in some_of_pool(arm):
        entities = [Entity(each.boxes, (each.written(arm.wrong),)) for each in learned_regions(picture, arm)]
        described.append(picture.kept._replace(entities=entities))
    return [picture for picture in described if picture.entities]


def some_of_pool(arm: Arm) -> tuple[DescribedPicture, ...]:
    """An arm's share of the pool."""
    return pool()[: round(arm.share * POOL)]


def weights_of(arm: Arm) -> Path:
    """Train an arm, or go on with it; returns its weights."""
    return train(pictures_of(arm), place() / arm.name, steps=STEPS)


def train(pictures: Sequence[Picture], out: Path, *, steps: int) -> Path:
    """Train for about so many steps, each picture as often as another; returns the weights."""
    steps_an_epoch = len(pictures) // BATCH
    config = DenseConfig((), out, epochs=round(steps / steps_an_epoch), batch_size=BATCH, warm_steps=WARM_STEPS)
    run = Run(config, steps_an_epoch=steps_an_epoch)
    if run.epoch < config.epochs:
        phrases = Phrases(pictures, sentences(), seed=SEED)
        while run.epoch < config.epochs:
            order = np.random.default_rng([SEED, run.epoch])
            for batch in batches(pictures, phrases, order, size=BATCH):
                run.step(batch, phrases)
            run.epoch += 1
            run.save()
    return out / WEIGHTS


@cache
def sentences() -> Sentences:
    """Sentence embeddings, kept."""
    return Sentences()


def auditor() -> Path:
    """Train a checkpoint on the pictures beside the pool, which has the fusion of `photo`; returns its folder."""
    out = place() / "auditor"
    others = [each.kept for _, each in learned_from()[POOL:]]
    weights = train(others, place() / "auditor-run", steps=AUDITOR_EPOCHS * (len(others) // BATCH))
    if not out.is_dir():
        publish(DensePublishConfig(weights, out, name="auditor", like=EMBEDDED / "photo"))
    return out


@cache
def audited() -> dict[str, frozenset[str]]:
    """Picture -> the descriptions of it, right or wrong, that the audit calls unsupported."""
    file = place() / "audited.json"
    if not file.is_file():
        write_atomically(file, json.dumps({key: sorted(texts) for key, texts in audit()}))
    kept = json.loads(file.read_text(encoding="utf-8"))
    return {key: frozenset(texts) for key, texts in kept.items()}


def audit() -> Iterator[tuple[str, set[str]]]:
    """Audit both what is right and what may be written in its place."""
    predictor, judge = Predictor.from_pretrained(auditor()), Judge.load(PHOTO_FILE)
    localizer = PhotoLocalizer(WEAK_BOXES, predictor)
    witnesses: list[Witness] = [DetectorWitness(localizer), LikenessWitness(predictor, "auditor")]
    measurer = BoxMeasurer(localizer, PhotoInstances(localizer))
    for picture in tqdm(some_of_pool(AUDITED), unit="photo"):
        possible = [text for region in picture.regions for text in (region.text, region.written(MOST_WRONG))]
        texts = list(dict.fromkeys(possible))
        [found] = gather(
            [image_at(picture.key)], [texts], witnesses=witnesses, vqa=None, vocabulary=RARE_THINGS, measurer=measurer
        )
        judged = {text: judge.description(claims) for text, claims in zip(texts, found, strict=True)}
        yield picture.key, {text for text in texts if any(one.verdict == "unsupported" for one in judged[text])}


def image_at(key: str) -> Image.Image:
    """A picture in about its own shape."""
    root, rows = entity_rows()
    return upright_picture(root, rows[key])


@cache
def entity_rows() -> tuple[Path, dict[str, Any]]:
    """The folder of pictures, and each picture's line in the order of the file."""
    root = folder("GRAIN_BENCH_ENTITIES", "entities.jsonl")
    rows = map(json.loads, (root / "entities.jsonl").read_text(encoding="utf-8").splitlines())
    return root, {row["image"]: row for row in rows}


@cache
def asked() -> tuple[tuple[Picture, ...], Phrases]:
    """The official test pictures with all their phrases."""
    pictures = tuple(each.kept for each in photographs() if each.split == "test" and each.kept.entities)
    return pictures, Phrases(pictures, sentences())


@cache
def right(arm: Arm) -> Numbers:
    """The share of each test picture's phrases that an arm grounds right, [P] of 0 to 1."""
    model = DenseRegions()
    model.load_state_dict(load_file(weights_of(arm)))
    pictures, phrases = asked()
    return np.array([np.mean([hit for hit, _ in ground(model.eval(), each, phrases)]) for each in pictures])


def row_of(arm: Arm) -> dict[str, Any]:
    """What an arm learned from, what that costs people, and what it grounds."""
    some = some_of_pool(arm)
    learned = [region for picture in some for region in learned_regions(picture, arm)]
    seconds = {"": 0.0 if arm.wrong else BY_HAND, "the audit": 0.0, "a person": VERDICT}[arm.after]
    return {
        "pictures": len(some),
        "wrong descriptions": f"{arm.wrong:.0%}",
        "wrong ones left out by": arm.after,
        "regions learned from": len(learned),
        "of them wrong %": 100 * float(np.mean([region.draw < arm.wrong for region in learned])),
        "hours of a person": seconds * sum(len(picture.regions) for picture in some) / 3600,
        "right %": percent(right(arm)),
    }


def audit_row() -> dict[str, Any]:
    """How many wrong and right descriptions of the pool the audit leaves out."""
    verdicts = [
        (text in audited()[picture.key], text != region.text)
        for picture in some_of_pool(AUDITED)
        for region in picture.regions
        for text in dict.fromkeys((region.text, region.written(MOST_WRONG)))
    ]
    dropped, wrong = np.array(verdicts, bool).T
    return {
        "wrong ones left out %": percent(dropped[wrong].astype(float)),
        "right ones left out %": percent(dropped[~wrong].astype(float)),
    }


def measured() -> Finding:
    """Phrases of the test pictures that are grounded right, by what was learned from."""
    clean, noisy = right(CLEAN[-1]), right(NOISY[-1])
    fewer = right(Arm(MIDDLE, MOST_WRONG))
    lost = lead(clean, noisy)
    detail = {
        "test pictures": len(clean),
        "steps": f"{STEPS}, rounded to whole epochs, of {BATCH} pictures for each; seed {SEED}",
        "seconds of a person": f"{BY_HAND} for a box with its words, {VERDICT} for a verdict",
        "intervals": "95 % bootstrap over test pictures",
        **{f"the audit: {name}": value for name, value in audit_row().items()},
        f"lost where 40 % are wrong, {POOL:,} pictures, points": lost,
        f"lost where 20 % are wrong, {POOL:,} pictures, points": lead(clean, right(SOME[-1])),
        f"lost, {round(MIDDLE * POOL)} pictures, points": lead(right(Arm(MIDDLE, 0.0)), fewer),
        "of it regained by the audit, points": lead(right(AUDITED), fewer),
        "of it regained by a person, points": lead(right(JUDGED), fewer),
        "plot": PLOT,
        "trainings": [row_of(arm) for arm in ARMS],
    }
    draw_plot()
    return Finding(lost[0], None, detail)


def draw_plot() -> None:
    """Draw what is right against pictures."""
    lines = [
        Line(
            label,
            tuple(share * POOL for share in SHARES),
            tuple(percent(right(arm)) or () for arm in arms),
        )
        for label, arms in (("all right", CLEAN), ("20 % wrong", SOME), ("40 % wrong", NOISY))
    ]
    draw(
        ROOT / "docs" / PLOT,
        lines,
        title="More pictures against right descriptions",
        x_label="annotated pictures",
        y_label="phrases grounded right, %",
    )


BENCHMARKS = (
    Benchmark(
        "annotation_worth",
        f"GRAIN on photographs after some {STEPS} steps on 10, 30 and 100 % of {POOL:,} pictures, with wrong "
        "descriptions, and after the audit or a person left some out: phrases right at IoU ≥ 0.5 that 40 % wrong "
        "descriptions cost",
        AS_MEASURED,
        "points",
        SEED,
        measured,
    ),
)

if __name__ == "__main__":
    main()

"""Suggest a form for a fine-tune on a frozen version: a start, and settings that suit so many pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from app.services import Services
from app.train.plan import CHECKPOINT, HELD_OUT, SCRATCH, TrainRequest, data_of
from curation.exchange.training_census import TrainingCensus, version_census
from curation.versions.versions import version_path
from user_errors import UserError

SHARES = (HELD_OUT, 0.1, 0.2, 0.3, 0.4)  # of the pictures that may be held out
ENOUGH_HELD_OUT = 20  # pictures; of fewer than a hundred, a fifth
EPOCHS, FEWEST_IMAGES, MOST_IMAGES = 10, 400, 50_000
LARGEST_BATCH = 64
FEWEST_FOR_A_LEARNER = 2  # pictures, for one to be told from another


def fine_tune_form(services: Services, data: str) -> dict[str, Any]:
    """Return the values of the form that suit a fine-tune on a version; {} where it holds nothing to learn from.

    Args: data: a key of `app.train.plan.data_choices`.
    """
    start = fine_tune_start(services)
    try:
        export = data_of(services, TrainRequest.read({"data": data})).export
        if export is None or not start:
            return {}
        path = version_path(services.settings.home, export.version)
        found = {share: version_census(path, replace(export, held_out=share)) for share in SHARES[:1]}
        whole = _pictures(found[HELD_OUT])
        if found[HELD_OUT].complete and whole < ENOUGH_HELD_OUT / HELD_OUT:
            found |= {share: version_census(path, replace(export, held_out=share)) for share in SHARES[1:]}
    except UserError:  # the preflight says what is wrong with the version
        return {}
    share = held_out_share({share: census.pictures["held_out"] for share, census in found.items()}, whole)
    trained = found[share].pictures["train"]
    if trained < FEWEST_FOR_A_LEARNER:
        return {}
    return {"start": start, "held_out": f"{share:g}", "fields": fine_tune_fields(trained)}


def suggested_form(services: Services, values: Mapping[str, Any], recipe: str) -> dict[str, Any]:
    """Return a form with the settings of a recipe: `fine_tune` on its data, or `defaults`; its other choices stay.

    Raises: UserError: the data are no version with something to learn from.
    """
    if recipe != "fine_tune":
        return dict(values) | {"start": SCRATCH, "held_out": "", "fields": {}}
    found = fine_tune_form(services, str(values.get("data") or ""))
    if not found:
        raise UserError("There is nothing to fine-tune on here: choose a frozen version that holds regions.")
    return dict(values) | found


def fine_tune_start(services: Services) -> str:
    """Return the start point of a fine-tune: what was promoted last, or the first GRAIN; "" where there is none.

    One that starts its regions from proposals would lose its decoder: versions have no proposals.
    """
    infos = {each.name: each.info for each in services.registry.usable() if each.info}
    grains = {name: info for name, info in infos.items() if info.kind == "grain" and not info.from_proposals}
    able = [name for name, info in grains.items() if info.runtime == "torch"]
    promoted = services.registry.promoted()
    chosen = promoted if promoted in able else next(iter(able), "")
    return f"{CHECKPOINT}:{chosen}" if chosen else ""


def held_out_share(held_out: Mapping[float, int], pictures: int) -> float:
    """Return the least share that holds enough pictures out, else the largest one.

    Args: held_out: share -> the pictures that it holds out. pictures: all of them.
    """
    enough = min(ENOUGH_HELD_OUT, max(1, pictures // 5))
    return next((share for share, count in sorted(held_out.items()) if count >= enough), max(held_out))


def fine_tune_fields(pictures: int) -> dict[str, Any]:
    """Return the fields of a TrainConfig that suit a fine-tune on so many pictures: a low rate, and some epochs."""
    batch = min(LARGEST_BATCH, max(FEWEST_FOR_A_LEARNER, pictures))
    batch = 1 << (batch.bit_length() - 1)  # the power of two below
    images = min(MOST_IMAGES, max(FEWEST_IMAGES, EPOCHS * pictures)) // batch * batch
    quarter = max(batch, images // 4)
    return {
        "images": images,
        "batch_size": batch,
        "learning_rate": 1e-4,
        "final_learning_rate": 1e-6,
        "warmup_images": images // 10,
        "checkpoint_images": quarter,
        "evaluate_images": quarter,
    }


def _pictures(census: TrainingCensus) -> int:
    return census.pictures["train"] + census.pictures["held_out"]

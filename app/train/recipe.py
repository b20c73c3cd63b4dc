"""Suggest a form for a fine-tune on a frozen version: a start, and settings that suit so many pictures."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from app.services import DEFAULT_CHECKPOINT, Services
from app.train.plan import CHECKPOINT, HELD_OUT, SCRATCH, TrainRequest, data_of, region_starts
from curation.annotate.sample_annotators import SampleDescriber
from curation.audit.audit import AuditConfig, find_description_run
from curation.exchange.training_census import TrainingCensus, version_census
from curation.versions.versions import version_path
from db.engine import reading
from db.queries.version_queries import datasets_of_version
from user_errors import UserError

SAMPLE = "sample"  # the embedded checkpoint that knows drawn pictures
SHARES = (HELD_OUT, 0.1, 0.2, 0.3, 0.4)  # of the pictures that may be held out
ENOUGH_HELD_OUT = 20  # pictures; of fewer than a hundred, a fifth
EPOCHS, FEWEST_IMAGES, MOST_IMAGES = 10, 400, 50_000
LARGEST_BATCH, REGION_BATCH = 64, 16
EVALUATIONS, REGION_EVALUATIONS = 4, 3
FEWEST_FOR_A_LEARNER = 2  # pictures, for one to be told from another


def fine_tune_form(services: Services, data: str) -> dict[str, Any]:
    """Return the values of the form that suit a fine-tune on a version; {} where it holds nothing to learn from.

    Args: data: a key of `app.train.plan.data_choices`.
    """
    try:
        export = data_of(services, TrainRequest.read({"data": data})).export
        start = fine_tune_start(services, drawn=export is None or _is_drawn(services, export.version))
        if export is None or not start:
            return {}
        path = version_path(services.settings.home, export.version)
        found = {share: version_census(path, replace(export, held_out=share)) for share in SHARES[:1]}
        total = _pictures(found[HELD_OUT])
        if found[HELD_OUT].complete and total < ENOUGH_HELD_OUT / HELD_OUT:
            found |= {share: version_census(path, replace(export, held_out=share)) for share in SHARES[1:]}
    except UserError:  # the preflight says what is wrong with the version
        return {}
    share = held_out_share({share: census.pictures["held_out"] for share, census in found.items()}, total)
    trained = found[share].pictures["train"]
    if trained < FEWEST_FOR_A_LEARNER:
        return {}
    fields = region_fields(trained) if start in region_starts(services) else fine_tune_fields(trained)
    return {"start": start, "held_out": f"{share:g}", "fields": fields}


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


def fine_tune_start(services: Services, *, drawn: bool = False) -> str:
    """Return the start point of a fine-tune: what was promoted last, or the embedded one; "" where there is none.

    One that starts its regions from proposals would lose its decoder: versions have no proposals. Photographs begin
    with no checkpoint of the size of `sample`, which has seen nothing but drawn pictures, and these with no `photo`.

    Args: drawn: the pictures are those of the sample world.
    """
    infos = {each.name: each.info for each in services.registry.usable() if each.info}
    able = {
        name: info
        for name, info in infos.items()
        if info.trainable and info.can_ground and not info.from_proposals and not (drawn and info.learned_regions)
    }
    sample = infos[SAMPLE].parameters if SAMPLE in infos else None
    suitable = [name for name, info in able.items() if drawn or info.learned_regions or info.parameters != sample]
    usual = SAMPLE if drawn else DEFAULT_CHECKPOINT
    wanted = [name for name in (services.registry.promoted(), usual) if name in suitable] + suitable + list(able)
    return f"{CHECKPOINT}:{wanted[0]}" if wanted else ""


def _is_drawn(services: Services, version: str) -> bool:
    """Return whether the sample world's own annotator described a data set of a version."""
    with reading(services.engine) as session:
        names = [dataset.name for dataset in datasets_of_version(session, sha256=version)]
    for name in names:
        with suppress(UserError):  # nothing described it
            if find_description_run(services.engine, AuditConfig(name)).source == SampleDescriber.name:
                return True
    return False


def held_out_share(held_out: Mapping[float, int], pictures: int) -> float:
    """Return the least share that holds enough pictures out, else the largest one.

    Args: held_out: share -> the pictures that it holds out. pictures: all of them.
    """
    enough = min(ENOUGH_HELD_OUT, max(1, pictures // 5))
    return next((share for share, count in sorted(held_out.items()) if count >= enough), max(held_out))


def fine_tune_fields(
    pictures: int, *, largest_batch: int = LARGEST_BATCH, evaluations: int = EVALUATIONS
) -> dict[str, Any]:
    """Return the fields of a TrainConfig that suit a fine-tune on so many pictures: a low rate, and some epochs."""
    batch = min(largest_batch, max(FEWEST_FOR_A_LEARNER, pictures))
    batch = 1 << (batch.bit_length() - 1)  # the power of two below
    images = min(MOST_IMAGES, max(FEWEST_IMAGES, EPOCHS * pictures)) // batch * batch
    part = max(batch, images // evaluations)
    return {
        "images": images,
        "batch_size": batch,
        "learning_rate": 1e-4,
        "final_learning_rate": 1e-6,
        "warmup_images": images // 10,
        "checkpoint_images": part,
        "evaluate_images": part,
    }


def region_fields(pictures: int) -> dict[str, Any]:
    """Return the fields of a TrainConfig that suit a fine-tune of regions on so many pictures (docs/decisions.md)."""
    schedule = fine_tune_fields(pictures, largest_batch=REGION_BATCH, evaluations=REGION_EVALUATIONS)
    return schedule | {"weight_decay": 0.05, "average": 0.98, "flip": True}


def _pictures(census: TrainingCensus) -> int:
    return census.pictures["train"] + census.pictures["held_out"]

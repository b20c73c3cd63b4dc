"""Check what a planned training would learn from: its pictures, regions and captions, and what is left out and why."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from app.services import Services
from app.train.plan import PlannedData, TrainPlan
from curation.exchange.training_census import TrainingCensus, version_census
from curation.versions.versions import version_path
from grain.structures import SCHEMA_VERSION
from grain.train_config import TrainConfig, mixed_folders
from user_errors import UserError

MANY_EPOCHS = 200
FEW_HELD_OUT = 5  # pictures
FEW_DISTINCT = 0.5  # share of the pictures: with fewer different captions, many negatives of L_ic are positives
LEAST_CAPTIONS = 2  # different ones, for one to be told from another
MOST_REASONS = 3  # why pictures could not be read
MATTERS = 0.01  # share of the descriptions that are left out, from which on it is a warning


@dataclass(frozen=True)
class PreflightCheck:
    """One line of the preflight. state: ok, warn, bad (it cannot be queued) or open (not known yet)."""

    name: str
    state: Literal["ok", "warn", "bad", "open"]
    found: str


def data_checks(services: Services, plan: TrainPlan) -> list[PreflightCheck]:
    """Return what a training finds in its data, and what it would not learn from them."""
    try:
        census, counts = _census(services, plan.data[0]), split_counts(plan.data[0])
        mixed_in = mix_checks(services, plan)
    except UserError as error:
        return [PreflightCheck("data", "bad", error.sentence)]
    return [*_own_checks(plan, census, counts), *_unreadable_check(plan), *mixed_in, *_proposal_check(plan)]


def _unreadable_check(plan: TrainPlan) -> list[PreflightCheck]:
    """Say which pictures an earlier export could not read, and whether that is tried again."""
    lost = sum((Counter(each.unreadable or {}) for each in plan.data), Counter())
    if not lost:
        return []
    reasons = "; ".join(f"{count:,} × {reason.rstrip('.')}" for reason, count in lost.most_common(MOST_REASONS))
    found = f"{lost.total():,} pictures could not be read when they were exported ({reasons})"
    if any(each.unreadable and not each.written for each in plan.data):
        return [PreflightCheck("unreadable", "warn", f"{found}: a job tries them again first.")]
    left = "they are left out, as their files are as they were then: put these back to have them tried again"
    if any(each.learned_from for each in plan.data):
        left = (
            "they are left out, as a run that is not over learns from what is there: cancel it to have them tried again"
        )
    return [PreflightCheck("unreadable", "warn", f"{found}: {left}.")]


def _proposal_check(plan: TrainPlan) -> list[PreflightCheck]:
    """Refuse a training whose regions start from proposals on a version, which has none."""
    if plan.config.queries != "proposals" or plan.config.clip or all(each.export is None for each in plan.data):
        return []
    found = (
        "a version has no boxes for region queries to start from: set queries to learned, or train on a sample world"
    )
    return [PreflightCheck("queries", "bad", f"{found}.")]


def _census(services: Services, data: PlannedData) -> TrainingCensus | None:
    """Return what a version holds for a training; None for the sample world."""
    if data.export is None:
        return None
    return version_census(version_path(services.settings.home, data.export.version), data.export)


def _own_checks(plan: TrainPlan, census: TrainingCensus | None, counts: Mapping[str, int]) -> list[PreflightCheck]:
    """Check the data themselves, without what is mixed in."""
    written = plan.data[0].written
    if census is None:
        if not written:
            found = "Not there yet: a job makes it first, and the training waits for that."
            return [PreflightCheck("data", "open", found)]
        return [picture_check(plan.config, counts, written=True)]
    scope = "" if census.complete else "of the first pictures, "
    counts = counts or {str(split): count for split, count in census.pictures.items()}
    checks = [picture_check(plan.config, counts, written=written, scope=scope, left_out=census.left_out)]
    if checks[0].state == "bad":
        return checks
    regions = region_check(plan.config, census, all_of_them=plan.regions_only)
    captions = [] if plan.regions_only else [caption_check(plan, census)]
    return [*checks, *([regions] if regions else []), *captions]


def mix_checks(services: Services, plan: TrainPlan) -> list[PreflightCheck]:
    """Say of data that are mixed in how many pictures they add, and which share of what is seen is theirs.

    Raises: UserError: as of split_counts.
    """
    found = []
    for data, (_, weight) in zip(plan.data[1:], mixed_folders(plan.config.mix), strict=True):
        counts = [train_count(services, each) for each in (plan.data[0], data)]
        if counts[1] == 0:
            return [PreflightCheck("mix", "bad", "what is mixed in has no picture to train on: choose other data.")]
        if None in counts:
            return [PreflightCheck("mix", "open", "how much is mixed in is known once the data are there")]
        own, more = (float(count or 0) for count in counts)
        share = weight * more / (own + weight * more)
        seen = f"{more:,.0f} pictures more, seen {weight:g} × as often: {share:.0%} of all that are seen"
        found.append(PreflightCheck("mix", "ok", seen))
    return found


def train_count(services: Services, data: PlannedData) -> int | None:
    """Return how many pictures there are to train on; None while nobody can tell."""
    if data.written:
        return split_counts(data).get("train", 0)
    census = _census(services, data)
    return census.pictures["train"] if census and census.complete else None


def split_counts(data: PlannedData) -> dict[str, int]:
    """Return the pictures of each split of a data folder; none before it is written.

    Raises: UserError: its manifest cannot be read or is of another schema, or a shard is missing.
    """
    if not data.written:
        return {}
    try:
        manifest = json.loads((data.folder / "manifest.json").read_text(encoding="utf-8"))
        schema, splits = manifest["schema_version"], manifest["splits"]
        counts = {name: sum(int(entry["images"]) for entry in entries) for name, entries in splits.items()}
        missing = [e["file"] for rows in splits.values() for e in rows if not (data.folder / str(e["file"])).is_file()]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UserError(f"{data.folder} has no readable manifest: remove the folder and queue again.") from error
    if schema != SCHEMA_VERSION:
        raise UserError(f"The shards have schema {schema}, not {SCHEMA_VERSION}: write them again.")
    if missing:
        raise UserError(f"{len(missing)} shards are missing, first {missing[0]}: write the data again.")
    return counts


def picture_check(
    config: TrainConfig,
    counts: Mapping[str, int],
    *,
    written: bool,
    scope: str = "",
    left_out: Mapping[str, int] | None = None,
) -> PreflightCheck:
    """Check that there are pictures to train on and to evaluate on.

    Args: counts: pictures of each split. written: the shards are there. scope: "" where all pictures were counted.
          left_out: reason -> pictures.
    """
    train, held_out = counts.get("train", 0), counts.get("held_out", 0)
    lost = "; ".join(f"{count:,} {reason}" for reason, count in (left_out or {}).items() if count)
    lost = f"; left out: {lost}" if lost else ""
    if not train:
        advice = "review some on the Curate page, or also take pictures without a region, for their captions"
        return PreflightCheck("data", "bad", f"{scope}no picture to train on{lost}: {advice}.")
    if train < config.batch_size and not scope and not config.mix:
        found = f"{train:,} pictures are fewer than a batch of {config.batch_size}: lower batch size{lost}."
        return PreflightCheck("data", "bad", found)
    if not held_out and not scope:
        found = "No picture is held out to evaluate on: hold out a larger share, or freeze more pictures."
        return PreflightCheck("data", "bad", found)
    epochs = config.images / train
    found = f"{scope}{train:,} pictures to train on, {held_out:,} held out"
    alone = not scope and not config.mix  # else not all that is seen is counted here
    found += f"; {epochs:,.1f} epochs" if alone else ""
    found = f"schema {SCHEMA_VERSION}, {found}{lost}" if written else f"{found}{lost}; a job writes them first"
    if epochs > MANY_EPOCHS and alone:
        advice = "each picture is seen very often, take fewer images or more data."
        return PreflightCheck("data", "warn", f"{found}: {advice}")
    if held_out < FEW_HELD_OUT and not scope:
        return PreflightCheck("data", "warn", f"{found}; so few held-out pictures tell large differences only.")
    return PreflightCheck("data", "ok", found)


def region_check(config: TrainConfig, census: TrainingCensus, *, all_of_them: bool = False) -> PreflightCheck | None:
    """Check that there are regions to learn, and how many are used; None for CLIP, which learns none.

    Args: all_of_them: those of a picture beyond `max_regions` are used too.
    """
    if config.clip:
        return None
    rejected = f"; {census.rejected:,} rejected descriptions are left out" if census.rejected else ""
    if not census.descriptions:
        found = "No region to learn from in this version"
        advice = "accept some on the Curate page and freeze again, or train CLIP on the captions (switch clip on)"
        return PreflightCheck("regions", "bad", f"{found}{rejected}: {advice}.")
    pictures, without = census.described.total(), census.described[0]
    found = f"{census.boxes:,} with {census.descriptions:,} descriptions on {pictures - without:,} pictures{rejected}"
    beyond = census.beyond(config.max_regions)
    if beyond > MATTERS * census.descriptions and not all_of_them:
        left, most = f"{beyond:,} descriptions ({beyond / census.descriptions:.0%})", max(census.described)
        if config.regions == "drawn":
            found += (
                f"; an epoch leaves {left} out: of a picture with more than {config.max_regions}, so many are drawn"
            )
            return PreflightCheck("regions", "ok", f"{found}, others in the next epoch")
        found += f"; {left} are never used, beyond the {config.max_regions} of a picture that max regions takes"
        return PreflightCheck("regions", "warn", f"{found}: draw them, or raise it up to {most}.")
    return PreflightCheck("regions", "ok", found)


def caption_check(plan: TrainPlan, census: TrainingCensus) -> PreflightCheck:
    """Check that captions tell pictures apart, without which L_ic learns nothing."""
    config, pictures = plan.config, census.pictures["train"]
    if not config.losses.image_caption:
        if config.clip:
            found = "CLIP has no loss but L_ic, whose weight is 0, so that nothing learns: give it a weight."
            return PreflightCheck("captions", "bad", found)
        return PreflightCheck("captions", "ok", "not used: the weight of L_ic is 0")
    used = _used_captions(plan, census)
    filled, distinct = used.total(), len(used)
    if distinct < LEAST_CAPTIONS:
        found = f"all {pictures:,} captions are {'the same' if filled else 'empty'}, so that L_ic learns nothing"
        return PreflightCheck("captions", "bad", f"{found}: {_caption_advice(plan, census)}.")
    found = f"{filled:,} of {pictures:,} pictures have one, {distinct:,} are different"
    if filled < pictures or distinct < FEW_DISTINCT * filled:
        return PreflightCheck("captions", "warn", f"{found}: {_caption_advice(plan, census)}.")
    return PreflightCheck("captions", "ok", found)


def _used_captions(plan: TrainPlan, census: TrainingCensus) -> Counter[str]:
    """Return the captions of the kind that is drawn from, the better one where a picture's is drawn from two."""
    chosen = census.captions[plan.request.caption]  # type: ignore[index]
    others = {"either": "written", "with_descriptions": "descriptions", "with_sentence": "descriptions"}
    other = others.get(plan.config.caption_source)
    if other is None:
        return chosen
    return max(chosen, census.captions[other], key=lambda texts: (texts.total(), len(texts)))  # type: ignore[index]


def _caption_advice(plan: TrainPlan, census: TrainingCensus) -> str:
    """Return what a person can choose instead."""
    advice = []
    if plan.request.caption != "written" and (there := census.captions["written"].total()):
        advice.append(f"choose the captions that a describer wrote, which {there:,} pictures have")
    if plan.request.caption != "descriptions" and (there := census.captions["descriptions"].total()):
        advice.append(f"compose them from the descriptions, which {there:,} pictures have")
    if not plan.config.clip:
        advice.append("set the loss weight image caption to 0, to train without L_ic")
    return ", or ".join(advice) or "write captions first, on the Curate page or with a describer"

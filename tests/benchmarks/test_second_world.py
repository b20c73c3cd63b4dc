"""Trainings and measurements on the second sample world: the same pictures for all, the strongest twin compared."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import tyro

from benchmarks.families import IMAGE, REGIONS, TEXTS, TOKENS, ArmScores, Asked, attention_values, table_of
from benchmarks.learning import EVALUATION_SEEDS, flags_of
from benchmarks.near_misses import DIFFERENCES
from benchmarks.oracles import CLASSES
from benchmarks.second_world import (
    ARMS,
    FULL_IMAGES,
    MODEL_NAMES,
    TRIAL_IMAGES,
    SecondWorldConfig,
    evaluation_world,
    training_of,
)
from curation.sample.families import FAMILY
from curation.sample.world import WorldConfig
from grain.config import preset
from grain.model.model import GrainModel
from grain.train_config import TrainConfig


@pytest.mark.parametrize("images", [TRIAL_IMAGES, FULL_IMAGES])
def test_arms_differ_only_in_what_they_are_told_to(images: int) -> None:
    assert set(ARMS) == set(MODEL_NAMES)
    trainings = {arm: training_of(arm, images, 2) for arm in ARMS}
    assert len({training.world for training in trainings.values()}) == 1
    for arm, training in trainings.items():
        config = tyro.cli(TrainConfig, args=["--data", "d", "--out", "o", *flags_of(training)])
        assert (config.images, config.seed, config.clip) == (images, 2, arm.startswith("clip"))
        assert (config.caption_source == "with_sentence") == ("sentence" in arm or "negatives" in arm)
        assert config.hard_negatives == ("negatives" in arm)
        assert (config.caption_source == "with_descriptions") == ("descriptions" in arm)
        assert (config.init is not None) == arm.endswith("-warm")


def test_what_is_measured_on_was_never_trained_on() -> None:
    trained = tyro.cli(WorldConfig, args=["--out", "w", *training_of("grain", TRIAL_IMAGES, 0).world.flags])
    worlds = [tyro.cli(WorldConfig, args=["--out", "w", *evaluation_world(seed).flags]) for seed in EVALUATION_SEEDS]
    assert trained.seed not in {world.seed for world in worlds} and len(worlds) == 3
    assert {(world.images, world.classes, world.edition) for world in worlds} == {(0, CLASSES, 2)}
    assert CLASSES % FAMILY == 0, "whole families"


def test_an_arm_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="no arm 'blip': choose of grain, clip-sentence"):
        SecondWorldConfig("list", arms=("grain", "blip"))


def test_the_values_of_a_block_are_its_attention_over_one_token() -> None:
    torch.manual_seed(0)
    block = GrainModel(preset("sample").as_clip()).eval().vision.trunk.transformer.resblocks[-1]
    hidden = torch.randn(2, 1, 192)
    normed = block.ln_1(hidden)
    with torch.no_grad():
        alone = block.attn(normed, normed, normed, need_weights=False)[0]
        assert torch.allclose(attention_values(block, hidden), alone, atol=1e-5)


def scores(ways: dict[str, list[float]]) -> ArmScores:
    hits = {Asked(way, texts): np.array(found) for way, found in ways.items() for texts in TEXTS}
    near = {(Asked(way, "phrases"), each): np.array(found) for way, found in ways.items() for each in DIFFERENCES}
    return ArmScores(hits, near, np.array([0.0, 1.0]), np.zeros(0))


def test_grain_is_compared_with_the_strongest_twin_in_its_best_way_over_seeds() -> None:
    arms = {
        ("GRAIN", 0): scores({IMAGE: [0.2, 0.4], REGIONS: [0.8, 1.0]}),
        ("GRAIN", 1): scores({IMAGE: [0.2, 0.4], REGIONS: [0.6, 1.0]}),
        ("GRAIN b", 0): scores({IMAGE: [0.5, 0.5], REGIONS: [0.0, 0.0]}),
        ("CLIP a", 0): scores({IMAGE: [0.3, 0.3], TOKENS: [0.1, 0.1]}),
        ("CLIP b", 0): scores({IMAGE: [0.1, 0.1], TOKENS: [0.4, 0.6]}),
    }
    table = table_of(arms)
    assert table["strongest twin"] == f"CLIP b; by its {TOKENS}, told by phrases"
    assert table["GRAIN by regions over the strongest twin, points"][0] == pytest.approx(100 * (0.85 - 0.5))
    assert table["GRAIN by image embedding over the strongest twin's, points"][0] == pytest.approx(0.0)
    assert table["GRAIN b over GRAIN by image embedding, points"][0] == pytest.approx(20.0)
    assert [row["one never seen %"][0] for row in table["novel classes, top-1"][:2]] == [40.0, 100.0]

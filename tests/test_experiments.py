"""Experiments name what to train, and find it once it is there."""

from pathlib import Path

import pytest
import tyro

from grain.checkpoint import EMBEDDED
from grain.evaluate import EvaluateConfig, labels_of
from grain.experiments import EXPERIMENTS, flags_of, models_of
from grain.train import initial_model
from grain.train_config import TrainConfig


def test_every_arm_is_a_training_that_can_start_and_no_name_means_two() -> None:
    arms = {arm for experiment in EXPERIMENTS.values() for arm in experiment.arms}
    assert len(arms) == len({arm.name for arm in arms}) >= 9
    for arm in arms:
        config = tyro.cli(TrainConfig, args=["--data", "d", "--out", "o", *flags_of(arm)])
        assert config.images == 25_600


def test_the_small_grain_is_no_larger_than_clip_and_the_wide_clip_no_smaller_than_grain() -> None:
    arms = {arm.name: arm for experiment in EXPERIMENTS.values() for arm in experiment.arms}

    def parameters(name: str) -> int:
        config = tyro.cli(TrainConfig, args=["--data", "d", "--out", "o", *flags_of(arms[name])])
        return sum(parameter.numel() for parameter in initial_model(config)[0].parameters())

    assert 0.98 * parameters("clip") < parameters("small") <= parameters("clip")
    assert parameters("full") <= parameters("strong-wide") == parameters("clip-wide") < 1.02 * parameters("full")
    assert parameters("two-queries") < parameters("full")


def test_what_is_not_trained_yet_comes_with_its_command(tmp_path: Path) -> None:
    (tmp_path / "full" / "final").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"not trained yet in .*: small, two-q.*--preset sample-small`"):
        models_of("equal-size", tmp_path)
    for arm in EXPERIMENTS["equal-size"].arms:
        (tmp_path / arm.name / "final").mkdir(parents=True, exist_ok=True)
    found = models_of("equal-size", tmp_path)
    assert list(labels_of(found).values()) == [arm.name for arm in EXPERIMENTS["equal-size"].arms]


def test_an_experiment_on_embedded_models_needs_no_training(tmp_path: Path) -> None:
    names = models_of("other-look", tmp_path)
    assert len(names) == 2 and all((EMBEDDED / name).is_dir() for name in names)


def test_an_experiment_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no experiment 'luck': choose one of equal-size, losses, other-look"):
        EvaluateConfig(data_sets=("x",), out=tmp_path, experiment="luck")
    with pytest.raises(ValueError, match="--experiment"):
        EvaluateConfig(data_sets=("x",), out=tmp_path)

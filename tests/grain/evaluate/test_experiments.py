"""Experiments name what to train, and find it once it is there."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import tyro

from curation.annotate.settings import AnnotateConfig
from curation.exchange.export_config import ExportConfig
from curation.ingest.ingest import IngestConfig
from curation.sample.world import WorldConfig
from grain.checkpoint import EMBEDDED
from grain.evaluate.evaluate import EvaluateConfig, evaluate, labels_of
from grain.evaluate.experiments import (
    EXPERIMENTS,
    NO_BOXES,
    TRUE_WORLD,
    WORLDS,
    arm_flags,
    experiment_models,
    training_command,
)
from grain.model.pretrained import ModelCard, save_pretrained
from grain.train.start import initial_model
from grain.train_config import TrainConfig
from tests.support.paths import ROOT
from tests.support.tiny import tiny_config, tiny_model

STAGES = {
    "curation.sample.world": WorldConfig,
    "curation.ingest": IngestConfig,
    "curation.annotate": AnnotateConfig,
    "curation.exchange.export": ExportConfig,
    "grain.train": TrainConfig,
}


def test_every_arm_is_a_training_that_can_start_and_no_name_means_two() -> None:
    arms = {arm for experiment in EXPERIMENTS.values() for arm in experiment.arms}
    assert len(arms) == len({arm.name for arm in arms}) >= 15
    trained = [arm for arm in arms if not arm.checkpoint]
    assert len(trained) >= 11
    for arm in trained:
        words = shlex.split(training_command(arm, Path("a b")))
        config: Any = tyro.cli(STAGES[words[2]], args=words[3:])
        assert (config.images, config.data, config.out) == (25_600, Path(arm.data), Path("a b") / arm.name)
    assert {training_command(arm, Path("runs")) for arm in arms if arm.checkpoint} == {""}


def test_every_world_that_an_arm_is_trained_on_comes_with_commands_that_are_understood() -> None:
    assert {arm.data for experiment in EXPERIMENTS.values() for arm in experiment.arms} == set(WORLDS)
    lines = [line for commands in WORLDS.values() for line in commands]
    assert len(lines) == 7
    for line in lines:
        words = shlex.split(line)
        assert words[:2] == ["python", "-m"]
        assert tyro.cli(STAGES[words[2]], args=words[3:]) is not None
    told = [line for line in WORLDS["data/told-0.4"] if "--sample.wrong 0.4" in line]
    assert len(told) == 1 and TRUE_WORLD in WORLDS


def test_every_experiment_says_where_our_result_of_it_stands() -> None:
    rows = {row["name"] for row in json.loads((ROOT / "docs" / "benchmarks.json").read_text(encoding="utf-8"))}
    measured = [row for experiment in EXPERIMENTS.values() for row in experiment.measured]
    assert len(measured) >= len(EXPERIMENTS) >= 5
    assert [row for row in measured if row not in rows] == []


def test_the_small_grain_is_no_larger_than_clip_and_the_wide_clip_no_smaller_than_grain() -> None:
    arms = {arm.name: arm for experiment in EXPERIMENTS.values() for arm in experiment.arms}

    def parameters(name: str) -> int:
        config = tyro.cli(TrainConfig, args=["--data", "d", "--out", "o", *arm_flags(arms[name])])
        return sum(parameter.numel() for parameter in initial_model(config)[0].parameters())

    assert 0.98 * parameters("clip") < parameters("small") <= parameters("clip")
    assert parameters("full") <= parameters("strong-wide") == parameters("clip-wide") < 1.02 * parameters("full")
    assert parameters("two-queries") < parameters("full")


def test_what_is_not_trained_yet_comes_with_its_command(tmp_path: Path) -> None:
    (tmp_path / "full" / "final").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"not trained yet in .*: small, two-q.*--preset sample-small`"):
        experiment_models("equal-size", tmp_path)
    for arm in EXPERIMENTS["equal-size"].arms:
        (tmp_path / arm.name / "final").mkdir(parents=True, exist_ok=True)
    found = experiment_models("equal-size", tmp_path)
    assert list(labels_of(list(found), found).values()) == [arm.name for arm in EXPERIMENTS["equal-size"].arms]


def test_an_experiment_on_embedded_models_needs_no_training(tmp_path: Path) -> None:
    names = experiment_models("other-look", tmp_path)
    assert len(names) == 2 and all((EMBEDDED / name).is_dir() for name in names)
    assert experiment_models("no-box-head", tmp_path) == {"sample": "with", f"{NO_BOXES}sample": "without"}


def test_checkpoints_of_ones_own_take_the_place_of_arms_and_go_by_their_names(tmp_path: Path) -> None:
    found = experiment_models("losses", tmp_path, ("no-box=x/b=1", "full=mine"))
    assert found == {"mine": "full", "x/b=1": "no-box"}, "in the experiment's order: the first is compared with"
    assert labels_of([*found, "y/full"], found) == {"mine": "full", "x/b=1": "no-box", "y/full": "y/full"}


@pytest.mark.parametrize(
    ("chosen", "sentence"),
    [
        (("full=a",), "compares two arms or more"),
        (("full=a", "full=b"), "compares two arms or more"),
        (("full=a", "no-rd=a"), "full and no-rd have the same checkpoint"),
        (("full=a", "luck=b"), "an arm of full, no-rd, no-box, neither, clip, got 'luck=b'"),
        (("full=a", "no-rd"), "expected ARM=CHECKPOINT"),
    ],
)
def test_what_is_no_comparison_is_refused(chosen: tuple[str, ...], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=sentence):
        experiment_models("losses", tmp_path, chosen)


def test_without_its_box_head_a_model_recognises_the_same_and_finds_no_boxes(data_folder: Path, tmp_path: Path) -> None:
    config = tiny_config()
    save_pretrained(tiny_model(config), config, tmp_path / "tiny", card=ModelCard("tiny", "nothing"))
    save_pretrained(
        tiny_model(config.as_clip()), config.as_clip(), tmp_path / "clip", card=ModelCard("clip", "nothing")
    )
    mine = str(tmp_path / "tiny")
    asked = EvaluateConfig(
        data_sets=(str(data_folder),),
        out=tmp_path / "out",
        experiment="no-box-head",
        arms=(f"with={mine}", f"without={mine}"),
    )
    [found] = evaluate(asked)["data_sets"]
    assert [row["row"] for row in found["rows"]][::4] == ["with · names", "without · names"]
    rows = {row["row"]: row["top1"] for row in found["rows"]}
    assert {rows[f"with · {way}"] == rows[f"without · {way}"] for way in ("names", "regions", "mixed")} == {True}
    ways = [lead["way"] for lead in found["leads"]]
    assert ways[:5] == ["names", "descriptions", "regions", "mixed", "best"] and len(ways) == 8
    assert ways[-1] == "grounding_acc50" and found["leads"].pop()["lead"][0] <= 0, "a box is worth something"
    assert {(value, low + high) for value, low, high in (lead["lead"] for lead in found["leads"])} == {(0.0, 0.0)}
    boxed, whole = (row["miou"][0] for row in found["grounding"])
    assert boxed != whole
    with pytest.raises(ValueError, match="clip has no box head to switch off"):
        evaluate(EvaluateConfig((f"{NO_BOXES}{tmp_path / 'clip'}",), (str(data_folder),), tmp_path / "none"))


def test_an_experiment_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no experiment 'luck': choose one of equal-size, losses, annotations, other"):
        EvaluateConfig(data_sets=("x",), out=tmp_path, experiment="luck")
    with pytest.raises(ValueError, match="--experiment"):
        EvaluateConfig(data_sets=("x",), out=tmp_path)
    with pytest.raises(ValueError, match="give --experiment too"):
        EvaluateConfig(("a",), ("x",), tmp_path, arms=("full=a",))

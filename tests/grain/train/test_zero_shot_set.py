from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from grain.config import ClassTexts
from grain.predict import Predictor
from grain.structures import ImageFeatures
from grain.train.train import train
from grain.train.zero_shot_set import ZeroShotSet
from tests.grain.train.test_train import log_of, result_of, settings
from tests.support.tiny import FakeEncoder, unit, write_data

NAMES = ClassTexts(names=("{name}",), descriptions=("{description}",))


def folder_of_classes(folder: Path, classes: dict[str, int]) -> Path:
    for name, pictures in classes.items():
        (folder / name).mkdir(parents=True)
        for number in range(pictures):
            Image.new("RGB", (8, 8)).save(folder / name / f"{number}.png")
    return folder


def test_the_share_that_is_recognised_is_that_worked_by_hand(tmp_path: Path) -> None:
    """Every picture looks like a cat to this model: of three cats and one dog it is right on three."""
    features = ImageFeatures(
        np.array(unit(1, 0.1), np.float32), np.zeros((0, 2), np.float32), np.zeros((0, 4), np.float32), np.zeros(0)
    )
    encoder = FakeEncoder({"cat": unit(1, 0), "dog": unit(0, 1)}, features)
    found = ZeroShotSet(str(folder_of_classes(tmp_path / "pets", {"cat": 3, "dog": 1})), limit=100)
    assert found.accuracies(Predictor(encoder), NAMES) == {"zero_shot_acc1": 0.75}


@pytest.mark.slow
def test_a_run_logs_it_at_each_evaluation_and_trains_as_without(tmp_path: Path) -> None:
    data = write_data(tmp_path / "tiny")
    plain = settings(data, tmp_path, out=tmp_path / "plain")
    watching = settings(data, tmp_path, out=tmp_path / "watching", zero_shot=f"{data}#novel")
    train(plain)
    train(watching)
    rows = [row for row in log_of(watching.out) if "loss" not in row]
    assert [0 <= row["zero_shot_acc1"] <= 1 and 0 <= row["zero_shot_described_acc1"] <= 1 for row in rows] == [True] * 2
    one, other = result_of(plain.out), result_of(watching.out)
    assert one["final/model.safetensors"] == other["final/model.safetensors"]
    assert one["best/model.safetensors"] == other["best/model.safetensors"], "it does not choose the best"


@pytest.mark.parametrize(("spec", "sentence"), [
    ("nowhere", "there is no folder .*nowhere: give a data folder, an ImageFolder"),
    ("tiny#held_out", "no picture of .*tiny#held_out has a class: choose another set"),
    ("alone", "alone has 1 classes to tell apart: expected two or more"),
])  # fmt: skip
def test_a_set_that_cannot_be_classified_is_refused_before_the_first_step(
    tmp_path: Path, spec: str, sentence: str
) -> None:
    data = write_data(tmp_path / "tiny")
    folder_of_classes(tmp_path / "alone", {"cat": 1})
    with pytest.raises(ValueError, match=sentence):
        train(settings(data, tmp_path, zero_shot=str(tmp_path / spec)))

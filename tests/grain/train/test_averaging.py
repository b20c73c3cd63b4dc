from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from grain.train.averaging import AveragedWeights, decay_at
from grain.train.train import train
from grain.train_config import TrainConfig
from tests.grain.train.test_train import poison_start, poisoned_data, result_of, settings, steps_of
from tests.support.tiny import tiny_config, tiny_model, train_apart, train_until_killed, write_data


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("averaged") / "tiny")


def test_the_decay_grows_from_a_tenth_to_what_is_asked() -> None:
    assert [decay_at(steps, 0.9) for steps in (0, 1, 10)] == pytest.approx([0.1, 2 / 11, 11 / 20])
    assert decay_at(10_000, 0.9) == 0.9


def test_the_average_of_three_steps_is_that_worked_by_hand() -> None:
    model = tiny_model(tiny_config())
    average = AveragedWeights(model, 0.15)
    for value in (1.0, 2.0, 5.0):
        with torch.no_grad():
            model.logit_scale.fill_(value)
        average.update(model)
    # 1, then 2/11 > 0.15: 0.15 · 1 + 0.85 · 2, then 0.15 · 1.85 + 0.85 · 5
    assert float(average.model.logit_scale.detach()) == pytest.approx(0.15 * 1.85 + 0.85 * 5)
    assert float(model.logit_scale.detach()) == 5.0, "the model that trains is not touched"
    average.restart(model)
    assert float(average.model.logit_scale.detach()) == 5.0


def test_a_run_evaluates_and_keeps_the_average_and_trains_as_without(data: Path, tmp_path: Path) -> None:
    plain = settings(data, tmp_path, out=tmp_path / "plain")
    averaged = replace(plain, out=tmp_path / "averaged", average=0.5)
    train(plain)
    train(averaged)
    last = "checkpoints/step-00000012"
    same, kept = (load_file(run.out / last / "model.safetensors") for run in (plain, averaged))
    assert all(torch.equal(same[name], kept[name]) for name in same), "the training itself is the same, bit for bit"
    mean = load_file(averaged.out / last / "average.safetensors")
    final = load_file(averaged.out / "final" / "model.safetensors")
    assert int(mean.pop("n_averaged")) == 12
    assert all(torch.equal(value, final[name.removeprefix("module.")]) for name, value in mean.items())
    assert not torch.equal(final["heads.region_projection"], kept["heads.region_projection"])
    assert not (plain.out / last / "average.safetensors").exists()


def test_a_killed_run_with_an_average_ends_bitwise_where_an_uninterrupted_one_does(data: Path, tmp_path: Path) -> None:
    whole = settings(data, tmp_path, out=tmp_path / "whole", average=0.9)
    train_apart(whole, log=tmp_path / "log")
    broken = replace(whole, out=tmp_path / "broken")
    train_until_killed(broken, 5, log=tmp_path / "log")
    train_apart(broken, log=tmp_path / "log")
    assert result_of(broken.out) == result_of(whole.out)


def test_a_step_that_is_skipped_is_not_averaged_and_a_roll_back_takes_the_average_back(tmp_path: Path) -> None:
    data = poisoned_data(tmp_path / "data", set(range(12)))
    config = settings(
        data, tmp_path, init=poison_start(tmp_path / "poison"), average=0.5, patience=2, images=16, clip=True
    )
    train(config)
    assert [row["skipped"] for row in steps_of(config.out)] == [1, 2, 3, 4]
    first, last = (load_file(path / "model.safetensors") for path in (tmp_path / "poison", config.out / "final"))
    assert last and all(torch.equal(value, first[name]) for name, value in last.items())


@pytest.mark.parametrize(("changes", "sentence"), [
    ({"average": 1.0}, r"expected average to be at most 0\.99999, got 1\.0: correct it"),
    ({"average": -0.1}, "expected average to be a finite number, 0 or more, got -0.1"),
    ({"towers_rate": -1.0}, "expected towers_rate to be a finite number, 0 or more"),
])  # fmt: skip
def test_a_decay_or_a_rate_that_cannot_be_is_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        TrainConfig(Path("d"), Path("o"), **changes)


def test_each_group_has_its_share_of_the_learning_rate(data: Path, tmp_path: Path) -> None:
    config = settings(data, tmp_path, images=8, towers_rate=0.0, heads_rate=0.5, weight_decay=0.0, warmup_images=0)
    train(config)
    first, last = (load_file(path / "model.safetensors") for path in (tmp_path / "start", config.out / "final"))
    moved = {name.split(".")[0] for name, value in first.items() if not torch.equal(last[name], value)}
    assert moved == {"decoder", "heads", "logit_scale"}, "a share of 0 leaves the towers as they are"


def test_the_first_step_of_a_group_is_as_long_as_its_share(data: Path, tmp_path: Path) -> None:
    """Adam's first step is the rate times the gradient's sign."""
    steps = {}
    for share in (1.0, 0.25):
        config = settings(data, tmp_path, out=tmp_path / f"{share}", images=4, heads_rate=share, warmup_images=0)
        train(config)
        first, last = (load_file(path / "model.safetensors") for path in (tmp_path / "start", config.out / "final"))
        steps[share] = float((last["logit_scale"] - first["logit_scale"]).abs())
    assert steps[1.0] == pytest.approx(1e-3, rel=1e-2)
    assert steps[0.25] == pytest.approx(0.25e-3, rel=1e-2)

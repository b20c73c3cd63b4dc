import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from grain.data.loader import TrainingStream, find_mixed
from grain.data.shards import WINDOW_SAMPLES, ExactlyOnce, Mixed, Resampled, window_numbers
from grain.train.run_folder import claim_folder
from grain.train.train import train
from grain.train_config import TrainConfig, mixed_folders, shared_command
from tests.grain.data.test_shards import places
from tests.grain.train.test_train import result_of, settings
from tests.support.tiny import tiny_config, write_data


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("mixed")
    return write_data(folder / "first", train=12), write_data(folder / "second", train=5)


def test_folders_and_weights_are_read_as_people_write_them() -> None:
    assert mixed_folders(("data/more", "x=0.5", "a=b=3")) == [
        (Path("data/more"), 1.0),
        (Path("x"), 0.5),
        (Path("a=b"), 3.0),
    ]


@pytest.mark.parametrize("entry", ["", "=2", "data=", "data=0", "data=-1", "data=nan", "data=many", "data=1e9"])
def test_a_weight_that_is_none_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match="expected mix to name FOLDER or FOLDER=WEIGHT with a weight above 0"):
        TrainConfig(Path("d"), Path("o"), mix=(entry,))


def test_each_window_has_the_same_number_of_each_share() -> None:
    assert window_numbers([3, 1]) == [3072, 1024]
    assert sum(window_numbers([1, 1, 1])) == WINDOW_SAMPLES and max(window_numbers([1, 1, 1])) == 1366
    assert window_numbers([1e6, 1]) == [WINDOW_SAMPLES - 1, 1], "none is left out"


def test_every_picture_comes_as_often_as_its_weight_says_and_each_set_goes_through_its_own_epochs() -> None:
    orders = [ExactlyOnce((60, 40), seed=1, batch=1), ExactlyOnce((50,), seed=1, batch=1)]
    mixed = Mixed(orders, [0, 2], shares=[100 * 1.0, 50 * 2.0], seed=7)  # of weight 2: as many positions as the first
    found = places(mixed, range(WINDOW_SAMPLES * 3))
    seen = Counter((shard, row) for shard, row, _ in found)
    assert {shard for shard, _ in seen} == {0, 1, 2} and len(seen) == 150
    first, second = ([count for (shard, _), count in seen.items() if (shard == 2) is own] for own in (False, True))
    assert max(first) - min(first) <= 1 and max(second) - min(second) <= 1, "exactly once an epoch of its own"
    assert sum(first) == sum(second) == WINDOW_SAMPLES * 3 / 2
    assert found[5000:5100] == places(mixed, range(5000, 5100)), "a position is always the same sample"
    assert found != places(Mixed(orders, [0, 2], shares=[1, 1], seed=8), range(WINDOW_SAMPLES * 3))


def test_what_is_drawn_of_a_small_set_differs_each_time_it_comes() -> None:
    order = Mixed([ExactlyOnce((10,), seed=1, batch=1), Resampled((10,), seed=2)], [0, 1], shares=[1, 1], seed=0)
    window = order.window(0)
    turns = {int(turn) for shard, turn in zip(window.shards, window.turns, strict=True) if shard == 0}
    assert turns == set(range(WINDOW_SAMPLES // 2 // 10 + 1))


def test_one_set_alone_is_read_as_before(data: tuple[Path, Path]) -> None:
    order = find_mixed(data[0], ()).order(sampling="exactly_once", seed=3, batch=4)
    assert isinstance(order, ExactlyOnce)
    assert isinstance(find_mixed(data[0], ()).order(sampling="resampled", seed=3, batch=4), Resampled)


def test_batches_hold_pictures_of_every_set(data: tuple[Path, Path]) -> None:
    shards = find_mixed(data[0], [(data[1], 3.0)])
    assert (shards.images, shards.trained_on) == (17, "tiny pictures")
    batches = list(TrainingStream(shards, tiny_config(), global_batch=4, seed=1, last_step=30))
    assert len(batches) == 30 and all(len(batch.images) == 4 for batch in batches)


def test_a_run_on_two_sets_resumes_to_the_same_files_and_its_card_names_both(
    data: tuple[Path, Path], tmp_path: Path
) -> None:
    config = settings(data[0], tmp_path, mix=(f"{data[1]}=2",), workers=2)
    train(config)
    kept = result_of(config.out)
    (config.out / "final").rename(tmp_path / "away")
    (config.out / "checkpoints" / "step-00000012").rename(tmp_path / "away-step")
    train(config)
    assert result_of(config.out) == kept
    assert "--mix second=2" in shared_command(config)
    with pytest.raises(ValueError, match="holds a run with another mix"):
        train(settings(data[0], tmp_path))
    elsewhere = (f"{tmp_path / 'elsewhere' / data[1].name}=2",)
    claim_folder(replace(config, mix=elsewhere), write=False)  # as a second attempt on another node


def test_a_run_that_is_older_than_a_setting_goes_on(data: tuple[Path, Path], tmp_path: Path) -> None:
    config = settings(data[0], tmp_path)
    claim_folder(config, write=True)
    file = config.out / "config.json"
    kept = json.loads(file.read_text())
    for name in ("mix", "average", "flip", "zero_shot", "adapter_rank"):
        del kept[name]
    file.write_text(json.dumps(kept))
    claim_folder(config, write=False)
    with pytest.raises(ValueError, match="holds a run with another mix"):
        claim_folder(replace(config, mix=(f"{data[1]}=2",)), write=False)


def test_a_set_that_is_not_there_is_named(data: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere has no manifest\.json: expected a data folder"):
        train(settings(data[0], tmp_path, mix=(str(tmp_path / "nowhere"),)))

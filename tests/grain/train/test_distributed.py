import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from grain.model.pretrained import ModelCard, save_pretrained
from grain.structures import Batch, RegionTargets
from grain.train.distributed import gather_counts, gather_rows, world_size
from grain.train.resume import only_trainer
from grain.train.run_folder import RunHardware, read_hardware
from grain.train.train import train
from grain.train_config import LossWeights, TrainConfig
from tests.support.tiny import (
    VARIANTS,
    finish,
    furthest,
    gradients,
    losses_of,
    random_batch,
    start,
    tiny_config,
    tiny_model,
)

PROCESSES = 2
CASES = {name: VARIANTS[name] for name in ("paper", "all")}
# regions of each image; the first process has the first half
UNEVEN = {"uneven": [3, 1, 0, 1], "one without": [2, 2, 0, 0], "none": [0, 0, 0, 0]}


def whole_batch(regions: list[int]) -> Batch:
    """Every description belongs to some region, and both processes have the first one. Hard negatives: 3, 2 or 0."""
    batch = random_batch(tiny_config(), regions, texts=max(sum(regions) - 1, 1), negatives=regions[0])
    index = torch.arange(sum(regions)) % max(len(batch.descriptions), 1)
    return replace(batch, regions=replace(batch.regions, text_index=index))


def share(batch: Batch, rank: int) -> Batch:
    """The part of a batch that one process sees: its images, their regions, and the descriptions of those.

    Of the hard negatives the first process has two at most, the second the rest.
    """
    rows = torch.arange(len(batch.images)).tensor_split(PROCESSES)[rank]
    mine = torch.isin(batch.regions.image_index, rows)
    texts, index = batch.regions.text_index[mine].unique(return_inverse=True)
    regions = RegionTargets(batch.regions.boxes_xyxy[mine], batch.regions.image_index[mine] - int(rows[0]), index)
    negatives = batch.captions[len(batch.images) :].tensor_split([2])[rank]
    captions = torch.cat((batch.captions[rows], negatives))
    return Batch(batch.images[rows], captions, batch.descriptions[texts], batch.description_ids[texts], regions)


def join(rank: int, store: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=PROCESSES)


def gradients_of_a_share(rank: int, store: Path, out: Path) -> None:
    """In each process: every case's averaged gradient and mean loss; the first process writes them down."""
    join(rank, store)
    for variant, options in CASES.items():
        for name, regions in UNEVEN.items():
            model = tiny_model(tiny_config(**options))
            together = DistributedDataParallel(model)
            losses = losses_of(together, share(whole_batch(regions), rank))
            losses.total.backward()
            total = gather_rows(losses.total.detach()[None]).mean()
            if rank == 0:
                save_file(gradients(model) | {"total": total}, out / f"{variant} {name}.safetensors")


def gathering(rank: int, store: Path, out: Path) -> None:
    """In each process: rank 0 has three rows, rank 1 none; every process writes what it sees."""
    join(rank, store)
    rows = torch.arange(6.0).reshape(3, 2)[: 3 - 3 * rank].requires_grad_()
    gathered = gather_rows(rows)
    (gathered * (rank + 1)).sum().backward()
    whole = gather_rows(torch.arange(rank + 1))
    facts = {"gathered": gathered.detach(), "gradient": rows.grad, "whole": whole}
    facts["counts"] = torch.tensor(gather_counts(5 + rank, torch.device("cpu")))
    save_file(facts, out / f"{rank}.safetensors")


def run_together(target: object, *arguments: Any, folder: Path) -> None:
    """The same function in every process, its rank and a common store first."""
    log = folder / "log"
    processes = [start(target, rank, folder / "store", *arguments, log=log) for rank in range(PROCESSES)]  # type: ignore[arg-type]
    codes = [finish(process, 300) for process in processes]
    assert codes == [0] * PROCESSES, log.read_text()


def test_two_processes_give_the_gradient_of_one_with_the_whole_batch(tmp_path: Path) -> None:
    run_together(gradients_of_a_share, tmp_path, folder=tmp_path)
    checked = 0
    for variant, options in CASES.items():
        for name, regions in UNEVEN.items():
            alone = tiny_model(tiny_config(**options))
            losses = losses_of(alone, whole_batch(regions))
            losses.total.backward()
            together: dict[str, Tensor] = load_file(tmp_path / f"{variant} {name}.safetensors")
            assert together.pop("total").item() == pytest.approx(losses.total.item(), rel=1e-6), (variant, name)
            # float32, and processors sum in different orders: 1.01e-6 was seen
            assert furthest(together, gradients(alone)) < 2e-6, (variant, name)
            checked += 1
    assert checked == len(CASES) * len(UNEVEN) == 6


def test_rows_are_gathered_in_rank_order_and_their_gradients_flow_back(tmp_path: Path) -> None:
    run_together(gathering, tmp_path, folder=tmp_path)
    first, second = (load_file(tmp_path / f"{rank}.safetensors") for rank in range(PROCESSES))
    for seen in (first, second):
        assert seen["gathered"].tolist() == [[0, 1], [2, 3], [4, 5]]
        assert seen["whole"].tolist() == [0, 0, 1]
        assert seen["counts"].tolist() == [5, 6]
    assert first["gradient"].tolist() == [[3, 3]] * 3, "1 from its own loss, 2 from the other's"
    assert second["gradient"].shape == (0, 2)


def test_a_single_process_gathers_its_own_rows() -> None:
    rows = torch.ones(2, 3, requires_grad=True)
    assert world_size() == 1
    assert gather_rows(rows) is rows
    assert gather_counts(4, rows.device) == [4]


def train_a_share(rank: int, store: Path, config: TrainConfig) -> None:
    os.environ |= {"ACCELERATE_USE_CPU": "true", "WORLD_SIZE": str(PROCESSES), "RANK": str(rank)}
    os.environ |= {"LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(PROCESSES)}
    join(rank, store)
    train(config)


@pytest.mark.parametrize("pieces", [1, 2])
def test_a_training_in_two_processes_is_the_training_in_one(pieces: int, data_folder: Path, tmp_path: Path) -> None:
    save_pretrained(tiny_model(tiny_config()), tiny_config(), tmp_path / "start", card=ModelCard("start", "nothing"))
    config = TrainConfig(
        data=data_folder,
        out=tmp_path / "alone",
        init=str(tmp_path / "start"),
        images=12,
        batch_size=4,
        warmup_images=4,
        precision="no",
        held_out_images=4,
    )
    train(config)
    run_together(train_a_share, replace(config, out=tmp_path / "together", pieces=pieces), folder=tmp_path)
    alone, together = (rows_of(tmp_path / run / "metrics.jsonl") for run in ("alone", "together"))
    assert len(alone) == len(together) == 3 + 1
    for one, two in zip(alone, together, strict=True):
        assert one.keys() == two.keys()
        compared = {"loss", "gradient_norm", "image_caption", "box", "box_iou", "region_description", "learning_rate"}
        for key in compared & one.keys():
            assert two[key] == pytest.approx(one[key], rel=1e-5), (one["step"], key)
    final = [load_file(tmp_path / run / "final" / "model.safetensors") for run in ("alone", "together")]
    start_weights = load_file(tmp_path / "start" / "model.safetensors")
    moved = max(float((final[0][name] - value).abs().max()) for name, value in start_weights.items())
    apart = max(float((final[0][name] - final[1][name]).abs().max()) for name in final[0])
    assert apart < 0.05 * moved


def test_the_log_of_two_processes_says_the_losses_of_the_whole_batch(data_folder: Path, tmp_path: Path) -> None:
    """Negatives of one process: each has another L_rd, and the three losses still add up to the whole's."""
    save_pretrained(tiny_model(tiny_config()), tiny_config(), tmp_path / "start", card=ModelCard("start", "nothing"))
    config = TrainConfig(
        data=data_folder,
        out=tmp_path / "together",
        init=str(tmp_path / "start"),
        images=8,
        batch_size=4,
        precision="no",
        held_out_images=4,
        losses=LossWeights(gathered=False),
    )
    run_together(train_a_share, config, folder=tmp_path)
    steps = [row for row in rows_of(config.out / "metrics.jsonl") if "loss" in row]
    assert read_hardware(config.out) == RunHardware(f"{PROCESSES} × cpu", "fp32")
    assert len(steps) == 2
    for row in steps:
        assert row["loss"] == pytest.approx(row["image_caption"] + row["box"] + row["region_description"], rel=1e-5)


def test_where_the_folder_is_being_trained_every_process_says_so_and_ends(data_folder: Path, tmp_path: Path) -> None:
    config = TrainConfig(data_folder, tmp_path / "run", images=8, batch_size=4)
    config.out.mkdir()
    log = tmp_path / "log"
    with only_trainer(config.out):
        both = [start(train_a_share, rank, tmp_path / "store", config, log=log) for rank in range(PROCESSES)]
        assert [finish(process) for process in both] == [1] * PROCESSES
    assert log.read_text().count("ValueError: ") == log.read_text().count("is being trained already") >= PROCESSES


def rows_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from grain.train.cost import Cost, TextLengths, cost_of, memory_of
from grain.train_config import TrainConfig
from tests.support.tiny import kept_bytes, losses_of, random_batch, tiny_config, tiny_model

RUN = TrainConfig(Path(), Path(), images=3_600_000, batch_size=8, precision="no")
MODEL = tiny_config()
TEXTS = TextLengths(caption_tokens=6, description_tokens=6, descriptions=2)
BATCH = random_batch(MODEL, [2] * 8, texts=16)


def cost(processes: int = 1, **changes: Any) -> Cost:
    return cost_of(replace(RUN, **changes), processes=processes, model=MODEL, texts=TEXTS)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def plain() -> Cost:
    return cost()


@pytest.fixture(scope="module")
def locked() -> Cost:
    return cost(lock_image=True, lock_text=True)


def test_weights_are_counted_with_their_gradients_and_moments(plain: Cost, locked: Cost) -> None:
    model = tiny_model(MODEL)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert (plain.parameters, plain.trained) == (sum(p.numel() for p in model.parameters()), trained)
    assert plain.weights_bytes == 4 * plain.parameters + 12 * trained
    assert locked.trained < trained
    assert locked.weights_bytes == 4 * plain.parameters + 12 * locked.trained
    assert cost(processes=2).weights_bytes == plain.weights_bytes + 4 * trained


def test_disk_is_worked_out_by_hand(plain: Cost) -> None:
    state = 4 * plain.parameters + 8 * plain.trained  # weights, and AdamW's two moments
    assert plain.disk_bytes == 3 * state + 2 * 4 * plain.parameters, (
        "two states and one that is written; best and final"
    )
    averaged = cost(average=0.999)
    assert averaged.disk_bytes == plain.disk_bytes + 3 * 4 * plain.parameters
    assert averaged.weights_bytes == plain.weights_bytes + 4 * plain.parameters
    assert cost(keep=1).disk_bytes == plain.disk_bytes - state


def test_adapters_train_little_beside_the_weights() -> None:
    adapted = memory_of(replace(RUN, preset="sample", adapter_rank=4))
    whole = memory_of(replace(RUN, preset="sample"))
    assert whole.parameters < adapted.parameters < 1.05 * whole.parameters and adapted.trained < whole.trained / 2


def test_of_published_shapes_the_parameters_are_known_and_recompute_is_in_the_memory() -> None:
    run = replace(RUN, preset="vit-b-16", batch_size=128)
    plain, recomputed = memory_of(run), memory_of(replace(run, recompute=True))
    assert plain.parameters == recomputed.parameters == 176_301_061
    assert recomputed.activation_bytes < 0.3 * plain.activation_bytes


def test_activations_are_what_a_real_pass_keeps(plain: Cost) -> None:
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):  # the kernel that keeps no table, as on a GPU
        real = kept_bytes(tiny_model(MODEL), BATCH)
    assert plain.activation_bytes == pytest.approx(real, rel=0.15)


def test_pieces_recomputing_and_locked_towers_keep_less(plain: Cost, locked: Cost) -> None:
    pieces, recomputed = cost(pieces=4), cost(recompute=True)
    assert pieces.activation_bytes == pytest.approx(plain.activation_bytes / 4, rel=0.05)
    assert recomputed.activation_bytes < 0.7 * plain.activation_bytes
    assert locked.activation_bytes < 0.5 * plain.activation_bytes
    assert pieces.flops_an_image == recomputed.flops_an_image > 1.3 * plain.flops_an_image
    assert locked.flops_an_image < 0.6 * plain.flops_an_image


def test_what_a_pass_multiplies_is_what_the_counter_sees_in_a_real_one(plain: Cost) -> None:
    model = tiny_model(MODEL)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        losses_of(model, BATCH).total.backward()
    assert plain.flops_an_image == pytest.approx(counter.get_total_flops() / 8, rel=0.05)


def test_hours_are_work_over_speed(plain: Cost) -> None:
    assert plain.device_hours(flops_a_second=1e9, share=0.5) == pytest.approx(1000 * plain.flops_an_image / 0.5e9)


def test_a_batch_that_does_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match=r"batch_size \(8\) must be a multiple of the 3 processes"):
        cost(processes=3)


def test_proposals_are_counted_too() -> None:
    torch.manual_seed(0)
    assert cost_of(replace(RUN, queries="proposals"), model=MODEL, texts=TEXTS).parameters > 50_000

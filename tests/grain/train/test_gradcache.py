import pytest
import torch

from grain.model.model import GrainModel
from grain.structures import Batch
from grain.train.gradcache import cached_backward
from grain.train.losses import Losses
from tests.support.tiny import (
    VARIANTS,
    furthest,
    gradients,
    loss_over,
    losses_of,
    random_batch,
    tiny_config,
    tiny_model,
)


def one_pass(model: GrainModel, batch: Batch) -> Losses:
    losses = losses_of(model, batch)
    losses.total.backward()
    return losses


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize(("pieces", "negatives"), [(1, 0), (3, 0), (3, 4)])
def test_pieces_give_the_gradient_and_the_losses_of_one_pass(pieces: int, negatives: int, options: dict) -> None:
    config = tiny_config(**options)
    batch = random_batch(config, [2, 0, 3, 1, 0], texts=4, negatives=negatives)
    whole, cut = tiny_model(config), tiny_model(config)
    expected, got = one_pass(whole, batch), cached_backward(cut, batch, loss_over(batch), pieces=pieces, seed=0)
    for name, value in vars(expected).items():
        torch.testing.assert_close(getattr(got, name), value, msg=name)
    assert furthest(gradients(cut), gradients(whole)) < 1e-5


def test_pieces_carry_their_own_proposals() -> None:
    config = tiny_config(queries="proposals", add_regions=True, box_every_layer=True)
    batch = random_batch(config, [2, 0, 3, 1, 0], texts=4)
    whole, cut = tiny_model(config), tiny_model(config)
    expected, got = one_pass(whole, batch), cached_backward(cut, batch, loss_over(batch), pieces=3, seed=0)
    torch.testing.assert_close(got.total, expected.total)
    assert furthest(gradients(cut), gradients(whole)) < 1e-5


def test_plain_accumulation_would_have_given_another_gradient() -> None:
    config = tiny_config()
    batch = random_batch(config, [0, 0, 0, 0])
    whole, summed = tiny_model(config), tiny_model(config)
    one_pass(whole, batch)
    for rows in (slice(0, 2), slice(2, 4)):
        part = Batch(batch.images[rows], batch.captions[rows], batch.descriptions, batch.description_ids, batch.regions)
        (losses_of(summed, part).total / 2).backward()
    name = "vision.trunk.conv1.weight"
    ours, theirs = ({name: model.get_parameter(name).grad} for model in (summed, whole))
    assert furthest(ours, theirs) > 1e-2  # type: ignore[arg-type]


@pytest.mark.parametrize("texts", [1, 2])
def test_a_piece_without_descriptions_is_no_trouble(texts: int) -> None:
    config = tiny_config()
    batch = random_batch(config, [1, 0, 2], texts=texts)
    whole, cut = tiny_model(config), tiny_model(config)
    one_pass(whole, batch)
    cached_backward(cut, batch, loss_over(batch), pieces=3, seed=0)
    assert furthest(gradients(cut), gradients(whole)) < 1e-5


def test_a_batch_without_regions_is_no_trouble() -> None:
    config = tiny_config()
    batch = random_batch(config, [0, 0, 0])
    model = tiny_model(config)
    losses = cached_backward(model, batch, loss_over(batch), pieces=2, seed=0)
    assert bool(torch.isfinite(losses.total)) and losses.box.item() == 0
    gradients(model)


def test_dropout_falls_the_same_way_in_both_runs_of_a_piece() -> None:
    config = tiny_config(dropout=0.3)
    batch = random_batch(config, [1, 2])
    first, second, other = (tiny_model(config) for _ in range(3))
    for model, seed in ((first, 5), (second, 5), (other, 6)):
        cached_backward(model, batch, loss_over(batch), pieces=2, seed=seed)
    name = "decoder.to_memory.weight"
    assert torch.equal(gradients(first)[name], gradients(second)[name])
    assert not torch.equal(gradients(first)[name], gradients(other)[name])
    with_seed = tiny_model(config)
    torch.manual_seed(5)  # piece 0 of one: the very numbers that a single pass would draw
    one_pass(with_seed, batch)
    alone = tiny_model(config)
    cached_backward(alone, batch, loss_over(batch), pieces=1, seed=5)
    torch.testing.assert_close(gradients(alone)[name], gradients(with_seed)[name])


@pytest.mark.parametrize("pieces", [0, 4])
def test_more_pieces_than_images_are_refused(pieces: int) -> None:
    config = tiny_config()
    batch = random_batch(config, [0, 0, 0])
    with pytest.raises(ValueError, match=f"pieces must lie between 1 and the 3 images of a batch, got {pieces}"):
        cached_backward(tiny_model(config), batch, loss_over(batch), pieces=pieces, seed=0)

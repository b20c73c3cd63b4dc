import torch

from grain.blocks import blocks_of, recompute_blocks
from grain.gradcache import cached_backward
from grain.model import GrainModel
from tests.tiny import furthest, gradients, kept_bytes, loss_over, losses_of, random_batch, tiny_config, tiny_model

CONFIG = tiny_config(dropout=0.2)
BATCH = random_batch(CONFIG, [2, 0, 3])


def backward(model: GrainModel) -> torch.Tensor:
    """The total of one pass whose gradient is then in the weights; the same dropout every time."""
    torch.manual_seed(4)
    total = losses_of(model, BATCH).total
    total.backward()
    return total.detach()


def test_there_are_the_blocks_of_both_towers_and_of_the_decoder() -> None:
    assert len(list(blocks_of(tiny_model(CONFIG)))) == 2 + 2 + 2
    assert len(list(blocks_of(tiny_model(CONFIG.as_clip())))) == 2 + 2


def test_recomputed_blocks_give_the_very_gradient_in_less_memory() -> None:
    plain, again = tiny_model(CONFIG), tiny_model(CONFIG)
    names = list(plain.state_dict())
    before = kept_bytes(again, BATCH)
    recompute_blocks(again)
    assert list(again.state_dict()) == names
    assert kept_bytes(again, BATCH) < 0.7 * before
    assert torch.equal(backward(again), backward(plain))
    assert furthest(gradients(again), gradients(plain)) == 0


def test_recomputed_blocks_and_pieces_give_the_gradient_of_one_pass() -> None:
    config = tiny_config()
    batch, whole, cut = random_batch(config, [2, 0, 3]), tiny_model(config), tiny_model(config)
    losses_of(whole, batch).total.backward()
    recompute_blocks(cut)
    cached_backward(cut, batch, loss_over(batch), pieces=2, seed=0)
    assert furthest(gradients(cut), gradients(whole)) < 1e-5

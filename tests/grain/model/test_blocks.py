from dataclasses import replace

import pytest
import torch

from grain.model.blocks import blocks_of, compile_blocks, recompute_blocks
from grain.model.model import GrainModel
from grain.train.gradcache import cached_backward
from tests.support.tiny import (
    furthest,
    gradients,
    kept_bytes,
    loss_over,
    losses_of,
    random_batch,
    tiny_config,
    tiny_model,
)

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


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # torch's compiler reads it
def test_compiled_blocks_keep_their_names_and_give_the_gradient_in_batches_of_any_size() -> None:
    config = tiny_config(layers=1)
    config = replace(config, vision_cfg=config.vision_cfg | {"layers": 1}, text_cfg=config.text_cfg | {"layers": 1})
    plain, compiled = tiny_model(config), tiny_model(config)
    compile_blocks(compiled)
    recompute_blocks(compiled)
    assert list(compiled.state_dict()) == list(plain.state_dict())
    for regions in ([2, 0, 3], [1, 4, 0, 2]):
        batch = random_batch(config, regions)
        totals = [losses_of(model, batch).total for model in (plain, compiled)]
        torch.stack(totals).sum().backward()
        assert totals[1].item() == pytest.approx(totals[0].item(), abs=1e-5)
        for ours, theirs in zip(compiled.parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-3)


def test_no_compiler_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ValueError, match="compile needs a C\\+\\+ compiler and found no no-such-compiler: install one"):
        compile_blocks(tiny_model(CONFIG))

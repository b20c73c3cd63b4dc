from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from grain.model.adapters import LowRankChange, add_adapters, merged_model
from grain.model.pretrained import from_pretrained
from grain.train.start import initial_model
from grain.train.train import train
from tests.grain.train.test_train import result_of, settings
from tests.support.tiny import losses_of, random_batch, tiny_config, tiny_model, write_data


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("adapted") / "tiny")


def test_the_change_of_a_matrix_is_the_product_worked_by_hand() -> None:
    change = LowRankChange(2, 3, 1)
    weight = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    assert torch.equal(change(weight), weight), "it starts at nothing"
    with torch.no_grad():
        change.up.copy_(torch.tensor([[1.0], [10.0]]))
        change.down.copy_(torch.tensor([[0.5, 0.0, -1.0]]))
    assert change(weight).tolist() == [[1.5, 2.0, 2.0], [9.0, 5.0, -4.0]]


def test_a_model_with_new_adapters_answers_as_without_and_trains_little_of_its_towers() -> None:
    config = tiny_config()
    plain, adapted = tiny_model(config), tiny_model(config)
    add_adapters(adapted, 2)
    batch = random_batch(config, [2, 1, 3])
    assert torch.equal(losses_of(plain, batch).total, losses_of(adapted, batch).total)
    trained = {name for name, p in adapted.named_parameters() if p.requires_grad}
    assert {name.split(".")[-1] for name in trained if name.startswith(("vision.", "text."))} == {"up", "down"}
    # of 4 blocks, each with attention's two matrices and the feed-forward's two
    assert sum(name.endswith(".up") for name in trained) == 4 * 4
    assert any(name.startswith("decoder.") for name in trained) and "logit_scale" in trained


def test_merged_weights_have_the_plain_names_and_give_the_same_answer() -> None:
    config = tiny_config()
    adapted = tiny_model(config)
    add_adapters(adapted, 2)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if name.endswith(".up"):
                parameter.normal_(generator=torch.Generator().manual_seed(0))
    merged = merged_model(adapted, config).state_dict()
    assert merged.keys() == tiny_model(config).state_dict().keys()
    loaded = tiny_model(config, seed=1)
    loaded.load_state_dict(merged)
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found, expected = loaded.eval().encode_image(images), adapted.eval().encode_image(images)
        assert torch.equal(found.image_embeds, expected.image_embeds)
        assert not torch.equal(tiny_model(config).eval().encode_image(images).image_embeds, expected.image_embeds)


def test_a_run_changes_the_towers_by_their_adapters_alone_and_saves_them_merged(data: Path, tmp_path: Path) -> None:
    config = settings(data, tmp_path, adapter_rank=2, average=0.5)
    train(config)
    first, last = (load_file(path / "model.safetensors") for path in (tmp_path / "start", config.out / "final"))
    assert first.keys() == last.keys()
    moved = {
        name for name in first if name.startswith(("vision.", "text.")) and not torch.equal(first[name], last[name])
    }
    assert moved and all(".resblocks." in name and first[name].ndim == 2 for name in moved)
    change = last[max(moved)] - first[max(moved)]
    assert int(torch.linalg.matrix_rank(change, rtol=1e-3)) <= 4, "at most a few of rank 2, averaged"
    from_pretrained(config.out / "final")
    kept = result_of(config.out)
    (config.out / "final").rename(tmp_path / "away")
    (config.out / "checkpoints" / "step-00000012").rename(tmp_path / "away-step")
    train(config)
    assert result_of(config.out) == kept, "resumed at step 9, it ends at the same files"


def test_towers_that_are_locked_or_too_narrow_have_no_adapters(data: Path, tmp_path: Path) -> None:
    config = settings(data, tmp_path, adapter_rank=2, lock_image=True)
    model, _ = initial_model(config)
    assert not any(name.startswith("vision.") for name, p in model.named_parameters() if p.requires_grad)
    with pytest.raises(ValueError, match="adapters need a transformer whose tower is not locked: unlock one"):
        initial_model(replace(config, lock_text=True))
    with pytest.raises(ValueError, match=r"adapter_rank \(32\) must be less than the (28|32) of a tower's matrix"):
        initial_model(replace(config, adapter_rank=32, lock_image=False))

import errno
import json
import os
import pickle
import random
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from atomic_files import clean_leftovers
from grain.checkpoint import (
    EMBEDDED,
    UNFAMILIAR,
    CheckpointError,
    checkpoint_folder,
    file_sha256,
    read_config,
    read_info,
    verify,
)
from grain.config import GrainConfig
from grain.model.model import GrainModel
from grain.model.pretrained import ModelCard, from_pretrained, save_pretrained
from grain.train.guard import LossGuard
from grain.train.resume import load_state, save_state
from tests.support.tiny import Bomb, random_batch, start, tiny_config, tiny_model
from user_errors import DiskFullError, WriteError

CARD = ModelCard(
    "tiny",
    "nothing at all",
    twin="tiny-clip",
    made_by="python -m grain.train --data d --out o",
    region_rule="phrases",
)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny checkpoint; read only."""
    folder, config = tmp_path_factory.mktemp("saved") / "tiny", tiny_config()
    save_pretrained(tiny_model(config), config, folder, card=CARD, metrics={"novel_top1": 0.5, "intervals": {}})
    return folder


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Path:
    """The same, to be damaged."""
    return shutil.copytree(saved, tmp_path / "tiny")


def optimiser_of(model: GrainModel) -> torch.optim.Optimizer:
    return torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)


def one_step(model: GrainModel, optimiser: torch.optim.Optimizer) -> None:
    batch = random_batch(tiny_config(), [0, 0])
    output, [captions], _ = model(batch.images, [batch.captions])
    (output.image_embeds - captions).square().sum().backward()
    optimiser.step()
    optimiser.zero_grad()


# what a checkpoint holds


def test_a_saved_model_comes_back_with_its_weights_its_configuration_and_its_card(saved: Path) -> None:
    model, config = from_pretrained(saved)
    assert config == tiny_config()
    assert not model.training
    first = tiny_model(tiny_config()).state_dict()
    assert len(first) > 80
    assert all(torch.equal(first[name], value) for name, value in model.state_dict().items())
    assert json.loads((saved / "metrics.json").read_text()) == {"novel_top1": 0.5, "intervals": {}}
    card = (saved / "README.md").read_text()
    for words in ("# tiny", CARD.trained_on, CARD.made_by, "| novel_top1 | 0.5 |", "32 px", UNFAMILIAR):
        assert words in card
    assert {path.name for path in saved.parent.iterdir()} == {"tiny"}, "nothing is left beside it"


def test_weights_may_be_stored_in_sixteen_bits(tmp_path: Path) -> None:
    config = tiny_config()
    save_pretrained(tiny_model(config), config, tmp_path / "half", card=CARD, dtype=torch.bfloat16)
    assert {value.dtype for value in load_file(tmp_path / "half" / "model.safetensors").values()} == {torch.bfloat16}
    model, _ = from_pretrained(tmp_path / "half")
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_the_manifest_names_every_file_with_its_sha256(saved: Path) -> None:
    digests = json.loads((saved / "manifest.json").read_text())["sha256"]
    assert digests.keys() == {"config.json", "model.safetensors", "metrics.json", "README.md"}
    assert all(file_sha256(saved / name) == digest for name, digest in digests.items())
    assert digests["README.md"] == subprocess.check_output(["sha256sum", saved / "README.md"], text=True).split()[0]


# damaged (fault 3)


def test_a_flipped_byte_anywhere_is_refused(copy: Path) -> None:
    draw, checked = random.Random(0), 0
    for path in sorted(copy.iterdir()):
        whole = path.read_bytes()
        for place in [0, len(whole) - 1, *(draw.randrange(len(whole)) for _ in range(6))]:
            damaged = bytearray(whole)
            damaged[place] ^= 1 << draw.randrange(8)
            path.write_bytes(damaged)
            if path.name == "manifest.json" and json_of(damaged) == json_of(whole):
                continue  # between the tokens: nothing is lost
            with pytest.raises(CheckpointError, match=r"tiny: .*: (copy|save)") as caught:
                from_pretrained(copy)
            assert "\n" not in str(caught.value)
            checked += 1
        path.write_bytes(whole)
    assert checked >= 35
    from_pretrained(copy)


def json_of(content: bytes | bytearray) -> object:
    try:
        return json.loads(content)
    except ValueError:
        return None


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "manifest.json"])
@pytest.mark.parametrize("keep", [0, 0.5])
def test_a_truncated_file_is_refused(name: str, keep: float, copy: Path) -> None:
    whole = (copy / name).read_bytes()
    (copy / name).write_bytes(whole[: int(keep * len(whole))])
    with pytest.raises(CheckpointError, match="tiny: "):
        from_pretrained(copy)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "manifest.json", "README.md"])
def test_a_missing_file_is_refused(name: str, copy: Path) -> None:
    (copy / name).unlink()
    with pytest.raises(CheckpointError, match="tiny: "):
        from_pretrained(copy)


@pytest.mark.parametrize("manifest", ["{}", "[1]", '{"sha256": {}}', '{"sha256": [1]}', '{"sha256": null}', "null"])
def test_a_manifest_that_vouches_for_nothing_is_refused(manifest: str, copy: Path) -> None:
    (copy / "manifest.json").write_text(manifest)
    with pytest.raises(CheckpointError, match=r"tiny: manifest.json .*: copy the checkpoint again"):
        verify(copy)


def vouch(folder: Path) -> None:
    """Write a manifest that is right for whatever lies there."""
    digests = {path.name: file_sha256(path) for path in folder.iterdir() if path.name != "manifest.json"}
    (folder / "manifest.json").write_text(json.dumps({"sha256": digests}))


@pytest.mark.parametrize(
    "change",
    [
        {"embed_dim": 17},
        {"decoder": None},
        {"vision_cfg": {"shape": "round"}},
        {"text_cfg": 3},
        {"class_texts": 7},
        {"embed_dim": -1},
        {"text_cfg": {"hf_model_name": "owner/model"}},
    ],
    ids=str,
)
def test_a_configuration_that_does_not_fit_the_weights_is_refused_in_one_sentence(change: dict, copy: Path) -> None:
    facts = json.loads((copy / "config.json").read_text())
    facts["model"] |= change
    (copy / "config.json").write_text(json.dumps(facts))
    vouch(copy)
    with pytest.raises(CheckpointError, match="tiny: weights and configuration do not fit") as caught:
        from_pretrained(copy)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {"schema_version": 2},
        {"twin": ["x"]},
        {"parameters": "many"},
        {"region_rule": "largest"},
        {"region_rule": ["phrases"]},
    ],
)
def test_facts_of_another_kind_are_refused(change: dict, copy: Path) -> None:
    facts = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(facts | change))
    with pytest.raises(CheckpointError, match=r"tiny: config.json"):
        read_info(copy)


def test_the_region_rule_is_kept_shown_on_the_card_and_the_first_one_where_none_was_chosen(copy: Path) -> None:
    facts = json.loads((copy / "config.json").read_text())
    assert facts.pop("region_rule") == read_info(copy).region_rule == "phrases"
    assert "score a class by the mean over the phrases of the descriptions" in (copy / "README.md").read_text()
    (copy / "config.json").write_text(json.dumps(facts))
    assert read_info(copy).region_rule == "best_region"
    assert read_info(EMBEDDED / "photo").to_json()["region_rule"] == "best_region"


# pickles (fault 4)


@pytest.mark.parametrize("name", ["model.pt", "pytorch_model.bin", "last.ckpt", "model.pth", "model.pkl"])
def test_a_pickle_is_refused_as_a_checkpoint_and_runs_no_code(name: str, copy: Path, tmp_path: Path) -> None:
    mark = tmp_path / "exploded"
    (copy / "model.safetensors").unlink()
    torch.save({"weights": Bomb(mark)}, copy / name)
    vouch(copy)
    for asked in (copy, copy / name):
        with pytest.raises(CheckpointError, match=f"{name}.* which can run code"):
            from_pretrained(asked)
    assert not mark.exists()


def test_a_pickle_that_calls_itself_safetensors_is_refused_and_runs_no_code(copy: Path, tmp_path: Path) -> None:
    mark = tmp_path / "exploded"
    (copy / "model.safetensors").write_bytes(pickle.dumps(Bomb(mark)))
    vouch(copy)
    with pytest.raises(CheckpointError, match="tiny: weights and configuration do not fit"):
        from_pretrained(copy)
    assert not mark.exists()
    pickle.loads((copy / "model.safetensors").read_bytes())
    assert mark.exists(), "it would have"


def test_what_is_no_checkpoint_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file.txt").touch()
    for name in ("file.txt", "nowhere"):
        with pytest.raises(CheckpointError, match=f"{name} is no checkpoint folder: expected a folder with"):
            read_config(tmp_path / name)
    with pytest.raises(CheckpointError, match=r"expected model.safetensors, it is missing"):
        read_config(tmp_path)


# written whole or not at all (faults 2 and 5)


def test_a_writer_that_fails_leaves_what_was_there(saved: Path, copy: Path) -> None:
    def fail(place: Path) -> None:
        (place / "model.safetensors").write_bytes(b"half of")
        raise KeyError("anything")

    with pytest.raises(KeyError), checkpoint_folder(copy) as place:
        fail(place)
    assert [path.name for path in copy.parent.iterdir()] == ["tiny"]
    assert contents(copy) == contents(saved)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_full_disk_is_said_and_leaves_what_was_there(saved: Path, copy: Path) -> None:
    with pytest.raises(DiskFullError, match="The disk is full: free some space") as caught, checkpoint_folder(copy):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert isinstance(caught.value.__cause__, OSError) and caught.value.__cause__.errno == errno.ENOSPC
    with (
        pytest.raises(WriteError, match=r"tiny could not be written \(.*denied.*\): .*; what was"),
        checkpoint_folder(copy),
    ):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    assert contents(copy) == contents(saved)


def test_on_a_disk_that_is_really_full_the_old_checkpoint_survives_and_the_next_try_succeeds(small_disk: Path) -> None:
    config, folder = tiny_config(), small_disk / "tiny"
    model = tiny_model(config)
    save_pretrained(model, config, folder, card=CARD)
    before = contents(folder)
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"0" * (shutil.disk_usage(small_disk).free - 100_000))
    for _ in range(2):
        with pytest.raises(DiskFullError, match=r"The disk is full: free some space on .*; what was there"):
            save_pretrained(tiny_model(config, seed=1), config, folder, card=CARD)
    assert contents(folder) == before
    assert {path.name for path in small_disk.iterdir()} == {"tiny", "ballast"}
    ballast.unlink()
    save_pretrained(tiny_model(config, seed=1), config, folder, card=CARD)
    assert contents(folder) != before
    from_pretrained(folder)


def write_forever(folder: Path, config: GrainConfig) -> None:
    """One state after another, each with weights that say which step it is."""
    model = tiny_model(config)
    optimiser = optimiser_of(model)
    one_step(model, optimiser)
    for step in range(1, 1_000_000):
        torch.nn.init.constant_(model.logit_scale, step)
        save_state(folder, step, model=model, optimiser=optimiser, guard=LossGuard(patience=3, taken=step), keep=2)
        save_pretrained(model, config, folder / "best", card=CARD)


def test_a_writer_killed_at_any_moment_leaves_a_whole_state_to_go_on_from(tmp_path: Path) -> None:
    config, draw = tiny_config(), random.Random(0)
    model = tiny_model(config)
    optimiser = optimiser_of(model)
    folder, kills, partial = tmp_path / "states", 8, 0
    for kill in range(kills):
        process = start(write_forever, folder, config, log=tmp_path / "log")
        while not (folder / "best").is_dir():
            process.join(0.01)
            assert process.is_alive(), (tmp_path / "log").read_text()
        process.join(draw.uniform(0, 0.08))
        process.kill()
        process.join()
        partial += len(list(folder.glob(".*")))
        found = load_state(folder, model, optimiser)
        assert found is not None, f"kill {kill}"
        step, guard, refused = found
        assert (model.logit_scale.item(), guard.taken, refused) == (step, step, [])
        clean_leftovers(folder)
        assert list(folder.glob(".*")) == []
        assert abs(from_pretrained(folder / "best")[0].logit_scale.item() - step) <= 1
        shutil.rmtree(folder)
    assert partial > 0, "some kill came in the middle of a write"


def test_a_partial_folder_is_ignored_and_cleaned(tmp_path: Path) -> None:
    model = tiny_model(tiny_config())
    optimiser = optimiser_of(model)
    save_state(tmp_path, 7, model=model, optimiser=optimiser, guard=LossGuard(patience=3), keep=2)
    partial = tmp_path / ".step-00000008.123.tmp"
    partial.mkdir()
    (partial / "model.safetensors").write_bytes(b"half of")
    found = load_state(tmp_path, model, optimiser)
    assert found is not None and found[0] == 7
    clean_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000007"]


def test_a_folder_caught_between_two_renames_is_brought_back(copy: Path) -> None:
    copy.rename(copy.parent / ".tiny.old")
    clean_leftovers(copy.parent)
    from_pretrained(copy)
    shutil.copytree(copy, copy.parent / ".tiny.old")
    clean_leftovers(copy.parent)
    assert [path.name for path in copy.parent.iterdir()] == ["tiny"]


# the state of a training


def test_a_state_brings_back_weights_optimiser_guard_and_step(tmp_path: Path) -> None:
    model = tiny_model(tiny_config())
    optimiser = optimiser_of(model)
    one_step(model, optimiser)
    guard = LossGuard(patience=3, running=1.5, taken=4, skipped=2, in_a_row=1)
    save_state(tmp_path, 9, model=model, optimiser=optimiser, guard=guard, keep=2)
    other = tiny_model(tiny_config(), seed=1)
    others = optimiser_of(other)
    assert load_state(tmp_path, other, others) == (9, guard, [])
    for name, value in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name
    one_step(model, optimiser)
    one_step(other, others)
    for name, value in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name


def test_only_the_newest_states_are_kept(tmp_path: Path) -> None:
    model = tiny_model(tiny_config())
    for step in (5, 10, 100):
        save_state(tmp_path, step, model=model, optimiser=optimiser_of(model), guard=LossGuard(patience=3), keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000010", "step-00000100"]


def test_no_states_are_no_start(tmp_path: Path) -> None:
    model = tiny_model(tiny_config())
    assert load_state(tmp_path / "nowhere", model, optimiser_of(model)) is None


@pytest.mark.parametrize("damage", ["flip", "truncate", "lose"])
def test_a_damaged_state_is_refused_and_the_one_before_is_taken(damage: str, tmp_path: Path) -> None:
    model = tiny_model(tiny_config())
    optimiser = optimiser_of(model)
    one_step(model, optimiser)
    for step in (1, 2):
        save_state(tmp_path, step, model=model, optimiser=optimiser, guard=LossGuard(patience=3), keep=2)
    newest = tmp_path / "step-00000002" / "optimiser.safetensors"
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content[:100] if damage == "truncate" else content)
    if damage == "lose":
        newest.unlink()
    found = load_state(tmp_path, model, optimiser)
    assert found is not None and found[0] == 1
    assert len(found[2]) == 1
    assert "optimiser.safetensors does not match its sha256" in found[2][0]
    assert "falling back to the one before" in found[2][0]
    shutil.rmtree(tmp_path / "step-00000001")
    with pytest.raises(CheckpointError, match=r"no usable state is left in .*; start again in another folder"):
        load_state(tmp_path, model, optimiser)

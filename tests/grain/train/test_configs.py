"""The files in configs/: each is a run, and a run of its kind in the size of a test."""

import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from accelerate.commands.config.config_args import load_config_from_file
from safetensors.torch import load_file

from grain.config_file import read_fields
from grain.model.pretrained import ModelCard, save_pretrained
from grain.train.start import initial_model
from grain.train.train import config_from, train
from grain.train_config import TrainConfig
from tests.support.paths import ROOT
from tests.support.tiny import tiny_config, tiny_model

FILES = sorted((ROOT / "configs").glob("*.yaml"))
each_file = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)


def command_in(file: Path) -> list[str]:
    """The words of the command in a file's comment, from grain.train on."""
    comment = " ".join(line[1:] for line in file.read_text(encoding="utf-8").splitlines() if line.startswith("#"))
    return shlex.split(comment[comment.index("-m grain.train ") :])[2:]


def test_every_run_of_the_paper_and_of_a_small_machine_has_its_file() -> None:
    assert {file.stem for file in FILES} == {"cc3m", "cc12m", "one-gpu-locked-clip", "finetune", "photo"}


@each_file
def test_a_file_names_fields_only_and_its_command_is_whole(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    config = config_from(command_in(file))
    named = read_fields(file, TrainConfig)
    assert len(named) > 8
    assert {name: getattr(config, name) for name in named} == named
    assert config.steps > (100 if config.init == "photo" else 500) and config.warmup_images < config.images
    assert str(config.data).startswith("data/") and str(config.out).startswith("runs/")
    assert f"configs/{file.name}" in (ROOT / "docs" / "guides" / "train.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("file", [file for file in FILES if file.stem != "photo"], ids=lambda file: file.stem)
def test_a_run_of_its_kind_trains_on_a_processor(file: Path, data_folder: Path, tmp_path: Path) -> None:
    start = tiny_config().as_clip() if "clip" in file.stem else tiny_config()
    save_pretrained(tiny_model(start), start, tmp_path / "start", card=ModelCard("start", "nothing"))
    flags = f"--config {file} --data {data_folder} --out {tmp_path / 'run'} --init {tmp_path / 'start'}"
    flags += " --images 8 --batch-size 4 --warmup-images 4 --precision no --workers 0 --held-out-images 4"
    config = config_from(flags.split())
    assert config.losses == TrainConfig(Path(), Path()).losses
    train(config)
    first, last = (load_file(path / "model.safetensors") for path in (tmp_path / "start", config.out / "final"))
    moved = {name.split(".")[0] for name, value in first.items() if not value.equal(last[name])}
    assert moved == ({"logit_scale"} if config.lock_image else {"vision", "text", "decoder", "heads", "logit_scale"})
    assert any(name.startswith("decoder.") for name in last)


def test_both_paper_runs_are_the_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    checked = 0
    for name, epoch in (("cc3m", 3_000_000), ("cc12m", 11_000_000)):
        config = config_from(command_in(ROOT / "configs" / f"{name}.yaml"))
        assert (config.images, config.warmup_images, config.batch_size) == (35 * epoch, epoch, 2048)
        assert (config.preset, config.learning_rate, config.final_learning_rate) == ("vit-b-16", 1e-3, 1e-5)
        assert (config.weight_decay, config.clip_norm, config.precision) == (0.1, 1.0, "bf16")
        checked += 1
    assert checked == 2


def test_flags_overrule_the_file_and_the_file_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("images: 999\nlosses: {box: 2}\nlock_text: true\n", encoding="utf-8")
    flags = ["--config", str(tmp_path / "run.yaml"), "--data", "d", "--out", "o", "--losses.region-description", "3"]
    config = config_from([*flags, "--no-lock-text"])
    expected = TrainConfig(Path("d"), Path("o"), images=999)
    assert config == replace(expected, losses=replace(expected.losses, box=2.0, region_description=3.0))
    assert config_from([*flags, "--images=500"]).images == 500


def test_accelerate_reads_what_it_is_told_of_the_machines() -> None:
    machines = load_config_from_file(str(ROOT / "configs" / "accelerate" / "two-machines.yaml"))
    assert (machines.num_machines, machines.num_processes, machines.mixed_precision) == (2, 16, "bf16")
    for name in ("cc3m", "cc12m"):
        assert 2048 % machines.num_processes == 0
        text = (ROOT / "configs" / f"{name}.yaml").read_text(encoding="utf-8")
        assert re.search(r"--config_file configs/accelerate/two-machines.yaml --machine_rank RANK", text)


def test_a_locked_start_is_the_presets_shape() -> None:
    """What a run over published weights costs is worked out on the preset: only a norm within attention differs."""
    locked = TrainConfig(Path(), Path(), preset="vit-b-16")
    assert sum(p.numel() for p in initial_model(locked)[0].parameters()) == pytest.approx(176.3e6, rel=0.01)

import errno
import fcntl
import hashlib
import json
import math
import os
import shlex
import shutil
import signal
import sys
from contextlib import suppress
from dataclasses import fields, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import torch
import tyro
from PIL import Image
from safetensors.torch import load_file

from grain.checkpoint import EMBEDDED
from grain.config import CLIP_MEAN, GrainConfig
from grain.evaluate.held_out import NO_PICTURES
from grain.hardware import multiplies_bf16
from grain.model.pretrained import ModelCard, from_pretrained, save_pretrained
from grain.train.guard import SPIKE, WARM, LossGuard, StepVerdict
from grain.train.resume import only_trainer
from grain.train.run_folder import HARDWARE, RunHardware, keep_hardware, read_hardware
from grain.train.start import initial_model, learning_rate, starts_from_regions
from grain.train.train import Trainer, main, train
from grain.train_config import MINIMUMS, LossWeights, TrainConfig, shared_command
from tests.support.tiny import (
    PROCESSES,
    finish,
    sample,
    start,
    tiny_config,
    tiny_model,
    train_apart,
    train_until_killed,
    write_data,
    write_shard,
)
from user_errors import DiskFullError


def save_start(folder: Path, config: GrainConfig) -> str:
    """A checkpoint to begin with: how a run gets a model smaller than any preset."""
    save_pretrained(tiny_model(config), config, folder, card=ModelCard("start", "nothing"))
    return str(folder)


def settings(source: Path, folder: Path, **changes: Any) -> TrainConfig:
    """Twelve steps of four pictures, a state every third; dropout and drawn captions, so that chance plays a part."""
    config = TrainConfig(
        data=source,
        out=folder / "run",
        init=str(folder / "start"),
        images=48,
        batch_size=4,
        warmup_images=12,
        precision="no",
        caption_source="with_descriptions",
        checkpoint_images=12,
        evaluate_images=24,
        held_out_images=4,
    )
    if not (folder / "start").exists():
        save_start(folder / "start", tiny_config(dropout=0.1))
    return replace(config, **changes)  # type: ignore[arg-type]


def log_of(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def steps_of(run: Path) -> list[dict]:
    return [row for row in log_of(run) if "loss" in row]


def result_of(run: Path) -> dict[str, Any]:
    """Everything a run leaves that must not depend on how it got there."""
    files = ["final/model.safetensors", "best/model.safetensors", "best/metrics.json"]
    last = max((run / "checkpoints").glob("step-*")).relative_to(run)
    names = ("model.safetensors", "optimiser.safetensors", "average.safetensors", "state.json")
    files += [f"{last}/{name}" for name in names if (run / last / name).exists()]
    # digests: pytest would compare contents that differ byte by byte for an hour
    found: dict[str, Any] = {name: hashlib.sha256((run / name).read_bytes()).hexdigest() for name in files}
    found["log"] = [
        {k: v for k, v in row.items() if k not in ("images_per_second", "memory_bytes", "cpu_cores")}
        for row in log_of(run)
    ]
    return found


# the rate


def test_the_rate_rises_over_the_warm_up_and_falls_along_a_cosine() -> None:
    config = TrainConfig(Path("d"), Path("o"), images=1000, batch_size=10, warmup_images=200)
    rates = [learning_rate(step, config) for step in range(config.steps)]
    assert rates[0] == pytest.approx(1e-6 + (1e-3 - 1e-6) / 20)
    assert rates[19] == rates[20] == pytest.approx(1e-3)
    assert rates[60] == pytest.approx((1e-3 + 1e-5) / 2)
    assert learning_rate(100, config) == pytest.approx(1e-5)
    assert rates[:20] == sorted(rates[:20]) and rates[20:] == sorted(rates[20:], reverse=True)


def test_without_a_warm_up_the_rate_starts_at_its_peak() -> None:
    config = TrainConfig(Path("d"), Path("o"), images=100, batch_size=10, warmup_images=0)
    assert learning_rate(0, config) == pytest.approx(1e-3)
    short = replace(config, warmup_images=10**9)
    assert learning_rate(9, short) == pytest.approx(1e-3), "a warm-up longer than the run ends with it"


def test_an_embedded_checkpoint_is_a_start_by_its_name(tmp_path: Path) -> None:
    config = TrainConfig(tmp_path, tmp_path, init="sample")
    model, _ = initial_model(config)
    assert torch.equal(model.logit_scale, from_pretrained(EMBEDDED / "sample")[0].logit_scale)
    assert not starts_from_regions(config) and starts_from_regions(replace(config, init="photo"))


def test_a_run_shorter_than_a_batch_is_refused() -> None:
    with pytest.raises(ValueError, match=r"images \(100\) must be at least one batch \(128\)"):
        TrainConfig(Path("d"), Path("o"), images=100)


def test_the_command_on_a_card_makes_the_same_configuration_again() -> None:
    config = TrainConfig(
        Path("data"), Path("out"), clip=True, images=999, losses=LossWeights(box=0.0, symmetric=False), twin="tiny-clip"
    )
    command = shared_command(config)
    assert shlex.split(command) == [
        "python", "-m", "grain.train", "--data=data", "--out=out", "--clip", "--images=999",
        "--losses.box=0.0", "--losses.no-symmetric", "--twin=tiny-clip",
    ]  # fmt: skip
    assert tyro.cli(TrainConfig, args=shlex.split(command)[3:]) == config
    moved = replace(config, data=Path("/somewhere/else/data"))
    assert shared_command(moved) == command, "no path of a machine on a card"


# the guard (fault 6)


def test_a_step_is_skipped_where_loss_or_gradient_is_not_a_number() -> None:
    guard = LossGuard(patience=3)
    bad = [(math.nan, 1.0), (math.inf, 1.0), (-math.inf, 1.0), (1.0, math.nan), (1.0, math.inf)]
    for loss, norm in bad:
        assert guard.judge(loss, norm) is StepVerdict.SKIP
        assert guard.judge(2.0, 1.0) is StepVerdict.TAKE
    assert (guard.skipped, guard.taken, guard.in_a_row) == (5, 5, 0)
    assert guard.running == pytest.approx(2.0), "a bad step leaves no trace in the running loss"


def test_a_spike_is_skipped_once_there_is_something_to_compare_it_with() -> None:
    guard = LossGuard(patience=3)
    for _ in range(WARM):
        assert guard.judge(2.0, 1.0) is StepVerdict.TAKE
    assert guard.judge(2.0 * 1e4, 1.0) is StepVerdict.SKIP
    assert guard.judge(2.0 * SPIKE * 1.01, 1.0) is StepVerdict.SKIP
    assert guard.judge(2.0 * SPIKE * 0.99, 1.0) is StepVerdict.TAKE
    assert (guard.skipped, guard.taken) == (2, WARM + 1)
    assert LossGuard(patience=3).judge(1e6, 1.0) is StepVerdict.TAKE, "a start may be anything"


def test_so_many_bad_steps_in_a_row_call_for_a_roll_back() -> None:
    guard = LossGuard(patience=3)
    verdicts = [guard.judge(loss, 1.0) for loss in [math.nan, math.nan, 1.0, math.nan, math.nan, math.nan]]
    skip, take, back = StepVerdict.SKIP, StepVerdict.TAKE, StepVerdict.ROLL_BACK
    assert verdicts == [skip, skip, take, skip, skip, back]


# a run


def test_a_run_leaves_its_settings_a_log_states_the_best_and_the_final_model(data_folder: Path, tmp_path: Path) -> None:
    config = settings(data_folder, tmp_path)
    train(config)
    run = config.out
    assert {p.name for p in run.iterdir()} == {
        *("config.json", "hardware.json", "metrics.jsonl", "training.lock", "checkpoints", "best", "final", "watched")
    }
    assert json.loads((run / "config.json").read_text())["images"] == 48
    assert sorted(p.name for p in (run / "checkpoints").iterdir()) == ["step-00000009", "step-00000012"]
    rows = steps_of(run)
    assert [(row["step"], row["images"]) for row in rows] == [(i, 4 * i) for i in range(1, 13)]
    for row in rows:
        assert all(math.isfinite(value) for value in row.values())
        assert row["loss"] == pytest.approx(row["image_caption"] + row["box"] + row["region_description"], rel=1e-5)
        assert row["images_per_second"] > 0 and row["skipped"] == 0
    held_out = [row for row in log_of(run) if "loss" not in row]
    assert [row["step"] for row in held_out] == [6, 12]
    names = {"grounding_acc50", "grounding_miou", "retrieval_image_to_text_r1", "retrieval_text_to_image_r1"}
    spread = {"box_spread_least", "box_spread_mean"}
    assert held_out[0].keys() == {"step", "images"} | spread | {f"held_out_{name}" for name in names}
    model, model_config = from_pretrained(run / "final")
    assert model_config == tiny_config(dropout=0.1)
    first = load_file(tmp_path / "start" / "model.safetensors")
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, first[name])}
    trainable = {name for name, p in initial_model(config)[0].named_parameters() if p.requires_grad}
    assert changed <= trainable and len(changed) > 80
    assert len(trainable - changed) <= 1, "the first norm of the decoder sees zeros only"
    card = (run / "final" / "README.md").read_text()
    for words in ("tiny pictures", "48 images", "descriptions as extra captions", "| grounding_miou |"):
        assert words in card, words
    assert "python -m grain.train --data=tiny --out=run" in card


def test_a_run_notes_what_its_precision_became_and_where_it_computes(data_folder: Path, tmp_path: Path) -> None:
    config = settings(data_folder, tmp_path, images=8, precision="auto")
    train_apart(config, log=tmp_path / "log")  # accelerate keeps one precision a process
    used = "bf16" if multiplies_bf16("cpu") else "fp32"
    assert read_hardware(config.out) == RunHardware("cpu", used)
    assert (tmp_path / "log").read_text().count(f"computes in {used} on cpu\n") == 1
    keep_hardware(config.out, RunHardware("NVIDIA H100", "bf16"))
    train_apart(config, log=tmp_path / "log")
    assert read_hardware(config.out) == RunHardware("NVIDIA H100", "bf16"), "a run that has ended computes nothing"
    for damaged in ("", "[]", '{"device": "cpu"}'):
        (config.out / HARDWARE).write_text(damaged)
        assert read_hardware(config.out) is None
    assert read_hardware(tmp_path) is None


def test_a_run_learns_what_it_is_shown(data_folder: Path, tmp_path: Path) -> None:
    config = settings(data_folder, tmp_path, images=160, caption_source="caption", learning_rate=3e-3)
    train(config)
    rows = steps_of(config.out)
    for key in ("image_caption", "box", "region_description"):
        early, late = (sum(row[key] for row in part) for part in (rows[:6], rows[-6:]))
        assert late < 0.9 * early, key


def test_the_same_command_after_the_end_changes_nothing(data_folder: Path, tmp_path: Path) -> None:
    config = settings(data_folder, tmp_path)
    train(config)
    before = result_of(config.out)
    train(config)
    assert result_of(config.out) == before


def test_the_clip_baseline_is_trained_by_one_flag_from_the_same_towers(data_folder: Path, tmp_path: Path) -> None:
    config = settings(data_folder, tmp_path, clip=True, images=8, caption_source="caption")
    train(config)
    _, model_config = from_pretrained(config.out / "final")
    assert model_config == tiny_config(dropout=0.1).as_clip()
    assert all(row["box"] == row["region_description"] == 0 for row in steps_of(config.out))
    assert "captions only" in (config.out / "final" / "README.md").read_text()
    held_out = log_of(config.out)[-1]
    assert "held_out_retrieval_image_to_text_r1" in held_out and "held_out_grounding_miou" not in held_out


def test_the_final_model_may_be_stored_in_half_the_room_while_states_stay_exact(
    data_folder: Path, tmp_path: Path
) -> None:
    config = settings(data_folder, tmp_path, images=8, stored="float16")
    train(config)
    for place, dtype in (
        ("final", torch.float16),
        ("best", torch.float16),
        ("checkpoints/step-00000002", torch.float32),
    ):
        weights = load_file(config.out / place / "model.safetensors")
        assert {value.dtype for value in weights.values()} == {dtype}, place


def test_a_locked_tower_stays_as_it_was(data_folder: Path, tmp_path: Path) -> None:
    config = settings(data_folder, tmp_path, images=8, lock_image=True, lock_text=True)
    train(config)
    first, last = (load_file(path / "model.safetensors") for path in (tmp_path / "start", config.out / "final"))
    moved = {name.split(".")[0] for name, value in first.items() if not torch.equal(last[name], value)}
    assert moved == {"decoder", "heads", "logit_scale"}


def test_a_decoder_is_added_to_the_towers_of_a_clip_checkpoint(data_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "clip"
    save_start(folder, tiny_config().as_clip())
    config = settings(data_folder, tmp_path, init=str(folder))
    model, model_config = initial_model(config)
    assert model_config.decoder is not None and model_config.embed_dim == 16
    first = load_file(folder / "model.safetensors")
    assert len(first) > 50 and all(torch.equal(model.state_dict()[name], value) for name, value in first.items())


def test_a_decoder_on_clip_starts_from_clips_own_image_embedding_and_learns_from_there(
    data_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "clip"
    save_start(folder, tiny_config().as_clip())
    clip, _ = from_pretrained(folder)
    config = settings(data_folder, tmp_path, init=str(folder))
    images = torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = clip.eval().encode_image(images).image_embeds
        model, model_config = initial_model(config)
        found = model.eval().encode_image(images).image_embeds
        alone, _ = initial_model(replace(config, add_pooled=False))
        lost = alone.eval().encode_image(images).image_embeds
    assert model_config.decoder is not None and model_config.decoder.add_pooled
    assert (found - expected).abs().max() <= 1e-5
    assert (lost - expected).abs().max() > 0.1, "the paper's decoder throws it away"
    train(config)
    learned, learned_config = from_pretrained(config.out / "final")
    assert learned_config == model_config and learned.heads is not None
    assert learned.heads.image_projection.abs().max() > 0


# region queries from proposals


@pytest.fixture(scope="module")
def proposing_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The boxes of every picture's regions, and two more, as proposals."""
    return write_data(tmp_path_factory.mktemp("proposing") / "tiny", proposals=2)


def proposing(source: Path, folder: Path, **changes: Any) -> TrainConfig:
    if not (folder / "start").exists():
        save_start(folder / "start", tiny_config(dropout=0.1, queries="proposals"))
    return settings(source, folder, queries="proposals", **changes)


def test_a_run_over_proposals_learns_what_it_is_shown_and_keeps_its_kind(proposing_data: Path, tmp_path: Path) -> None:
    config = proposing(proposing_data, tmp_path, images=160, caption_source="caption", learning_rate=3e-3)
    train(config)
    rows = steps_of(config.out)
    for key in ("image_caption", "region_description"):
        early, late = (sum(row[key] for row in part) for part in (rows[:6], rows[-6:]))
        assert late < 0.9 * early, key
    assert rows[0]["box_iou"] > 0.99, "the boxes are among the proposals"
    assert "held_out_grounding_miou" in log_of(config.out)[-1]
    assert from_pretrained(config.out / "final")[1] == tiny_config(dropout=0.1, queries="proposals")
    assert "--queries=proposals" in (config.out / "final" / "README.md").read_text()


def test_sixteen_bits_and_pieces_train_over_proposals_too(proposing_data: Path, tmp_path: Path) -> None:
    config = proposing(proposing_data, tmp_path, images=8, precision="bf16", pieces=2)
    assert finish(start(train, config, log=tmp_path / "log")) == 0, (tmp_path / "log").read_text()
    assert all(math.isfinite(value) for row in log_of(config.out) for value in row.values())


def test_a_killed_run_over_proposals_ends_bitwise_where_an_uninterrupted_one_does(
    proposing_data: Path, tmp_path: Path
) -> None:
    whole = proposing(proposing_data, tmp_path, out=tmp_path / "whole")
    train_apart(whole, log=tmp_path / "log")
    broken = replace(whole, out=tmp_path / "broken")
    train_until_killed(broken, 4, log=tmp_path / "log")
    train_apart(broken, log=tmp_path / "log")
    assert result_of(broken.out) == result_of(whole.out)


def test_a_decoder_of_the_other_kind_is_put_on_the_towers_of_a_checkpoint(data_folder: Path, tmp_path: Path) -> None:
    config = settings(data_folder, tmp_path, queries="proposals")
    model, model_config = initial_model(config)
    assert model_config.from_proposals and model_config.embed_dim == 16
    first, now = load_file(tmp_path / "start" / "model.safetensors"), model.state_dict()
    towers = [name for name in first if name.startswith(("vision.", "text."))]
    assert len(towers) > 50 and all(torch.equal(now[name], first[name]) for name in towers)
    with pytest.raises(ValueError, match=r"sample train-\d+ has no proposals: write the data again with them"):
        train(config)


# interrupted (faults 1, 2, 3)


def test_a_trainer_killed_again_and_again_ends_bitwise_where_an_uninterrupted_one_does(
    data_folder: Path, tmp_path: Path
) -> None:
    whole = settings(data_folder, tmp_path, out=tmp_path / "whole", images=96)
    train_apart(whole, log=tmp_path / "log")
    broken = replace(whole, out=tmp_path / "broken")
    for steps in (1, 5, 10):  # of 24; the first before any state is written
        train_until_killed(broken, steps, log=tmp_path / "log")
        assert not (broken.out / "final").exists()
    train_apart(broken, log=tmp_path / "log")
    assert "resuming from step" in (tmp_path / "log").read_text()
    assert result_of(broken.out) == result_of(whole.out)
    assert [row["step"] for row in steps_of(broken.out)] == list(range(1, 25)), "no step is logged twice"
    assert {p.name for p in broken.out.rglob("*") if p.name.startswith(".")} == set()


def test_a_damaged_state_is_named_and_the_run_goes_on_from_the_one_before(
    data_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = settings(data_folder, tmp_path)
    train(config)
    before = result_of(config.out)
    newest = config.out / "checkpoints" / "step-00000012" / "model.safetensors"
    content = bytearray(newest.read_bytes())
    content[-1] ^= 1
    newest.write_bytes(content)
    for name in ("best", "final"):
        (config.out / name).rename(config.out / f".{name}.old")
    train(config)
    said = capsys.readouterr().out
    assert "step-00000012: model.safetensors does not match its sha256" in said
    assert "falling back to the one before" in said and "resuming from step 9 of 12" in said
    assert result_of(config.out) == before


def test_a_run_on_a_full_disk_says_so_and_ends_as_if_nothing_had_been(
    data_folder: Path, tmp_path: Path, small_disk: Path
) -> None:
    whole = settings(data_folder, tmp_path, out=tmp_path / "whole")
    train(whole)
    state = sum(p.stat().st_size for p in (whole.out / "checkpoints" / "step-00000012").iterdir())
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"0" * (shutil.disk_usage(small_disk).free - 3 * state // 2))
    crowded = replace(whole, out=small_disk / "run")
    with pytest.raises(DiskFullError, match=r"The disk is full: free some space on .*run/checkpoints and try again"):
        train(crowded)
    assert [p.name for p in (crowded.out / "checkpoints").iterdir()] == ["step-00000003"]
    ballast.unlink()
    train(crowded)
    assert result_of(crowded.out) == result_of(whole.out)


# bad steps (fault 6)


def poisoned_data(folder: Path, poisoned: set[int], *, held_out: set[int] | None = None) -> Path:
    """Black pictures, some of them white; see poison_start for why white is poison."""
    write_data(folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    for split, white in {"train": poisoned, "held_out": held_out or set()}.items():
        rows = []
        for i in range(12):
            row = sample(f"{split}-{i:07d}", i, regions=1)
            image = Image.new("RGB", (32, 32), (255, 255, 255) if i in white else (0, 0, 0))
            image.save(folder / "one.jpg")
            rows.append(row | {f"{split}-{i:07d}.jpg": (folder / "one.jpg").read_bytes()})
        manifest["splits"][split] = [write_shard(folder / f"{split}-000000.tar", rows)]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def poison_start(folder: Path) -> str:
    """A model whose normalization blows a white picture up to infinity and leaves a black one at zero."""
    return save_start(folder, replace(tiny_config(), mean=(0.0, 0.0, 0.0), std=(1e-38, 1e-38, 1e-38)))


def test_a_step_gone_to_nan_is_skipped_and_counted_and_the_run_goes_on(tmp_path: Path) -> None:
    data = poisoned_data(tmp_path / "data", {5})
    config = settings(data, tmp_path, init=poison_start(tmp_path / "poison"), checkpoint_images=4)
    train(config)
    rows = steps_of(config.out)
    bad = [row["step"] for row in rows if not math.isfinite(row["loss"])]
    assert len(bad) == 4, "once an epoch"
    assert rows[-1]["skipped"] == 4
    assert all(bool(torch.isfinite(v).all()) for v in load_file(config.out / "final" / "model.safetensors").values())
    assert all(math.isfinite(row["loss"]) for row in rows if row["step"] not in bad)


def test_so_many_bad_steps_in_a_row_roll_back_to_the_last_state(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = poisoned_data(tmp_path / "data", {5})
    options = {"init": poison_start(tmp_path / "poison"), "patience": 1, "images": 24, "checkpoint_images": 4}
    config = settings(data, tmp_path, **options)
    train(config)
    assert capsys.readouterr().out.count("rolled back") == 2
    assert steps_of(config.out)[-1]["skipped"] == 2
    assert all(bool(torch.isfinite(v).all()) for v in load_file(config.out / "final" / "model.safetensors").values())


def test_weights_gone_to_nan_before_any_state_are_rolled_back_to_the_start_and_never_saved_as_best(
    data_folder: Path, tmp_path: Path
) -> None:
    config = settings(data_folder, tmp_path, patience=2, images=16, evaluate_images=4, checkpoint_images=4)
    trainer = Trainer(config)
    with torch.no_grad():
        trainer.model.text.trunk.ln_final.weight.fill_(math.nan)
    trainer.run()
    assert [math.isfinite(row["loss"]) for row in steps_of(config.out)] == [False, False, True, True]
    for folder in (config.out / "best", config.out / "final", *(config.out / "checkpoints").iterdir()):
        assert all(bool(torch.isfinite(v).all()) for v in load_file(folder / "model.safetensors").values()), folder


def test_an_update_that_breaks_the_model_is_saved_neither_as_best_nor_as_final(
    data_folder: Path, tmp_path: Path
) -> None:
    config = settings(data_folder, tmp_path, learning_rate=1e30, warmup_images=0, images=4, evaluate_images=4)
    with pytest.raises(ValueError, match="step 1 gives numbers that are not finite, so final/ is not written: lower"):
        train(config)
    assert "held_out_retrieval_image_to_text_r1" in log_of(config.out)[-1]
    assert not (config.out / "best").exists() and not (config.out / "final").exists()


def test_weights_that_are_not_finite_are_no_state_to_roll_back_to(data_folder: Path, tmp_path: Path) -> None:
    trainer = Trainer(settings(data_folder, tmp_path))
    assert trainer._save_state()
    with torch.no_grad():
        trainer.model.text.trunk.ln_final.weight[0] = math.nan
    trainer.step = 1
    assert not trainer._save_state()
    assert [each.name for each in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-00000000"]


def test_a_run_that_breaks_again_and_again_stops_in_one_sentence(tmp_path: Path) -> None:
    data = poisoned_data(tmp_path / "data", set(range(12)), held_out=set(range(12)))
    config = settings(data, tmp_path, init=poison_start(tmp_path / "poison"), patience=2)
    with pytest.raises(ValueError, match=r"the loss broke 4 times, 2 steps in a row each, .* lower learning_rate"):
        train(config)
    assert not (config.out / "best").exists() and not (config.out / "final").exists()


# refusals


def test_every_number_of_a_training_has_a_least_value() -> None:
    flat = {f"losses.{field.name}": field for field in fields(LossWeights)} | {f.name: f for f in fields(TrainConfig)}
    assert {name for name, field in flat.items() if field.type in ("int", "float")} == set(MINIMUMS)
    assert len(MINIMUMS) > 15


@pytest.mark.parametrize("name", sorted(MINIMUMS))
def test_a_number_that_is_too_small_or_not_finite_is_refused_by_its_name(name: str) -> None:
    group, _, last = name.rpartition(".")
    for value in (MINIMUMS[name] - 1, math.nan, math.inf, -math.inf, 10**40):
        changes: dict = {"losses": LossWeights(**{last: value})} if group else {name: value}
        with pytest.raises(ValueError, match=rf"^expected {name} to be (a finite number|at most).*: correct it$"):
            TrainConfig(Path("d"), Path("o"), **changes)


def test_hard_negatives_need_true_sentences_beside_them(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected caption_source with_sentence for hard_negatives, got caption"):
        settings(tmp_path / "data", tmp_path, caption_source="caption", hard_negatives=True)


def test_hard_negatives_are_trained_with_and_named_by_the_card(data_folder: Path, tmp_path: Path) -> None:
    config = settings(data_folder, tmp_path, images=8, caption_source="with_sentence", hard_negatives=True)
    train(config)
    assert "sentence, hard negatives and described regions" in (config.out / "final" / "README.md").read_text()


def test_more_pieces_than_a_batch_has_images_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"pieces \(9\) must be at most the images of a batch \(4\)"):
        settings(tmp_path / "data", tmp_path, pieces=9)


def train_in_a_folder(folder: Path, connection: Connection) -> None:
    """Hold a run's folder as a trainer does, with a loader worker that outlives it."""
    with only_trainer(folder):
        if os.fork() == 0:
            with suppress(EOFError):
                connection.recv()
            os._exit(0)
        connection.send(os.getpid())
        signal.pause()


def test_a_folder_has_one_trainer_until_that_is_killed(data_folder: Path, tmp_path: Path) -> None:
    config = settings(data_folder, tmp_path, images=8)
    config.out.mkdir()
    ours, theirs = PROCESSES.Pipe()
    holder = start(train_in_a_folder, config.out, theirs, log=tmp_path / "log")
    theirs.close()
    number = ours.recv()
    with pytest.raises(
        ValueError, match=rf"run is being trained already \(process {number} on .*\): wait for it, or choose"
    ):
        train(config)
    assert not (config.out / "metrics.jsonl").exists() and not (config.out / "final").exists()
    holder.kill()
    assert finish(holder) == -9
    train(config)
    assert (config.out / "final").is_dir()
    ours.close()


def test_a_file_system_without_locks_is_trained_on_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_locks(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", no_locks)
    with only_trainer(tmp_path):
        assert "cannot be locked (No locks available): see that nothing else trains there" in capsys.readouterr().err


def test_another_runs_folder_is_refused(data_folder: Path, tmp_path: Path) -> None:
    config = settings(data_folder, tmp_path)
    Trainer(config)
    with pytest.raises(ValueError, match="holds a run with another batch_size, seed: choose another --out"):
        Trainer(replace(config, batch_size=6, seed=5))
    Trainer(replace(config, workers=2))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"init": None, "preset": "huge"}, "no preset named 'huge'"),
        ({"init": "nowhere"}, "nowhere is no checkpoint folder"),
        ({"init": "open_clip:ViT-Z"}, "no architecture 'ViT-Z'"),
        ({"data": Path("nowhere")}, "nowhere has no manifest.json"),
    ],
)
def test_a_start_that_cannot_be_is_refused(changes: dict, sentence: str, data_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=sentence):
        train(settings(data_folder, tmp_path, **changes))
    assert not (tmp_path / "run").exists(), "nothing is written before everything is checked"


def test_an_empty_held_out_split_is_refused_before_anything_is_trained_or_written(
    data_folder: Path, tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    shutil.copytree(data_folder, empty)
    manifest = json.loads((empty / "manifest.json").read_text())
    manifest["splits"]["held_out"] = []
    (empty / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match=f"^{NO_PICTURES}$"):
        train(settings(empty, tmp_path))
    assert not (tmp_path / "run").exists()


def command(arguments: list[str]) -> None:
    sys.argv = ["grain.train", *arguments]
    main()


def test_the_command_line_trains_in_bf16_with_a_progress_bar(data_folder: Path, tmp_path: Path) -> None:
    first = save_start(tmp_path / "start", tiny_config())
    flags = f"--data {data_folder} --out {tmp_path / 'run'} --init {first} --images 16 --batch-size 4"
    flags += " --held-out-images 4 --tracker tensorboard --precision bf16"
    process = start(command, flags.split(), log=tmp_path / "log")
    said = (tmp_path / "log").read_text() if finish(process) else ""
    assert process.exitcode == 0, said
    assert "16/16 [" in (tmp_path / "log").read_text().replace("100%|", "")
    assert len(steps_of(tmp_path / "run")) == 4
    assert list((tmp_path / "run").rglob("events.out.tfevents*"))
    assert from_pretrained(tmp_path / "run" / "final")[1].mean == CLIP_MEAN


def test_the_command_line_says_in_one_sentence_what_is_wrong(tmp_path: Path) -> None:
    process = start(command, ["--data", str(tmp_path), "--out", str(tmp_path / "run")], log=tmp_path / "log")
    assert finish(process) == 1
    assert (tmp_path / "log").read_text().splitlines()[-1].startswith(f"grain.train: {tmp_path} has no manifest.json")
    assert "Traceback" not in (tmp_path / "log").read_text()

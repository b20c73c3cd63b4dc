"""What a training tells of itself, how it is stopped, and the dry steps before it."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from grain.command import flags_of
from grain.structures import ImageFeatures
from grain.train.preflight import main as preflight_main
from grain.train.preflight import preflight, step_seconds
from grain.train.train import train
from grain.train.watch import STOPPED, WATCHED, ProgressReporter, StopSignal, box_spread, distinct_share, memory_bytes
from tests.grain.train.test_configs import each_file
from tests.grain.train.test_train import settings, steps_of


def features(*boxes: list[list[float]]) -> list[ImageFeatures]:
    """Pictures with these boxes, [Q, 4] each."""
    return [ImageFeatures(np.zeros(2), np.zeros((len(b), 2)), np.array(b, np.float32), np.ones(len(b))) for b in boxes]


def test_boxes_that_never_vary_are_told_from_those_that_do() -> None:
    still, moving = [0.1, 0.1, 0.5, 0.5], [[0.0, 0.0, 0.2, 0.2], [0.4, 0.4, 0.6, 0.6]]
    found = box_spread(features([still, moving[0]], [still, moving[1]]))
    assert found == pytest.approx({"box_spread_least": 0.0, "box_spread_mean": 0.1})


def test_there_is_no_spread_of_one_picture_of_none_or_of_boxes_that_differ_in_number() -> None:
    box = [0.1, 0.1, 0.5, 0.5]
    assert [box_spread(features(*each)) for each in ((), ([box],), ([box], [box, box]), ([], []))] == [{}] * 4


def test_captions_that_another_one_equals_are_not_distinct() -> None:
    rows = torch.tensor([[1, 2, 0], [1, 2, 0], [3, 2, 0], [4, 2, 0]])
    assert [distinct_share(rows), distinct_share(rows[:2]), distinct_share(rows[1:])] == [0.5, 0.0, 1.0]
    assert distinct_share(rows[:0]) == 0.0


@pytest.mark.slow
def test_a_run_that_is_stopped_after_every_step_ends_at_the_same_weights(
    data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = settings(data_folder, tmp_path, images=24)
    whole = replace(config, out=tmp_path / "whole")
    train(whole)
    monkeypatch.setattr(StopSignal, "requested", True)
    for step in range(1, config.steps):
        with pytest.raises(SystemExit) as left:
            train(config)
        assert left.value.code == STOPPED
        assert f"saved at step {step} of {config.steps}" in capsys.readouterr().err
    train(config)
    mine, theirs = ((run / "final" / "model.safetensors").read_bytes() for run in (config.out, whole.out))
    assert mine == theirs
    losses = [[row["loss"] for row in steps_of(run)] for run in (config.out, whole.out)]
    assert losses[0] == losses[1] and len(losses[0]) == config.steps


def test_sigterm_only_asks() -> None:
    before = signal.getsignal(signal.SIGTERM)
    try:
        StopSignal.listen()
        os.kill(os.getpid(), signal.SIGTERM)
        assert StopSignal.requested
    finally:
        signal.signal(signal.SIGTERM, before)
        StopSignal.requested = False


@pytest.mark.slow
def test_the_same_pictures_are_kept_at_each_evaluation(data_folder: Path, tmp_path: Path) -> None:
    config = settings(data_folder, tmp_path)
    train(config)
    files = sorted((config.out / WATCHED).glob("step-*.json"))
    assert [file.name for file in files] == ["step-00000006.json", "step-00000012.json"]
    first, last = (json.loads(file.read_text())["pictures"] for file in files)
    assert [picture["file"] for picture in first] == [picture["file"] for picture in last]
    texts = [[(region["text"], region["truth"]) for region in picture["regions"]] for picture in first]
    assert len(texts) >= 2 and all(texts)
    assert texts == [[(region["text"], region["truth"]) for region in picture["regions"]] for picture in last]
    with Image.open(config.out / WATCHED / first[0]["file"]) as image:
        assert image.size == (first[0]["width"], first[0]["height"])
    assert all(row["memory_bytes"] > 2**20 for row in steps_of(config.out))
    assert list((config.out / WATCHED).glob("*.tmp")) == []


def test_progress_is_reported_to_a_job_and_its_end_always(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "progress.json"
    monkeypatch.setenv("GRAIN_JOB_PROGRESS", str(file))
    progress = ProgressReporter()
    for done in (1, 2, 3):
        progress.report(done, 3, f"step {done}")
    assert json.loads(file.read_text()) == {"done": 3, "total": 3, "message": "step 3"}
    monkeypatch.setenv("GRAIN_JOB_PROGRESS", str(tmp_path / "gone" / "progress.json"))
    ProgressReporter().report(1, 1, "nowhere")
    monkeypatch.delenv("GRAIN_JOB_PROGRESS")
    ProgressReporter().report(1, 1, "nobody")


def test_dry_steps_measure_and_leave_nothing(data_folder: Path, tmp_path: Path) -> None:
    config = settings(data_folder, tmp_path)
    report = preflight(config)
    assert report is not None and not config.out.exists()
    assert report.steps == 12 and report.train_images == 12 and report.held_out_images == 6
    assert 0 < report.trainable <= report.parameters
    assert 2**20 < report.memory_bytes < report.memory_total_bytes
    assert report.memory_bytes <= memory_bytes(torch.device("cpu"))
    assert 0 < report.loading_seconds < report.seconds_per_step and report.evaluation_seconds > 0
    locked = preflight(replace(config, lock_image=True, lock_text=True))
    assert locked is not None and locked.trainable < report.trainable


def test_dry_steps_say_what_is_wrong_in_one_sentence(data_folder: Path, tmp_path: Path) -> None:
    words = flags_of(settings(data_folder, tmp_path, data=tmp_path / "nothing"))
    with pytest.raises(SystemExit, match=r"grain.train.preflight: .*nothing has no manifest.json"):
        preflight_main(words)


def test_a_step_waits_for_its_loading_unless_workers_are_faster() -> None:
    cases = {(1.0, 2.0, 0): 3.0, (1.0, 2.0, 1): 2.0, (6.0, 2.0, 2): 3.0}  # loading, stepping, workers
    assert {case: step_seconds(*case) for case in cases} == cases


@each_file
def test_dry_steps_read_the_file_that_a_training_reads(
    file: Path, data_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = settings(data_folder, tmp_path)
    flags = f"--data {data_folder} --out {tmp_path / 'run'} --init {small.init} --images 80 --batch-size 4"
    flags += " --warmup-images 4 --precision no --held-out-images 4"
    preflight_main(["--config", str(file), *flags.split()])  # six or eight workers are not started for it
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert report["steps"] == 20 and not (tmp_path / "run").exists()

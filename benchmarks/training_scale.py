"""Training at scale: kills, memory of large batches, two processes, reading JPEG shards, starting in the middle."""

from __future__ import annotations

import ctypes
import io
import json
import math
import multiprocessing
import os
import random
import re
import statistics
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import simplejpeg
import torch
import webdataset as wds
from PIL import Image
from sklearn.datasets import load_sample_images
from torch import Tensor
from torch.nn import functional as F
from torchvision.io import ImageReadMode, decode_jpeg

from benchmarks.learning import World, write
from benchmarks.rows import ROOT, Benchmark, Finding
from benchmarks.timing import take_turns
from grain.config import CLIP_MEAN, CLIP_STD, DecoderConfig, GrainConfig, preset
from grain.data.loader import TrainingStream, find_mixed, find_shards
from grain.model.model import GrainModel
from grain.structures import Batch, GrainOutput, RegionTargets
from grain.train.gradcache import cached_backward
from grain.train.losses import Losses, grain_losses
from grain.train.resume import save_state
from grain.train.train import Trainer, train
from grain.train_config import LossWeights, TrainConfig

SEED = 0
WORLD = World("scale", ("--images", "512", "--seed", "5", "--held-out-images", "4", "--classes", "1"))
KILLS, WRITES, KILL_STEPS = 20, 5, 60
BATCHES, PIECE, MOST_SLOPE, SAME_GRADIENT = (256, 1024, 4096, 16384), 64, 1.1, 1e-5
STEPS_TOGETHER, SAME_LOSS, LEAST_SPEEDUP = 12, 1e-6, 1.6
PHOTOGRAPHS, LOADED_BATCH, LOADING_ROUNDS, LEAST_LOADING = 512, 64, 7, 0.9
ROWS, ROWS_A_SHARD, START_ROUNDS, FLAT = (10**3, 10**4, 10**5, 10**6), 1000, 9, 1.25


# ------------------------------------------------------------------------------------------------ kills


def train_kills() -> Finding:
    """A training killed at random steps and while it writes some of its states, against one left alone."""
    write(WORLD)
    with TemporaryDirectory() as place:
        uninterrupted = TrainConfig(
            WORLD.folder,
            Path(place) / "whole",
            images=4 * KILL_STEPS,
            batch_size=4,
            warmup_images=40,
            precision="no",
            caption_source="with_descriptions",
            checkpoint_images=12,
            held_out_images=4,
        )
        broken, draw = replace(uninterrupted, out=Path(place) / "broken"), random.Random(SEED)
        _finish(_start(uninterrupted))
        steps = sorted(draw.sample(range(1, KILL_STEPS), KILLS))
        writes = 0
        for step in steps:
            _kill_when(broken, lambda _, step=step: _logged(broken.out) >= step)  # type: ignore[misc]
            if writes < WRITES and (killed := _kill_when(broken, lambda process: any(_partial(broken.out, process)))):
                writes += any(_partial(broken.out, killed))
        _finish(_start(broken))
        files = ["final/model.safetensors"] + [
            f"checkpoints/step-{KILL_STEPS:08d}/{name}" for name in ("model.safetensors", "optimiser.safetensors")
        ]
        differing = sum((uninterrupted.out / name).read_bytes() != (broken.out / name).read_bytes() for name in files)
        losses = [_losses(run.out) for run in (uninterrupted, broken)]
        left = len(list(_partial(broken.out)))
    differing += losses[0] != losses[1]
    detail = {
        "kills at random steps": KILLS,
        "kills while a state was being written": writes,
        "steps": KILL_STEPS,
        "weights, optimiser and log equal, bit by bit": differing == 0,
        "partial folders left": left,
    }
    return Finding(float(differing), differing == 0 and writes >= WRITES and left == 0, detail)


def _start(config: TrainConfig, target: Callable[..., None] = train) -> ForkServerProcess:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["grain.train"])
    process = context.Process(target=_alone, args=(target, config), daemon=True)
    process.start()
    return process


def _alone(target: Callable[..., None], config: TrainConfig) -> None:
    torch.set_num_threads(1)
    target(config)


def _finish(process: ForkServerProcess) -> None:
    process.join()
    if process.exitcode:
        raise ValueError(f"a training ended with {process.exitcode}")


def _kill_when(config: TrainConfig, ready: Callable[[int | None], bool]) -> int | None:
    """The process of a training that was still running when it was killed, if it was."""
    process = _start(config)
    while process.is_alive() and not ready(process.pid):
        process.join(0.001)
    running = process.is_alive()
    process.kill()
    process.join()
    return process.pid if running else None


def _partial(run: Path, process: int | None = None) -> Iterator[Path]:
    """States half written, of any process or of one."""
    return (run / "checkpoints").glob(f".*.{process or '*'}.*.tmp")


def _logged(run: Path) -> int:
    log = run / "metrics.jsonl"
    lines = log.read_text(encoding="utf-8").splitlines() if log.is_file() else []
    return max((json.loads(line)["step"] for line in lines if line.endswith("}")), default=0)


def _losses(run: Path) -> list[float]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [row["loss"] for row in rows if "loss" in row]


# ------------------------------------------------------------------------------------------------ memory


def contrast_memory() -> Finding:
    """Peak memory that a cached-gradient step adds, both contrastive losses over the whole batch, by batch size."""
    rows = []
    for batch in BATCHES:
        words = [sys.executable, "-m", "benchmarks.training_scale", str(batch)]
        answer = subprocess.run(words, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
        rows.append(json.loads(answer.splitlines()[-1]))
    logs = [[math.log(row[key]) for row in rows] for key in ("batch", "MiB that the step adds")]
    slope = float(np.polyfit(logs[0], logs[1], 1)[0])
    apart = _gradients_apart(BATCHES[0])
    detail = {
        "largest difference of gradients, cached against one pass, batch of 256": apart,
        "images a piece": PIECE,
        "model": f"vision and text towers 64 wide, embeddings of {_small().embed_dim}, one description an image",
        "batches": rows,
    }
    return Finding(slope, slope <= MOST_SLOPE and apart <= SAME_GRADIENT, detail)


def measure_memory(batch_size: int) -> dict[str, float]:
    """In a process of its own: one cached step, what it adds to the most memory so far."""
    model = GrainModel(_small())
    _step(model, _random_batch(PIECE), pieces=1)
    batch = _random_batch(batch_size)
    ctypes.CDLL(None).malloc_trim(0)  # what the first step has freed would hide what the second one needs
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak is counted from here
    before = _resident_mib("VmRSS")
    began = time.process_time()
    _step(model, batch, pieces=batch_size // PIECE)
    return {
        "batch": batch_size,
        "MiB that the step adds": _resident_mib("VmHWM") - before,
        "MiB of one table of logits": batch_size**2 * 4 / 2**20,
        "processor s": time.process_time() - began,
    }


def _resident_mib(kind: str) -> float:
    """Memory now (VmRSS) or at its peak (VmHWM)."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(re.search(rf"^{kind}:\s+(\d+) kB", status, re.MULTILINE)[1]) / 1024  # type: ignore[index]


def _small() -> GrainConfig:
    return GrainConfig(
        embed_dim=192,
        vision_cfg={"image_size": 32, "layers": 2, "width": 64, "head_width": 32, "patch_size": 16},
        text_cfg={"context_length": 16, "vocab_size": 1000, "width": 64, "heads": 2, "layers": 2},
        decoder=DecoderConfig(width=64, layers=2, heads=2, ffn=128, dropout=0.0),
    )


def _random_batch(images: int) -> Batch:
    make = torch.Generator().manual_seed(SEED)
    captions, descriptions = (torch.randint(1, 998, (images, 8), generator=make) for _ in range(2))
    corners = torch.rand(images, 2, 2, generator=make).sort(dim=1).values
    each = torch.arange(images)
    return Batch(
        images=torch.randn(images, 3, 32, 32, generator=make),
        captions=captions,
        descriptions=descriptions,
        description_ids=each + 17,
        regions=RegionTargets(corners.reshape(images, 4), each, each),
    )


def _loss_of(batch: Batch, output: GrainOutput, embeds: list[Tensor], scale: Tensor) -> Losses:
    return grain_losses(
        output,
        caption_embeds=embeds[0],
        description_embeds=embeds[1],
        targets=batch.regions,
        description_ids=batch.description_ids,
        logit_scale=scale,
        weights=LossWeights(),
    )


def _step(model: GrainModel, batch: Batch, *, pieces: int) -> None:
    cached_backward(model, batch, partial(_loss_of, batch), pieces=pieces, seed=SEED)


def _gradients_apart(images: int) -> float:
    """The largest difference of an entry, in units of its parameter's largest one where that is above 1."""
    torch.manual_seed(SEED)
    model, batch = GrainModel(_small()), _random_batch(images)
    found = []
    for pieces in (0, images // PIECE):
        model.zero_grad()
        if pieces:
            _step(model, batch, pieces=pieces)
        else:
            _loss_of(batch, *model(batch.images, [batch.captions, batch.descriptions])).total.backward()
        found.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    pairs = zip(*found, strict=True)
    return max(float((a - b).abs().max() / a.abs().max().clamp(min=1)) for a, b in pairs)


# ------------------------------------------------------------------------------------------------ processes


def train_processes() -> Finding:
    """The same global batches by one process and by two, a thread each; `accelerate launch --cpu` starts one only."""
    write(WORLD)
    load = os.getloadavg()[0]
    with TemporaryDirectory() as place:
        runs = {processes: _together(Path(place), processes) for processes in (1, 2)}
    losses = {processes: [row["loss"] for row in rows] for processes, rows in runs.items()}
    apart = [abs(one - two) for one, two in zip(losses[1], losses[2], strict=True)]
    speeds = {n: statistics.median(row["images_per_second"] for row in rows[2:]) for n, rows in runs.items()}
    ratio = speeds[2] / speeds[1]
    detail = {
        "one process, images/s": speeds[1],
        "two processes, images/s": speeds[2],
        "difference of losses, first step": apart[0],
        f"largest difference in {STEPS_TOGETHER} steps": max(apart),
        "steps, batch": f"{STEPS_TOGETHER}, 64",
        "model": "preset sample, float32",
        "load of the machine before": load,
        "niceness": os.nice(0),
    }
    return Finding(ratio, ratio >= LEAST_SPEEDUP and apart[0] <= SAME_LOSS, detail)


def _together(place: Path, processes: int) -> list[dict[str, float]]:
    out = place / str(processes)
    launch = f"--standalone --nproc-per-node {processes}"
    flags = f"--data {WORLD.folder} --out {out} --images {64 * STEPS_TOGETHER} --batch-size 64 --warmup-images 256"
    flags += " --precision no --held-out-images 4"
    words = [sys.executable, "-m", "torch.distributed.run", *launch.split(), "-m", "grain.train", *flags.split()]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    subprocess.run(words, cwd=ROOT, check=True, env=environment, stdout=subprocess.DEVNULL)
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [row for row in rows if "loss" in row]


# ------------------------------------------------------------------------------------------------ data


def data_loading() -> Finding:
    """A shard of photographs -> batches: GRAIN's stream with captions and boxes, and loops without them."""
    with TemporaryDirectory() as place:
        folder = write_photographs(Path(place), PHOTOGRAPHS)
        config = preset("vit-b-16")
        stream = TrainingStream(
            find_mixed(folder, ()),
            config,
            global_batch=LOADED_BATCH,
            seed=SEED,
            last_step=PHOTOGRAPHS // LOADED_BATCH,
        )
        loops: dict[str, Callable[[], object]] = {
            name: partial(_drain, folder, decoder) for name, decoder in DECODERS.items()
        }
        torch.set_num_threads(1)
        rounds = take_turns({"grain": lambda: list(stream), **loops}, rounds=LOADING_ROUNDS, clock=time.process_time)
    best = min(loops, key=rounds.median)
    ratio = rounds.ratio(best, "grain")
    detail = {
        "best loop over GRAIN, with quartiles": ratio,
        "photographs": f"{PHOTOGRAPHS}, 500 x 375 px, quality 90, in batches of {LOADED_BATCH}",
        "clock": "processor time, one thread",
        "rounds": LOADING_ROUNDS,
        "loops": [{"loop": name, "images/s": PHOTOGRAPHS / rounds.median(name)} for name in ("grain", *loops)],
    }
    return Finding(100 * ratio[0], ratio[0] >= LEAST_LOADING, detail)


def write_photographs(folder: Path, count: int) -> Path:
    """A data folder with one shard of crops of scikit-learn's two photographs, a caption and two regions each."""
    pictures, draw = [Image.fromarray(each) for each in load_sample_images().images], random.Random(SEED)
    with tarfile.open(folder / "train-000000.tar", "w") as shard:
        for number in range(count):
            x, y = draw.randrange(140), draw.randrange(52)
            jpeg = io.BytesIO()
            pictures[number % 2].crop((x, y, x + 500, y + 375)).save(jpeg, "JPEG", quality=90)
            _add(shard, f"{number:06d}.jpg", jpeg.getvalue())
            regions = [{"box": [0.1, 0.1, 0.5, 0.5], "text": f"a thing with number {number % 97}", "score": 0.5}] * 2
            facts = {"schema_version": 1, "caption": f"photograph number {number} of a series", "regions": regions}
            _add(shard, f"{number:06d}.json", json.dumps(facts).encode())
    return _manifest(folder, [("train-000000.tar", count)])


def _add(shard: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    shard.addfile(entry, io.BytesIO(content))


def _manifest(folder: Path, shards: Sequence[tuple[str, int]]) -> Path:
    train_split = [{"file": name, "images": count} for name, count in shards]
    facts = {"schema_version": 1, "trained_on": "photographs", "splits": {"train": train_split}}
    (folder / "manifest.json").write_text(json.dumps(facts), encoding="utf-8")
    return folder


MEAN, STD = (torch.tensor(values).view(3, 1, 1) for values in (CLIP_MEAN, CLIP_STD))


def with_pil(content: bytes) -> Tensor:
    """Pillow's decoder and Pillow's bicubic."""
    small = Image.open(io.BytesIO(content)).convert("RGB").resize((224, 224), Image.Resampling.BICUBIC)
    return (torch.from_numpy(np.array(small)).permute(2, 0, 1).float() / 255 - MEAN) / STD


def with_torchvision(content: bytes) -> Tensor:
    """torchvision's decoder, torch's bicubic."""
    encoded = torch.frombuffer(bytearray(content), dtype=torch.uint8)
    return _resized(decode_jpeg(encoded, mode=ImageReadMode.RGB))


def with_simplejpeg(content: bytes) -> Tensor:
    """simplejpeg's decoder, torch's bicubic."""
    return _resized(torch.from_numpy(simplejpeg.decode_jpeg(content, "RGB")).permute(2, 0, 1))


def _resized(levels: Tensor) -> Tensor:
    small = F.interpolate(levels[None], (224, 224), mode="bicubic", antialias=True)[0]
    return (small.float() / 255 - MEAN) / STD


DECODERS = {"PIL": with_pil, "torchvision": with_torchvision, "simplejpeg": with_simplejpeg}


def _drain(folder: Path, decoder: Callable[[bytes], Tensor]) -> None:
    """Every batch of pictures, in the order of the shard."""
    urls = [str(path) for path in find_shards(folder, "train").paths]
    samples = iter(wds.DataPipeline(wds.SimpleShardList(urls), wds.tarfile_to_samples()))
    while batch := list(islice(samples, LOADED_BATCH)):
        torch.stack([decoder(sample["jpg"]) for sample in batch])


# ------------------------------------------------------------------------------------------------ start


def resume_start() -> Finding:
    """From nothing but an imported library to the first batch, at the beginning of an epoch and near its end."""
    with TemporaryDirectory() as place:
        candidates: dict[str, Callable[[], object]] = {}
        for rows in ROWS:
            folder = _many_rows(Path(place) / f"{rows}", rows)
            last = rows // 64 - 1
            for name, step in (("start", 0), ("resume", last)):
                config = TrainConfig(folder, folder / name, images=rows * 2, batch_size=64, precision="no")
                if step:
                    trainer = Trainer(config)
                    save_state(
                        config.out / "checkpoints",
                        step,
                        model=trainer.model,
                        optimiser=trainer.optimiser.optimizer,
                        guard=trainer.guard,
                        keep=1,
                    )
                candidates[f"{name} {rows}"] = partial(_first_batch, config, step)
        rounds = take_turns(candidates, rounds=START_ROUNDS, clock=time.process_time)
    table = [
        {
            "rows": rows,
            "start, processor s": rounds.median(f"start {rows}"),
            "resume, processor s": rounds.median(f"resume {rows}"),
        }
        for rows in ROWS
    ]
    ratios = {name: rounds.ratio(f"{name} {ROWS[-1]}", f"{name} {ROWS[0]}") for name in ("start", "resume")}
    worst = max(ratio[0] for ratio in ratios.values())
    detail: dict[str, Any] = {
        f"{name}, a million rows over a thousand, with quartiles": ratio for name, ratio in ratios.items()
    }
    detail |= {
        "model": "preset sample; its state is read and verified",
        "rows a shard": ROWS_A_SHARD,
        "rounds": START_ROUNDS,
        "times": table,
    }
    return Finding(worst, worst <= FLAT, detail)


def _many_rows(folder: Path, rows: int) -> Path:
    """As many shards as the rows need: links to one of them, since what lies in them does not matter here."""
    folder.mkdir()
    write_photographs(folder, ROWS_A_SHARD)
    names = ["train-000000.tar"] + [f"link-{number:06d}.tar" for number in range(1, rows // ROWS_A_SHARD)]
    for name in names[1:]:
        os.link(folder / names[0], folder / name)
    return _manifest(folder, [(name, ROWS_A_SHARD) for name in names])


def _first_batch(config: TrainConfig, step: int) -> None:
    trainer = Trainer(config)
    trainer._resume()
    if trainer.step != step:
        raise ValueError(f"expected to go on from step {step}, went on from {trainer.step}")
    next(trainer._batches())


BENCHMARKS = (
    Benchmark(
        "train_kills",
        f"a training killed at {KILLS} random steps and {WRITES} times while it wrote a state: files that differ",
        "0",
        "files",
        SEED,
        train_kills,
    ),
    Benchmark(
        "contrast_memory",
        "memory that a step with cached gradients adds, batch 256 to 16,384: log-log slope",
        f"≤ {MOST_SLOPE:g}, gradients equal within {SAME_GRADIENT:g}",
        "",
        SEED,
        contrast_memory,
    ),
    Benchmark(
        "train_processes",
        "the same global batches by two processes against one, a core each",
        f"≥ {LEAST_SPEEDUP:g} ×, losses equal within {SAME_LOSS:g}",
        "×",
        SEED,
        train_processes,
    ),
    Benchmark(
        "data_loading",
        "JPEG shards to batches, images a second in % of the best of three bare loops (PIL, torchvision, simplejpeg)",
        f"≥ {100 * LEAST_LOADING:g} %",
        "%",
        SEED,
        data_loading,
    ),
    Benchmark(
        "resume_start",
        "to the first batch of a training over a million rows, against a thousand: the greater of start and resume",
        f"flat: ≤ {FLAT:g} ×",
        "×",
        SEED,
        resume_start,
    ),
)

if __name__ == "__main__":
    print(json.dumps(measure_memory(int(sys.argv[1]))))

"""Train GRAIN or its CLIP baseline:  python -m grain.train --data DIR --out DIR.

On several devices or machines: accelerate launch -m grain.train …
Run the same command again and it goes on where it was: the result is bitwise the one of an uninterrupted run.
--config FILE reads the fields below from a YAML file (configs/ has some); flags beside it overrule the file.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
import tyro
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from grain.blocks import compile_blocks, recompute_blocks
from grain.checkpoint import CheckpointInfo, clean_partial
from grain.config import GrainConfig, Queries, preset
from grain.config_file import read_fields
from grain.data import Record, TrainingStream, find_shards, loader, read_records, to_device
from grain.encode import TorchEncoder
from grain.evaluate import encode_records, held_out_metrics
from grain.gradcache import cached_backward
from grain.guard import LossGuard, Verdict
from grain.losses import Losses, grain_losses
from grain.model import GrainModel, parameter_groups
from grain.predict import Predictor
from grain.pretrained import Card, from_open_clip, from_pretrained, load_towers, save_pretrained
from grain.resume import load_state, only_trainer, save_state
from grain.structures import Batch, GrainOutput
from grain.train_config import TrainConfig, command_flags
from grain.watch import STOPPED, WATCHED, Progress, Stop, box_spread, keep_pictures, memory_bytes

METRICS_LOG = "metrics.jsonl"
MOST_ROLL_BACKS = 3
MAY_CHANGE = {"out", "data", "workers", "stored", "recompute"}  # between two commands of one run


def learning_rate(step: int, config: TrainConfig) -> float:
    """The rate of a step: linear from 1e-6 over the warm-up, then cosine to the final rate."""
    warm = min(config.warmup_images // config.batch_size, config.steps)
    if step < warm:
        return 1e-6 + (config.learning_rate - 1e-6) * (step + 1) / warm
    progress = (step - warm) / max(config.steps - warm, 1)
    low, high = config.final_learning_rate, config.learning_rate
    return low + (high - low) * (1 + math.cos(math.pi * progress)) / 2


def initial_model(config: TrainConfig) -> tuple[GrainModel, GrainConfig]:
    """The model before the first step.

    Raises: ValueError, CheckpointError: preset or init cannot be used.
    """
    torch.manual_seed(config.seed)
    wanted = preset(config.preset)
    if wanted.decoder is not None:
        wanted = replace(wanted, decoder=None if config.clip else replace(wanted.decoder, queries=config.queries))
    if config.init is None:
        model, model_config = GrainModel(wanted), wanted
    elif config.init.startswith("open_clip:"):
        _, name, *rest = config.init.split(":", 2)
        model, model_config = from_open_clip(name, rest[0] if rest else None, wanted.decoder)
    else:
        model, model_config = _from_checkpoint(Path(config.init), wanted)
    model.lock(image=config.lock_image, text=config.lock_text)
    return model, model_config


def _from_checkpoint(folder: Path, wanted: GrainConfig) -> tuple[GrainModel, GrainConfig]:
    start, start_config = from_pretrained(folder)
    if _queries(start_config) == _queries(wanted):
        return start.train(), start_config
    model_config = replace(start_config, decoder=wanted.decoder)
    model = GrainModel(model_config)
    load_towers(model, {k: v for k, v in start.state_dict().items() if not k.startswith(("decoder.", "heads."))})
    return model, model_config


def _queries(config: GrainConfig) -> Queries | None:
    return config.decoder.queries if config.decoder else None


class Trainer:
    """One run: the loop and what it needs. Use `train`."""

    def __init__(self, config: TrainConfig) -> None:
        """Builds the model, the optimiser and the data; writes or checks config.json.

        Raises: ValueError: the folder holds another run, or the data cannot be used.
        """
        self.config = config
        self.accelerator = Accelerator(
            mixed_precision=config.precision,
            log_with=None if config.tracker == "none" else config.tracker,
            project_dir=str(config.out),
        )
        self.main = self.accelerator.is_main_process
        self._check_pieces()
        self.shards = find_shards(config.data, "train")
        self.model, self.model_config = initial_model(config)
        if config.compile:
            compile_blocks(self.model)
        if config.recompute:
            recompute_blocks(self.model)
        groups = parameter_groups(self.model, config.weight_decay)
        optimiser = torch.optim.AdamW(groups, lr=1e-6, betas=(0.9, 0.98), eps=1e-8, fused=True)
        self.wrapped, self.optimiser = self.accelerator.prepare(self.model, optimiser)
        self.guard = LossGuard(patience=config.patience)
        self.step = 0
        self.roll_backs = 0
        self.progress = Progress()
        self.best = -math.inf
        self.held_out: list[Record[Image.Image]] = []
        _claim_folder(config, write=self.main)
        self.accelerator.wait_for_everyone()
        if config.tracker != "none":
            self.accelerator.init_trackers(config.out.name)

    def _check_pieces(self) -> None:
        share, processes = self.config.batch_size // self.accelerator.num_processes, self.accelerator.num_processes
        if self.config.pieces > share:
            raise ValueError(
                f"pieces ({self.config.pieces}) must be at most the {share} images that each of {processes} processes"
                " has of a batch: take fewer"
            )

    def run(self) -> None:
        """Train to the end, from wherever the folder stands.

        Raises: ValueError: another process trains there, or what came out is no model; in every process.
        """
        with ExitStack() as held:
            self._main_does(lambda: held.enter_context(only_trainer(self.config.out)))
            self._train()

    def _main_does(self, work: Callable[[], object]) -> None:
        """Done by the main process; where it fails all of them end, so that none waits for it for ever.

        Raises: ValueError, OSError: what the work raised; in the other processes a ValueError that says the same.
        """
        said = [""]
        if self.main:
            try:
                work()
            except (ValueError, OSError) as error:
                broadcast_object_list([str(error)])
                raise
        broadcast_object_list(said)
        if said[0]:
            raise ValueError(said[0])

    def _train(self) -> None:
        self._resume()
        self.wrapped.train()
        began = time.perf_counter()
        with tqdm(
            total=self.config.images, initial=self.step * self.config.batch_size, unit="img", disable=not self.main
        ) as bar:
            for batch in self._batches():
                numbers = self.take_step(to_device(batch, self.accelerator.device))
                numbers["memory_bytes"] = memory_bytes(self.accelerator.device)
                numbers["images_per_second"] = self.config.batch_size / (time.perf_counter() - began)
                began = time.perf_counter()
                self._log(numbers)
                bar.update(self.config.batch_size)
                bar.set_postfix({key: f"{numbers[key]:.3f}" for key in ("loss", "box_iou") if key in numbers})
                self.progress.say(bar.n, self.config.images, f"step {self.step:,} of {self.config.steps:,}")
                self._after_step()
                if Stop.asked and self.step < self.config.steps:
                    self._leave()
        self._finish()

    def _batches(self) -> Iterator[Batch]:
        stream = TrainingStream(
            self.shards,
            self.model_config,
            global_batch=self.config.batch_size,
            seed=self.config.seed,
            first_step=self.step,
            last_step=self.config.steps,
            rank=self.accelerator.process_index,
            processes=self.accelerator.num_processes,
            max_regions=self.config.max_regions,
            caption_source=self.config.caption_source,
            with_regions=self.model_config.decoder is not None,
            sampling=self.config.sampling,
        )
        return loader(stream, self.config.workers)

    def take_step(self, batch: Batch) -> dict[str, float]:
        """One step: gradients, the guard's verdict, the update."""
        config = self.config
        rate = learning_rate(self.step, config)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        seed = (config.seed * 1_000_003 + self.step) * self.accelerator.num_processes + self.accelerator.process_index
        losses = self._backward(batch, seed)
        norm = self.accelerator.clip_grad_norm_(self.wrapped.parameters(), config.clip_norm)
        numbers = self._over_processes(losses)
        total = numbers["loss"]
        verdict = self.guard.judge(total, float(norm))
        if verdict is Verdict.TAKE:
            self.optimiser.step()
            self.model.clamp_logit_scale()
        self.optimiser.zero_grad(set_to_none=True)
        if verdict is Verdict.ROLL_BACK:
            self._roll_back()
        self.step += 1
        return {
            **numbers,
            "learning_rate": rate,
            "gradient_norm": float(norm),
            "logit_scale": self.model.logit_scale.exp().item(),
            "skipped": self.guard.skipped,
        }

    def _over_processes(self, losses: Losses) -> dict[str, float]:
        """What the log says of them, over the whole batch: one reduction of five numbers."""
        shares = {
            "loss": losses.total,
            "image_caption": losses.image_caption,
            "box": losses.box,
            "region_description": losses.region_description,
            "box_iou": losses.box_iou,
        }
        whole = self.accelerator.reduce(torch.stack([share.detach().float() for share in shares.values()]), "mean")
        return dict(zip(shares, whole.tolist(), strict=True))

    def _backward(self, batch: Batch, seed: int) -> Losses:
        def loss_of(output: GrainOutput, embeds: list[Tensor], scale: Tensor) -> Losses:
            described = embeds[1] if len(embeds) > 1 else embeds[0][:0]
            return grain_losses(
                output, embeds[0], described, batch.regions, batch.description_ids, scale, self.config.losses
            )

        if self.config.pieces > 1:
            return cached_backward(
                self.wrapped,
                batch,
                loss_of,
                pieces=self.config.pieces,
                seed=seed,
                backward=self.accelerator.backward,
                no_sync=lambda: self.accelerator.no_sync(self.wrapped),
            )
        torch.manual_seed(seed)
        texts = [table for table in (batch.captions, batch.descriptions) if len(table)]
        losses = loss_of(*self.wrapped(batch.images, texts, batch.proposals))
        self.accelerator.backward(losses.total)
        return losses

    def _after_step(self) -> None:
        config, last = self.config, self.step == self.config.steps
        if self.main and not last and self._due(config.evaluate_images):
            self._evaluate()
        if last or self._due(config.checkpoint_images):
            self._save_state()
            self.accelerator.wait_for_everyone()

    def _save_state(self) -> bool:
        """Keep where it stands, by the main process; whether there is something to keep: never a bad stretch, into
        which a later one would roll back.
        """
        sound = self.guard.in_a_row == 0 and self._finite()
        if self.main and sound:
            folder, keep = self.config.out / "checkpoints", self.config.keep
            save_state(folder, self.step, self.model, self.optimiser, self.guard, keep=keep)
        return sound

    def _finite(self) -> bool:
        return all(bool(torch.isfinite(weight).all()) for weight in self.model.parameters())

    def _leave(self) -> NoReturn:
        """Asked to stop: keep what there is, and end where the same command goes on."""
        kept = "saved" if self._save_state() else "nothing to save in a bad stretch,"
        self.accelerator.print(f"asked to stop: {kept} at step {self.step} of {self.config.steps}", file=sys.stderr)
        sys.exit(STOPPED)

    def _due(self, every: int) -> bool:
        before, now = (self.step - 1) * self.config.batch_size, self.step * self.config.batch_size
        return now // every > before // every

    def _evaluate(self) -> tuple[dict[str, float], float]:
        """Grounding and retrieval on the held-out split, by the main process; the best model so far is kept.

        Returns: the numbers, and the share of the pictures whose embedding is finite.
        """
        found, finite, watched = self._held_out_metrics()
        self._log({f"held_out_{name}": value for name, value in found.items()} | watched)
        score = sum(found.values()) / len(found)
        if finite == 1 and score > self.best and self.guard.in_a_row == 0:
            self.best = score
            self._save("best", found)
        return found, finite

    def _held_out_metrics(self) -> tuple[dict[str, float], float, dict[str, float]]:
        """The numbers, the share of the pictures whose embedding is finite, and what is only watched."""
        if not self.held_out:
            shards = find_shards(self.config.data, "held_out")
            self.held_out = list(read_records(shards, limit=self.config.held_out_images))
        encoder = TorchEncoder(self.model, self.model_config, self._info(), precision="fp32")
        predictor = Predictor(encoder)
        features, records = encode_records(predictor, self.held_out, total=len(self.held_out))
        found = {name: estimate.value for name, estimate in held_out_metrics(predictor, features, records).items()}
        keep_pictures(self.config.out / WATCHED, self.step, predictor, features, records)
        self.wrapped.train()
        finite = sum(bool(np.isfinite(feature.image_embed).all()) for feature in features) / len(features)
        return found, finite, box_spread(features)

    def _finish(self) -> None:
        self._main_does(self._keep_final)
        if self.config.tracker != "none":
            self.accelerator.end_training()

    def _keep_final(self) -> None:
        metrics, finite = self._evaluate()
        if not (finite and self._finite()):  # a picture that is broken itself breaks no model
            raise ValueError(
                f"the model at step {self.step} gives numbers that are not finite, so final/ is not written: lower"
                " learning_rate and choose another --out"
            )
        self._save("final", metrics)

    def _save(self, name: str, metrics: dict[str, float]) -> None:
        dtype = torch.float16 if self.config.stored == "float16" else torch.float32
        save_pretrained(
            self.model, self.model_config, self.config.out / name, self._card(), metrics=metrics, dtype=dtype
        )

    def _resume(self) -> None:
        if self.main:
            clean_partial(self.config.out)
            clean_partial(self.config.out / "checkpoints")
        self.accelerator.wait_for_everyone()
        found = load_state(self.config.out / "checkpoints", self.model, self.optimiser.optimizer)
        if found is not None:
            self.step, self.guard, refused = found
            for sentence in refused:
                self.accelerator.print(sentence)
            self.accelerator.print(f"going on from step {self.step} of {self.config.steps}")
        if self.main:
            self.best = _trim_log(self.config.out / METRICS_LOG, self.step, finished=self.step == self.config.steps)

    def _roll_back(self) -> None:
        """Back to the last saved weights; the data go on, so that a poisoned stretch is passed over."""
        self.roll_backs += 1
        if self.roll_backs > MOST_ROLL_BACKS:
            raise ValueError(
                f"the loss broke {self.roll_backs} times, {self.config.patience} steps in a row each, the last time at"
                f" step {self.step}: look at the data around there, or lower learning_rate and choose another --out"
            )
        skipped = self.guard.skipped
        found = load_state(self.config.out / "checkpoints", self.model, self.optimiser.optimizer)
        if found is None:
            self.model.load_state_dict(initial_model(self.config)[0].state_dict())
            self.optimiser.optimizer.state.clear()
            self.guard = LossGuard(patience=self.config.patience)
        else:
            self.guard = found[1]
        self.guard.skipped, self.guard.in_a_row = skipped, 0
        self.accelerator.print(f"step {self.step}: {self.config.patience} bad steps in a row, rolled back")

    def _log(self, numbers: dict[str, float]) -> None:
        if self.main:
            row = {"step": self.step, "images": self.step * self.config.batch_size, **numbers}
            with (self.config.out / METRICS_LOG).open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        if self.config.tracker != "none":
            self.accelerator.log(numbers, step=self.step)

    def _card(self) -> Card:
        config = self.config
        seen = f"{config.images:,} images seen"
        what = "captions and described regions" if self.model_config.decoder else "captions only"
        if config.caption_source == "with_descriptions":
            what = "captions, and descriptions as extra captions"
        return Card(
            name=config.name or config.out.name,
            trained_on=f"{self.shards.trained_on}; {seen}: {what}",
            twin=config.twin,
            made_by=f"python -m grain.train {' '.join(command_flags(config))}",
        )

    def _info(self) -> CheckpointInfo:
        model, ground = self.model_config, self.model_config.decoder is not None
        return CheckpointInfo(self.config.out.name, model.kind, "", None, ground, "", 0, model.from_proposals)


def _claim_folder(config: TrainConfig, *, write: bool) -> None:
    """config.json in the run folder: written by the first command, equal to every later one's."""
    path = config.out / "config.json"
    mine: dict[str, Any] = json.loads(json.dumps(asdict(config), default=str))
    if path.is_file():
        there = json.loads(path.read_text(encoding="utf-8"))
        changed = sorted(key for key in mine if mine[key] != there.get(key) and key not in MAY_CHANGE)
        if changed:
            raise ValueError(
                f"{config.out} holds a run with another {', '.join(changed)}: choose another --out or the same settings"
            )
    elif write:
        config.out.mkdir(parents=True, exist_ok=True)
        _write_whole(path, json.dumps(mine, indent=1))


def _trim_log(path: Path, step: int, *, finished: bool) -> float:
    """Drop what a killed run logged beyond its last state; returns the best held-out score that is left.

    finished: only the last evaluation is left to do, so it is dropped too.
    """
    if not path.is_file():
        return -math.inf
    lines = path.read_text(encoding="utf-8").splitlines()
    whole = [json.loads(line) for line in lines if line.endswith("}")]  # the last line may have been cut by a kill
    rows = [row for row in whole if row["step"] <= step and ("loss" in row or row["step"] < step or not finished)]
    _write_whole(path, "".join(json.dumps(row) + "\n" for row in rows))
    held_out = [[v for k, v in row.items() if k.startswith("held_out_")] for row in rows]
    return max((sum(values) / len(values) for values in held_out if values), default=-math.inf)


def _write_whole(path: Path, text: str) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def train(config: TrainConfig) -> None:
    """Run a training to its end, from wherever its folder stands.

    Raises: ValueError, CheckpointError, OSError: one sentence that says what to do.
    """
    Trainer(config).run()


def config_from(arguments: Sequence[str], *, about: str | None = __doc__) -> TrainConfig:
    """What a command line asks for: flags over the file that --config names, over the defaults.

    Args:   about: what --help says.
    Raises: ValueError: the file cannot be used.
    """
    before = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    before.add_argument("--config", type=Path)
    named, flags = before.parse_known_args(arguments)
    file = read_fields(named.config, TrainConfig) if named.config else {}
    start = TrainConfig(**({"data": tyro.MISSING, "out": tyro.MISSING} | file))
    return tyro.cli(TrainConfig, default=start, args=flags, description=about)


def main() -> None:
    """The command line."""
    Stop.listen()
    try:
        train(config_from(sys.argv[1:]))
    except (ValueError, OSError) as error:
        sys.exit(f"grain.train: {error}")


if __name__ == "__main__":
    main()

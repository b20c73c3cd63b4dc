"""Train GRAIN or its CLIP baseline:  python -m grain.train --data DIR --out DIR.

On several devices or machines: accelerate launch -m grain.train …
Run the same command again to resume: the result is bitwise that of an uninterrupted run.
--config FILE reads the fields below from a YAML file (configs/ has some); flags beside it overrule the file.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn

import numpy as np
import torch
import tyro
from accelerate import Accelerator, PartialState
from accelerate.utils import broadcast_object_list, parse_flag_from_env
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from atomic_files import clean_leftovers
from grain.checkpoint import CheckpointInfo
from grain.command import exit_sentence
from grain.config_file import read_fields
from grain.data.augment import Augmentation
from grain.data.loader import TrainingStream, find_mixed, find_shards, loader, read_records, to_device
from grain.data.record import ShardRecord
from grain.evaluate.held_out import NO_PICTURES, encode_records, held_out_metrics
from grain.hardware import set_matmul_precision, uses_bf16
from grain.model.adapters import merged_model
from grain.model.blocks import compile_blocks, recompute_blocks
from grain.model.encode import TorchEncoder
from grain.model.model import GrainModel, ParameterGroup, parameter_groups
from grain.model.pretrained import ModelCard, save_pretrained
from grain.predict import Predictor
from grain.structures import Batch, GrainOutput
from grain.train.averaging import AveragedWeights
from grain.train.gradcache import cached_backward
from grain.train.guard import LossGuard, not_finite, stopped
from grain.train.guarded_state import GuardedState
from grain.train.losses import Losses, grain_losses
from grain.train.region_trainer import RegionTrainer
from grain.train.resume import only_trainer
from grain.train.run_folder import METRICS_LOG, claim_folder, log_row, note_hardware, trim_log
from grain.train.start import initial_model, learning_rate, starts_from_regions
from grain.train.watch import (
    STOPPED,
    WATCHED,
    ProgressReporter,
    StopSignal,
    box_spread,
    check_tracker,
    device_use,
    distinct_share,
    keep_pictures,
    memory_bytes,
)
from grain.train.zero_shot_set import ZeroShotSet
from grain.train_config import TrainConfig, mixed_folders, shared_command

DESCRIPTIONS_TOO = {
    "with_descriptions": "captions, descriptions as extra captions",
    "with_sentence": "captions, for every other one all descriptions in a sentence",
}


class Trainer:
    """One run: the loop and what it needs. Use `train`."""

    def __init__(self, config: TrainConfig) -> None:
        """Build the model, the optimiser and the data, and write or check config.json.

        Raises: ValueError: the folder holds another run, or the data cannot be used.
        """
        check_tracker(config.tracker)
        self.config = config
        state = PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU"))  # as Accelerator makes it
        self.accelerator = Accelerator(
            mixed_precision="bf16" if uses_bf16(config.precision, state.device.type) else "no",
            log_with=None if config.tracker == "none" else config.tracker,
            project_dir=str(config.out),
        )
        self.main = self.accelerator.is_main_process
        set_matmul_precision(config.precision)
        self._check_pieces()
        self.shards = find_mixed(config.data, mixed_folders(config.mix))
        self.held_out_shards = find_shards(config.data, "held_out")
        if not self.held_out_shards.images:
            raise ValueError(NO_PICTURES)
        self.model, self.model_config = initial_model(config)
        self.average = AveragedWeights(self.model, config.average) if config.average else None
        if config.compile:
            compile_blocks(self.model)
        if config.recompute:
            recompute_blocks(self.model)
        rates: dict[ParameterGroup, float] = {
            "towers": config.towers_rate,
            "decoder": config.decoder_rate,
            "heads": config.heads_rate,
        }
        groups = parameter_groups(self.model, config.weight_decay, rates)
        optimiser = torch.optim.AdamW(groups, lr=1e-6, betas=(0.9, 0.98), eps=1e-8, fused=True)
        self.wrapped, self.optimiser = self.accelerator.prepare(self.model, optimiser)
        if self.average:
            self.average.to(self.accelerator.device)
        self.state = GuardedState(
            config,
            self.model,
            self.optimiser.optimizer,
            average=self.average,
            first_weights=lambda: initial_model(config)[0].state_dict(),
            say=self.accelerator.print,
        )
        self.step = 0
        self.progress = ProgressReporter()
        self.best = -math.inf
        self.held_out: list[ShardRecord[Image.Image]] = []
        limit = config.held_out_images
        self.zero_shot = ZeroShotSet(config.zero_shot, limit=limit) if config.zero_shot else None
        claim_folder(config, write=self.main)
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
        """Train to the end, from the state of the folder.

        Raises: ValueError: another process trains there, or what came out is no model; in every process.
        """
        with ExitStack() as held:
            self._main_does(lambda: held.enter_context(only_trainer(self.config.out)))
            self._train()

    def _main_does(self, work: Callable[[], object]) -> None:
        """Run work in the main process; where it fails all processes end, so that none waits for it for ever.

        Raises: ValueError, OSError: what the work raised; in the other processes a ValueError with its message.
        """
        message = [""]
        if self.main:
            try:
                work()
            except (ValueError, OSError) as error:
                broadcast_object_list([str(error)])
                raise
        broadcast_object_list(message)
        if message[0]:
            raise ValueError(message[0])

    def _train(self) -> None:
        self._resume()
        if self.main and self.step < self.config.steps:
            processes = self.accelerator.num_processes
            note_hardware(self.config, str(self.accelerator.device), processes=processes)
        self.wrapped.train()
        began, busy = time.perf_counter(), time.process_time()
        with tqdm(
            total=self.config.images, initial=self.step * self.config.batch_size, unit="img", disable=not self.main
        ) as bar:
            for batch in self._batches():
                numbers = self.take_step(to_device(batch, self.accelerator.device))
                numbers["memory_bytes"] = memory_bytes(self.accelerator.device)
                numbers |= device_use(self.accelerator.device)
                took = time.perf_counter() - began
                numbers["images_per_second"] = self.config.batch_size / took
                numbers["cpu_cores"] = (time.process_time() - busy) / took
                began, busy = time.perf_counter(), time.process_time()
                self._log(numbers)
                bar.update(self.config.batch_size)
                bar.set_postfix({key: f"{numbers[key]:.3f}" for key in ("loss", "box_iou") if key in numbers})
                self.progress.report(bar.n, self.config.images, f"step {self.step:,} of {self.config.steps:,}")
                self._after_step()
                if StopSignal.requested and self.step < self.config.steps:
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
            regions=self.config.regions,
            caption_source=self.config.caption_source,
            hard_negatives=self.config.hard_negatives,
            with_regions=self.model_config.decoder is not None,
            sampling=self.config.sampling,
            augmentation=Augmentation(self.config.flip, self.config.smallest_crop, self.config.colors),
        )
        return loader(stream, self.config.workers, pinned=self.accelerator.device.type == "cuda")

    def take_step(self, batch: Batch) -> dict[str, float]:
        """Take one step: gradients, the guard's verdict, the update."""
        config = self.config
        rate = learning_rate(self.step, config)
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["rate"]
        seed = (config.seed * 1_000_003 + self.step) * self.accelerator.num_processes + self.accelerator.process_index
        losses = self._backward(batch, seed)
        norm = self.accelerator.clip_grad_norm_(self.wrapped.parameters(), config.clip_norm)
        numbers = self._over_processes(losses)
        self.state.take(self._update, loss=numbers["loss"], gradient_norm=float(norm), step=self.step)
        self.step += 1
        return {
            **numbers,
            "learning_rate": rate,
            "gradient_norm": float(norm),
            "logit_scale": self.model.logit_scale.exp().item(),
            "skipped": self.guard.skipped,
            "captions_distinct": distinct_share(batch.captions[: len(batch.images)]),
        }

    def _update(self) -> None:
        self.optimiser.step()
        self.model.clamp_logit_scale()

    def _over_processes(self, losses: Losses) -> dict[str, float]:
        """Average what is logged of the losses over the processes, in one reduction; the total is called loss."""
        shares = {"loss" if name == "total" else name: share for name, share in vars(losses).items()}
        means = self.accelerator.reduce(torch.stack([share.detach().float() for share in shares.values()]), "mean")
        return dict(zip(shares, means.tolist(), strict=True))

    def _backward(self, batch: Batch, seed: int) -> Losses:
        def loss_of(output: GrainOutput, embeds: list[Tensor], scale: Tensor) -> Losses:
            described = embeds[1] if len(embeds) > 1 else embeds[0][:0]
            return grain_losses(
                output,
                caption_embeds=embeds[0],
                description_embeds=described,
                targets=batch.regions,
                description_ids=batch.description_ids,
                logit_scale=scale,
                weights=self.config.losses,
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
        if self.main and not last and config.due(config.evaluate_images, self.step):
            self._evaluate()
        if last or config.due(config.checkpoint_images, self.step):
            self._save_state()
            self.accelerator.wait_for_everyone()

    def _save_state(self) -> bool:
        """Save the state in the main process; returns False in a bad stretch, into which nothing should roll back."""
        sound = self.state.is_sound
        if self.main and sound:
            self.state.save(self.step)
        return sound

    @property
    def guard(self) -> LossGuard:
        """Return what the run knows of its last losses."""
        return self.state.guard

    @property
    def kept_model(self) -> GrainModel:
        """Return the model that is evaluated and kept: the averaged one, where there is one."""
        return self.average.model if self.average else self.model

    def _leave(self) -> NoReturn:
        """Save the state and end where the same command resumes, because a stop was requested."""
        self.accelerator.print(stopped(self.step, self.config.steps, saved=self._save_state()), file=sys.stderr)
        sys.exit(STOPPED)

    def _evaluate(self) -> tuple[dict[str, float], float]:
        """Evaluate grounding and retrieval on the held-out split, in the main process, and keep the best model so far.

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
        """Return the metrics, the share of pictures with a finite embedding, and what is only watched."""
        if not self.held_out:
            self.held_out = list(read_records(self.held_out_shards, limit=self.config.held_out_images))
        encoder = TorchEncoder(self.kept_model, self.model_config, self._info(), precision="fp32")
        predictor = Predictor(encoder)
        features, records = encode_records(predictor, self.held_out, total=len(self.held_out))
        found = {name: estimate.value for name, estimate in held_out_metrics(predictor, features, records).items()}
        watched = box_spread(features)
        keep_pictures(self.config.out / WATCHED, self.step, predictor=predictor, features=features, records=records)
        if self.zero_shot:
            watched |= self.zero_shot.accuracies(predictor, encoder.class_texts)
        finite = sum(bool(np.isfinite(feature.image_embed).all()) for feature in features) / len(features)
        self.wrapped.train()
        return found, finite, watched

    def _finish(self) -> None:
        self._main_does(self._keep_final)
        if self.config.tracker != "none":
            self.accelerator.end_training()

    def _keep_final(self) -> None:
        metrics, finite = self._evaluate()
        if not (finite and self.state.is_finite):  # a picture that is broken itself breaks no model
            raise ValueError(not_finite(self.step))
        self._save("final", metrics)

    def _save(self, name: str, metrics: dict[str, float]) -> None:
        dtype = torch.float16 if self.config.stored == "float16" else torch.float32
        folder, model = self.config.out / name, self.kept_model
        if self.config.adapter_rank:
            model = merged_model(model, self.model_config)
        save_pretrained(model, self.model_config, folder, card=self._card(), metrics=metrics, dtype=dtype)

    def _resume(self) -> None:
        if self.main:
            clean_leftovers(self.config.out)
            clean_leftovers(self.config.out / "checkpoints")
        self.accelerator.wait_for_everyone()
        self.step = self.state.resume()
        if self.main:
            self.best = trim_log(self.config.out / METRICS_LOG, self.step, finished=self.step == self.config.steps)

    def _log(self, numbers: dict[str, float]) -> None:
        if self.main:
            log_row(self.config, self.step, numbers)
        if self.config.tracker != "none":
            self.accelerator.log(numbers, step=self.step)

    def _card(self) -> ModelCard:
        config = self.config
        seen = f"{min(self.step * config.batch_size, config.images):,} images seen"
        grounds = self.model_config.decoder is not None
        what = DESCRIPTIONS_TOO.get(config.caption_source, "captions" if grounds else "captions only")
        what += ", hard negatives" if config.hard_negatives else ""
        what += " and described regions" if grounds else ""
        return ModelCard(
            name=config.name or config.out.name,
            trained_on=f"{self.shards.trained_on}; {seen}: {what}",
            twin=config.twin,
            made_by=shared_command(config),
            region_rule=config.region_rule,
        )

    def _info(self) -> CheckpointInfo:
        model, ground = self.model_config, self.model_config.decoder is not None
        return CheckpointInfo(
            self.config.out.name,
            model.kind,
            "",
            None,
            ground,
            "",
            0,
            model.from_proposals,
            self.config.region_rule,
        )


def train(config: TrainConfig) -> None:
    """Train to the end, or resume a training that was interrupted.

    Raises: ValueError, CheckpointError, OSError: one sentence that says what to do.
    """
    (region_trainer(config) if starts_from_regions(config) else Trainer(config)).run()


def region_trainer(config: TrainConfig) -> RegionTrainer:
    """Return the trainer of regions alone.

    Raises: ValueError, CheckpointError: as of RegionTrainer, or there are several processes.
    """
    accelerator = Accelerator()
    if accelerator.num_processes > 1:
        raise ValueError(f"regions are trained by one process, got {accelerator.num_processes}: start one")
    return RegionTrainer(config, accelerator.device)


def config_from(arguments: Sequence[str], *, about: str | None = __doc__) -> TrainConfig:
    """Read the settings of a command line: flags over the file that --config names, over the defaults.

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
    """Run the command line."""
    StopSignal.listen()
    with exit_sentence("grain.train"):
        train(config_from(sys.argv[1:]))

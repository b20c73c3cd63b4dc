"""Go on training the regions of a `photo` checkpoint, on pictures of one's own: `grain.train --init photo` runs this.

The networks below stay as they are, so each picture is read through them once, and two cores are enough. A fine-tune is
surer of its own words everywhere, also where they are not; what that is worth is measured on the pictures held out, and
taken from the presence and the confidence of descriptions near those words (grain.photo.learned.TunedWords).
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from safetensors.numpy import save_file
from safetensors.torch import load_file

from atomic_files import clean_leftovers
from grain.checkpoint import (
    EMBEDDED,
    FAMILIAR,
    METRICS,
    TUNED,
    WEIGHTS,
    checkpoint_folder,
    locate,
    model_digest,
    read_config,
    read_info,
    verify,
)
from grain.data.loader import find_shards, read_records
from grain.data.record import ShardRecord
from grain.dense.features import write_shard, write_shards
from grain.dense.model import DenseRegions
from grain.dense.publish import write_checkpoint
from grain.dense.train import (
    BETAS,
    DenseBatch,
    Phrases,
    Picture,
    batches,
    dense_gradients,
    read_pictures,
    sentence_encoder,
)
from grain.evaluate.held_out import NO_PICTURES, encode_records, found_overlaps
from grain.familiarity import Familiarity, gist_of
from grain.hardware import set_matmul_precision, uses_bf16
from grain.photo.learned import Fusion, LearnedPhotoEncoder, TunedWords
from grain.photo.networks import PhotoNetworks
from grain.photo.photo import PhotoEncoder
from grain.photo.regions import RegionGraphs
from grain.predict import Predictor
from grain.structures import Array
from grain.train.averaging import AveragedWeights
from grain.train.guard import not_finite, stopped
from grain.train.guarded_state import GuardedState
from grain.train.resume import only_trainer
from grain.train.run_folder import METRICS_LOG, claim_folder, log_row, note_hardware, trim_log
from grain.train.start import learning_rate
from grain.train.watch import STOPPED, WATCHED, ProgressReporter, StopSignal, keep_pictures, memory_bytes
from grain.train_config import TrainConfig, check_region_settings, shared_command

FEATURES, EVALUATED = "features", "evaluated"  # folders below the run's, gone when it ends
MOST_WORDS = 20_000  # of a fine-tune, whose sureness is corrected: the most frequent
KEPT_SHARE = 0.95  # of what held-out pictures show: so much stays present, and so much sure
PROBABLE = 1e-6  # a probability nearer to 0 or 1 counts as this near


class Evaluated(NamedTuple):
    """The held-out descriptions as grounded. overlaps, presence, confidence: of each and its best region, [R]."""

    overlaps: Array
    presence: Array
    confidence: Array

    @property
    def metrics(self) -> dict[str, float]:
        """Return the share of the descriptions that are grounded right, and the mean overlap."""
        right = float((self.overlaps >= 0.5).mean())
        return {"grounding_acc50": right, "grounding_miou": float(self.overlaps.mean())}


class RegionTrainer:
    """One run: what grain.train.train.Trainer is for models of their own towers."""

    def __init__(self, config: TrainConfig, device: torch.device) -> None:
        """Read the start and the data, and write or check config.json. device: where the regions are trained.

        Raises: ValueError: a setting has no meaning here, the folder holds another run, or the data cannot be used.
                CheckpointError: a file of the start is damaged.
        """
        check_region_settings(config)
        set_matmul_precision(config.precision)
        self.config, self.device, start = config, device, locate(str(config.init))
        verify(start)
        self.known, self.start_name = read_config(start), read_info(start).name
        self.shards = find_shards(config.data, "train")
        self.held_out = list(read_records(find_shards(config.data, "held_out"), limit=config.held_out_images))
        if not any(record.texts for record in self.held_out):
            raise ValueError(NO_PICTURES)
        self.base = EMBEDDED / str(self.known["base"])
        self.name = config.name or config.out.name
        self.names, self.tuned = PhotoEncoder.load(self.base), TunedWords.load(start)
        self.familiarity = Familiarity.load(start)
        torch.manual_seed(config.seed)
        self.model = DenseRegions()
        self.model.load_state_dict(load_file(start / WEIGHTS))
        self.model.to(self.device)
        self.average = AveragedWeights(self.model, config.average) if config.average else None
        parameters = self.model.parameters()
        self.optimiser = torch.optim.AdamW(parameters, 1e-6, betas=BETAS, weight_decay=config.weight_decay)
        self.state = GuardedState(
            config,
            self.model,
            self.optimiser,
            average=self.average,
            first_weights=lambda: load_file(start / WEIGHTS),
        )
        self.step, self.best = 0, -np.inf
        self.progress = ProgressReporter()
        claim_folder(config, write=True)

    def run(self) -> None:
        """Read the pictures and train to the end, from the state of the folder.

        Raises: ValueError: another process trains there, no picture has a described box, or what came out is no model.
        """
        with only_trainer(self.config.out):
            self._resume()
            if self.step < self.config.steps:
                note_hardware(self.config, str(self.device))
            self.learn_from(self.read_pictures())
            if self.best == -np.inf:
                self._evaluate()  # the start itself, which is the best where nothing becomes better
            began, busy = time.perf_counter(), time.process_time()
            for batch in self.batches():
                numbers = self.take_step(batch)
                took, busy_now = time.perf_counter() - began, time.process_time()
                numbers["images_per_second"] = self.config.batch_size / took
                numbers["cpu_cores"] = (busy_now - busy) / took
                numbers["memory_bytes"] = memory_bytes(self.device)
                began, busy = time.perf_counter(), busy_now
                log_row(self.config, self.step, numbers)
                self._after_step()
            metrics, finite = self._evaluate()
            if not finite:
                raise ValueError(not_finite(self.step))
            self._keep("final", metrics)
        shutil.rmtree(self.config.out / FEATURES)

    def read_pictures(self) -> list[Picture]:
        """Read the pictures through the networks, but for shards that were read; return those with a described box."""
        done, total = 0, self.shards.images + self.config.images

        def report() -> None:
            nonlocal done
            done += 1
            self.progress.report(done, total, f"read {done:,} of {self.shards.images:,} pictures")
            if StopSignal.requested:
                sys.exit(STOPPED)

        folder, look, model = self.config.out / FEATURES, PhotoNetworks(self.base), model_digest(self.base)
        write_shards(self.shards, folder, look, model=model, mirrored=self.config.flip, after_each=report)
        return read_pictures([folder]) if self.shards.images else []

    def read_few(self, records: Sequence[ShardRecord[Image.Image]]) -> list[Picture]:
        """Read a few pictures through the networks; return those with a described box."""
        folder = self.config.out / FEATURES
        folder.mkdir(parents=True)
        write_shard(folder / "some.jsonl", records, PhotoNetworks(self.base), mirrored=self.config.flip)
        return read_pictures([folder])

    def learn_from(self, pictures: list[Picture]) -> None:
        """Take the pictures of all steps.

        Raises: ValueError: there is none.
        """
        if not pictures:
            raise ValueError(f"no picture of {self.config.data} has a described box: describe some, or accept some")
        self.pictures, self.words = pictures, words_of(pictures)
        self.phrases = Phrases(pictures, sentence_encoder(self.base), seed=self.config.seed)

    def batches(self) -> Iterator[DenseBatch]:
        """Give the batches of the steps that are left, an epoch after the other."""
        size, pictures = self.config.batch_size, self.pictures
        each_epoch = max(1, len(pictures) // size)
        for epoch in count(self.step // each_epoch):
            order = np.random.default_rng([self.config.seed, epoch])
            for row, batch in enumerate(batches(pictures, self.phrases, order, size=size), start=epoch * each_epoch):
                if self.step == self.config.steps:
                    return
                if row >= self.step:
                    yield batch.to(self.device)

    def take_step(self, batch: DenseBatch) -> dict[str, float]:
        """Take one step, unless it would do harm; return what is logged of it.

        Raises: ValueError: the loss broke again and again.
        """
        config, rate = self.config, learning_rate(self.step, self.config)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        torch.manual_seed(config.seed * 1_000_003 + self.step)
        losses = dense_gradients(
            self.model,
            batch,
            phrases=self.phrases,
            bf16=uses_bf16(config.precision, self.device.type),
            most_gradient=config.clip_norm,
        )
        loss, norm = losses["loss"], losses["gradient_norm"]
        self.state.take(self.optimiser.step, loss=loss, gradient_norm=norm, step=self.step)
        self.step += 1
        both_ways = losses.pop("grounding") + losses.pop("description")
        return losses | {"region_description": both_ways, "learning_rate": rate, "skipped": self.state.guard.skipped}

    def evaluate(self) -> Evaluated:
        """Ground the held-out pictures' descriptions with the present weights, and keep a few of them to be watched."""
        place = self.config.out / EVALUATED
        with checkpoint_folder(place) as folder:
            self._write(folder)
        encoder = LearnedPhotoEncoder(
            read_info(place), names=self.names, regions=RegionGraphs(place), fusion=Fusion.of(self.known)
        )
        shutil.rmtree(place)
        predictor = Predictor(encoder)
        features, records = encode_records(predictor, self.held_out, total=len(self.held_out))
        self.gists = np.stack([gist_of(feature) for feature in features])
        found = []
        for feature, record in zip(features, records, strict=True):
            if record.texts:
                ranked = predictor.rank_regions(record.image, feature, record.texts)
                best = ranked.ranking.argmax(axis=0)
                assert ranked.presence is not None and ranked.confidence is not None
                sure = np.take_along_axis(ranked.confidence, best[None], axis=0)[0]
                found.append((found_overlaps(ranked, feature, record), ranked.presence, sure))
        keep_pictures(self.config.out / WATCHED, self.step, predictor=predictor, features=features, records=records)
        return Evaluated(*(np.concatenate(column) for column in zip(*found, strict=True)))

    def _evaluate(self) -> tuple[dict[str, float], bool]:
        """Evaluate, log it and keep the best so far. Returns: the metrics, and whether all weights are finite."""
        if not self.state.is_finite:
            return {}, False
        self.found = self.evaluate()
        metrics = self.found.metrics
        log_row(self.config, self.step, {f"held_out_{name}": value for name, value in metrics.items()})
        right = f"{metrics['grounding_acc50']:.1%} of held-out descriptions are grounded"
        print(f"step {self.step:,} of {self.config.steps:,}: {right}", flush=True)
        score = sum(metrics.values()) / len(metrics)
        if score > self.best and self.state.guard.in_a_row == 0:
            self.best = score
            self._keep("best", metrics)
        return metrics, True

    def _after_step(self) -> None:
        config, last = self.config, self.step == self.config.steps
        read = self.shards.images
        message = f"step {self.step:,} of {config.steps:,}"
        self.progress.report(read + self.step * config.batch_size, read + config.images, message)
        if not last and config.due(config.evaluate_images, self.step):
            self._evaluate()
        stopping = StopSignal.requested and not last
        if last or stopping or config.due(config.checkpoint_images, self.step):
            if sound := self.state.is_sound:
                self.state.save(self.step)
            if stopping:
                print(stopped(self.step, config.steps, saved=sound), file=sys.stderr)
                sys.exit(STOPPED)

    def _resume(self) -> None:
        clean_leftovers(self.config.out)
        clean_leftovers(self.config.out / "checkpoints")
        self.step = self.state.resume()
        finished = self.step == self.config.steps
        self.best = trim_log(self.config.out / METRICS_LOG, self.step, finished=finished)

    def _keep(self, name: str, metrics: dict[str, float]) -> None:
        """Write best/ or final/ with its metrics and its own words."""
        embeds = self.names.encode_texts(self.words)
        tables = [TunedWords(embeds, *(np.full(len(embeds), doubt, np.float32) for doubt in doubts_of(self.found)))]
        tables += [self.tuned] if self.tuned else []  # of earlier fine-tunes
        joined = {
            field: np.concatenate([getattr(table, field) for table in tables]).astype(np.float16)
            for field in ("embeds", "presence", "confidence")
        }
        with checkpoint_folder(self.config.out / name) as place:
            self._write(place)
            save_file(joined, place / TUNED)
            if self.familiarity:
                self.familiarity.also(self.gists, f"pictures like those of {self.name}").save(place / FAMILIAR)
            (place / METRICS).write_text(json.dumps(metrics, indent=1), encoding="utf-8")

    def _write(self, place: Path) -> None:
        model, config = self.average.model if self.average else self.model, self.config
        seen = min(self.step * config.batch_size, config.images)
        trained_on = f"{self.start_name}, its regions tuned on {self.shards.trained_on}; {seen:,} images seen"
        kept = {key: self.known[key] for key in ("base", "fusion", "alpha", "region_rule") if key in self.known}
        facts = kept | {"name": self.name, "trained_on": trained_on}
        before = f"Its start, {self.start_name}, is {self.known['trained_on']}."
        card = f"# {self.name}\n\nIt is {trained_on}. {before}\n\n    {shared_command(config)}\n"
        weights = {name: value.detach().cpu() for name, value in model.named_parameters()}
        write_checkpoint(place, weights, facts, card=card)


def words_of(pictures: Sequence[Picture]) -> list[str]:
    """Return the descriptions of some pictures, the most frequent first, at most MOST_WORDS."""
    found = Counter(text for picture in pictures for entity in picture.entities for text in entity.phrases)
    return [text for text, _ in found.most_common(MOST_WORDS)]


def doubts_of(found: Evaluated) -> tuple[float, float]:
    """Return the logits that presence and confidence may lose while KEPT_SHARE of what is there stays above a half."""
    shares = (found.presence, found.confidence)
    least = [float(np.quantile(share.clip(PROBABLE, 1 - PROBABLE), 1 - KEPT_SHARE)) for share in shares]
    presence, confidence = (max(0.0, float(np.log(share / (1 - share)))) for share in least)
    return presence, confidence

"""Define the settings of a training as a frozen dataclass whose fields are the flags. Needs no torch, for pages."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from pathlib import Path
from typing import Literal

from grain.command import command_line
from grain.config import Queries
from grain.structures import RegionRule
from user_errors import UserError

CaptionSource = Literal["caption", "either", "with_descriptions", "with_sentence"]
Sampling = Literal["exactly_once", "resampled"]
RegionChoice = Literal["drawn", "best"]
MINIMUMS: Mapping[str, float] = {
    **dict.fromkeys(("images", "batch_size", "pieces", "checkpoint_images", "evaluate_images", "held_out_images"), 1),
    **dict.fromkeys(("keep", "patience"), 1),
    **dict.fromkeys(("learning_rate", "final_learning_rate", "warmup_images", "weight_decay", "max_regions"), 0),
    **dict.fromkeys(("losses.image_caption", "losses.box", "losses.region_description", "losses.box_scale"), 0),
    **dict.fromkeys(("seed", "workers", "average", "adapter_rank", "towers_rate", "decoder_rate", "heads_rate"), 0),
    "colors": 0,
    "smallest_crop": 0.05,
    "clip_norm": 1e-6,  # 0 would stop every step
}
"""The smallest value of each number of a TrainConfig."""
MAXIMUMS: Mapping[str, float] = {
    "seed": 2**31 - 1,  # with the step and the process in it, a seed of torch has 64 bits
    "smallest_crop": 1,
    "colors": 0.9,
    "average": 0.99999,  # 1 would keep the start for ever
}
REGION_SETTINGS = frozenset(
    (
        *("data", "out", "init", "name", "images", "batch_size", "learning_rate", "final_learning_rate", "seed"),
        *("warmup_images", "weight_decay", "clip_norm", "average", "flip", "precision", "keep", "patience"),
        *("checkpoint_images", "evaluate_images", "held_out_images"),
    )
)
"""What a training of regions alone reads of a TrainConfig (grain.train.region_trainer)."""
MOST_WEIGHT = 1000.0  # of a data folder beside another
LARGEST_INTEGER, LARGEST_FLOAT = 2**53, 1e38  # of the others: what JSON keeps exactly, what float32 holds


@dataclass(frozen=True)
class LossWeights:
    """The weight of each loss; 0 switches one off (matching still runs, so that it can be watched)."""

    image_caption: float = 1.0
    box: float = 1.0
    region_description: float = 1.0
    box_scale: float = 1.0
    """The authors' code uses 1.5."""
    symmetric: bool = True
    """False: L_rd only from region to description, as in the authors' code."""
    gathered: bool = True
    """False: the negatives of L_rd are those of this process, as in the authors' code."""


@dataclass(frozen=True)
class TrainConfig:
    """One training run. Saved as config.json in `out`; the same command resumes."""

    data: Path
    """Data folder with manifest.json and the splits train and held_out."""
    out: Path
    """Run folder: config.json, hardware.json, metrics.jsonl, checkpoints/, best/, final/."""
    mix: tuple[str, ...] = ()
    """More data folders to learn from, each FOLDER or FOLDER=WEIGHT: of weight 2, their pictures are seen twice as
    often as those of `data`. Held-out pictures are those of `data` alone."""
    preset: str = "sample"
    """vit-b-16, vit-b-32, vit-l-14, sample, sample-two-queries, sample-small, sample-wide or sample-sentences."""
    init: str | None = None
    """Start: `open_clip:ARCHITECTURE:TAG-OR-FILE` for the towers; or a checkpoint folder, or an embedded one by its
    name. Of `photo`, and of what was tuned from it, the regions alone are trained; any other's configuration replaces
    the preset's (but for a decoder that it lacks, or whose queries are of the other kind). None: from scratch."""
    clip: bool = False
    """Train the CLIP baseline: the same towers, no decoder, only L_ic."""
    queries: Queries = "learned"
    """proposals: regions start from the boxes that the data propose, and correct CLIP's own embeddings."""
    add_pooled: bool = True
    """Of a new decoder on given towers: the image embedding starts as CLIP's own, and the decoder's part, from zero, is
    added to it. False: the decoder's part alone, as in the paper, so that CLIP's own is lost at the start."""
    lock_image: bool = False
    """Freeze the image tower."""
    lock_text: bool = False
    """Freeze the text tower."""
    adapter_rank: int = 0
    """Train the towers by low-rank adapters (LoRA) of this rank, 8 or so, and nothing else of them: less memory, and
    less is forgotten. The checkpoint holds them merged. 0: none."""
    images: int = 300_000
    """Images seen in all."""
    batch_size: int = 128
    """Images a step, over all processes."""
    pieces: int = 1
    """Parts that each process's batch is cut into to save memory (GradCache); the gradient stays the whole batch's."""
    recompute: bool = False
    """Keep no activations within transformer blocks but compute them again: the same numbers in less memory."""
    compile: bool = False
    """Compile transformer blocks (torch.compile), for long runs: minutes at the start, and rounding differs."""
    learning_rate: float = 1e-3
    """Peak, reached after the warm-up."""
    final_learning_rate: float = 1e-5
    """End of the cosine."""
    warmup_images: int = 10_000
    """Images over which the rate rises from 1e-6."""
    towers_rate: float = 1.0
    """Learning rate of both towers as a share of learning_rate: less than 1 keeps more of what they know."""
    decoder_rate: float = 1.0
    """Learning rate of the decoder as a share of learning_rate."""
    heads_rate: float = 1.0
    """Learning rate of boxes' and regions' heads and of the logit scale, as a share of learning_rate."""
    weight_decay: float = 0.1
    """On matrices only."""
    clip_norm: float = 1.0
    """Largest gradient norm."""
    average: float = 0.0
    """Decay of a moving average of the weights (EMA), as 0.999, which is evaluated and kept as best/ and final/. It
    is lower in the first steps. 0: none."""
    losses: LossWeights = field(default_factory=LossWeights)
    caption_source: CaptionSource = "caption"
    """caption: the picture's own; of several one is drawn each epoch.
    either: the picture's caption or the one that a describer wrote, drawn evenly where it has both (the paper's).
    with_descriptions: the caption or one of the descriptions, drawn evenly (the stronger CLIP twin).
    with_sentence: the caption or all descriptions in one sentence, drawn evenly."""
    hard_negatives: bool = False
    """Also tell each picture from all its descriptions in one sentence with one thing exchanged: two colours, or a
    description for another picture's that is much alike. Needs caption_source with_sentence, which says true ones."""
    max_regions: int = 5
    """Regions an image."""
    regions: RegionChoice = "drawn"
    """Of an image that has more: drawn, others each epoch; or best, always those of the best scores."""
    flip: bool = False
    """Mirror half of the pictures, others each epoch: boxes move along, left and right are exchanged in the words."""
    smallest_crop: float = 1.0
    """Cut each picture at random to a window of at least this share of its area; regions of which less than half is
    left are left out. 1: whole pictures."""
    colors: float = 0.0
    """Change brightness, contrast and saturation by up to this share, and the hue a little, of pictures whose words
    name no colour. 0: not."""
    sampling: Sampling = "exactly_once"
    """exactly_once: every image once an epoch, but for a rest of less than a batch. resampled: with replacement."""
    precision: Literal["auto", "bf16", "tf32", "no"] = "auto"
    """Mixed precision; auto is bf16 where the device multiplies it faster, and no elsewhere. `no` is float32; tf32
    too, but NVIDIA's cards multiply in TF32, with 10 bits of each number."""
    seed: int = 0
    checkpoint_images: int = 25_600
    """Images between two saved states."""
    evaluate_images: int = 51_200
    """Images between two evaluations on the held-out split."""
    held_out_images: int = 500
    """Pictures of the held-out split to evaluate on."""
    zero_shot: str | None = None
    """Also classify at each evaluation, by names and descriptions: a data folder (PATH#SPLIT for another split than
    novel) or an ImageFolder. As many pictures as held_out_images."""
    keep: int = 2
    """Saved states kept."""
    stored: Literal["float32", "float16"] = "float32"
    """How best/ and final/ store their weights; saved states are always float32."""
    workers: int = 0
    """Loader processes."""
    patience: int = 5
    """Bad steps (NaN, Inf, spike) in a row before a roll-back."""
    tracker: Literal["none", "tensorboard", "trackio", "wandb", "mlflow"] = "none"
    """Also send the numbers to a tracker, through accelerate, where it is installed; wandb sends them to its makers."""
    name: str = ""
    """Name of the checkpoint; by default the out folder's."""
    twin: str | None = None
    """Name of the CLIP twin's checkpoint, for its card."""
    region_rule: RegionRule = "phrases"
    """How the checkpoint's regions score a class: best_region, best_description (the authors' code), or phrases, which
    splits sentences and is else best_region."""

    @property
    def steps(self) -> int:
        """Count the steps in all."""
        return self.images // self.batch_size

    @property
    def evaluations(self) -> int:
        """Count the evaluations in all: one whenever so many images are seen, and one at the end."""
        before = self.steps - 1
        return min(before, before * self.batch_size // self.evaluate_images) + 1

    def due(self, every: int, step: int) -> bool:
        """Return whether another `every` images are complete after a step."""
        before, now = (step - 1) * self.batch_size, step * self.batch_size
        return now // every > before // every

    def __post_init__(self) -> None:
        """Refuse what cannot run.

        Raises: ValueError: a number is not finite, too small or too large; one sentence that names it.
        """
        for name, least in MINIMUMS.items():
            _check_number(name, attrgetter(name)(self), least)
        mixed_folders(self.mix)
        if self.pieces > self.batch_size:
            raise ValueError(f"pieces ({self.pieces}) must be at most the images of a batch ({self.batch_size})")
        if self.hard_negatives and self.caption_source != "with_sentence":
            raise ValueError(
                "expected caption_source with_sentence for hard_negatives, got"
                f" {self.caption_source}: without true sentences every sentence would be learned as a wrong one"
            )
        if self.steps < 1:
            raise ValueError(f"images ({self.images}) must be at least one batch ({self.batch_size})")


def check_region_settings(config: TrainConfig) -> None:
    """Check that settings that have no meaning for regions alone are at their defaults.

    Raises: UserError: some are not; one sentence that names them.
    """
    usual = TrainConfig(config.data, config.out)
    unused = [name for name in vars(usual) if name not in REGION_SETTINGS]
    if given := [name for name in unused if getattr(config, name) != getattr(usual, name)]:
        raise UserError(
            f"expected settings for regions alone, got {', '.join(given)}: {config.init} has no other part that can be"
            " trained, so leave these out"
        )


def mixed_folders(mix: Sequence[str]) -> list[tuple[Path, float]]:
    """Return the folders of `mix` with their weights.

    Raises: ValueError: an entry is no folder with a weight above 0.
    """
    found = []
    for entry in mix:
        folder, equals, text = entry.rpartition("=")
        try:
            weight = float(text) if equals else 1.0
        except ValueError:
            weight = math.nan
        folder = folder if equals else text
        if not folder or not 0 < weight <= MOST_WEIGHT:  # nan neither
            raise ValueError(
                f"expected mix to name FOLDER or FOLDER=WEIGHT with a weight above 0, at most {MOST_WEIGHT:,g}, got"
                f" {entry!r}: correct it"
            )
        found.append((Path(folder), weight))
    return found


def _check_number(name: str, value: float, least: float) -> None:
    most = MAXIMUMS.get(name, LARGEST_INTEGER if isinstance(value, int) else LARGEST_FLOAT)
    if not least <= value <= most:  # nan neither
        range_text = f"at most {most:,}" if value > most else f"a finite number, {least:g} or more"
        raise ValueError(f"expected {name} to be {range_text}, got {value}: correct it")


def shared_command(config: TrainConfig) -> str:
    """Return the command of a training for its card: folders by their last name only, no path of a machine."""
    mix = tuple(f"{folder.name}={weight:g}" for folder, weight in mixed_folders(config.mix))
    zero_shot = config.zero_shot and Path(config.zero_shot).name
    init = config.init and (config.init if config.init.startswith("open_clip:") else Path(config.init).name)
    data, out = Path(config.data.name), Path(config.out.name)
    named = replace(config, data=data, out=out, init=init, mix=mix, zero_shot=zero_shot)
    return shlex.join(["python", *command_line(named, "grain.train")])

"""Write checkpoint folders whole or not at all, and verify them before they are used. Needs no torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike

from atomic_files import atomic_folder
from grain.structures import REGION_RULES, SCHEMA_VERSION, RegionRule
from user_errors import UserError

CONFIG, WEIGHTS, METRICS = "config.json", "model.safetensors", "metrics.json"
MANIFEST, CARD = "manifest.json", "README.md"
FAMILIAR = "familiar.safetensors"  # what a checkpoint has seen, see grain.familiarity
TUNED = "tuned.safetensors"  # the words of a fine-tune, see grain.photo.learned.TunedWords
UNFAMILIAR = (  # on a card
    f"It has no `{FAMILIAR}`: it cannot tell pictures that are far from what it has seen; `grain.fit_familiarity` "
    "adds one."
)
TOKENIZER = "tokenizer.json"  # of its own, where it has one
ONNX, IMAGE_GRAPH, TEXT_GRAPH = "onnx", "image.onnx", "text.onnx"  # a checkpoint without torch has graphs as weights
MOST_JSON_BYTES = 2**20
PICKLES = {".pt", ".pth", ".bin", ".ckpt", ".pkl"}
WHOLE_MODELS = ("hf-hub:", "local-dir:")  # begin open_clip's names of models that it fetches, or reads from a folder
EMBEDDED = Path(__file__).parent / "checkpoints"
GROUNDING_KINDS = ("grain", "photo", "owlv2", "owlvit")  # the others find no regions
DEFAULT_ALPHA = 0.5  # of a checkpoint that names none and has regions
SCORING = ("region_rule", "alpha", "recognition_note")  # of a configuration: they decide no embedding
COSINE_KINDS = ("grain", "clip")  # they rank regions by their cosines alone


class CheckpointError(UserError):
    """A checkpoint cannot be used; the message is one sentence that says why and what to do."""


@dataclass(frozen=True)
class CheckpointInfo:
    """Facts of a checkpoint for a person. twin: name of the CLIP trained on the same data for the same steps.

    from_proposals: whether its regions start from boxes that must come with each picture. region_rule: how its regions
    score a class, see grain.zero_shot.region_scores. alpha: share of the whole picture in a class's score, the rest is
    its regions'. recognition_note: what descriptions of classes were measured to do for it, a sentence. runtime: torch,
    or onnx. learned_regions: of kind photo, whether its regions were trained, and can be on further pictures.
    """

    name: str
    kind: str
    trained_on: str
    twin: str | None
    can_ground: bool
    grounding_note: str
    parameters: int
    from_proposals: bool = False
    region_rule: RegionRule = "best_region"
    alpha: float = DEFAULT_ALPHA
    recognition_note: str = ""
    runtime: str = "torch"
    learned_regions: bool = False

    @property
    def trainable(self) -> bool:
        """Return whether a training can start from it."""
        return self.learned_regions or (self.kind in COSINE_KINDS and self.runtime != ONNX)

    @property
    def origin(self) -> str:
        """Describe where it comes from, as the end of a sentence that begins with its name."""
        return f"is {self.trained_on}" if self.kind == "photo" else f"was trained on {self.trained_on}"

    def refuse_proposals(self, proposals: Sequence[ArrayLike] | None) -> None:
        """Refuse boxes for a checkpoint that finds its own.

        Raises: ValueError: there are some.
        """
        if proposals is not None:
            raise ValueError(f"the {self.name} checkpoint proposes its own regions: leave the proposals out")

    def to_json(self) -> dict[str, Any]:
        """Return what accompanies every answer of the checkpoint."""
        return {
            "name": self.name,
            "trained_on": self.trained_on,
            "can_ground": self.can_ground,
            "grounding_note": self.grounding_note,
            "region_rule": self.region_rule,
            "alpha": self.alpha,
            "recognition_note": self.recognition_note,
        }


def locate(folder: str | Path) -> Path:
    """Return a checkpoint folder as given, or the embedded one of that name (`photo`, `sample`, …)."""
    path = Path(folder)
    return EMBEDDED / path if not path.exists() and (EMBEDDED / path).is_dir() else path


def read_config(folder: Path) -> dict[str, Any]:
    """Read config.json of a checkpoint folder and check its schema.

    Raises: CheckpointError.
    """
    if not folder.is_dir():
        if folder.suffix in PICKLES:
            raise CheckpointError(f"{folder.name} is a pickle, which can run code: expected a folder with {WEIGHTS}")
        raise CheckpointError(f"{folder.name} is no checkpoint folder: expected a folder with {CONFIG} and {WEIGHTS}")
    if not (folder / WEIGHTS).is_file() and not (folder / IMAGE_GRAPH).is_file():
        pickles = [path.name for path in folder.iterdir() if path.suffix in PICKLES]
        got = f"got the pickle {pickles[0]}, which can run code" if pickles else "it is missing"
        raise CheckpointError(f"{folder.name}: expected {WEIGHTS}, {got}: save the weights as safetensors")
    try:
        config: dict[str, Any] = _read_json(folder / CONFIG)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder.name}: {CONFIG} cannot be read: copy the checkpoint again") from error
    if not isinstance(config, dict) or config.get("schema_version") != SCHEMA_VERSION:
        raise CheckpointError(f"{folder.name}: {CONFIG} is not of schema {SCHEMA_VERSION}: save it with this version")
    return config


def read_info(folder: Path) -> CheckpointInfo:
    """Read what config.json says of a checkpoint, without loading weights.

    Raises: CheckpointError.
    """
    config = read_config(folder)
    can_ground = config.get("kind") in GROUNDING_KINDS
    twin, parameters = config.get("twin"), config.get("parameters", 0)
    model = config.get("model")
    decoder = model.get("decoder") if isinstance(model, dict) else None
    if not isinstance(twin, str | None) or not isinstance(parameters, int):
        raise CheckpointError(f"{folder.name}: {CONFIG} has a twin or parameters of another kind: save it again")
    region_rule = config.get("region_rule", "best_region")  # checkpoints older than the choice have none
    if region_rule not in list(REGION_RULES):  # a list: what is there may be of any type
        raise CheckpointError(
            f"{folder.name}: {CONFIG} has the region rule {region_rule!r}: choose one of {', '.join(REGION_RULES)}"
        )
    return CheckpointInfo(
        name=str(config.get("name", folder.name)),
        kind=str(config.get("kind")),
        trained_on=str(config.get("trained_on", "unknown data")),
        twin=twin,
        can_ground=can_ground,
        grounding_note="" if can_ground else "this checkpoint has no trained decoder",
        parameters=parameters,
        from_proposals=isinstance(decoder, dict) and decoder.get("queries") == "proposals",
        region_rule=region_rule,
        alpha=_alpha(folder, config, can_ground=can_ground),
        recognition_note=str(config.get("recognition_note", "")),
        runtime=ONNX if config.get("runtime") == ONNX else "torch",
        learned_regions=config.get("kind") == "photo" and "base" in config,
    )


def _alpha(folder: Path, config: dict[str, Any], *, can_ground: bool) -> float:
    """Return the configured share of the whole picture in a class's score.

    Raises: CheckpointError: it is no share.
    """
    alpha = config.get("alpha", DEFAULT_ALPHA if can_ground else 1.0)
    if not isinstance(alpha, int | float) or not 0 <= alpha <= 1:
        raise CheckpointError(f"{folder.name}: {CONFIG} has the alpha {alpha!r}: expected a number from 0 to 1")
    return float(alpha)


def verify(folder: Path) -> None:
    """Compare every file with the sha256 in the folder's manifest.

    Raises: CheckpointError: no manifest, or it does not name the weights; a file is missing, truncated or changed.
    """
    expected = _digests(folder)
    for name in (WEIGHTS, CONFIG, IMAGE_GRAPH, TEXT_GRAPH):
        if name not in expected and (folder / name).exists():
            raise CheckpointError(f"{folder.name}: {MANIFEST} does not name {name}: copy the checkpoint again")
    for name, digest in expected.items():
        path = folder / name
        if not path.is_file() or file_sha256(path) != digest:
            raise CheckpointError(f"{folder.name}: {name} does not match its sha256 in {MANIFEST}: copy it again")


def file_sha256(path: Path) -> str:
    """Return a file's hex digest, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def checkpoint_folder(target: Path) -> Iterator[Path]:
    """Yield a temporary folder that takes a checkpoint's place on leaving, with the sha256 of every file in it.

    Raises: DiskFullError, WriteError: as atomic_files.atomic_folder.
    """
    with atomic_folder(target) as place:
        yield place
        digests = {path.name: file_sha256(path) for path in sorted(place.iterdir())}
        (place / MANIFEST).write_text(json.dumps({"sha256": digests}, indent=1), encoding="utf-8")


def model_digest(folder: Path) -> str:
    """Return the hex digest of what decides a checkpoint's embeddings, whatever its name.

    Weights, configuration, and its tokenizer where it has one of its own.

    Raises: CheckpointError: no manifest, or no configuration.
    """
    names = ("name", "trained_on", "twin", *SCORING)
    config = {key: value for key, value in read_config(folder).items() if key not in names}
    digests, others = _digests(folder), (".json", ".md", FAMILIAR)
    weights = {name: digests[name] for name in digests if name == TOKENIZER or not name.endswith(others)}
    return hashlib.sha256(json.dumps([weights, config], sort_keys=True).encode()).hexdigest()


def _digests(folder: Path) -> dict[str, str]:
    try:
        return dict(_read_json(folder / MANIFEST)["sha256"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder.name}: {MANIFEST} is missing or damaged: copy the checkpoint again") from error


def _read_json(path: Path) -> Any:
    """Read a small JSON file.

    Raises: OSError, ValueError: it is no plain file, too long, or no JSON.
    """
    if not path.is_file() or path.stat().st_size > MOST_JSON_BYTES:  # a pipe would never end
        raise ValueError(f"expected a plain file of at most {MOST_JSON_BYTES:,} bytes")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError("expected JSON, got brackets without end") from error

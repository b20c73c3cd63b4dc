"""Provide Predictor, the one way to inference. Torch is imported only for a checkpoint that needs it.

`python -m grain.predict IMAGE --description "a red lid" --class-text "zorbex: a red lid; a star"` prints a JSON object.
"""

from __future__ import annotations

import io
import json
import math
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, get_args

import numpy as np
import tyro
from numpy.typing import ArrayLike
from PIL import Image

from atomic_files import write_atomically
from grain.checkpoint import ONNX, CheckpointInfo, locate, read_info
from grain.command import run_command
from grain.config import ClassTexts
from grain.detections import PicturePrediction, draw_regions, to_coco
from grain.familiarity import Familiarity
from grain.hub.owl import OWL_FAMILIES
from grain.preprocess import PictureLike, cut_out, upright_rgb
from grain.structures import (
    MIN_CONFIDENCE,
    Array,
    ImageFeatures,
    Instances,
    Prediction,
    Region,
    RegionRanking,
    RegionRule,
)
from grain.texts import one_line
from grain.zero_shot import (
    ClassBank,
    Classes,
    answer_reasons,
    build_class_bank,
    check_alpha,
    class_prompts,
    found_regions,
    global_scores,
    mix,
    parse_classes,
    region_scores,
    region_texts,
    score_classes,
    shown_rows,
)
from picture_formats import SUFFIXES
from user_errors import UserError, WriteError

MAX_REMEMBERED = 20_000  # text embeddings
STOPPED = "stopped: what is printed and drawn stays, --coco is not written; the same command starts over"


class Encoder(Protocol):
    """The model of a Predictor: a torch checkpoint, or anything else that embeds pictures and texts."""

    info: CheckpointInfo

    @property
    def precision(self) -> str:
        """Return `fp32` or `bf16`: what it computes in, whatever was configured."""

    @property
    def class_texts(self) -> ClassTexts:
        """Return the templates of class texts."""

    @property
    def logit_scale(self) -> float:
        """Return what cosines are multiplied by before a softmax."""

    def encode_images(
        self, images: Sequence[Image.Image], proposals: Sequence[ArrayLike] | None = None
    ) -> list[ImageFeatures]:
        """Encode upright RGB pictures, with each one's proposals [P, 4] where the model needs them."""

    def encode_texts(self, texts: Sequence[str]) -> Array:
        """Embed texts, [T, E] unit length."""

    def rank_regions(
        self, image: Image.Image, features: ImageFeatures, *, descriptions: Sequence[str], embeds: Array
    ) -> RegionRanking:
        """Rank the regions for each description (embeds [D, E]), and estimate whether it is there."""


def load_encoder(folder: Path, *, precision: str = "auto") -> Encoder:
    """Load the encoder of a checkpoint folder.

    Raises: CheckpointError: it cannot be used; one sentence says why.
    """
    info = read_info(folder)
    if info.kind == "photo":
        from grain.photo.learned import load_photo  # here, so that `import grain` stays quick

        return load_photo(folder)
    if info.kind in OWL_FAMILIES:
        from grain.hub.owl_encoder import OwlEncoder

        return OwlEncoder.load(folder, precision=precision)
    if info.runtime == ONNX:
        from grain.portable.encoder import OnnxEncoder

        return OnnxEncoder(folder)
    from grain.model.encode import TorchEncoder  # here for the same reason: torch takes seconds

    return TorchEncoder.load(folder, precision=precision)


class Predictor:
    """Ground descriptions and recognise classes on pictures.

    image, wherever it is asked for: a path, a PIL picture of any mode or an array, see
    `grain.preprocess.upright_rgb`. Its EXIF orientation counts: boxes are those of the picture as a person sees it.
    proposals, wherever they can be given: boxes [P, 4] of any detector, xyxy normalized to the picture. A checkpoint
    whose `info.from_proposals` is true needs them, and its regions keep their order; every other one refuses them.
    """

    def __init__(self, encoder: Encoder, familiarity: Familiarity | None = None) -> None:
        """Take an encoder, see Encoder, and what it has seen, where that is known."""
        self._encoder, self._familiarity = encoder, familiarity
        self._texts: dict[str, Array] = {}

    @classmethod
    def from_pretrained(cls, folder: str | Path, *, precision: str = "auto") -> Predictor:
        """Load a checkpoint folder, or an embedded one by its name (`sample`, `sample-clip`).

        Args:   precision: `auto`, `fp32` or `bf16`.
        Raises: CheckpointError: it cannot be used; one sentence says why.
        """
        place = locate(folder)
        return cls(load_encoder(place, precision=precision), Familiarity.load(place))

    @property
    def info(self) -> CheckpointInfo:
        """Return what the checkpoint is and what it was trained on."""
        return self._encoder.info

    def features(self, image: PictureLike, proposals: ArrayLike | None = None) -> ImageFeatures:
        """Encode a picture to its embeddings and boxes.

        Raises: OSError: the file cannot be read. ValueError: it is no picture, or proposals are missing, not boxes, or
                not taken by this checkpoint.
        """
        return self.batch_features([image], None if proposals is None else [proposals])[0]

    def batch_features(
        self, images: Sequence[PictureLike], proposals: Sequence[ArrayLike] | None = None
    ) -> list[ImageFeatures]:
        """Encode several pictures in one pass."""
        return self._encoder.encode_images([upright_rgb(image) for image in images], proposals)

    def novelty(self, features: ImageFeatures) -> float | None:
        """Return how far a picture is from what the checkpoint has seen, above 1 far; None where nothing tells."""
        return None if self._familiarity is None else self._familiarity.novelty(features)

    def embed_texts(self, texts: Sequence[str]) -> Array:
        """Embed texts, [T, E] unit length; a text embedded before is not encoded again."""
        known = {text: self._texts[text] for text in texts if text in self._texts}
        new = [text for text in dict.fromkeys(texts) if text not in known]
        if new:
            fresh = dict(zip(new, self._encoder.encode_texts(new), strict=True))
            if len(self._texts) + len(fresh) > MAX_REMEMBERED:
                self._texts = {}
            self._texts.update(fresh)
            known |= fresh
        if not texts:
            return self._encoder.encode_texts([])
        return np.stack([known[text] for text in texts])

    def rank_regions(self, image: PictureLike, features: ImageFeatures, texts: Sequence[str]) -> RegionRanking:
        """Rank the regions of an encoded picture for each text, as `ground` does."""
        embeds = self.embed_texts(texts)
        return self._encoder.rank_regions(upright_rgb(image), features, descriptions=texts, embeds=embeds)

    def class_texts(self, classes: Classes) -> list[str]:
        """Return the texts that scoring these classes embeds, each once; embedded beforehand, they cost nothing."""
        prompts = (class_prompts(name, rows, self._encoder.class_texts) for name, rows in classes.items())
        written = [text for groups in prompts for group in groups for text in group]
        bare = [text for rows in classes.values() for text in rows]
        phrases = [text for name, rows in classes.items() for text in region_texts(name, rows, self.info.region_rule)]
        return list(dict.fromkeys([*written, *bare, *phrases]))

    def crop_scores(
        self, image: PictureLike, boxes_xyxy: Sequence[tuple[float, float, float, float]], texts: Sequence[str]
    ) -> Array:
        """Return the cosine of each box, cropped and embedded as a picture of its own, with its text, [N].

        It serves any box, drawn by a person as well: the regions that a checkpoint finds by itself are its own.

        Args: boxes_xyxy, texts: N each; boxes normalized to the picture.
        """
        distinct = list(dict.fromkeys(boxes_xyxy))
        embeds = dict(zip(distinct, self.crop_embeds(image, distinct), strict=True)) if distinct else {}
        pairs = zip(boxes_xyxy, self.embed_texts(texts), strict=True)
        return np.array([embeds[box] @ text for box, text in pairs], np.float32)

    def crop_embeds(self, image: PictureLike, boxes_xyxy: Sequence[tuple[float, float, float, float]]) -> Array:
        """Crop each of N ≥ 1 boxes and embed it as a picture of its own, [N, E] unit length."""
        upright = upright_rgb(image)
        crops = [cut_out(upright, box) for box in boxes_xyxy]
        return np.stack([each.image_embed for each in self.batch_features(crops)])

    def ground(
        self,
        image: PictureLike,
        descriptions: Iterable[str],
        threshold: float = 0.0,
        *,
        min_confidence: float = MIN_CONFIDENCE,
        instances: Instances = "best",
        proposals: ArrayLike | None = None,
    ) -> list[Region]:
        """Find the regions of each description that reach both thresholds, in the descriptions' order.

        Args: threshold: cosine in [-1, 1]. min_confidence: probability that the description means a region, for a
              checkpoint that tells it. instances: the best region of each description, or all that it means, the
              surest first; a checkpoint without such probabilities gives the best.
        """
        asked = self.predict(
            image,
            descriptions,
            {},
            threshold=threshold,
            min_confidence=min_confidence,
            instances=instances,
            proposals=proposals,
        )
        return list(asked.regions)

    def classify(
        self,
        image: PictureLike,
        classes: Classes,
        *,
        alpha: float | None = None,
        region_rule: RegionRule | None = None,
        proposals: ArrayLike | None = None,
    ) -> dict[str, float]:
        """Score the classes of a picture by cosine, best first.

        Args:   classes: name -> descriptions (may be empty). alpha: 1 image embedding only, 0 regions only; None:
                the checkpoint's own.
                region_rule: how regions score a class, see grain.zero_shot.region_scores; None: the checkpoint's own.
        Raises: ValueError: no classes, alpha outside [0, 1], or no such rule.
        """
        if not classes:
            raise ValueError("no classes: give at least one as {name: [description, …]}")
        prediction = self.predict(image, [], classes, alpha=alpha, region_rule=region_rule, proposals=proposals)
        return {row.name: row.score for row in prediction.classes}

    def classify_features(
        self,
        features: Sequence[ImageFeatures],
        classes: Classes,
        *,
        alpha: float | None = None,
        region_rule: RegionRule | None = None,
    ) -> Array:
        """Score pictures that are encoded already, [N, C] cosines in the order of the classes; see classify."""
        bank, share = self._bank(_classes(classes), region_rule), self._share(alpha)
        if not features:
            raise ValueError("expected the features of at least one picture, got none")
        image_scores = global_scores(np.stack([each.image_embed for each in features]), bank)
        parts = np.concatenate([region_scores(each.region_embeds[None], bank) for each in features])
        return mix(image_scores, parts, share)

    def _share(self, alpha: float | None) -> float:
        return check_alpha(self.info.alpha if alpha is None else alpha)

    def _bank(self, classes: Classes, region_rule: RegionRule | None) -> ClassBank:
        rule = region_rule or self.info.region_rule
        return build_class_bank(classes, self._encoder.class_texts, self.embed_texts, region_rule=rule)

    def predict(
        self,
        image: PictureLike,
        descriptions: Iterable[str],
        classes: Classes,
        *,
        threshold: float = 0.0,
        min_confidence: float = MIN_CONFIDENCE,
        instances: Instances = "best",
        alpha: float | None = None,
        region_rule: RegionRule | None = None,
        proposals: ArrayLike | None = None,
    ) -> Prediction:
        """Compute everything at once: boxes, matches, regions, class scores, timing.

        Args:   descriptions, classes: may be empty. threshold, min_confidence, instances: see ground. alpha,
                region_rule: see classify.
        Raises: ValueError: see classify and features, one text where a list of texts is expected, or a threshold that
                is no number.
        """
        descriptions, classes, share = _texts(descriptions), _classes(classes), self._share(alpha)
        _check_thresholds(threshold=threshold, min_confidence=min_confidence, instances=instances)
        timing: dict[str, float] = {}
        with _timed(timing, "image"):
            image = upright_rgb(image)
            features = self.features(image, proposals)
        with _timed(timing, "texts"):
            embeds = self.embed_texts(descriptions)
            ranked = self._encoder.rank_regions(image, features, descriptions=descriptions, embeds=embeds)
            bank = self._bank(classes, region_rule) if classes else None
        with _timed(timing, "scores"):
            regions = found_regions(
                features.boxes_xyxy,
                features.region_embeds @ embeds.T,
                ranked,
                descriptions=descriptions,
                min_confidence=min_confidence,
                instances=instances,
            )
            reasons = answer_reasons(ranked, regions, descriptions=descriptions, min_confidence=min_confidence)
            rows = shown_rows(features, ranked, bank, found=[region.index for region in regions])
            scale = self._encoder.logit_scale
            scored = score_classes(features, bank, rows=rows, alpha=share, scale=scale) if bank else ()
            features, ranked = features.take(rows), ranked.take(rows)
            regions = tuple(replace(each, index=int(np.searchsorted(rows, each.index))) for each in regions)
            matches = features.region_embeds @ embeds.T  # [Q, D]
        return Prediction(
            *image.size,
            features.boxes_xyxy,
            tuple(descriptions),
            matches,
            best=tuple(ranked.ranking.argmax(axis=0).tolist()) if matches.size else (),
            presence=None if ranked.presence is None else tuple(ranked.presence.tolist()),
            regions=regions,
            classes=scored,
            timing_ms=timing,
            confidence=ranked.confidence,
            reasons=reasons,
            novelty=self.novelty(features),
        ).above(threshold=threshold)


def _texts(texts: Iterable[str]) -> list[str]:
    """Return texts as a list, however they were gathered."""
    expected = "descriptions must be a list of texts, got"
    if isinstance(texts, str) or not isinstance(texts, Iterable):
        kind = "a single text" if isinstance(texts, str) else type(texts).__name__
        raise ValueError(f"{expected} {kind}: write [text]")
    found = list(texts)
    wrong = next((type(text).__name__ for text in found if not isinstance(text, str)), None)
    if wrong:
        raise ValueError(f"{expected} {wrong} among them: write [text]")
    return found


def _classes(classes: Classes) -> dict[str, list[str]]:
    if not isinstance(classes, Mapping):
        kind = type(classes).__name__
        raise ValueError(f"classes must be {{name: [description, …]}}, got {kind}: write {{name: []}} for a bare name")
    return {name: _texts(rows) for name, rows in classes.items()}


def _check_thresholds(*, threshold: float, min_confidence: float, instances: Instances) -> None:
    for name, value in (("threshold", threshold), ("min_confidence", min_confidence)):
        if math.isnan(value):
            raise ValueError(f"{name} must be a number, got {value}: correct it")
    if instances not in get_args(Instances):
        raise ValueError(f"instances must be best or all, got {instances!r}: correct it")


@contextmanager
def _timed(timing: dict[str, float], name: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    timing[name] = 1000 * (time.perf_counter() - start)


@dataclass(frozen=True)
class PredictConfig:
    """Ground descriptions and classify a picture, or those of a folder; prints one JSON object a picture."""

    image: tyro.conf.Positional[Path]
    """A picture file, or a folder of them."""
    description: tuple[str, ...] = ()
    """Descriptions to find."""
    class_text: tuple[str, ...] = ()
    """Classes, each `name: description; description`."""
    checkpoint: str = "photo"
    """A checkpoint folder, or an embedded one by name."""
    threshold: float = 0.0
    """Least cosine of a region."""
    min_confidence: float = MIN_CONFIDENCE
    """Least probability of a region, where the checkpoint tells one."""
    instances: Instances = "best"
    """The best region of each description, or all of its regions."""
    alpha: float | None = None
    """1: image embedding only; 0: regions only; None: as the checkpoint says."""
    region_rule: RegionRule | None = None
    """How regions score a class; None: as the checkpoint says."""
    proposals: tuple[tuple[float, float, float, float], ...] = ()
    """Boxes x0 y0 x1 y1 x0 y0 …, normalized to the picture, for a checkpoint whose regions start from them."""
    png: Path | None = None
    """Write the picture with its regions drawn in; of a folder, a folder of such."""
    coco: Path | None = None
    """Write the regions as COCO JSON, in pixels of the upright picture."""


def main(config: PredictConfig) -> None:
    """Run the command line. A file of a folder that is no picture is left out with a sentence."""
    descriptions = list(dict.fromkeys(map(one_line, config.description)))
    classes = parse_classes("\n".join(config.class_text))
    if not descriptions and not classes:
        raise UserError("there is nothing to look for: give --description or --class-text")
    files = _picture_files(config.image)
    _check_targets(config)
    predictor = Predictor.from_pretrained(config.checkpoint)
    results: list[PicturePrediction] = []
    for path in files:
        try:
            image = upright_rgb(path)
        except (OSError, ValueError) as error:
            if path == config.image:
                raise
            print(f"left out: {error}", file=sys.stderr)
            continue
        prediction = _predict(predictor, image, config, descriptions=descriptions, classes=classes)
        answer = {**prediction.to_json(), "checkpoint": predictor.info.to_json()}
        print(json.dumps(answer, indent=1) if path == config.image else json.dumps({"file": path.name, **answer}))
        results.append(PicturePrediction(path.name, prediction))
        if config.png:
            target = config.png if path == config.image else config.png / f"{path.name}.png"
            _write_png(target, draw_regions(image, prediction), source=path)
    if not results:
        raise UserError(f"none of the {len(files)} pictures of {config.image} could be read: nothing is written")
    if config.coco:
        write_atomically(config.coco, json.dumps(to_coco(results)))


def _picture_files(place: Path) -> list[Path]:
    if place.exists() and not place.is_dir():
        return [place]
    files = sorted(path for path in place.glob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not files:
        wrong = f"has no pictures ({', '.join(SUFFIXES)})" if place.exists() else "is not there"
        raise UserError(f"{place} {wrong}: name a picture, or another folder")
    return files


def _check_targets(config: PredictConfig) -> None:
    """Find out whether what the run writes at its end can be written, before it reads a picture.

    Raises: UserError: it cannot.
    """
    for flag, target in (("--png", config.png), ("--coco", config.coco)):
        if target is None:
            continue
        many = flag == "--png" and config.image.is_dir()
        if target.exists() and target.is_dir() != many:
            got = "file" if many else "folder"
            wants = f"folder for {flag}, as {config.image} is one" if many else f"file for {flag}"
            raise UserError(f"expected a {wants}, got the {got} {target}: name another")
        try:
            folder = target if many else target.parent
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            raise WriteError(f"{target} cannot be written ({error.strerror}): name another for {flag}") from error


def _predict(
    predictor: Predictor, image: Image.Image, config: PredictConfig, *, descriptions: list[str], classes: Classes
) -> Prediction:
    return predictor.predict(
        image,
        descriptions,
        classes,
        threshold=config.threshold,
        min_confidence=config.min_confidence,
        instances=config.instances,
        alpha=config.alpha,
        region_rule=config.region_rule,
        proposals=config.proposals or None,
    )


def _write_png(target: Path, drawn: Image.Image, *, source: Path) -> None:
    if target.exists() and target.samefile(source):
        raise UserError(f"expected another file for --png than the picture {source}: it would be overwritten")
    buffer = io.BytesIO()
    drawn.save(buffer, "PNG")
    write_atomically(target, buffer.getvalue())


if __name__ == "__main__":
    run_command(main, PredictConfig, module="grain.predict", stopped=STOPPED)

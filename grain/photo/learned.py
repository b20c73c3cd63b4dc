"""Encode photographs with regions that learned phrases, beside the names that the networks know.

Each region has two embeddings, joined to one: of the names that it looks like (grain.photo.photo), and of the phrases
that it learned. A description is embedded in both ways, so one cosine is the mean of both likenesses. Which region a
description means is decided by weighted evidence: names count more the nearer the description is to a name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image
from safetensors import SafetensorError
from safetensors.numpy import load_file

from grain.box_overlap import iou
from grain.checkpoint import (
    EMBEDDED,
    TUNED,
    CheckpointError,
    CheckpointInfo,
    model_digest,
    read_config,
    read_info,
    verify,
)
from grain.config import ClassTexts
from grain.photo.other_things import leave_out_others, leave_out_owners, other_things, pale_on, part_of, weigh_others
from grain.photo.photo import DOUBT, GRAPH_ERRORS, PALE, PhotoEncoder, at_best
from grain.photo.phrases import embedded_words, parse_phrase
from grain.photo.regions import LearnedRegions, RegionGraphs
from grain.photo.tiles import encode_in_tiles
from grain.recent_features import RecentFeatures
from grain.structures import Array, ImageFeatures, RegionRanking

SAME_IOU = 0.5  # a proposal and a learned region with so much in common are the same thing
SUPPRESSED_IOU, MOST_LEARNED = 0.8, 150  # learned regions with more in common are one; so many are kept, surest first
AGREES_IOU = 0.4  # regions that overlap so much may show the same thing: their boxes are averaged
MOST_RECENT = 32  # pictures whose features are remembered
UNSURE = 0.02  # objectness of a region that the detector did not propose
EACH = float(np.sqrt(0.5))  # weight of each embedding, so that their join has unit length
NEAR_NAME = 0.9  # cosine with the nearest known name at which names begin to count more
EVIDENCE = ("phrase", "objectness", "name", "sureness", "proposal", "unlearned", "colour")
JUDGING_INPUTS = (
    *("phrase", "name", "phrase near a name", "name near a name", "colour", "near a name"),
    *("logit", "logit near a name", "agreement", "agreement near a name", "bias"),
)


@dataclass(frozen=True)
class Fusion:
    """Weights that make one judgement of two: `python -m grain.dense.calibrate` fits it on photographs not trained on.

    weights: of EVIDENCE. near_names: added to them in the measure that a description is near a name the networks know.
    presence: of TOLD, at the region that was chosen. confidence: of TOLD, at any region.
    """

    weights: tuple[float, ...] = (1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0)
    near_names: tuple[float, ...] = (0.0,) * len(EVIDENCE)
    presence: tuple[float, ...] = (0.3, *(0.0,) * (len(JUDGING_INPUTS) - 2), -6.0)
    confidence: tuple[float, ...] = (0.3, *(0.0,) * (len(JUDGING_INPUTS) - 2), -6.0)

    @classmethod
    def of(cls, config: dict[str, Any]) -> Fusion:
        """Read it from config.json.

        Raises: KeyError, TypeError, ValueError: a field is missing or of another kind.
        """
        read = cls(**{name: tuple(map(float, values)) for name, values in config["fusion"].items()})
        found = [len(row) for row in (read.weights, read.near_names, read.presence, read.confidence)]
        if found != [len(EVIDENCE), len(EVIDENCE), len(JUDGING_INPUTS), len(JUDGING_INPUTS)]:
            raise ValueError("fusion has other numbers of weights")
        return read


@dataclass(frozen=True)
class TunedWords:
    """The words of fine-tunes, which are surer of these everywhere, also where they are not.

    embeds: [T, E] unit length, of the words as names. presence, confidence: [T] doubts, in logits, that are taken from
    both of a description in the measure that it is near a word; they keep most of what held-out pictures show.
    """

    embeds: Array
    presence: Array
    confidence: Array

    @classmethod
    def load(cls, folder: Path) -> TunedWords | None:
        """Read them from a checkpoint folder; None where it has none.

        Raises: KeyError, SafetensorError: they do not fit this version.
        """
        if not (folder / TUNED).is_file():
            return None
        table = {name: values.astype(np.float32) for name, values in load_file(folder / TUNED).items()}
        return cls(table["embeds"], table["presence"], table["confidence"])

    def doubts(self, names: Array) -> tuple[Array, Array]:
        """Return the doubts in presence and in confidence of some descriptions, [D] each. names: [D, E], as names."""
        near = _nearness(self.embeds @ names.T)
        presence, confidence = ((near * of[:, None]).max(axis=0) for of in (self.presence, self.confidence))
        return presence, confidence


class LearnedPhotoEncoder:
    """Implements grain.predict.Encoder for a checkpoint with learned regions.

    The hints of its features are, of each region: the learned objectness (a logit), the log of the detector's, whether
    the detector proposed it, and whether no learned region is the same.
    """

    def __init__(
        self,
        info: CheckpointInfo,
        *,
        names: PhotoEncoder,
        regions: RegionGraphs,
        fusion: Fusion,
        tuned: TunedWords | None = None,
    ) -> None:
        """Use load."""
        self.info, self.names, self._regions, self.fusion, self._tuned = info, names, regions, fusion, tuned
        self._recent = RecentFeatures(self._encode_tiled, most=MOST_RECENT)  # an audit asks of a picture thrice

    @classmethod
    def load(cls, folder: Path) -> LearnedPhotoEncoder:
        """Load a checkpoint folder and the embedded one that it stands on.

        Raises: CheckpointError: a file of either is missing or changed.
        """
        verify(folder)
        config = read_config(folder)
        base = EMBEDDED / Path(str(config.get("base"))).name
        if not base.is_dir() or model_digest(base) != config.get("base_digest"):
            raise CheckpointError(f"{folder.name} was made for another {base.name}: make it again with this version")
        try:
            regions, fusion, tuned = RegionGraphs(folder), Fusion.of(config), TunedWords.load(folder)
        except (KeyError, TypeError, ValueError, SafetensorError, *GRAPH_ERRORS) as error:
            what = f"{folder.name} does not fit this version ({error})"
            raise CheckpointError(f"{what}: copy the checkpoint again") from error
        return cls(read_info(folder), names=PhotoEncoder.load(base), regions=regions, fusion=fusion, tuned=tuned)

    @property
    def precision(self) -> str:
        """Return numpy's precision."""
        return "fp32"

    @property
    def class_texts(self) -> ClassTexts:
        """Return the templates of the names' encoder."""
        return self.names.class_texts

    @property
    def logit_scale(self) -> float:
        """Return the names' scale, larger by what the empty half of a picture's embedding takes from its cosines."""
        return self.names.logit_scale / EACH

    def encode_images(
        self, images: Sequence[Image.Image], proposals: Sequence[ArrayLike] | None = None
    ) -> list[ImageFeatures]:
        """Encode upright RGB pictures of any sizes, one after the other.

        Raises: ValueError: proposals are given.
        """
        self.info.refuse_proposals(proposals)
        return [self._recent(image) for image in images]

    def encode_texts(self, texts: Sequence[str]) -> Array:
        """Embed texts, [T, 2 E] unit length: what is looked for as a name, and the whole as a phrase."""
        phrase_embeds = self.names.embed_whole(list(map(embedded_words, texts)))
        return _join(self.names.encode_texts(texts), self._regions.texts(phrase_embeds))

    def rank_regions(
        self, image: Image.Image, features: ImageFeatures, *, descriptions: Sequence[str], embeds: Array
    ) -> RegionRanking:
        """Rank the regions for each description, and estimate whether it is in the picture at all."""
        boxes, ranked = features.boxes_xyxy, self.judge(image, features, descriptions=descriptions, embeds=embeds)[0]
        others, owners = list(map(other_things, descriptions)), list(map(part_of, descriptions))
        own = [parse_phrase(text).core if named else "" for text, named in zip(descriptions, others, strict=True)]
        named = [name for name in dict.fromkeys([*chain.from_iterable(others), *owners, *own]) if name]
        if not named or not len(boxes):
            return self.names.count(boxes, ranked, descriptions)
        there, fit, colour = self.judge(image, features, descriptions=named, embeds=self.encode_texts(named))
        assert there.presence is not None and there.confidence is not None
        pale = pale_on(boxes, ranked.ranking.argmax(axis=0), fit=fit, colour=colour)
        presence = dict(zip(named, there.presence.tolist(), strict=True))
        weighed = weigh_others(ranked, others, presence, pale=dict(zip(named, pale, strict=True)))
        best = dict(zip(named, there.ranking.argmax(axis=0).tolist(), strict=True))
        weighed = leave_out_owners(boxes, weighed, owners=owners, best=best)
        confidence = dict(zip(named, there.confidence.T, strict=True))
        alone = leave_out_others(boxes, weighed, own=own, others=others, best=best, confidence=confidence)
        return self.names.count(boxes, alone, descriptions)

    def rank_alone(
        self, image: Image.Image, features: ImageFeatures, *, descriptions: Sequence[str], embeds: Array
    ) -> RegionRanking:
        """Rank as rank_regions does, but ask for no other thing that a description names."""
        ranked = self.judge(image, features, descriptions=descriptions, embeds=embeds)[0]
        return self.names.count(features.boxes_xyxy, ranked, descriptions)

    def judge(
        self, image: Image.Image, features: ImageFeatures, *, descriptions: Sequence[str], embeds: Array
    ) -> tuple[RegionRanking, Array, Array]:
        """Rank as rank_alone does, but count nothing; tell how regions fit whatever their colours, and what those cost.

        Returns: the ranking, and two of [Q, D].
        """
        regions, texts = len(features.boxes_xyxy), len(descriptions)
        if not regions or not texts:
            none = np.zeros((regions, texts), np.float32)
            return RegionRanking(none, np.zeros(texts, np.float32)), none, none
        evidence, near = self.evidence(image, features, descriptions=descriptions, embeds=embeds)
        logits = fuse(self.fusion, evidence, near)
        ranking = expected_overlap(features.boxes_xyxy, logits)
        inputs = self.judging_inputs(features, evidence, near, logits=logits, embeds=embeds)
        placed = self.names.rank_places(features.boxes_xyxy, logits, descriptions)
        by_place = (placed != logits).any(axis=0)
        ranking[:, by_place] = placed[:, by_place]
        names = embeds[:, : embeds.shape[1] // 2] / EACH
        presence_doubt, confidence_doubt = self._tuned.doubts(names) if self._tuned else (0.0, 0.0)
        presence = _likely(at_best(inputs, ranking), self.fusion.presence, presence_doubt)
        colour = evidence[..., EVIDENCE.index("colour")]
        confidence = _likely(inputs, self.fusion.confidence, confidence_doubt)
        confidence = confidence * np.where(colour < PALE, DOUBT, 1)
        boxes = agreed_boxes(features.boxes_xyxy, logits)
        several = [parse_phrase(text).several for text in descriptions]
        boxes[:, several] = features.boxes_xyxy[:, None]  # one around all of them agrees with each, and is none of them
        ranked = RegionRanking(ranking, presence, confidence.astype(np.float32), boxes_xyxy=boxes)
        colourless = np.where(np.array(EVIDENCE) == "colour", 0, evidence)
        plain = fuse(self.fusion, colourless, near)
        lacks = self.names.lacks_worn(image, features.boxes_xyxy, descriptions)
        explained = self.names.explain(ranked, plain, colour, lacks=lacks, descriptions=descriptions)
        chosen = self.names.place(features.boxes_xyxy, explained, descriptions, among_things=True)
        return chosen, plain, colour

    def evidence(
        self, image: Image.Image, features: ImageFeatures, *, descriptions: Sequence[str], embeds: Array
    ) -> tuple[Array, Array]:
        """Return the evidence [Q, D, 7] for each region and description, and [D] how near each is to a known name."""
        assert features.hints is not None
        likeness = 2 * np.stack(
            [half @ other.T for half, other in _halves(features.region_embeds, embeds)]
        )  # [2, Q, D]
        objectness, sureness, proposal, unlearned = (
            np.broadcast_to(column[:, None], likeness[0].shape) for column in features.hints.T
        )
        phrase = self._regions.scale * likeness[1] * (1 - unlearned)
        colour = self.names.colour_penalties(image, features.boxes_xyxy, descriptions)
        stacked = np.stack([phrase, objectness, likeness[0], sureness, proposal, unlearned, colour], axis=-1)
        return stacked, _nearness((self.names.known_embeds @ (embeds[:, : embeds.shape[1] // 2] / EACH).T).max(axis=0))

    def judging_inputs(
        self, features: ImageFeatures, evidence: Array, near: Array, *, logits: Array, embeds: Array
    ) -> Array:
        """Return what presence and confidence are judged by, [Q, D, 11] of JUDGING_INPUTS. logits: [Q, D] of `fuse`."""
        names, texts = (each[:, : each.shape[1] // 2] / EACH for each in (features.region_embeds, embeds))
        name = self.names.name_logits(replace(features, region_embeds=names), texts)
        phrase, agreement = evidence[..., 0] + evidence[..., 1], expected_overlap(features.boxes_xyxy, logits)
        close = np.broadcast_to(near, name.shape)
        inputs = [phrase, name, close * phrase, close * name, evidence[..., 6], close]
        inputs += [logits, close * logits, agreement, close * agreement, np.ones_like(close)]
        return np.stack(inputs, axis=-1).astype(np.float32)

    def _encode_tiled(self, image: Image.Image) -> ImageFeatures:
        return encode_in_tiles(self._encode, image)

    def _encode(self, image: Image.Image) -> ImageFeatures:
        view = self.names.look(image)
        named, learned = self.names.encode_view(view), self._distinct(self._regions(view.tokens()))
        overlap = iou(learned.boxes_xyxy, named.boxes_xyxy)  # [L, P]
        nearest, same = overlap.argmax(axis=1), overlap.max(axis=1) >= SAME_IOU
        looks = np.where(same[:, None], named.region_embeds[nearest], self.names.embed_boxes(view, learned.boxes_xyxy))
        sure = np.where(same, named.objectness[nearest], UNSURE)
        twin, known = overlap.argmax(axis=0), overlap.max(axis=0) >= SAME_IOU
        proposals, ones = len(twin), np.ones(len(same))
        hints = [
            np.concatenate([learned.objectness, np.where(known, learned.objectness[twin], learned.objectness.min())]),
            np.log(np.concatenate([sure, named.objectness])),
            np.concatenate([0 * ones, np.ones(proposals)]),
            np.concatenate([0 * ones, ~known]),
        ]
        likely = 1 / (1 + np.exp(-learned.objectness))
        return ImageFeatures(
            image_embed=np.concatenate([named.image_embed, np.zeros_like(named.image_embed)]),
            region_embeds=_join(
                np.concatenate([looks, named.region_embeds]), np.concatenate([learned.embeds, learned.embeds[twin]])
            ),
            boxes_xyxy=np.concatenate([learned.boxes_xyxy, named.boxes_xyxy]),
            objectness=np.concatenate([np.maximum(sure, likely), named.objectness]).astype(np.float32),
            hints=np.stack(hints, axis=1).astype(np.float32),
            gist=named.gist,
        )

    def _distinct(self, learned: LearnedRegions) -> LearnedRegions:
        scores = 1 / (1 + np.exp(-learned.objectness[None]))
        rows = self.names.look.detector.suppress(
            learned.boxes_xyxy, scores.astype(np.float32), iou=SUPPRESSED_IOU, most=MOST_LEARNED
        )
        return LearnedRegions(*(values[rows] for values in learned))


def _nearness(cosines: Array) -> Array:
    """Return how near cosines with known words are to the same words, of 0 … 1."""
    near: Array = ((cosines - NEAR_NAME) / (1 - NEAR_NAME)).clip(0, 1)
    return near


def _likely(inputs: Array, weights: tuple[float, ...], doubt: Array | float) -> Array:
    """Return probabilities: [..., 11] of JUDGING_INPUTS -> [...]. doubt: [D] logits, taken from those."""
    likely: Array = (1 / (1 + np.exp(doubt - inputs @ np.array(weights)))).astype(np.float32)
    return likely


def fuse(fusion: Fusion, evidence: Array, near: Array) -> Array:
    """Return the logits [Q, D] that rank the regions. evidence: [Q, D, 7]. near: [D]."""
    weights, near_names = (np.array(row, np.float32) for row in (fusion.weights, fusion.near_names))
    logits: Array = (evidence @ weights + near * (evidence @ near_names)).astype(np.float32)
    return logits


def expected_overlap(boxes_xyxy: Array, logits: Array) -> Array:
    """Return how much each region is expected to overlap what each description means, [Q, D] of 0 … 1.

    The logits [Q, D], as probabilities, say how likely each region is meant: a box that agrees with several likely ones
    beats a single one that is a little likelier.
    """
    likely = np.exp(logits - logits.max(axis=0))
    overlap: Array = (iou(boxes_xyxy, boxes_xyxy) @ (likely / likely.sum(axis=0))).astype(np.float32)
    return overlap


def agreed_boxes(boxes_xyxy: Array, logits: Array) -> Array:
    """Return the box of each region for each description, [Q, D, 4]: the mean of those that agree with it.

    Each counts as much as the logits [Q, D], as probabilities, say that it is meant.
    """
    likely = np.exp((logits - logits.max(axis=0)).clip(min=-60))
    agree = (iou(boxes_xyxy, boxes_xyxy) >= AGREES_IOU).astype(np.float32)
    np.fill_diagonal(agree, 1)  # a box without area overlaps nothing
    sums = np.stack([agree @ (likely * side[:, None]) for side in boxes_xyxy.T], axis=-1)
    mean: Array = (sums / (agree @ likely)[..., None]).astype(np.float32)
    return mean


def load_photo(folder: Path) -> PhotoEncoder | LearnedPhotoEncoder:
    """Load a checkpoint of kind `photo`: one with learned regions names another that it stands on.

    Raises: CheckpointError: a file is missing or changed.
    """
    return LearnedPhotoEncoder.load(folder) if "base" in read_config(folder) else PhotoEncoder.load(folder)


def _join(names: Array, phrases: Array) -> Array:
    joined: Array = (EACH * np.concatenate([names, phrases], axis=1)).astype(np.float32)
    return joined


def _halves(regions: Array, texts: Array) -> list[tuple[Array, Array]]:
    return list(zip(np.split(regions, 2, axis=1), np.split(texts, 2, axis=1), strict=True))

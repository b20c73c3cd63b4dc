"""Find where descriptions lie in pictures, with OWLv2 or OWL-ViT; boxes are normalized to the original picture.

torch and transformers are imported when a model is loaded: a page shows these settings before anything heavy is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from curation.annotate import model_facts
from grain.hub import published_models
from grain.hub.owl import OwlNetwork, load_owl
from grain.hub.weights import find_model
from grain.structures import Array, Region
from grain.time_limit import check_time

if TYPE_CHECKING:
    from torch import Tensor

OWLV2 = published_models.OWLV2.repository
REVISIONS = {OWLV2: published_models.OWLV2.revision}  # of other models: `main`
TEXTS_AT_ONCE = 256
MOST_REMEMBERED = 20_000  # text embeddings


class UnreadableAnswerError(ValueError):
    """A model's answer about a picture from which no boxes can be read; text: the answer as it came."""

    def __init__(self, reason: str, text: str) -> None:
        """reason: why, in a sentence that many pictures can share."""
        super().__init__(reason)
        self.text = text


class Localizer(Protocol):
    """A model that finds descriptions in pictures."""

    @property
    def name(self) -> str:
        """Return `model@revision`, the source that its regions are marked with."""

    def too_long(self, texts: Sequence[str]) -> tuple[str, ...]:
        """Return the descriptions that it cannot read whole."""

    def localize(
        self, pictures: Sequence[Image.Image], descriptions: Sequence[Sequence[str]]
    ) -> list[tuple[Region, ...]]:
        """Find the regions of each picture.

        Args:    pictures: upright RGB. descriptions: of each picture; a picture may have none.
        Returns: of each picture its regions: index the row of the description, score a probability in [0, 1].
        Raises:  UnreadableAnswerError: the answer about one of the pictures cannot be read.
        """


@dataclass(frozen=True)
class LocalizeConfig:
    """The boxes that a localizer reports."""

    threshold: float = 0.3
    """Least score of a box, a probability in [0, 1]."""
    nms_iou: float = 0.5
    """A box that overlaps a better one of the same description by more than this is dropped; 1 keeps all."""
    most_of_text: int = 5
    """Most boxes of one description, the best first."""
    exclusive: bool = False
    """A box belongs only to the description that fits it best, as class names do; else several may share one."""

    def __post_init__(self) -> None:
        """Refuse what has no meaning."""
        for name in ("threshold", "nms_iou"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in [0, 1], got {getattr(self, name)}")
        if self.most_of_text < 1:
            raise ValueError(f"most_of_text must be at least 1, got {self.most_of_text}")


class Owlv2Localizer(OwlNetwork):
    """OWLv2 behind the Localizer protocol: a picture is encoded once, a text once for all pictures."""

    facts = model_facts.OWLV2

    def __init__(
        self,
        model: Any,
        processor: Any,
        *,
        name: str,
        config: LocalizeConfig | None = None,
        device: str = "auto",
        precision: str = "auto",
        batch_size: int = 8,
    ) -> None:
        """See from_pretrained and OwlNetwork.

        Raises: ValueError: another precision, or no picture in a batch.
        """
        super().__init__(model, processor, name=name, device=device, precision=precision)
        check_batch(batch_size)
        self.config, self.batch_size = config or LocalizeConfig(), batch_size
        self._texts: dict[str, Tensor] = {}

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path = "",
        *,
        revision: str | None = None,
        config: LocalizeConfig | None = None,
        device: str = "auto",
        precision: str = "auto",
        batch_size: int = 8,
    ) -> Self:
        """Load weights that are on this machine; nothing is downloaded.

        Args:   model: a name on the hub, or a folder; "": the default. revision: of the hub; OWLv2 base's is pinned.
                device, precision: see OwlNetwork. batch_size: pictures at once.
        Raises: UserError: the weights are not here, or not whole; the message holds the command that fetches
                them; or they are of another family. ValueError: see __init__.
        """
        model = model or cls.facts.model
        revision = revision or REVISIONS.get(str(model), "main")
        found = model_facts.check_family(find_model(model, revision), cls.facts)
        return cls(
            *load_owl(found),
            name=found.name,
            config=config,
            device=device,
            precision=precision,
            batch_size=batch_size,
        )

    def localize(
        self, pictures: Sequence[Image.Image], descriptions: Sequence[Sequence[str]]
    ) -> list[tuple[Region, ...]]:
        """Find regions by description, the best box of each first.

        Args:   pictures: upright RGB, of any sizes. descriptions: of each picture; any number, also none.
        Raises: ValueError: not as many lists of descriptions as pictures; a blank one; a picture that is not RGB.
        """
        import torch

        check_asked(pictures, descriptions)
        embeds = self.embed_texts([text for texts in descriptions for text in texts])
        found: list[tuple[Region, ...]] = [()] * len(pictures)
        asked = [row for row, texts in enumerate(descriptions) if texts]
        for start in range(0, len(asked), self.batch_size):
            rows = asked[start : start + self.batch_size]
            for row, seen in zip(rows, self.encode_images([pictures[row] for row in rows]), strict=True):
                scores = self.scores(seen, torch.stack([embeds[text] for text in descriptions[row]]))
                found[row] = choose(seen.boxes_xyxy, scores, texts=descriptions[row], config=self.config)
        return found

    def embed_texts(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Return text -> [E], encoding only the texts that no earlier picture had."""
        known = {text: self._texts[text] for text in texts if text in self._texts}
        new = [text for text in dict.fromkeys(texts) if text not in known]
        for start in range(0, len(new), TEXTS_AT_ONCE):
            check_time()
            some = new[start : start + TEXTS_AT_ONCE]
            known |= dict(zip(some, self.encode_texts(some), strict=True))
        if len(self._texts) + len(new) > MOST_REMEMBERED:
            self._texts = {}
        self._texts |= {text: known[text] for text in new[:MOST_REMEMBERED]}
        return known


class OwlVitLocalizer(Owlv2Localizer):
    """OWL-ViT behind the Localizer protocol."""

    facts = model_facts.OWLVIT


def check_batch(batch_size: int) -> None:
    """Refuse a batch without a picture.

    Raises: ValueError.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")


def choose(boxes_xyxy: Array, scores: Array, *, texts: Sequence[str], config: LocalizeConfig) -> tuple[Region, ...]:
    """Choose the boxes to report, by text, best first.

    Args: boxes_xyxy: [P, 4] normalized to the picture; those without area are left out. scores: [P, T] in [0, 1].
    """
    has_area = (boxes_xyxy[:, 2:] > boxes_xyxy[:, :2]).all(axis=1, keepdims=True)  # [P, 1]
    passing = (scores >= config.threshold) & has_area  # [P, T]
    if config.exclusive:
        passing &= np.equal(np.arange(len(texts)), scores.argmax(axis=1)[:, None])
    regions: list[Region] = []
    for column in np.flatnonzero(passing.any(axis=0)).tolist():
        rows = np.flatnonzero(passing[:, column])
        apart = rows[best_apart(boxes_xyxy[rows], scores[rows, column], iou=config.nms_iou)]
        for row in apart[: config.most_of_text]:
            x0, y0, x1, y1 = boxes_xyxy[row].tolist()
            regions.append(Region((x0, y0, x1, y1), texts[column], float(scores[row, column]), column))
    return tuple(regions)


def best_apart(boxes_xyxy: Array, scores: Array, *, iou: float) -> NDArray[np.int64]:
    """Keep the best boxes (non-maximum suppression): each kept one drops those that overlap it by more than iou.

    Args:    boxes_xyxy: [N, 4]. scores: [N]. iou: in [0, 1].
    Returns: rows of the kept boxes, best first; equal scores stay in order.
    """
    import torch
    from torchvision.ops import nms

    rows: NDArray[np.int64] = nms(torch.from_numpy(boxes_xyxy), torch.from_numpy(scores), iou).numpy()
    return rows


def check_asked(pictures: Sequence[Image.Image], descriptions: Sequence[Sequence[str]]) -> None:
    """Refuse what no localizer can be asked.

    Raises: ValueError: not as many lists of descriptions as pictures; a blank one; a picture that is not RGB.
    """
    if len(pictures) != len(descriptions):
        raise ValueError(f"expected descriptions for {len(pictures)} pictures, got {len(descriptions)} lists of them")
    for texts in descriptions:
        if isinstance(texts, str):
            raise ValueError("descriptions must be a list of texts for each picture, got a single text: write [text]")
        if not all(map(str.strip, texts)):
            raise ValueError("a description is blank: leave it out")
    for picture in pictures:
        if picture.mode != "RGB":
            raise ValueError(f"pictures must be upright RGB, got mode {picture.mode}: convert them first")

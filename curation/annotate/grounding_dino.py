"""Find where descriptions lie in pictures, with Grounding DINO or MM Grounding DINO (LLMDet's class).

The model reads all descriptions of a picture as one text, a sentence each, and scores its boxes by token. The text is
put together here, token by token, so that each description's score is that of its own tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from PIL import Image

from curation.annotate import model_facts
from curation.annotate.localize import LocalizeConfig, check_asked, check_batch, choose
from grain.hub.detectors import device_of, load_detector
from grain.hub.weights import find_model
from grain.structures import Array, Region
from grain.time_limit import check_time

if TYPE_CHECKING:
    from torch import Tensor

SEPARATORS = (".", "?")  # of sentences; a description has none, lest it be read as two


@dataclass(frozen=True)
class _DinoText:
    """One forward pass: some descriptions of one picture. columns: of them. spans: their tokens, from and to."""

    row: int
    columns: tuple[int, ...]
    ids: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]


class GroundingDinoLocalizer:
    """Grounding DINO behind the Localizer protocol. A description scores as its best token does, as in the paper."""

    facts = model_facts.GROUNDING_DINO

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
        """model, processor: transformers' model for zero-shot object detection and its processor.

        Args:   precision: `auto` is fp32: what half the bits do to its deformable attention has not been measured.
                batch_size: forward passes at once, of pictures that the processor gives one size.
        Raises: ValueError: another precision, or no picture in a batch.
        """
        self.device = device_of(device, precision=precision)
        check_batch(batch_size)
        self.bf16 = precision == "bf16"
        self.name, self.config, self.batch_size = name, config or LocalizeConfig(), batch_size
        self._model, self._processor = model.to(self.device).eval(), processor
        tokenizer = processor.tokenizer
        self._first, self._last, self._pad = tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.pad_token_id
        ends = [tokenizer.convert_tokens_to_ids(each) for each in SEPARATORS]
        self._end, self._marks = ends[0], {*ends, *tokenizer.all_special_ids}
        self._room: int = min(model.config.max_text_len, model.config.text_config.max_position_embeddings) - 2

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path = "",
        *,
        revision: str = "main",
        config: LocalizeConfig | None = None,
        device: str = "auto",
        precision: str = "auto",
        batch_size: int = 8,
    ) -> Self:
        """Load weights that are on this machine; nothing is downloaded.

        Args:   model: a name on the hub, or a folder; "": the default. device: `auto`, `cpu`, `cuda`, `cuda:1`.
        Raises: UserError: the weights are not here, not whole, or of another family. ValueError: see __init__.
        """
        found = model_facts.check_family(find_model(model or cls.facts.model, revision), cls.facts)
        from transformers import AutoModelForZeroShotObjectDetection, GroundingDinoProcessor

        weights, processor = load_detector(found, AutoModelForZeroShotObjectDetection, GroundingDinoProcessor)
        return cls(
            weights,
            processor,
            name=found.name,
            config=config,
            device=device,
            precision=precision,
            batch_size=batch_size,
        )

    def too_long(self, texts: Sequence[str]) -> tuple[str, ...]:
        """Return the texts of more tokens than one question holds (254)."""
        return tuple(text for text in texts if len(self._tokens(text)) >= self._room)

    def localize(
        self, pictures: Sequence[Image.Image], descriptions: Sequence[Sequence[str]]
    ) -> list[tuple[Region, ...]]:
        """See Localizer; a description that is too long is cut. Others of its question have a part in its score."""
        check_asked(pictures, descriptions)
        scores: list[list[tuple[Array, Array, tuple[int, ...]]]] = [[] for _ in pictures]
        asked = [question for row, texts in enumerate(descriptions) for question in self._questions(row, texts)]
        pixels = {row: self._pixels(pictures[row]) for row in {question.row for question in asked}}
        for some in self._batches(asked, pixels):
            check_time()
            for question, (boxes, tokens) in zip(some, self._forward(some, pixels), strict=True):
                columns = [self._of_span(tokens[:, start:end]) for start, end in question.spans]
                scores[question.row].append((boxes, np.stack(columns, axis=1), question.columns))
        return [self._chosen(found, descriptions[row]) for row, found in enumerate(scores)]

    def _of_span(self, tokens: Array) -> Array:
        """Return the score [Q] of a description by its tokens' scores [Q, N]."""
        best: Array = tokens.max(axis=1)
        return best

    def _chosen(
        self, found: Sequence[tuple[Array, Array, tuple[int, ...]]], texts: Sequence[str]
    ) -> tuple[Region, ...]:
        """Choose the boxes of one picture among those of its questions."""
        if not found:
            return ()
        boxes = np.concatenate([each for each, _, _ in found])
        table = np.full((len(boxes), len(texts)), -1.0, np.float32)  # no probability: other questions' descriptions
        start = 0
        for some, columns_scores, columns in found:
            table[start : start + len(some), list(columns)] = columns_scores
            start += len(some)
        return choose(boxes, table, texts=texts, config=self.config)

    def _questions(self, row: int, texts: Sequence[str]) -> Iterator[_DinoText]:
        """Yield the questions about one picture: as many descriptions in each as its text holds."""
        ids, columns, spans = [self._first], list[int](), list[tuple[int, int]]()
        for column, text in enumerate(texts):
            tokens = self._tokens(text)[: self._room - 1]
            if not tokens:
                continue
            if len(ids) + len(tokens) > self._room:
                yield _DinoText(row, tuple(columns), (*ids, self._last), tuple(spans))
                ids, columns, spans = [self._first], [], []
            spans.append((len(ids), len(ids) + len(tokens)))
            columns.append(column)
            ids += [*tokens, self._end]
        if columns:
            yield _DinoText(row, tuple(columns), (*ids, self._last), tuple(spans))

    def _tokens(self, text: str) -> list[int]:
        """Return the tokens of a description without those that would end its sentence."""
        ids = self._processor.tokenizer(text, add_special_tokens=False, truncation=False, verbose=False)["input_ids"]
        return [token for token in ids if token not in self._marks]

    def _pixels(self, picture: Image.Image) -> Tensor:
        """Return one picture as the model sees it, [3, H, W]."""
        pixels: Tensor = self._processor.image_processor(images=picture, return_tensors="pt")["pixel_values"][0]
        return pixels

    def _batches(self, asked: Sequence[_DinoText], pixels: dict[int, Tensor]) -> Iterator[list[_DinoText]]:
        """Yield questions about pictures of one size: nothing is padded, so that none changes another's boxes."""
        by_size: dict[tuple[int, ...], list[_DinoText]] = {}
        for question in asked:
            by_size.setdefault(tuple(pixels[question.row].shape), []).append(question)
        for some in by_size.values():
            for start in range(0, len(some), self.batch_size):
                yield some[start : start + self.batch_size]

    def _forward(self, asked: Sequence[_DinoText], pixels: dict[int, Tensor]) -> list[tuple[Array, Array]]:
        """Return of each question its boxes [Q, 4], xyxy normalized and clipped, and the score of each token [Q, L]."""
        import torch

        from grain.boxes import cxcywh_to_xyxy

        longest = max(len(question.ids) for question in asked)
        ids = torch.full((len(asked), longest), self._pad)
        for row, question in enumerate(asked):
            ids[row, : len(question.ids)] = torch.tensor(question.ids)
        mask = torch.arange(longest) < torch.tensor([len(question.ids) for question in asked])[:, None]
        with torch.inference_mode(), torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bf16):
            out = self._model(
                pixel_values=torch.stack([pixels[question.row] for question in asked]).to(self.device),
                input_ids=ids.to(self.device),
                attention_mask=mask.long().to(self.device),
                token_type_ids=torch.zeros_like(ids).to(self.device),
            )
        boxes = cxcywh_to_xyxy(out.pred_boxes.float()).clamp(0, 1).cpu().numpy()  # [B, Q, 4]
        scores = out.logits.float().sigmoid().cpu().numpy()  # [B, Q, L]
        return [*zip(boxes, scores, strict=True)]


class MMGroundingDinoLocalizer(GroundingDinoLocalizer):
    """MM Grounding DINO and LLMDet: a description's score is the mean of its tokens', as they were trained."""

    facts = model_facts.MM_GROUNDING_DINO

    def _of_span(self, tokens: Array) -> Array:
        """Return the score [Q] of a description by its tokens' scores [Q, N]."""
        mean: Array = tokens.mean(axis=1)
        return mean

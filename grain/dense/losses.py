"""Compute what training with a query a token minimizes: boxes, both ways of the contrast, and presence.

Every phrase for an entity is a positive. A phrase of another picture is a negative, except where the picture's own
phrases imply it: "a man" is true of "a man in green".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import box_iou, generalized_box_iou

from grain.dense.model import DenseOutput, DenseRegions

BOX_WEIGHT, GIOU_WEIGHT, LIKENESS_WEIGHT = 5.0, 2.0, 0.2  # of an assignment's cost; the first two of the box loss too
ASSIGNED, DESCRIBED = 4, 2  # queries that learn each box, and those of them that learn its phrases
OUTSIDE = 100.0  # cost of a query whose token lies neither in the box nor near its middle
NEAREST = 2  # tokens near its middle
FOUND_IOU = 0.5  # a query whose box covers an entity so well may answer its phrases
NEGATIVE_WEIGHT = 0.2  # of a phrase that is not in the picture, in the presence loss
PRESENCE_WEIGHT = 2.0


@dataclass(frozen=True)
class Target:
    """An entity of one picture of a batch.

    boxes_xyxy: [M, 4] normalized. drawn: columns of the batch's texts that stand for it this time. phrases: columns of
    all of its phrases that the batch has.
    """

    picture: int
    boxes_xyxy: Tensor
    drawn: Sequence[int]
    phrases: Sequence[int]


@dataclass(frozen=True)
class DenseLosses:
    """box: L1 and GIoU. grounding: phrase to query. description: query to phrase. presence: in the picture or not."""

    box: Tensor
    grounding: Tensor
    description: Tensor
    presence: Tensor

    @property
    def total(self) -> Tensor:
        """Return the sum that training minimizes."""
        return self.box + self.grounding + self.description + PRESENCE_WEIGHT * self.presence

    def numbers(self) -> dict[str, float]:
        """Return each loss under its name."""
        return {field.name: float(getattr(self, field.name).detach()) for field in fields(self)}


def dense_losses(
    model: DenseRegions, output: DenseOutput, *, texts: Tensor, targets: Sequence[Target], implied: Tensor
) -> DenseLosses:
    """Compute the losses of a batch.

    Args: texts: [T, E] of `DenseRegions.texts`. implied: [B, T], whether a text is true of a picture.
    """
    logits = model.logits(output, texts)  # [B, Q, T]
    by_picture = logits.unbind()  # taking one of `logits` for each target would cost a gradient as large as all of it
    boxes, grounding, described, phrases = [], [], [], []
    for target in targets:
        of = target.picture
        assigned = assign(output, target, likeness=by_picture[of][:, list(target.drawn)].mean(dim=1))  # [A, M]
        boxes.append(_box_loss(output.boxes_xyxy[of][assigned], target.boxes_xyxy))
        own = by_picture[of][:, list(target.drawn)]
        answers = box_iou(output.boxes_xyxy[of].detach(), target.boxes_xyxy).amax(dim=1) >= FOUND_IOU
        answers &= ~output.absent[of]
        answers[assigned.flatten()] = True
        grounding.append(own.logsumexp(dim=0) - own.masked_fill(~answers[:, None], -1e4).logsumexp(dim=0))
        described += [(of, query) for query in assigned[:DESCRIBED].flatten().tolist()]
        phrases += [target.phrases] * assigned[:DESCRIBED].numel()
    pictures, queries = torch.tensor(described).T
    likeness = model.log_scale.exp() * output.embeds[pictures, queries] @ texts.T  # [P, T]
    positive = torch.zeros_like(likeness, dtype=torch.bool)
    for row, columns in enumerate(phrases):
        positive[row, list(columns)] = True
    description = likeness.logsumexp(dim=1) - likeness.masked_fill(~positive, -1e4).logsumexp(dim=1)
    weight, bias = model.presence
    best = F.binary_cross_entropy_with_logits(weight * logits.amax(dim=1) + bias, implied.float(), reduction="none")
    weights = torch.where(implied, 1.0, NEGATIVE_WEIGHT)
    return DenseLosses(
        torch.cat(boxes).mean(), torch.cat(grounding).mean(), description.mean(), (best * weights).sum() / weights.sum()
    )


@torch.no_grad()
def assign(output: DenseOutput, target: Target, *, likeness: Tensor) -> Tensor:
    """Return the queries that learn each box of an entity, the best first: [A, M]. likeness: [Q] logits."""
    of, boxes = target.picture, target.boxes_xyxy
    predicted, centres = output.boxes_xyxy[of], output.centres[of]
    cost = BOX_WEIGHT * torch.cdist(predicted, boxes, p=1) - GIOU_WEIGHT * generalized_box_iou(predicted, boxes)
    inside = ((centres[:, None] >= boxes[:, :2]) & (centres[:, None] <= boxes[:, 2:])).all(dim=-1)
    away = torch.cdist(centres, (boxes[:, :2] + boxes[:, 2:]) / 2, p=1)
    away = away.masked_fill(output.absent[of][:, None], torch.inf)
    slots = int((centres == centres[0]).all(dim=-1).sum())
    near = away.argsort(dim=0).argsort(dim=0) < NEAREST * slots
    cost = cost - LIKENESS_WEIGHT * likeness[:, None] + OUTSIDE * ~(inside | near)
    cost = cost.masked_fill(output.absent[of][:, None], torch.inf)
    return torch.topk(cost, min(ASSIGNED, len(cost)), dim=0, largest=False).indices


def implied_texts(words: Tensor, own: Tensor) -> Tensor:
    """Tell which texts are true of which pictures: those whose words all stand in one of the picture's own phrases.

    Args:    words: [T, W], whether a text has a word; articles are no words. own: [B, T], the pictures' own phrases.
    Returns: [B, T], the own phrases among them.
    """
    follows = (words @ words.T >= words.sum(dim=1)) & (words.sum(dim=1) > 0)  # [T, T]: column's words within the row's
    return own | (own.float() @ follows.float() > 0)


def _box_loss(predicted: Tensor, boxes: Tensor) -> Tensor:
    """Return the loss of each assigned query. predicted: [A, M, 4]. boxes: [M, 4]."""
    wanted = boxes.expand_as(predicted).reshape(-1, 4)
    predicted = predicted.reshape(-1, 4)
    overlap = torch.diag(generalized_box_iou(predicted, wanted))
    return BOX_WEIGHT * (predicted - wanted).abs().sum(dim=-1) + GIOU_WEIGHT * (1 - overlap)

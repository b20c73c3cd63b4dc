"""Matching regions to queries: grain.train.matching against DETR's matcher over the whole batch."""

from __future__ import annotations

from functools import partial

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torchvision.ops import box_convert, generalized_box_iou

from benchmarks.rows import Benchmark, Finding
from benchmarks.timing import take_turns
from grain.structures import RegionTargets
from grain.train.matching import GIOU_WEIGHT, L1_WEIGHT, MAX_ENUMERATED, match, match_cost

SEED = 0
IMAGES, REGIONS = 64, 5  # a batch; regions an image
ROUNDS = 300
BAR, SAME_COST = 10.0, 1e-6
MORE_QUERIES = 20  # beyond what is enumerated: the Hungarian path


@torch.no_grad()
def detr_match(boxes_cxcywh: Tensor, targets_cxcywh: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """The peer: one cost matrix of every query of the batch with every region of the batch, split, then scipy an image.

    Args:    boxes_cxcywh: [B, Q, 4]. targets_cxcywh: B tensors [R_b, 4].
    Returns: query and region of each pair, an image each.
    Source:  DETR's models/matcher.py (Carion et al. 2020) without its class cost, which GRAIN has not either.
    """
    images, queries = boxes_cxcywh.shape[:2]
    candidates, targets = boxes_cxcywh.flatten(0, 1), torch.cat(targets_cxcywh)
    corners = box_convert(candidates, "cxcywh", "xyxy"), box_convert(targets, "cxcywh", "xyxy")
    cost = L1_WEIGHT * torch.cdist(candidates, targets, p=1) - GIOU_WEIGHT * generalized_box_iou(*corners)
    blocks = cost.view(images, queries, -1).cpu().split([len(target) for target in targets_cxcywh], -1)
    pairs = [linear_sum_assignment(block[image]) for image, block in enumerate(blocks)]
    return [(torch.as_tensor(query), torch.as_tensor(region)) for query, region in pairs]


def random_boxes(generator: torch.Generator, *shape: int) -> Tensor:
    """[*shape, 4] cxcywh inside the picture, sides from 0.05 to 0.35."""
    centre = 0.2 + 0.6 * torch.rand(*shape, 2, generator=generator)
    return torch.cat([centre, 0.05 + 0.3 * torch.rand(*shape, 2, generator=generator)], dim=-1)


def compare(queries: int) -> tuple[list[float], dict[str, float]]:
    """Ratio [median, quartiles] of the peer's time to ours, and milliseconds and the difference of total costs."""
    generator = torch.Generator().manual_seed(SEED)
    boxes, apart = random_boxes(generator, IMAGES, queries), random_boxes(generator, IMAGES, REGIONS)
    owner = torch.arange(IMAGES).repeat_interleave(REGIONS)
    together = RegionTargets(box_convert(apart.flatten(0, 1), "cxcywh", "xyxy"), owner, torch.arange(len(owner)))
    rounds = take_turns(
        {"detr": partial(detr_match, boxes, list(apart)), "grain": partial(match, boxes, together)}, rounds=ROUNDS
    )
    cost = match_cost(boxes, together).double()  # one table for both, so that equal assignments cost exactly the same
    region, query = match(boxes, together)
    pairs = enumerate(detr_match(boxes, list(apart)))
    theirs = sum(cost[image * REGIONS + rows, columns].sum() for image, (columns, rows) in pairs)
    difference = float((cost[region, query].sum() - theirs).abs())
    return rounds.ratio("detr", "grain"), {
        "DETR-style, ms": 1000 * rounds.median("detr"),
        "grain, ms": 1000 * rounds.median("grain"),
        "difference of total cost": difference,
    }


def matching() -> Finding:
    """Five queries (enumerated) decide; more queries (Hungarian) are told."""
    ratio, detail = compare(MAX_ENUMERATED)
    more_ratio, more_detail = compare(MORE_QUERIES)
    paths = [
        {"path": "all assignments tried", "queries": MAX_ENUMERATED, "ratio": ratio, **detail},
        {"path": "Hungarian", "queries": MORE_QUERIES, "ratio": more_ratio, **more_detail},
    ]
    holds = ratio[0] >= BAR and all(path["difference of total cost"] <= SAME_COST for path in (detail, more_detail))
    return Finding(
        ratio[0], holds, {"batch": f"{IMAGES} images, {REGIONS} regions each", "rounds": ROUNDS, "paths": paths}
    )


BENCHMARKS = (
    Benchmark(
        "matching",
        "matching a batch of 64, 5 queries: DETR-style batch-wide matching (scipy, torchvision) over ours",
        f"≥ {BAR:g} ×, same total cost within {SAME_COST:g}",
        "×",
        SEED,
        matching,
    ),
)

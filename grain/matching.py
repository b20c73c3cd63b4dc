"""Which region query answers for which annotated region: one Hungarian matching an image, once a step."""

from __future__ import annotations

from functools import lru_cache
from itertools import permutations

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn.functional import one_hot

from grain.boxes import iou_and_giou
from grain.structures import RegionTargets

L1_WEIGHT = 5.0
GIOU_WEIGHT = 2.0
MOST_ENUMERATED = 5  # queries: 120 assignments; beyond that the Hungarian algorithm is quicker


def match_cost(boxes_cxcywh: Tensor, targets: RegionTargets) -> Tensor:
    """5·L1 − 2·GIoU of each annotated region against the queries of its own image only.

    Args:    boxes_cxcywh: [B, Q, 4] of the last decoder layer. targets: R regions.
    Returns: [R, Q].
    """
    centre, size = boxes_cxcywh[targets.image_index].chunk(2, dim=-1)  # [R, Q, 2]
    low, high = targets.boxes_xyxy[:, None].chunk(2, dim=-1)  # [R, 1, 2]
    l1 = ((centre - (low + high) / 2).abs() + (size - (high - low)).abs()).sum(-1)
    corners = torch.cat([centre - size / 2, centre + size / 2], dim=-1)
    _, giou = iou_and_giou(corners, targets.boxes_xyxy[:, None])
    return L1_WEIGHT * l1 - GIOU_WEIGHT * giou


@torch.no_grad()
def match(boxes_cxcywh: Tensor, targets: RegionTargets) -> tuple[Tensor, Tensor]:
    """The cheapest one-to-one assignment of queries to regions in each image.

    Args:    boxes_cxcywh: [B, Q, 4]. targets: R regions; an image with more than Q leaves its dearest ones unmatched.
    Returns: region [M], query [M]: row of the region and the query that answers for it, M <= R, sorted by region.
    Source:  DETR's matching (Carion et al. 2020), here block-diagonal: images never meet.
    """
    queries = boxes_cxcywh.shape[1]
    if len(targets.image_index) == 0 or queries == 0:
        empty = targets.image_index.new_zeros(0)
        return empty, empty
    cost = match_cost(boxes_cxcywh.float(), targets)
    per_image = torch.bincount(targets.image_index, minlength=len(boxes_cxcywh))
    if queries <= MOST_ENUMERATED and int(per_image.max()) <= queries:
        return _enumerate(cost, targets.image_index, per_image)
    return _hungarian(cost, targets.image_index)


def _enumerate(cost: Tensor, image_index: Tensor, per_image: Tensor) -> tuple[Tensor, Tensor]:
    """Try every assignment of all images at once: for five queries that is 120 sums, and the device is never left."""
    queries = cost.shape[1]
    order = torch.argsort(image_index, stable=True)
    first = per_image.cumsum(0) - per_image
    slot = torch.empty_like(order)
    slot[order] = torch.arange(len(order), device=order.device) - first[image_index[order]]
    where = image_index * queries + slot
    # a region that is not there costs nothing wherever it goes
    padded = cost.new_zeros(len(per_image) * queries, queries, dtype=torch.float64)
    padded[where] = cost.double()
    table, chosen = _assignments(queries, cost.device)
    totals = padded.view(len(per_image), -1) @ chosen  # [B, P]; float64, which no autocast rounds
    best = table[totals.argmin(1)].flatten()  # [B · Q]: the query of each slot
    return torch.arange(len(cost), device=cost.device), best[where]


def _hungarian(cost: Tensor, image_index: Tensor) -> tuple[Tensor, Tensor]:
    # a step gone to NaN is the guard's to skip: it must get past the matching, whatever that then says
    table, owner = cost.nan_to_num().cpu().numpy(), image_index.cpu().numpy()
    regions, chosen = [], []
    for image in np.unique(owner):
        mine = np.flatnonzero(owner == image)
        rows, columns = linear_sum_assignment(table[mine])
        regions.append(mine[rows])
        chosen.append(columns)
    region, query = np.concatenate(regions), np.concatenate(chosen)
    order = np.argsort(region, kind="stable")
    return tuple(torch.as_tensor(a[order], device=cost.device) for a in (region, query))  # type: ignore[return-value]


@lru_cache(maxsize=16)
def _assignments(queries: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """All orders of the queries [P, Q], and as columns of zeros and ones that add up an order's costs [Q · Q, P]."""
    table = torch.tensor(list(permutations(range(queries))), device=device)
    return table, one_hot(table, queries).double().flatten(1).T.contiguous()

"""Match region queries to annotated regions: one Hungarian matching an image, once a step.

All of it is NumPy on the host: arrays this small cost little but the launch of their operations, dearer in torch. A
device would have to be waited for anyway, because how many regions an image has decides what is done.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import permutations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from grain.boxes import iou_and_giou
from grain.structures import Array, RegionTargets

L1_WEIGHT = 5.0
GIOU_WEIGHT = 2.0
PADDING_COST = 1e4  # far above any sum of real costs: padding answers only where nothing else is left
MAX_ENUMERATED = 5  # queries: 120 assignments; beyond that the Hungarian algorithm is quicker

Rows = NDArray[np.int64]


def match_cost(boxes_cxcywh: Tensor, targets: RegionTargets) -> Tensor:
    """Return 5·L1 − 2·GIoU of each annotated region against the queries of its own image only.

    Args:    boxes_cxcywh: [B, Q, 4] of the last decoder layer. targets: R regions.
    Returns: [R, Q] float32, on the host and without gradient.
    """
    boxes, targets_xyxy = boxes_cxcywh.float().numpy(force=True), targets.boxes_xyxy.float().numpy(force=True)
    return torch.from_numpy(_cost(boxes, targets_xyxy, targets.image_index.numpy(force=True)))


def match(boxes_cxcywh: Tensor, targets: RegionTargets, region_mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Find the cheapest one-to-one assignment of queries to regions in each image.

    Args:    boxes_cxcywh: [B, Q, 4]. targets: R regions; an image with more than Q leaves its dearest ones unmatched.
             region_mask: [B, Q], False where a query is padding, which answers for nothing.
    Returns: region [M], query [M]: row of the region and the query that answers for it, M <= R, sorted by region.
    Source:  DETR's matching (Carion et al. 2020), here block-diagonal: images never meet.
    """
    images, queries = boxes_cxcywh.shape[:2]
    if len(targets.image_index) == 0 or queries == 0:
        empty = targets.image_index.new_zeros(0)
        return empty, empty
    image_index = targets.image_index.numpy(force=True)
    cost = match_cost(boxes_cxcywh, targets).numpy()
    if region_mask is not None:
        real = region_mask.numpy(force=True)[image_index]  # [R, Q]
        cost = np.where(real, cost, PADDING_COST)
    per_image = np.bincount(image_index, minlength=images)
    enumerable = queries <= MAX_ENUMERATED and per_image.max() <= queries
    region, query = (_enumerate if enumerable else _hungarian)(cost, image_index, per_image)
    if region_mask is not None:
        kept = real[region, query]
        region, query = region[kept], query[kept]
    return torch.from_numpy(region).to(boxes_cxcywh.device), torch.from_numpy(query).to(boxes_cxcywh.device)


def _cost(boxes_cxcywh: Array, targets_xyxy: Array, image_index: Rows) -> Array:
    # Fortran's order puts the coordinates outermost in memory, so that every operation runs over long rows
    predicted = np.asfortranarray(boxes_cxcywh.take(image_index, axis=0))  # [R, Q, 4]
    target = np.asfortranarray(targets_xyxy)[:, None]  # [R, 1, 4]
    centre, size = predicted[..., :2], predicted[..., 2:]
    low, high = target[..., :2], target[..., 2:]
    gap = abs(centre - (low + high) / 2) + abs(size - (high - low))  # [R, Q, 2]: along each axis
    half = size / 2
    _, giou = iou_and_giou(np.concatenate([centre - half, centre + half], axis=-1), target)
    cost: Array = L1_WEIGHT * (gap[..., 0] + gap[..., 1]) - GIOU_WEIGHT * giou
    return cost


def _enumerate(cost: Array, image_index: Rows, per_image: Rows) -> tuple[Rows, Rows]:
    """Try every assignment of all images at once: for five queries that is 120 sums an image, in one product."""
    images, queries = len(per_image), cost.shape[1]
    rows, order = np.arange(len(cost)), np.argsort(image_index, kind="stable")
    first = per_image.cumsum() - per_image
    slot = np.empty_like(order)
    slot[order] = rows - first[image_index[order]]
    where = image_index * queries + slot
    padded = np.zeros((images * queries, queries))  # a region that is not there costs nothing wherever it goes
    padded[where] = cost
    table, chosen = _assignments(queries)
    best = table[(padded.reshape(images, -1) @ chosen).argmin(1)].ravel()  # [B · Q]: the query of each slot
    return rows, best[where]


def _hungarian(cost: Array, image_index: Rows, per_image: Rows) -> tuple[Rows, Rows]:
    # a step gone to NaN is the guard's to skip: it must get past the matching, whatever that then says
    table, order = np.nan_to_num(cost), np.argsort(image_index, kind="stable")
    regions, chosen = [], []
    for of_image in np.split(order, per_image.cumsum()[:-1]):
        rows, columns = linear_sum_assignment(table[of_image])
        regions.append(of_image[rows])
        chosen.append(columns)
    region, query = np.concatenate(regions), np.concatenate(chosen)
    order = np.argsort(region)
    return region[order], query[order]


@lru_cache(maxsize=MAX_ENUMERATED)
def _assignments(queries: int) -> tuple[Rows, NDArray[np.float64]]:
    """List all orders of the queries [P, Q], also as 0/1 columns that add up an order's costs [Q · Q, P]."""
    table = np.array(list(permutations(range(queries))))
    return table, np.ascontiguousarray(np.eye(queries)[table].reshape(len(table), -1).T)

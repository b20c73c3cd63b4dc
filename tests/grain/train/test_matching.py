import math
from itertools import combinations, permutations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torchvision.ops import generalized_box_iou

from grain.boxes import cxcywh_to_xyxy, xyxy_to_cxcywh
from grain.structures import RegionTargets
from grain.train.matching import MAX_ENUMERATED, match, match_cost

PLACES = st.integers(0, 4).map(lambda step: step / 4)  # a coarse grid: ties and boxes without area are common


def targets_of(boxes: list[list[float]], image_index: list[int]) -> RegionTargets:
    index = torch.tensor(image_index, dtype=torch.long)
    return RegionTargets(torch.tensor(boxes).reshape(-1, 4), index, torch.zeros_like(index))


@st.composite
def matchings(draw: st.DrawFn, queries: st.SearchStrategy[int], surplus: int) -> tuple[Tensor, RegionTargets]:
    """Predicted boxes [B, Q, 4], and regions of the images in any order, up to Q + surplus (at most 5) each."""
    count, images = draw(queries), draw(st.integers(1, 3))
    regions = [draw(st.integers(0, min(count + surplus, 5))) for _ in range(images)]
    owners = draw(st.permutations([image for image, many in enumerate(regions) for _ in range(many)]))

    def boxes(rows: int) -> Tensor:
        flat = draw(st.lists(PLACES, min_size=4 * rows, max_size=4 * rows))
        return torch.tensor(flat).reshape(rows, 2, 2).sort(dim=1).values.reshape(rows, 4)

    predicted = xyxy_to_cxcywh(boxes(images * count)).reshape(images, count, 4)
    return predicted, targets_of(boxes(len(owners)).tolist(), owners)


def cheapest(cost: Tensor) -> float:
    """Total of the best one-to-one assignment of one image, by trying all: cost [R, Q]."""
    regions, queries = cost.shape
    size = min(regions, queries)
    return min(
        math.fsum(float(cost[r, q]) for r, q in zip(rows, columns, strict=True))
        for rows in combinations(range(regions), size)
        for columns in permutations(range(queries), size)
    )


def check_against_all(predicted: Tensor, targets: RegionTargets) -> None:
    region, query = match(predicted, targets)
    cost = match_cost(predicted, targets).double()
    assert region.tolist() == sorted(set(region.tolist()))
    for image in range(len(predicted)):
        mine = torch.nonzero(targets.image_index == image).flatten()
        won = targets.image_index[region] == image
        assert int(won.sum()) == min(len(mine), predicted.shape[1])
        assert len(set(query[won].tolist())) == int(won.sum()), "a query answers for one region only"
        total = float(cost[region[won], query[won]].sum())
        assert total == pytest.approx(cheapest(cost[mine]), abs=1e-6)


@given(matchings(st.integers(1, MAX_ENUMERATED), surplus=0))
def test_the_enumeration_finds_the_cheapest_of_all_assignments(case: tuple[Tensor, RegionTargets]) -> None:
    check_against_all(*case)


@given(matchings(st.just(MAX_ENUMERATED + 1), surplus=0))
def test_the_hungarian_algorithm_finds_the_cheapest_of_all_assignments(case: tuple[Tensor, RegionTargets]) -> None:
    check_against_all(*case)


@given(matchings(st.integers(1, 3), surplus=2))
def test_more_regions_than_queries_leave_the_dearest_unmatched(case: tuple[Tensor, RegionTargets]) -> None:
    check_against_all(*case)


@given(matchings(st.integers(1, 7), surplus=2), st.integers(1, 3))
def test_padding_queries_change_no_assignment(case: tuple[Tensor, RegionTargets], surplus: int) -> None:
    predicted, targets = case
    tempting = targets.boxes_xyxy[:1] if len(targets.boxes_xyxy) else torch.tensor([[0.0, 0.0, 1.0, 1.0]])
    padding = xyxy_to_cxcywh(tempting).expand(len(predicted), surplus, 4)
    padded = torch.cat([predicted, padding], dim=1)
    mask = torch.arange(padded.shape[1]).expand(len(padded), -1) < predicted.shape[1]
    region, query = match(padded, targets, mask)
    assert bool((query < predicted.shape[1]).all())
    plain_region, plain_query = match(predicted, targets)
    cost = match_cost(predicted, targets).double()
    assert len(region) == len(plain_region)
    assert float(cost[region, query].sum()) == pytest.approx(float(cost[plain_region, plain_query].sum()), abs=1e-5)


def test_an_image_of_nothing_but_padding_leaves_its_regions_unmatched() -> None:
    targets = targets_of([[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1]], [0, 1])
    region, query = match(torch.rand(2, 3, 4), targets, torch.tensor([[False] * 3, [False, True, False]]))
    assert (region.tolist(), query.tolist()) == ([1], [1])


def test_the_cost_is_five_times_the_distance_minus_two_times_the_overlap() -> None:
    predicted = torch.tensor([[[0.5, 0.5, 0.5, 0.5], [0.75, 0.75, 0.5, 0.5]]])
    cost = match_cost(predicted, targets_of([[0.5, 0.5, 1.0, 1.0]], [0]))
    assert cost[0].tolist() == pytest.approx([5 * 0.5 - 2 * (1 / 7 - 2 / 9), -2.0])


def random_case(images: int, queries: int, regions: int) -> tuple[Tensor, RegionTargets]:
    """Boxes [B, Q, 4], and as many regions of every image, all with an area."""
    make = torch.Generator().manual_seed(0)
    predicted, wanted = (0.2 + 0.3 * torch.rand(images, many, 4, generator=make) for many in (queries, regions))
    return predicted, targets_of(
        cxcywh_to_xyxy(wanted).flatten(0, 1).tolist(), torch.arange(images).repeat_interleave(regions).tolist()
    )


def test_the_cost_is_the_one_of_detr() -> None:
    predicted, targets = random_case(images=8, queries=7, regions=3)
    boxes, wanted = predicted.flatten(0, 1), targets.boxes_xyxy
    overlap = generalized_box_iou(wanted, cxcywh_to_xyxy(boxes))
    everything = (5 * torch.cdist(xyxy_to_cxcywh(wanted), boxes, p=1) - 2 * overlap).view(len(wanted), 8, 7)
    own = everything[torch.arange(len(wanted)), targets.image_index]
    torch.testing.assert_close(match_cost(predicted, targets), own, rtol=0, atol=1e-5)


def test_neither_autocast_nor_a_gradient_changes_the_assignment() -> None:
    predicted, targets = random_case(images=64, queries=MAX_ENUMERATED, regions=MAX_ENUMERATED)
    expected = match(predicted, targets)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = match(predicted.requires_grad_(), targets)
    assert all(map(torch.equal, found, expected))


def test_a_region_is_matched_within_its_own_image() -> None:
    exact = [0.25, 0.25, 0.5, 0.5]
    predicted = torch.tensor([[[0.9, 0.9, 0.1, 0.1], [0.6, 0.6, 0.2, 0.2]], [exact, exact]])
    region, query = match(predicted, targets_of([[0.0, 0.0, 0.5, 0.5]], [0]))
    assert (region.tolist(), query.tolist()) == ([0], [1])


def test_no_regions_and_no_queries_match_nothing() -> None:
    some = torch.rand(2, 3, 4)
    for predicted, targets in [(some, targets_of([], [])), (some[:, :0], targets_of([[0, 0, 1, 1]], [1]))]:
        region, query = match(predicted, targets)
        assert region.tolist() == query.tolist() == []
        assert region.dtype == query.dtype == torch.long


@pytest.mark.parametrize("queries", [MAX_ENUMERATED, MAX_ENUMERATED + 1])
def test_broken_boxes_of_one_image_leave_the_others_alone(queries: int) -> None:
    predicted = torch.rand(3, queries, 4, generator=torch.Generator().manual_seed(queries))
    targets = targets_of([[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1], [0, 0, 1, 1], [0, 0, 0.5, 1]], [2, 1, 0, 2])
    _, query = match(predicted, targets)
    _, beside = match(predicted.index_fill(0, torch.tensor([1]), torch.nan), targets)
    assert beside[[0, 2, 3]].tolist() == query[[0, 2, 3]].tolist()


@pytest.mark.parametrize("queries", [MAX_ENUMERATED, MAX_ENUMERATED + 1])
def test_broken_boxes_still_give_an_assignment_so_that_the_guard_can_skip_the_step(queries: int) -> None:
    predicted = torch.full((1, queries, 4), torch.nan)
    region, query = match(predicted, targets_of([[0, 0, 1, 1], [0, 0, 0.5, 0.5]], [0, 0]))
    assert region.tolist() == [0, 1]
    assert len(set(query.tolist())) == 2


def test_a_region_of_an_image_that_is_not_there_is_refused() -> None:
    with pytest.raises(IndexError):
        match(torch.rand(1, 3, 4), targets_of([[0, 0, 1, 1]], [1]))

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.ops import generalized_box_iou

from grain.boxes import cxcywh_to_xyxy, iou_and_giou, xyxy_to_cxcywh


def corners(seed: int, count: int = 8) -> torch.Tensor:
    points = torch.rand(count, 2, 2, generator=torch.Generator().manual_seed(seed))
    return points.sort(dim=1).values.reshape(count, 4)


def test_two_squares_that_share_a_quarter_overlap_by_a_seventh() -> None:
    a, b = torch.tensor([0.0, 0.0, 0.5, 0.5]), torch.tensor([0.25, 0.25, 0.75, 0.75])
    iou, giou = iou_and_giou(a, b)
    assert iou.item() == pytest.approx(1 / 7)
    assert giou.item() == pytest.approx(1 / 7 - 2 / 9)


@given(st.integers(0, 10_000))
def test_overlap_is_the_one_of_torchvision_and_does_not_care_about_order(seed: int) -> None:
    a, b = corners(seed), corners(seed + 1)
    iou, giou = iou_and_giou(a, b)
    torch.testing.assert_close(giou, generalized_box_iou(a, b).diagonal())
    torch.testing.assert_close(iou_and_giou(b, a), (iou, giou))
    assert bool(((giou <= iou + 1e-6) & (iou <= 1) & (giou >= -1)).all())


def test_leading_dimensions_broadcast() -> None:
    a, b = corners(0, 3), corners(1, 2)
    _, giou = iou_and_giou(a[:, None], b[None])
    torch.testing.assert_close(giou, generalized_box_iou(a, b))


def test_boxes_without_area_give_zero_overlap_and_finite_gradients() -> None:
    a = torch.tensor([[0.3, 0.3, 0.3, 0.3], [0.1, 0.2, 0.1, 0.9], [0.0, 0.0, 1.0, 1.0]], requires_grad=True)
    iou, giou = iou_and_giou(a, torch.tensor([0.3, 0.3, 0.3, 0.3]))
    assert iou.tolist() == [0.0, 0.0, 0.0]
    assert bool(torch.isfinite(giou).all())
    giou.sum().backward()
    assert a.grad is not None and bool(torch.isfinite(a.grad).all())


def test_no_boxes_give_no_overlaps() -> None:
    iou, giou = iou_and_giou(torch.zeros(0, 4), torch.zeros(0, 4))
    assert iou.shape == giou.shape == (0,)


def test_boxes_that_cannot_be_paired_are_refused() -> None:
    with pytest.raises(RuntimeError, match="size"):
        iou_and_giou(corners(0, 3), corners(1, 2))


def test_centres_and_corners_convert_into_each_other() -> None:
    assert cxcywh_to_xyxy(torch.tensor([0.5, 0.5, 0.5, 0.25])).tolist() == [0.25, 0.375, 0.75, 0.625]
    boxes = corners(3)
    torch.testing.assert_close(cxcywh_to_xyxy(xyxy_to_cxcywh(boxes)), boxes)

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.ops import generalized_box_iou

from grain.boxes import cxcywh_to_xyxy, iou_and_giou, pad_boxes, pool_boxes, xyxy_to_cxcywh


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


def test_boxes_of_several_images_are_padded_to_the_most_and_masked() -> None:
    first, second = [[0.0, 0.0, 0.5, 1.0], [0.25, 0.0, 0.5, 0.5]], [[0.0, 0.5, 1.0, 1.0]]
    padded = pad_boxes([first, [], second])
    assert padded.mask.tolist() == [[True, True], [False, False], [True, False]]
    assert padded.boxes_xyxy[padded.mask].tolist() == [*first, *second]
    assert not padded.boxes_xyxy[~padded.mask].any()


def test_images_without_any_box_still_have_a_row_of_padding() -> None:
    padded = pad_boxes([[], ()])
    assert (padded.boxes_xyxy.shape, padded.mask.tolist()) == ((2, 1, 4), [[False], [False]])
    assert pad_boxes([]).boxes_xyxy.shape == (0, 1, 4)


@pytest.mark.parametrize(
    "box",
    [[0.6, 0.0, 0.5, 1.0], [0.0, 0.9, 1.0, 0.1], [0, 0, 30, 20], [-0.1, 0, 1, 1], [0, 0, float("nan"), 1], [0, 1]],
)
def test_what_is_no_box_inside_the_image_is_refused(box: list[float]) -> None:
    with pytest.raises(ValueError, match=r"proposals must be boxes \[x0, y0, x1, y1\] normalized to the image, x0 <="):
        pad_boxes([[[0, 0, 1, 1]], [box]])
    with pytest.raises(ValueError, match="proposals must be boxes"):
        pad_boxes([[0.0, 0.0, 1.0, 1.0]])


def test_a_map_is_pooled_over_each_box() -> None:
    features = torch.arange(12.0).reshape(1, 6, 2)  # two rows of three cells: 0 to 10 in steps of two, and one more
    boxes = torch.tensor([[[0, 0, 1, 1], [0, 0, 1 / 3, 0.5], [2 / 3, 0, 1, 1], [0.5, 0.75, 0.5, 0.75]]])
    pooled = pool_boxes(features, boxes, (2, 3))
    torch.testing.assert_close(
        pooled, torch.tensor([[[5.0, 6.0], [0.0, 1.0], [7.0, 8.0], [8.0, 9.0]]]), atol=0.02, rtol=0
    )
    assert pool_boxes(features, boxes[:, :0], (2, 3)).shape == (1, 0, 2)


@given(st.integers(0, 10_000))
def test_a_map_of_one_value_is_that_value_in_every_box(seed: int) -> None:
    pooled = pool_boxes(torch.full((2, 12, 3), 7.0), corners(seed).reshape(2, 4, 4), (3, 4))
    torch.testing.assert_close(pooled, torch.full((2, 4, 3), 7.0))

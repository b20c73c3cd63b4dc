import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from grain.config import GrainConfig
from grain.structures import RegionTargets
from grain.train.losses import box_loss, image_caption_loss, region_description_loss
from grain.train_config import LossWeights
from tests.support.tiny import VARIANTS, gradients, losses_of, random_batch, random_proposals, tiny_config, tiny_model

SCALE = torch.tensor(math.log(3.0))
EYE = torch.eye(3)
each_variant = pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)


def unit_rows(rows: int, seed: int) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.randn(rows, 4, generator=torch.Generator().manual_seed(seed)), dim=-1)


def permutation(size: int, seed: int) -> torch.Tensor:
    return torch.randperm(size, generator=torch.Generator().manual_seed(seed))


# image and caption


def test_two_right_pairs_cost_the_log_of_one_plus_a_shrunken_exponential() -> None:
    right = image_caption_loss(EYE[:2], EYE[:2], SCALE)
    swapped = image_caption_loss(EYE[:2], EYE[:2].flip(0), SCALE)
    assert right.item() == pytest.approx(math.log(1 + math.exp(-3)))
    assert swapped.item() == pytest.approx(math.log(1 + math.exp(3)))


@given(st.integers(0, 1000))
def test_images_and_captions_may_change_places_and_pairs_may_change_order(seed: int) -> None:
    images, captions, order = unit_rows(5, seed), unit_rows(5, seed + 1), permutation(5, seed)
    loss = image_caption_loss(images, captions, SCALE)
    torch.testing.assert_close(image_caption_loss(captions, images, SCALE), loss)
    torch.testing.assert_close(image_caption_loss(images[order], captions[order], SCALE), loss)


def test_a_single_pair_costs_nothing() -> None:
    assert image_caption_loss(EYE[:1], EYE[1:2], SCALE).item() == 0


def test_fewer_captions_than_images_are_refused() -> None:
    with pytest.raises(ValueError, match="a caption for each of 3 images, got 2"):
        image_caption_loss(EYE, EYE[:2], SCALE)


def test_images_are_told_from_hard_negatives_which_are_told_from_no_image() -> None:
    texts = torch.cat((EYE[:2], EYE[:1]))  # the third is as near to the first image as its own caption
    forward = (math.log(2 * math.exp(3) + 1) - 3 + math.log(math.exp(3) + 2) - 3) / 2
    backward = math.log(1 + math.exp(-3))
    loss = image_caption_loss(EYE[:2], texts, SCALE)
    assert loss.item() == pytest.approx((forward + backward) / 2)


# boxes


def test_a_box_half_its_side_away_costs_half_plus_one_minus_its_overlap() -> None:
    loss, iou = box_loss(torch.tensor([[[0.5, 0.5, 0.5, 0.5]]]), torch.tensor([[0.5, 0.5, 1.0, 1.0]]))
    assert loss.item() == pytest.approx(0.5 + 1 - (1 / 7 - 2 / 9))
    assert iou.item() == pytest.approx(1 / 7)


def test_the_box_loss_is_a_mean_over_boxes_and_over_layers() -> None:
    here, there, target = [0.75, 0.75, 0.5, 0.5], [0.5, 0.5, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0]
    one, _ = box_loss(torch.tensor([[there]]), torch.tensor([target]))
    two_boxes, _ = box_loss(torch.tensor([[there, here]]), torch.tensor([target, target]))
    two_layers, iou = box_loss(torch.tensor([[there], [here]]), torch.tensor([target]))
    assert two_boxes.item() == two_layers.item() == pytest.approx(one.item() / 2)
    assert iou.item() == pytest.approx(1.0), "of the last layer"


def test_no_boxes_cost_nothing_and_give_a_zero_gradient() -> None:
    boxes = torch.rand(2, 0, 4, requires_grad=True)
    loss, iou = box_loss(boxes, torch.zeros(0, 4))
    loss.backward()
    assert (loss.item(), iou.item()) == (0, 0)
    assert boxes.grad is not None


def test_boxes_of_another_number_than_targets_are_refused() -> None:
    with pytest.raises(RuntimeError, match="size"):
        box_loss(torch.rand(1, 3, 4), torch.rand(2, 4))


# regions and descriptions


def test_two_right_matches_cost_as_much_as_two_right_pairs() -> None:
    index = torch.tensor([0, 1])
    loss = region_description_loss(EYE[:2], EYE[:2], text_index=index, text_ids=torch.tensor([5, 3]), logit_scale=SCALE)
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-3)))


def test_regions_of_the_same_text_are_not_each_others_negatives() -> None:
    regions = EYE[[0, 0, 1]]
    loss = region_description_loss(
        regions, EYE[:2], text_index=torch.tensor([0, 0, 1]), text_ids=torch.tensor([7, 9]), logit_scale=SCALE
    )
    towards = math.log(1 + math.exp(-3))
    back = (2 * math.log(1 + math.exp(-3)) + math.log(1 + 2 * math.exp(-3))) / 3
    assert loss.item() == pytest.approx((towards + back) / 2)


def test_one_direction_is_the_cross_entropy_from_region_to_description() -> None:
    index, ids = torch.tensor([0]), torch.tensor([4, 2])
    loss = region_description_loss(EYE[:1], EYE[:2], text_index=index, text_ids=ids, logit_scale=SCALE, symmetric=False)
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-3)))
    both = region_description_loss(EYE[:1], EYE[:2], text_index=index, text_ids=ids, logit_scale=SCALE)
    assert both.item() == pytest.approx(loss.item() / 2), "one region has no rival on the way back"


@given(st.integers(0, 1000), st.booleans())
def test_duplicate_texts_are_one_class(seed: int, symmetric: bool) -> None:
    regions, texts = unit_rows(4, seed), unit_rows(3, seed + 1)
    once = region_description_loss(
        regions,
        texts,
        text_index=torch.tensor([0, 1, 1, 2]),
        text_ids=torch.tensor([8, 6, 7]),
        logit_scale=SCALE,
        symmetric=symmetric,
    )
    repeated = region_description_loss(
        regions,
        texts[[1, 0, 1, 2]],
        text_index=torch.tensor([1, 0, 2, 3]),
        text_ids=torch.tensor([6, 8, 6, 7]),
        logit_scale=SCALE,
        symmetric=symmetric,
    )
    torch.testing.assert_close(repeated, once)


@given(st.integers(0, 1000))
def test_the_order_of_matches_does_not_matter(seed: int) -> None:
    regions, texts, index, order = unit_rows(6, seed), unit_rows(3, seed + 1), torch.arange(6) % 3, permutation(6, seed)
    ids = torch.tensor([3, 1, 2])
    loss = region_description_loss(regions, texts, text_index=index, text_ids=ids, logit_scale=SCALE)
    torch.testing.assert_close(
        region_description_loss(regions[order], texts, text_index=index[order], text_ids=ids, logit_scale=SCALE), loss
    )


def test_no_matches_cost_nothing_and_give_a_zero_gradient() -> None:
    regions, texts = torch.zeros(0, 4, requires_grad=True), torch.zeros(2, 4, requires_grad=True)
    scale = SCALE.clone().requires_grad_()
    none = torch.zeros(0, dtype=torch.long)
    loss = region_description_loss(regions, texts, text_index=none, text_ids=torch.tensor([1, 2]), logit_scale=scale)
    loss.backward()
    assert loss.item() == 0
    assert texts.grad is not None and texts.grad.abs().sum() == 0
    assert scale.grad is not None and scale.grad == 0


def test_a_text_that_is_not_in_the_table_is_refused() -> None:
    with pytest.raises(IndexError):
        region_description_loss(
            EYE[:1], EYE[:2], text_index=torch.tensor([2]), text_ids=torch.tensor([1, 2]), logit_scale=SCALE
        )


# all three on a model


@each_variant
def test_a_batch_without_boxes_gives_a_finite_loss_and_a_gradient_to_every_trainable_parameter(options: dict) -> None:
    config = tiny_config(**options)
    model, batch = tiny_model(config), random_batch(config, [0, 0, 0])
    losses = losses_of(model, batch)
    losses.total.backward()
    assert (losses.box.item(), losses.region_description.item(), losses.box_iou.item()) == (0, 0, 0)
    assert losses.total.item() == pytest.approx(losses.image_caption.item())
    gradients = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    assert len(gradients) > 80
    assert [name for name, grad in gradients.items() if grad is None or not bool(torch.isfinite(grad).all())] == []
    of_boxes = [grad for name, grad in gradients.items() if ".box." in name]
    assert len(of_boxes) == 6 and not any(bool(grad.any()) for grad in of_boxes if grad is not None)


@each_variant
def test_without_boxes_the_two_grounding_losses_give_every_parameter_a_gradient_of_exactly_zero(options: dict) -> None:
    config = tiny_config(**options)
    model, batch = tiny_model(config), random_batch(config, [0, 0])
    losses_of(model, batch, LossWeights(image_caption=0.0)).total.backward()
    gradients = [p.grad for p in model.parameters() if p.requires_grad]
    assert len(gradients) > 80
    assert all(grad is not None and not bool(grad.any()) for grad in gradients)


def test_over_proposals_a_batch_without_regions_or_any_proposal_gives_finite_gradients_to_every_parameter() -> None:
    config = tiny_config(queries="proposals", add_regions=True)
    for batch in (
        random_batch(config, [0, 0, 0]),
        replace(random_batch(config, [1, 0, 2]), proposals=random_proposals([0, 0, 0])),
    ):
        model = tiny_model(config)
        losses = losses_of(model, batch)
        losses.total.backward()
        assert (losses.box.item(), losses.region_description.item(), losses.box_iou.item()) == (0, 0, 0)
        assert all(bool(torch.isfinite(gradient).all()) for gradient in gradients(model).values())


@pytest.mark.parametrize("queries", [3, 7], ids=["enumerated", "hungarian"])
def test_the_order_of_regions_is_irrelevant(queries: int) -> None:
    config = tiny_config(num_queries=queries)
    model, batch = tiny_model(config), random_batch(config, [2, 0, 3, 1])
    order = torch.tensor([5, 2, 0, 4, 1, 3])
    shuffled = RegionTargets(*(rows[order] for rows in vars(batch.regions).values()))
    before, after = losses_of(model, batch), losses_of(model, replace(batch, regions=shuffled))
    for name, value in vars(before).items():
        torch.testing.assert_close(getattr(after, name), value, msg=name)


def test_the_total_is_the_weighted_sum() -> None:
    config = tiny_config()
    model, batch = tiny_model(config), random_batch(config, [2, 1])
    parts = losses_of(model, batch)
    plain = parts.image_caption + parts.box + parts.region_description
    assert parts.total.item() == pytest.approx(plain.item())
    weighted = losses_of(model, batch, LossWeights(0.5, 2.0, 3.0, box_scale=1.5))
    expected = 0.5 * parts.image_caption + 2 * 1.5 * parts.box + 3 * parts.region_description
    assert weighted.total.item() == pytest.approx(expected.item(), rel=1e-5)


def test_every_layer_gets_a_box_loss_only_where_that_is_asked_for() -> None:
    for every, layers in [(False, 1), (True, 2)]:
        config = tiny_config(box_every_layer=every)
        model, batch = tiny_model(config), random_batch(config, [1, 1])
        output, _, _ = model(batch.images, [batch.captions])
        assert len(output.boxes_cxcywh) == layers


def test_the_clip_baseline_has_only_the_contrast_of_images_and_captions() -> None:
    config: GrainConfig = tiny_config().as_clip()
    model, batch = tiny_model(config), random_batch(config, [0, 0, 0])
    losses = losses_of(model, batch)
    losses.total.backward()
    assert losses.total.item() == losses.image_caption.item() > 0
    assert (losses.box.item(), losses.region_description.item()) == (0, 0)
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)

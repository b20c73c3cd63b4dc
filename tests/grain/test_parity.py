"""Compare our formulas with numbers that the authors' own code gave, kept in tests/support/parity.safetensors.

Their repository (github.com/shaunak27/grain-clip, commit c6bf85e) was run once outside of this one, on one CPU thread
in float32: `ObjDecoder` with `Cross_Attention` (3 layers of width 32, 4 heads, 5 region queries) in eval mode, every
weight drawn from seed 20241204; `HungarianMatcher`, `compute_box_loss`, `WordContrastiveLoss`; `CLIPLoss` in one
process and in two (gloo); and `our_eval.test` with embeddings in the place of texts. The file holds the inputs, the
weights and the answers, and names the versions in its metadata. None of their code is here. docs/reference/parity.md
lists what differs on purpose; the tests below state it in numbers.
"""

import json
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import Tensor
from torch.nn import functional as F

from grain.config import ClassTexts
from grain.model.model import GrainModel
from grain.structures import GrainOutput, RegionRule, RegionTargets
from grain.train.losses import Losses, box_loss, grain_losses, image_caption_loss, region_description_loss
from grain.train.matching import match
from grain.train_config import LossWeights
from grain.zero_shot import ClassBank, build_class_bank, global_scores, mix, region_scores
from tests.support.paths import ROOT
from tests.support.tiny import tiny_config

TOLERANCE = 1e-5
THEIR_WEIGHTS = LossWeights(symmetric=False, gathered=False, box_scale=1.5)
BATCHES = 20
TEMPLATES = ("a photo of a {name}", "a drawing of the {name}")
NAMES = {
    "weights.proj.": "decoder.to_memory.",
    "weights.transformer.pre_norm.": "decoder.memory_norm.",
    "weights.transformer.decoder.layers.": "decoder.layers.",
    "weights.transformer.decoder.norm.": "decoder.norm.",
    "weights.query_embed.": "decoder.queries.",
    ".self_attn.": ".self_attention.",
    ".multihead_attn.": ".cross_attention.",
    ".norm1.": ".norm_self.",
    ".norm2.": ".norm_cross.",
    ".norm3.": ".norm_ffn.",
    ".linear1.": ".expand.",
    ".linear2.": ".contract.",
    "weights.bbox_embed.layers.0.": "heads.box.layers.0.",
    "weights.bbox_embed.layers.1.": "heads.box.layers.2.",
    "weights.bbox_embed.layers.2.": "heads.box.layers.4.",
    "weights.obj_proj": "heads.region_projection",
    "weights.img_proj": "heads.image_projection",
}


@cache
def stored() -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Their numbers, and what is said of them."""
    with safe_open(ROOT / "tests" / "support" / "parity.safetensors", framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata())  # noqa: SIM118


def theirs(name: str) -> Tensor:
    return stored()[0][name]


def close(ours: Tensor, name: str, tolerance: float = TOLERANCE) -> None:
    """Not further away from their number than the tolerance."""
    assert ours.shape == theirs(name).shape and ours.numel() > 0
    assert float((ours - theirs(name)).abs().max()) <= tolerance


def renamed(name: str) -> str:
    """Our name of one of their weights."""
    for old, new in NAMES.items():
        name = name.replace(old, new)
    return name


@cache
def our_model() -> GrainModel:
    """Ours with their weights in the decoder and the heads; every parameter is set, none is left over."""
    config = tiny_config(width=32, layers=3, heads=4, ffn=48, num_queries=5)
    model = GrainModel(replace(config, vision_cfg={**config.vision_cfg, "width": 24, "head_width": 12}))
    state = {renamed(name): value for name, value in stored()[0].items() if name.startswith("weights.")}
    missing, left_over = model.load_state_dict(state, strict=False)
    assert left_over == [] and [name for name in missing if name.startswith(("decoder", "heads"))] == []
    assert len(state) > 60
    return model.eval()


@cache
def our_output() -> GrainOutput:
    with torch.no_grad():
        return our_model().decode(theirs("tokens"), torch.zeros(6, 16))


def targets() -> RegionTargets:
    boxes, image = theirs("targets_xyxy"), theirs("target_image")
    return RegionTargets(boxes_xyxy=boxes, image_index=image, text_index=torch.arange(len(boxes)))


def our_losses(weights: LossWeights, images: slice = slice(None)) -> Losses:
    """Of all images, or of those that one of their processes had."""
    output, every = our_output(), targets()
    mine = torch.arange(6)[images]
    rows = torch.isin(every.image_index, mine)
    boxes, index = every.boxes_xyxy[rows], every.image_index[rows] - mine[0]
    return grain_losses(
        GrainOutput(output.image_embeds[images], output.region_embeds[images], output.boxes_cxcywh[:, images]),
        caption_embeds=theirs("captions")[images],
        description_embeds=theirs("descriptions")[rows],
        targets=RegionTargets(boxes_xyxy=boxes, image_index=index, text_index=torch.arange(len(boxes))),
        description_ids=torch.arange(len(boxes)),
        logit_scale=theirs("logit_scale"),
        weights=weights,
    )


def matched() -> tuple[Tensor, Tensor]:
    """Boxes [1, M, 4] and embeddings [M, E] of the queries that answer for the regions, in the regions' order."""
    output, every = our_output(), targets()
    region, query = match(output.boxes_cxcywh[-1], every)
    assert region.tolist() == list(range(len(every.boxes_xyxy))), "five queries answer for all"
    return output.boxes_cxcywh[:, every.image_index, query], output.region_embeds[every.image_index, query]


# decoder and heads


def test_the_decoders_hidden_states_are_theirs_in_every_layer() -> None:
    with torch.no_grad():
        decoder = our_model().decoder
        assert decoder is not None
        close(decoder(theirs("tokens")), "states")


def test_boxes_and_embeddings_are_theirs() -> None:
    output = our_output()
    close(output.boxes_cxcywh[-1], "boxes")
    close(output.region_embeds, "region_embeds")
    close(output.image_embeds, "image_embeds")
    assert theirs("boxes").std() > 0.1, "not all the same"


# matching


def test_the_matching_is_theirs_in_every_batch() -> None:
    regions = 0
    for batch in range(BATCHES):
        name = f"matching.{batch:02d}."
        boxes, image = theirs(f"{name}targets_xyxy"), theirs(f"{name}image")
        found = match(theirs(f"{name}boxes"), RegionTargets(boxes, image, torch.zeros_like(image)))
        assert torch.stack(found, dim=1).tolist() == theirs(f"{name}pairs").tolist()
        regions += len(theirs(f"{name}pairs"))
    assert regions > 250


# losses


def test_the_losses_of_one_process_are_theirs_in_their_form() -> None:
    ours = our_losses(THEIR_WEIGHTS)
    close(ours.image_caption, "image_caption")
    close(ours.region_description, "region_description")
    close(ours.box, "box_loss_without_term")


def test_the_box_loss_differs_by_their_constant_in_the_union_alone() -> None:
    gap = float(theirs("box_loss") - our_losses(THEIR_WEIGHTS).box)
    assert TOLERANCE < gap <= 1.5e-4, "0.0001 in the denominator of the IoU makes every overlap a little smaller"


def test_by_default_the_box_loss_is_two_thirds_of_theirs() -> None:
    ours, _ = box_loss(matched()[0], theirs("targets_xyxy"))
    assert ours.item() == pytest.approx(theirs("box_loss_without_term").item() / 1.5, abs=TOLERANCE)


def test_the_contrastive_loss_over_two_processes_is_the_mean_of_theirs() -> None:
    whole = image_caption_loss(our_output().image_embeds, theirs("captions"), theirs("logit_scale"))
    assert whole.item() == pytest.approx(theirs("image_caption_halves").mean().item(), abs=TOLERANCE)


def test_descriptions_meet_those_of_other_processes_only_with_us() -> None:
    halves = [our_losses(THEIR_WEIGHTS, part).region_description for part in (slice(0, 3), slice(3, 6))]
    close(torch.stack(halves), "region_description_halves")
    assert our_losses(LossWeights(symmetric=False)).region_description > theirs("region_description_halves").mean() + 1


def test_two_processes_count_their_boxes_together_only_with_us() -> None:
    halves, boxes = theirs("box_loss_halves"), torch.tensor([8.0, 7.0])
    together, ours = (halves * boxes).sum() / boxes.sum(), our_losses(THEIR_WEIGHTS).box
    assert ours.item() == pytest.approx(together.item(), abs=1.5e-4), "their constant in the union remains"
    assert abs(ours.item() - halves.mean().item()) > 0.02, "each process weighs as much as the other, whatever it has"


def test_ours_also_asks_which_region_a_description_means() -> None:
    regions, texts = matched()[1], theirs("descriptions")
    back = F.cross_entropy(theirs("logit_scale").exp() * texts @ regions.T, torch.arange(len(texts)))
    ours = our_losses(LossWeights()).region_description
    assert ours.item() == pytest.approx((theirs("region_description") + back).item() / 2, abs=TOLERANCE)


def test_a_text_that_stands_there_again_is_a_negative_of_itself_only_with_them() -> None:
    again = theirs("repeated_rows")
    texts = theirs("descriptions").clone()
    texts[again] = texts[again[0]].clone()
    index = torch.arange(len(texts))

    def loss(ids: Tensor) -> Tensor:
        scale = theirs("logit_scale")
        return region_description_loss(
            matched()[1], texts, text_index=index, text_ids=ids, logit_scale=scale, symmetric=False, gathered=False
        )

    close(loss(index), "region_description_repeated")
    once = index.clone()
    once[again] = again[0]
    logits = theirs("logit_scale").exp() * matched()[1] @ texts.T
    logits[:, again[1:]] = float("-inf")
    ours = loss(once)
    assert ours.item() == pytest.approx(F.cross_entropy(logits, once).item(), abs=TOLERANCE)
    assert ours < theirs("region_description_repeated") - 0.05


# class scores


def bank(region_rule: RegionRule = "best_region") -> ClassBank:
    """Their classes and texts."""
    facts = stored()[1]
    rows = {text: row for row, text in enumerate(json.loads(facts["texts"]))}
    described = tuple(
        f"{name}, which has {{description}}" for name in ("a photo of a {name}", "a drawing of the {name}")
    )
    embeds = theirs("text_embeds").numpy()
    return build_class_bank(
        json.loads(facts["classes"]),
        ClassTexts(descriptions=described),
        lambda texts: embeds[[rows[text] for text in texts]],
        region_rule=region_rule,
    )


def mean_lengths(classes: ClassBank) -> np.ndarray[Any, Any]:
    """Length of the mean of each class's texts, which they leave as it is, [C]."""
    sums = np.zeros_like(classes.class_embeds)
    np.add.at(sums, classes.class_index, classes.prompted * classes.lengths[:, None])
    return np.linalg.norm(sums, axis=1) / (len(TEMPLATES) * np.bincount(classes.class_index))


def test_class_scores_by_the_image_are_theirs_but_for_the_length_of_a_classs_mean() -> None:
    classes = bank()
    ours, lengths = global_scores(our_output().image_embeds.numpy(), classes), mean_lengths(classes)
    assert theirs("alphas").tolist() == [1.0, 0.5, 0.0]
    np.testing.assert_allclose(ours * lengths, theirs("class_scores")[0], atol=TOLERANCE)
    assert lengths.max() - lengths.min() > 0.2, "a class whose texts disagree scores less with them"


def test_class_scores_by_regions_and_mixed_are_theirs_by_their_rule() -> None:
    classes = bank("best_description")
    whole = global_scores(our_output().image_embeds.numpy(), classes) * mean_lengths(classes)
    parts = region_scores(our_output().region_embeds.numpy(), classes)
    for alpha, scores in zip(theirs("alphas").tolist(), theirs("class_scores"), strict=True):
        np.testing.assert_allclose(mix(whole, parts, alpha), scores, atol=TOLERANCE)


def test_the_two_rules_score_the_same_regions_otherwise() -> None:
    regions = our_output().region_embeds.numpy()
    ours, by_their_rule = (region_scores(regions, bank(rule)) for rule in ("best_region", "best_description"))
    assert abs(ours - by_their_rule).min() > 0.005

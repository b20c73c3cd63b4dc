import math

import pytest
import torch
from torch import nn

from grain.boxes import pad_boxes, xyxy_to_cxcywh
from grain.config import PRESETS, DecoderConfig, GrainConfig, preset
from grain.model.decoder import sine_embedding, sine_position
from grain.model.model import MAX_LOGIT_SCALE, GrainModel, parameter_groups
from grain.structures import Proposals
from tests.support.tiny import VARIANTS, losses_of, random_batch, random_proposals, tiny_config, tiny_model

each_variant = pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)


def count(*modules: nn.Module) -> int:
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


def on_meta(config: GrainConfig) -> GrainModel:
    """Every shape, no memory."""
    with torch.device("meta"):
        return GrainModel(config)


# size


def test_the_papers_model_has_the_parameters_that_it_counts() -> None:
    model = on_meta(preset("vit-b-16"))
    clip = on_meta(preset("vit-b-16").as_clip())
    added = count(model) - count(clip)
    assert count(clip) == 149_626_881
    assert added == 26_674_180 == count(model.decoder, model.heads)
    token_table = count(clip.text.trunk.token_embedding)
    assert (added / count(clip), added / (count(clip) - token_table)) == pytest.approx((0.178, 0.215), abs=5e-4)


def test_the_sample_preset_fits_in_twenty_megabytes_as_16_bit_numbers() -> None:
    assert 2 * count(on_meta(preset("sample"))) < 20e6


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_preset_is_built_and_survives_json(name: str) -> None:
    config = preset(name)
    assert GrainConfig.from_json(config.to_json()) == config
    assert GrainConfig.from_json(config.as_clip().to_json()) == config.as_clip()
    model = on_meta(config)
    assert model.vision.grid[0] * config.vision_cfg["patch_size"] == config.image_size


def test_the_options_are_off_in_the_papers_presets() -> None:
    checked = 0
    for name in ("vit-b-16", "vit-b-32", "vit-l-14"):
        decoder = preset(name).decoder
        assert decoder is not None
        assert [key for key, value in vars(decoder).items() if value is True] == []
        assert (decoder.layers, decoder.num_queries, decoder.dropout, decoder.ffn) == (6, 5, 0.1, 4 * decoder.width)
        checked += 1
    assert checked == 3


# forward


@each_variant
def test_a_pass_gives_unit_embeddings_and_boxes_inside_the_image(options: dict) -> None:
    config = tiny_config(**options)
    model, batch = tiny_model(config), random_batch(config, [1, 0, 2])
    output, texts, scale = model(batch.images, [batch.captions, batch.descriptions])
    assert output.image_embeds.shape == (3, 16)
    assert output.region_embeds.shape == (3, 3, 16)
    assert output.boxes_cxcywh.shape[1:] == (3, 3, 4)
    assert [rows.shape for rows in texts] == [(3, 16), (5, 16)]
    for embeds in [output.image_embeds, output.region_embeds, *texts]:
        torch.testing.assert_close(embeds.norm(dim=-1), torch.ones(embeds.shape[:-1]))
    assert output.boxes_cxcywh.min() > 0 and output.boxes_cxcywh.max() < 1
    assert scale.exp().item() == pytest.approx(1 / 0.07)


@each_variant
def test_a_picture_does_not_depend_on_its_neighbours(options: dict) -> None:
    config = tiny_config(**options)
    model, images = tiny_model(config).eval(), random_batch(config, [0, 0, 0]).images
    with torch.no_grad():
        whole = model.encode_image(images)
        alone = model.encode_image(images[1:2])
    torch.testing.assert_close(alone.image_embeds[0], whole.image_embeds[1])
    torch.testing.assert_close(alone.region_embeds[0], whole.region_embeds[1])
    torch.testing.assert_close(alone.boxes_cxcywh[:, 0], whole.boxes_cxcywh[:, 1])


@each_variant
def test_leaving_out_the_boxes_changes_no_embedding(options: dict) -> None:
    config = tiny_config(**options)
    model, images = tiny_model(config).eval(), random_batch(config, [0, 0]).images
    with torch.no_grad():
        with_boxes, without = model.encode_image(images), model.encode_image(images, with_boxes=False)
    assert len(with_boxes.boxes_cxcywh) == 1
    torch.testing.assert_close(without.image_embeds, with_boxes.image_embeds)
    torch.testing.assert_close(without.region_embeds, with_boxes.region_embeds)


def test_without_switches_no_box_head_runs_where_boxes_are_not_asked_for() -> None:
    model = tiny_model(tiny_config()).eval()
    assert model.encode_image(torch.zeros(2, 3, 32, 32), with_boxes=False).boxes_cxcywh.shape == (0, 2, 3, 4)


def test_dropout_acts_in_training_only() -> None:
    config = tiny_config(dropout=0.5)
    model, images = tiny_model(config), random_batch(config, [0, 0]).images
    with torch.no_grad():
        assert not torch.equal(model.encode_image(images).image_embeds, model.encode_image(images).image_embeds)
        model.eval()
        assert torch.equal(model.encode_image(images).image_embeds, model.encode_image(images).image_embeds)


def test_the_clip_twin_is_the_same_towers_with_clips_own_projection() -> None:
    config = tiny_config()
    model, twin = tiny_model(config).eval(), tiny_model(config.as_clip()).eval()
    twin.load_state_dict({k: v for k, v in model.state_dict().items() if not k.startswith(("decoder.", "heads."))})
    images = random_batch(config, [0, 0]).images
    output = twin.encode_image(images)
    _, pooled = model.vision(images)
    torch.testing.assert_close(output.image_embeds, nn.functional.normalize(pooled, dim=-1))
    assert output.region_embeds.shape == (2, 0, 16)
    assert output.boxes_cxcywh.shape == (0, 2, 0, 4)


# what trains


def test_a_locked_tower_gets_no_gradient_and_leaves_the_rest_trainable() -> None:
    config = tiny_config()
    model, batch = tiny_model(config), random_batch(config, [1, 1])
    model.lock(image=True, text=True)
    output, [captions], scale = model(batch.images, [batch.captions])
    (output.image_embeds.sum() + output.region_embeds.sum() + output.boxes_cxcywh.sum() + scale).backward()
    trained = {name.split(".")[0] for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {"decoder", "heads", "logit_scale"}
    assert not captions.requires_grad
    assert all(p.grad is None for p in [*model.vision.parameters(), *model.text.parameters()])
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


def test_weights_decay_only_where_they_multiply() -> None:
    model = tiny_model(tiny_config())
    decayed, spared = parameter_groups(model, 0.1)
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.1, 0.0)
    names = {id(p): name for name, p in model.named_parameters()}
    free = {names[id(p)] for p in spared["params"]}  # type: ignore[attr-defined]
    assert {"logit_scale", "decoder.queries.weight", "text.trunk.positional_embedding"} <= free
    assert {name for name in names.values() if name.endswith("bias")} <= free
    norms = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, nn.LayerNorm)}
    assert len(norms) > 20 and norms <= free
    kept = {names[id(p)] for p in decayed["params"]}  # type: ignore[attr-defined]
    assert {"heads.region_projection", "decoder.to_memory.weight", "vision.trunk.conv1.weight"} <= kept
    trainable = {name for name, p in model.named_parameters() if p.requires_grad}
    assert free | kept == trainable and not free & kept


def test_the_scale_stays_between_one_and_a_hundred() -> None:
    model = tiny_model(tiny_config())
    for raw, kept in [(9.0, MAX_LOGIT_SCALE), (-1.0, 0.0), (2.0, 2.0)]:
        model.logit_scale.data.fill_(raw)
        model.clamp_logit_scale()
        assert model.logit_scale.item() == pytest.approx(kept)
    assert math.exp(MAX_LOGIT_SCALE) == pytest.approx(100)


# the decoder


def test_a_position_is_a_sine_and_cosine_of_the_row_and_of_the_column() -> None:
    position = sine_position((2, 1), 8)
    quarter = 2 * math.pi * 0.25  # the centre of the first of two rows
    row = [math.sin(quarter), math.sin(quarter / 100), math.cos(quarter), math.cos(quarter / 100)]
    half = 2 * math.pi * 0.5
    column = [math.sin(half), math.sin(half / 100), math.cos(half), math.cos(half / 100)]
    assert position.shape == (2, 8)
    assert position[0].tolist() == pytest.approx(row + column, abs=1e-6)


def test_every_patch_has_a_position_of_its_own() -> None:
    position = sine_position((7, 5), 16)
    distance = torch.cdist(position, position) + torch.eye(35)
    assert position.shape == (35, 16)
    assert distance.min() > 0.05
    assert sine_position((0, 5), 16).shape == (0, 16)


def test_a_width_without_room_for_both_directions_is_refused() -> None:
    with pytest.raises(ValueError, match=r"width \(6\) must be a multiple of 4"):
        sine_position((2, 2), 6)


def test_the_image_query_is_the_last_and_sees_the_regions() -> None:
    config = tiny_config()
    model, images = tiny_model(config).eval(), random_batch(config, [0]).images
    assert model.decoder is not None
    before = model.encode_image(images).image_embeds
    with torch.no_grad():
        model.decoder.queries.weight[0] += 1.0
    assert not torch.allclose(model.encode_image(images).image_embeds, before)


class Tokens(nn.Module):
    """Stands for the image tower: gives the tokens it was given."""

    def forward(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return tokens, torch.zeros(len(tokens), 16)


@pytest.mark.parametrize(("position", "tells"), [(False, False), (True, True)])
def test_a_memory_position_lets_a_query_tell_places_apart(position: bool, tells: bool) -> None:
    model = tiny_model(tiny_config(memory_position=position)).eval()
    model.vision = Tokens()  # type: ignore[assignment]
    tokens = torch.randn(1, 5, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        here = model.encode_image(tokens).region_embeds
        moved = model.encode_image(tokens[:, [0, 2, 1, 3, 4]]).region_embeds  # two patches change places
    assert bool((here - moved).abs().max() > 1e-4) is tells


# region queries from proposals


PROPOSING = tiny_config(queries="proposals", memory_position=True)


def trained(config: GrainConfig = PROPOSING) -> GrainModel:
    """As if it had learned: its corrections are no longer zero."""
    model = tiny_model(config).eval()
    assert model.heads is not None
    with torch.no_grad():
        for parameter in (*model.heads.box.parameters(), model.heads.region_projection, model.heads.image_projection):
            parameter.normal_(0, 0.3)
    return model


def test_untrained_the_decoder_over_proposals_changes_nothing() -> None:
    model, batch = tiny_model(PROPOSING).eval(), random_batch(PROPOSING, [0, 0])
    proposals = pad_boxes([[[0.0, 0.0, 1.0, 1.0], [0.5, 0.0, 1.0, 0.5]], [[0.1, 0.2, 0.4, 0.9]]])
    output = model.encode_image(batch.images, proposals)
    tokens, pooled = model.vision(batch.images)
    whole, one_patch = tokens[0, 1:].mean(dim=0), tokens[0, 2]  # of two rows and columns
    for region, own in zip(output.region_embeds[0], (whole, one_patch), strict=True):
        torch.testing.assert_close(region, nn.functional.normalize(own @ model.vision.projection, dim=-1))
    assert torch.equal(output.image_embeds, nn.functional.normalize(pooled, dim=-1)), "CLIP's own, to the bit"
    given = xyxy_to_cxcywh(proposals.boxes_xyxy)[proposals.mask]
    torch.testing.assert_close(output.boxes_cxcywh[-1][proposals.mask], given, rtol=0, atol=2e-4)
    other = tiny_model(PROPOSING, seed=1).eval()
    other.vision.load_state_dict(model.vision.state_dict())
    assert torch.equal(other.encode_image(batch.images, proposals).region_embeds, output.region_embeds)


def test_the_box_correction_gets_a_gradient_at_once_and_all_the_rest_after_one_step() -> None:
    model, batch = tiny_model(PROPOSING), random_batch(PROPOSING, [2, 1, 2])
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses_of(model, batch).total.backward()
    assert model.heads is not None
    first = [*model.heads.box.layers[-1].parameters(), model.heads.region_projection, model.heads.image_projection]
    assert all(p.grad is not None and bool(p.grad.any()) for p in first)
    optimiser.step()
    optimiser.zero_grad()
    losses_of(model, batch).total.backward()
    still = [name for name, p in model.named_parameters() if p.grad is None or not bool(p.grad.any())]
    assert still == []


def test_steps_over_proposals_lower_the_loss() -> None:
    model, batch = tiny_model(PROPOSING), random_batch(PROPOSING, [2, 1, 2])
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(15):
        losses.append(losses_of(model, batch))
        optimiser.zero_grad()
        losses[-1].total.backward()
        optimiser.step()
    assert losses[-1].total < 0.7 * losses[0].total
    assert losses[-1].box < losses[0].box


@pytest.mark.parametrize("options", [{}, {"add_regions": True}])
def test_a_padding_proposal_changes_nothing_for_the_others(options: dict) -> None:
    config = tiny_config(queries="proposals", **options)
    model, images = trained(config), random_batch(config, [0, 0, 0]).images
    proposals = random_proposals([1, 4, 0])
    garbage = Proposals(
        torch.where(proposals.mask[..., None], proposals.boxes_xyxy, torch.rand(3, 4, 4)), proposals.mask
    )
    with torch.no_grad():
        padded, strange = model.encode_image(images, proposals), model.encode_image(images, garbage)
        for row, count in enumerate((1, 4, 0)):
            alone = Proposals(proposals.boxes_xyxy[row : row + 1, :count], proposals.mask[row : row + 1, :count])
            expected = model.encode_image(images[row : row + 1], alone)
            for got in (padded, strange):
                torch.testing.assert_close(got.image_embeds[row], expected.image_embeds[0])
                torch.testing.assert_close(got.region_embeds[row, :count], expected.region_embeds[0])
                torch.testing.assert_close(got.boxes_cxcywh[-1, row, :count], expected.boxes_cxcywh[-1, 0])


def test_proposals_in_another_order_give_the_regions_in_that_order() -> None:
    model, images = trained(), random_batch(PROPOSING, [0, 0]).images
    proposals, order = random_proposals([4, 4]), torch.tensor([2, 0, 3, 1])
    shuffled = Proposals(proposals.boxes_xyxy[:, order], proposals.mask)
    with torch.no_grad():
        straight, other = model.encode_image(images, proposals), model.encode_image(images, shuffled)
    torch.testing.assert_close(other.region_embeds, straight.region_embeds[:, order])
    torch.testing.assert_close(other.boxes_cxcywh, straight.boxes_cxcywh[:, :, order])
    torch.testing.assert_close(other.image_embeds, straight.image_embeds)
    assert (straight.region_embeds[:, 0] - straight.region_embeds[:, 1]).abs().max() > 1e-2


def test_proposals_that_are_missing_or_not_asked_for_are_refused() -> None:
    images = random_batch(PROPOSING, [0, 0]).images
    for too_few in (None, random_proposals([2])):
        with pytest.raises(ValueError, match="regions start from proposals: give the boxes of each image"):
            tiny_model(PROPOSING).encode_image(images, too_few)
    for config in (tiny_config(), tiny_config().as_clip()):
        with pytest.raises(ValueError, match="takes no proposals: leave them out"):
            tiny_model(config).encode_image(images, random_proposals([2, 2]))


def test_the_sines_of_a_box_tell_its_four_sides_apart() -> None:
    boxes = torch.eye(4)[None] / 4
    embedded = sine_embedding(boxes, 16)
    assert embedded.shape == (1, 4, 16)
    assert (torch.cdist(embedded, embedded) + torch.eye(4)).min() > 0.5
    assert sine_embedding(boxes[:, :0], 16).shape == (1, 0, 16)
    with pytest.raises(ValueError, match=r"width \(12\) must be a multiple of 8 for the sines of 4 coordinates"):
        sine_embedding(boxes, 12)


# refusals


def test_a_decoder_over_an_image_tower_without_tokens_is_refused() -> None:
    config = tiny_config()
    config.vision_cfg.update(layers=[1, 1, 1, 1], width=16, image_size=64)  # four stages: a ResNet
    with pytest.raises(ValueError, match="choose a ViT image tower"):
        GrainModel(config)
    output = GrainModel(config.as_clip()).eval().encode_image(torch.zeros(1, 3, 64, 64))
    assert output.image_embeds.shape == (1, 16)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"width": 30, "heads": 4}, r"decoder width \(30\) must be a multiple of heads \(4\)"),
        ({"num_queries": 0}, "num_queries must be at least 1, got 0"),
        ({"queries": "drawn"}, "queries must be one of learned, proposals, got 'drawn'"),
        ({"queries": "proposals", "width": 12, "heads": 2}, r"width \(12\) must be a multiple of 8 for queries from"),
    ],
)
def test_a_decoder_that_cannot_be_built_is_refused(options: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        DecoderConfig(**options)


def test_an_unknown_preset_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"no preset named 'vit-z'.*sample, .*vit-b-16"):
        preset("vit-z")


def test_a_configuration_from_before_there_were_proposals_means_learned_queries() -> None:
    old = tiny_config().to_json()
    del old["decoder"]["queries"]
    assert GrainConfig.from_json(old) == tiny_config()
    assert GrainConfig.from_json(PROPOSING.to_json()) == PROPOSING != tiny_config(memory_position=True)


@pytest.mark.parametrize("change", [{"surplus": 1}, {"decoder": {"depth": 3}}, {"mean": None}])
def test_a_configuration_that_does_not_fit_is_refused(change: dict) -> None:
    with pytest.raises(ValueError, match="does not fit this version of GRAIN"):
        GrainConfig.from_json(tiny_config().to_json() | change)
    without = {key: value for key, value in tiny_config().to_json().items() if key != "embed_dim"}
    with pytest.raises(ValueError, match="does not fit this version of GRAIN"):
        GrainConfig.from_json(without)

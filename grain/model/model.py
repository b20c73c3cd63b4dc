"""Define the whole model: towers, decoder, heads. The CLIP baseline is the same class without a decoder."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from grain.boxes import pool_boxes, xyxy_to_cxcywh
from grain.config import GrainConfig
from grain.model.decoder import BoxHead, Decoder
from grain.model.towers import build_towers
from grain.structures import GrainOutput, Proposals

MAX_LOGIT_SCALE = math.log(100)
ParameterGroup = Literal["towers", "decoder", "heads"]


class RegionHeads(nn.Module):
    """The heads that turn the decoder's hidden states into boxes, region embeddings, an image embedding."""

    def __init__(self, *, width: int, embed_dim: int) -> None:
        """width: channels of a hidden state. embed_dim: E."""
        super().__init__()
        self.box = BoxHead(width)
        self.region_projection = nn.Parameter(torch.randn(width, embed_dim) * embed_dim**-0.5)
        self.image_projection = nn.Parameter(torch.randn(width, embed_dim) * embed_dim**-0.5)

    def start_at_nothing(self) -> None:
        """Give zeros, as what corrects an answer must before it has learned."""
        for parameter in (self.region_projection, self.image_projection, *self.box.layers[-1].parameters()):
            nn.init.zeros_(parameter)


class GrainModel(nn.Module):
    """open_clip towers with GRAIN's decoder on top."""

    def __init__(self, config: GrainConfig) -> None:
        """Random weights.

        Raises: ValueError: a decoder is configured over an image tower that has no tokens.
        """
        super().__init__()
        self.vision, self.text = build_towers(config)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        self.decoder: Decoder | None = None
        self.heads: RegionHeads | None = None
        self.from_proposals = False
        options = config.decoder
        if options is None:
            return
        if not self.vision.has_tokens:
            raise ValueError("the decoder needs a vision transformer that gives its tokens: choose a ViT image tower")
        if options.queries == "proposals" and self.vision.projection is None:
            raise ValueError("queries from proposals need a tower with CLIP's own projection: use learned ones")
        shape = asdict(options)
        self.box_every_layer: bool = shape.pop("box_every_layer")
        self.add_pooled: bool = shape.pop("add_pooled")
        self.add_regions: bool = shape.pop("add_regions")
        self.from_proposals = shape.pop("queries") == "proposals"
        self.decoder = Decoder(
            vision_width=self.vision.width, grid=self.vision.grid, from_proposals=self.from_proposals, **shape
        )
        self.heads = RegionHeads(width=options.width, embed_dim=config.embed_dim)
        if self.from_proposals:
            self.add_pooled = True
            self.heads.start_at_nothing()
        if self.vision.projection is not None and not self.add_pooled:
            self.vision.projection.requires_grad_(False)  # kept for export, never reached by a gradient

    def forward(
        self, images: Tensor, texts: list[Tensor], proposals: Proposals | None = None
    ) -> tuple[GrainOutput, list[Tensor], Tensor]:
        """Run a training pass: images [B, 3, S, S], token id tables [T, L] -> output, [[T, E], …], log of the scale.

        proposals: for a model whose regions start from them, here and below.
        """
        return (
            self.encode_image(images, proposals),
            [self.encode_text(tokens) for tokens in texts],
            self.logit_scale * 1,
        )

    def encode_image(
        self, images: Tensor, proposals: Proposals | None = None, *, with_boxes: bool = True
    ) -> GrainOutput:
        """Encode images [B, 3, S, S]. with_boxes False skips the box head (K = 0)."""
        tokens, pooled = self.vision(images)
        return self.decode(tokens, pooled, proposals, with_boxes=with_boxes)

    def decode(
        self, tokens: Tensor, pooled: Tensor, proposals: Proposals | None = None, *, with_boxes: bool = True
    ) -> GrainOutput:
        """Decode what the image tower gives, tokens [B, N, width] and pooled [B, E].

        Raises: ValueError: proposals are missing, or given to a model that takes none.
        """
        if self.from_proposals and (proposals is None or len(proposals.mask) != len(tokens)):
            raise ValueError("this model's regions start from proposals: give the boxes of each image")
        if proposals is not None and not self.from_proposals:
            raise ValueError("this model takes no proposals: leave them out, or train one with --queries proposals")
        if self.decoder is None or self.heads is None:
            embeds = F.normalize(pooled.float(), dim=-1)
            return GrainOutput(
                embeds, embeds.new_zeros(len(embeds), 0, embeds.shape[-1]), embeds.new_zeros(0, len(embeds), 0, 4)
            )
        states = self.decoder(tokens, proposals)
        regions = states[-1, :, :-1] @ self.heads.region_projection.to(states.dtype)
        start = mask = None
        if proposals is not None:
            regions = regions + self._untrained_regions(tokens, proposals)
            start, mask = xyxy_to_cxcywh(proposals.boxes_xyxy), proposals.mask
        regions = F.normalize(regions.float(), dim=-1)
        image = states[-1, :, -1] @ self.heads.image_projection.to(states.dtype)
        if self.add_pooled:
            image = image + pooled
        image = image.float()
        if self.add_regions:
            image = image + _mean(regions, mask) * image.shape[-1] ** 0.5  # as long as a unit-variance embedding
        boxed = states if self.box_every_layer and self.training else states[-1:]
        boxes = self.heads.box(boxed[:, :, :-1], start) if with_boxes else image.new_zeros(0, *regions.shape[:2], 4)
        return GrainOutput(F.normalize(image, dim=-1), regions, boxes, mask)

    def _untrained_regions(self, tokens: Tensor, proposals: Proposals) -> Tensor:
        """Project the patches under each proposal with CLIP's own projection, [B, P, E], no unit length."""
        pooled = pool_boxes(tokens[:, 1:], proposals.boxes_xyxy, self.vision.grid)
        projection = cast(Tensor, self.vision.projection)  # every tower with tokens has one
        return pooled @ projection.to(pooled.dtype)

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Embed token ids [T, L], any L up to the context, as [T, E] unit length."""
        embeds: Tensor = self.text(tokens)
        return F.normalize(embeds.float(), dim=-1)

    def clamp_logit_scale(self) -> None:
        """Keep the scale in [1, 100]; call after each optimiser step."""
        with torch.no_grad():
            self.logit_scale.clamp_(0.0, MAX_LOGIT_SCALE)

    def lock(self, *, image: bool = False, text: bool = False) -> None:
        """Freeze a tower, CLIP's projection with it."""
        if image:
            self.vision.requires_grad_(False)
        if text:
            self.text.requires_grad_(False)


def _mean(regions: Tensor, mask: Tensor | None) -> Tensor:
    """Return the mean of each image's regions, [B, E], zero where it has none."""
    if mask is None:
        return regions.mean(dim=1)
    return (regions * mask.unsqueeze(-1)).sum(dim=1) / mask.sum(dim=1, keepdim=True).clamp(min=1)


def parameter_groups(
    model: nn.Module, weight_decay: float, rates: Mapping[ParameterGroup, float] | None = None
) -> list[dict[str, object]]:
    """Decay on matrices only: not on norms, biases, the scale, query and position embeddings.

    Args: rates: what multiplies the learning rate of a group, as `rate` of the optimiser's groups; all 1 by default.
    """
    shares = rates or {}
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for rate in dict.fromkeys(shares.values()) or (1.0,):
        groups |= {(rate, False): [], (rate, True): []}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            spared = parameter.ndim < 2 or name.endswith(("queries.weight", "positional_embedding"))
            groups[shares.get(_group_of(name), 1.0), spared].append(parameter)
    return [
        {"params": some, "weight_decay": 0.0 if spared else weight_decay, "rate": rate}
        for (rate, spared), some in groups.items()
    ]


def _group_of(name: str) -> ParameterGroup:
    """Return what a parameter belongs to; the scale belongs to the heads."""
    if name.startswith(("vision.", "text.")):
        return "towers"
    return "decoder" if name.startswith("decoder.") else "heads"

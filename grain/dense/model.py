"""Define GRAIN with a query a token: each token proposes a few regions with a box, an embedding and an objectness.

The paper's decoder has a fixed number of learned queries; here the picture's tokens are the queries, and three learned
slots let one token speak for several regions (a face, a cap, a person).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from grain.photo.tokens import TOKEN_PARTS

FREQUENCIES = 8  # of the sines that tell a token its place
FIRST_SIZE = -1.0  # logit of a box's sides before training: a quarter of the picture


@dataclass(frozen=True)
class DenseOutput:
    """The output of each query, a slot of a token. Q = tokens · slots.

    embeds: [B, Q, E] unit length. boxes_xyxy: [B, Q, 4] normalized. objectness: [B, Q] logits. centres: [B, Q, 2], of
    its token. absent: [B, Q], true where a smaller picture has no token.
    """

    embeds: Tensor
    boxes_xyxy: Tensor
    objectness: Tensor
    centres: Tensor
    absent: Tensor


class Cells(NamedTuple):
    """A picture as read. states: [B, N, width]. centres: [B, N, 2]. absent: [B, N], true where there is no token."""

    states: Tensor
    centres: Tensor
    absent: Tensor


class DenseRegions(nn.Module):
    """Tokens in, regions out; and an adapter that brings the sentence encoder's embeddings to them."""

    def __init__(self, *, width: int = 256, layers: int = 3, heads: int = 8, slots: int = 3, embed: int = 384) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(part) for part in TOKEN_PARTS])
        self.project, self.place = nn.Linear(sum(TOKEN_PARTS), width), nn.Linear(8 * FREQUENCIES, width)
        layer = nn.TransformerEncoderLayer(width, heads, 4 * width, 0.1, "gelu", batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(width)
        self.slots = nn.Parameter(torch.randn(slots, width) * 0.5)
        self.mix = _two_layers(width, 2 * width, width)
        self.embed, self.objectness = nn.Linear(width, embed), nn.Linear(width, 1)
        self.box = _two_layers(width, width, 4)
        self.adapter = _two_layers(embed, 2 * embed, embed)
        for parameter in self.adapter[2].parameters():
            nn.init.zeros_(parameter)  # begins as the sentence encoder
        self.log_scale = nn.Parameter(torch.tensor(math.log(14.0)))
        self.presence = nn.Parameter(torch.tensor([0.3, -6.0]))  # weight and bias of the best logit

    def texts(self, embeds: Tensor) -> Tensor:
        """Return adapted sentence embeddings, [T, E] unit length."""
        return F.normalize(embeds + self.adapter(embeds), dim=-1)

    def read(self, tokens: Tensor, sizes: Tensor) -> Cells:
        """Read a picture.

        Args: tokens: [B, N, 2272], row by row, padded. sizes: [B, 2], rows and columns of tokens.
        """
        parts = torch.split(tokens.float(), [*TOKEN_PARTS], dim=-1)
        cells = torch.cat([norm(part) for norm, part in zip(self.norms, parts, strict=True)], dim=-1)
        rows, columns = sizes[:, :1], sizes[:, 1:]
        count = torch.arange(tokens.shape[1], device=tokens.device)[None]
        absent = count >= rows * columns
        centres = torch.stack([(count % columns + 0.5) / columns, (count // columns + 0.5) / rows], dim=-1)
        seen = self.encoder(self.project(cells) + self.place(_sines(centres)), src_key_padding_mask=absent)
        return Cells(self.norm(seen), centres, absent)

    def forward(self, tokens: Tensor, sizes: Tensor) -> DenseOutput:
        """Propose regions of what `read` takes."""
        return self.propose(self.read(tokens, sizes))

    def propose(self, cells: Cells) -> DenseOutput:
        """Let each token speak for a few regions."""
        queries = cells.states[:, :, None] + self.slots
        queries = (queries + self.mix(queries)).flatten(1, 2)  # [B, Q, width]
        slots = len(self.slots)
        centres = cells.centres.clamp(0.01, 0.99).repeat_interleave(slots, dim=1)
        shift = self.box(queries).float()
        middle, half = (
            torch.sigmoid(torch.logit(centres) + shift[..., :2]),
            torch.sigmoid(shift[..., 2:] + FIRST_SIZE) / 2,
        )
        return DenseOutput(
            embeds=F.normalize(self.embed(queries).float(), dim=-1),
            boxes_xyxy=torch.cat([middle - half, middle + half], dim=-1).clamp(0, 1),
            objectness=self.objectness(queries)[..., 0].float(),
            centres=centres,
            absent=cells.absent.repeat_interleave(slots, dim=1),
        )

    def logits(self, output: DenseOutput, texts: Tensor) -> Tensor:
        """Return how well each query fits each text, [B, Q, T]; absent queries fit none.

        Args: texts: [T, E] of `texts`.
        """
        likeness = self.log_scale.exp() * output.embeds @ texts.T
        return (likeness + output.objectness[..., None]).masked_fill(output.absent[..., None], -1e4)


def _two_layers(width: int, hidden: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, out))


def _sines(centres: Tensor) -> Tensor:
    """Return sines and cosines of places at octaves of a quarter turn: [B, N, 2] -> [B, N, 8 · FREQUENCIES]."""
    waves = 2.0 ** torch.arange(FREQUENCIES, device=centres.device) * math.pi / 2
    angles = torch.cat([centres[..., None] * waves, centres[..., None] * waves * 2], dim=-1).flatten(2)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)

"""Define the GRAIN decoder: region queries and one image query read the image tokens (arXiv 2412.04429)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from grain.boxes import pool_boxes, xyxy_to_cxcywh
from grain.model.attention import attention_over
from grain.structures import Proposals

NEAREST = 1e-4  # to 0 or 1 that a proposal comes: beyond, the sigmoid is too flat to be corrected


class DecoderLayer(nn.Module):
    """Pre-norm self-attention -> cross-attention -> feed-forward, DETR's way of adding the query embedding."""

    def __init__(self, width: int, *, heads: int, ffn: int, dropout: float) -> None:
        """width: channels. ffn: hidden channels of the feed-forward part."""
        super().__init__()
        self.self_attention = nn.MultiheadAttention(width, heads, dropout=dropout, batch_first=True)
        self.cross_attention = nn.MultiheadAttention(width, heads, dropout=dropout, batch_first=True)
        self.norm_self, self.norm_cross, self.norm_ffn = nn.LayerNorm(width), nn.LayerNorm(width), nn.LayerNorm(width)
        self.expand, self.contract = nn.Linear(width, ffn), nn.Linear(ffn, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: Tensor, queries: Tensor, memory: Tensor, *, padding: Tensor | None = None) -> Tensor:
        """Read the memory: hidden [B, Q + 1, d], queries [(B,) Q + 1, d], memory [B, N, d] -> [B, Q + 1, d].

        padding: [B, Q + 1], True where attention is masked.
        """
        normed = self.norm_self(hidden)
        query = normed + queries
        attended, _ = self.self_attention(query, query, normed, key_padding_mask=padding, need_weights=False)
        hidden = hidden + self.dropout(attended)
        attended, _ = self.cross_attention(self.norm_cross(hidden) + queries, memory, memory, need_weights=False)
        hidden = hidden + self.dropout(attended)
        expanded = self.dropout(F.relu(self.expand(self.norm_ffn(hidden))))
        result: Tensor = hidden + self.dropout(self.contract(expanded))
        return result


class Decoder(nn.Module):
    """Image tokens [B, N, vision width] -> hidden states of every layer [K, B, Q + 1, d], the image query last.

    Region queries are learned, or made of proposals: then Q = P, a query is an embedding of its box, and its hidden
    state starts as the memory there.
    """

    def __init__(
        self,
        *,
        vision_width: int,
        grid: tuple[int, int],
        width: int,
        layers: int,
        heads: int,
        ffn: int,
        dropout: float,
        num_queries: int,
        from_proposals: bool,
        memory_position: bool,
    ) -> None:
        """grid: rows and columns of patches, for the position of the memory (the CLS token gets none)."""
        super().__init__()
        self.to_memory = nn.Linear(vision_width, width, bias=False)
        self.memory_norm = nn.LayerNorm(width)
        self.queries = nn.Embedding(1 if from_proposals else num_queries + 1, width)
        self.layers = nn.ModuleList(DecoderLayer(width, heads=heads, ffn=ffn, dropout=dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        position = torch.cat([torch.zeros(1, width), sine_position(grid, width)]) if memory_position else None
        self.register_buffer("position", position, persistent=False)
        self.position: Tensor | None
        self.grid = grid
        if from_proposals:
            self.box_query = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))

    def forward(self, tokens: Tensor, proposals: Proposals | None = None) -> Tensor:
        """See the class."""
        memory = self.memory_norm(self.to_memory(tokens))
        if self.position is not None:
            memory = memory + self.position.to(memory.dtype)
        queries = self.queries.weight.to(memory.dtype)
        hidden = torch.zeros_like(queries).expand(memory.shape[0], -1, -1)  # len() would fix an ONNX graph's batch
        padding = None
        if proposals is not None:
            position = sine_embedding(xyxy_to_cxcywh(proposals.boxes_xyxy), queries.shape[-1])
            regions = self.box_query(position.to(memory.dtype))  # [B, P, d]
            queries = torch.cat([regions, queries.expand(len(memory), -1, -1)], dim=1)
            hidden = torch.cat([pool_boxes(memory[:, 1:], proposals.boxes_xyxy, self.grid), hidden], dim=1)
            padding = F.pad(~proposals.mask, (0, 1))
        states = []
        with attention_over(memory.shape[1], memory.device):
            for layer in self.layers:
                hidden = layer(hidden, queries, memory, padding=padding)
                states.append(self.norm(hidden))
        return torch.stack(states)


class BoxHead(nn.Module):
    """Three linear layers and a sigmoid: [..., d] -> [..., 4] cxcywh normalized to the image, always in float32.

    With proposals the layers' answer corrects the proposals' own logits.
    """

    def __init__(self, width: int) -> None:
        """width: channels of a hidden state."""
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 4)
        )

    def forward(self, hidden: Tensor, proposals_cxcywh: Tensor | None = None) -> Tensor:
        """See the class."""
        logits: Tensor = self.layers(hidden).float()
        if proposals_cxcywh is not None:
            logits = logits + proposals_cxcywh.logit(NEAREST)
        return logits.sigmoid()


def sine_position(grid: tuple[int, int], width: int) -> Tensor:
    """Return DETR's 2-D sine position of each patch: rows in the first half of the channels, columns in the second.

    Args:    grid: rows, columns. width: see sine_embedding.
    Returns: [rows · columns, width].
    """
    rows, columns = grid
    y, x = torch.meshgrid((torch.arange(rows) + 0.5) / rows, (torch.arange(columns) + 0.5) / columns, indexing="ij")
    return sine_embedding(torch.stack([y, x], dim=-1), width).reshape(rows * columns, width)


def sine_embedding(coordinates: Tensor, width: int, temperature: float = 10_000.0) -> Tensor:
    """Return sines and cosines of each coordinate in a share of the channels of its own.

    Args:    coordinates: [..., n] in [0, 1]. width: channels, a multiple of 2n. temperature: longest wave over 2π.
    Returns: [..., width].
    Raises:  ValueError: width is no multiple of 2n.
    Source:  Carion et al. 2020, appendix A.4 (positions normalized to 2π).
    """
    share, rest = divmod(width, 2 * coordinates.shape[-1])
    if rest:
        least, n = 2 * coordinates.shape[-1], coordinates.shape[-1]
        raise ValueError(f"width ({width}) must be a multiple of {least} for the sines of {n} coordinates")
    frequency = temperature ** (-torch.arange(share, device=coordinates.device) / share)
    angles = 2 * math.pi * coordinates.unsqueeze(-1) * frequency  # [..., n, width / 2n]
    return torch.cat([angles.sin(), angles.cos()], dim=-1).flatten(-2)

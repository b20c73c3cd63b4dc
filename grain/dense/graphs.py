"""Export the decoder of a query a token and its adapter as graphs whose weights lie in the checkpoint's own table.

Needs `onnx`, which `make photo` has; a graph serves any weights of the same shapes, so nobody else needs it.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from grain.dense.model import DenseRegions
from grain.photo.graphs import export, name_weights, store_half, write_graphs
from grain.photo.tokens import MOST_TOKENS, TOKEN_PARTS


class RegionGraph(nn.Module):
    """tokens [1, 144, 2272], sizes [1, 2] -> embeds, boxes_xyxy, objectness."""

    def __init__(self, model: DenseRegions) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return what `grain.photo.regions` reads."""
        output = self.model(tokens, sizes)
        return output.embeds, output.boxes_xyxy, output.objectness


class AdapterGraph(nn.Module):
    """embeds [T, E] -> adapted [T, E]."""

    def __init__(self, model: DenseRegions) -> None:
        super().__init__()
        self.model = model

    def forward(self, embeds: Tensor) -> Tensor:
        """Return embeddings in the regions' space."""
        return self.model.texts(embeds)


def write_region_graphs(folder: Path) -> None:
    """Write both graphs, each weight by its name in the table."""
    torch.manual_seed(0)
    model = DenseRegions()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()  # equal tensors would become one
    tokens, sizes = torch.randn(1, MOST_TOKENS, sum(TOKEN_PARTS)), torch.tensor([[12, 12]])
    torch.backends.mha.set_fastpath_enabled(False)  # its fused operation has no ONNX form
    try:
        regions = export(
            RegionGraph(model).eval(),
            (tokens, sizes),
            {"tokens": {}, "sizes": {}, "embeds": {}, "boxes_xyxy": {}, "objectness": {}},
            fold=False,
        )
        axes = {"embeds": {0: "n"}, "adapted": {0: "n"}}
        adapter = export(AdapterGraph(model).eval(), (torch.randn(2, 384),), axes, fold=False)
    finally:
        torch.backends.mha.set_fastpath_enabled(True)
    graphs = {"regions": regions, "adapter": adapter}
    write_graphs(folder, {name: name_weights(store_half(graph), "model.") for name, graph in graphs.items()})

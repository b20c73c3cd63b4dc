"""Train towers by low-rank adapters: their matrices stay, and a product of two thin ones is added to each.

The adapters are parametrizations of torch, so that every layer, also attention that reads its weights itself, finds the
sum under the weight's own name. Source: LoRA, arXiv 2106.09685.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from grain.config import GrainConfig
from grain.model.model import GrainModel


class LowRankChange(nn.Module):
    """A change of a matrix by a product of rank r, which starts at zero: [rows, r] times [r, columns]."""

    def __init__(self, rows: int, columns: int, rank: int) -> None:
        """rows, columns: of the matrix."""
        super().__init__()
        self.down = nn.Parameter(torch.empty(rank, columns))
        self.up = nn.Parameter(torch.zeros(rows, rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        """Return the changed matrix."""
        return weight + self.up @ self.down


def add_adapters(model: GrainModel, rank: int) -> None:
    """Freeze both towers and put an adapter beside every matrix of their blocks; a tower that is frozen gets none.

    Raises: ValueError: there is no such matrix, or the rank is as large as one.
    """
    towers = [tower for tower in (model.vision, model.text) if any(p.requires_grad for p in tower.parameters())]
    found = [place for tower in towers for place in _matrices(tower)]
    if not found:
        raise ValueError("adapters need a transformer whose tower is not locked: unlock one, or set adapter_rank to 0")
    for tower in towers:
        tower.requires_grad_(False)
    for module, name in found:
        rows, columns = getattr(module, name).shape
        if rank >= min(rows, columns):
            raise ValueError(f"adapter_rank ({rank}) must be less than the {min(rows, columns)} of a tower's matrix")
        parametrize.register_parametrization(module, name, LowRankChange(rows, columns, rank))


def merged_model(model: GrainModel, config: GrainConfig) -> GrainModel:
    """Return a model whose weights hold their adapters, to be saved: as any other, under the plain names."""
    with torch.no_grad():
        changed = {
            f"{prefix}{name}": getattr(module, name).detach().clone()
            for prefix, module in _with_prefixes(model)
            for name in dict(getattr(module, "parametrizations", nn.ModuleDict()).items())
        }
    plain = {name: value for name, value in model.state_dict().items() if ".parametrizations." not in name}
    with torch.device("meta"):
        merged = GrainModel(config)
    merged.load_state_dict(plain | changed, assign=True)
    return merged


def _matrices(tower: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    """List the matrices of a tower's transformer blocks: of attention and of the feed-forward part."""
    blocks = getattr(getattr(getattr(tower, "trunk", None), "transformer", None), "resblocks", ())
    for block in blocks:
        for module in block.modules():
            for name, parameter in module.named_parameters(recurse=False):
                if parameter.ndim == 2:
                    yield module, name


def _with_prefixes(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for name, module in model.named_modules():
        yield f"{name}." if name else "", module

"""Gather over processes with gradient: a loss over the global batch is the same on one process and on many."""

from __future__ import annotations

import torch
import torch.distributed as dist
import torch.distributed.nn.functional as dist_fn
from torch import Tensor


def world_size() -> int:
    """Return the number of processes in the group; 1 without one."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def gather_rows(rows: Tensor) -> Tensor:
    """Concatenate [N_p, …] of every process, in rank order; N may differ, gradient flows back to each owner."""
    if world_size() == 1:
        return rows
    counts = gather_counts(len(rows), rows.device)
    padded = rows.new_zeros(max(max(counts), 1), *rows.shape[1:])
    padded = torch.cat([rows, padded[len(rows) :]])
    if rows.is_floating_point():
        parts = list(dist_fn.all_gather(padded))  # type: ignore[no-untyped-call]
    else:
        parts = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(parts, padded)
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])


def gather_counts(count: int, device: torch.device) -> list[int]:
    """Gather this process's number from every process."""
    if world_size() == 1:
        return [count]
    mine = torch.tensor([count], device=device)
    counts = [torch.empty_like(mine) for _ in range(world_size())]
    dist.all_gather(counts, mine)
    return [int(each) for each in counts]

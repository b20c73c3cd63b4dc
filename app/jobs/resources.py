"""Define what a job asks of a cluster, and write it as the cluster's own flags: shown and submitted from one place."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from user_errors import UserError

NAME = re.compile(r"[A-Za-z0-9_.,-]{0,100}")  # of a partition or an account; several partitions with commas between
MOST_HOURS, MOST_CPUS, MOST_GB = 24.0 * 365, 1024, 16_384
FIELDS = ("partition", "account", "hours", "cpus", "memory_gb")
"""Fields of the form; what is left empty there comes from the settings."""


@dataclass(frozen=True)
class ClusterResources:
    """The resources of one job, on one node. partition, account: "" for the cluster's own. memory_gb: 0 likewise.

    hours: after which Slurm ends it; Ray has no such limit.
    """

    gpus: int = 0
    cpus: int = 1
    memory_gb: int = 0
    hours: float = 24.0
    partition: str = ""
    account: str = ""

    @classmethod
    def of(cls, kept: object) -> ClusterResources:
        """Return those that a job keeps; the least ones for a job that is older than the choice."""
        return cls(**kept) if isinstance(kept, Mapping) else cls()

    def to_json(self) -> dict[str, Any]:
        """Return what a job keeps."""
        return asdict(self)

    def sbatch(self) -> dict[str, Any]:
        """Return sbatch's options by their names."""
        asked = {"partition": self.partition, "account": self.account, "gpus-per-node": self.gpus}
        asked["mem"] = f"{self.memory_gb}G" if self.memory_gb else ""
        always = {"nodes": 1, "ntasks-per-node": 1, "cpus-per-task": self.cpus, "time": math.ceil(60 * self.hours)}
        return always | {name: value for name, value in asked.items() if value}

    def ray(self) -> dict[str, Any]:
        """Return the options of Ray's job server by their names."""
        memory = {"entrypoint_memory": self.memory_gb * 2**30} if self.memory_gb else {}
        return {"entrypoint_num_cpus": self.cpus, "entrypoint_num_gpus": self.gpus} | memory

    def launcher(self, where: str) -> list[str]:
        """Return the words before a command that run it on a cluster with these resources; none elsewhere."""
        if where == "slurm":
            return ["srun", *(f"--{name}={value}" for name, value in self.sbatch().items())]
        if where == "ray":
            flags = (f"--{name.replace('_', '-')}={value}" for name, value in self.ray().items())
            return ["ray", "job", "submit", *flags, "--"]
        return []


def read_resources(
    asked: Mapping[str, str], defaults: Mapping[str, Any], *, gpus: int, workers: int
) -> ClusterResources:
    """Return the resources of a form. asked, defaults: FIELDS; what is empty in both is counted or the cluster's own.

    Args:   gpus: processes of the training, one a GPU. workers: loaders of each.
    Raises: UserError: one of them cannot be asked for.
    """
    given = {name: str(asked.get(name) or defaults.get(name) or "").strip() for name in FIELDS}
    for name in ("partition", "account"):
        if not NAME.fullmatch(given[name]):
            raise UserError(
                f"{name}: expected a name of letters, digits, dots and dashes, got {given[name][:40]!r}: correct it."
            )
    return ClusterResources(
        gpus=gpus,
        cpus=int(_number("cpus", given["cpus"], MOST_CPUS, integer=True) or max(1, gpus) * (workers + 1)),
        memory_gb=int(_number("memory", given["memory_gb"], MOST_GB, integer=True)),
        hours=_number("hours", given["hours"], MOST_HOURS) or ClusterResources.hours,
        partition=given["partition"],
        account=given["account"],
    )


def _number(name: str, text: str, most: float, *, integer: bool = False) -> float:
    """Return a number, 0 for an empty text; a whole one may be 0 as well, for the cluster's own or a count."""
    if not text or (integer and text == "0"):
        return 0.0
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number <= most or (integer and number != int(number)):  # nan neither
        kind = "a whole number" if integer else "a number"
        raise UserError(f"{name}: expected {kind} above 0, at most {most:,g}, got {text[:20]!r}: correct it.")
    return number

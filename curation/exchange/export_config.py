"""Define the settings of an export."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from curation.audit.policy import Policy
from curation.exchange.coco import Categories
from curation.exchange.formats import Format
from curation.files.records import Status

Caption = Literal["picture", "written", "descriptions", "none"]


@dataclass(frozen=True)
class ExportConfig:
    """Write a data set's regions for training or other programs; prints one JSON object."""

    format: Format
    """shards for grain.train; the others for other programs."""
    out: Path
    """Folder to write: new, empty, or an earlier export of the same."""
    dataset: str = ""
    """Its name."""
    version: str = ""
    """A frozen version: its sha256, or its name within the data set. Left out: the present data set."""
    statuses: tuple[Status, ...] = ("accepted",)
    """Descriptions of these verdicts."""
    unreviewed: bool = False
    """Include unreviewed pictures without such a description: nobody knows whether they are empty."""
    caption: Caption = "picture"
    """The picture's own; the one that a describer wrote; its descriptions in a row; or none."""
    held_out: float = 0.02
    """Share of the pictures, by hash of their content, that shards hold out for evaluation."""
    shard_images: int = 1000
    """Pictures in a shard."""
    novel: bool = True
    """Put pictures with the fact `class` into the shards' split novel, with classes.json, so that none is trained on;
    from a frozen set of novel concepts take only pictures whose class is settled."""
    classes: Path | None = None
    """The classes, as JSON {name: [description, …]}; left out: the descriptions that most pictures of each have."""
    categories: Categories = "text"
    """COCO's categories: the descriptions, or the pictures' fact `class`."""
    audit: Policy = "keep"
    """The policy for claims that the data set's latest audit, or people after it, call unsupported."""
    audit_run: int = 0
    """Id of another audit for that policy, as in the Audit page's address."""
    home: Path | None = None
    """Folder of the database and frozen versions; by default GRAIN_HOME."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot work.

        Raises: ValueError.
        """
        if not self.dataset and not self.version:
            raise ValueError("expected --dataset or --version, got neither: name what to export")
        if not self.statuses:
            raise ValueError("expected one status or more, got none: name those to export, as in --statuses accepted")
        if not 0 <= self.held_out < 1:
            raise ValueError(f"expected a share from 0 to below 1 for held_out, got {self.held_out}: correct it")
        if self.audit_run and self.audit == "keep":
            raise ValueError("expected a policy with --audit-run, got none: name one, as in --audit drop-claim")
        if self.shard_images < 1:
            raise ValueError(f"expected shards of one picture or more, got {self.shard_images}: give a larger number")

    def options(self) -> dict[str, Any]:
        """Return what decides the bytes, besides the state itself."""
        return {
            "format": self.format,
            "statuses": sorted(self.statuses),
            "unreviewed": self.unreviewed,
            "caption": self.caption,
            "held_out": self.held_out,
            "shard_images": self.shard_images,
            "novel": self.novel,
            "categories": self.categories,
        } | ({"audit": self.audit, "audit_run": self.audit_run} if self.audit != "keep" else {})

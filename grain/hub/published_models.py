"""Name the published models that can become checkpoints with one command, and say what each is for.

Licences and sizes are those of the models' cards; what is fetched is read from the hub itself.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import tyro

APACHE, MIT = "Apache-2.0", "MIT"
OFFLINE = "HF_HUB_OFFLINE"
DEFAULT_REVISION = "main"


@dataclass(frozen=True)
class PublishedModel:
    """A model on the Hugging Face hub. name: of the checkpoint that is made of it. use: what it does here."""

    name: str
    repository: str
    use: str
    licence: str
    size: str
    revision: str = DEFAULT_REVISION


_FINDS = "finds descriptions"
_RECOGNISES = "recognises classes, finds no boxes"
OWLV2 = PublishedModel(
    "owlv2",
    "google/owlv2-base-patch16-ensemble",
    _FINDS,
    APACHE,
    "155 M parameters, 0.6 GB",
    revision="cfd3195ba4ea9592eec887ded089f4c08eff231d",
)
OWLVIT = PublishedModel("owlvit", "google/owlvit-base-patch32", _FINDS, APACHE, "153 M parameters, 0.6 GB")
PUBLISHED_MODELS = {
    each.name: each
    for each in (
        OWLV2,
        PublishedModel(
            "owlv2-large", "google/owlv2-large-patch14-ensemble", _FINDS, APACHE, "438 M parameters, 1.8 GB"
        ),
        OWLVIT,
        PublishedModel(
            "clip-b-16", "laion/CLIP-ViT-B-16-laion2B-s34B-b88K", _RECOGNISES, MIT, "150 M parameters, 0.6 GB"
        ),
        PublishedModel(
            "clip-l-14", "laion/CLIP-ViT-L-14-DataComp.XL-s13B-b90K", _RECOGNISES, MIT, "428 M parameters, 1.7 GB"
        ),
    )
}
"""By the name of the checkpoint."""


@dataclass(frozen=True)
class ImportModelConfig:
    """Make a checkpoint of a published model that grounds (OWLv2, OWL-ViT) or recognises (open_clip's CLIPs)."""

    model: tyro.conf.Positional[str]
    """`owlv2`, `owlv2-large`, `owlvit`, `clip-b-16`, `clip-l-14`; another owner/model of the hub; or a folder."""
    out: Path
    """Folder to write; put it under $GRAIN_HOME/checkpoints to see it in the app."""
    revision: str = ""
    """Branch, tag or commit on the hub; "": the one that the model is known by."""
    fetch: bool = False
    """Download from the hub what is not on this machine."""


def is_offline() -> bool:
    """Return whether the environment keeps this program away from the hub, as the hub's own library reads it."""
    return os.environ.get(OFFLINE, "").upper() in ("1", "ON", "YES", "TRUE")

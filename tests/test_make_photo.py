"""What `make photo` wrote, as far as it can be judged without the packages that it was made of."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from grain.checkpoint import CARD, CONFIG, EMBEDDED, WEIGHTS, read_info, verify

ROOT = Path(__file__).parent.parent
PHOTO = EMBEDDED / "photo"


@pytest.fixture(scope="module")
def weights() -> dict[str, np.ndarray]:
    return {name: value.astype(np.float32) for name, value in load_file(PHOTO / WEIGHTS).items()}


@pytest.fixture(scope="module")
def photo() -> dict[str, list[str]]:
    return json.loads((PHOTO / CONFIG).read_text(encoding="utf-8"))["photo"]


def test_the_folder_is_whole_and_small_enough_for_a_repository() -> None:
    verify(PHOTO)
    files = {path.name: path.stat().st_size for path in PHOTO.iterdir()}
    graphs = {"detector.onnx", "image.onnx", "text.onnx", "nms.onnx"}
    assert set(files) == graphs | {WEIGHTS, CONFIG, CARD, "manifest.json"}
    assert sum(files.values()) <= 25_000_000
    assert files["text.onnx"] < 1_000_000, "the sentence encoder's weights belong to its own package"


def test_what_it_says_of_itself_is_honest() -> None:
    info = read_info(PHOTO)
    assert "not CLIP, not a trained GRAIN" in info.trained_on
    assert (info.kind, info.twin) == ("photo", None)
    assert 30e6 < info.parameters < 35e6, "the sentence encoder's 22 M are counted"


def test_there_is_a_name_and_a_unit_embedding_for_every_output(
    weights: dict[str, np.ndarray], photo: dict[str, list[str]]
) -> None:
    shapes = {name: value.shape for name, value in weights.items()}
    assert shapes == {
        "head.weight": (1000, 1280), "head.bias": (1000,), "imagenet.embeds": (1000, 384), "coco.embeds": (80, 384),
    }  # fmt: skip
    assert (len(photo["imagenet_names"]), len(photo["coco_names"])) == (1000, 80)
    for table in ("imagenet.embeds", "coco.embeds"):
        np.testing.assert_allclose(np.linalg.norm(weights[table], axis=1), 1, atol=2e-3)


def test_a_name_that_both_lists_hold_has_one_embedding(
    weights: dict[str, np.ndarray], photo: dict[str, list[str]]
) -> None:
    shared = sorted(set(photo["coco_names"]) & set(photo["imagenet_names"]))
    assert len(shared) >= 10, shared
    for name in shared:
        coco = weights["coco.embeds"][photo["coco_names"].index(name)]
        imagenet = weights["imagenet.embeds"][photo["imagenet_names"].index(name)]
        others = [i for i, other in enumerate(photo["coco_names"]) if other != name]
        assert coco @ imagenet > 0.999 > (weights["coco.embeds"][others] @ imagenet).max(), name


def test_the_card_and_the_pins_name_the_same_packages(photo: dict[str, str]) -> None:
    card = (PHOTO / CARD).read_text(encoding="utf-8")
    pins = dict(re.findall(r"^([\w-]+)==(\S+)", (ROOT / "requirements-photo.txt").read_text(encoding="utf-8"), re.M))
    named = re.findall(r"^\| ([\w-]+) (\S+) \(PyPI\)", card, re.M)
    assert len(named) == 4
    assert {name: pins.get(name) for name, _ in named} == dict(named)
    name, version = photo["sentence_package"].split("==")
    assert pins[name] == version
    assert len(re.findall(r"`[0-9a-f]{64}`", card)) == 5


def test_no_graph_tells_where_it_was_made() -> None:
    graphs = sorted(PHOTO.glob("*.onnx"))
    assert len(graphs) == 4
    for graph in graphs:
        assert re.search(rb"/(?:home|root|tmp|work|Users)/|site-packages", graph.read_bytes()) is None, graph.name

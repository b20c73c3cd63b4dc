"""What `make photo` wrote, as far as it can be judged without the packages that only it needs."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from grain.checkpoint import CARD, CONFIG, EMBEDDED, FAMILIAR, WEIGHTS, file_sha256, read_info, verify
from grain.photo.make_photo import embed_defined, read_definitions, with_article
from grain.photo.sources import HUMAN_MODELS, SOURCES, checked
from grain.photo.text_encoder import TextEncoder
from tests.support.paths import ROOT

PHOTO = EMBEDDED / "photo-names"
DEFINED = {  # ImageNet's class, its name, WordNet's definition
    0: (
        "tench",
        "freshwater dace-like game fish of Europe and western Asia noted for ability to survive outside water",
    ),
    100: ("black swan", "large Australian swan having black plumage and a red bill"),
    400: ("academic gown", "a gown worn by academics or judges"),
}


@pytest.fixture(scope="module")
def weights() -> dict[str, np.ndarray]:
    return {name: value.astype(np.float32) for name, value in load_file(PHOTO / WEIGHTS).items()}


@pytest.fixture(scope="module")
def photo() -> dict[str, list[str]]:
    return json.loads((PHOTO / CONFIG).read_text(encoding="utf-8"))["photo"]


@pytest.fixture(scope="module")
def encoder(photo: dict[str, str]) -> TextEncoder:
    return TextEncoder.load(PHOTO / "text.onnx", photo["sentence_package"])


def test_the_folder_is_whole_and_small_enough_for_a_repository() -> None:
    verify(PHOTO)
    files = {path.name: path.stat().st_size for path in PHOTO.iterdir()}
    graphs = {"detector.onnx", "image.onnx", "text.onnx", "nms.onnx"}
    assert set(files) == graphs | {WEIGHTS, CONFIG, CARD, FAMILIAR, "manifest.json"}
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


def test_a_coco_class_is_its_name(
    weights: dict[str, np.ndarray], photo: dict[str, list[str]], encoder: TextEncoder
) -> None:
    plain = encoder([with_article(name) for name in photo["coco_names"]])
    assert (plain * weights["coco.embeds"]).sum(axis=1).min() > 0.999


def test_an_imagenet_class_is_its_name_and_its_definition(
    weights: dict[str, np.ndarray], photo: dict[str, list[str]], encoder: TextEncoder
) -> None:
    names, definitions = zip(*DEFINED.values(), strict=True)
    assert [photo["imagenet_names"][row] for row in DEFINED] == list(names)
    expected = embed_defined(encoder, names, definitions)
    stored = weights["imagenet.embeds"][list(DEFINED)]
    assert (expected * stored).sum(axis=1).min() > 0.999
    assert (encoder([f"a {name}" for name in names]) * stored).sum(axis=1).max() < 0.99, "not the name alone"


def test_definitions_leave_each_name_nearest_to_its_own_class(
    weights: dict[str, np.ndarray], photo: dict[str, list[str]], encoder: TextEncoder
) -> None:
    names = photo["imagenet_names"]
    nearest = (encoder([with_article(name) for name in names]) @ weights["imagenet.embeds"].T).argmax(axis=1)
    own = [names[row] == name for row, name in zip(nearest, names, strict=True)]  # two names stand for two classes each
    assert np.mean(own) > 0.98


def test_a_name_and_its_definition_meet_in_the_middle() -> None:
    places = {"a bee": [1.0, 0.0], "a bee, an insect": [0.0, 1.0], "an ox": [0.6, 0.8], "an ox, cattle": [0.6, 0.8]}
    embeds = embed_defined(
        lambda texts: np.array([places[text] for text in texts], np.float32), ["bee", "ox"], ["an insect", "cattle"]
    )
    np.testing.assert_allclose(embeds, [[0.5**0.5, 0.5**0.5], [0.6, 0.8]], atol=1e-6)


def test_definitions_come_in_the_order_of_the_classes_and_for_all_of_them(tmp_path: Path) -> None:
    synsets, definitions = tmp_path / "synsets.txt", tmp_path / "definitions.txt"
    rows = [f"n{i:04}" for i in range(1001)]
    definitions.write_text("".join(f"{row}\tthing {row}\n" for row in rows), encoding="utf-8")
    synsets.write_text("\n".join(rows[:0:-1]), encoding="utf-8")
    assert read_definitions(synsets, definitions)[:2] == ["thing n1000", "thing n0999"]
    synsets.write_text("\n".join(rows), encoding="utf-8")
    with pytest.raises(ValueError, match="expected 1000 texts for as many classes, got 1001"):
        read_definitions(synsets, definitions)


def test_a_source_that_is_missing_or_another_one_is_refused(tmp_path: Path) -> None:
    file = tmp_path / HUMAN_MODELS.file
    with pytest.raises(ValueError, match="`make photo` fetches it"):
        checked(file, HUMAN_MODELS)
    file.write_bytes(b"something else")
    with pytest.raises(ValueError, match=f"expected sha256 {HUMAN_MODELS.sha256}, got {file_sha256(file)}"):
        checked(file, HUMAN_MODELS)


def test_the_card_names_every_source_and_the_pins_install_them(photo: dict[str, str]) -> None:
    card = (PHOTO / CARD).read_text(encoding="utf-8")
    rows = re.findall(r"^\| (.+?) \| .+ \| (.+) \| `\S+` `([0-9a-f]{64})` \|$", card, re.M)
    assert rows == [(source.package, source.licence, source.sha256) for source in SOURCES]
    pins = dict(re.findall(r"^([\w-]+)==(\S+)", (ROOT / "requirements-photo.txt").read_text(encoding="utf-8"), re.M))
    named = {package.removesuffix(" (PyPI)") for package, _, _ in rows if package.endswith(" (PyPI)")}
    assert len(named) == 4
    assert named <= {f"{name} {version}" for name, version in pins.items()}
    assert photo["sentence_package"] in {f"{name}=={version}" for name, version in pins.items()}


def test_no_graph_tells_where_it_was_made() -> None:
    graphs = sorted(PHOTO.glob("*.onnx"))
    assert len(graphs) == 4
    for graph in graphs:
        assert re.search(rb"/(?:home|root|tmp|work|Users)/|site-packages", graph.read_bytes()) is None, graph.name

"""A checkpoint exported to ONNX: equal to torch, without torch, and with the same tokens."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grain.checkpoint import CheckpointError, locate, read_info, verify
from grain.data.tokenizer import Tokenizer
from grain.model.onnx_export import OnnxExportConfig, export_onnx
from grain.model.pretrained import ModelCard, from_pretrained, save_pretrained
from grain.portable.encoder import OnnxEncoder
from grain.predict import Predictor
from tests.support.paths import ROOT
from tests.support.tiny import VARIANTS, picture, tiny_config, tiny_model
from user_errors import UserError

TEXTS = [
    "a red lid",
    "",
    "Zorbex’s &amp; friends:  it'll  be 12.5 °C",
    "naïve façade",
    "word " * 200,
    "<end_of_text> x 日本",
]
CLASSES = {"zorbex": ["a red lid", "a star"], "nothing": []}
WITHOUT_TORCH = """
import sys
from importlib.abc import MetaPathFinder
class Refuse(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "torchvision", "open_clip", "transformers", "onnx"):
            raise ImportError(f"{name} is not here")
sys.meta_path.insert(0, Refuse())
from PIL import Image
from grain import Predictor
found = Predictor.from_pretrained(sys.argv[1]).predict(Image.new("RGB", (40, 30), "red"), ["a red lid"], {"a": ["x"]})
assert len(found.regions) == 1 and not {"torch", "open_clip"} & set(sys.modules)
"""


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded `sample`, exported."""
    return export_onnx(OnnxExportConfig(Path("sample"), tmp_path_factory.mktemp("onnx") / "sample-onnx"))


def largest(found: np.ndarray, expected: np.ndarray) -> float:
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max(initial=0))


def test_a_trained_model_answers_as_with_torch(sample: Path) -> None:
    torchs = Predictor.from_pretrained("sample", precision="fp32")
    ours = Predictor.from_pretrained(sample)
    assert (read_info(sample).runtime, ours.info.can_ground) == ("onnx", True)
    pictures = [picture(number) for number in range(19)]  # more than one pass
    for one, other in zip(ours.batch_features(pictures), torchs.batch_features(pictures), strict=True):
        for name in ("image_embed", "region_embeds", "boxes_xyxy", "objectness"):
            assert largest(getattr(one, name), getattr(other, name)) < 1e-4
    assert largest(ours.embed_texts(TEXTS), torchs.embed_texts(TEXTS)) < 1e-4
    asked = [each.predict(pictures[0], ["a red lid"], CLASSES) for each in (ours, torchs)]
    assert asked[0].classes[0].name == asked[1].classes[0].name
    assert asked[0].classes[0].score == pytest.approx(asked[1].classes[0].score, abs=1e-4)
    assert ours.batch_features([]) == [] and len(ours.embed_texts([])) == 0
    with pytest.raises(ValueError, match="takes no proposals"):
        ours.features(pictures[0], [(0, 0, 1, 1)])


@pytest.mark.parametrize("variant", ["paper", "all", "clip"])
def test_every_form_of_the_model_can_be_exported(variant: str, tmp_path: Path) -> None:
    config = tiny_config().as_clip() if variant == "clip" else tiny_config(**VARIANTS[variant])
    save_pretrained(tiny_model(config), config, tmp_path / "tiny", card=ModelCard("tiny", "nothing"))
    folder = export_onnx(OnnxExportConfig(tmp_path / "tiny", tmp_path / "out"))
    verify(folder)
    theirs, ours = (Predictor.from_pretrained(each, precision="fp32") for each in (tmp_path / "tiny", folder))
    one, other = ours.features(picture(1)), theirs.features(picture(1))
    assert largest(one.image_embed, other.image_embed) < 1e-4
    assert largest(one.region_embeds, other.region_embeds) < 1e-4 and largest(one.boxes_xyxy, other.boxes_xyxy) < 1e-4


def test_it_runs_where_there_is_no_torch(sample: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, str(sample)], cwd=ROOT, env=os.environ, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@settings(max_examples=200, deadline=None)
@given(text=st.text(st.characters(exclude_categories=("Cn", "Co", "Cs")), max_size=60))  # of these, tables differ
def test_the_tokens_are_open_clips(sample: Path, text: str) -> None:
    encoder, tokenizer = encoders(sample)
    for each in (text, *TEXTS):
        found, expected = encoder.tokens([each])[0].tolist(), tokenizer([each])[0].tolist()
        assert found == expected + [0] * (len(found) - len(expected))


@cache
def encoders(folder: Path) -> tuple[OnnxEncoder, Tokenizer]:
    encoder = OnnxEncoder(folder)
    text = encoder.config.text_cfg
    return encoder, Tokenizer(vocab_size=text["vocab_size"], context_length=text["context_length"])


def test_what_cannot_be_exported_or_opened_is_said_in_one_sentence(sample: Path, tmp_path: Path) -> None:
    config = tiny_config(queries="proposals")
    save_pretrained(tiny_model(config), config, tmp_path / "tiny", card=ModelCard("tiny", "nothing"))
    with pytest.raises(CheckpointError, match="starts its regions from proposals"):
        export_onnx(OnnxExportConfig(tmp_path / "tiny", tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    for start, got in ((sample, "its export to ONNX"), (locate("photo"), "one of kind photo")):
        with pytest.raises(CheckpointError, match=f"expected a checkpoint of a GRAIN or CLIP, got {got}: choose"):
            from_pretrained(start)  # as a training begins
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in sample.iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    (broken / "text.onnx").write_bytes(b"no graph")
    with pytest.raises(UserError, match="does not match its sha256"):
        Predictor.from_pretrained(broken)

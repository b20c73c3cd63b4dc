"""Exports of a run: what open_clip reads is what we trained, and the card says how."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import open_clip
import pytest
import torch

from grain.checkpoint import CheckpointError, verify
from grain.config import GrainConfig
from grain.data.tokenizer import Tokenizer
from grain.model.pretrained import from_pretrained
from grain.model.publish import PublishConfig, card, publish
from grain.preprocess import image_to_array
from grain.train.train import train
from tests.grain.train.test_train import settings
from tests.support.hub_uploads import running_hub
from tests.support.paths import ROOT
from tests.support.tiny import picture, tiny_config
from tests.support.waiting import PATIENCE_S


@pytest.fixture(scope="module")
def run(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("publish")
    config = settings(data_folder, folder, images=8, evaluate_images=4)
    train(config)
    return config.out


def test_open_clip_loads_the_towers_and_sees_the_same(run: Path, tmp_path: Path) -> None:
    out = publish(PublishConfig(run, tmp_path / "export"))
    theirs, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{out}")
    ours, config = from_pretrained(out)
    mine = image_to_array(picture(3), size=config.image_size, mean=config.mean, std=config.std)
    assert torch.equal(preprocess(picture(3)), torch.from_numpy(mine))
    theirs.eval()
    pixels = torch.from_numpy(mine)[None]
    with torch.no_grad():
        pooled = ours.vision(pixels)
    theirs_embed = theirs.encode_image(pixels)
    found = [each for each in (pooled if isinstance(pooled, tuple) else (pooled,)) if each.shape == theirs_embed.shape]
    assert found and torch.allclose(found[0], theirs_embed, atol=1e-5)


def test_the_card_is_filled_from_the_run_and_names_no_folder_of_this_machine(run: Path, tmp_path: Path) -> None:
    out = publish(PublishConfig(run, tmp_path / "export", which="final"))
    verify(out)
    text = (out / "README.md").read_text()
    metrics = json.loads((run / "final" / "metrics.json").read_text())
    assert len(metrics) >= 3 and all(f"| {name} | {value:.4g} |" in text for name, value in metrics.items())
    assert "| batch_size | 4 |" in text and "| losses.box | 1.0 |" in text and "local-dir:export" in text
    assert str(tmp_path) not in text and str(run.parent) not in text


def test_the_towers_come_with_a_tokenizer_that_open_clip_loads(run: Path, tmp_path: Path) -> None:
    out = publish(PublishConfig(run, tmp_path / "export"))
    theirs = open_clip.get_tokenizer(f"local-dir:{out}")
    config = from_pretrained(out)[1]
    ours = Tokenizer(vocab_size=config.text_cfg["vocab_size"], context_length=config.text_cfg["context_length"])
    texts = ["A red lid", "Zorbex’s &amp; friends: 12.5 °C", "word " * 99, ""]
    found, expected = theirs(texts), ours(texts)
    assert torch.equal(found[:, : expected.shape[1]], expected) and not found[:, expected.shape[1] :].any()


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (tiny_config(), "image embedding was not trained"),
        (tiny_config(add_pooled=True), "is one of two parts"),
        (tiny_config().as_clip(), "The same with open_clip"),
    ],
)
def test_the_card_says_what_the_towers_own_image_embedding_is(run: Path, config: GrainConfig, sentence: str) -> None:
    facts = {"name": "n", "parameters": 1, "trained_on": "t"}
    assert sentence in card(PublishConfig(run, Path("export")), facts, config)


def test_what_is_no_run_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="best is no checkpoint folder"):
        publish(PublishConfig(tmp_path, tmp_path / "export"))
    assert not (tmp_path / "export").exists()


@pytest.mark.slow
def test_a_push_arrives_whole_and_private_at_a_hub(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "export"
    words = ["-m", "grain.model.publish", f"--run={run}", f"--out={out}", "--push-to=ada/first"]
    with running_hub() as hub:
        own = {"HF_ENDPOINT": hub.address, "HF_TOKEN": "hf_secret", "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
        own |= {"HF_HOME": str(tmp_path / "hf"), "NO_PROXY": "127.0.0.1"}
        done = subprocess.run(
            [sys.executable, *words], cwd=ROOT, env=os.environ | own, capture_output=True, text=True, timeout=PATIENCE_S
        )
    assert done.returncode == 0, done.stderr
    assert "pushed to" in done.stdout and "hf_secret" not in done.stdout + done.stderr
    [made] = hub.repositories
    assert (made["organization"], made["name"], made["visibility"]) == ("ada", "first", "private")
    assert hub.files == {file.name: file.read_bytes() for file in out.iterdir()} and len(hub.large) == 2
    assert hub.tokens - {""} == {"Bearer hf_secret"}

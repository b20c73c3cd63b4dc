"""A published model becomes a checkpoint: fetched from a hub on loopback, whole or not at all, never as a pickle."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.random_detectors import write_random_detector
from grain.checkpoint import MANIFEST, CheckpointError, checkpoint_folder, read_info, verify
from grain.hub.import_model import import_model
from grain.hub.published_models import ImportModelConfig
from grain.model.pretrained import export_open_clip
from grain.model.publish import OPEN_CLIP_CONFIG, OPEN_CLIP_WEIGHTS, open_clip_config
from grain.predict import Predictor
from job_progress import PROGRESS
from tests.support.hub_downloads import FakeHub, serve_hub
from tests.support.paths import ROOT
from tests.support.tiny import picture, tiny_config, tiny_model
from user_errors import UserError

TEXTS = ["a red round lid", "the black cat"]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders as their owners publish them: two detectors, and a CLIP of open_clip."""
    root, config = tmp_path_factory.mktemp("published"), tiny_config().as_clip()
    for kind in ("owlv2", "owlvit"):
        write_random_detector(kind, root / kind)
    (root / "clip").mkdir()
    export_open_clip(tiny_model(config), root / "clip" / OPEN_CLIP_WEIGHTS)
    described = open_clip_config(config)
    del described["model_cfg"]["text_cfg"]["hf_tokenizer_name"]  # CLIP's own words, as most are published
    (root / "clip" / OPEN_CLIP_CONFIG).write_text(json.dumps(described))
    for other in ("model.safetensors", "config.json"):  # transformers' copy of the same model lies beside it
        shutil.copyfile(root / "owlv2" / other, root / "clip" / other)
    return {f"owner/{kind}": root / kind for kind in ("owlv2", "owlvit", "clip")}


@pytest.fixture
def hub(published: dict[str, Path]) -> Iterator[FakeHub]:
    with serve_hub(published) as hub:
        yield hub


def fetched(hub: FakeHub, model: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the command as the app does, with this hub as the hub."""
    reached = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    reached |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(folder / "hf"), PROGRESS: str(folder / "progress.json")}
    words = [sys.executable, "-m", "grain.hub.import_model", model, "--fetch", "--out", str(folder / "mine")]
    return subprocess.run(words, env=reached, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["owlv2", "owlvit"])
def test_a_detector_is_fetched_over_a_broken_connection_and_grounds(hub: FakeHub, kind: str, tmp_path: Path) -> None:
    hub.cut_after = 10_000
    done = fetched(hub, f"owner/{kind}", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "apache-2.0" in done.stdout
    assert json.loads((tmp_path / "progress.json").read_text()) == {"done": 1, "total": 1, "message": "mine is ready"}
    verify(tmp_path / "mine")
    info = read_info(tmp_path / "mine")
    assert (info.name, info.kind, info.can_ground) == ("mine", kind, True)
    predictor = Predictor.from_pretrained(tmp_path / "mine")
    prediction = predictor.predict(picture(0, (96, 48)), TEXTS, {"lid": ["a red lid"]}, instances="all")
    assert {region.text for region in prediction.regions} == set(TEXTS)
    hub.requests.clear()
    assert fetched(hub, f"owner/{kind}", tmp_path).returncode == 0, "the second time"
    assert not [each for each in hub.requests if "/resolve/" in each], "what is here is not fetched again"


@pytest.mark.slow
def test_a_clip_of_open_clip_is_fetched_without_its_other_copy_and_recognises(hub: FakeHub, tmp_path: Path) -> None:
    done = fetched(hub, "owner/clip", tmp_path)
    assert done.returncode == 0, done.stderr
    assert not [each for each in hub.requests if each.endswith("/model.safetensors")]
    info = read_info(tmp_path / "mine")
    assert (info.kind, info.can_ground) == ("clip", False)
    expected = tiny_model(tiny_config().as_clip())
    predictor = Predictor.from_pretrained(tmp_path / "mine")
    assert sum(each.numel() for each in expected.parameters()) == info.parameters
    assert np.linalg.norm(predictor.features(picture(0)).image_embed) == pytest.approx(1, abs=1e-5)


@pytest.mark.slow
def test_a_model_that_is_not_there_or_has_only_pickles_is_refused_in_a_sentence(
    published: dict[str, Path], tmp_path: Path
) -> None:
    pickled = tmp_path / "pickled"
    shutil.copytree(published["owner/owlv2"], pickled)
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    with serve_hub({"owner/pickled": pickled}) as hub:
        for model, words in (
            ("owner/none", "owner/none cannot be fetched"),
            ("owner/pickled", "a pickle can run code"),
        ):
            done = fetched(hub, model, tmp_path)
            assert done.returncode != 0 and words in done.stderr and "Traceback" not in done.stderr, done.stderr
        assert not (tmp_path / "mine").exists()
        assert not [each for each in hub.requests if each.endswith(".bin")]


def test_a_folder_serves_without_a_network_and_a_model_of_another_kind_is_named(
    published: dict[str, Path], tmp_path: Path
) -> None:
    import_model(ImportModelConfig(str(published["owner/owlv2"]), tmp_path / "owl"))
    assert read_info(tmp_path / "owl").kind == "owlv2"
    other = write_random_detector("grounding-dino", tmp_path / "dino")
    with pytest.raises(UserError, match=r"Expected a model of owlv2 or owlvit, .* of grounding-dino"):
        import_model(ImportModelConfig(str(other), tmp_path / "none"))
    with pytest.raises(UserError, match="hf download google/owlv2-base-patch16-ensemble --revision cfd3195"):
        import_model(ImportModelConfig("owlv2", tmp_path / "none"))
    assert not (tmp_path / "none").exists()


def test_a_clip_of_open_clip_is_never_read_from_a_pickle(published: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "clip"
    shutil.copytree(published["owner/clip"], folder)
    (folder / OPEN_CLIP_WEIGHTS).unlink()
    torch.save(tiny_model(tiny_config().as_clip()).state_dict(), folder / "open_clip_pytorch_model.bin")
    with pytest.raises(UserError, match=r"no weights as \.safetensors, and a pickle can run code"):
        import_model(ImportModelConfig(str(folder), tmp_path / "none"))
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("damaged", ["", "[]", "{}", '{"model_cfg": 3}', '{"model_cfg": {}}'])
def test_a_damaged_configuration_of_open_clip_is_refused_in_a_sentence(
    published: dict[str, Path], damaged: str, tmp_path: Path
) -> None:
    folder = tmp_path / "clip"
    shutil.copytree(published["owner/clip"], folder)
    (folder / OPEN_CLIP_CONFIG).write_text(damaged)
    with pytest.raises(UserError, match=r"open_clip_config\.json cannot be read: copy the whole model again"):
        import_model(ImportModelConfig(str(folder), tmp_path / "none"))


@pytest.mark.parametrize("foreign", [3, {"text_config": 3}, {"text_config": {"num_attention_heads": 0}}])
def test_a_detector_with_a_foreign_configuration_is_refused_as_a_checkpoint(
    published: dict[str, Path], foreign: object, tmp_path: Path
) -> None:
    import_model(ImportModelConfig(str(published["owner/owlv2"]), tmp_path / "owl"))
    with checkpoint_folder(tmp_path / "foreign") as place:
        for file in (tmp_path / "owl").iterdir():
            shutil.copyfile(file, place / file.name)
        config = json.loads((place / "config.json").read_text()) | {"model": foreign}
        (place / "config.json").write_text(json.dumps(config))
        (place / MANIFEST).unlink()
    with pytest.raises(CheckpointError, match="foreign: weights and configuration do not fit"):
        Predictor.from_pretrained(tmp_path / "foreign")


def test_a_changed_checkpoint_of_a_detector_is_refused(published: dict[str, Path], tmp_path: Path) -> None:
    import_model(ImportModelConfig(str(published["owner/owlv2"]), tmp_path / "owl"))
    config = json.loads((tmp_path / "owl" / "config.json").read_text())
    config["model"]["projection_dim"] = 25
    (tmp_path / "owl" / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"config.json does not match its sha256"):
        Predictor.from_pretrained(tmp_path / "owl")

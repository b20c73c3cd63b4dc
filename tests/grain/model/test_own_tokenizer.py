"""Towers with a tokenizer of their own, as SigLIP's: used, trained from, saved and exported as open_clip has them."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from open_clip.tokenizer import get_clean_fn
from safetensors.torch import save_file
from timm.models import register_model
from timm.models.vision_transformer import VisionTransformer
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from torch.nn import functional as F
from transformers import PreTrainedTokenizerFast

from grain import Predictor
from grain.checkpoint import CheckpointError, checkpoint_folder, model_digest, verify
from grain.config import DecoderConfig, GrainConfig
from grain.data.loader import collate
from grain.data.record import ShardRecord
from grain.data.tokenizer import OwnTokenizer, tokenizer_of
from grain.model.model import GrainModel
from grain.model.onnx_export import OnnxExportConfig, export_onnx
from grain.model.pretrained import (
    ImportConfig,
    ModelCard,
    export_open_clip,
    from_open_clip,
    from_pretrained,
    save_pretrained,
)
from grain.model.pretrained import main as import_weights
from grain.model.publish import OPEN_CLIP_CONFIG, OPEN_CLIP_WEIGHTS, PublishConfig, open_clip_config, publish
from grain.model.towers import open_clip_towers
from grain.portable.encoder import OnnxEncoder
from grain.portable.texts import CLEANING
from grain.preprocess import image_to_array
from grain.train.train import train
from tests.grain.train.test_train import settings
from tests.support.tiny import picture

CONTEXT = 12
TEXTS = ["a red lid", "", "Zorbex\u2019s &amp; friends:  it_ll  be 12.5", "a photo of a STAR.", "word " * 60]
DECODER = DecoderConfig(width=24, layers=2, heads=2, ffn=40, dropout=0.0, num_queries=3, add_pooled=True)


@register_model  # timm then finds it by its name
def tiny_siglip(pretrained: bool = False, **options: Any) -> VisionTransformer:
    """An image tower as SigLIP's: no CLS, the patches pooled by attention."""
    known = {name: options[name] for name in ("num_classes", "global_pool")}
    return VisionTransformer(img_size=32, embed_dim=32, depth=2, num_heads=2, class_token=False, **known)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny SigLIP as published for open_clip: configuration, weights and tokenizer in one folder."""
    folder = tmp_path_factory.mktemp("published") / "siglip"
    folder.mkdir()
    cut = Tokenizer(models.Unigram())
    cut.pre_tokenizer = pre_tokenizers.Metaspace()
    marks = ["<unk>", "</s>"]
    cut.train_from_iterator(["a photo of a red lid", "a star on a handle"], trainers.UnigramTrainer(
        vocab_size=60, special_tokens=marks, unk_token="<unk>", show_progress=False
    ))  # fmt: skip
    cut.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    names = {"eos_token": "</s>", "pad_token": "</s>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=cut, **names).save_pretrained(folder)
    text: dict[str, Any] = {"context_length": CONTEXT, "vocab_size": 64, "width": 32, "heads": 2, "layers": 2}
    text |= {"no_causal_mask": True, "proj_bias": True, "pool_type": "last"}
    text |= {"hf_tokenizer_name": "somebody/siglip", "tokenizer_kwargs": {"clean": "canonicalize"}}
    vision = {"image_size": 32, "timm_model_name": "tiny_siglip", "timm_pool": "map", "timm_proj": "none"}
    model: dict[str, Any] = {"embed_dim": 32, "init_logit_bias": -10, "custom_text": True, "vision_cfg": vision}
    model["text_cfg"] = text
    half = [0.5, 0.5, 0.5]
    known = {"model_cfg": model, "preprocess_cfg": {"mean": half, "std": half, "resize_mode": "squash"}}
    (folder / OPEN_CLIP_CONFIG).write_text(json.dumps(known))
    torch.manual_seed(0)
    towers = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    save_file(towers.state_dict(), folder / OPEN_CLIP_WEIGHTS)
    return folder


@pytest.fixture
def model(folder: Path) -> tuple[GrainModel, GrainConfig]:
    return from_open_clip(f"local-dir:{folder}", None)


def test_both_towers_give_what_open_clips_give(folder: Path, model: tuple[GrainModel, GrainConfig]) -> None:
    theirs, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    ours, config = model
    tokens = open_clip.get_tokenizer(f"local-dir:{folder}")(TEXTS)
    assert torch.equal(tokenizer_of(config)(TEXTS), tokens) and tokens.shape == (5, CONTEXT)
    mine = image_to_array(picture(3), size=config.image_size, mean=config.mean, std=config.std)
    assert torch.equal(preprocess(picture(3)), torch.from_numpy(mine))
    pixels = torch.from_numpy(mine)[None]
    with torch.no_grad():
        expected = theirs.eval().encode_image(pixels), theirs.encode_text(tokens)
        found = ours.eval().vision(pixels)[1], ours.text(tokens)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("kind", CLEANING)
def test_texts_are_cleaned_as_by_open_clip(kind: str) -> None:
    assert [CLEANING[kind](text) for text in TEXTS] == [get_clean_fn(kind)(text) for text in TEXTS]


def test_a_decoder_reads_its_tokens_and_starts_with_its_image_embedding(folder: Path) -> None:
    ours, config = from_open_clip(f"local-dir:{folder}", None, DECODER)
    records = [ShardRecord("1", torch.rand(3, 32, 32), "A lid.", ((0.0, 0.0, 0.5, 0.5),), ("a Red lid",), None)]
    batch = collate(records, ["A lid."], config=config, tokenizer=tokenizer_of(config), max_regions=5)
    assert batch.captions.shape == batch.descriptions.shape == (1, CONTEXT)
    output, texts, _ = ours(batch.images, [batch.captions, batch.descriptions])
    assert output.region_embeds.shape == (1, 3, 32)
    (output.image_embeds @ texts[0].T + (output.region_embeds @ texts[1].T).sum(dim=1)).sum().backward()
    reached = {name for name, each in ours.named_parameters() if each.grad is not None and each.grad.any()}
    assert {"vision.trunk.trunk.attn_pool.q.weight", "text.trunk.token_embedding.weight"} <= reached
    with pytest.raises(ValueError, match="queries from proposals need a tower with CLIP's own projection"):
        GrainModel(replace(config, decoder=replace(DECODER, queries="proposals")))


def test_a_training_starts_from_it_and_keeps_its_tokenizer(folder: Path, tmp_path: Path, data_folder: Path) -> None:
    import_weights(ImportConfig(f"local-dir:{folder}", tmp_path / "start"))
    train(settings(data_folder, tmp_path, preset="sample", images=8, evaluate_images=4, add_pooled=True))
    for checkpoint in (tmp_path / "run" / "best", tmp_path / "run" / "final"):
        trained = Predictor.from_pretrained(checkpoint)
        assert trained.info.can_ground and trained.embed_texts(TEXTS).shape == (5, 32)
        assert (checkpoint / "tokenizer.json").read_bytes() == (tmp_path / "start" / "tokenizer.json").read_bytes()
    out = publish(PublishConfig(tmp_path / "run", tmp_path / "export"))
    verify(out)
    assert open_clip.get_tokenizer(f"local-dir:{out}")(["A red lid."]).shape == (1, CONTEXT)


@pytest.mark.parametrize("decoder", [None, DECODER])
def test_saved_published_and_without_torch_it_stays_the_same(
    folder: Path, tmp_path: Path, decoder: DecoderConfig | None
) -> None:
    ours, config = from_open_clip(f"local-dir:{folder}", None, decoder)
    save_pretrained(ours, config, tmp_path / "mine", card=ModelCard("mine", "nothing"))
    verify(tmp_path / "mine")
    assert str(folder) not in (tmp_path / "mine" / "config.json").read_text()
    saved = Predictor.from_pretrained(tmp_path / "mine", precision="fp32")
    with torch.no_grad():
        expected = F.normalize(ours.eval().text(tokenizer_of(config)(TEXTS)), dim=-1).numpy()
    np.testing.assert_allclose(saved.embed_texts(TEXTS), expected, atol=1e-5)
    light = Predictor.from_pretrained(export_onnx(OnnxExportConfig(tmp_path / "mine", tmp_path / "light")))
    np.testing.assert_allclose(light.embed_texts(TEXTS), expected, atol=1e-4)
    one, other = (each.features(picture(1)) for each in (saved, light))
    np.testing.assert_allclose(one.image_embed, other.image_embed, atol=1e-4)
    np.testing.assert_allclose(one.region_embeds, other.region_embeds, atol=1e-4)
    (tmp_path / "out").mkdir()
    export_open_clip(ours, tmp_path / "out" / OPEN_CLIP_WEIGHTS)
    tokenizer_of(config).save(tmp_path / "out")
    (tmp_path / "out" / OPEN_CLIP_CONFIG).write_text(json.dumps(open_clip_config(config)))
    theirs = open_clip.create_model(f"local-dir:{tmp_path / 'out'}").eval()
    with torch.no_grad():
        again = theirs.encode_text(open_clip.get_tokenizer(f"local-dir:{tmp_path / 'out'}")(TEXTS), normalize=True)
    np.testing.assert_allclose(again.numpy(), expected, atol=1e-5)


def test_another_tokenizer_is_another_model_though_the_weights_are_the_same(folder: Path, tmp_path: Path) -> None:
    model, config = from_open_clip(f"local-dir:{folder}", None, DECODER)
    save_pretrained(model, config, tmp_path / "one", card=ModelCard("one", "nothing"))
    with checkpoint_folder(tmp_path / "other") as other:
        for path in (tmp_path / "one").iterdir():
            shutil.copy(path, other / path.name)
        words = json.loads((other / "tokenizer.json").read_text())
        vocabulary = words["model"]["vocab"]
        vocabulary[-2], vocabulary[-1] = vocabulary[-1], vocabulary[-2]
        (other / "tokenizer.json").write_text(json.dumps(words))
    assert model_digest(tmp_path / "one") != model_digest(tmp_path / "other")


def test_the_command_imports_it_and_a_lost_tokenizer_is_one_sentence(folder: Path, tmp_path: Path) -> None:
    import_weights(ImportConfig(f"local-dir:{folder}", tmp_path / "mine"))
    assert "open_clip siglip" in (tmp_path / "mine" / "README.md").read_text()
    assert str(folder) not in (tmp_path / "mine" / "README.md").read_text()
    found = Predictor.from_pretrained(tmp_path / "mine").predict(picture(1), [], {"a lid": ["red"], "a star": []})
    assert {each.name for each in found.classes} == {"a lid", "a star"}
    (tmp_path / "mine" / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match=r"tokenizer\.json does not match"):
        Predictor.from_pretrained(tmp_path / "mine")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ({"tokenizer_kwargs": {"clean": "canonicalize", "strip_sep_token": True}}, "in a way that is not supported"),
        ({"tokenizer_kwargs": {"clean": "whitespace"}, "tokenizer_mode": "clips"}, "in a way that is not supported"),
        ({"hf_model_name": "somebody/bert"}, "the text tower of .* is not supported"),
    ],
)
def test_what_is_not_known_is_refused_in_one_sentence(
    folder: Path, tmp_path: Path, text: dict[str, Any], sentence: str
) -> None:
    known = json.loads((folder / OPEN_CLIP_CONFIG).read_text())
    known["model_cfg"]["text_cfg"] |= text
    (tmp_path / OPEN_CLIP_CONFIG).write_text(json.dumps(known))
    (tmp_path / OPEN_CLIP_WEIGHTS).write_bytes((folder / OPEN_CLIP_WEIGHTS).read_bytes())
    with pytest.raises(ValueError, match=sentence) as caught:
        open_clip_towers(f"local-dir:{tmp_path}", None)
    assert "\n" not in str(caught.value)


def test_a_model_that_does_not_say_how_texts_are_cleaned_keeps_their_capitals(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "plain")
    known = json.loads((folder / OPEN_CLIP_CONFIG).read_text())
    del known["model_cfg"]["text_cfg"]["tokenizer_kwargs"]
    (tmp_path / "plain" / OPEN_CLIP_CONFIG).write_text(json.dumps(known))
    import_weights(ImportConfig(f"local-dir:{tmp_path / 'plain'}", tmp_path / "mine"))
    expected = open_clip.get_tokenizer(f"local-dir:{tmp_path / 'plain'}")(["STAR", *TEXTS])
    config = from_pretrained(tmp_path / "mine")[1]
    assert torch.equal(tokenizer_of(config)(["STAR", *TEXTS]), expected)
    light = OnnxEncoder(export_onnx(OnnxExportConfig(tmp_path / "mine", tmp_path / "light")))
    assert light.tokens(["STAR", *TEXTS]).tolist() == expected.tolist()
    assert open_clip_config(config)["model_cfg"]["text_cfg"]["tokenizer_kwargs"] == {"clean": "whitespace"}


def test_a_tokenizer_that_is_none_is_said_so(model: tuple[GrainModel, GrainConfig]) -> None:
    with pytest.raises(ValueError, match="its tokenizer cannot be read"):
        OwnTokenizer(replace(model[1], tokenizer="{"))
    odd = {**model[1].text_cfg, "tokenizer_kwargs": {"clean": "bleach"}}
    with pytest.raises(ValueError, match="expected texts cleaned by lower, whitespace, canonicalize, got 'bleach'"):
        OwnTokenizer(replace(model[1], text_cfg=odd))

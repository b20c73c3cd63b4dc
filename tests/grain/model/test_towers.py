import json
import pickle
from collections.abc import Callable
from pathlib import Path

import open_clip
import pytest
import torch
from open_clip.model import CLIPTextCfg, CLIPVisionCfg, CustomTextCLIP
from safetensors.torch import save_file
from torch import Tensor, nn

from grain.config import CLIP_MEAN, CLIP_STD, DecoderConfig
from grain.data.tokenizer import Tokenizer
from grain.model.model import GrainModel
from grain.model.pretrained import ImportConfig, export_open_clip, from_open_clip, from_pretrained, load_towers
from grain.model.pretrained import main as import_weights
from grain.model.towers import (
    build_towers,
    needs_quick_gelu,
    open_clip_towers,
    shared_normalization,
    to_grain_names,
    to_open_clip_names,
)
from tests.support.tiny import Bomb, random_batch, tiny_config

CONTEXT, VOCABULARY = (tiny_config().text_cfg[key] for key in ("context_length", "vocab_size"))


def texts(context: int | None = None) -> Tensor:
    """Three texts of different lengths, trimmed, or padded to a length."""
    tokens = Tokenizer(vocab_size=VOCABULARY, context_length=CONTEXT)(["a red lid", "a blue star on a handle", "x"])
    assert 4 < tokens.shape[1] < CONTEXT
    return nn.functional.pad(tokens, (0, (context or tokens.shape[1]) - tokens.shape[1]))


def open_clip_model(seed: int = 0) -> CustomTextCLIP:
    """The same towers as tiny_config's, built and filled by open_clip alone."""
    torch.manual_seed(seed)
    config = tiny_config()
    return CustomTextCLIP(config.embed_dim, CLIPVisionCfg(**config.vision_cfg), CLIPTextCfg(**config.text_cfg)).eval()


@pytest.fixture
def architecture(tmp_path: Path) -> str:
    """The tiny towers as an architecture that open_clip knows by name."""
    config, name = tiny_config(), f"tiny-{tmp_path.name}"
    fields = {"embed_dim": config.embed_dim, "vision_cfg": config.vision_cfg, "text_cfg": config.text_cfg}
    path = tmp_path / f"{name}.json"
    path.write_text(json.dumps(fields), encoding="utf-8")
    open_clip.add_model_config(path)
    return name


def recorded(model: nn.Module, stages: dict[str, str], run: Callable[[], Tensor]) -> dict[str, Tensor]:
    """What each stage (a submodule's name) gave during a run."""
    found: dict[str, Tensor] = {}

    def record(stage: str) -> Callable[[nn.Module, object, Tensor], None]:
        return lambda _module, _given, output: found.update({stage: output.detach()})

    hooks = [model.get_submodule(place).register_forward_hook(record(stage)) for stage, place in stages.items()]
    with torch.no_grad():
        found["result"] = run()
    for hook in hooks:
        hook.remove()
    return found


def test_the_image_tower_equals_open_clip_at_every_stage_on_copied_weights() -> None:
    theirs, ours = open_clip_model(), GrainModel(tiny_config()).eval()
    load_towers(ours, to_grain_names(theirs.state_dict()))
    images = random_batch(tiny_config(), [0, 0, 0]).images
    stages = {"patches": "conv1", "before": "ln_pre", "final norm": "ln_post"}
    stages |= {f"block {i}": f"transformer.resblocks.{i}" for i in range(2)}
    expected = recorded(theirs.visual, stages, lambda: theirs.encode_image(images))
    got = recorded(ours.vision.trunk, stages, lambda: ours.vision(images)[1])
    assert expected.keys() == got.keys() and len(expected) == 6
    for stage, value in expected.items():
        torch.testing.assert_close(got[stage], value, msg=stage)
    tokens, _ = ours.vision(images)
    torch.testing.assert_close(tokens, expected["final norm"])
    assert tokens.shape == (3, 1 + 4, 32)


def test_the_text_tower_equals_open_clip_at_every_stage_on_copied_weights() -> None:
    theirs, ours = open_clip_model(), GrainModel(tiny_config()).eval()
    load_towers(ours, to_grain_names(theirs.state_dict()))
    tokens, padded = texts(), texts(CONTEXT)
    stages = {"tokens": "token_embedding"} | {f"block {i}": f"transformer.resblocks.{i}" for i in range(2)}
    expected = recorded(theirs.text, stages, lambda: theirs.encode_text(padded))
    got = recorded(ours.text.trunk, stages, lambda: ours.text(tokens))
    assert expected.keys() == got.keys() and len(expected) == 4
    for stage in stages:
        torch.testing.assert_close(got[stage], expected[stage][:, : tokens.shape[1]], msg=stage)
    torch.testing.assert_close(got["result"], expected["result"])


def test_open_clips_own_image_and_text_similarity_is_the_clip_baselines() -> None:
    theirs = open_clip_model()
    ours = GrainModel(tiny_config().as_clip()).eval()
    load_towers(ours, to_grain_names(theirs.state_dict()))
    images = random_batch(tiny_config(), [0, 0]).images
    with torch.no_grad():
        logits, _ = theirs.get_logits(images, texts(CONTEXT))
        output, [embeds], scale = ours(images, [texts()])
    torch.testing.assert_close(scale.exp() * output.image_embeds @ embeds.T, logits)


@pytest.mark.parametrize("qk_norm", [False, True])
def test_trimmed_texts_give_the_embeddings_of_padded_ones(qk_norm: bool) -> None:
    config = tiny_config()
    config.text_cfg["qk_norm"] = qk_norm
    _, text = build_towers(config)
    assert text.can_trim
    tokens = texts()
    with torch.no_grad():
        trimmed = text.eval()(tokens)
        for length in range(tokens.shape[1] + 1, CONTEXT + 1):
            torch.testing.assert_close(text(texts(length)), trimmed)
        torch.testing.assert_close(torch.cat([text(row[None]) for row in tokens]), trimmed)


def test_a_text_tower_without_a_causal_mask_is_given_the_padded_text_it_expects() -> None:
    config = tiny_config()
    config.text_cfg["no_causal_mask"] = True
    _, text = build_towers(config)
    assert not text.can_trim
    torch.testing.assert_close(text.eval()(texts()), text.trunk(texts(CONTEXT)))


def test_no_texts_give_no_embeddings() -> None:
    model = GrainModel(tiny_config())
    assert model.encode_text(torch.zeros(0, 1, dtype=torch.long)).shape == (0, 16)
    assert model.encode_text(torch.zeros(0, CONTEXT, dtype=torch.long)).shape == (0, 16)


def test_a_state_goes_to_open_clip_and_back_unchanged(tmp_path: Path) -> None:
    model = GrainModel(tiny_config())
    towers = to_open_clip_names(model.state_dict())
    open_clip_model(seed=1).load_state_dict(towers, strict=True)
    back = to_grain_names(towers)
    assert len(back) > 50
    assert all(torch.equal(model.state_dict()[name], value) for name, value in back.items())
    left = model.state_dict().keys() - back.keys()
    assert left and all(name.startswith(("decoder.", "heads.")) for name in left)
    export_open_clip(model, tmp_path / "towers.safetensors")
    other = GrainModel(tiny_config())
    load_towers(other, to_grain_names(open_clip.factory.load_state_dict(str(tmp_path / "towers.safetensors"))))
    assert torch.equal(other.vision.trunk.conv1.weight, model.vision.trunk.conv1.weight)


def test_weights_of_other_towers_are_refused() -> None:
    state = to_grain_names(open_clip_model().state_dict())
    state["text.trunk.surplus"] = state.pop("text.trunk.ln_final.bias")
    with pytest.raises(ValueError, match=r"do not fit.*ln_final.bias.*surplus"):
        load_towers(GrainModel(tiny_config()), state)


def test_published_weights_become_a_checkpoint_with_scores_and_no_decoder(architecture: str, tmp_path: Path) -> None:
    theirs, file = open_clip_model(), tmp_path / "weights.safetensors"
    save_file(theirs.state_dict(), file)
    import_weights(ImportConfig(open_clip=architecture, weights=str(file), out=tmp_path / "imported"))
    model, config = from_pretrained(tmp_path / "imported")
    assert (config.kind, config.image_size, config.embed_dim) == ("clip", 32, 16)
    images = random_batch(config, [0, 0]).images
    with torch.no_grad():
        expected = theirs.encode_image(images, normalize=True)
        torch.testing.assert_close(model.encode_image(images).image_embeds, expected)


def test_published_weights_can_carry_an_untrained_decoder(architecture: str, tmp_path: Path) -> None:
    theirs, file = open_clip_model(), tmp_path / "weights.safetensors"
    save_file(theirs.state_dict(), file)
    decoder = DecoderConfig(width=24, layers=1, heads=2, ffn=40, num_queries=2)
    model, config = from_open_clip(architecture, str(file), decoder)
    assert config.decoder == decoder
    assert torch.equal(model.text.trunk.ln_final.weight, theirs.text.ln_final.weight)
    assert model.encode_image(torch.zeros(1, 3, 32, 32)).region_embeds.shape == (1, 2, 16)


def test_weights_with_openais_activation_are_recognised_by_their_tag() -> None:
    assert needs_quick_gelu("ViT-B-16", "openai")
    assert needs_quick_gelu("ViT-B-16-quickgelu", None)
    assert not needs_quick_gelu("ViT-B-16", "datacomp_xl_s13b_b90k")
    assert not needs_quick_gelu("ViT-B-16", None)


def test_a_file_of_openais_weights_is_recognised_by_its_name_or_its_folders(tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    for place, quick in (
        ("ViT-B-16-OpenAI.safetensors", True),
        ("openai/w.safetensors", True),
        ("w.safetensors", False),
    ):
        (weights / place).parent.mkdir(parents=True, exist_ok=True)
        (weights / place).touch()
        assert needs_quick_gelu("ViT-B-16", str(weights / place)) is quick
    assert not needs_quick_gelu("ViT-B-16", str(weights / "openai" / "not-there.safetensors"))


def test_a_file_of_weights_is_normalized_as_all_published_ones_of_its_architecture() -> None:
    half = (0.5, 0.5, 0.5)
    assert shared_normalization("ViT-B-16-SigLIP") == {"mean": half, "std": half}
    assert shared_normalization("ViT-B-16") == {"mean": CLIP_MEAN, "std": CLIP_STD}
    assert shared_normalization("ViT-L-14") == shared_normalization("tiny") == {}, "they differ, or there are none"


@pytest.mark.parametrize("name", ["w.pt", "w.bin", "w.ckpt", "w.pth", "w.pkl", "w.PT", "weights", "w.safetensors"])
def test_a_pickle_is_refused_as_open_clip_weights_whatever_its_name_and_runs_no_code(
    name: str, architecture: str, tmp_path: Path
) -> None:
    file, mark = tmp_path / name, tmp_path / "exploded"
    file.write_bytes(pickle.dumps(Bomb(mark)))
    with pytest.raises(ValueError, match=r"pickle|could not load"):
        open_clip_towers(architecture, str(file))
    assert not mark.exists()
    pickle.loads(file.read_bytes())
    assert mark.exists(), "it would have"


@pytest.mark.parametrize("name", ["open_clip_pytorch_model.bin", "model.pth"])
def test_a_folder_whose_weights_are_a_pickle_is_refused_and_runs_no_code(name: str, tmp_path: Path) -> None:
    mark = tmp_path / "exploded"
    (tmp_path / name).write_bytes(pickle.dumps(Bomb(mark)))
    (tmp_path / "model.safetensors").write_bytes(b"")  # open_clip takes the pickle before it
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": {"embed_dim": 8, "text_cfg": {}}}))
    with pytest.raises(ValueError, match=r"expected open_clip_model\.safetensors.*pickle, which can run code"):
        open_clip_towers(f"local-dir:{tmp_path}", None)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("name", "weights", "sentence"),
    [
        ("ViT-Z-99", None, "no architecture 'ViT-Z-99'"),
        ("ViT-B-16", "missing.safetensors", "no file missing.safetensors"),
        ("ViT-B-16", "missing.bin", "convert it to .safetensors"),
        ("ViT-B-16", "no_such_tag", "check the tag"),
        ("ViT-B-16-SigLIP", None, "could not load ViT-B-16-SigLIP"),  # its tokenizer is not here
    ],
)
def test_weights_that_cannot_be_used_are_refused_in_one_sentence(name: str, weights: str | None, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as caught:
        open_clip_towers(name, weights)
    assert "\n" not in str(caught.value)


def test_a_configuration_cannot_start_a_download() -> None:
    config = tiny_config()
    config.text_cfg["hf_model_name"] = "owner/model"
    with pytest.raises(ValueError, match="owner/model is not supported"):
        build_towers(config)

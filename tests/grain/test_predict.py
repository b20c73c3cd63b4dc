import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from grain.checkpoint import EMBEDDED, CheckpointError, locate
from grain.detections import PicturePrediction, to_csv
from grain.model.encode import TorchEncoder
from grain.model.pretrained import ModelCard, save_pretrained
from grain.predict import PredictConfig, Predictor
from grain.predict import main as predict
from grain.structures import ImageFeatures
from tests.support.paths import ROOT
from tests.support.tiny import FakeEncoder, picture, tiny_config, tiny_model, unit
from user_errors import UserError, WriteError

TEXTS = {"a lid": unit(1, 0, 0), "a star": unit(0, 1, 0), "jar": unit(0, 0, 1), "pot": unit(3, 0, 4)}
FEATURES = ImageFeatures(
    np.array(unit(0, 0, 1), np.float32),
    np.array([unit(1, 0, 0), unit(0.6, 0.8, 0)], np.float32),
    np.array([[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1]], np.float32),
    np.ones(2, np.float32),
)
BLIND = ImageFeatures(FEATURES.image_embed, *(np.zeros(shape, np.float32) for shape in ((0, 3), (0, 4), 0)))


def tables(features: ImageFeatures) -> list[np.ndarray]:
    """What a model without hints sees of a picture."""
    assert features.hints is None
    return [features.image_embed, features.region_embeds, features.boxes_xyxy, features.objectness]


def predictor(features: ImageFeatures = FEATURES) -> Predictor:
    return Predictor(FakeEncoder(TEXTS, features))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny GRAIN with random weights."""
    folder, config = tmp_path_factory.mktemp("checkpoints") / "tiny", tiny_config()
    save_pretrained(tiny_model(config), config, folder, card=ModelCard("tiny", "nothing at all", twin="tiny-clip"))
    return folder


@pytest.fixture(scope="module")
def clip(checkpoint: Path) -> Path:
    """Its CLIP twin beside it."""
    folder, config = checkpoint.parent / "tiny-clip", tiny_config().as_clip()
    save_pretrained(tiny_model(config), config, folder, card=ModelCard("tiny-clip", "nothing at all"))
    return folder


# with embeddings chosen by hand


def test_a_path_a_picture_and_an_array_are_one_picture_upright(tmp_path: Path) -> None:
    stored = picture(0, (30, 20))
    exif = Image.Exif()
    exif[274] = 6
    stored.save(tmp_path / "phone.png", exif=exif)
    upright = stored.transpose(Image.Transpose.ROTATE_270)
    with Image.open(tmp_path / "phone.png") as opened:
        for given in (tmp_path / "phone.png", str(tmp_path / "phone.png"), opened.convert("RGB"), np.asarray(upright)):
            encoder = FakeEncoder(TEXTS, FEATURES)
            prediction = Predictor(encoder).predict(given, ["a lid"], {})
            assert (prediction.width, prediction.height) == (20, 30)
            Predictor(encoder).crop_embeds(given, [(0.0, 0.0, 0.5, 0.5)])
            assert [image.tobytes() for image in encoder.seen] == [
                upright.tobytes(),
                upright.crop((0, 0, 10, 15)).tobytes(),
            ]


def test_each_description_is_grounded_in_its_best_region() -> None:
    lid, star = predictor().ground(picture(0), ["a lid", "a star"])
    assert (lid.text, lid.index, lid.xyxy) == ("a lid", 0, (0.0, 0.0, 0.5, 0.5))
    assert (star.text, star.index, star.xyxy) == ("a star", 1, (0.5, 0.5, 1.0, 1.0))
    assert (lid.score, star.score) == pytest.approx((1.0, 0.8))
    assert [region.text for region in predictor().ground(picture(0), ["a lid", "a star"], threshold=0.9)] == ["a lid"]


def test_classes_are_scored_best_first_by_the_image_or_by_the_regions() -> None:
    classes = {"jar": ["a star"], "pot": []}
    assert list(predictor().classify(picture(0), {"jar": [], "pot": []}).items()) == [
        ("jar", pytest.approx(1.0)),
        ("pot", pytest.approx(0.8)),
    ]
    scores = predictor().classify(picture(0), classes, alpha=0.0)
    assert scores == {"jar": pytest.approx(0.8), "pot": pytest.approx(0.8)}
    assert predictor().classify(picture(0), classes, alpha=0.5)["jar"] == pytest.approx((0.0 + 0.8) / 2)


def test_regions_score_by_the_checkpoints_rule_unless_another_is_asked_for() -> None:
    texts = TEXTS | {"a lid and a star": unit(1, 0, 0)}
    encoder = FakeEncoder(texts, FEATURES)
    encoder.info = replace(encoder.info, region_rule="phrases")
    model, classes = Predictor(encoder), {"pot": ["a lid and a star"]}
    assert model.classify(picture(0), classes, alpha=0.0)["pot"] == pytest.approx((1.0 + 0.8) / 2)
    for rule, score in (("best_region", 1.0), ("best_description", (1.0 + 0.6) / 2)):
        assert model.classify(picture(0), classes, alpha=0.0, region_rule=rule)["pot"] == pytest.approx(score)
        assert model.classify_features([FEATURES], classes, alpha=0.0, region_rule=rule)[0, 0] == pytest.approx(score)
    assert model.class_texts(classes) == ["a lid and a star", "a lid", "a star"]
    assert Predictor(FakeEncoder(texts, FEATURES)).class_texts(classes) == ["a lid and a star"]


def test_a_prediction_is_all_of_it_in_plain_json() -> None:
    prediction = predictor().predict(
        picture(0, (30, 20)), ["a lid", "a star"], {"jar": [], "pot": ["a lid"]}, threshold=0.9
    )
    answer = json.loads(json.dumps(prediction.to_json(), allow_nan=False))
    assert answer["schema_version"] == 1
    assert answer["image"] == {"width": 30, "height": 20}
    [region] = answer["regions"]
    assert region == {"xyxy": [0.0, 0.0, 0.5, 0.5], "text": "a lid", "score": 1.0, "index": 0, "confidence": None}
    assert answer["matches"]["answers"] == ["found", "below the threshold"]
    assert answer["matches"]["descriptions"] == ["a lid", "a star"]
    assert np.allclose(answer["matches"]["scores"], [[1, 0], [0.6, 0.8]])
    assert answer["matches"]["boxes_xyxy"] == [[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1]]
    assert [row["name"] for row in answer["classes"]] == ["jar", "pot"]
    assert sum(row["probability"] for row in answer["classes"]) == pytest.approx(1)
    assert answer["classes"][1]["descriptions"][0]["text"] == "a lid"
    assert answer["timing_ms"].keys() == {"image", "texts", "scores"}


def test_an_empty_question_gets_an_empty_answer() -> None:
    prediction = predictor().predict(picture(0), [], {})
    assert (prediction.regions, prediction.classes, prediction.matches.shape) == ((), (), (2, 0))
    assert predictor().ground(picture(0), []) == []


def test_a_checkpoint_without_a_decoder_grounds_nothing_and_classifies_by_the_whole_image() -> None:
    prediction = predictor(BLIND).predict(picture(0), ["a lid"], {"jar": ["a star"]}, alpha=0.0)
    assert (prediction.regions, prediction.matches.shape) == ((), (0, 1))
    assert prediction.classes[0].region_score is None
    assert prediction.classes[0].score == prediction.classes[0].global_score == 0


def test_a_text_is_encoded_once_however_often_it_is_asked_for() -> None:
    encoder = FakeEncoder(TEXTS, FEATURES)
    asking = Predictor(encoder)
    for _ in range(3):
        assert asking.embed_texts(["a lid", "a star", "a lid"]).shape == (3, 3)
    asking.ground(picture(0), ["a lid"])
    assert encoder.asked == ["a lid", "a star"]


def test_a_set_of_pictures_is_classified_like_each_alone() -> None:
    classes = {"jar": ["a star"], "pot": []}
    scores = predictor().classify_features([FEATURES, FEATURES], classes, alpha=0.3)
    alone = predictor().classify(picture(0), classes, alpha=0.3)
    assert scores.shape == (2, 2)
    np.testing.assert_allclose(scores[1], [alone["jar"], alone["pot"]])


@pytest.mark.parametrize(
    ("ask", "sentence"),
    [
        (lambda p: p.classify(picture(0), {}), "no classes: give at least one"),
        (lambda p: p.classify(picture(0), {"jar": []}, alpha=1.5), r"alpha must lie in \[0, 1\], got 1.5"),
        (lambda p: p.ground(picture(0), "a lid"), "must be a list of texts, got a single text"),
        (lambda p: p.classify(picture(0), {"jar": "a lid"}), "must be a list of texts, got a single text"),
        (lambda p: p.ground(picture(0), ["a lid", 3]), "must be a list of texts, got int among them"),
        (lambda p: p.ground(picture(0), None), "must be a list of texts, got NoneType: write"),
        (lambda p: p.classify(picture(0), ["jar", "pot"]), r"classes must be .name: .*, got list: write"),
        (lambda p: p.classify(picture(0), {"jar": None}), "must be a list of texts, got NoneType: write"),
        (lambda p: p.classify_features([FEATURES], ["jar"]), "classes must be"),
        (lambda p: p.classify_features([], {"jar": []}), "expected the features of at least one picture, got none"),
        (lambda p: p.ground(picture(0), ["a lid"], instances="every"), "instances must be best or all, got 'every'"),
        (lambda p: p.ground(picture(0), ["a lid"], math.nan), "threshold must be a number, got nan"),
        (
            lambda p: p.ground(picture(0), ["a lid"], min_confidence=math.nan),
            "min_confidence must be a number, got nan",
        ),
        (lambda p: p.predict(picture(0), ["a lid"], {}, alpha=1.5), r"alpha must lie in \[0, 1\], got 1.5"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(ask: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        ask(predictor())


@pytest.mark.parametrize("gather", [iter, tuple, np.array, dict.fromkeys])
def test_descriptions_may_be_gathered_in_any_way(gather: Any) -> None:
    found = predictor().predict(picture(0), gather(["a lid", "a star"]), {}, threshold=-1.0)
    assert found.descriptions == ("a lid", "a star") and [each.text for each in found.regions] == ["a lid", "a star"]
    assert predictor().classify(picture(0), {"jar": gather(["a lid"])}) == predictor().classify(
        picture(0), {"jar": ["a lid"]}
    )


# with a checkpoint


def test_a_checkpoint_says_what_it_is(checkpoint: Path, clip: Path) -> None:
    info, of_clip = (Predictor.from_pretrained(folder).info for folder in (checkpoint, clip))
    assert (info.name, info.kind, info.trained_on, info.twin) == ("tiny", "grain", "nothing at all", "tiny-clip")
    assert (info.can_ground, info.grounding_note) == (True, "")
    assert info.parameters == sum(p.numel() for p in tiny_model(tiny_config()).parameters())
    assert (of_clip.kind, of_clip.twin, of_clip.can_ground) == ("clip", None, False)
    assert of_clip.grounding_note == "this checkpoint has no trained decoder"


def test_pictures_of_any_size_give_unit_embeddings_and_boxes_inside_the_picture(checkpoint: Path) -> None:
    loaded = Predictor.from_pretrained(checkpoint)
    pictures = [picture(1, (90, 20)), picture(2, (1, 1)), Image.new("RGB", (33, 500))]
    for alone, batched in zip(map(loaded.features, pictures), loaded.batch_features(pictures), strict=True):
        assert alone.image_embed.shape == (16,) and alone.region_embeds.shape == (3, 16)
        np.testing.assert_allclose(np.linalg.norm(alone.region_embeds, axis=1), 1, rtol=1e-5)
        assert alone.boxes_xyxy.min() >= 0 and alone.boxes_xyxy.max() <= 1
        assert (alone.boxes_xyxy[:, 2:] > alone.boxes_xyxy[:, :2]).all()
        for ours, theirs in zip(tables(alone), tables(batched), strict=True):
            assert ours.dtype == np.float32
            np.testing.assert_allclose(ours, theirs, atol=1e-6)
    assert loaded.batch_features([]) == []
    assert loaded.embed_texts([]).shape == (0, 16)


def test_a_clip_checkpoint_classifies_and_grounds_nothing(clip: Path) -> None:
    prediction = Predictor.from_pretrained(clip).predict(picture(0), ["a lid"], {"jar": ["a lid"], "pot": []})
    assert (prediction.regions, prediction.boxes_xyxy.shape) == ((), (0, 4))
    assert len(prediction.classes) == 2 and all(math.isfinite(score.score) for score in prediction.classes)


def test_sixteen_bits_change_a_score_by_little(checkpoint: Path) -> None:
    exact, rough = (Predictor.from_pretrained(checkpoint, precision=p).features(picture(3)) for p in ("fp32", "bf16"))
    assert rough.image_embed.dtype == rough.boxes_xyxy.dtype == np.float32
    assert float(exact.image_embed @ rough.image_embed) > 0.99
    np.testing.assert_allclose(exact.boxes_xyxy, rough.boxes_xyxy, atol=0.02)


def test_a_predictor_predicts_without_leaving_gradients(checkpoint: Path) -> None:
    encoder = TorchEncoder.load(checkpoint)
    encoder.encode_images([picture(0)])
    assert not encoder.model.training
    assert all(p.grad is None for p in encoder.model.parameters())
    assert torch.is_grad_enabled()


def test_the_command_line_prints_one_json_object(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = picture(0, (30, 20))
    image.getexif()[0x0112] = 6  # stands on its side
    image.save(tmp_path / "p.jpg", exif=image.getexif())
    classes = ("jar: a lid; a star", "pot")
    predict(PredictConfig(tmp_path / "p.jpg", ("a lid",), classes, str(checkpoint), threshold=-1.0))
    answer = json.loads(capsys.readouterr().out)
    assert (answer["checkpoint"]["name"], answer["checkpoint"]["trained_on"]) == ("tiny", "nothing at all")
    assert answer["image"] == {"width": 20, "height": 30}
    assert [region["text"] for region in answer["regions"]] == ["a lid"]
    assert {row["name"] for row in answer["classes"]} == {"jar", "pot"}


def test_the_command_line_draws_a_png_and_writes_coco(checkpoint: Path, tmp_path: Path) -> None:
    picture(0, (30, 20)).save(tmp_path / "p.jpg")
    config = PredictConfig(tmp_path / "p.jpg", ("a lid", "a star"), (), str(checkpoint), threshold=-1.0)
    predict(replace(config, png=tmp_path / "out" / "drawn.png", coco=tmp_path / "found.json"))
    with Image.open(tmp_path / "out" / "drawn.png") as drawn:
        assert drawn.size == (30, 20)
    coco = json.loads((tmp_path / "found.json").read_text())
    assert coco["images"] == [{"id": 1, "file_name": "p.jpg", "width": 30, "height": 20}]
    assert [row["name"] for row in coco["categories"]] == ["a lid", "a star"]
    assert [row["category_id"] for row in coco["annotations"]] == [1, 2]
    with pytest.raises(UserError, match="another file for --png"):
        predict(replace(config, png=tmp_path / "p.jpg"))


def test_the_command_line_takes_a_folder_and_leaves_out_what_is_no_picture(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = tmp_path / "in"
    pictures.mkdir()
    config = PredictConfig(pictures, ("a lid",), (), str(checkpoint), threshold=-1.0, png=tmp_path / "out")
    with pytest.raises(UserError, match="nowhere is not there: name a picture"):
        predict(replace(config, image=tmp_path / "nowhere"))
    with pytest.raises(UserError, match="has no pictures"):
        predict(config)
    for name in ("b.png", "a.jpg"):
        picture(1, (30, 20)).save(pictures / name)
    (pictures / "broken.jpg").write_text("no picture")
    (pictures / "cut.png").write_bytes((pictures / "b.png").read_bytes()[:60])
    (pictures / "notes.txt").write_text("no picture")
    predict(replace(config, coco=tmp_path / "found.json"))
    said = capsys.readouterr()
    assert [json.loads(line)["file"] for line in said.out.splitlines()] == ["a.jpg", "b.png"]
    assert said.err.startswith("left out: ") and "broken.jpg is not a JPEG" in said.err
    assert "cut.png is damaged or cut short" in said.err and said.err.count("left out: ") == 2
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.jpg.png", "b.png.png"]
    assert len(json.loads((tmp_path / "found.json").read_text())["images"]) == 2


def test_the_command_line_refuses_before_it_reads_a_picture_what_could_not_end_well(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture(1, (30, 20)).save(tmp_path / "a.png")
    config = PredictConfig(tmp_path / "a.png", ("a lid",), (), str(checkpoint))
    (tmp_path / "taken.txt").write_text("mine")
    (tmp_path / "words.jpg").write_text("no picture")
    for wrong, says in (
        (replace(config, description=()), "nothing to look for: give --description or --class-text"),
        (replace(config, description=("a lid", " ")), "expected a description, got no words"),
        (replace(config, description=("a " * 400,)), "expected at most 500 characters"),
        (replace(config, coco=tmp_path), "expected a file for --coco, got the folder"),
        (replace(config, coco=tmp_path / "taken.txt" / "x.json"), "taken.txt"),
        (replace(config, png=tmp_path), "expected a file for --png, got the folder"),
        (replace(config, alpha=2.0), "alpha must lie in"),
    ):
        with pytest.raises(ValueError, match=says):
            predict(wrong)
    assert capsys.readouterr().out == "" and (tmp_path / "taken.txt").read_text() == "mine"
    (tmp_path / "a.png").unlink()
    with pytest.raises(UserError, match=r"none of the 1 pictures .* could be read"):
        predict(replace(config, image=tmp_path, coco=tmp_path / "found.json"))
    assert not (tmp_path / "found.json").exists()


def test_the_drawn_pictures_of_a_folder_need_a_folder(checkpoint: Path, tmp_path: Path) -> None:
    picture(1, (30, 20)).save(tmp_path / "a.png")
    taken = tmp_path / "taken.txt"
    taken.write_text("mine")
    config = PredictConfig(tmp_path, ("a lid",), (), str(checkpoint), threshold=-1.0, png=taken)
    with pytest.raises(UserError, match=r"expected a folder for --png, as .* is one, got the file .*taken.txt: name"):
        predict(config)
    with pytest.raises(WriteError, match=r"taken.txt"):
        predict(replace(config, png=taken / "below"))
    assert taken.read_text() == "mine"


def test_a_description_that_is_asked_twice_is_found_once(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = predictor().predict(picture(0), ["a lid", "a star", "a lid"], {}, threshold=-1.0)
    assert [region.text for region in found.regions] == ["a lid", "a star"] and found.matches.shape[1] == 3
    rows = to_csv([PicturePrediction("a.png", found)]).splitlines()[1:]
    assert [row.split(",")[1] for row in rows] == ["a lid", "a star"]
    picture(1, (30, 20)).save(tmp_path / "a.png")
    predict(PredictConfig(tmp_path / "a.png", ("a lid", "a lid"), (), str(checkpoint), threshold=-1.0))
    answer = json.loads(capsys.readouterr().out)
    assert answer["matches"]["descriptions"] == ["a lid"] and len(answer["regions"]) == 1


def test_an_embedded_checkpoint_goes_by_its_name_unless_a_folder_of_that_name_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedded = [path.name for path in EMBEDDED.glob("*") if path.is_dir()]
    monkeypatch.chdir(tmp_path)
    assert all(locate(name) == EMBEDDED / name for name in embedded)
    for name in [*embedded, "mine"]:
        (tmp_path / name).mkdir()
        assert locate(name) == Path(name)
    assert locate("nowhere") == Path("nowhere")


# a checkpoint whose regions start from proposals


PROPOSALS = np.array([[0.0, 0.0, 0.5, 0.5], [0.25, 0.5, 1.0, 1.0], [0.1, 0.1, 0.2, 0.9]])


@pytest.fixture(scope="module")
def proposing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, config = tmp_path_factory.mktemp("proposing") / "tiny", tiny_config(queries="proposals")
    save_pretrained(tiny_model(config), config, folder, card=ModelCard("tiny", "nothing at all"))
    return folder


def test_the_regions_are_the_proposals_in_their_order(proposing: Path) -> None:
    loaded = Predictor.from_pretrained(proposing)
    assert loaded.info.from_proposals
    features = loaded.features(picture(0), PROPOSALS)
    np.testing.assert_allclose(features.boxes_xyxy, PROPOSALS, atol=2e-4)
    for alone, batched in zip(
        [loaded.features(picture(i), PROPOSALS[:count]) for i, count in enumerate((3, 1, 0))],
        loaded.batch_features([picture(i) for i in range(3)], [PROPOSALS[:count] for count in (3, 1, 0)]),
        strict=True,
    ):
        for ours, theirs in zip(tables(alone), tables(batched), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-6)
    [found] = loaded.ground(picture(0), ["a lid"], threshold=-1.0, proposals=PROPOSALS)
    np.testing.assert_allclose(found.xyxy, PROPOSALS[found.index], atol=2e-4)
    prediction = loaded.predict(picture(0), ["a lid"], {"jar": ["a lid"], "pot": []}, proposals=PROPOSALS.tolist())
    assert (prediction.matches.shape, len(prediction.classes)) == ((3, 1), 2)
    assert loaded.classify(picture(0), {"jar": [], "pot": []}, proposals=[]).keys() == {"jar", "pot"}


@pytest.mark.parametrize(
    ("proposals", "sentence"),
    [
        (None, "this model's regions start from proposals: give the boxes of each image"),
        ([[0, 0, 640, 480]], "proposals must be boxes .* normalized to the image"),
    ],
)
def test_proposals_that_are_missing_or_no_boxes_are_refused(proposals: object, sentence: str, proposing: Path) -> None:
    with pytest.raises(ValueError, match=sentence):
        Predictor.from_pretrained(proposing).ground(picture(0), ["a lid"], proposals=proposals)


def test_a_checkpoint_that_finds_its_own_regions_refuses_proposals(checkpoint: Path, clip: Path) -> None:
    for folder in (checkpoint, clip):
        loaded = Predictor.from_pretrained(folder)
        assert not loaded.info.from_proposals
        with pytest.raises(ValueError, match="this model takes no proposals: leave them out"):
            loaded.ground(picture(0), ["a lid"], proposals=PROPOSALS)


def test_the_command_line_takes_proposals(proposing: Path, tmp_path: Path) -> None:
    picture(0).save(tmp_path / "p.jpg")
    command = [sys.executable, "-m", "grain.predict", str(tmp_path / "p.jpg"), "--checkpoint", str(proposing)]
    command += ["--description", "a lid", "--threshold", "-1", "--proposals", *"0 0 0.5 0.5 0.25 0.5 1 1".split()]
    answer = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    np.testing.assert_allclose(answer["matches"]["boxes_xyxy"], PROPOSALS[:2], atol=2e-4)


# refusals and promises


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"folder": "nowhere"}, "nowhere is no checkpoint folder"),
        ({"folder": "nowhere/weights.pt"}, "weights.pt is a pickle, which can run code"),
    ],
)
def test_a_checkpoint_that_is_not_there_is_refused(options: dict, sentence: str) -> None:
    with pytest.raises(CheckpointError, match=sentence):
        Predictor.from_pretrained(**options)


def test_an_unknown_precision_is_refused(checkpoint: Path) -> None:
    with pytest.raises(ValueError, match="precision must be one of auto, fp32, bf16, got 'fp8'"):
        Predictor.from_pretrained(checkpoint, precision="fp8")


def test_importing_the_door_imports_no_torch() -> None:
    code = """
import sys
from grain import Predictor
import grain.structures, grain.predict, grain.zero_shot, grain.checkpoint, grain.config
heavy = {"torch", "torchvision", "open_clip", "transformers", "scipy", "accelerate"} & set(sys.modules)
sys.exit(f"imported {heavy}" if heavy else 0)
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_the_command_line_says_in_one_sentence_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "note.jpg").write_text("no picture")
    command = [sys.executable, "-m", "grain.predict", str(tmp_path / "note.jpg"), "--description", "a lid"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 1
    assert ran.stderr.endswith("AVIF or HEIC picture: save it as JPEG or PNG\n")
    assert ran.stderr.count("\n") == 1


def test_what_a_threshold_hides_is_found_all_the_same() -> None:
    found = predictor().predict(picture(0), ["a lid", "a star"], {}, threshold=-1.0)
    assert found.answers == ("found", "found") and found.hidden == ()
    above = found.above(threshold=0.9)
    assert above.answers == ("found", "below the threshold") and above.not_found == ()
    assert above.above(threshold=0.5).answers == above.answers, "what is hidden stays so"
    assert predictor().predict(picture(0), ["a lid", "a star"], {}, threshold=0.9).answers == above.answers
    unsure = replace(found, regions=tuple(replace(region, confidence=0.6) for region in found.regions))
    assert unsure.above(threshold=0.9, min_confidence=0.7).answers == ("cannot tell", "cannot tell")
    absent = replace(found, regions=(), presence=(0.4, 0.6))
    assert absent.above(threshold=0.9).answers == ("not found", "cannot tell")

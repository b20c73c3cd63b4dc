"""How far a picture is from what a checkpoint has seen."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from curation.sample.world import WorldConfig, write_world
from grain.checkpoint import (
    CARD,
    EMBEDDED,
    FAMILIAR,
    UNFAMILIAR,
    CheckpointError,
    checkpoint_folder,
    model_digest,
    verify,
)
from grain.data.loader import find_shards, read_records
from grain.familiarity import FAR, Familiarity, fit, gist_of
from grain.fit_familiarity import FamiliarityConfig, drawn_files, main
from grain.predict import Predictor
from grain.structures import Array, ImageFeatures
from user_errors import UserError


def features(*gist: float, embed: tuple[float, ...] = (1.0, 0.0)) -> ImageFeatures:
    none = np.zeros((0, 2), np.float32)
    own = np.array(gist, np.float32) if gist else None
    return ImageFeatures(np.array(embed, np.float32), none, np.zeros((0, 4), np.float32), none[:, 0], gist=own)


def two_centres(scales: Array | None = None) -> Familiarity:
    return Familiarity(np.array([[0, 0], [10, 0]], np.float32), scales, 4.0, "pictures")


def test_novelty_is_the_squared_distance_to_the_nearest_centre_by_the_limit() -> None:
    assert two_centres().novelty(features(0, 2)) == pytest.approx(1.0)
    assert two_centres().novelty(features(9, 0)) == pytest.approx(0.25)
    assert two_centres().novelty(features(10, 0)) == pytest.approx(0.0)


def test_distances_are_measured_in_the_units_of_the_scales() -> None:
    doubled = np.array([[2, 0], [0, 1]], np.float32)
    assert two_centres(doubled).novelty(features(1, 0)) == pytest.approx(1.0)
    assert two_centres(doubled).novelty(features(0, 1)) == pytest.approx(0.25)


def test_what_was_seen_later_is_near_and_all_else_is_as_far_as_before() -> None:
    later = np.array([[0, 20], [0, 21], [0, 22]], np.float32)
    for scales in (None, np.array([[2, 0], [0, 1]], np.float32)):
        more = two_centres(scales).also(later, "cups")
        assert more.fitted_on == "pictures, and cups" and len(more.centres) == 4
        assert two_centres(scales).novelty(features(0, 21)) > 1 > more.novelty(features(0, 21))
        assert more.novelty(features(-3, 0)) == pytest.approx(two_centres(scales).novelty(features(-3, 0)), rel=1e-5)


def test_a_model_without_a_gist_is_compared_by_its_embedding() -> None:
    assert gist_of(features(embed=(0.6, 0.8))).tolist() == pytest.approx([0.6, 0.8])
    assert gist_of(features(3, 4)).tolist() == [3, 4]


@pytest.mark.parametrize("directions", [0, 4])
def test_about_the_share_far_of_familiar_pictures_is_far_and_every_strange_one(directions: int) -> None:
    draw = np.random.default_rng(0)
    spread = np.array([5, 2, 1, 0.5, 0.1, 0.1], np.float32)
    found = fit(
        draw.normal(size=(2000, 6)).astype(np.float32) * spread, centres=4, directions=directions, fitted_on="normals"
    )
    fresh = draw.normal(size=(2000, 6)).astype(np.float32) * spread
    far = [found.novelty(features(*row)) > 1 for row in fresh]
    assert FAR / 4 < np.mean(far) < 4 * FAR
    assert all(found.novelty(features(*(row + 40))) > 1 for row in fresh[:20])


def test_too_few_pictures_are_refused() -> None:
    with pytest.raises(UserError, match="99 pictures are too few: give at least 100"):
        fit(np.zeros((99, 3), np.float32), centres=2, directions=0, fitted_on="nothing")


def test_what_is_saved_is_read_again(tmp_path: Path) -> None:
    for scales in (None, np.array([[1, 2], [3, 4]], np.float32).T):  # columns first, as a transposed array is
        two_centres(scales).save(tmp_path / FAMILIAR)
        read = Familiarity.load(tmp_path)
        assert read is not None and (read.limit, read.fitted_on) == (4.0, "pictures")
        assert read.centres.tolist() == [[0, 0], [10, 0]]
        assert (read.scales is None) == (scales is None)
        assert scales is None or (read.scales is not None and read.scales.tolist() == [[1, 3], [2, 4]])


def test_a_checkpoint_without_it_tells_nothing_and_a_damaged_one_says_so(tmp_path: Path) -> None:
    assert Familiarity.load(tmp_path) is None
    (tmp_path / FAMILIAR).write_bytes(b"no tensors")
    with pytest.raises(CheckpointError, match=f"{FAMILIAR} cannot be read: copy the checkpoint again"):
        Familiarity.load(tmp_path)


def test_files_are_drawn_once_for_all(tmp_path: Path) -> None:
    for row in range(9):
        (tmp_path / f"{row}.jpg").touch()
    (tmp_path / "notes.txt").touch()
    assert drawn_files(tmp_path, 4) == drawn_files(tmp_path, 4)
    assert len(drawn_files(tmp_path, 4)) == 4
    assert len(drawn_files(tmp_path, 99)) == 9


@pytest.mark.slow
def test_the_command_writes_it_beside_weights_and_embeddings_that_stay_the_same(tmp_path: Path) -> None:
    world, folder = tmp_path / "world", tmp_path / "mine"
    write_world(WorldConfig(out=world, images=120, held_out_images=4, classes=1, novel_images_per_class=1))
    with checkpoint_folder(folder) as place:
        shutil.copytree(EMBEDDED / "sample", place, dirs_exist_ok=True, ignore=shutil.ignore_patterns("manifest.json"))
        (place / CARD).write_text(f"# mine\n\n{UNFAMILIAR}\n")
    main(FamiliarityConfig(folder, world, "drawings", centres=1, directions=8, limit=110))

    verify(folder)
    assert (folder / CARD).read_text() == "# mine\n\nIt tells pictures that are far from drawings.\n"
    read = Familiarity.load(folder)
    assert read is not None and read.fitted_on == "drawings" and read.centres.shape == (1, 192)
    assert model_digest(folder) == model_digest(EMBEDDED / "sample")
    assert load_file(folder / "model.safetensors").keys() == load_file(EMBEDDED / "sample/model.safetensors").keys()


@pytest.mark.slow
def test_the_embedded_sample_knows_its_own_world_and_finds_noise_strange(tmp_path: Path) -> None:
    write_world(WorldConfig(out=tmp_path, images=0, held_out_images=20, classes=1, novel_images_per_class=1))
    predictor = Predictor.from_pretrained("sample")
    own = [predictor.predict(each.image, [], {}).novelty for each in read_records(find_shards(tmp_path, "held_out"))]
    noise = np.random.default_rng(0).integers(0, 255, (96, 96, 3), np.uint8)
    strange = predictor.predict(Image.fromarray(noise), [], {})
    assert sum(novelty is not None and novelty < 1 for novelty in own) >= 18
    assert strange.novelty is not None and strange.novelty > 1
    assert strange.to_json()["novelty"] == strange.novelty


def test_photo_and_photo_names_measure_the_same() -> None:
    rows = np.linspace(0, 255, 200, dtype=np.uint8)
    picture = Image.fromarray(np.stack([np.tile(rows, (150, 1))] * 3, axis=-1))
    both = [Predictor.from_pretrained(name).predict(picture, [], {}).novelty for name in ("photo", "photo-names")]
    assert both[0] is not None and both[0] == pytest.approx(both[1])

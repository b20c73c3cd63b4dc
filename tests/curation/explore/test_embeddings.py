"""Embeddings by content: made once, found again, kept through stops."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from curation.explore.embedding_store import EmbeddingStore, picture_key, region_key
from curation.explore.embeddings import EmbeddingModel, box_of, embed
from db.engine import Engine, open_engine, reading, transaction
from db.queries.curate_queries import edit_region
from db.queries.data_set_queries import image_page
from db.queries.edit_values import RegionChange
from db.queries.region_queries import regions_of
from grain.predict import Predictor
from grain.structures import Array, ImageFeatures
from tests.support.curated import all_regions, curated
from tests.support.fake_predictor import WIDTH, fake_predictor, write_fake_checkpoint
from user_errors import UserError


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    engine = open_engine(f"sqlite:///{tmp_path / 'grain.sqlite'}")
    curated(engine, tmp_path / "pictures")
    return engine


@pytest.fixture
def model(tmp_path: Path) -> EmbeddingModel:
    write_fake_checkpoint(tmp_path / "checkpoints" / "mine")
    return EmbeddingModel.of("mine", tmp_path)


class Counting:
    """A predictor that counts, and can be stopped after so many pictures."""

    def __init__(self, model: EmbeddingModel, most: int = 10_000) -> None:
        self.inner: Predictor = fake_predictor(model.folder)
        self.asked, self.most = 0, most

    def batch_features(self, images: Sequence[Image.Image]) -> list[ImageFeatures]:
        self._count(len(images))
        return self.inner.batch_features(images)

    def crop_embeds(self, image: Image.Image, boxes_xyxy: Sequence[tuple[float, float, float, float]]) -> Array:
        self._count(len(boxes_xyxy))
        return self.inner.crop_embeds(image, boxes_xyxy)

    def _count(self, more: int) -> None:
        self.asked += more
        if self.asked > self.most:
            raise KeyboardInterrupt


def keys(*numbers: int) -> list[bytes]:
    return [picture_key(f"{number:064x}") for number in numbers]


def test_a_store_gives_back_what_was_added_in_the_order_asked(tmp_path: Path) -> None:
    store = EmbeddingStore(tmp_path / "store")
    store.add(keys(1, 256), np.array([[1, 0], [0, 1]], np.float32))
    store.add(keys(2), np.array([[0.6, 0.8]], np.float32))
    found = EmbeddingStore(tmp_path / "store").find(keys(2, 7, 256, 1))
    assert found.there.tolist() == [True, False, True, True]
    np.testing.assert_array_equal(found.vectors, np.array([[0.6, 0.8], [0, 1], [1, 0]], np.float32))
    assert store.missing(keys(7, 1, 7, 9)) == keys(7, 9) and len(store) == 3


def test_an_empty_store_has_nothing_and_misses_all(tmp_path: Path) -> None:
    store = EmbeddingStore(tmp_path / "none")
    assert store.missing(keys(3)) == keys(3)
    assert not store.find(keys(3)).there.any() and not store.folder.exists()


def test_a_key_added_twice_counts_once_and_vectors_without_keys_are_not_there(tmp_path: Path) -> None:
    store = EmbeddingStore(tmp_path)
    store.add(keys(1, 2), np.eye(2, dtype=np.float32))
    store.add(keys(2, 3), np.eye(2, dtype=np.float32))
    assert len(store) == 3
    next(tmp_path.glob("*.keys.npy")).rename(tmp_path / "cut off")
    assert len(EmbeddingStore(tmp_path)) == 2


def test_a_vector_that_is_no_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected a finite vector for each of 1 keys"):
        EmbeddingStore(tmp_path).add(keys(1), np.array([[np.nan]], np.float32))


def test_pictures_are_embedded_once_and_equal_the_predictors(
    engine: Engine, model: EmbeddingModel, tmp_path: Path
) -> None:
    far = embed(engine, "lids", model, what="pictures", home=tmp_path, load=Counting)
    again = Counting(model)
    embed(engine, "lids", model, what="pictures", home=tmp_path, load=lambda _: again)
    with reading(engine) as session:
        images = image_page(session, dataset_id=1, limit=100)
    found = EmbeddingStore.of(tmp_path, model.id, "pictures").find([picture_key(image.sha256) for image in images])
    with Image.open(images[0].location) as picture:
        expected = fake_predictor(model.folder).features(picture.convert("RGB")).image_embed
    assert (far.total, far.seen, far.embedded, far.unread) == (len(images), len(images), len(images), 0)
    assert again.asked == 0 and found.there.all() and found.vectors.shape == (len(images), WIDTH)
    np.testing.assert_allclose(found.vectors[0], expected, atol=1e-6)


def test_a_moved_box_is_embedded_anew_and_nothing_else(engine: Engine, model: EmbeddingModel, tmp_path: Path) -> None:
    embed(engine, "lids", model, what="regions", home=tmp_path, load=Counting)
    row = all_regions(engine, 1)[-1]
    with transaction(engine) as session:
        change = RegionChange(xyxy=(0.2, 0.2, 0.7, 0.9))
        edit_region(session, region_id=row.id, expected_version=row.version, who="ana", change=change)
    again = Counting(model)
    far = embed(engine, "lids", model, what="regions", home=tmp_path, load=lambda _: again)
    with reading(engine) as session:
        sha256 = image_page(session, dataset_id=1, after=row.image_id - 1, limit=1)[0].sha256
        box = box_of(next(each for each in regions_of(session, image_ids=[row.image_id])[row.image_id][::-1]))
    store = EmbeddingStore.of(tmp_path, model.id, "regions")
    assert far.embedded == again.asked == 1
    assert store.missing([region_key(sha256, box)]) == []


def test_a_stopped_pass_goes_on_where_it_was(
    engine: Engine, model: EmbeddingModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("curation.explore.embeddings.BATCH", 2)
    monkeypatch.setattr("curation.explore.embeddings.SHARD", 2)
    with pytest.raises(KeyboardInterrupt):
        embed(engine, "lids", model, what="pictures", home=tmp_path, load=lambda m: Counting(m, most=5))
    rest = Counting(model)
    far = embed(engine, "lids", model, what="pictures", home=tmp_path, load=lambda _: rest)
    assert 0 < rest.asked == far.total - 4


def test_a_picture_that_is_gone_is_told_and_the_others_are_embedded(
    engine: Engine, model: EmbeddingModel, tmp_path: Path
) -> None:
    next((tmp_path / "pictures").glob("*.png")).unlink()
    far = embed(engine, "lids", model, what="pictures", home=tmp_path, load=Counting)
    assert (far.unread, far.embedded) == (1, far.total - 1) and "no longer" in next(iter(far.reasons))


def test_another_checkpoint_has_another_revision_and_one_with_proposals_is_refused(tmp_path: Path) -> None:
    first = EmbeddingModel.of(str(write_fake_checkpoint(tmp_path / "a" / "one")), tmp_path)
    (tmp_path / "a" / "one" / "model.safetensors").write_bytes(b"changed")
    second = EmbeddingModel.of(str(tmp_path / "a" / "one"), tmp_path)
    config = (tmp_path / "a" / "one" / "config.json").read_text()
    (tmp_path / "a" / "one" / "config.json").write_text(
        config[:-1] + ', "model": {"decoder": {"queries": "proposals"}}}'
    )
    assert (first.name, first.revision != second.revision) == ("one", True)
    with pytest.raises(UserError, match="choose another"):
        EmbeddingModel.of(str(tmp_path / "a" / "one"), tmp_path)


def test_a_data_set_that_is_not_there_is_one_sentence(engine: Engine, model: EmbeddingModel, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no data set 'none': import it first"):
        embed(engine, "none", model, what="pictures", home=tmp_path, load=Counting)

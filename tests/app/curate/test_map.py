"""The map of a data set: scores in bulk, the map, what is drawn around on it, similar pictures, jobs."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest

from app.core.image_cache import Pictures
from app.curate import actions as curate_actions
from app.curate import map_actions, map_panels
from app.curate.map_cache import MapSelection, atlas_of, chosen_by
from app.curate.map_page import MapSection
from app.curate.panels import curators_panel
from app.jobs.control import NewJob
from app.services import Services
from app.ui.jobs_list import latest_jobs
from curation.explore.alike import ExampleSearch
from curation.explore.atlas import (
    ALONE,
    Atlas,
    AtlasConfig,
    atlas_path,
    draw,
    groups_of,
    inside,
    load,
    main_directions,
    save,
    umap_layout,
)
from curation.explore.embedding_store import What
from curation.explore.embeddings import EmbeddingModel
from curation.explore.neighbours import nearest
from curation.explore.similarity import disagreements, percentiles, score
from curation.review.acts import undo_act
from db.engine import reading, transaction
from db.models import Image, Status
from db.queries.curate_filter import CurateFilter
from db.queries.data_set_queries import image_page
from db.queries.history_queries import Throughput
from db.queries.region_index_queries import index_regions
from db.queries.region_queries import VISIBLE
from grain.predict import Predictor
from grain.structures import Array
from tests.support.curated import all_regions, curated
from tests.support.fake_app import fake_services
from tests.support.fake_predictor import fake_predictor
from user_errors import UserError

SQUARE = [[0, 0], [0, 2], [2, 2], [2, 0]]


@pytest.fixture
def services(tmp_path: Path) -> Services:
    """An app with a curated data set of eight pictures."""
    services = fake_services(tmp_path)
    curated(services.engine, tmp_path / "pictures")
    with transaction(services.engine) as session:
        index_regions(session)
    return services


@pytest.fixture
def model(tmp_path: Path) -> EmbeddingModel:
    return EmbeddingModel.of(str(tmp_path / "embedded" / "sample"), tmp_path)


def predictor(model: EmbeddingModel) -> Predictor:
    return fake_predictor(model.folder)


def unit(rows: int, seed: int = 0) -> Array:
    vectors = np.random.default_rng(seed).normal(size=(rows, 8)).astype(np.float32)
    scaled: Array = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return scaled


def map_of(services: Services, what: str = "regions", xy: Array | None = None) -> Atlas:
    """A map of the data set, its points on a line at (row, 1)."""
    with reading(services.engine) as session:
        images = [image.id for image in image_page(session, dataset_id=1, limit=99)]
    ids = np.array([row.id for row in all_regions(services.engine, 1)] if what == "regions" else images)
    line = np.stack([np.arange(len(ids)), np.ones(len(ids))], axis=1).astype(np.float32)
    apart = np.linspace(0, 1, len(ids), dtype=np.float32)
    group = np.full(len(ids), ALONE)
    if what == "pictures":
        group[[2, 4, 5]] = 7
    atlas = Atlas(what, "sample@1", ids, line if xy is None else xy, apart, group, exact=True)  # type: ignore[arg-type]
    save(atlas, atlas_path(services.settings.home, 1, what))  # type: ignore[arg-type]
    return atlas


# scores


def test_percentiles_and_disagreements_by_hand() -> None:
    assert percentiles([0.1, 0.5, 0.5, 0.9]).tolist() == [0.125, 0.5, 0.5, 0.875]
    assert percentiles([]).tolist() == []
    assert disagreements([0.2, None, 0.8], [0.3, 0.9, 0.1]) == [0.5, None, 0.5]
    assert disagreements([], []) == []


def test_every_region_is_scored_as_the_editor_scores_it(services: Services, model: EmbeddingModel) -> None:
    home, far = services.settings.home, list[tuple[int, int]]()
    scored = score(
        services.engine, "lids", model, home=home, load=predictor, on_progress=lambda d, t, _: far.append((d, t))
    )
    rows = all_regions(services.engine, 1)
    opened = Pictures()
    row = rows[-1]
    with reading(services.engine) as session:
        [image] = image_page(session, dataset_id=1, after=row.image_id - 1, limit=1)
    [expected] = predictor(model).crop_scores(opened.get(image)[0], [(row.x1, row.y1, row.x2, row.y2)], [row.text])
    assert scored.regions == len(rows) > 10 and far[-1] == (16, 16)
    assert row.similarity == pytest.approx(expected, abs=1e-5)
    assert (
        scored.compared == sum(row.disagreement is not None for row in rows) == sum(r.score is not None for r in rows)
    )
    largest = curate_actions.gallery(services, query(sort="disagreement")).tiles[0].region
    assert largest.disagreement == max(row.disagreement or 0 for row in rows)


def query(
    *, sort: str = "newest", selection: str = "", statuses: tuple[Status, ...] = VISIBLE
) -> curate_actions.CurateQuery:
    """What the page asks for with its other controls at rest."""
    filters = CurateFilter(statuses=statuses)
    return curate_actions.CurateQuery(dataset="lids", filters=filters, sort=sort, selection=selection)


# the map


def test_points_inside_a_polygon_by_hand() -> None:
    xy = np.array([[1, 1], [3, 1], [1, -1], [0.5, 1.9]], np.float32)
    assert inside(xy, np.array(SQUARE, np.float32)).tolist() == [True, False, False, True]
    bow = np.array([[0, 0], [2, 2], [2, 0], [0, 2]], np.float32)  # its sides cross: two triangles
    assert inside(np.array([[1, 0.2], [0.2, 1], [1.8, 1]], np.float32), bow).tolist() == [False, True, True]
    assert inside(xy[:0], bow).tolist() == []


def test_pairs_join_into_groups_and_most_stay_alone() -> None:
    found = groups_of(6, np.array([[0, 2], [2, 5]]))
    assert found[[0, 2, 5]].tolist() == [found[0]] * 3 and found[[1, 3, 4]].tolist() == [ALONE] * 3
    assert groups_of(3, np.zeros((0, 2), np.int64)).tolist() == [ALONE] * 3


def test_a_handful_is_laid_out_along_its_main_directions() -> None:
    vectors = np.array([[0, 0, 0], [4, 0, 0], [0, 1, 0], [4, 1, 0]], np.float32)
    xy = main_directions(vectors)
    assert np.abs(xy[:, 0]).tolist() == pytest.approx([2] * 4, abs=1e-5)
    assert np.abs(xy[:, 1]).tolist() == pytest.approx([0.5] * 4, abs=1e-5)
    assert main_directions(vectors[:1]).tolist() == [[0, 0]]


@pytest.mark.slow
def test_umap_puts_what_is_alike_together_and_twice_the_same() -> None:
    ends = np.repeat(unit(2), 20, axis=0) + 0.05 * unit(40, seed=1)
    vectors = (ends / np.linalg.norm(ends, axis=1, keepdims=True)).astype(np.float32)
    xy = umap_layout(vectors, nearest(vectors, vectors, 8))
    middle = np.stack([xy[:20].mean(axis=0), xy[20:].mean(axis=0)])
    spread = max(
        np.linalg.norm(xy[part] - middle[n], axis=1).max() for n, part in enumerate((slice(20), slice(20, 40)))
    )
    assert np.linalg.norm(middle[0] - middle[1]) > 2 * spread
    np.testing.assert_array_equal(xy, umap_layout(vectors, nearest(vectors, vectors, 8)))


def test_a_map_is_drawn_kept_and_read_again(services: Services, model: EmbeddingModel) -> None:
    home = services.settings.home
    for what in ("regions", "pictures"):
        atlas = draw(
            services.engine, "lids", model, what=what, home=home, alike=0.99, bits=0, load_model=predictor,  # type: ignore[arg-type]
            layout=lambda vectors, near: vectors[:, :2],
        )  # fmt: skip
        again = load(atlas_path(home, 1, what))  # type: ignore[arg-type]
        assert (again.what, again.model, again.ids.tolist()) == (what, model.id, atlas.ids.tolist())
        np.testing.assert_array_equal(again.xy, atlas.xy)
    rows = all_regions(services.engine, 1)
    regions = load(atlas_path(home, 1, "regions"))
    same = [number for number, row in enumerate(rows) if row.box_id == rows[-1].box_id and row.box_id]
    assert regions.ids.tolist() == [row.id for row in rows] and len(rows) == 20
    assert (regions.xy[same] == regions.xy[same[0]]).all(), "descriptions of one box lie at one point"


@pytest.mark.parametrize("content", [b"", b"not a file of arrays"])
def test_a_map_that_cannot_be_read_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(UserError, match="draw it first"):
        load(tmp_path / "none.npz")
    (tmp_path / "bad.npz").write_bytes(content)
    with pytest.raises(UserError, match="draw it again"):
        load(tmp_path / "bad.npz")


def test_settings_that_mean_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="expected 0 < alike <= 1"):
        AtlasConfig("lids", alike=0)


# what the page does with it


def test_what_is_drawn_around_is_what_the_gallery_and_the_queue_show(services: Services) -> None:
    atlas = map_of(services)
    written, count = map_actions.select(services, "lids", "regions", corners=[[-0.5, 0], [-0.5, 2], [3.5, 2], [3.5, 0]])
    shown = {tile.region.id for tile in curate_actions.gallery(services, query(selection=written)).tiles}
    ahead = curate_actions.next_pictures(services, query(selection=written), "")
    assert count == 4 and shown == set(atlas.ids[:4].tolist())
    assert {*ahead.pictures.values()} <= shown and len(ahead.pictures) == 1
    map_of(services, "pictures")
    written, count = map_actions.select(services, "lids", "pictures", corners=[[1.5, 0], [1.5, 2], [2.5, 2], [2.5, 0]])
    images = {tile.image.id for tile in curate_actions.gallery(services, query(selection=written)).tiles}
    assert count == 1 and len(images) == 1


BAD = ("x", "{}", '{"what": "all", "polygon": [[0,0],[1,1],[1,0]]}', '{"what": "regions", "polygon": [[0,0]]}')


@pytest.mark.parametrize("written", BAD)
def test_a_selection_that_is_none_is_refused(services: Services, written: str) -> None:
    with pytest.raises(UserError, match="expected"):
        curate_actions.gallery(services, query(selection=written))
    assert chosen_by(services.settings.home, 1, "") is None


def test_a_map_that_is_gone_takes_its_selection_and_its_order_with_it(services: Services) -> None:
    within = MapSelection("regions", ((0.0, 0.0), (0.0, 1.0), (1.0, 1.0))).to_text()
    for asked in (query(selection=within), query(sort="outliers")):
        with pytest.raises(UserError, match="draw it"):
            curate_actions.gallery(services, asked)
    assert atlas_of(services.settings.home, 1, "regions") is None


def test_an_example_finds_what_is_most_like_it(services: Services, model: EmbeddingModel) -> None:
    with pytest.raises(UserError, match="draw it first"):
        map_actions.alike(services, "lids", "regions", number=1)
    flat: dict[str, Any] = {"alike": 0.99, "bits": 0, "layout": lambda vectors, near: vectors[:, :2]}
    draw(services.engine, "lids", model, what="regions", home=services.settings.home, load_model=predictor, **flat)
    rows = [row for row in all_regions(services.engine, 1) if row.status != "deleted"]
    example = rows[4]
    selection, count = map_actions.alike(services, "lids", "regions", number=example.id)
    found = MapSelection.from_text(selection)
    assert found.ids[0] == example.id and count == len(found.ids) == len(rows), "fewer than a search finds at most"
    shown = chosen_by(services.settings.home, 1, selection)
    assert shown is not None and shown.ids == found.ids
    atlas = atlas_of(services.settings.home, 1, "regions")
    assert atlas is not None
    search = ExampleSearch.of(services.engine, services.settings.home, 1, atlas=atlas)
    points = search.points
    vector = {number: points.vectors[row] for number, row in zip(points.ids.tolist(), points.row, strict=True)}
    three = search.most_alike(example.id, 3)
    cosines = {number: float(vector[example.id] @ each) for number, each in vector.items()}
    assert sorted((cosines[number] for number in three), reverse=True) == pytest.approx(
        sorted(cosines.values())[:-4:-1]
    )
    with pytest.raises(UserError, match="came later: draw it again"):
        search.most_alike(999)
    with pytest.raises(UserError, match="draw around points again"):
        MapSelection.from_text('{"what": "regions", "polygon": [], "ids": ["x"]}')


def test_words_find_what_is_most_like_them_whoever_described_it(services: Services, model: EmbeddingModel) -> None:
    asked: Any = partial(map_actions.like_words, services, "lids", "regions", words="a red lid")
    with pytest.raises(UserError, match="draw it first"):
        asked()
    flat: dict[str, Any] = {"alike": 0.99, "bits": 0, "layout": lambda vectors, near: vectors[:, :2]}
    draw(services.engine, "lids", model, what="regions", home=services.settings.home, load_model=predictor, **flat)
    selection, count = asked()
    found = MapSelection.from_text(selection).ids
    atlas = atlas_of(services.settings.home, 1, "regions")
    assert atlas is not None and count == len(found) == len(atlas.ids)
    search = ExampleSearch.of(services.engine, services.settings.home, 1, atlas=atlas)
    [words] = services.registry.load("sample").embed_texts(["a red lid"])
    cosines = dict(zip(search.points.ids.tolist(), (search.points.vectors @ words)[search.points.row], strict=True))
    seen = [float(cosines[number]) for number in found]
    assert seen == sorted(seen, reverse=True) and seen[0] > seen[-1] + 0.1
    tiles = curate_actions.gallery(services, query(selection=selection)).tiles
    assert [tile.region.id for tile in tiles] == [number for number in found if number in {t.region.id for t in tiles}]
    section = MapSection(services)
    for ask, order in (
        ({"do": "words", "words": "a red lid"}, "the most like first"),
        ({"do": "all"}, "newest first"),
    ):
        found_selection, _, sort = section.ask("lids", "regions", gr.EventData(None, {"ask": ask}))
        assert (found_selection, sort["choices"][0]) == (selection if "words" in ask else "", (order, "newest"))
    of_pictures = MapSelection("pictures", ids=(3, 2)).to_text()
    seen_pictures = [tile.image.id for tile in curate_actions.gallery(services, query(selection=of_pictures)).tiles]
    assert seen_pictures == sorted(seen_pictures, key=(3, 2).index) and len({*seen_pictures}) == 2
    with pytest.raises(UserError, match="another checkpoint: draw it again"):
        search.most_like(words[:-1])
    (model.folder / "config.json").write_text((model.folder / "config.json").read_text() + " ")
    with pytest.raises(UserError, match="has changed since this map was drawn: draw it again"):
        asked()


def test_what_stands_apart_comes_first_and_filters_hold(services: Services) -> None:
    atlas = map_of(services)
    pages, after = list[int](), ""
    while not pages or after:
        page = curate_actions.gallery(
            services, query(sort="outliers", statuses=("pending", "accepted")), after, limit=3
        )
        pages, after = pages + [tile.region.id for tile in page.tiles], page.after
    rows = {row.id: row.status for row in all_regions(services.engine, 1)}
    assert pages == [number for number in atlas.ids[::-1].tolist() if rows[number] in ("pending", "accepted")]
    [queue] = curate_actions.next_pictures(services, query(sort="outliers"), "").pictures.values()
    assert queue == next(number for number in atlas.ids[::-1].tolist() if rows[number] == "pending")


def test_points_are_coloured_by_what_holds_now_and_many_are_drawn_by_chance(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert map_actions.points(services, "lids", "regions", colour="status") is None
    map_of(services)
    found = map_actions.points(services, "lids", "regions", colour="status")
    assert found is not None
    rows = all_regions(services.engine, 1)
    for name in ("accepted", "rejected", "pending"):
        assert {rows[at].status for at in found.groups[name]} == {name}
    assert sum(map(len, found.groups.values())) == found.total == len(rows)
    monkeypatch.setattr(map_actions, "MOST_POINTS", 5)
    monkeypatch.setattr(map_actions, "MOST_NAMES", 1)
    few = map_actions.points(services, "lids", "regions", colour="source")
    assert few is not None and len(few.ids) == 5 == sum(map(len, few.groups.values())) and few.total == len(rows)
    classes = map_actions.points(services, "lids", "regions", colour="class")
    assert classes is not None and set(classes.groups) <= {"lid", "none", "others"}
    figure = map_panels.map_figure(found).to_plotly_json()
    assert len(figure["data"]) == 3 and "20 regions" in figure["layout"]["title"]["text"]


def test_one_of_some_copies_is_kept_and_what_only_looks_alike_loses_nothing(services: Services) -> None:
    atlas = map_of(services, "pictures")
    keep, copy, other = (int(number) for number in atlas.ids[[2, 4, 5]])
    with transaction(services.engine) as session:
        for number, phash in ((keep, "ff00ff00ff00ff00"), (copy, "ff00ff00ff00ff03"), (other, "ff00ff00ff00ffff")):
            session.get_one(Image, number).phash = phash
    [group], by = map_actions.similar_groups(services, "lids")
    assert [image.id for image in group.images] == [keep, copy, other] and "embeddings" in by
    assert group.copies == (1, 1, 0) and min(group.regions) > 0
    shown = map_panels.similar_groups_panel([group], by, services.settings.home)
    assert shown.count("keep of its copies") == 2
    count, done = map_actions.keep_one(services, "lids", keep, who="ana")
    assert (count.regions, count.pictures, done) == (group.regions[1], 1, None), "asked first"
    assert "Reject 2 regions of 1 copy?" in map_panels.keep_question(count, keep)
    with pytest.raises(UserError, match="changed meanwhile"):
        map_actions.keep_one(services, "lids", keep, who="ana", seen="something else")
    _, done = map_actions.keep_one(services, "lids", keep, who="ana", seen=count.seen)
    [after], _ = map_actions.similar_groups(services, "lids")
    assert done is not None and after.regions == (group.regions[0], 0, group.regions[2])
    history = curate_actions.open_picture(services, copy).edits[0]
    assert (history.who, history.what, history.reason) == ("ana", "rejected", f"copy of picture {keep}")
    assert undo_act(services.engine, undone=done.action, who="ana", action="undo").regions == count.regions
    assert map_actions.similar_groups(services, "lids")[0][0].regions == group.regions
    assert map_actions.keep_one(services, "lids", other, who="ana")[0].regions == 0
    with pytest.raises(UserError, match="no picture 999"):
        map_actions.keep_one(services, "lids", 999, who="ana")


def test_without_a_map_look_alikes_are_those_of_equal_hashes(services: Services) -> None:
    assert map_actions.similar_groups(services, "lids") == ([], "equal perceptual hashes")
    assert "No similar pictures" in map_panels.similar_groups_panel([], "x", services.settings.home)


def job(kind: str, what: What, checkpoint: str) -> NewJob:
    return map_actions.new_job(kind, "lids", what, checkpoint=checkpoint, owner="ana")


def test_a_job_is_queued_with_the_command_that_a_person_would_type(services: Services) -> None:
    with pytest.raises(UserError, match="needs a checkpoint"):
        map_actions.start(services, job("map", "regions", ""))
    with pytest.raises(UserError, match="no checkpoint 'nothing'"):
        map_actions.start(services, job("map", "regions", "nothing"))
    drawing = job("map", "pictures", "sample")
    assert drawing.argv == ["-m", "curation.explore.atlas", "--dataset=lids", "--checkpoint=sample", "--what=pictures"]
    assert drawing.plain_config()["what"] == "pictures"
    assert job("similarity", "pictures", "sample").argv[1:] == [
        *("curation.explore.similarity", "--dataset=lids", "--checkpoint=sample")
    ]
    assert latest_jobs(services, map_actions.KINDS) == []


def test_pace_is_decisions_an_hour_of_work() -> None:
    rows = [Throughput("a<b", "2026-03-01", "accepted", 30, 600), Throughput("a<b", "2026-03-01", "undone", 2, 120)]
    shown = curators_panel(rows)
    assert "a&lt;b" in shown and ">30<" in shown and ">150<" in shown
    assert "–" in curators_panel([Throughput("bo", "2026-03-01", "accepted", 1, 0)])

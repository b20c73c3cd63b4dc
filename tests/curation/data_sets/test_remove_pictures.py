"""Pictures are removed from a data set for good, with all that hangs on them and nothing else; on both databases."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlmodel import Session, col, func, select

from curation.data_sets.remove_pictures import RemovePicturesConfig, dependents_of_pictures, remove_pictures
from curation.data_sets.remove_pictures import main as remove_main
from curation.explore.atlas import atlas_path
from curation.ingest.ingest import ingest, thumbnail_path
from curation.ingest.uploads import keep_upload
from curation.review.restore_version import count_restore, restore_version
from curation.versions.versions import freeze
from db.engine import Engine, reading, transaction
from db.models import Image, RegionEdit, RegionRow
from db.queries.curate_filter import CurateFilter
from db.queries.curate_queries import delete_region
from db.queries.data_set_queries import create_dataset, image_page
from db.queries.dataset_removal_queries import count_rows
from db.queries.gallery_queries import curate_page
from db.queries.job_queries import enqueue_job
from db.queries.label_studio_queries import TaskState, set_tasks
from db.queries.region_index_queries import count_by_status, index_regions
from db.queries.review_queries import add_tag, count_tags
from tests.support.curated import curated, picture_files
from user_errors import UserError


@pytest.fixture
def lids(engine: Engine, tmp_path: Path) -> Engine:
    """The data sets "lids" and "pots" of the same 8 pictures, indexed, with a version each."""
    for name in ("lids", "pots"):
        curated(engine, tmp_path / "pictures", name=name)
        with transaction(engine) as session:
            while index_regions(session):
                pass
        freeze(engine, tmp_path, dataset=name, name="first", who="ana")
    return engine


def regions_of(session: Session, image_id: int) -> int:
    return session.exec(select(func.count()).select_from(RegionRow).where(RegionRow.image_id == image_id)).one()


def test_a_picture_goes_with_all_that_hangs_on_it_and_nothing_else(lids: Engine, tmp_path: Path) -> None:
    with transaction(lids) as session:
        image = image_page(session, dataset_id=1)[3]
        region = session.exec(select(RegionRow.id).where(RegionRow.image_id == image.id)).first() or 0
        add_tag(session, dataset_id=1, ids=[region], tag="blurry", action="tag")
        set_tasks(session, project="http://there/projects/1", tasks=[TaskState(image.id, 5)])
        before, others = count_rows(session, dataset_id=1), count_rows(session, dataset_id=2)
        mine = regions_of(session, image.id)
        edits = session.exec(select(func.count()).select_from(RegionEdit).where(RegionEdit.image_id == image.id)).one()
    asked = RemovePicturesConfig("lids", tag="blurry")
    found = dependents_of_pictures(lids, asked)
    said = found.sentences()
    assert said[:3] == ["1 picture", f"{mine} descriptions in boxes", f"{edits} edits in the history"]
    assert said[3:] == ["1 task in Label Studio, which stays there"] and "frozen versions (first)" in found.stays()
    removed = remove_pictures(lids, tmp_path, asked)
    assert removed == {"image": 1, "region": mine, "region_edit": edits, "region_tag": 1, "label_task": 1}
    with reading(lids) as session:
        after = count_rows(session, dataset_id=1)
        gone = {name: before[name] - after.get(name, 0) for name in before if before[name] != after.get(name, 0)}
        tally = gone.pop("region_tally", 0)  # one that is empty by now may go or stay
        assert gone == removed and tally == 0
        assert count_rows(session, dataset_id=2) == others, "of the same picture in another data set"
        counted = sum(each.regions for each in count_by_status(session, dataset_id=1))
        assert counted == after["region"], "the tallies know it"
        shown = curate_page(session, dataset_id=1, filters=CurateFilter(words="lid")).regions
        assert shown and all(row.image_id != image.id for row in shown)
    with pytest.raises(UserError, match=r"got 'blurry', which names none"):
        remove_pictures(lids, tmp_path, asked)


def test_a_version_that_holds_it_is_restored_without_it(lids: Engine, tmp_path: Path) -> None:
    with reading(lids) as session:
        last = image_page(session, dataset_id=1)[-1]
    remove_pictures(lids, tmp_path, RemovePicturesConfig("lids", images=(last.id,)))
    (tmp_path / "more").mkdir()
    picture_files(tmp_path / "more", 9)
    for name in picture_files(tmp_path / "pictures"):
        (tmp_path / "more" / name).unlink()
    ingest(lids, tmp_path / "more", dataset="lids", home=tmp_path, processes=1)
    with reading(lids) as session:
        new = image_page(session, dataset_id=1)[-1]
    assert new.id > last.id and new.caption == ""
    assert count_restore(lids, tmp_path, dataset="lids", version="first").gone_pictures == 1
    restore_version(lids, tmp_path, dataset="lids", version="first", who="ana", action="back")
    with reading(lids) as session:
        assert image_page(session, dataset_id=1)[-1].caption == "", "it has not got what was said of the other"


def test_an_import_is_removed_and_can_be_brought_again(engine: Engine, tmp_path: Path) -> None:
    here, there = tmp_path / "a", tmp_path / "ab"
    picture_files(here, 4), picture_files(there, 6)
    for folder in (here, there):
        ingest(engine, folder, dataset="lids", home=tmp_path, processes=1)
    with reading(engine) as session:
        images = image_page(session, dataset_id=1)
        assert len(images) == 8, "two of the second folder are new"
    chart = atlas_path(tmp_path, 1, "pictures")
    chart.parent.mkdir(parents=True)
    chart.write_bytes(b"x")
    heard: list[int] = []
    removed = remove_pictures(engine, tmp_path, RemovePicturesConfig("lids", place=str(here)), on_progress=heard.append)
    assert removed == {"image": 6} and heard == [6] and not chart.exists()
    assert [thumbnail_path(tmp_path, image.sha256).exists() for image in images] == [False] * 6 + [True] * 2
    assert sorted(file.name for file in here.iterdir()) == sorted(picture_files(tmp_path / "same", 4)), "files stay"
    assert ingest(engine, here, dataset="lids", home=tmp_path, processes=1).added == 6


def test_a_folder_whose_name_differs_in_a_capital_letter_is_another(engine: Engine, tmp_path: Path) -> None:
    small, capital = tmp_path / "batch_1%", tmp_path / "Batch_1%"
    picture_files(small, 5), picture_files(capital, 3)
    for folder in (capital, small):
        ingest(engine, folder, dataset="lids", home=tmp_path, processes=1)
    with reading(engine) as session:
        before = [image.location for image in image_page(session, dataset_id=1)]
    asked = RemovePicturesConfig("lids", place=str(small))
    there = [place for place in before if place.startswith(str(capital))]
    assert remove_pictures(engine, tmp_path, asked) == {"image": len(before) - len(there)}
    with reading(engine) as session:
        assert [image.location for image in image_page(session, dataset_id=1)] == there and there


def test_uploaded_files_go_with_their_pictures(engine: Engine, tmp_path: Path) -> None:
    picture_files(tmp_path / "mine", 4)
    files = {file.name: file for file in sorted((tmp_path / "mine").iterdir())}
    upload = keep_upload(tmp_path, files).pictures
    for name in ("lids", "pots"):
        ingest(engine, upload, dataset=name, home=tmp_path, processes=1)
    with reading(engine) as session:
        [first, *_] = images = image_page(session, dataset_id=1)
        twin = session.exec(select(Image.id).where(Image.dataset_id == 2, Image.sha256 == first.sha256)).one()
    remove_pictures(engine, tmp_path, RemovePicturesConfig("lids", images=(first.id,)))
    assert Path(first.location).exists() and thumbnail_path(tmp_path, first.sha256).exists(), "the other has it too"
    remove_pictures(engine, tmp_path, RemovePicturesConfig("pots", images=(twin,)))
    assert not Path(first.location).exists() and not thumbnail_path(tmp_path, first.sha256).exists()
    assert all(Path(image.location).exists() for image in images[1:])
    for name in ("lids", "pots"):
        remove_pictures(engine, tmp_path, RemovePicturesConfig(name, place=str(upload)))
    assert not upload.parent.exists() and all(file.exists() for file in files.values())


def test_a_removal_that_was_stopped_goes_on(engine: Engine, tmp_path: Path) -> None:
    curated(engine, tmp_path / "pictures", 230)
    asked = RemovePicturesConfig("lids", place=str(tmp_path / "pictures"))

    def stop(pictures: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        remove_pictures(engine, tmp_path, asked, on_progress=stop)
    with reading(engine) as session:
        assert count_rows(session, dataset_id=1)["image"] == 132
    assert remove_pictures(engine, tmp_path, asked)["image"] == 132
    with reading(engine) as session:
        assert count_rows(session, dataset_id=1).keys() <= {"region_tally"}


def test_a_job_that_needs_the_data_set_refuses_it(lids: Engine, tmp_path: Path) -> None:
    with transaction(lids) as session:
        job = enqueue_job(session, kind="annotate", owner="ana", config={"dataset": "lids"}, argv=["true"]).id
        image = session.exec(select(Image.id).where(Image.dataset_id == 1).order_by(col(Image.id))).first() or 0
    asked = RemovePicturesConfig("lids", images=(image,))
    with pytest.raises(UserError, match=rf"job {job} \(annotate\) is queued"):
        remove_pictures(lids, tmp_path, asked)
    assert remove_pictures(lids, tmp_path, asked, own_job=job)["image"] == 1


def test_nothing_is_removed_of_another_data_set_or_by_unclear_words(lids: Engine, tmp_path: Path) -> None:
    with transaction(lids) as session:
        create_dataset(session, name="empty")
        other = image_page(session, dataset_id=2)[0].id
    for asked in (RemovePicturesConfig("lids", images=(other,)), RemovePicturesConfig("empty", place="/")):
        with pytest.raises(UserError, match="which names none"):
            remove_pictures(lids, tmp_path, asked)
    with pytest.raises(UserError, match="no data set 'jars'"):
        remove_pictures(lids, tmp_path, RemovePicturesConfig("jars", tag="x"))
    with pytest.raises(ValueError, match="got 0: say which pictures"):
        RemovePicturesConfig("lids")
    with pytest.raises(ValueError, match="got 2: say which pictures"):
        RemovePicturesConfig("lids", tag="x", place="/")
    with pytest.raises(ValueError, match="tag them instead"):
        RemovePicturesConfig("lids", images=tuple(range(6_000)))


def test_a_tag_of_a_region_in_the_trash_names_no_picture(lids: Engine, tmp_path: Path) -> None:
    with transaction(lids) as session:
        row = session.exec(select(RegionRow).where(RegionRow.dataset_id == 1)).first()
        assert row is not None
        add_tag(session, dataset_id=1, ids=[row.id], tag="blurry", action="tag")
        assert count_tags(session, dataset_id=1) == {"blurry": 1}
        delete_region(session, region_id=row.id, expected_version=row.version, who="ana")
        assert count_tags(session, dataset_id=1) == {}, "as the gallery counts"
    with pytest.raises(UserError, match="which names none"):
        remove_pictures(lids, tmp_path, RemovePicturesConfig("lids", tag="blurry"))


def test_the_command_removes_only_with_yes(lids_at_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="give --yes"):
        remove_main(RemovePicturesConfig("lids", place=str(lids_at_home)))
    assert "8 pictures" in capsys.readouterr().err
    remove_main(RemovePicturesConfig("lids", place=str(lids_at_home), yes=True))
    assert json.loads(capsys.readouterr().out)["image"] == 8

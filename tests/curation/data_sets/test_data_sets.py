"""Data sets are renamed and deleted whole, after what depends on them was told; on both databases."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import UniqueConstraint
from sqlmodel import Session, SQLModel, func, select

from curation.audit.judges import judge_path
from curation.data_sets.delete import DeleteConfig, delete
from curation.data_sets.delete import main as delete_main
from curation.data_sets.dependents import dependents_of
from curation.data_sets.rename import rename
from curation.exchange.export import command_line as export_words
from curation.exchange.export import export
from curation.exchange.export_config import ExportConfig
from curation.ingest.ingest import thumbnail_path
from curation.review.restore_version import count_restore
from curation.versions.versions import freeze, open_version, version_path
from db.engine import Engine, reading, transaction
from db.models import Dataset, Image, RegionRow
from db.queries.curate_filter import CurateFilter
from db.queries.data_set_queries import get_dataset, image_page
from db.queries.dataset_removal_queries import count_rows, remove_rows, tables_below
from db.queries.gallery_queries import curate_page
from db.queries.job_queries import end_job, enqueue_job, job_page, request_cancel
from db.queries.label_studio_queries import TaskState, set_tasks
from db.queries.region_index_queries import count_by_status, index_regions
from db.queries.review_queries import add_tag, save_filter
from db.queries.run_queries import start_run
from db.queries.version_queries import list_versions
from db.queries.wide_act_queries import start_import
from tests.support.curated import curated
from user_errors import UserError

NOT_OF_A_DATA_SET = {"account", "login_session", "ground_query", "job", "job_wait"}


@pytest.fixture
def lids(engine: Engine, tmp_path: Path) -> Engine:
    """The data sets "lids" and "pots" of the same pictures, with all that people leave behind."""
    for number, name in enumerate(("lids", "pots"), start=1):
        curated(engine, tmp_path / "pictures", name=name)
        with transaction(engine) as session:
            while index_regions(session):
                pass
            region = session.exec(select(RegionRow.id).where(RegionRow.dataset_id == number)).first() or 0
            add_tag(session, dataset_id=number, ids=[region], tag="odd", action=f"tag {number}")
            save_filter(session, dataset_id=number, name="mine", address="words=lid", who="ana")
            start_run(session, dataset_id=number, config={}, recipes={})
            start_import(session, dataset_id=number, action=f"i{number}", file="x", format="coco", who="ana")
        freeze(engine, tmp_path, dataset=name, name="first", who="ana")
    return engine


def rows(session: Session) -> dict[str, int]:
    found = {}
    for table in SQLModel.metadata.sorted_tables:
        found[table.name] = int(session.connection().execute(select(func.count()).select_from(table)).scalar_one())
    return {name: count for name, count in found.items() if count}


def test_every_table_belongs_to_a_data_set_or_is_known_not_to() -> None:
    tables = [table.name for table in tables_below(Dataset)]
    assert {*tables} | NOT_OF_A_DATA_SET == {*SQLModel.metadata.tables} and len(tables) > 20
    assert tables[-1] == "dataset" and tables.index("region_edit") < tables.index("region") < tables.index("image")


def test_what_depends_on_a_data_set_is_told(lids: Engine, tmp_path: Path) -> None:
    export(lids, tmp_path, ExportConfig("coco", tmp_path / "exports" / "lids-coco", dataset="lids"))
    said = dependents_of(lids, tmp_path, dataset="lids").sentences()
    assert "8 pictures" in said and "20 descriptions in boxes" in said and "1 frozen version (first)" in said
    assert "1 export below GRAIN_HOME/exports" in said and "1 annotation run" in said
    assert not [sentence for sentence in said if "training" in sentence or "job" in sentence or "Label" in sentence]
    theirs, [version] = (dependents_of(lids, tmp_path, dataset=name).versions for name in ("pots", "lids"))
    with transaction(lids) as session:
        job: dict[str, Any] = {"owner": "ana", "argv": ["true"]}
        mixed = {"asked": {"data": "world:2000", "mix": f"version:{version.sha256}"}}
        ids = [enqueue_job(session, kind="train", config=mixed, **job).id for _ in range(2)]
        request_cancel(session, job_id=ids[0])
        enqueue_job(session, kind="train", config={"asked": {"data": f"version:{theirs[0].sha256}"}}, **job)
        number = enqueue_job(session, kind="annotate", config={"dataset": "lids"}, **job).id
        [image] = image_page(session, dataset_id=1, limit=1)
        set_tasks(session, project="http://there/projects/1", tasks=[TaskState(image.id, 5)])
    said = dependents_of(lids, tmp_path, dataset="lids").sentences()
    assert "2 trainings on its versions (1 cancelled, 1 queued)" in said
    assert "a project in Label Studio (pictures: 1 pushed, 0 decided)" in said
    assert f"1 job that must end first (annotate {number}, queued)" in said
    with pytest.raises(UserError, match="which none has"):
        dependents_of(lids, tmp_path, dataset="jars")


def test_a_deleted_data_set_leaves_nothing_and_others_whole(lids: Engine, tmp_path: Path) -> None:
    with transaction(lids) as session:
        before = count_rows(session, dataset_id=2)
        contents = [image.sha256 for image in image_page(session, dataset_id=1)]
        lone = session.get_one(Image, 1)
        lone.sha256, lone.has_thumbnail = "0" * 64, True
        session.get_one(Image, 2).has_thumbnail = True
        version = dependents_of(lids, tmp_path, dataset="lids").versions[0].sha256
    files = [thumbnail_path(tmp_path, each) for each in ("0" * 64, contents[1])]
    for file in (*files, judge_path(tmp_path, "lids")):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x")
    heard: list[tuple[int, int]] = []
    removed = delete(lids, tmp_path, dataset="lids", on_progress=lambda done, total: heard.append((done, total)))
    assert removed["image"] == 8 and removed["dataset"] == 1
    assert heard[-1] == (sum(removed.values()), sum(removed.values()) - 1), "all but the data set's own row are counted"
    with reading(lids) as session:
        assert count_rows(session, dataset_id=1) == {} and count_rows(session, dataset_id=2) == before
        assert rows(session) == before | {"dataset": 1}
        assert len(curate_page(session, dataset_id=2, filters=CurateFilter(words="lid")).regions) > 0
        assert count_by_status(session, dataset_id=1) == []
    assert [file.exists() for file in files] == [False, True], "the other data set shows this one too"
    assert not version_path(tmp_path, version).exists() and not judge_path(tmp_path, "lids").exists()
    assert open_version(lids, tmp_path, dataset="pots", version="first").pictures == 8
    with pytest.raises(UserError, match="which none has"):
        delete(lids, tmp_path, dataset="lids")


def test_a_deletion_that_was_stopped_goes_on(lids: Engine, tmp_path: Path) -> None:
    parts = 0
    with transaction(lids) as session:
        while parts < 7:
            assert remove_rows(session, dataset_id=1, limit=3)
            parts += 1
    assert delete(lids, tmp_path, dataset="lids")["dataset"] == 1
    with reading(lids) as session:
        assert count_rows(session, dataset_id=1) == {}


def test_boxes_that_share_descriptions_go_a_part_at_a_time(lids: Engine) -> None:
    with transaction(lids) as session:
        while part := remove_rows(session, dataset_id=1, limit=1):
            assert part[1] == 1 or "id" not in SQLModel.metadata.tables[part[0]].c
        assert get_dataset(session, name="lids") is None


def test_no_row_is_deleted_by_a_look_at_a_whole_table() -> None:
    """The database looks for rows that point at a row with each one that goes: at a million it needs an index."""
    for table in tables_below(Dataset):
        led = {index.expressions[0] for index in table.indexes} | {table.primary_key.columns.values()[0]}
        led |= {each.columns.values()[0] for each in table.constraints if isinstance(each, UniqueConstraint)}
        assert {key.parent for key in table.foreign_keys if key.column.table.name not in NOT_OF_A_DATA_SET} <= led


def test_a_job_that_needs_it_refuses_both(lids: Engine, tmp_path: Path) -> None:
    with transaction(lids) as session:
        config = {"data": {"sets": ["lids"]}}
        job = enqueue_job(session, kind="train", owner="ana", config=config, argv=["true"]).id
    for act in (
        lambda: delete(lids, tmp_path, dataset="lids"),
        lambda: rename(lids, tmp_path, dataset="lids", name="n"),
    ):
        with pytest.raises(UserError, match=rf"job {job} \(train\) is queued"):
            act()
    assert delete(lids, tmp_path, dataset="lids", own_job=job)["dataset"] == 1


def test_an_export_of_its_version_that_waits_refuses_both_and_one_that_is_over_does_not(
    lids: Engine, tmp_path: Path
) -> None:
    words = export_words(ExportConfig("shards", tmp_path / "shards" / "of lids", version=version_sha256(lids, "lids")))
    with transaction(lids) as session:
        job = enqueue_job(session, kind="data", owner="ana", config={"out": "x"}, argv=["python", *words]).id
    for act in (
        lambda: delete(lids, tmp_path, dataset="lids"),
        lambda: rename(lids, tmp_path, dataset="lids", name="n"),
    ):
        with pytest.raises(UserError, match=rf"job {job} \(data\) is queued"):
            act()
    assert delete(lids, tmp_path, dataset="pots")["dataset"] == 1
    with transaction(lids) as session:
        request_cancel(session, job_id=job)
    assert delete(lids, tmp_path, dataset="lids")["dataset"] == 1


def version_sha256(engine: Engine, dataset: str) -> str:
    with reading(engine) as session:
        found = get_dataset(session, name=dataset)
        assert found is not None
        return list_versions(session, dataset_id=found.id)[0].sha256


def test_a_renamed_data_set_keeps_its_versions_exports_and_judge(lids: Engine, tmp_path: Path) -> None:
    config = ExportConfig("coco", tmp_path / "exports" / "lids-coco", dataset="lids", version="first")
    export(lids, tmp_path, config)
    judge = judge_path(tmp_path, "lids")
    judge.parent.mkdir(parents=True)
    judge.write_text("{}")
    rename(lids, tmp_path, dataset="lids", name=" caps ")
    assert open_version(lids, tmp_path, dataset="caps", version="first").pictures == 8
    assert count_restore(lids, tmp_path, dataset="caps", version="first").regions == 0
    assert json.loads((config.out / "export.json").read_text())["dataset"] == "caps"
    again = export(lids, tmp_path, ExportConfig("coco", config.out, dataset="caps", version="first"))
    assert again["dataset"] == "caps" and again["descriptions"] == 12
    assert judge_path(tmp_path, "caps").exists() and not judge.exists()
    for name, sentence in (("pots", "choose another"), ("", "a name for the data set")):
        with pytest.raises(UserError, match=sentence):
            rename(lids, tmp_path, dataset="caps", name=name)
    with pytest.raises(UserError, match="expected a version of 'pots', got one of 'caps'"):
        open_version(
            lids, tmp_path, dataset="pots", version=dependents_of(lids, tmp_path, dataset="caps").versions[0].sha256
        )


def test_jobs_of_a_data_set_get_its_new_name_and_those_of_an_earlier_one_do_not(lids: Engine, tmp_path: Path) -> None:
    with transaction(lids) as session:
        dataset = get_dataset(session, name="lids")
        assert dataset is not None
        for name in ("lids", "pots", "lids"):
            argv = ["-m", "curation.annotate", f"--dataset={name}"]
            job = enqueue_job(session, kind="annotate", owner="ana", config={"dataset": name}, argv=argv)
            end_job(session, job, state="failed", exit_reason="the disk went away")
        job.ended_at = dataset.created_at - timedelta(seconds=1)  # of a data set of that name that was deleted
    rename(lids, tmp_path, dataset="lids", name="caps")
    with reading(lids) as session:
        jobs = list(job_page(session, kind="annotate"))
    assert [job.config["dataset"] for job in jobs] == ["lids", "pots", "caps"]
    assert [job.argv[-1] for job in jobs] == ["--dataset=lids", "--dataset=pots", "--dataset=caps"]


@pytest.mark.usefixtures("lids_at_home")
def test_the_command_deletes_only_when_it_is_told_twice(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(UserError, match="give --yes"):
        delete_main(DeleteConfig("lids"))
    assert "8 pictures" in capsys.readouterr().err
    delete_main(DeleteConfig("lids", yes=True))
    assert json.loads(capsys.readouterr().out)["image"] == 8

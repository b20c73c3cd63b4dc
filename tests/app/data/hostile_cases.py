"""The templates of the Data page, with hostile text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from app.data import panels, upkeep_panels
from app.data.actions import DatasetOverview, ExportLosses, VersionDifference, WrittenExport
from app.data.upkeep_actions import DatasetWorks, RemovablePictures, UpkeepQuestion
from curation.data_sets.dependents import DatasetDependents
from curation.data_sets.remove_pictures import PictureDependents
from curation.files.records import DescriptionRecord, PictureRecord, RegionRecord
from curation.review.restore_version import RestoreCount
from curation.versions.diff import PictureDifference, VersionChange
from db.models import AnnotationRun, Dataset, DatasetVersion, Image, ImportRecord, Job, ReviewAct
from db.queries.dataset_removal_queries import ImageChoice
from db.queries.region_index_queries import SourceCount
from db.queries.wide_act_queries import BroughtCount
from tests.support.hostile import HOSTILE

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def overview() -> str:
    facts: dict[str, Any] = dict.fromkeys(SourceCount.__dataclass_fields__, HOSTILE) | {"regions": 2}
    counts = SourceCount(**facts)
    return panels.overview_panel(DatasetOverview(3, {"reviewed": 2, "open": 1}, [counts]))


def versions() -> str:
    texts: dict[str, Any] = {"name": HOSTILE, "note": HOSTILE, "created_by": HOSTILE, "sha256": HOSTILE}
    return panels.versions_panel([DatasetVersion(dataset_id=1, pictures=1, regions=2, created_at=NOW, **texts)])


def difference() -> str:
    added = VersionChange("added", "description", 1, {"text": (None, HOSTILE)}, HOSTILE)
    changed = replace(added, kind="changed", fields={"text": (HOSTILE, "a lid"), HOSTILE: ("", HOSTILE)})
    removed = VersionChange("removed", "picture", who=HOSTILE)
    kinds = {("added", "description"): 1, ("changed", "description"): 1, ("removed", "picture"): 300}
    picture = PictureRecord(
        HOSTILE, 40, 30, HOSTILE, regions=(RegionRecord((0, 0, 1, 1), (DescriptionRecord(HOSTILE, id=1),)),)
    )
    shown = [PictureDifference(picture, None, (removed, added)), PictureDifference(None, picture, (changed,))]
    found = VersionDifference(
        HOSTILE, HOSTILE, ([HOSTILE], ["accepted"]), kinds, {HOSTILE: 2}, shown, start=12, pictures=300
    )
    return panels.difference_panel(found, Path("/nowhere"))


def works() -> str:
    run = AnnotationRun(id=1, dataset_id=1, config={}, recipes={}, created_at=NOW)
    brought = ImportRecord(id=2, dataset_id=1, action=HOSTILE, file=HOSTILE, format=HOSTILE, who=HOSTILE, at=NOW)
    texts: dict[str, Any] = {"action": HOSTILE, "who": HOSTILE, "text": HOSTILE, "undone_by": HOSTILE}
    act = ReviewAct(dataset_id=1, kind="undo import", regions=1, pictures=1, at=NOW, **texts)
    return upkeep_panels.works_panel(DatasetWorks([run], [brought], [act], HOSTILE))


def upkeep_question() -> str:
    count = RestoreCount(regions=3, pictures=2, newer=1, gone=1)
    return upkeep_panels.question_panel(UpkeepQuestion(HOSTILE, {"do": "restore", "of": HOSTILE}, count))


def undo_question() -> str:
    return upkeep_panels.question_panel(UpkeepQuestion(HOSTILE, {"of": HOSTILE}, BroughtCount(3, 2, 1)))


def dependents() -> DatasetDependents:
    version = DatasetVersion(
        dataset_id=1, name=HOSTILE, sha256="", file_name="", pictures=1, regions=2, created_by=HOSTILE
    )
    dataset = Dataset(id=1, name=HOSTILE)
    job = Job(id=1, kind=HOSTILE, owner=HOSTILE, state="queued", config={}, argv=[])
    return DatasetDependents(dataset, {HOSTILE: 3}, [version], [job], [Path(HOSTILE)])


def removable() -> str:
    job = Job(id=1, kind="import", owner=HOSTILE, config={"source": HOSTILE}, argv=[], created_at=NOW)
    return upkeep_panels.removable_panel(RemovablePictures([job], {HOSTILE: 2}))


def removal() -> str:
    image = Image(id=1, dataset_id=1, sha256="0" * 64, width=1, height=1, location=f"/there/{HOSTILE}")
    found = PictureDependents(HOSTILE, ImageChoice(1), {"pictures": 2, "saved filters": 2}, [image], [HOSTILE], [])
    return upkeep_panels.removal_panel(found, {"do": "tag", "of": HOSTILE}, Path("/nowhere"))


def losses() -> str:
    return panels.losses_panel(ExportLosses([HOSTILE], 7, complete=True, share=[HOSTILE]))


CASES: Mapping[str, Sequence[Callable[[], str]]] = {
    "data/templates/overview.html": (overview,),
    "data/templates/versions.html": (versions,),
    "data/templates/difference.html": (difference,),
    "data/templates/losses.html": (losses,),
    "data/templates/works.html": (works,),
    "data/templates/upkeep_question.html": (upkeep_question, undo_question),
    "data/templates/dependents.html": (
        lambda: upkeep_panels.deletion_panel(dependents()),
        lambda: upkeep_panels.renaming_panel(dependents(), HOSTILE),
    ),
    "data/templates/removable.html": (removable,),
    "data/templates/removal.html": (removal,),
    "data/templates/exports.html": (lambda: panels.exports_panel([WrittenExport(Path(HOSTILE), "coco", HOSTILE, 7)]),),
}

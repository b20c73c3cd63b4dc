"""Prepare what the Data page shows: numbers, versions, differences, losses, exports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from app.ui.html import empty_state, notice, render, render_macro

if TYPE_CHECKING:
    from app.data.actions import DatasetOverview, ExportLosses, VersionDifference, WrittenExport
    from curation.versions.diff import VersionChange
    from db.models import DatasetVersion

REVIEWS = {"reviewed": "reviewed", "empty": "reviewed, nothing to mark", "open": "not finished"}
FORMATS = {
    "shards": "Shards for training",
    "coco": "COCO JSON",
    "odvg": "ODVG lines",
    "yolo": "YOLO (Ultralytics)",
    "voc": "Pascal VOC",
    "fiftyone": "FiftyOne JSON",
    "cvat": "CVAT XML for images",
    "finehard": "FineHARD region text",
    "imagefolder": "Hugging Face ImageFolder",
    "parquet": "Hugging Face parquet",
    "label-studio": "Label Studio JSON",
}
IMPORT_FORMATS = FORMATS | {
    "entities": "Flickr30k Entities",
    "entities-longer": "Flickr30k Entities, with what captions say of their subjects",
}
SIGNS = {"added": "+", "changed": "~", "removed": "−"}
MOST_EXPORTS = 6
NO_VERSION = empty_state("No version yet", "Freeze the data set: training and evaluation can then name what they saw.")
NO_EXPORT = empty_state("No export yet", "Choose a format: what it cannot store is listed before you export.")


def overview_panel(found: DatasetOverview) -> str:
    """Render pictures by review state and descriptions by verdict."""
    if not found.pictures:
        return empty_state("The data set has no pictures", "Import some on the Annotate page.")
    reviews: Mapping[str, int] = {words: found.reviews.get(state, 0) for state, words in REVIEWS.items()}  # type: ignore[call-overload]
    verdicts = _verdicts(found)
    tables = [
        (what, f"{total:,}", [(name, f"{count:,}") for name, count in parts.items() if count])
        for what, total, parts in (
            ("pictures", found.pictures, reviews),
            ("descriptions", verdicts.total(), verdicts),
        )
    ]
    return render("data/templates/overview.html", tables=tables)


def holds_panel(found: DatasetOverview, statuses: Sequence[str]) -> str:
    """Render how many descriptions a version with these verdicts would hold; a notice where it is none."""
    verdicts = _verdicts(found)
    held = sum(verdicts[status] for status in statuses)
    if held or not found.pictures:
        return render_macro("note", f"It would hold {found.pictures:,} pictures and {held:,} descriptions.")
    others = " and ".join(f"{count:,} {status}" for status, count in verdicts.items() if status not in statuses)
    advice = "describe the pictures on the Annotate page, or import annotations"
    if others:
        advice = f"there are {others} ones: accept some on the Curate page, or choose their verdict above"
    return notice(f"It would hold no region, so that training learns no regions from it: {advice}.")


def _verdicts(found: DatasetOverview) -> Counter[str]:
    verdicts: Counter[str] = Counter()
    for each in found.counts:
        verdicts[each.status] += each.regions
    return verdicts


def versions_panel(versions: Sequence[DatasetVersion]) -> str:
    """Render each version with its hash, the newest first."""
    return render("data/templates/versions.html", versions=versions) if versions else NO_VERSION


def difference_panel(found: VersionDifference) -> str:
    """Render how many were added, changed and removed, by whom, and the first of them one by one."""
    if not found.kinds:
        return render(
            "data/templates/difference.html", finding="The two versions are the same.", people="", changes=(), more=0
        )
    counts = ", ".join(
        f"{count:,} {what}{'s' * (count != 1)} {kind}" for (kind, what), count in sorted(found.kinds.items())
    )
    people = ", ".join(f"{who} {count:,}" for who, count in sorted(found.people.items(), key=lambda each: -each[1]))
    return render(
        "data/templates/difference.html",
        finding=f"{counts}.",
        people=f"By {people}." if people else "",
        changes=[(each.kind, SIGNS[each.kind], _change(each), each.who) for each in found.changes],
        more=sum(found.kinds.values()) - len(found.changes),
    )


def _change(change: VersionChange) -> str:
    """Return what there is now, or was; of a change, both."""
    before, after = change.fields.get("text", (None, None))
    if change.kind == "changed" or change.what == "picture":
        return replace(change, who="").sentence().removeprefix(f"{change.kind} ")
    return f"“{after if before is None else before}” on {change.file_name}"


def losses_panel(found: ExportLosses) -> str:
    """Render what an export loses, before it does."""
    if not found.pictures:
        return notice("No picture to export: review some on the Curate page, or include pictures that nobody reviewed.")
    pictures = f"{found.pictures:,}" if found.complete else f"the first {found.pictures:,}"
    return render("data/templates/losses.html", pictures=pictures, sentences=found.sentences)


def exports_panel(found: Sequence[WrittenExport]) -> str:
    """Render complete exports: the folder of each, and its data card."""
    rows = [(FORMATS[each.format], each.pictures, str(each.folder), each.card) for each in found[:MOST_EXPORTS]]
    return render("data/templates/exports.html", exports=rows) if rows else NO_EXPORT

"""Prepare what the Data page shows: numbers, versions, differences, losses, exports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from app.core.templates import things
from app.ui.html import empty_state, notice, render, render_macro
from app.ui.regions import placed_thumbnail
from curation.exchange.formats import FORMATS as EXPORT_FORMATS
from curation.exchange.formats import LABELS
from curation.files.records import shown

if TYPE_CHECKING:
    from app.data.actions import DatasetOverview, ExportLosses, VersionDifference, WrittenExport
    from curation.versions.diff import PictureDifference, VersionChange
    from db.models import DatasetVersion

REVIEWS = {"reviewed": "reviewed", "empty": "reviewed, nothing to mark", "open": "not finished"}
FORMATS = {name: LABELS[name] for name in EXPORT_FORMATS}
IMPORT_FORMATS = LABELS
SIGNS = {"added": "+", "changed": "~", "removed": "−"}
MOST_EXPORTS = 6
BOOKKEEPING = ("version", "editor", "sha256")  # of a change: it says them otherwise
NO_VERSION = empty_state("No version yet", "Freeze the data set: training and evaluation can then name what they saw.")
NO_EXPORT = empty_state("No export yet", "Choose a format: what it cannot store is listed before you export.")


def overview_panel(found: DatasetOverview) -> str:
    """Render pictures by review state and descriptions by verdict; those in the trash do not count."""
    if not found.pictures:
        return empty_state("The data set has no pictures", "Import some on the Annotate page.")
    reviews: Mapping[str, int] = {words: found.reviews.get(state, 0) for state, words in REVIEWS.items()}  # type: ignore[call-overload]
    verdicts = _verdicts(found)
    trash = verdicts.pop("deleted", 0)
    tables = [
        (what, f"{total:,}", [(name, f"{count:,}") for name, count in parts.items() if count])
        for what, total, parts in (
            ("pictures", found.pictures, reviews),
            ("descriptions", verdicts.total(), verdicts | Counter({"in the trash, not counted": trash})),
        )
    ]
    return render("data/templates/overview.html", tables=tables)


def holds_panel(found: DatasetOverview, statuses: Sequence[str]) -> str:
    """Render how many descriptions a version with these verdicts would hold; a notice where it is none."""
    verdicts = _verdicts(found)
    held = sum(verdicts[status] for status in statuses)
    if held or not found.pictures:
        counts = f"{things(found.pictures, 'picture')} and {things(held, 'description')}"
        return render_macro("note", f"It would hold {counts}.")
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


def difference_panel(found: VersionDifference, home: Path) -> str:
    """Render how many were added, changed and removed, by whom, and some pictures with both versions of their boxes."""
    from app.data.actions import MOST_DIFFERENT

    if not found.kinds:
        return render_macro("finding", "The two versions are the same.")
    counts = ", ".join(
        f"{count:,} {what}{'s' * (count != 1)} {kind}" for (kind, what), count in sorted(found.kinds.items())
    )
    people = ", ".join(f"{who} {count:,}" for who, count in sorted(found.people.items(), key=lambda each: -each[1]))
    last = found.start + len(found.shown)
    return render(
        "data/templates/difference.html",
        finding=f"{counts}.",
        people=f"By {people}." if people else "",
        holds=_unequal_verdicts(found),
        before=found.before,
        after=found.after,
        pictures=[_picture_difference(each, home) for each in found.shown],
        place=f"{found.start + 1:,} to {last:,} of {found.pictures:,} pictures that differ",
        back=max(0, found.start - MOST_DIFFERENT) if found.start else None,
        forward=last if last < found.pictures else None,
    )


def _unequal_verdicts(found: VersionDifference) -> str:
    """Say which verdicts each version holds, "" where they are the same: what one leaves out was not removed."""
    before, after = (" and ".join(sorted(each)) or "no" for each in found.holds)
    if before == after:
        return ""
    return (
        f"{found.before} holds {before} descriptions, {found.after} {after} ones: one that only one of them holds "
        "counts as added or removed."
    )


def _picture_difference(found: PictureDifference, home: Path) -> dict[str, object]:
    """Return a picture that differs as the template needs it: its boxes then and now, and its changes."""
    record = found.after or found.before
    assert record is not None
    changed = {change.id: change.kind for change in found.changes if change.id}
    then, now = (
        [
            (region.xyxy, f"line {kind}")
            for region in (each.regions if each else ())
            for kind in [next((changed[one.id] for one in region.descriptions if one.id in changed), "same")]
        ]
        for each in (found.before, found.after)
    )
    size = {"width": record.width, "height": record.height}
    sides = [placed_thumbnail(record.sha256, home, boxes, **size) for boxes in (then, now)]
    changes = [(each.kind, SIGNS[each.kind], _change(each), each.who) for each in found.changes]
    return {
        "link": f"/curate?image={record.id}",
        "name": record.file_name,
        "then": sides[0],
        "now": sides[1],
        "changes": changes,
    }


def _change(change: VersionChange) -> str:
    """Return what there is now, or was; of a change, both."""
    before, after = change.fields.get("text", (None, None))
    if change.what == "description" and change.kind != "changed":
        return f"“{after if before is None else before}”"
    visible = {name: values for name, values in change.fields.items() if name not in BOOKKEEPING}
    return (
        "; ".join(f"{name}: {shown(old)} → {shown(new)}" for name, (old, new) in visible.items())
        or "edited by somebody else"
    )


def losses_panel(found: ExportLosses) -> str:
    """Render what an export loses, before it does."""
    if not found.pictures:
        words = "No picture to export: review some on the Curate page, or include pictures that nobody reviewed."
        return notice(" ".join([words, *found.share]))
    counted = "1 picture" if found.pictures == 1 else f"{found.pictures:,} pictures"
    pictures = counted if found.complete else f"the first {counted}"
    return render("data/templates/losses.html", pictures=pictures, sentences=found.sentences, share=found.share)


def exports_panel(found: Sequence[WrittenExport]) -> str:
    """Render complete exports: the folder of each, and its data card."""
    rows = [(FORMATS[each.format], each.pictures, str(each.folder), each.card) for each in found[:MOST_EXPORTS]]
    return render("data/templates/exports.html", exports=rows) if rows else NO_EXPORT

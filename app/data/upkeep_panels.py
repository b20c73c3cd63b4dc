"""Render what the Data page takes back: what can be undone, and the questions before it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from app.core.thumbnails import picture_name, thumbnail_address
from app.data.upkeep_actions import DatasetWorks, RemovablePictures, UpkeepQuestion
from app.ui.html import render, things
from curation.data_sets.delete import STAYS
from curation.data_sets.dependents import DatasetDependents
from curation.data_sets.remove_pictures import PictureDependents
from curation.data_sets.rename import KEPT
from curation.review.restore_version import RestoreCount
from db.queries.wide_act_queries import BroughtCount


def works_panel(found: DatasetWorks) -> str:
    """Render runs, imports and acts, each with its undo."""
    runs = [(f"run {run.id}", run.created_at, run.state, {"do": "run", "of": run.id}) for run in found.runs]
    imports = [
        (f"import {each.id}: {each.file}", each.at, things(each.regions, "region"), {"do": "import", "of": each.id})
        for each in found.imports
    ]
    acts = [
        (f"{each.kind} {each.text}", each.at, things(each.regions, "region"), {"do": "act", "of": each.action}, each)
        for each in found.acts
    ]
    return render("data/templates/works.html", works=[*runs, *imports], acts=acts, who=found.who)


def question_panel(found: UpkeepQuestion) -> str:
    """Render what a restore or an undo would change, and the buttons that do it or not."""
    sentences, choices = _sentences(found)
    return render("data/templates/upkeep_question.html", what=found.what, sentences=sentences, choices=choices)


def _sentences(found: UpkeepQuestion) -> tuple[list[str], list[tuple[str, dict[str, object]]]]:
    """Return what would change, and the buttons: their words and what they ask."""
    count, ask = found.count, dict(found.ask)
    if isinstance(count, RestoreCount):
        sentences = [f"{things(count.regions, 'description')} on {things(count.pictures, 'picture')} change."]
        if count.newer:
            sentences.append(
                f"{count.newer:,} of them are not in that version: they get no verdict, or go into the trash."
            )
        if count.gone or count.gone_pictures:
            gone = f"{things(count.gone, 'description')} and {things(count.gone_pictures, 'picture')}"
            sentences.append(f"{gone} of it were removed for good.")
        return sentences, [("restore", ask)] if count.pictures else []
    if isinstance(count, BroughtCount):
        left = f"{things(count.regions, 'region')} on {things(count.pictures, 'picture')}"
        sentences = [f"What is left of it goes into the trash: {left}."] if count.regions or not count.changes else []
        if count.changes:
            changed = things(count.changes, "region or picture", "regions and pictures")
            sentences.append(f"It changed {changed} that were there before: they become as they were.")
        choices: list[tuple[str, dict[str, object]]] = (
            [("undo all", ask | {"everything": True})] if count.decided else []
        )
        if count.decided:
            sentences.append(f"{count.decided:,} of them somebody judged or edited since.")
        if count.regions > count.decided or count.changes:
            choices = [("undo all but those" if count.decided else "undo", ask), *choices]
        return sentences, choices
    return ["What somebody changed since stays as it is."], [(found.what.split()[0].lower(), ask)]


def removable_panel(found: RemovablePictures) -> str:
    """Render imports of pictures and tags, each with the removal of its pictures."""
    imports = [
        (job.config["source"], job.created_at, job.owner, {"do": "import", "of": job.id}) for job in found.imports
    ]
    tags = [(tag, things(count, "region"), {"do": "tag", "of": tag}) for tag, count in found.tags.items()]
    return render("data/templates/removable.html", imports=imports, tags=tags)


def removal_panel(found: PictureDependents, ask: Mapping[str, object], home: Path) -> str:
    """Render what depends on pictures that are to be removed, and the button that does it. ask: what named them.

    The button sends their data set and number too: what was seen is what goes.
    """
    return render(
        "data/templates/removal.html",
        pictures=things(found.pictures, "picture"),
        shown=[(thumbnail_address(home, image.sha256), picture_name(image)) for image in found.first],
        more=found.pictures - len(found.first),
        sentences=found.sentences()[1:],
        then=found.stays(),
        ask={**ask, "in": found.dataset, "seen": found.pictures},
    )


def deletion_panel(found: DatasetDependents) -> str:
    """Render what depends on a data set that is to be deleted, and the button that does it."""
    name = found.dataset.name
    return _dependents_panel(found, "delete", words=f"delete {name} for good", then=STAYS)


def renaming_panel(found: DatasetDependents, name: str) -> str:
    """Render what depends on a data set that is to get another name, and the button that gives it."""
    return _dependents_panel(found, "rename", words=f"rename {found.dataset.name} to {name}", then=KEPT, to=name)


def _dependents_panel(found: DatasetDependents, do: str, *, words: str, then: str, **more: str) -> str:
    ask = {"do": do, "of": found.dataset.name, **more}
    return render("data/templates/dependents.html", words=words, sentences=found.sentences(), then=then, ask=ask)

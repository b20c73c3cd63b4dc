"""Render what the page says of acts on many regions: the question with its count, what was done, what is kept."""

from __future__ import annotations

from urllib.parse import urlencode

from app.curate.bulk_actions import ReviewLibrary
from app.ui.html import render, things
from curation.review.acts import ActCount, ActRequest
from db.models import ActKind, ReviewAct
from db.queries.bulk_edit_queries import ManyEdited

DOES: dict[ActKind, str] = {
    "accept": "Accept",
    "reject": "Reject",
    "reopen": "Make pending",
    "relabel": "Relabel",
    "tag": "Tag",
    "untag": "Take the tag off",
    "delete": "Delete",
    "restore": "Restore",
    "keep one": "Reject",
    "restore version": "Restore",
    "undo run": "Undo",
    "undo import": "Undo",
}
DID: dict[ActKind, str] = {
    "accept": "accepted",
    "reject": "rejected",
    "reopen": "made pending",
    "relabel": "relabelled",
    "tag": "tagged",
    "untag": "without the tag",
    "delete": "deleted",
    "restore": "restored",
    "keep one": "rejected as copies",
    "empty trash": "removed for good",
    "restore version": "as in a version",
    "undo run": "taken back with a run",
    "undo import": "taken back with an import",
}


def question_panel(act: ActRequest, count: ActCount) -> str:
    """Render how many regions and pictures an act would change, and the buttons that do it or not."""
    return render(
        "curate/templates/bulk_question.html",
        does=DOES[act.kind],
        text=act.text,
        count=count,
        regions=things(count.regions, "region"),
        pictures=things(count.pictures, "picture"),
        same=count.selected - count.regions,
    )


def done_panel(act: ReviewAct) -> str:
    """Render what an act did, and its undo."""
    return render("curate/templates/bulk_done.html", sentence=act_words(act), action=act.action)


def back_words(done: ManyEdited, back: str) -> str:
    """Return what an undo or redo of an act did."""
    if not done.regions:
        return "Nothing is left of it to take back." if back == "undo" else "Nothing is left of it to do again."
    skipped = f" {things(done.skipped, 'region')} that somebody changed since stay as they are." * bool(done.skipped)
    return f"{things(done.regions, 'region')}: {'undone' if back == 'undo' else 'done again'}.{skipped}"


def act_words(act: ReviewAct) -> str:
    """Return what an act did, in a sentence without its end."""
    what = f"{things(act.regions, 'region')} on {things(act.pictures, 'picture')} {DID[act.kind]}"
    return f"{what}: {act.text}" if act.text else what


def library_panel(found: ReviewLibrary) -> str:
    """Render the saved filters, tags, trash and latest acts of a data set."""

    def link(address: str) -> str:
        return f"/curate?{urlencode({'dataset': found.dataset})}" + f"&{address}" * bool(address)

    acts = [
        (act.at, act.who, act_words(act), act.action, bool(act.undone_by), act.who == found.who, act.kind)
        for act in found.acts
    ]
    return render(
        "curate/templates/library.html",
        filters=[(each.name, link(each.address)) for each in found.filters],
        tags=[(tag, count, link(urlencode({"tag": tag}))) for tag, count in found.tags.items()],
        trash=found.trash[0],
        trash_words=f"{things(found.trash[0], 'region')} on {things(found.trash[1], 'picture')}",
        trash_link=link("statuses=deleted"),
        acts=acts,
    )

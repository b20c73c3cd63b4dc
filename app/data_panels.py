"""What the Data page says, as HTML. Everything that a person or a model wrote is escaped."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape

from app.data_sets import Difference, Losses, Overview, Written
from app.panels import empty_state, notice
from curation.export import ExportConfig
from curation.formats import Format
from curation.versions import Change
from db.models import DatasetVersion

REVIEWS = {"reviewed": "reviewed", "empty": "reviewed, nothing to mark", "open": "not finished"}
FORMATS: dict[Format, str] = {
    "shards": "Shards for training",
    "coco": "COCO JSON",
    "odvg": "ODVG lines",
    "imagefolder": "Hugging Face ImageFolder",
    "parquet": "Hugging Face parquet",
    "label-studio": "Label Studio JSON",
}
SIGNS = {"added": "+", "changed": "~", "removed": "−"}
MOST_WRITTEN = 6
NO_VERSION = empty_state("No version yet", "Freeze the data set: training and evaluation can then name what they saw.")
NO_EXPORT = empty_state("No export yet", "Choose a format; what it cannot carry is listed before anything is written.")


def overview_panel(found: Overview) -> str:
    """Pictures by review state, descriptions by verdict."""
    if not found.pictures:
        return empty_state("The data set has no pictures", "Import some on the Annotate page.")
    reviews = {REVIEWS[state]: found.reviews.get(state, 0) for state in REVIEWS}  # type: ignore[call-overload]
    verdicts: Counter[str] = Counter()
    for each in found.counts:
        verdicts[each.status] += each.annotations
    return _table("pictures", found.pictures, reviews) + _table("descriptions", verdicts.total(), verdicts)


def _table(what: str, total: int, parts: Mapping[str, int]) -> str:
    rows = "".join(f"<tr><td>{escape(name)}</td><td>{count:,}</td></tr>" for name, count in parts.items() if count)
    return f'<table class="costs numbers"><thead><tr><th>{what}</th><th>{total:,}</th></tr></thead>{rows}</table>'


def versions_panel(found: Sequence[DatasetVersion]) -> str:
    """Each version with its hash, the newest first."""
    if not found:
        return NO_VERSION
    rows = "".join(map(_version, found))
    return f'<ol class="versions">{rows}</ol>'


def _version(version: DatasetVersion) -> str:
    note = f'<p class="quiet">{escape(version.note)}</p>' if version.note else ""
    return (
        f'<li><div class="version-head"><b>{escape(version.name)}</b>'
        f'<code title="sha256 {version.sha256}">{version.sha256[:12]}</code></div>'
        f'<p class="quiet">{version.pictures:,} pictures · {version.regions:,} regions · '
        f"{escape(version.created_by)} · {version.created_at:%Y-%m-%d %H:%M} UTC</p>{note}</li>"
    )


def difference_panel(found: Difference) -> str:
    """How many were added, changed and removed, by whom, and the first of them one by one."""
    if not found.kinds:
        return '<p class="finding">The two versions say the same.</p>'
    counts = ", ".join(
        f"{count:,} {what}{'s' * (count != 1)} {kind}" for (kind, what), count in sorted(found.kinds.items())
    )
    people = ", ".join(
        f"{escape(who)} {count:,}" for who, count in sorted(found.people.items(), key=lambda each: -each[1])
    )
    rows = "".join(
        f'<li class="{change.kind}"><b title="{change.kind}">{SIGNS[change.kind]}</b> {_change(change)}</li>'
        for change in found.changes
    )
    left = sum(found.kinds.values()) - len(found.changes)
    more = f'<p class="quiet">and {left:,} more</p>' if left else ""
    by = f'<p class="quiet">By {people}.</p>' if people else ""
    return f'<p class="finding">{counts}.</p>{by}<ul class="changes">{rows}</ul>{more}'


def _change(change: Change) -> str:
    """What there is now, or was; of a change, both."""
    was, now = change.fields.get("text", (None, None))
    if change.kind == "changed" or change.what == "picture":
        said = change.sentence().removeprefix(f"{change.kind} ")
        return escape(said.replace(f" by {change.who}", "", 1)) + _by(change.who)
    return f"“{escape(str(now if was is None else was))}” on {escape(change.file_name)}{_by(change.who)}"


def _by(who: str) -> str:
    return f' <span class="quiet">{escape(who)}</span>' if who else ""


def losses_panel(found: Losses, config: ExportConfig) -> str:
    """What will be lost, before it is."""
    if not found.pictures:
        return notice("No picture goes into it: review some on the Curate page, or take those in that nobody reviewed.")
    of = f"the first {found.pictures:,}" if not found.whole else f"{found.pictures:,}"
    if not found.sentences:
        return f'<p class="finding">Nothing will be lost: every field of {of} pictures comes back.</p>'
    rows = "".join(f"<li>{escape(sentence)}</li>" for sentence in found.sentences)
    return (
        f'<div class="losses"><p class="finding">What will be lost, counted on {of} pictures:</p><ul>{rows}</ul></div>'
    )


def written_panel(found: Sequence[Written]) -> str:
    """Complete exports: where they lie, each with its data card."""
    if not found:
        return NO_EXPORT
    return f'<ol class="versions">{"".join(map(_export, found[:MOST_WRITTEN]))}</ol>'


def _export(written: Written) -> str:
    return (
        f'<li><div class="version-head"><b>{escape(FORMATS[written.format])}</b>'
        f'<span class="quiet">{written.pictures:,} pictures</span></div>'
        f'<p class="quiet path">{escape(str(written.folder))}</p>'
        f"<details><summary>Data card</summary><pre>{escape(written.card)}</pre></details></li>"
    )


def commands_panel(commands: Sequence[Sequence[str]]) -> str:
    """The very commands, from a terminal."""
    lines = "\n\n".join(shlex.join(["python", *words]) for words in commands)
    return f'<details class="code"><summary>&lt;/&gt; command line</summary><pre>{escape(lines)}</pre></details>'

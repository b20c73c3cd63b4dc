"""Write the dataset card of an export: its content, its makers, and blanks that only people can fill in."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from curation.files.records import PictureRecord

CARD = "README.md"
HUMAN = "human:"
MOST_SOURCES = 50
MARKUP = re.compile(r"([\\`*_{}\[\]<>()#+!|~-])")


@dataclass
class ExportTally:
    """The content of an export, counted."""

    pictures: int = 0
    regions: int = 0
    descriptions: int = 0
    sources: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    reviews: Counter[str] = field(default_factory=Counter)
    people: Counter[str] = field(default_factory=Counter)

    def count(self, record: PictureRecord, by: int = 1) -> None:
        """Count a picture `by` times."""
        self.pictures += by
        self.regions += by * len(record.regions)
        self.reviews[record.review] += by
        for region in record.regions:
            for one in region.descriptions:
                self.descriptions += by
                self.statuses[one.status] += by
                self.sources["people" if one.source.startswith(HUMAN) else one.source or "unknown"] += by
                for who in {one.editor, one.source if one.source.startswith(HUMAN) else ""} - {""}:
                    self.people[who.removeprefix(HUMAN)] += by

    def leave_out(self, record: PictureRecord) -> None:
        """Take a counted picture off again."""
        self.count(record, -1)

    def makers(self) -> str:
        """Return who described it, in words; people are counted, not named."""
        models = [name for name, count in sorted(self.sources.items()) if count > 0 and name != "people"]
        people = sum(count > 0 for count in self.people.values())
        some = models[:MOST_SOURCES] + [f"{len(models) - MOST_SOURCES} more"] * (len(models) > MOST_SOURCES)
        some += [f"{people} {'person' if people == 1 else 'people'}"] * (people > 0)
        return ", ".join(some) or "nobody"


def dataset_card(tally: ExportTally, answer: dict[str, Any]) -> str:
    """Return the card as Markdown; two equal exports have equal cards.

    Args: answer: what curation.exchange.export prints.
    """
    pictures = ", ".join(f"{count:,} {split}" for split, count in answer["pictures"].items() if split != "all")
    rows = [
        ("pictures", f"{tally.pictures:,}" + f" ({pictures})" * bool(pictures)),
        ("regions", f"{tally.regions:,}"),
        ("descriptions", _counts(tally.statuses)),
        ("review of the pictures", _counts(tally.reviews)),
        ("state", f"sha256 {answer['state_sha256']}"),
    ]
    left_out = [f"- {count:,} pictures: {plain(reason)}" for reason, count in answer["left_out"].items()]
    sources = [
        f"- {plain(name)}: {count:,} descriptions" for name, count in tally.sources.most_common(MOST_SOURCES) if count
    ]
    people = sum(count > 0 for count in tally.people.values())
    lines = [
        f"# {plain(answer['dataset'])}",
        "",
        f"Pictures with described regions, exported by GRAIN as {answer['format']}.",
        "",
        "| what | how much |",
        "|---|---|",
        *(f"| {name} | {plain(value)} |" for name, value in rows),
        "",
        "## Where the descriptions come from",
        "",
        *(sources or ["- none"]),
        "",
        f"{people} {'person' if people == 1 else 'people'} wrote, edited or judged them."
        if people
        else "Nobody wrote, edited or judged them one by one.",
        "",
        "## How it was made",
        "",
        f"Descriptions with the verdict {', '.join(answer['statuses'])}. {_bare_pictures(answer)} "
        f"Captions: {answer['caption']}.",
        "Boxes are those of the upright picture. Pictures are the original files, with any metadata on camera and "
        f"place, except {answer['encoded_anew']:,} that were re-encoded as upright JPEG.",
    ]
    if answer["format"] == "shards" and not answer.get("concepts"):
        lines += [
            f"A share of {answer['held_out']:g} of the pictures, chosen by the hash of their content, is held out; "
            "pictures that only look alike may be in both parts."
        ]
    concepts = answer.get("concepts", {})
    lines += _concepts(concepts) if concepts else _classes(answer)
    lines += ["", "## What is not in it", "", *(left_out or ["- no picture is missing"])]
    lines += [f"- {plain(sentence)}" for sentence in answer["losses"]]
    lines += ["", "## Licence and intended use", ""]
    terms = [f"Licence: {concepts['licence']}"] if concepts.get("licence") else []
    terms += [f"Intended use: {concepts['intended_use']}"] if concepts.get("intended_use") else []
    lines += [*([f"- {plain(line)}" for line in terms] or ["To be filled in by the publisher."]), ""]
    return "\n".join(lines)


def _classes(answer: dict[str, Any]) -> list[str]:
    if not answer.get("classes"):
        return []
    source = "from a list" if answer["class_list"] else "from these very pictures, which flatters an evaluation"
    return [
        f"{answer['classes']:,} classes are novel: their pictures are in the split `novel`, outside training. "
        f"Descriptions of the classes (classes.json) come {source}."
    ]


def _concepts(concepts: Mapping[str, Any]) -> list[str]:
    """Return a novel-concept data set's classes, labelling and leak check as lines."""
    names = ("product class", "brand", "release date")
    lines = ["", "## Classes", "", f"| class | {' | '.join(names)} | descriptions |", "|---|---|---|---|---|"]
    for entry in concepts.get("classes", []):
        facts = [entry["name"], *(entry.get(name, "") for name in names)]
        lines.append(f"| {' | '.join(map(plain, facts))} | {plain('; '.join(entry['descriptions']))} |")
    for title, name in (
        ("Where the pictures come from", "provenance"),
        ("How the classes were decided", "labelling"),
        ("Leak check against training data", "leaks"),
    ):
        lines += ["", f"## {title}", "", *(f"- {plain(sentence)}" for sentence in concepts.get(name, []))]
    return lines


def plain(text: str) -> str:
    """Return text that Markdown shows as it is, on one line."""
    return MARKUP.sub(r"\\\1", " ".join(text.split()))


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in sorted(counter.items()) if count) or "none"


def _bare_pictures(answer: Mapping[str, Any]) -> str:
    """Return what became of pictures without such a description."""
    if answer.get("concepts"):
        return "Every picture whose class is settled is included, also without any; others are left out."
    others = "included as well" if answer["unreviewed"] else "left out"
    return f"Reviewed pictures without any are included, with no region; unreviewed pictures without any are {others}."

"""Draft descriptions of new classes, from example pictures or from names alone, for a person to accept.

`python -m curation.annotate.describe_classes FOLDER --out FILE.review.json` reads FOLDER/CLASS/*.jpg; a text file of
names, one a line, in place of FOLDER is asked about without a picture. Beside the review file lies FILE.json with what
a person accepted, in the form of DCLIP and CuPL: that one goes to grain.evaluate, and nothing else does.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Literal, get_args

import tyro

from atomic_files import write_atomically
from curation.annotate.describe import Describer, DescriberError, TextDescriber
from curation.annotate.prompts import same_text
from curation.annotate.registry import DescriberChoice, make_describer
from curation.annotate.sample_annotators import SampleConfig
from curation.files.decode import RefusedError
from curation.files.pictures import read_picture
from grain.command import run_command
from job_progress import report_progress
from picture_formats import SUFFIXES
from user_errors import UserError

Verdict = Literal["pending", "accepted", "rejected"]
SCHEMA = 1
ENDING = ".review.json"


@dataclass(frozen=True)
class DraftDescription:
    """A description that somebody may accept. source: the describer.

    seen: example pictures of which it was said; 0 where it was written of the name alone.
    """

    text: str
    seen: int
    source: str
    verdict: Verdict = "pending"


Drafts = dict[str, list[DraftDescription]]


class DraftStoppedError(DescriberError):
    """The describer went away among the classes. drafts: of those before. left: the names of the others."""

    def __init__(self, error: DescriberError, drafts: Drafts, left: Sequence[str]) -> None:
        """error: what the describer raised."""
        super().__init__(str(error))
        self.drafts, self.left = drafts, tuple(left)


def draft(describer: Describer, folder: Path, *, examples: int = 4) -> Drafts:
    """Describe a few pictures of each class; what was said of more pictures comes first.

    Args:   folder: a folder a class, with pictures. examples: of each, at most.
    Raises: UserError: no pictures, or one that cannot be read; then nothing has been described.
            DraftStoppedError: no further one can be described now.
    """
    classes: dict[str, list[Path]] = {}
    for place in sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []:
        files = [path for path in sorted(place.iterdir()) if path.suffix.lower() in SUFFIXES][:examples]
        if files:
            classes[place.name] = files
    if not classes:
        raise UserError(f"{folder} has no pictures in folders: expected CLASS/picture.jpg for every class")
    for file in chain.from_iterable(classes.values()):
        _picture(file)  # a slip is said before a describer works for hours
    found: Drafts = {}
    for number, (name, files) in enumerate(classes.items()):
        report_progress(number, len(classes), f"describing {name}")
        try:
            results = describer.describe([_picture(file) for file in files])
        except DescriberError as error:
            raise DraftStoppedError(error, found, list(classes)[number:]) from error
        found[name] = _counted([each.descriptions for each in results], describer.name)
    return found


def draft_of_names(describer: TextDescriber, names: Sequence[str]) -> Drafts:
    """Describe classes by their names, without a picture.

    Raises: UserError: no names, or no answer that can be read. DescriberError: none can be described now.
    """
    if not names:
        raise UserError("no class names: expected a file with one a line, or folders that are called like classes")
    report_progress(0, len(names), "describing by names alone")
    results = describer.describe_names(names)
    found = {
        name: [DraftDescription(text, 0, describer.name) for text in each.descriptions]
        for name, each in zip(names, results, strict=True)
    }
    if not any(found.values()):
        raise UserError(f"{describer.name} described no class ({results[0].problem}): ask another model")
    return found


def names_in(source: Path) -> list[str]:
    """Read class names: the lines of a file, or the folders in a folder.

    Raises: UserError: nothing is there, or it is no text.
    """
    try:
        if source.is_dir():
            names = sorted(path.name for path in source.iterdir() if path.is_dir())
        else:
            names = [line.strip() for line in source.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{source} cannot be read: expected a folder, or a text file of class names") from error
    return list(dict.fromkeys(filter(None, names)))


def save(path: Path, drafts: Drafts) -> None:
    """Write the review file, and beside it what was accepted; each whole or not at all.

    Raises: UserError: the file is not called *.review.json.
    """
    _check_name(path)
    classes = {name: [asdict(each) for each in rows] for name, rows in drafts.items()}
    _write(accepted_path(path), accepted(drafts))
    _write(path, {"schema_version": SCHEMA, "classes": classes})


def accepted(drafts: Drafts) -> dict[str, list[str]]:
    """Return class -> the descriptions that a person accepted; only these may be used."""
    return {name: [each.text for each in rows if each.verdict == "accepted"] for name, rows in drafts.items()}


def accepted_path(path: Path) -> Path:
    """Return the file beside a review file that holds its accepted descriptions."""
    return path.with_name(path.name.removesuffix(ENDING) + ".json")


def load(path: Path) -> Drafts:
    """Read a review file.

    Raises: UserError: it cannot be read.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["schema_version"] != SCHEMA:
            raise ValueError(f"schema {content['schema_version']}")
        return {str(name): [_drafted(row) for row in rows] for name, rows in content["classes"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path.name} cannot be read as a review ({error}): draft the descriptions again") from error


def decide(path: Path, *, class_name: str, text: str, verdict: Verdict) -> Drafts:
    """Accept, reject or take back one description, and write both files.

    Raises: UserError: there is none such, or no such verdict.
    """
    if verdict not in get_args(Verdict):
        raise UserError(f"expected one of {', '.join(get_args(Verdict))}, got {str(verdict)[:20]!r}")
    drafts = load(path)
    rows = drafts.get(class_name, [])
    if text not in [each.text for each in rows]:
        raise UserError(f"the class {class_name[:40]!r} has no description {text[:40]!r}: reload the page")
    drafts[class_name] = [
        DraftDescription(each.text, each.seen, each.source, verdict) if each.text == text else each for each in rows
    ]
    save(path, drafts)
    return drafts


def _check_name(path: Path) -> None:
    if not path.name.endswith(ENDING):
        raise UserError(f"expected a file called *{ENDING}, got {path.name}: rename it")


def _picture(file: Path) -> Any:
    try:
        return read_picture(file)
    except RefusedError as error:
        raise UserError(f"{file} cannot be used: {error}") from error


def _counted(results: Sequence[Sequence[str]], source: str) -> list[DraftDescription]:
    first: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for descriptions in results:
        for text in {same_text(each): each for each in descriptions}.values():
            first.setdefault(same_text(text), text)
            counts[same_text(text)] += 1
    return [DraftDescription(first[key], count, source) for key, count in counts.most_common()]


def _drafted(row: dict[str, Any]) -> DraftDescription:
    if row["verdict"] not in get_args(Verdict):
        raise ValueError(f"the verdict {row['verdict']!r}")
    return DraftDescription(str(row["text"]), int(row["seen"]), str(row["source"]), row["verdict"])


def _write(path: Path, content: object) -> None:
    text = json.dumps(content, indent=1, ensure_ascii=False)
    write_atomically(path, text.encode("utf-8", "backslashreplace"))


@dataclass(frozen=True)
class DescribeClassesConfig:
    """Draft descriptions of new classes for a person to accept (on the Evaluate page)."""

    source: tyro.conf.Positional[Path]
    """A folder a class, with a few pictures each; or a text file of class names, one a line, asked without pictures."""
    out: Path
    """File to write, *.review.json; under GRAIN_HOME/class_descriptions the page shows it."""
    examples: int = 4
    """Pictures of each class, at most."""
    text_only: bool = False
    """Ask by the folders' names alone, without their pictures: of a describer that is a llava or a server."""
    describer: DescriberChoice = field(default_factory=lambda: DescriberChoice(kind="photo"))
    """What writes them."""


def main(config: DescribeClassesConfig) -> None:
    """Run the command line."""
    if config.out.exists():
        raise UserError(f"{config.out} is there already, perhaps with verdicts: choose another --out")
    _check_name(config.out)
    try:
        drafts = _drafts(config)
    except DraftStoppedError as stopped:
        if not stopped.drafts:
            raise
        save(config.out, stopped.drafts)
        names = ", ".join(stopped.left)[:200]
        raise UserError(
            f"{stopped.sentence} {config.out} has the descriptions of the {len(stopped.drafts):,} classes before it. "
            f"For the {len(stopped.left):,} others ({names}) take a folder that has only those, and another --out."
        ) from stopped
    save(config.out, drafts)
    print(f"wrote {config.out}: {sum(map(len, drafts.values())):,} descriptions of {len(drafts):,} classes to review")
    if silent := [name for name, rows in drafts.items() if not rows]:
        print(f"no description that can be read of {len(silent):,} classes: {', '.join(silent)[:200]}", file=sys.stderr)


def _drafts(config: DescribeClassesConfig) -> Drafts:
    by_name = config.text_only or config.source.is_file()
    names = names_in(config.source) if by_name else []
    describer = make_describer(config.describer, SampleConfig())
    if not by_name:
        return draft(describer, config.source, examples=config.examples)
    if not isinstance(describer, TextDescriber):
        kind = config.describer.kind
        raise UserError(f"the describer {kind} needs pictures: to ask by name choose --describer.kind server or llava")
    return draft_of_names(describer, names)


if __name__ == "__main__":
    run_command(main, DescribeClassesConfig, module="curation.annotate.describe_classes")

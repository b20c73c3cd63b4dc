"""What the page Novel concepts asks: how a set stands, who labels, what a click does, and the jobs that take long."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from app.accounts import Person
from app.looking import sentence
from app.services import Services
from app.shown import Pictures
from curation.concepts import (
    STATED,
    ConceptError,
    ConceptsConfig,
    Standing,
    Step,
    begin,
    decide_leak,
    freeze_set,
    label,
    parse_over,
    save_classes,
    settle,
    settle_agreed,
    standing,
    tell,
    with_fact,
)
from curation.concepts import command_line as bring_command
from curation.decode import RefusedError
from curation.export import ExportConfig
from curation.export import command_line as export_command
from curation.leaks import LeaksConfig, LeakSettings
from curation.leaks import command_line as leaks_command
from curation.versions import VersionError
from db.concept_queries import list_concept_sets, undo_label
from db.engine import DatabaseError, reading, retrying
from db.models import DatasetVersion, Image
from db.queries import get_image, list_datasets
from db.version_queries import list_versions

KINDS = ("concepts", "leaks", "export", "evaluate")  # of jobs that the page shows
MOST_JOBS = 6
NAME = re.compile(r"[^\s:](?:[^:\n]{0,38}[^\s:])?")
SHA_DIGITS = 16
SHARDS, EVALUATIONS, RESULT = "shards", "evaluations", "metrics.json"


@dataclass(frozen=True)
class Evaluation:
    """One checkpoint, and its CLIP twin where there is one, on one version.

    top1: of each model and way of asking it, with its 95 % interval.
    """

    checkpoint: str
    pictures: int
    classes: int
    top1: Mapping[str, tuple[float, float, float]]


@dataclass(frozen=True)
class Exported:
    """A frozen version with what was made of it. shards: its folder; None while it is not written whole."""

    version: DatasetVersion
    shards: Path | None
    evaluations: tuple[Evaluation, ...]


def set_names(services: Services) -> list[str]:
    """The sets of novel concepts first, then the other data sets, which may become such."""
    with reading(services.engine) as session:
        begun = list(list_concept_sets(session))
        return begun + [dataset.name for dataset in list_datasets(session) if dataset.name not in begun]


def training_names(services: Services, dataset: str) -> list[tuple[str, str]]:
    """What a set can be compared with, for a menu: (words, value)."""
    found = []
    with reading(services.engine) as session:
        for each in list_datasets(session):
            if each.name != dataset:
                found.append((each.name, json.dumps([each.name, ""])))
                versions = list_versions(session, dataset_id=each.id)
                found += [(f"{each.name}, version {one.name}", json.dumps([each.name, one.name])) for one in versions]
    return found


def labeller(services: Services, person: Person, stated: str) -> str:
    """Who labels: the account where people sign in, else the name that the person states, marked as such.

    Raises: ConceptError: no name.
    """
    if services.people.required:
        return person.name
    name = " ".join(stated.split())
    if not NAME.fullmatch(name) or not name.isprintable():
        raise ConceptError("Say who you are first: a name of up to 40 characters, without a colon.")
    return STATED + name


def steps_of(services: Services, now: Standing) -> list[Step]:
    """All steps, the last one by the files there are."""
    made = exports(services, now)
    measured = sum(len(one.evaluations) for one in made)
    if measured:
        last = Step("evaluate", True, f"{measured:,} evaluations.")
    elif any(one.shards for one in made):
        last = Step("evaluate", False, "Exported: choose a checkpoint and evaluate it.")
    else:
        last = Step("evaluate", False, "Waits for a frozen version, exported.")
    return [*now.steps(), last]


def first_open(steps: Sequence[Step]) -> str:
    """Where a set goes on."""
    return next((step.name for step in steps if not step.done), steps[-1].name)


def exports(services: Services, now: Standing) -> list[Exported]:
    """The frozen versions of a set, newest first, with their shards and evaluations."""
    return [_exported(version, folder_of(services, version)) for version in now.versions]


def folder_of(services: Services, version: DatasetVersion) -> Path:
    """Where the shards and evaluations of a version lie."""
    return services.settings.home / "concepts" / version.sha256[:SHA_DIGITS]


def picture_uri(services: Services, pictures: Pictures, image: Image) -> str:
    """A picture to label, as a data URI; "" where it cannot be had."""
    try:
        return pictures.get(image)[1]
    except RefusedError:
        return ""


def act(services: Services, now: Standing, ask: Mapping[str, Any], person: Person, stated: str) -> str:
    """Do what the page asks by a click or a key; what came of it, in words.

    Args:   ask: `do` and what that needs, as the page's script sends it; nothing in it is trusted.
    Raises: ConceptError: it cannot be done.
    """
    try:
        return _Deed(services, now, ask, person, stated).do()
    except (KeyError, TypeError) as error:
        raise ConceptError(f"The page asked for something incomplete ({error}): reload it.") from error
    except ConceptError:
        raise
    except (ValueError, VersionError) as error:
        raise ConceptError(sentence(error)) from error


class _Deed:
    """One click."""

    def __init__(self, services: Services, now: Standing, ask: Mapping[str, Any], person: Person, stated: str) -> None:
        self.services, self.now, self.ask, self.person, self.stated = services, now, ask, person, stated
        self.engine = services.engine

    def do(self) -> str:
        """Once."""
        deeds = {
            "tell": self._tell,
            "leak": self._leak,
            "fact": self._fact,
            "label": self._label,
            "undo": self._undo,
            "settle": self._settle,
            "take": self._take,
        }
        return deeds[str(self.ask["do"])]()

    def _tell(self) -> str:
        facts = {str(self.ask["fact"]): str(self.ask["value"])}
        tell(self.engine, self._image().id, int(self.ask["version"]), facts, self._name())
        return "Written down."

    def _leak(self) -> str:
        expected, decision = str(self.ask["expected"]), str(self.ask["decision"])
        decide_leak(self.engine, int(self.ask["id"]), expected, decision, self._name())  # type: ignore[arg-type]
        return {"drop": "Dropped; it can be kept again.", "keep": "Kept."}.get(decision, "Open again.")

    def _fact(self) -> str:
        classes = with_fact(self.now.classes, str(self.ask["name"]), str(self.ask["fact"]), str(self.ask["value"]))
        save_classes(
            self.engine,
            self.now.dataset,
            classes,
            who=self._name(),
            expected_version=int(self.ask["version"]),
        )
        return "Saved."

    def _label(self) -> str:
        image, name = self._image(), str(self.ask["label"])
        label(self.engine, image.id, name, labeller(self.services, self.person, self.stated))
        return f"{name}."

    def _undo(self) -> str:
        who = labeller(self.services, self.person, self.stated)
        undone = retrying(self.engine, lambda session: undo_label(session, dataset_id=self.now.dataset_id, who=who))
        return "There is nothing of yours to undo." if undone is None else "Undone: label it anew."

    def _settle(self) -> str:
        image, name = self._image(), str(self.ask["label"])
        settle(self.engine, image.id, int(self.ask["version"]), name, self._name(), "both labels seen")
        return f"Settled: {name}."

    def _take(self) -> str:
        return f"{settle_agreed(self.engine, self.now.dataset, self._name()):,} classes taken over."

    def _image(self) -> Image:
        with reading(self.engine) as session:
            image = get_image(session, image_id=int(self.ask["image"]))
        if image is None or image.dataset_id != self.now.dataset_id:
            raise ConceptError("There is no such picture in this set: reload the page.")
        return image

    def _name(self) -> str:
        """Of whoever decides, for the history: a stated name where there is one."""
        if self.services.people.required or not self.stated.strip():
            return self.person.name
        return labeller(self.services, self.person, self.stated)


# ------------------------------------------------------------------------------------ forms and jobs


def start_import(services: Services, source: str, dataset: str, owner: str) -> int:
    """Queue an import of a folder of found pictures; the id of its job.

    Raises: ConceptError: no folder or no name.
    """
    if not dataset.strip():
        raise ConceptError("The data set needs a name: write one.")
    folder = Path(source.strip()).expanduser()
    if not source.strip() or not folder.is_dir():
        raise ConceptError(f"Expected a folder of pictures on this machine, got {source.strip()!r}: check the path.")
    config = ConceptsConfig(str(folder), dataset.strip(), who=owner)
    return _enqueue(services, "concepts", config, bring_command(config), owner)


def start_check(services: Services, config: LeaksConfig, owner: str) -> int:
    """Queue a leak check.

    Raises: ConceptError: there is nothing to check, or no folder of shards.
    """
    if not standing(services.engine, config.dataset).images:
        raise ConceptError("There are no pictures to check yet: import some first.")
    if config.shards is not None and not (config.shards.expanduser() / "manifest.json").is_file():
        raise ConceptError(f"Expected a folder of shards with its manifest.json, got {config.shards}: check the path.")
    return _enqueue(services, "leaks", config, leaks_command(config), owner)


def check_of(
    dataset: str, training: str, shards: str, distance: float, nearest: float, checkpoint: str, *, itself: bool = False
) -> LeaksConfig:
    """What the form asks for.

    Raises: ConceptError: nothing, or something that cannot be.
    """
    try:
        settings = LeakSettings(int(distance), float(nearest), checkpoint)
        if itself:
            return LeaksConfig(dataset, itself=True, settings=settings)
        if shards.strip():
            return LeaksConfig(dataset, shards=Path(shards.strip()).expanduser(), settings=settings)
        if not training:
            raise ConceptError("Name the training data: a data set, one of its versions or a folder of shards.")
        name, version = json.loads(training)
        return LeaksConfig(dataset, against=str(name), version=str(version), settings=settings)
    except ConceptError:
        raise
    except (ValueError, TypeError) as error:
        raise ConceptError(sentence(error)) from error


def save_form(services: Services, now: Standing, version: int, text: str, licence: str, use: str, who: str) -> None:
    """[Save] of the classes.

    Args:   version: of the set that the form was filled from.
    Raises: ConceptError.
    """
    begin(services.engine, now.dataset, who)
    classes = parse_over(text, now.classes)
    save_classes(
        services.engine,
        now.dataset,
        classes,
        who=who,
        expected_version=version or 1,
        licence=" ".join(licence.split()),
        intended_use=" ".join(use.split()),
    )


def freeze_now(services: Services, dataset: str, name: str, who: str) -> DatasetVersion:
    """[Freeze]. A job then writes the shards.

    Raises: ConceptError: something is missing, or the name is taken.
    """
    try:
        version = freeze_set(services.engine, services.settings.home, dataset, name=name, who=who)
    except ConceptError:
        raise
    except (ValueError, VersionError) as error:
        raise ConceptError(sentence(error)) from error
    start_export(services, dataset, version, who)
    return version


def start_export(services: Services, dataset: str, version: DatasetVersion, owner: str) -> int:
    """Queue the shards of a version; the id of the job.

    Raises: ConceptError.
    """
    out = folder_of(services, version) / SHARDS
    config = ExportConfig("shards", out, dataset=dataset, version=version.name)
    return _enqueue(services, "export", config, export_command(config), owner)


def start_evaluation(services: Services, now: Standing, version: str, checkpoint: str, owner: str) -> int:
    """Queue an evaluation of a checkpoint on an exported version.

    Raises: ConceptError: no such version or checkpoint, or its shards are not there yet.
    """
    found = next((one for one in exports(services, now) if one.version.name == version), None)
    if found is None or found.shards is None:
        raise ConceptError("The version is not exported yet: freeze the set, and let the export end.")
    usable = {each.name: each.folder for each in services.registry.usable()}
    if checkpoint not in usable:
        raise ConceptError(f"Expected a checkpoint that can be used, got {checkpoint!r}: choose another.")
    out = found.shards.parent / EVALUATIONS
    out.mkdir(exist_ok=True)
    words = ["-m", "grain.evaluate", "--models", str(usable[checkpoint]), "--data-sets", str(found.shards)]
    words.append(f"--out={out / checkpoint}")
    config = {"dataset": now.dataset, "version": version, "checkpoint": checkpoint}
    return _enqueue(services, "evaluate", config, words, owner)


def _enqueue(services: Services, kind: str, config: Any, words: Sequence[str], owner: str) -> int:
    plain = config if isinstance(config, dict) else asdict(replace(config, home=None))
    plain = json.loads(json.dumps(plain, default=str))
    try:
        return services.jobs.enqueue(kind=kind, owner=owner, config=plain, argv=[sys.executable, *words])
    except (ValueError, DatabaseError) as error:
        raise ConceptError(sentence(error)) from error


def _exported(version: DatasetVersion, folder: Path) -> Exported:
    mark = _json(folder / SHARDS / "export.json")
    whole = mark.get("state") == "complete" and mark.get("state_sha256") == version.sha256
    files = sorted((folder / EVALUATIONS).glob(f"*/{RESULT}"))
    measured = (_evaluation(_json(file), file.parent.name) for file in files)
    return Exported(version, folder / SHARDS if whole else None, tuple(one for one in measured if one))


def _evaluation(plain: Mapping[str, Any], checkpoint: str) -> Evaluation | None:
    try:
        [seen] = plain["data_sets"]
        top1 = {str(row["row"]): tuple(map(float, row["top1"])) for row in seen["rows"]}
        return Evaluation(checkpoint, int(seen["pictures"]), int(seen["classes"]), top1)  # type: ignore[arg-type]
    except (KeyError, TypeError, ValueError):  # half written, or of another program
        return None


def _json(file: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}

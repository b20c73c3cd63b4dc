"""A data set of novel concepts, as a flow of steps: pictures, leak check, classes, labels, agreement, freeze, evaluate.

How far a set is is read off what is known of it, so that it goes on from any browser, and two people may work at once.
Nothing is deleted: a picture that is not to be used says so among its facts, with who decided it in the history.

`python -m curation.concepts FOLDER --dataset NAME --classes FILE` brings pictures with where and when each was found,
and classes; without either it only prints how the set stands, as a JSON object.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import tyro
from tqdm import tqdm

from curation.agreement import Agreement, Disagreement, agreements, disagreements
from curation.concept_classes import (
    CLASS,
    FACTS,
    LEFT_OUT,
    ClassesError,
    ConceptClass,
    checked,
    from_plain,
    is_settled,
    parse,
    to_plain,
    with_facts_of,
)
from curation.home import database_url, home_folder, report_progress
from curation.ingest import IngestError, Tally, ingest
from curation.leaks import ITSELF, ORDER
from curation.provenance import FOUND_AT, FOUND_ON, ProvenanceError, read_folder
from curation.provenance import checked as checked_provenance
from curation.records import shown
from curation.sources import SourceError
from curation.versions import VersionError, freeze
from db.concept_queries import (
    ConceptConflictError,
    Decision,
    changed_at,
    decide_suspect,
    get_concept_set,
    labels_by_picture,
    leak_checks,
    save_concept_set,
    suspects_of,
)
from db.curate_queries import EditConflictError, ImageChange, edit_image
from db.engine import DatabaseError, Engine, Session, open_engine, reading, retrying
from db.models import ConceptSet, DatasetVersion, Image, LeakCheck, LeakSuspect
from db.queries import batches, find_images, get_dataset, get_image, image_page
from db.version_queries import list_versions, set_label

NONE_OF_THESE = "none of these"
LEAK, NO_CLASS = "lies in training data", "shows none of the classes"
STATED = "stated:"  # before the name of somebody who labels without a login
LABELLERS = 2
PAGE = 1_000
BATCH = 200  # pictures in a transaction
StepName = Literal["pictures", "leaks", "classes", "labels", "agreement", "freeze", "evaluate"]
STEPS: dict[StepName, str] = {
    "pictures": "Pictures",
    "leaks": "Leak check",
    "classes": "Classes",
    "labels": "Labels",
    "agreement": "Agreement",
    "freeze": "Freeze",
    "evaluate": "Evaluate",
}


class ConceptError(ValueError):
    """What was asked cannot be done; one sentence for the person."""


@dataclass(frozen=True)
class Step:
    """How far a step is. said: what is there, or what is missing, in one sentence."""

    name: StepName
    done: bool
    said: str

    @property
    def title(self) -> str:
        """For people."""
        return STEPS[self.name]


@dataclass(frozen=True)
class Standing:
    """All that is known of a set, as of one moment. changed: when it was edited last."""

    dataset: str
    dataset_id: int
    concept: ConceptSet | None
    images: tuple[Image, ...]
    labels: Mapping[int, Mapping[str, str]]
    checks: tuple[LeakCheck, ...]
    suspects: tuple[LeakSuspect, ...]
    versions: tuple[DatasetVersion, ...]
    changed: datetime | None

    @cached_property
    def classes(self) -> list[ConceptClass]:
        """In their order."""
        return from_plain(self.concept.classes) if self.concept else []

    @cached_property
    def kept(self) -> list[Image]:
        """The pictures that are used."""
        return [image for image in self.images if not (image.facts or {}).get(LEFT_OUT)]

    @cached_property
    def kept_labels(self) -> dict[int, dict[str, str]]:
        """The labels of those."""
        return {image.id: dict(self.labels.get(image.id, {})) for image in self.kept}

    @cached_property
    def labelled(self) -> dict[str, int]:
        """Person -> pictures that are used and that this person labelled, most first."""
        counts: dict[str, int] = {}
        for said in self.kept_labels.values():
            for who in said:
                counts[who] = counts.get(who, 0) + 1
        return dict(sorted(counts.items(), key=lambda item: -item[1]))

    @cached_property
    def unfound(self) -> list[Image]:
        """Used pictures of which nobody says where and when they were found."""
        return [image for image in self.kept if not all((image.facts or {}).get(name) for name in (FOUND_AT, FOUND_ON))]

    @cached_property
    def undecided(self) -> list[LeakSuspect]:
        """Suspects without a decision, of pictures that are used."""
        kept = {image.id for image in self.kept}
        return [one for one in self.suspects if not one.decision and one.image_id in kept]

    @property
    def everybody_labelled(self) -> bool:
        """Whether two people have labelled every picture: before, nobody is shown what another said."""
        return bool(self.kept) and all(len(said) >= LABELLERS for said in self.kept_labels.values())

    @cached_property
    def judged_labels(self) -> dict[int, dict[str, str]]:
        """The labels of all pictures but those dropped as leaks: one that shows none of the classes was judged, too."""
        judged = [image.id for image in self.images if (image.facts or {}).get(LEFT_OUT, NO_CLASS) == NO_CLASS]
        return {number: dict(self.labels[number]) for number in judged if number in self.labels}

    def agreements(self) -> list[Agreement]:
        """Each pair of labellers."""
        return agreements(self.judged_labels)

    def disagreements(self) -> list[Disagreement]:
        """Who differs where."""
        return disagreements(self.judged_labels)

    def is_settled(self, image: Image) -> bool:
        """Whether its class is decided."""
        return is_settled(image.facts or {}, {one.name for one in self.classes})

    def agreed(self) -> list[tuple[Image, str]]:
        """Pictures on which everybody who labelled them agrees, two or more, and that are not settled yet."""
        return [
            (image, next(iter(said.values())))
            for image in self.kept
            if len(said := self.kept_labels[image.id]) >= LABELLERS
            and len({*said.values()}) == 1
            and not self.is_settled(image)
        ]

    def next_unlabelled(self, who: str, after: int = 0) -> Image | None:
        """The next picture that a person has not labelled, behind one and then from the start; None when all are."""
        left = [image for image in self.kept if who not in self.kept_labels[image.id]]
        return next((image for image in left if image.id > after), left[0] if left else None)

    def steps(self) -> list[Step]:
        """In their order; `evaluate` is known by files, and so to whoever keeps them."""
        return [self._pictures(), self._leaks(), self._classes(), self._labels(), self._agreement(), self._frozen()]

    def _pictures(self) -> Step:
        if not self.images:
            return Step("pictures", False, "No pictures yet: import a folder.")
        out = len(self.images) - len(self.kept)
        said = f"{len(self.kept):,} pictures" + f", {out:,} left out" * bool(out)
        if missing := len(self.unfound):
            return Step("pictures", False, f"{said}; {missing:,} lack where or when they were found: write it down.")
        return Step("pictures", bool(self.kept), f"{said}, each with where and when it was found.")

    def _leaks(self) -> Step:
        against = [check for check in self.checks if check.against != ITSELF]
        if not against:
            return Step("leaks", False, "Not compared with any training data yet: name some.")
        newest = max((image.id for image in self.kept), default=0)
        late = sum(image.id > max(check.checked_to for check in against) for image in self.kept)
        if newest > min(check.checked_to for check in against):
            return Step("leaks", False, f"Pictures came after a check ({late or 1:,} or more): run it again.")
        if self.undecided:
            return Step("leaks", False, f"{len(self.undecided):,} suspects wait for a decision: keep or drop.")
        compared = sum(check.compared for check in against)
        return Step("leaks", True, f"Compared with {compared:,} training pictures; every suspect is decided.")

    def _classes(self) -> Step:
        if len(self.classes) < 2:
            return Step("classes", False, f"{len(self.classes)} of at least 2 classes: write them.")
        if bare := [one.name for one in self.classes if not one.descriptions]:
            return Step(
                "classes", False, f"{len(bare):,} classes lack descriptions, {shown(bare[0])} first: write some."
            )
        missing = {name: sum(not getattr(one, field) for one in self.classes) for name, field in FACTS.items()}
        aside = ", ".join(f"{count} without {name}" for name, count in missing.items() if count)
        return Step(
            "classes", True, f"{len(self.classes):,} classes with descriptions" + f" ({aside})" * bool(aside) + "."
        )

    def _labels(self) -> Step:
        if not self.kept:
            return Step("labels", False, "No pictures to label yet.")
        done = sum(len(said) >= LABELLERS for said in self.kept_labels.values())
        people = ", ".join(f"{called(who)} {count:,}" for who, count in self.labelled.items())
        said = f"{done:,} of {len(self.kept):,} pictures labelled by two people" + f" ({people})" * bool(people)
        return Step("labels", self.everybody_labelled, said + ".")

    def _agreement(self) -> Step:
        if not self.everybody_labelled:
            return Step("agreement", False, "Waits for two labels of every picture.")
        left = [image for image in self.kept if not self.is_settled(image)]
        if left:
            differ = len(left) - len(self.agreed())
            return Step("agreement", False, f"{len(left):,} classes are not settled, {differ:,} of them disputed.")
        return Step("agreement", True, f"All {len(self.kept):,} classes are settled.")

    def _frozen(self) -> Step:
        if not self.versions:
            return Step("freeze", False, "Not frozen yet.")
        last = self.versions[0]
        if self.changed is not None and self.changed > last.created_at:
            return Step("freeze", False, f"Changed since version {last.name}: freeze it again.")
        return Step("freeze", True, f"Version {last.name}, sha256 {last.sha256[:12]}….")


def called(who: str) -> str:
    """A labeller's name, as people call each other."""
    return who.removeprefix(STATED)


def standing(engine: Engine, dataset: str) -> Standing:
    """How a set stands.

    Raises: ConceptError: there is no such data set.
    """
    with reading(engine) as session:
        dataset_id = _dataset_id(session, dataset)
        images: list[Image] = []
        while page := image_page(session, dataset_id=dataset_id, after=images[-1].id if images else 0, limit=PAGE):
            images += page
        return Standing(
            dataset,
            dataset_id,
            get_concept_set(session, dataset_id=dataset_id),
            tuple(images),
            labels_by_picture(session, dataset_id=dataset_id),
            tuple(leak_checks(session, dataset_id=dataset_id)),
            tuple(suspects_of(session, dataset_id=dataset_id)),
            tuple(list_versions(session, dataset_id=dataset_id)),
            changed_at(session, dataset_id=dataset_id),
        )


# ------------------------------------------------------------------------------------ pictures


@dataclass(frozen=True)
class Brought:
    """What an import did. told: pictures that are now known to have been found somewhere. problems: of the words."""

    tally: Tally
    told: int
    problems: tuple[str, ...]


def bring(
    engine: Engine,
    home: Path,
    source: Path,
    *,
    dataset: str,
    who: str,
    on_progress: Callable[[Tally], None] = lambda tally: None,
) -> Brought:
    """Import a folder's pictures, with where and when each was found. What is known already is never overruled.

    Raises: as ingest. ConceptError: no folder. ProvenanceError: its table cannot be read; nothing was imported.
    """
    source = source.expanduser().absolute()
    if not source.is_dir():
        raise ConceptError(f"expected a folder of pictures with their metadata, got {source}: give the folder")
    found = read_folder(source)
    tally = ingest(engine, source, dataset=dataset, home=home, on_progress=on_progress)
    begin(engine, dataset, who)
    told = 0
    for some in batches(_images_in(engine, dataset, source), BATCH):
        told += retrying(engine, partial(_tell, images=some, found=found, who=who))
    problems = [f"{Path(path).name}: {problem}" for path, one in sorted(found.items()) for problem in one.problems]
    return Brought(tally, told, tuple(problems))


def begin(engine: Engine, dataset: str, who: str) -> None:
    """Make a data set one of novel concepts, if it is none yet.

    Raises: ConceptError: there is no such data set.
    """
    retrying(
        engine,
        lambda session: save_concept_set(
            session, dataset_id=_dataset_id(session, dataset), who=who, expected_version=0
        ),
    )


def tell(engine: Engine, image_id: int, expected_version: int, facts: Mapping[str, str], who: str) -> None:
    """Write down where or when a picture was found. facts: by FOUND_AT and FOUND_ON; "" takes one away.

    Raises: ConceptError: no such day, or somebody was quicker.
    """
    try:
        today = datetime.now(UTC).date()
        said = {name: checked_provenance(name, value, today=today) for name, value in facts.items() if value.strip()}
    except ProvenanceError as error:
        raise ConceptError(str(error)) from error
    gone = facts.keys() - said.keys()

    def change(facts: dict[str, str]) -> dict[str, str]:
        return {name: value for name, value in (facts | said).items() if name not in gone}

    _edit_facts(engine, image_id, expected_version, change, who, "where it was found")


def _images_in(engine: Engine, dataset: str, folder: Path) -> list[Image]:
    return [image for image in standing(engine, dataset).images if Path(image.location).is_relative_to(folder)]


def _tell(session: Session, *, images: Sequence[Image], found: Mapping[str, Any], who: str) -> int:
    """Facts of some pictures that have none of the name yet; how many were told something."""
    there = find_images(session, dataset_id=images[0].dataset_id, sha256s=[image.sha256 for image in images])
    told = 0
    for image in there.values():
        said = found[image.location].facts if image.location in found and not image.member else {}
        new = {name: value for name, value in said.items() if not (image.facts or {}).get(name)}
        if new:
            change = ImageChange(facts={**(image.facts or {}), **new})
            edit_image(
                session, image_id=image.id, expected_version=image.version, who=who, change=change, reason="import"
            )
            told += 1
    return told


# ------------------------------------------------------------------------------------ leaks


def decide_leak(engine: Engine, suspect_id: int, expected: Decision, decision: Decision, who: str) -> None:
    """Keep a suspect or drop it; a picture is left out while one suspect of it is to be dropped.

    Raises: ConceptError: somebody decided otherwise meanwhile, or it is suspected no more.
    """

    def write(session: Session) -> None:
        row = decide_suspect(session, suspect_id=suspect_id, expected=expected, decision=decision, who=who)
        image = get_image(session, image_id=row.image_id)
        assert image is not None
        drops = any(
            one.decision == "drop"
            for one in suspects_of(session, dataset_id=row.dataset_id)
            if one.image_id == image.id
        )
        facts = dict(image.facts or {})
        was = facts.get(LEFT_OUT, "")
        if drops:
            facts[LEFT_OUT] = was or f"{LEAK}: {row.against}"
        elif was.startswith(LEAK):
            del facts[LEFT_OUT]
        change = ImageChange(facts=facts)
        edit_image(
            session, image_id=image.id, expected_version=image.version, who=who, change=change, reason="leak check"
        )

    _said(engine, write)


# ------------------------------------------------------------------------------------ classes


def save_classes(
    engine: Engine,
    dataset: str,
    classes: Sequence[ConceptClass],
    *,
    who: str,
    expected_version: int,
    licence: str | None = None,
    intended_use: str | None = None,
) -> ConceptSet:
    """Put a class list in the place of the one there is, and say what may be done with the set.

    Raises: ConceptError: the list has errors, leaves out a class that pictures have, or somebody was quicker.
    """
    try:
        classes = checked(classes)
    except ClassesError as error:
        raise ConceptError(str(error)) from error
    names = {one.name for one in classes} | {NONE_OF_THESE}
    if NONE_OF_THESE in {one.name.casefold() for one in classes}:
        raise ConceptError(f"expected names of concepts, got {NONE_OF_THESE!r}, which every labeller can say anyway")

    def write(session: Session) -> ConceptSet:
        dataset_id = _dataset_id(session, dataset)
        used = {label for said in labels_by_picture(session, dataset_id=dataset_id).values() for label in said.values()}
        if gone := sorted(used - names):
            raise ConceptError(
                f"expected {shown(gone[0])} among the classes, since pictures are labelled with it: keep it, or label "
                "those pictures anew"
            )
        return save_concept_set(
            session,
            dataset_id=dataset_id,
            who=who,
            expected_version=expected_version,
            classes=to_plain(classes),
            licence=licence,
            intended_use=intended_use,
        )

    saved: ConceptSet = _said(engine, write)
    return saved


def parse_over(text: str, before: Sequence[ConceptClass]) -> list[ConceptClass]:
    """Classes as a person typed them, with the facts that they had.

    Raises: ConceptError.
    """
    try:
        return with_facts_of(parse(text), before)
    except ClassesError as error:
        raise ConceptError(str(error)) from error


def with_fact(classes: Sequence[ConceptClass], name: str, fact: str, value: str) -> list[ConceptClass]:
    """The classes, one of them with another product class, brand or release date.

    Raises: ConceptError: there is no such class or fact, or no such date.
    """
    if fact not in FACTS or name not in {one.name for one in classes}:
        raise ConceptError(f"expected a class and one of {', '.join(FACTS)}, got {shown(name)} and {shown(fact)}")
    try:
        changed: Any = {FACTS[fact]: value}
        return checked([replace(one, **changed) if one.name == name else one for one in classes])
    except ClassesError as error:
        raise ConceptError(str(error)) from error


# ------------------------------------------------------------------------------------ labels and what they come to


def label(engine: Engine, image_id: int, name: str, who: str) -> None:
    """What a person takes a picture for.

    Raises: ConceptError: no such picture or class.
    """

    def write(session: Session) -> None:
        image = get_image(session, image_id=image_id)
        if image is None:
            raise ConceptError(f"There is no picture {image_id}: reload the page.")
        _must_be_a_class(session, image, name)
        set_label(session, image_id=image_id, who=who, label=name)

    _said(engine, write)


def settle(engine: Engine, image_id: int, expected_version: int, name: str, who: str, reason: str) -> None:
    """Decide a picture's class, with what is known of that class; of none of these, leave the picture out.

    Raises: ConceptError: no such class, or somebody was quicker.
    """

    def write(session: Session) -> None:
        image = get_image(session, image_id=image_id)
        if image is None:
            raise ConceptError(f"There is no picture {image_id}: reload the page.")
        _settle(session, image, expected_version, name, who, reason)

    _said(engine, write)


def settle_agreed(engine: Engine, dataset: str, who: str) -> int:
    """Take over what everybody who labelled a picture says of it; how many pictures.

    Raises: ConceptError: not everybody is done.
    """
    now = standing(engine, dataset)
    if not now.everybody_labelled:
        raise ConceptError("Two people have to label every picture first.")
    for some in batches(now.agreed(), BATCH):

        def write(session: Session, some: list[tuple[Image, str]] = some) -> None:
            for image, name in some:
                people = " and ".join(called(person) for person in now.kept_labels[image.id])
                _settle(session, image, image.version, name, who, f"{people} agree")

        _said(engine, write)
    return len(now.agreed())


def _settle(session: Session, image: Image, expected_version: int, name: str, who: str, reason: str) -> None:
    found = _must_be_a_class(session, image, name)
    if (image.facts or {}).get(LEFT_OUT, NO_CLASS) != NO_CLASS:
        raise ConceptError("This picture is left out as a leak: keep it first.")
    facts = {key: value for key, value in (image.facts or {}).items() if key not in (CLASS, LEFT_OUT, *FACTS)}
    facts |= {CLASS: found.name, **found.facts()} if found else {LEFT_OUT: NO_CLASS}
    edit_image(
        session,
        image_id=image.id,
        expected_version=expected_version,
        who=who,
        change=ImageChange(facts=facts),
        reason=reason,
    )


def _must_be_a_class(session: Session, image: Image, name: str) -> ConceptClass | None:
    """The class of that name; None for none of these.

    Raises: ConceptError.
    """
    concept = get_concept_set(session, dataset_id=image.dataset_id)
    for one in from_plain(concept.classes) if concept else []:
        if one.name == name:
            return one
    if name != NONE_OF_THESE:
        raise ConceptError(f"expected one of the classes, got {shown(name)}: reload the page, they may have changed")
    return None


# ------------------------------------------------------------------------------------ freeze


def freeze_set(engine: Engine, home: Path, dataset: str, *, name: str, who: str) -> DatasetVersion:
    """Freeze a set with its classes, where its pictures come from, how they were labelled and the leak check.

    Raises: ConceptError: something is missing; says what. VersionError: as freeze. ValueError: the name is no name.
    """
    now = standing(engine, dataset)
    if missing := [step for step in now.steps() if not step.done and step.name != "freeze"]:
        raise ConceptError(f"{missing[0].title} first: {missing[0].said}")
    if not name.strip():
        raise ConceptError("The version needs a name: write one, such as v1.")
    return freeze(
        engine,
        home,
        dataset=dataset,
        name=name.strip(),
        who=called(who),
        concepts=frozen_facts(now),
        note="novel concepts",
    )


def frozen_facts(now: Standing) -> dict[str, Any]:
    """What is frozen with the pictures, plain JSON: sentences name no person."""
    assert now.concept is not None
    return {
        "classes": to_plain(now.classes),
        "licence": now.concept.licence,
        "intended_use": now.concept.intended_use,
        "provenance": _provenance(now),
        "labelling": _labelling(now),
        "leaks": _leak_report(now),
    }


def _provenance(now: Standing) -> list[str]:
    days = sorted(day for image in now.kept if (day := (image.facts or {}).get(FOUND_ON)))
    released = sorted(one.release_date for one in now.classes if one.release_date)
    found = [f"{len(now.kept):,} pictures, found from {days[0]} to {days[-1]}; each says where."] if days else []
    return found + ([f"The concepts were released from {released[0]} to {released[-1]}."] if released else [])


def _labelling(now: Standing) -> list[str]:
    said = []
    for one in now.agreements():
        kappa = "not defined, since both used one label only"
        if one.kappa is not None:
            how = "" if one.low is None else ", 95 % bootstrap over pictures"
            kappa = f"{one.kappa:.2f} {one.interval}{how}"
        said.append(
            f"Two people labelled {one.pictures:,} pictures without seeing each other's labels and agreed on "
            f"{one.agreed:,}: Cohen's kappa {kappa}."
        )
    disputed = len(now.disagreements())
    said += [f"{disputed:,} disputed pictures were decided by a person who saw both labels."] * bool(disputed)
    named = any(who.startswith(STATED) for who in now.labelled)
    return said + ["The labellers stated their names themselves, without a login."] * named


def _leak_report(now: Standing) -> list[str]:
    said = []
    for check in now.checks:
        mine = [one for one in now.suspects if one.against == check.against]
        kinds = ", ".join(f"{sum(one.how == how for one in mine):,} by {how}" for how in ORDER)
        rules = f"looks at most {check.settings['distance']} of 64 bits apart"
        if model := check.settings.get("checkpoint"):
            rules += f", embeddings of {Path(str(model)).name} with a cosine of at least {check.settings['nearest']:g}"
        dropped = sum(one.decision == "drop" for one in mine)
        said.append(
            f"{check.checked:,} pictures against {_without_folder(check.against)} ({check.compared:,} pictures"
            + f", {check.skipped:,} of them by content only" * bool(check.skipped)
            + f"): {len(mine):,} suspects ({kinds}; {rules}), of which {dropped:,} dropped and {len(mine) - dropped:,} "
            "kept by a person."
        )
    return said


def _without_folder(against: str) -> str:
    """A set of training data as others may read of it: the folders of this machine are nobody's business."""
    words, slash, path = against.partition("/")
    return words + Path(path).name if slash else against


# ------------------------------------------------------------------------------------ shared


def _dataset_id(session: Session, name: str) -> int:
    found = get_dataset(session, name=name)
    if found is None:
        raise ConceptError(f"expected the name of a data set, got {name!r}, which none has: import pictures first")
    return found.id


def _edit_facts(
    engine: Engine,
    image_id: int,
    expected_version: int,
    change: Callable[[dict[str, str]], dict[str, str]],
    who: str,
    reason: str,
) -> None:
    def write(session: Session) -> None:
        image = get_image(session, image_id=image_id)
        if image is None:
            raise ConceptError(f"There is no picture {image_id}: reload the page.")
        facts = ImageChange(facts=change(dict(image.facts or {})))
        edit_image(session, image_id=image_id, expected_version=expected_version, who=who, change=facts, reason=reason)

    _said(engine, write)


def _said(engine: Engine, work: Callable[[Session], Any]) -> Any:
    """Do work in a transaction; conflicts become sentences.

    Raises: ConceptError.
    """
    try:
        return retrying(engine, work)
    except ConceptError:
        raise
    except (EditConflictError, ConceptConflictError, ValueError) as error:
        text = str(error)
        raise ConceptError(f"{text[0].upper()}{text[1:]}.") from error


# ------------------------------------------------------------------------------------ the command line


@dataclass(frozen=True)
class ConceptsConfig:
    """Bring pictures and classes into a novel-concept data set; prints how it stands as one JSON object."""

    source: tyro.conf.Positional[str] = ""
    """Folder of pictures with metadata.csv, metadata.jsonl or a JSON beside each; left out: bring none."""
    dataset: str = tyro.MISSING
    """Its name; made where there is none."""
    classes: Path | None = None
    """File of classes: lines `name: description; description`, DCLIP's or CuPL's JSON, or ours."""
    licence: str = ""
    """Of the pictures, for the data card; left out: as it is."""
    who: str = "import"
    """Who does it, for the history."""
    home: Path | None = None
    """Where database and thumbnails lie; by default GRAIN_HOME."""


def command_line(config: ConceptsConfig) -> list[str]:
    """The words that run it from a terminal, after the name of Python."""
    flags = {name: getattr(config, name) for name in ("dataset", "classes", "licence", "who", "home")}
    words = [f"--{name}={value}" for name, value in flags.items() if value]
    return ["-m", "curation.concepts", *words, *([str(Path(config.source).absolute())] if config.source else [])]


def main(config: ConceptsConfig) -> None:
    """The command line."""
    home = config.home.expanduser().absolute() if config.home else home_folder()
    engine = open_engine(database_url(home))
    answer: dict[str, Any] = {"dataset": config.dataset}
    try:
        if config.source:
            with tqdm(unit=" pictures", smoothing=0.1) as bar:

                def show(tally: Tally) -> None:
                    bar.update(tally.seen - bar.n)
                    report_progress(tally.seen, tally.total or 0, f"{tally.added:,} pictures added")

                brought = bring(
                    engine, home, Path(config.source), dataset=config.dataset, who=config.who, on_progress=show
                )
            answer |= {**brought.tally.to_json(), "told": brought.told, "problems": list(brought.problems)}
            left = f", {len(brought.problems):,} words not understood" * bool(brought.problems)
            report_progress(
                brought.tally.seen,
                brought.tally.seen,
                f"{brought.tally.added:,} pictures added, {brought.told:,} with where or when they were found{left}",
            )
        if config.classes or config.licence:
            _bring_classes(engine, config)
        now = standing(engine, config.dataset)
    finally:
        engine.dispose()
    answer["steps"] = {step.name: {"done": step.done, "said": step.said} for step in now.steps()}
    if now.everybody_labelled:
        answer["agreement"] = [vars(one) for one in now.agreements()]
        answer["disagreements"] = [{"picture": one.image_id, **one.labels} for one in now.disagreements()]
    json.dump(answer, sys.stdout, indent=1, ensure_ascii=False)
    print()


def _bring_classes(engine: Engine, config: ConceptsConfig) -> None:
    begin(engine, config.dataset, config.who)
    now = standing(engine, config.dataset)
    assert now.concept is not None
    classes = now.classes
    if config.classes:
        try:
            classes = parse_over(config.classes.expanduser().read_text(encoding="utf-8-sig"), classes)
        except UnicodeDecodeError as error:
            raise ConceptError(f"{config.classes} is no UTF-8 text: save it again") from error
    save_classes(
        engine,
        config.dataset,
        classes,
        who=config.who,
        expected_version=now.concept.version,
        licence=config.licence or None,
    )


if __name__ == "__main__":
    try:
        main(tyro.cli(ConceptsConfig))
    except (ValueError, OSError, SourceError, IngestError, VersionError, DatabaseError) as error:
        sys.exit(f"curation.concepts: {error}")
    except KeyboardInterrupt:
        sys.exit("curation.concepts: stopped: the same command goes on")

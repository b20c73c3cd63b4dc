"""Know how far a novel-concept data set is: pictures, leak check, classes, labels, agreement, freeze, evaluate.

The status is read from the database, so that work resumes from any browser and two people may work at once. Nothing is
deleted: a picture that is not used has the reason among its facts, and its author in the history.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Literal

from curation.audit.agreement import Agreement, Disagreement, agreements, disagreements
from curation.concepts.compare import ITSELF
from curation.exchange.concept_classes import FACTS, LEFT_OUT, ConceptClass, from_plain, is_settled
from curation.files.records import CLASS, shown
from curation.ingest.provenance import FOUND_AT, FOUND_ON
from db.engine import Engine, Session, reading
from db.models import ConceptSet, DatasetVersion, Image, LeakCheck, LeakSuspect
from db.queries.concept_label_queries import NONE_OF_THESE, labels_by_picture
from db.queries.concept_queries import changed_at, get_concept_set, leak_checks, suspects_of
from db.queries.data_set_queries import get_dataset, image_page
from db.queries.history_queries import last_editors
from db.queries.version_queries import list_versions
from user_errors import UserError

LEAK = "lies in training data"
NO_CLASS = "shows none of the classes"
BOTH_SEEN = "both labels seen"  # the reason of a decision on a disputed picture
STATED = "stated:"  # before the name of somebody who labels without a login
LABELLERS = 2
PAGE = 1_000
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


@dataclass(frozen=True)
class Step:
    """A step and whether it is done.

    message: what is there, or what is missing, in one sentence.
    """

    name: StepName
    done: bool
    message: str

    @property
    def title(self) -> str:
        """Return the step's title for people."""
        return STEPS[self.name]


@dataclass(frozen=True)
class ConceptSetStatus:
    """The status of a novel-concept data set, as of one moment.

    deciders: the people who decided the class of a disputed picture, by picture. changed: time of the last edit.
    """

    dataset: str
    dataset_id: int
    concept: ConceptSet | None
    images: tuple[Image, ...]
    labels: Mapping[int, Mapping[str, str]]
    checks: tuple[LeakCheck, ...]
    suspects: tuple[LeakSuspect, ...]
    versions: tuple[DatasetVersion, ...]
    deciders: Mapping[int, str]
    changed: datetime | None

    @cached_property
    def classes(self) -> list[ConceptClass]:
        """Return the classes in their order."""
        return from_plain(self.concept.classes) if self.concept else []

    @cached_property
    def kept(self) -> list[Image]:
        """Return the pictures that are used."""
        return [
            image for image in self.images if not (image.facts or {}).get(LEFT_OUT) and image.id not in self.dropped
        ]

    @cached_property
    def dropped(self) -> set[int]:
        """Return the ids of the pictures that are to be dropped as leaks, whatever their facts say."""
        return {one.image_id for one in self.suspects if one.decision == "drop"}

    @cached_property
    def unmarked(self) -> set[int]:
        """Return the ids of the pictures to be dropped whose reason was removed elsewhere, as on Curate."""
        return {image.id for image in self.images if image.id in self.dropped and not (image.facts or {}).get(LEFT_OUT)}

    @cached_property
    def kept_labels(self) -> dict[int, dict[str, str]]:
        """Return the labels of the used pictures."""
        return {image.id: dict(self.labels.get(image.id, {})) for image in self.kept}

    @cached_property
    def labelled(self) -> dict[str, int]:
        """Count the used pictures that each person labelled, most first."""
        counts: dict[str, int] = {}
        for labels in self.kept_labels.values():
            for who in labels:
                counts[who] = counts.get(who, 0) + 1
        return dict(sorted(counts.items(), key=lambda item: -item[1]))

    @cached_property
    def unfound(self) -> list[Image]:
        """Return the used pictures without where or when they were found."""
        return [image for image in self.kept if not all((image.facts or {}).get(name) for name in (FOUND_AT, FOUND_ON))]

    @cached_property
    def undecided(self) -> list[LeakSuspect]:
        """Return the suspects without a decision, of used pictures."""
        kept = {image.id for image in self.kept}
        return [one for one in self.suspects if not one.decision and one.image_id in kept]

    @property
    def everybody_labelled(self) -> bool:
        """Return whether two people labelled every picture: only then are others' labels shown."""
        return bool(self.kept) and all(len(labels) >= LABELLERS for labels in self.kept_labels.values())

    @cached_property
    def judged_labels(self) -> dict[int, dict[str, str]]:
        """Return the labels of all pictures except dropped leaks; "none of these" is a label, too."""
        judged = [image.id for image in self.images if (image.facts or {}).get(LEFT_OUT, NO_CLASS) == NO_CLASS]
        return {
            number: dict(self.labels[number])
            for number in judged
            if number in self.labels and number not in self.dropped
        }

    def agreements(self) -> list[Agreement]:
        """Return the agreement of each pair of labellers."""
        return agreements(self.judged_labels)

    def disagreements(self) -> list[Disagreement]:
        """Return the pictures whose labels differ."""
        return disagreements(self.judged_labels)

    def decided_disagreements(self) -> tuple[int, int]:
        """Return how many disputed pictures a third person decided, and how many one of their labellers."""
        disputed = [one for one in self.disagreements() if one.image_id in self.deciders]
        own = sum(self.is_own_decision(one.image_id) for one in disputed)
        return len(disputed) - own, own

    def is_own_decision(self, image_id: int) -> bool:
        """Return whether one of a picture's labellers decided its class."""
        decider = person_name(self.deciders.get(image_id, ""))
        return decider in {person_name(who) for who in self.labels.get(image_id, {})}

    def is_settled(self, image: Image) -> bool:
        """Return whether a picture's class is decided."""
        return is_settled(image.facts or {}, {one.name for one in self.classes})

    def agreed(self) -> list[tuple[Image, str]]:
        """Return the unsettled pictures on which all labellers, two or more, agree."""
        return [
            (image, next(iter(labels.values())))
            for image in self.kept
            if len(labels := self.kept_labels[image.id]) >= LABELLERS
            and len({*labels.values()}) == 1
            and not self.is_settled(image)
        ]

    def next_unlabelled(self, who: str, after: int = 0) -> Image | None:
        """Return a person's next unlabelled picture after one, then from the start; None when all are done."""
        left = [image for image in self.kept if who not in self.kept_labels[image.id]]
        return next((image for image in left if image.id > after), left[0] if left else None)

    def steps(self) -> list[Step]:
        """Return the steps in their order, without `evaluate`, which only the page's files know."""
        return [self._pictures(), self._leaks(), self._classes(), self._labels(), self._agreement(), self._frozen()]

    def _pictures(self) -> Step:
        if not self.images:
            return Step("pictures", False, "No pictures yet: import a folder.")
        out = len(self.images) - len(self.kept)
        counts = f"{len(self.kept):,} pictures" + f", {out:,} left out" * bool(out)
        if missing := len(self.unfound):
            return Step("pictures", False, f"{counts}; {missing:,} lack where or when they were found: write it down.")
        return Step("pictures", bool(self.kept), f"{counts}, each with where and when it was found.")

    def _leaks(self) -> Step:
        against = [check for check in self.checks if check.against != ITSELF]
        if not against:
            return Step("leaks", False, "Not compared with any training data yet: name some.")
        newest = max((image.id for image in self.kept), default=0)
        late = sum(image.id > max(check.checked_to for check in against) for image in self.kept)
        if newest > min(check.checked_to for check in against):
            return Step("leaks", False, f"Pictures came after a check ({late or 1:,} or more): run it again.")
        if undecided := len(self.undecided):
            waiting = "1 suspect waits" if undecided == 1 else f"{undecided:,} suspects wait"
            return Step("leaks", False, f"{waiting} for a decision: keep or drop.")
        if lost := len(self.unmarked):
            what = "1 dropped picture lost its mark" if lost == 1 else f"{lost:,} dropped pictures lost their marks"
            return Step("leaks", False, f"{what}: drop or keep again.")
        compared = sum(check.compared for check in against)
        return Step("leaks", True, f"Compared with {compared:,} training pictures; every suspect is decided.")

    def _classes(self) -> Step:
        if len(self.classes) < 2:
            return Step("classes", False, f"{len(self.classes)} of at least 2 classes: write them.")
        if bare := [one.name for one in self.classes if not one.descriptions]:
            many = f"{len(bare):,} of {len(self.classes):,} classes"
            return Step("classes", False, f"{many} without descriptions, {shown(bare[0])} first: write some.")
        missing = {name: sum(not getattr(one, field) for one in self.classes) for name, field in FACTS.items()}
        aside = ", ".join(f"{count} without {name}" for name, count in missing.items() if count)
        return Step(
            "classes", True, f"{len(self.classes):,} classes with descriptions" + f" ({aside})" * bool(aside) + "."
        )

    def _labels(self) -> Step:
        if not self.kept:
            return Step("labels", False, "No pictures to label yet.")
        labelled = sum(len(progress) >= LABELLERS for progress in self.kept_labels.values())
        people = ", ".join(f"{person_name(who)} {count:,}" for who, count in self.labelled.items())
        progress = f"{labelled:,} of {len(self.kept):,} pictures labelled by two people" + f" ({people})" * bool(people)
        return Step("labels", self.everybody_labelled, progress + ".")

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


def settled_class(image: Image) -> str:
    """Return the class that was settled, "none of these" included; "" for none yet."""
    facts = image.facts or {}
    return NONE_OF_THESE if facts.get(LEFT_OUT) else facts.get(CLASS, "")


def person_name(who: str) -> str:
    """Return a labeller's name for people."""
    return who.removeprefix(STATED)


def status_of(engine: Engine, dataset: str) -> ConceptSetStatus:
    """Return the status of a set.

    Raises: UserError: there is no such data set.
    """
    with reading(engine) as session:
        dataset_id = dataset_id_of(session, dataset)
        images = images_of(session, dataset_id)
        labels = labels_by_picture(session, dataset_id=dataset_id)
        disputed = [number for number, by in labels.items() if len({*by.values()}) > 1]
        return ConceptSetStatus(
            dataset,
            dataset_id,
            get_concept_set(session, dataset_id=dataset_id),
            tuple(images),
            labels,
            tuple(leak_checks(session, dataset_id=dataset_id)),
            tuple(suspects_of(session, dataset_id=dataset_id)),
            tuple(list_versions(session, dataset_id=dataset_id)),
            last_editors(session, image_ids=disputed, reason=BOTH_SEEN),
            changed_at(session, dataset_id=dataset_id),
        )


def images_of(session: Session, dataset_id: int) -> list[Image]:
    """Return all pictures of a set, in the order in which they came."""
    images: list[Image] = []
    while page := image_page(session, dataset_id=dataset_id, after=images[-1].id if images else 0, limit=PAGE):
        images += page
    return images


def dataset_id_of(session: Session, name: str) -> int:
    """Return the id of the data set of that name.

    Raises: UserError: there is none.
    """
    found = get_dataset(session, name=name)
    if found is None:
        raise UserError(f"expected the name of a data set, got {name!r}, which none has: import pictures first")
    return found.id

"""What the Curate page asks: pages of regions, one picture to work on, edits, counts; pictures decoded ahead."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Any, cast, get_args

from app.atlases import chosen_by, outliers_of
from app.draw import Box
from app.looking import sentence
from app.registry import UnknownCheckpointError
from app.services import Services
from app.shown import Pictures
from curation.decode import RefusedError
from curation.embeddings import EmbeddingError
from db.curate_queries import (
    AnnotationChange,
    EditConflictError,
    ImageChange,
    Throughput,
    add_annotation_by_hand,
    delete_annotation,
    edit_annotation,
    edit_image,
    get_annotation,
    history_page,
    region_of,
    restore_annotation,
    set_status,
    throughput,
    undo_last,
)
from db.engine import reading, retrying, transaction
from db.gallery_queries import (
    CurateFilter,
    Similarity,
    Sort,
    SourceCount,
    count_by_status,
    curate_page,
    index_annotations,
    listed_page,
    set_similarities,
)
from db.models import Annotation, AnnotationEdit, AnnotationRun, Review, Status, now
from db.models import Image as Picture
from db.queries import VISIBLE, annotations_of, get_dataset, get_image
from db.run_queries import list_runs

PAGE = 50  # regions of a gallery's page
READY = 3  # pictures that are decoded before their turn
HISTORY = 30
DAYS = 14  # of the throughput
INDEX_SECONDS = 0.5  # given to rows that came in bulk when the page opens
MOST_TEXT = 500  # characters of a description or a fact
OUTLIERS = "outliers"  # the order in which regions stand apart on the map
FACTS = ("class", "brand", "release date", "found at", "found on")


class CuratingError(ValueError):
    """What was asked cannot be done; the message is one sentence for the person."""


@dataclass(frozen=True)
class Wanted:
    """Which regions a person wants to see, as the page's fields hold it. apart: least disagreement; 0 asks for none.

    run: found by this one; 0 asks for all.
    phash: only pictures that look like one with this perceptual hash; "" asks for all. within: what was drawn around on
    the map, as app/atlases.py writes it; "" asks for all.
    """

    dataset: str
    statuses: Sequence[str]
    source: str
    run: int
    words: str
    least: float
    most: float
    apart: float
    phash: str
    sort: str
    within: str = ""


@dataclass(frozen=True)
class Tile:
    """A region in the gallery and the picture that it is of."""

    annotation: Annotation
    image: Picture


@dataclass(frozen=True)
class Gallery:
    """A page of the gallery. after: asks for the next one; "" when nothing follows."""

    tiles: tuple[Tile, ...]
    after: str


@dataclass(frozen=True)
class Opened:
    """A picture to work on. regions: the descriptions of each box. chosen: the description that is worked on.

    uri: "" where the picture cannot be shown; problem says why.
    """

    image: Picture
    regions: tuple[tuple[Annotation, ...], ...]
    chosen: int | None
    edits: tuple[AnnotationEdit, ...]
    uri: str
    problem: str = ""


@dataclass(frozen=True)
class Done:
    """What an edit came to. said: what changed, for people. conflict: somebody was quicker; nothing was written."""

    image_id: int
    chosen: int | None
    said: str = ""
    conflict: EditConflictError | None = None


def index_some(services: Services) -> bool:
    """Let order, search and counts know regions that came in bulk, for a moment; whether there may be more."""
    deadline = time.monotonic() + INDEX_SECONDS
    while time.monotonic() < deadline:
        if not retrying(services.engine, lambda session: index_annotations(session)):
            return False
    return True


def gallery(services: Services, wanted: Wanted, after: str = "", limit: int = PAGE) -> Gallery:
    """A page of regions with their pictures.

    Raises: CuratingError: there is no such data set, or a filter has no meaning.
    """
    with reading(services.engine) as session:
        dataset_id = _dataset(session, wanted.dataset)
        asked: dict[str, Any] = {"dataset_id": dataset_id, "after": after, "limit": limit}
        home = services.settings.home
        try:
            asked["wanted"] = replace(_filter(wanted), chosen=chosen_by(home, dataset_id, wanted.within))
            if wanted.sort == OUTLIERS:
                page = listed_page(session, ids=outliers_of(home, dataset_id), **asked)
            else:
                page = curate_page(session, sort=_sort(wanted.sort), **asked)
        except (ValueError, EmbeddingError) as error:
            raise CuratingError(sentence(error)) from error
        images = {row.image_id: get_image(session, image_id=row.image_id) for row in page.annotations}
    tiles = tuple(Tile(row, image) for row in page.annotations if (image := images[row.image_id]) is not None)
    return Gallery(tiles, page.after)


def next_pending(services: Services, wanted: Wanted, after: str) -> tuple[Gallery, list[Picture]]:
    """The next region to review, a page of one; and the pictures of the few behind it, to be made ready."""
    few = gallery(services, wanted_pending(wanted), after, limit=READY + 1)
    first = few.tiles[:1]
    place = gallery(services, wanted_pending(wanted), after, limit=1).after if first else ""
    return Gallery(first, place), [tile.image for tile in few.tiles[1:]]


def wanted_pending(wanted: Wanted) -> Wanted:
    """The same, of regions without a verdict."""
    return Wanted(**{**vars(wanted), "statuses": ("pending",)})


def dataset_of(services: Services, name: str) -> int:
    """The id of a data set.

    Raises: CuratingError: there is none of that name.
    """
    with reading(services.engine) as session:
        return _dataset(session, name)


def counts(services: Services, dataset: str) -> list[SourceCount]:
    """Regions by source and status.

    Raises: CuratingError.
    """
    with reading(services.engine) as session:
        return count_by_status(session, dataset_id=_dataset(session, dataset))


def curators(services: Services, dataset: str) -> list[Throughput]:
    """Who edited how much, by day.

    Raises: CuratingError.
    """
    with reading(services.engine) as session:
        return throughput(session, dataset_id=_dataset(session, dataset), since=now() - timedelta(days=DAYS))


def runs(services: Services, dataset: str) -> dict[int, str]:
    """The last passes of annotators over a data set, by number: when, and by what.

    Raises: CuratingError.
    """
    with reading(services.engine) as session:
        found = list_runs(session, dataset_id=_dataset(session, dataset))
    return {run.id: f"{run.id}: {run.created_at:%Y-%m-%d %H:%M}, {' + '.join(_kinds(run))}" for run in found}


def _kinds(run: AnnotationRun) -> list[str]:
    return [str(dict(run.config.get(part) or {}).get("kind", part)) for part in ("describer", "localizer")]


def open_picture(services: Services, pictures: Pictures, image_id: int, chosen: int | None = None) -> Opened:
    """A picture with all regions that nobody deleted.

    Raises: CuratingError: there is none of that id.
    """
    with reading(services.engine) as session:
        image = get_image(session, image_id=image_id)
        if image is None:
            raise CuratingError(f"There is no picture {image_id}: it was removed meanwhile.")
        rows = annotations_of(session, image_ids=[image_id])[image_id]
        edits = tuple(history_page(session, image_id=image_id, limit=HISTORY))
    boxes: dict[int, list[Annotation]] = {}
    for row in rows:
        boxes.setdefault(row.region_id or row.id, []).append(row)
    regions = tuple(map(tuple, boxes.values()))
    if chosen not in {row.id for row in rows}:
        chosen = rows[0].id if rows else None
    try:
        return Opened(image, regions, chosen, edits, pictures.get(image)[1])
    except RefusedError as error:
        return Opened(image, regions, chosen, edits, "", str(error))


def image_of(services: Services, annotation_id: int) -> int:
    """The picture that a region is of.

    Raises: CuratingError: there is no such region.
    """
    with reading(services.engine) as session:
        row = get_annotation(session, annotation_id=annotation_id)
    if row is None:
        raise CuratingError(f"There is no region {annotation_id}: it was removed meanwhile.")
    return row.image_id


def act(services: Services, pictures: Pictures, ask: Mapping[str, Any], who: str, checkpoint: str) -> Done:
    """Do what the editor asks: a verdict, another text or box, a region drawn or taken away, a fact, an undo.

    Args:   ask: `do` and what that needs, as the page's script sends it; nothing in it is trusted. checkpoint: scores
            changed boxes and texts anew; "" for none.
    Raises: CuratingError: it cannot be done.
    """
    try:
        deed = _Deed(services, pictures, ask, who, checkpoint)
        return deed.do()
    except EditConflictError as conflict:
        return Done(conflict.image_id, conflict.annotation_id, conflict=conflict)
    except (KeyError, TypeError) as error:
        raise CuratingError(f"The page asked for something incomplete ({error}): reload it.") from error
    except (ValueError, RefusedError) as error:
        raise CuratingError(sentence(error)) from error


class _Deed:
    """One edit."""

    def __init__(
        self, services: Services, pictures: Pictures, ask: Mapping[str, Any], who: str, checkpoint: str
    ) -> None:
        self.services, self.pictures, self.ask = services, pictures, ask
        self.who, self.checkpoint = who, checkpoint
        self.unscored = ""  # why GRAIN gave no score; what was edited is kept all the same

    def do(self) -> Done:
        """Once."""
        deeds = {
            "verdict": self._verdict,
            "text": self._text,
            "box": self._box,
            "draw": self._draw,
            "describe": self._describe,
            "delete": self._delete,
            "restore": self._restore,
            "caption": self._caption,
            "facts": self._facts,
            "review": self._review,
            "undo": self._undo,
        }
        return deeds[str(self.ask["do"])]()

    def _verdict(self) -> Done:
        status: Status = self.ask["status"]
        row = self._write(partial(set_status, status=status, **self._seen()))
        return Done(row.image_id, row.id)

    def _text(self) -> Done:
        row, text = self._row(), self._words("text")
        before, after = self._score(row.image_id, [(_xyxy(row), row.text), (_xyxy(row), text)])
        change = AnnotationChange(text=text, similarity=after)
        edited = self._write(partial(edit_annotation, change=change, **self._seen()))
        return Done(edited.image_id, edited.id, self._difference(before, after))

    def _box(self) -> Done:
        row, box = self._row(), _box_of(self.ask["box"])
        with reading(self.services.engine) as session:
            others = [each for each in region_of(session, annotation_id=row.id) if each.id != row.id]
        pairs = [(_xyxy(row), row.text), (box, row.text), *((box, other.text) for other in others)]
        before, after, *rest = self._score(row.image_id, pairs)
        change = AnnotationChange(xyxy=box, similarity=after)
        edited = self._write(partial(edit_annotation, change=change, **self._seen()))
        said = [
            Similarity(other.id, score, None) for other, score in zip(others, rest, strict=True) if score is not None
        ]
        with transaction(self.services.engine) as session:
            set_similarities(session, rows=said)
        return Done(edited.image_id, edited.id, self._difference(before, after))

    def _draw(self) -> Done:
        image_id, box, text = self._number("image"), _box_of(self.ask["box"]), self._words("text")
        row = self._write(
            partial(
                add_annotation_by_hand, image_id=image_id, who=self.who, xyxy=box, text=text, key=str(self.ask["key"])
            )
        )
        return self._scored(row)

    def _describe(self) -> Done:
        image_id, region, text = self._number("image"), self._number("region"), self._words("text")
        key = str(self.ask["key"])
        add = partial(add_annotation_by_hand, image_id=image_id, who=self.who, region_id=region, text=text, key=key)
        return self._scored(self._write(add))

    def _delete(self) -> Done:
        whole = bool(self.ask.get("whole"))
        row = self._write(partial(delete_annotation, whole_region=whole, **self._seen()))
        return Done(row.image_id, None, "Deleted. Undo brings it back.")

    def _restore(self) -> Done:
        row = self._write(partial(restore_annotation, **self._seen()))
        return Done(row.image_id, row.id)

    def _caption(self) -> Done:
        return self._edit_image(ImageChange(caption=self._words("text", empty=True)))

    def _facts(self) -> Done:
        facts = {name: str(value).strip()[:MOST_TEXT] for name, value in dict(self.ask["facts"]).items()}
        return self._edit_image(ImageChange(facts={name: value for name, value in facts.items() if value}))

    def _review(self) -> Done:
        review: Review = self.ask["review"]
        return self._edit_image(ImageChange(review=review))

    def _undo(self) -> Done:
        image_id = self._number("image")
        undone = self._write(partial(undo_last, image_id=image_id, who=self.who))
        if not undone:
            return Done(image_id, None, "There is nothing of yours to undo on this picture.")
        return Done(image_id, undone[0].annotation_id, "Undone.")

    def _edit_image(self, change: ImageChange) -> Done:
        image_id, version = self._number("image"), self._number("version")
        self._write(partial(edit_image, image_id=image_id, expected_version=version, who=self.who, change=change))
        return Done(image_id, self.ask.get("chosen"))

    def _seen(self) -> dict[str, Any]:
        return {"annotation_id": self._number("id"), "expected_version": self._number("version"), "who": self.who}

    def _row(self) -> Annotation:
        with reading(self.services.engine) as session:
            row = get_annotation(session, annotation_id=self._number("id"))
        if row is None:
            raise CuratingError(f"There is no region {self.ask['id']}: it was removed meanwhile.")
        return row

    def _number(self, name: str) -> int:
        return whole_number(name, self.ask[name])

    def _words(self, name: str, *, empty: bool = False) -> str:
        text = " ".join(str(self.ask[name]).split())
        if not text and not empty:
            raise CuratingError("A description needs words: write what can be seen in the box.")
        if len(text) > MOST_TEXT:
            raise CuratingError(f"A description has at most {MOST_TEXT} characters, got {len(text)}: shorten it.")
        return text

    def _write(self, question: Any) -> Any:
        return retrying(self.services.engine, question)

    def _score(self, image_id: int, pairs: Sequence[tuple[Box, str]]) -> list[float | None]:
        """GRAIN's cosine of each box and text; None where no checkpoint was chosen or the picture is gone."""
        if not self.checkpoint:
            return [None] * len(pairs)
        with reading(self.services.engine) as session:
            row = get_image(session, image_id=image_id)
        if row is None:
            return [None] * len(pairs)
        try:
            image, _ = self.pictures.get(row)
        except RefusedError:
            return [None] * len(pairs)
        try:
            with self.services.model_turn:
                model = self.services.registry.load(self.checkpoint)
                scores = model.crop_scores(image, [box for box, _ in pairs], [text for _, text in pairs])
        except UnknownCheckpointError as error:
            self.unscored = f"Saved. Not scored: {sentence(error)}"
            return [None] * len(pairs)
        return [float(score) for score in scores]

    def _scored(self, row: Annotation) -> Done:
        [score] = self._score(row.image_id, [(_xyxy(row), row.text)])
        if score is not None:
            with transaction(self.services.engine) as session:
                set_similarities(session, rows=[Similarity(row.id, score, None)])
        return Done(row.image_id, row.id, self._difference(None, score))

    def _difference(self, before: float | None, after: float | None) -> str:
        if after is None:
            return self.unscored
        first = "" if before is None else f"{before:.2f} → "
        return f"GRAIN {first}{after:.2f} ({self.checkpoint})"


def _dataset(session: Any, name: str) -> int:
    dataset = get_dataset(session, name=name) if name else None
    if dataset is None:
        raise CuratingError("There is no data set yet: import one on the Annotate page.")
    return dataset.id


def _filter(wanted: Wanted) -> CurateFilter:
    statuses: Any = tuple(status for status in wanted.statuses if status in get_args(Status)) or VISIBLE
    return CurateFilter(
        statuses=statuses,
        source=wanted.source,
        run_id=wanted.run or None,
        min_score=wanted.least if wanted.least > 0 else None,
        max_score=wanted.most if wanted.most < 1 else None,
        words=wanted.words.strip(),
        phash=wanted.phash.strip(),
        min_disagreement=wanted.apart if wanted.apart > 0 else None,
    )


def _sort(name: str) -> Sort:
    if name not in get_args(Sort):
        raise CuratingError(f"Expected the order {', '.join(get_args(Sort))}, got {name!r}: choose one.")
    return cast(Sort, name)


def _xyxy(row: Annotation) -> Box:
    return row.x1, row.y1, row.x2, row.y2


def whole_number(name: str, value: Any) -> int:
    """A number that came from a page.

    Raises: CuratingError: it is none, or larger than any that a database gives.
    """
    if not re.fullmatch("[0-9]{1,18}", str(value)):
        raise CuratingError(f"Expected a whole number as the page's {name}, got {str(value)[:40]!r}: reload the page.")
    return int(value)


def _box_of(numbers: Any) -> Box:
    try:
        x0, y0, x1, y1 = (float(number) for number in numbers)
    except (TypeError, ValueError) as error:
        wrong = f"Expected a box of four numbers, got {str(numbers)[:80]}: reload the page."
        raise CuratingError(wrong) from error
    return x0, y0, x1, y1

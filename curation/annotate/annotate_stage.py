"""Describe and localize the pictures of a batch, or copy the results of equal work on equal pictures."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from PIL import Image as Pictures

from curation.annotate.describe import Describer, DescriberResult
from curation.annotate.filters import FilterConfig, FilterResult, filter_regions, filter_texts
from curation.annotate.localize import Localizer, UnreadableAnswerError
from curation.annotate.prompts import storable
from curation.annotate.settings import AnnotateConfig, AnnotatorFactory
from curation.annotate.stage_run import Make, OpenedPicture, StageContext, StageRun
from db.engine import Session
from db.models import Image, StageState
from db.queries.history_queries import regions_as_made
from db.queries.region_queries import NewRegion
from db.queries.stage_result_queries import NewStageResult, descriptions_of, equal_work
from grain.structures import Region


def find_regions(
    localizer: Localizer,
    keep: FilterConfig,
    *,
    pictures: Sequence[Pictures.Image],
    texts: Sequence[Sequence[str]],
) -> list[tuple[FilterResult[str], FilterResult[Region]]]:
    """Filter the texts of each picture, find those that stay, and filter the regions.

    Args:    pictures: upright RGB. texts: what was said of each.
    Returns: of each picture its texts and its regions, kept and dropped.
    """
    filtered = [filter_texts(each, keep, unreadable=localizer.too_long(each)) for each in texts]
    found = localizer.localize(pictures, [each.kept for each in filtered])
    return [
        (kept, filter_regions(regions, keep, width=picture.width, height=picture.height))
        for kept, picture, regions in zip(filtered, pictures, found, strict=True)
    ]


def state_of(described: DescriberResult) -> StageState:
    """Return what a description counts as: done, quarantined where it cannot be read, failed where there is none."""
    if not described.problem:
        return "done"
    return "quarantined" if described.answered else "failed"


class AnnotateStage(StageRun):
    """Describing or localizing, as the context's work says."""

    def __init__(self, context: StageContext, *, config: AnnotateConfig, annotators: AnnotatorFactory) -> None:
        """context: see StageRun. annotators: asked for a model only if there is something to do."""
        super().__init__(context)
        self._config, self._annotators = config, annotators

    def _maker(self) -> Make:
        """Load the describer or the localizer (see StageRun)."""
        if self._work.stage == "describe":
            describer = self._annotators.describer()
            return lambda opened: self._describe(describer, opened)
        localizer = self._annotators.localizer()
        return lambda opened: self._localize(localizer, opened)

    def _describe(self, describer: Describer, opened: Sequence[OpenedPicture]) -> Iterator[NewStageResult]:
        answers = describer.describe([picture for _, picture in opened])
        for (row, _), answer in zip(opened, answers, strict=True):
            yield self._result(
                row,
                state=state_of(answer),
                reason=answer.problem,
                raw=answer.raw,
                subject=answer.subject,
                caption=answer.caption,
                seconds=answer.seconds,
                tokens=answer.prompt_tokens + answer.answer_tokens,
                descriptions=answer.descriptions,
            )

    def _localize(self, localizer: Localizer, opened: Sequence[OpenedPicture]) -> Iterator[NewStageResult]:
        began, keep = time.perf_counter(), self._config.localizer.keep
        texts = self._texts([row.id for row, _ in opened])
        try:
            found = find_regions(
                localizer, keep, pictures=[picture for _, picture in opened], texts=[list(each) for each in texts]
            )
        except UnreadableAnswerError as error:
            if len(opened) > 1:
                raise  # they are tried again one by one, with the answers that they carry
            yield self._result(opened[0][0], state="quarantined", reason=str(error), raw=(storable(error.text),))
            return
        seconds = (time.perf_counter() - began) / len(opened)
        for (row, _), ids, (_, regions) in zip(opened, texts, found, strict=True):
            yield self._result(
                row,
                seconds=seconds,
                regions=tuple(
                    NewRegion(row.id, each.xyxy, each.text, localizer.name, each.score, description_id=ids[each.text])
                    for each in regions.kept
                ),
            )

    def _texts(self, image_ids: Sequence[int]) -> list[dict[str, int | None]]:
        """Return what to look for in each picture: text -> id of its description, None for a class name."""
        if not self._work.needs:
            return [dict.fromkeys(self._config.describer.vocabulary)] * len(image_ids)
        descriptions = self._asked(partial(descriptions_of, image_ids=image_ids, recipe=self._work.needs))
        return [{description.text: description.id for description in descriptions[image_id]} for image_id in image_ids]

    def _known(self, images: Sequence[Image]) -> dict[int, NewStageResult]:
        """Return results of equal work on equal pictures of other data sets, as the models gave them."""
        keys = {self._work.key(image.sha256): image for image in images}

        def equal(session: Session) -> tuple[Any, ...]:
            before, recipe = equal_work(session, keys=list(keys)), self._work.recipe
            ids = [result.image_id for result in before.values()]
            made = regions_as_made(session, image_ids=ids, recipe=recipe)
            return before, descriptions_of(session, image_ids=ids, recipe=recipe), made

        before, descriptions_by_image, found = self._asked(equal)
        mine = self._texts([keys[key].id for key in before]) if self._work.stage == "localize" else []
        texts = dict(zip(before, mine, strict=True)) if mine else {}
        return {
            keys[key].id: self._result(
                keys[key],
                copied=True,
                raw=tuple(result.raw),
                subject=result.subject,
                caption=result.caption,
                descriptions=tuple(each.text for each in descriptions_by_image[result.image_id]),
                regions=tuple(_copied(each, keys[key].id, texts[key]) for each in regions),
            )
            for key, result in before.items()
            if (regions := found[result.image_id]) is not None
        }


def _copied(region: NewRegion, image_id: int, ids: Mapping[str, int | None]) -> NewRegion:
    return replace(region, image_id=image_id, description_id=ids.get(region.text))

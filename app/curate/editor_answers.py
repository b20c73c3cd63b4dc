"""Answer what the editor's script asks: acts, questions that change nothing, suggested boxes, and what can wait.

Nothing that the script sends is trusted. What it asks comes by app/curate/editor_routes.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from app.access.accounts import Person
from app.access.rules import allows
from app.core.page_values import whole_number
from app.curate.reservations import Reservations
from app.services import Services
from user_errors import UserError

if TYPE_CHECKING:
    from app.curate.answers import Answer

MOST_AHEAD, MOST_SKIPPED = 12, 2_000  # pictures in an answer, and known ones that a page names
MOST_TOGETHER = 25  # acts in a request

Ask = Mapping[str, Any]


class EditorAnswers:
    """The answers of the routes. Each method makes one call, and says in its answer why something cannot be done."""

    def __init__(self, services: Services, links: Callable[[Services, int], str]) -> None:
        """links: renders where else a picture is worked on; it knows of its place, not of this page."""
        self.services, self._links, self._reservations = services, links, Reservations()

    def view(self, ask: Ask, person: Person) -> Answer:
        """Answer a question that changes nothing: a picture, the next ones of the queue."""
        from app.curate import answers

        asked = str(ask.get("asked", ""))
        try:
            return self._opened(ask, asked) if ask.get("do") == "open" else self._ahead(ask, asked, person)
        except UserError as error:
            return answers.refused_answer(asked, error.sentence)

    def _opened(self, ask: Ask, asked: str) -> Answer:
        from app.curate import actions, answers

        if "image" in ask:
            image, region = whole_number("image", ask["image"]), None
        else:
            region = whole_number("region", ask.get("id"))
            image = actions.image_of(self.services, region)
        return answers.open_answer(actions.open_picture(self.services, image, region), asked)

    def _ahead(self, ask: Ask, asked: str, person: Person) -> Answer:
        from app.curate import actions, answers
        from app.curate.filter_controls import query_at

        known = ask.get("skip")
        skip = {whole_number("picture", each) for each in (known if isinstance(known, list) else [])[:MOST_SKIPPED]}
        count = max(1, min(MOST_AHEAD, whole_number("count", ask.get("count"))))
        after = str(ask.get("after") or "")
        query = query_at(ask.get("filters"))
        if allows(person.role, "curator"):
            ahead = self._reservations.next_pictures(
                self.services, query, after, who=person.name, skip=skip, count=count
            )
        else:
            ahead = actions.next_pictures(self.services, query, after, skip=skip, count=count)
        pictures = [actions.open_picture(self.services, *each) for each in ahead.pictures.items()]
        return answers.ahead_answer(ahead, pictures, asked)

    def act(self, ask: Ask, person: Person) -> Answer:
        """Do an act, and the quick verdicts after it that came along."""
        more = ask.get("more")
        asks = [ask, *(each for each in (more if isinstance(more, list) else [])[:MOST_TOGETHER] if _is_verdict(each))]
        checkpoint = str(ask.get("checkpoint") or "")
        how = {"who": person.name, "checkpoint": checkpoint}
        done = [self._act(each, asks[index + 1 :], **how) for index, each in enumerate(asks)]
        return done[0] | {"more": done[1:]}

    def _act(self, ask: Ask, later: Sequence[Ask], *, who: str, checkpoint: str) -> Answer:
        """Do one act. later: those that follow; a picture is answered once, after the last act on it."""
        from app.curate import actions, answers, editor

        asked, image = str(ask.get("act", "")), ask.get("image")
        try:
            done = editor.apply_edit(self.services, ask, who=who, checkpoint=checkpoint)
            again = any(each.get("image") == image for each in later)
            opened = None if again else actions.open_picture(self.services, done.image_id, done.chosen)
        except UserError as error:
            return answers.refused_answer(asked, error.sentence, self._picture(image))
        return answers.edit_answer(done, opened, asked=asked, what=str(ask.get("do")))

    def _picture(self, image: Any) -> Any:
        """Return a picture as it is; None where there is none any more."""
        from app.curate import actions

        try:
            return actions.open_picture(self.services, whole_number("picture", image))
        except UserError:
            return None

    def suggest(self, ask: Ask, _: Person) -> Answer:
        """Suggest boxes of the picture on the screen."""
        from app.curate import answers, suggestions
        from app.curate.filter_controls import query_at

        dataset, checkpoint = query_at(ask.get("filters")).dataset, str(ask.get("checkpoint") or "")
        try:
            found = suggestions.suggest_boxes(self.services, ask, dataset=dataset, checkpoint=checkpoint)
        except UserError as error:
            return answers.suggest_answer(ask, [], error.sentence)
        return answers.suggest_answer(ask, found)

    def rest(self, ask: Ask, person: Person) -> Answer:
        """Tell what follows an act once the hand rests: the counts, and where else the picture is worked on."""
        from app.curate import actions, panels
        from app.curate.filter_controls import query_at

        self._reservations.renew(person.name)
        links = counts = ""
        try:
            if image := whole_number("picture", ask.get("image")):
                links = self._links(self.services, image)
            if ask.get("counts"):
                counts = panels.counts_panel(actions.counts(self.services, query_at(ask.get("filters")).dataset))
        except UserError:  # the data set is gone: the counts that are shown stay
            pass
        return {"links": links, "counts": counts}


def _is_verdict(ask: Any) -> bool:
    return isinstance(ask, Mapping) and ask.get("do") == "verdict"

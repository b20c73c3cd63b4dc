"""Edit a set of novel concepts as the page asks; nothing that its script sends is trusted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.access.accounts import Person
from app.concepts.actions import editor_name, labeller
from app.services import Services
from curation.concepts.class_list import save_classes, set_class_fact
from curation.concepts.decisions import decide_leak, label_picture, settle_agreed, settle_class, undo_last_label
from curation.concepts.metadata import set_metadata
from curation.concepts.status import BOTH_SEEN, ConceptSetStatus
from db.engine import reading
from db.models import Image
from db.queries.data_set_queries import get_image
from user_errors import UserError, sentence


def apply_edit(
    services: Services, now: ConceptSetStatus, ask: Mapping[str, Any], *, person: Person, stated: str
) -> str:
    """Do what the page asks by a click or a key, and return a message about it.

    Args:   ask: `do` and what that needs, as the page's script sends it; nothing in it is trusted.
    Raises: UserError: it cannot be done.
    """
    try:
        return ConceptEdit(services, now, ask, person=person, stated=stated).run()
    except (KeyError, TypeError) as error:
        raise UserError(f"The page sent something incomplete ({error}): reload it.") from error
    except UserError:
        raise
    except ValueError as error:  # of a query: the script sent a suspect or a decision that there is not
        raise UserError(sentence(error)) from error


class ConceptEdit:
    """One edit of a set that the page asks for."""

    def __init__(
        self, services: Services, now: ConceptSetStatus, ask: Mapping[str, Any], *, person: Person, stated: str
    ) -> None:
        """ask: `do` and what that needs. stated: the name under which a person labels without an account."""
        self.services, self.now, self.ask, self.person, self.stated = services, now, ask, person, stated
        self.engine = services.engine

    def run(self) -> str:
        """Do it, and return a message."""
        edits = {
            "provenance": self._set_provenance,
            "decide_leak": self._decide_leak,
            "class_fact": self._set_class_fact,
            "label": self._label,
            "undo": self._undo,
            "settle": self._settle,
            "settle_agreed": self._settle_agreed,
        }
        return edits[str(self.ask["do"])]()

    def _set_provenance(self) -> str:
        fact, value = str(self.ask["fact"]), str(self.ask["value"])
        set_metadata(self.engine, self._image().id, {fact: value}, seen={fact: self._seen()}, who=self._editor())
        return "Saved."

    def _decide_leak(self) -> str:
        decision = str(self.ask["value"])
        decide_leak(self.engine, int(self.ask["id"]), decision, seen=self._seen(), who=self._editor())  # type: ignore[arg-type]
        return {"drop": "Dropped; it can be kept again.", "keep": "Kept."}.get(decision, "Undecided again.")

    def _set_class_fact(self) -> str:
        name, fact, value = (str(self.ask[each]) for each in ("name", "fact", "value"))
        classes = set_class_fact(self.now.classes, name, fact=fact, seen=self._seen(), value=value)
        version = self.now.concept.version if self.now.concept else 0
        save_classes(self.engine, self.now.dataset, classes, who=self._editor(), expected_version=version)
        return "Saved."

    def _label(self) -> str:
        image, name = self._image(), str(self.ask["label"])
        label_picture(self.engine, image.id, name, who=self._labeller())
        return f"Labelled {name}."

    def _undo(self) -> str:
        undone = undo_last_label(self.engine, self.now.dataset, who=self._labeller())
        if undone is None:
            return "There is nothing of yours to undo."
        gone = f"; your label before, {undone.gone}, is no class any more" if undone.gone else ""
        return f"Undone{gone}: label it again."

    def _settle(self) -> str:
        image, name = self._image(), str(self.ask["value"]).strip()
        settle_class(self.engine, image.id, name, seen=self._seen(), who=self._editor(), reason=BOTH_SEEN)
        return f"Settled: {name}."

    def _settle_agreed(self) -> str:
        return f"{settle_agreed(self.engine, self.now.dataset, self._editor()):,} classes settled."

    def _seen(self) -> list[str]:
        """Return what the page showed, and what was asked there since, as answers may be on their way."""
        return [str(text) for text in self.ask["seen"]]

    def _image(self) -> Image:
        with reading(self.engine) as session:
            image = get_image(session, image_id=int(self.ask["image"]))
        if image is None or image.dataset_id != self.now.dataset_id:
            raise UserError("There is no such picture in this set: reload the page.")
        return image

    def _labeller(self) -> str:
        return labeller(self.services, self.person, self.stated)

    def _editor(self) -> str:
        return editor_name(self.services, self.person, self.stated)

"""Lay out what the Data page takes back.

Restored versions, undone runs and imports, removed pictures, renamed and deleted data sets.

Handlers import what they need of the data's side: the first page must not wait for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from app.access.accounts import person_of
from app.services import Services
from app.ui.dataset_choice import open_dataset
from app.ui.events import ON_ASK, ON_QUESTION, QUEUE_ALL, in_order
from app.ui.html import command_details, notice
from user_errors import UserError

READING = in_order("upkeep")
NO_QUESTIONS = '() => ["", "", "", ""]'
"""They were about the data set before."""


@dataclass(frozen=True, kw_only=True)
class UpkeepComponents:
    """The components that events come from or go to."""

    works: Any
    question: Any
    removing: Any
    removable: Any
    removal: Any
    name: Any
    rename: Any
    delete: Any
    deletion: Any
    restore: Any


@dataclass(frozen=True)
class UpkeepSection:
    """The handlers. Each makes one call and shows what came of it. jobs: renders the page's list of jobs."""

    services: Services
    jobs: Callable[[], str]

    def works(self, dataset: str | None, request: gr.Request) -> str:
        """Show what can be undone whole. Returns works."""
        from app.data import upkeep_actions, upkeep_panels

        return upkeep_panels.works_panel(
            upkeep_actions.works(self.services, dataset or "", who=person_of(request).name)
        )

    def question(self, dataset: str | None, event: gr.EventData) -> str:
        """Say what a restore or an undo would change. Returns its question."""
        from app.data import upkeep_actions, upkeep_panels

        try:
            return upkeep_panels.question_panel(upkeep_actions.question(self.services, dataset or "", _asked(event)))
        except UserError as error:
            return notice(error.sentence)

    def act(self, dataset: str | None, request: gr.Request, event: gr.EventData) -> list[Any]:
        """Queue what its question asked. Returns question, jobs."""
        from app.data import upkeep_actions

        ask = _asked(event)
        if ask.get("do") == "cancel":
            return ["", gr.skip()]
        who = person_of(request).name
        return self._queued(lambda: upkeep_actions.queue(self.services, dataset or "", ask, who=who))

    def _queued(self, work: Callable[[], list[str]]) -> list[Any]:
        """Return the command of `work`, which queues a job, or what is wrong; and jobs."""
        try:
            return [command_details(work()), self.jobs()]
        except UserError as error:
            return [notice(error.sentence), gr.skip()]

    def open_removal(self, request: gr.Request) -> list[Any]:
        """Ask about the picture that a link names. Returns removing, removal."""
        picture = request.query_params.get("remove")
        if not picture:
            return [gr.skip(), gr.skip()]
        dataset = open_dataset(self.services, request).chosen
        return [gr.Accordion(open=True), self._removal(dataset, {"do": "picture", "of": picture})]

    def removable(self, dataset: str | None) -> str:
        """Show by what pictures can be removed. Returns removable."""
        from app.data import upkeep_actions, upkeep_panels

        return upkeep_panels.removable_panel(upkeep_actions.removable(self.services, dataset or ""))

    def removal(self, dataset: str | None, event: gr.EventData) -> str:
        """Say what depends on pictures. Returns removal."""
        return self._removal(dataset, _asked(event))

    def _removal(self, dataset: str | None, ask: Mapping[str, Any]) -> str:
        from app.data import upkeep_actions, upkeep_panels

        try:
            return upkeep_panels.removal_panel(
                upkeep_actions.removal(self.services, dataset or "", ask), ask, self.services.settings.home
            )
        except UserError as error:
            return notice(error.sentence)

    def remove(self, dataset: str | None, request: gr.Request, event: gr.EventData) -> list[Any]:
        """Queue the removal that its question asked. Returns removal, jobs."""
        from app.data import upkeep_actions

        ask = _asked(event)
        if "seen" not in ask:
            return ["", gr.skip()]
        who = person_of(request).name
        return self._queued(lambda: upkeep_actions.queue_removal(self.services, dataset or "", ask, who=who))

    def deletion(self, dataset: str | None) -> str:
        """Say what depends on the data set. Returns the question of its deletion."""
        from app.data import upkeep_actions, upkeep_panels

        try:
            return upkeep_panels.deletion_panel(upkeep_actions.dependents(self.services, dataset or ""))
        except UserError as error:
            return notice(error.sentence)

    def renaming(self, dataset: str | None, name: str) -> str:
        """Say what depends on the data set. Returns the question of its renaming."""
        from app.data import upkeep_actions, upkeep_panels

        try:
            found = upkeep_actions.name_dependents(self.services, dataset or "", name or "")
        except UserError as error:
            return notice(error.sentence)
        return upkeep_panels.renaming_panel(found, name.strip())

    def rename_or_delete(self, dataset: str | None, request: gr.Request, event: gr.EventData) -> list[Any]:
        """Rename the data set, or queue its deletion, as the question asked. Returns deletion, jobs, dataset, name."""
        from app.data import upkeep_actions
        from app.ui.jobs_list import dataset_names

        ask, skipped = _asked(event), [gr.skip(), gr.skip(), gr.skip()]
        if ask.get("do") not in ("rename", "delete"):
            return ["", *skipped]
        try:
            upkeep_actions.check_chosen(ask.get("of"), dataset or "")
            if ask["do"] == "delete":
                upkeep_actions.queue_deletion(self.services, dataset or "", who=person_of(request).name)
                return ["", self.jobs(), gr.skip(), gr.skip()]
            new = upkeep_actions.give_name(self.services, dataset or "", str(ask.get("to", "")))
        except UserError as error:
            return [notice(error.sentence), *skipped]
        return ["", gr.skip(), gr.Dropdown(choices=dataset_names(self.services), value=new), ""]


def _asked(event: gr.EventData) -> Mapping[str, Any]:
    return event.ask if isinstance(event.ask, Mapping) else {}


def lay_out_restore() -> Any:
    """Lay out the question of a restore, to stand below the versions."""
    return gr.HTML(js_on_load=ON_QUESTION, apply_default_css=False, elem_id="restore-question")


def lay_out() -> UpkeepComponents:
    """Lay out the lists and fields; the question of a restore stands elsewhere."""
    with gr.Accordion("Undo a run or an import", open=False, elem_id="undo-works"):
        works = gr.HTML(js_on_load=ON_ASK, apply_default_css=False, elem_id="works")
        question = gr.HTML(js_on_load=ON_QUESTION, apply_default_css=False, elem_id="undo-question")
    with gr.Accordion("Remove pictures", open=False, elem_id="remove-pictures") as removing:
        removable = gr.HTML(js_on_load=ON_ASK, apply_default_css=False, elem_id="removable")
        removal = gr.HTML(js_on_load=ON_QUESTION, apply_default_css=False, elem_id="removal")
    with gr.Accordion("Rename or delete", open=False, elem_id="rename-delete"):
        name = gr.Textbox(
            label="new name",
            placeholder="street, November",
            elem_id="new-name",
        )
        with gr.Row():
            rename = gr.Button("Rename …", size="sm", min_width=90, elem_id="rename")
            delete = gr.Button("Delete …", size="sm", min_width=90, elem_id="delete-dataset")
        deletion = gr.HTML(js_on_load=ON_QUESTION, apply_default_css=False, elem_id="deletion")
    return UpkeepComponents(
        works=works,
        question=question,
        removing=removing,
        removable=removable,
        removal=removal,
        name=name,
        rename=rename,
        delete=delete,
        deletion=deletion,
        restore=None,
    )


def wire(
    app: gr.Blocks, section: UpkeepSection, parts: UpkeepComponents, *, dataset: Any, versions: Any, jobs: Any
) -> None:
    """Wire its events. versions: the list whose buttons ask for a restore. jobs: the page's list of jobs."""
    app.load(section.open_removal, None, [parts.removing, parts.removal], **READING)
    versions.click(section.question, dataset, parts.restore, **(READING | QUEUE_ALL))
    parts.works.click(section.question, dataset, parts.question, **(READING | QUEUE_ALL))
    for question in (parts.restore, parts.question):
        question.click(section.act, dataset, [question, jobs], **(READING | QUEUE_ALL))
    questions = [parts.restore, parts.question, parts.removal, parts.deletion]
    # a person has chosen another; at the change of an opening page a link may have asked already
    dataset.input(None, None, questions, js=NO_QUESTIONS, api_visibility="private")
    parts.removable.click(section.removal, dataset, parts.removal, **(READING | QUEUE_ALL))
    parts.removal.click(section.remove, dataset, [parts.removal, jobs], **(READING | QUEUE_ALL))
    parts.delete.click(section.deletion, dataset, parts.deletion, **READING)
    parts.rename.click(section.renaming, [dataset, parts.name], parts.deletion, **READING)
    done = [parts.deletion, jobs, dataset, parts.name]
    parts.deletion.click(section.rename_or_delete, dataset, done, **(READING | QUEUE_ALL))
    for event in (dataset.change, jobs.change):
        event(section.works, dataset, parts.works, **READING)
        event(section.removable, dataset, parts.removable, **READING)

"""Answer the events of the page Novel concepts: a data set that no model has seen, labelled by two people at once.

Handlers import what they need of the data's side: the first page must not wait for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any

import gradio as gr

from app.access.accounts import Person, person_of
from app.concepts.layout import (
    NO_EMBEDDINGS,
    NO_SET,
    STEPS,
    TITLE,
    ClassForm,
    ConceptsComponents,
    ConceptsFields,
    ConceptsOutputs,
    lay_out,
)
from app.services import Services
from app.ui.annotations_beside import beside_question, hide_choice, show_choice
from app.ui.events import (
    LIGHT,
    QUEUE_ALL,
    TICK_SECONDS,
    choose_linked,
    control_job_by_button,
    in_order,
    keep_choice,
    one_at_a_time,
    warn,
)
from app.ui.html import empty_state, heading
from user_errors import UserError

if TYPE_CHECKING:
    from curation.concepts.leaks import LeaksConfig
    from curation.concepts.status import ConceptSetStatus
    from db.models import Image

__all__ = ["PATH", "TITLE", "build"]
PATH = "concepts"
TURNS = in_order("concepts")  # else what a job changed is drawn over a step that was pressed meanwhile
MOST_NAME = 60  # characters of a stated name in a link


@dataclass(frozen=True)
class ConceptsPlace:
    """The place of a person in the flow. step: "" for the first that is not done. after: the picture labelled last.

    listed: ids of what the step's list has shown since it was entered. first: of the classes in their table.
    dataset, version: of the classes that the form is of. shown: what filled it, or was saved from it. message:
    about the last edit. turn: grows, so that every answer is another one.
    """

    step: str = ""
    listed: tuple[int, ...] = ()
    after: int = 0
    first: int = 0
    dataset: str = ""
    version: int = 0
    shown: ClassForm = field(default_factory=ClassForm)
    message: str = ""
    turn: int = 0


@dataclass
class ConceptsPage:
    """The handlers. Each makes one call and shows what came of it."""

    services: Services

    def open(self, request: gr.Request) -> list[Any]:
        """Open the page at the place of its link. Returns dataset, name, place."""
        from app.concepts.actions import set_names

        query = dict(request.query_params)
        names = set_names(self.services)
        step = query.get("step", "")
        return [
            gr.Dropdown(choices=names, value=choose_linked(names, query.get("set"), "set")),
            query.get("as", "")[:MOST_NAME],
            ConceptsPlace(step if step in STEPS else ""),
        ]

    def enter(
        self, place: ConceptsPlace, dataset: str | None, name: str, request: gr.Request, *held: str | None
    ) -> list[Any]:
        """Enter a set or a step, and fill its fields. Returns ConceptsOutputs, ConceptsFields.

        held: what the ConceptsFields hold; a choice that still exists stays, and so does a form of the classes that is
        of this set and not saved.
        """
        from app.concepts.actions import class_form, exported_versions, first_open, steps_of, training_names

        now = self._status(dataset)
        if now is None:
            return [
                *self._outputs(place, None, name, person=person_of(request)),
                *(gr.skip() for _ in ConceptsFields._fields),
            ]
        place = replace(place, step=place.step or first_open(steps_of(self.services, now)), listed=())
        fields, filled = ConceptsFields(*held), {each: gr.skip() for each in ClassForm._fields}
        if place.dataset != now.dataset:
            fields = fields._replace(version=None)  # it is another set's, whatever its name
        if place.dataset != now.dataset or _class_form(fields.classes, fields.licence, fields.use) == place.shown:
            place = replace(place, dataset=now.dataset, version=_version_of(now), shown=class_form(now))
            filled = place.shown._asdict()
        training = training_names(self.services, now.dataset)
        usable = [each.name for each in self.services.registry.usable()]
        versions = [one.version.name for one in exported_versions(self.services, now)]
        refilled = ConceptsFields(
            training=keep_choice(fields.training, [], training[0][1] if training else None, first=training),
            checkpoint=keep_choice(fields.checkpoint, usable, NO_EMBEDDINGS[1], first=[NO_EMBEDDINGS]),
            **filled,
            version=keep_choice(fields.version, versions, next(iter(versions), None)),
            evaluated=keep_choice(fields.evaluated, usable, next(iter(usable), None)),
        )
        return [*self._outputs(place, now, name, person=person_of(request)), *refilled]

    def choose(self, dataset: str | None, name: str, request: gr.Request, *held: str | None) -> list[Any]:
        """Enter another set. Returns ConceptsOutputs, ConceptsFields."""
        return self.enter(ConceptsPlace(), dataset, name, request, *held)

    def go(
        self,
        place: ConceptsPlace,
        dataset: str | None,
        name: str,
        request: gr.Request,
        event: gr.EventData,
        *held: str | None,
    ) -> list[Any]:
        """Enter the step that was pressed. Returns ConceptsOutputs, ConceptsFields."""
        ask = event.ask if isinstance(event.ask, Mapping) else {}
        step = str(ask.get("step", ""))
        place = replace(place, step=step if step in STEPS else "", after=0, message="")
        return self.enter(place, dataset, name, request, *held)

    def show(self, place: ConceptsPlace, dataset: str | None, name: str, request: gr.Request) -> list[Any]:
        """Show the same place again. Returns ConceptsOutputs."""
        return self._outputs(place, self._status(dataset), name, person=person_of(request))

    def ask(
        self, place: ConceptsPlace, dataset: str | None, name: str, request: gr.Request, event: gr.EventData
    ) -> list[Any]:
        """Do an edit that the work asks for: a decision, a label, a field. Returns ConceptsOutputs."""
        from app.concepts.actions import named_plainly
        from app.concepts.editor import apply_edit

        ask, person = event.ask, person_of(request)
        now = self._status(dataset)
        if now is None or not isinstance(ask, Mapping):
            return self._outputs(place, now, name, person=person)
        if ask.get("do") == "skip":
            image = self._next_image(place, now, name, person=person)
            place = replace(place, after=image.id if image else 0, message="")
            return self._outputs(place, now, name, person=person)
        if ask.get("do") == "page":
            first = ask.get("first")
            return self._outputs(replace(place, first=first if type(first) is int else 0), now, name, person=person)
        try:
            message = apply_edit(self.services, now, ask, person=person, stated=name or "")
        except UserError as error:
            warn(named_plainly(error))
            return self._outputs(replace(place, message=""), self._status(dataset), name, person=person)
        after, before, now = place.after, _version_of(now), self._status(dataset)
        if ask.get("do") == "label":
            after = int(ask["image"])
        elif ask.get("do") == "undo":
            after = 0
        elif ask.get("do") == "class_fact" and place.version == before:
            place = replace(place, version=_version_of(now))  # by this edit: the form is still of the set
        return self._outputs(replace(place, after=after, message=message), now, name, person=person)

    def tick(self, dataset: str | None, before: str) -> Any:
        """Return the jobs if they changed; asked every two seconds."""
        jobs = self._jobs(dataset)
        return gr.skip() if jobs == before else jobs

    def control_job(self, dataset: str | None, request: gr.Request, event: gr.EventData) -> Any:
        """Control a job: pause, resume or cancel it. Returns jobs."""
        control_job_by_button(self.services, request, event)
        return self._jobs(dataset)

    def import_pictures(
        self, source: str, new_name: str, dataset: str | None, annotations: str | None, request: gr.Request
    ) -> list[Any]:
        """Queue an import, once it is said what to do with annotations beside the pictures.

        Returns dataset, place, jobs, its note, and annotations.
        """
        from app.concepts.actions import set_names, start_import

        name = (new_name or "").strip() or dataset or ""
        try:
            person = person_of(request)
            beside = start_import(self.services, source or "", name, person=person, annotations=annotations)
        except UserError as error:  # raised and not shown: the place stays as it is
            raise gr.Error(escape(error.sentence), title="Not yet", print_exception=False) from error
        if beside:
            return [gr.skip(), gr.skip(), gr.skip(), beside_question(beside), show_choice()]
        names = list(dict.fromkeys([*set_names(self.services), name]))
        place = gr.skip() if name == dataset else ConceptsPlace()
        return [gr.Dropdown(choices=names, value=name), place, self._jobs(name), "", hide_choice()]

    def compare(
        self,
        dataset: str | None,
        training: str | None,
        shards: str,
        distance: float,
        nearest: float,
        checkpoint: str,
        request: gr.Request,
    ) -> Any:
        """Queue a comparison with training data. Returns jobs."""
        from app.concepts.actions import leak_check

        config = partial(
            leak_check,
            dataset or "",
            training or "",
            shards or "",
            distance=distance,
            nearest=nearest,
            checkpoint=checkpoint or "",
        )
        return self._check(dataset, config, request)

    def find_duplicates(self, dataset: str | None, distance: float, request: gr.Request) -> Any:
        """Queue a search for duplicates within the set. Returns jobs."""
        from app.concepts.actions import duplicate_check

        return self._check(dataset, partial(duplicate_check, dataset or "", distance), request)

    def _check(self, dataset: str | None, config: Callable[[], LeaksConfig], request: gr.Request) -> str:
        from app.concepts.actions import start_leak_check

        try:
            start_leak_check(self.services, config(), person_of(request))
        except UserError as error:
            warn(error)
        return self._jobs(dataset)

    def save(
        self,
        place: ConceptsPlace,
        dataset: str | None,
        name: str,
        classes: str,
        licence: str,
        use: str,
        request: gr.Request,
    ) -> list[Any]:
        """Save what was typed of classes, licence and use, which stays in its fields. Returns ConceptsOutputs.

        After a conflict the set is shown as it is now, and saving again is meant.
        """
        from app.concepts.actions import editor_name, named_plainly, save_class_form
        from db.queries.concept_queries import ConceptConflictError

        person, now = person_of(request), self._status(dataset)
        if now is None:
            return self._outputs(place, None, name, person=person)
        typed, editor = _class_form(classes, licence, use), person.name
        try:
            editor = editor_name(self.services, person, name or "")
            version = save_class_form(self.services, now, place.version, shown=place.shown, typed=typed, who=editor)
            place, now = replace(place, version=version, shown=typed), self._status(dataset)
        except ConceptConflictError as error:
            warn(named_plainly(error, editor))
            now = self._status(dataset)
            place = replace(place, version=_version_of(now))
        except UserError as error:
            warn(error)
        return self._outputs(place, now, name, person=person)

    def freeze(
        self,
        place: ConceptsPlace,
        dataset: str | None,
        name: str,
        version: str,
        request: gr.Request,
        *held: str | None,
    ) -> list[Any]:
        """Freeze a version, and queue the job that writes its shards. Returns ConceptsOutputs, ConceptsFields."""
        from app.concepts.actions import freeze_and_export

        try:
            freeze_and_export(self.services, dataset or "", version or "", who=person_of(request).name)
            held = ConceptsFields(*held)._replace(version=None)  # the new one is chosen
        except UserError as error:
            warn(error)
        return self.enter(place, dataset, name, request, *held)

    def evaluate(self, dataset: str | None, version: str | None, checkpoint: str | None, request: gr.Request) -> Any:
        """Queue an evaluation. Returns jobs."""
        from app.concepts.actions import start_evaluation

        now, owner = self._status(dataset), person_of(request).name
        try:
            if now is not None:
                start_evaluation(self.services, now, version or "", checkpoint=checkpoint or "", owner=owner)
        except UserError as error:
            warn(error)
        return self._jobs(dataset)

    def _status(self, dataset: str | None) -> ConceptSetStatus | None:
        from curation.concepts.status import status_of

        try:
            return status_of(self.services.engine, dataset) if dataset else None
        except UserError:  # it is being imported
            return None

    def _outputs(self, place: ConceptsPlace, now: ConceptSetStatus | None, name: str, *, person: Person) -> list[Any]:
        from app.concepts.actions import first_open, steps_of
        from app.concepts.lists import listed_in
        from app.concepts.panels import steps_panel, work_panel

        place = replace(place, turn=place.turn + 1)
        if now is None:
            forms = [gr.update(visible=step == "pictures") for step in STEPS]
            return ConceptsOutputs("", work_panel(NO_SET, {}, place.turn), place, gr.skip(), forms).flat()
        steps = steps_of(self.services, now)
        place = replace(place, step=place.step or first_open(steps))
        link = {"set": now.dataset, "step": place.step, "as": "" if self.services.people.required else (name or "")}
        listed = listed_in(place.step, now, place.listed)
        place = replace(place, listed=tuple(one.id for one in listed))
        work = self._work(place, now, name or "", person=person, listed=listed)
        return ConceptsOutputs(
            steps_panel(steps, place.step),
            work_panel(work, link, place.turn),
            place,
            self._jobs(now.dataset),
            [gr.update(visible=step == place.step) for step in STEPS],
        ).flat()

    def _work(
        self, place: ConceptsPlace, now: ConceptSetStatus, name: str, *, person: Person, listed: Sequence[Any]
    ) -> str:
        from app.concepts import panels
        from app.concepts.actions import exported_versions

        home = self.services.settings.home
        panel_of = {
            "pictures": lambda: panels.pictures_panel(now, home, listed),
            "leaks": lambda: panels.leaks_panel(now, home, listed),
            "classes": lambda: panels.classes_panel(now, place.first),
            "labels": lambda: self._label(place, now, name, person=person),
            "agreement": lambda: panels.agreement_panel(now, home, listed, message=place.message),
            "freeze": lambda: panels.freeze_panel(now),
            "evaluate": lambda: panels.evaluations_panel(exported_versions(self.services, now)),
        }
        return panel_of[place.step]()

    def _label(self, place: ConceptsPlace, now: ConceptSetStatus, name: str, *, person: Person) -> str:
        from app.concepts.actions import labeller, picture_uri
        from app.concepts.panels import label_panel

        try:
            labels_as = labeller(self.services, person, name)
        except UserError as error:
            return empty_state("Who labels?", error.sentence)
        image = now.next_unlabelled(labels_as, place.after)
        uri = picture_uri(self.services, image) if image else ""
        if image and (behind := now.next_unlabelled(labels_as, image.id)) and behind.id != image.id:
            self.services.pictures.prefetch([behind])
        return label_panel(now, image, uri, who=labels_as, message=place.message)

    def _next_image(self, place: ConceptsPlace, now: ConceptSetStatus, name: str, *, person: Person) -> Image | None:
        from app.concepts.actions import labeller

        try:
            return now.next_unlabelled(labeller(self.services, person, name or ""), place.after)
        except UserError:
            return None

    def _jobs(self, dataset: str | None) -> str:
        from app.concepts.actions import KINDS, MOST_JOBS
        from app.ui.jobs_list import jobs_panel, latest_jobs

        views = latest_jobs(self.services, KINDS, dataset=dataset or "", most=MOST_JOBS)
        return heading("Jobs") + jobs_panel(views) if views else ""


def _version_of(now: ConceptSetStatus | None) -> int:
    return now.concept.version if now and now.concept else 0


def _class_form(*typed: str | None) -> ClassForm:
    """Return what is in the form's fields; Gradio sends an empty one as None."""
    return ClassForm(*(each or "" for each in typed))


def build(app: gr.Blocks, services: Services) -> None:
    """Lay the page out inside the current Blocks and wire its events."""
    _wire(app, ConceptsPage(services), lay_out(ConceptsPlace(), signs_in=services.people.required))


def _wire(app: gr.Blocks, page: ConceptsPage, parts: ConceptsComponents) -> None:
    outputs, fields, jobs = parts.outputs.flat(), parts.fields, parts.outputs.jobs
    entered = [*outputs, *fields]
    here = [parts.outputs.place, parts.dataset, parts.name]
    app.load(page.open, None, [parts.dataset, parts.name, parts.outputs.place], **LIGHT).then(
        page.enter, here, entered, **TURNS
    )
    parts.dataset.input(page.choose, [parts.dataset, parts.name, *fields], entered, **TURNS)
    for stated in (parts.name.submit, parts.name.blur):
        stated(page.show, here, outputs, **TURNS)
    parts.outputs.steps.click(page.go, [*here, *fields], entered, **(TURNS | QUEUE_ALL))
    parts.outputs.work.click(page.ask, here, outputs, **(TURNS | QUEUE_ALL))
    one_at_a_time(parts.outputs.work.submit(page.ask, here, outputs, **(TURNS | QUEUE_ALL)))
    imported = [parts.dataset, parts.outputs.place, jobs, parts.import_note, parts.beside]
    parts.start_import.click(
        page.import_pictures, [parts.source, parts.new_name, parts.dataset, parts.beside], imported, **LIGHT
    ).success(page.enter, [*here, *fields], entered, **TURNS)
    rules = [fields.training, parts.shards, parts.distance, parts.nearest, fields.checkpoint]
    parts.compare.click(page.compare, [parts.dataset, *rules], jobs, **LIGHT)
    parts.duplicates.click(page.find_duplicates, [parts.dataset, parts.distance], jobs, **LIGHT)
    parts.save.click(page.save, [*here, fields.classes, fields.licence, fields.use], outputs, **TURNS)
    parts.freeze.click(page.freeze, [*here, parts.version_name, *fields], entered, **TURNS)
    parts.evaluate.click(page.evaluate, [parts.dataset, fields.version, fields.evaluated], jobs, **LIGHT)
    jobs.click(page.control_job, parts.dataset, jobs, **(LIGHT | QUEUE_ALL))
    gr.Timer(TICK_SECONDS).tick(page.tick, [parts.dataset, jobs], jobs, **LIGHT)
    jobs.change(page.show, here, outputs, **TURNS)  # a job may have changed the steps and the work

"""The page Novel concepts: a data set that no model has seen, step by step, for two people at once.

What it needs of the data's side is imported in the handlers: the first page must not wait for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from html import escape
from json import dumps
from typing import TYPE_CHECKING, Any, NamedTuple

import gradio as gr

from app import panels
from app.accounts import Person, who
from app.pages.shared import EVERY, LIGHT, ON_ASK, ON_JOB, TICK_SECONDS, ask_job, html, in_turn, linked, script, warn
from app.services import Services

if TYPE_CHECKING:
    from curation.concepts import Standing

TITLE, PATH = "Novel concepts", "concepts"
LEAD = "Things that no model has seen: checked against training data, labelled by two people, frozen, measured."
SCRIPT = script("concepts.js")
STEPS = ("pictures", "leaks", "classes", "labels", "agreement", "freeze", "evaluate")
NO_EMBEDDINGS = ("contents and looks only", "")
TURNS = in_turn("concepts")  # else what a job changed is drawn over a step that was pressed meanwhile
BEGIN = panels.empty_state("No set yet", "Choose a data set above, or import a folder of found pictures.")


@dataclass(frozen=True)
class Place:
    """Where a person is. step: "" for the first that is not done. after: the picture labelled last.

    version: of the classes that the form was filled from. turn: grows, so that every answer is another one.
    """

    step: str = ""
    after: int = 0
    version: int = 0
    said: str = ""
    turn: int = 0


class Shown(NamedTuple):
    """What follows from a place; as components, and as their values."""

    steps: Any
    work: Any
    place: Any
    jobs: Any
    forms: Any


class Fields(NamedTuple):
    """The fields that are filled when a step is entered; as components, and as their values."""

    training: Any
    checkpoint: Any
    classes: Any
    licence: Any
    use: Any
    version: Any
    evaluated: Any


@dataclass(frozen=True)
class Parts:
    """The components that events come from or go to."""

    dataset: Any
    name: Any
    shown: Shown
    fields: Fields
    source: Any
    new_name: Any
    bring: Any
    shards: Any
    distance: Any
    nearest: Any
    compare: Any
    itself: Any
    save: Any
    version_name: Any
    freeze: Any
    evaluate: Any


@dataclass
class ConceptsPage:
    """The handlers. Each makes one call and shows what came of it."""

    services: Services

    def open(self, request: gr.Request) -> list[Any]:
        """The page opens, at the place of its link. Returns dataset, name, place."""
        from app.concepts_flow import set_names

        asked = dict(request.query_params)
        names = set_names(self.services)
        step = asked.get("step", "")
        return [
            gr.Dropdown(choices=names, value=linked(names, asked.get("set"), "set")),
            asked.get("as", "")[:60],
            Place(step if step in STEPS else ""),
        ]

    def enter(self, place: Place, dataset: str | None, name: str, request: gr.Request) -> list[Any]:
        """A set or a step is entered: its fields are filled. Returns Shown, Fields."""
        from app.concepts_flow import exports, first_open, steps_of, training_names
        from curation.concept_classes import to_lines

        now = self._standing(dataset)
        if now is None:
            return [*self._shown(place, None, name, who(request)), *(gr.skip() for _ in Fields._fields)]
        place = replace(place, step=place.step or first_open(steps_of(self.services, now)))
        place = replace(place, version=now.concept.version if now.concept else 0)
        training = training_names(self.services, now.dataset)
        usable = [(each.name, each.name) for each in self.services.registry.usable()]
        versions = [one.version.name for one in exports(self.services, now)]
        concept = now.concept
        return [
            *self._shown(place, now, name, who(request)),
            gr.Dropdown(choices=training, value=training[0][1] if training else None),
            gr.Dropdown(choices=[NO_EMBEDDINGS, *usable]),
            to_lines(now.classes),
            concept.licence if concept else "",
            concept.intended_use if concept else "",
            gr.Dropdown(choices=versions, value=versions[0] if versions else None),
            gr.Dropdown(choices=usable, value=usable[0][1] if usable else None),
        ]

    def choose(self, dataset: str | None, name: str, request: gr.Request) -> list[Any]:
        """Another set. Returns Shown, Fields."""
        return self.enter(Place(), dataset, name, request)

    def go(self, place: Place, dataset: str | None, name: str, request: gr.Request, event: gr.EventData) -> list[Any]:
        """A step was pressed. Returns Shown, Fields."""
        asked = event.ask if isinstance(event.ask, Mapping) else {}
        step = str(asked.get("step", ""))
        return self.enter(Place(step if step in STEPS else "", turn=place.turn), dataset, name, request)

    def show(self, place: Place, dataset: str | None, name: str, request: gr.Request) -> list[Any]:
        """The same place, as it stands by now. Returns Shown."""
        return self._shown(place, self._standing(dataset), name, who(request))

    def ask(self, place: Place, dataset: str | None, name: str, request: gr.Request, event: gr.EventData) -> list[Any]:
        """What the work asks: a decision, a label, a field. Returns Shown."""
        from app.concepts_flow import act
        from curation.concepts import ConceptError

        asked, person = event.ask, who(request)
        now = self._standing(dataset)
        if now is None or not isinstance(asked, Mapping):
            return self._shown(place, now, name, person)
        if asked.get("do") == "skip":
            image = self._labelled_now(place, now, name, person)
            return self._shown(replace(place, after=image.id if image else 0, said=""), now, name, person)
        try:
            said = act(self.services, now, asked, person, name or "")
        except ConceptError as error:
            warn(error)
            return self._shown(replace(place, said=""), self._standing(dataset), name, person)
        after = place.after
        if asked.get("do") == "label":
            after = int(asked["image"])
        elif asked.get("do") == "undo":
            after = 0
        return self._shown(replace(place, after=after, said=said), self._standing(dataset), name, person)

    def tick(self, dataset: str | None, before: str) -> Any:
        """Every two seconds: how far the jobs are. Returns jobs."""
        jobs = self._jobs(dataset)
        return gr.skip() if jobs == before else jobs

    def order(self, dataset: str | None, request: gr.Request, event: gr.EventData) -> Any:
        """A button of a job: pause, resume or cancel. Returns jobs."""
        ask_job(self.services, request, event)
        return self._jobs(dataset)

    def bring(self, source: str, new_name: str, dataset: str | None, request: gr.Request) -> list[Any]:
        """[Import]: a job. Returns dataset, jobs."""
        from app.concepts_flow import set_names, start_import
        from curation.concepts import ConceptError

        name = (new_name or "").strip() or dataset or ""
        try:
            start_import(self.services, source or "", name, who(request).name)
        except ConceptError as error:  # raised, not told: the place stays as it is
            raise gr.Error(escape(str(error)), title="Not yet", print_exception=False) from error
        names = list(dict.fromkeys([*set_names(self.services), name]))
        return [gr.Dropdown(choices=names, value=name), self._jobs(name)]

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
        """[Compare]: a job. Returns jobs."""
        return self._check((dataset, training, shards, distance, nearest, checkpoint), False, request)

    def itself(self, dataset: str | None, distance: float, request: gr.Request) -> Any:
        """[Look for duplicates within]: a job. Returns jobs."""
        return self._check((dataset, "", "", distance, 1.0, ""), True, request)

    def _check(self, form: tuple[Any, ...], itself: bool, request: gr.Request) -> Any:
        from app.concepts_flow import check_of, start_check
        from curation.concepts import ConceptError

        dataset, training, shards, distance, nearest, checkpoint = form
        try:
            config = check_of(
                dataset or "", training or "", shards or "", distance, nearest, checkpoint or "", itself=itself
            )
            start_check(self.services, config, who(request).name)
        except ConceptError as error:
            warn(error)
        return self._jobs(dataset)

    def save(
        self,
        place: Place,
        dataset: str | None,
        name: str,
        classes: str,
        licence: str,
        use: str,
        request: gr.Request,
    ) -> list[Any]:
        """[Save] of classes, licence and use. What was typed stays in its fields. Returns Shown."""
        from app.concepts_flow import save_form
        from curation.concepts import ConceptError

        person, now = who(request), self._standing(dataset)
        if now is None:
            return self._shown(place, None, name, person)
        try:
            save_form(self.services, now, place.version, classes or "", licence or "", use or "", person.name)
        except ConceptError as error:
            warn(error)
            return self._shown(place, now, name, person)
        now = self._standing(dataset)
        version = now.concept.version if now and now.concept else 0
        return self._shown(replace(place, version=version), now, name, person)

    def freeze(self, place: Place, dataset: str | None, name: str, version: str, request: gr.Request) -> list[Any]:
        """[Freeze]: a version, and a job that writes its shards. Returns Shown, Fields."""
        from app.concepts_flow import freeze_now
        from curation.concepts import ConceptError

        try:
            freeze_now(self.services, dataset or "", version or "", who(request).name)
        except ConceptError as error:
            warn(error)
        return self.enter(place, dataset, name, request)

    def evaluate(self, dataset: str | None, version: str | None, checkpoint: str | None, request: gr.Request) -> Any:
        """[Evaluate]: a job. Returns jobs."""
        from app.concepts_flow import start_evaluation
        from curation.concepts import ConceptError

        now = self._standing(dataset)
        try:
            if now is not None:
                start_evaluation(self.services, now, version or "", checkpoint or "", who(request).name)
        except ConceptError as error:
            warn(error)
        return self._jobs(dataset)

    def _standing(self, dataset: str | None) -> Standing | None:
        from curation.concepts import ConceptError, standing

        try:
            return standing(self.services.engine, dataset) if dataset else None
        except ConceptError:  # it is being imported
            return None

    def _shown(self, place: Place, now: Standing | None, name: str, person: Person) -> list[Any]:
        from app import concepts_panels
        from app.concepts_flow import first_open, steps_of

        place = replace(place, turn=place.turn + 1)
        if now is None:
            forms = [gr.update(visible=step == "pictures") for step in STEPS]
            return ["", _placed(BEGIN, {}, place), place, gr.skip(), *forms]
        steps = steps_of(self.services, now)
        place = replace(place, step=place.step or first_open(steps))
        link = {"set": now.dataset, "step": place.step, "as": "" if self.services.people.required else (name or "")}
        return [
            concepts_panels.steps_panel(steps, place.step),
            _placed(self._work(place, now, name or "", person), link, place),
            place,
            self._jobs(now.dataset),
            *(gr.update(visible=step == place.step) for step in STEPS),
        ]

    def _work(self, place: Place, now: Standing, name: str, person: Person) -> str:
        from app import concepts_panels
        from app.concepts_flow import exports

        home = self.services.settings.home
        panels_of = {
            "pictures": lambda: concepts_panels.pictures_panel(now, home),
            "leaks": lambda: concepts_panels.leaks_panel(now, home),
            "classes": lambda: concepts_panels.classes_panel(now),
            "labels": lambda: self._label(place, now, name, person),
            "agreement": lambda: concepts_panels.agreement_panel(now, home, place.said),
            "freeze": lambda: concepts_panels.freeze_panel(now),
            "evaluate": lambda: concepts_panels.evaluations_panel(exports(self.services, now)),
        }
        return panels_of[place.step]()

    def _label(self, place: Place, now: Standing, name: str, person: Person) -> str:
        from app import concepts_panels
        from app.concepts_flow import labeller, picture_uri
        from curation.concepts import ConceptError

        try:
            labels_as = labeller(self.services, person, name)
        except ConceptError as error:
            return panels.empty_state("Who labels?", str(error))
        image = now.next_unlabelled(labels_as, place.after)
        uri = picture_uri(self.services, self.services.pictures, image) if image else ""
        if image and (behind := now.next_unlabelled(labels_as, image.id)) and behind.id != image.id:
            self.services.pictures.make_ready([behind])
        return concepts_panels.label_panel(now, image, uri, labels_as, place.said)

    def _labelled_now(self, place: Place, now: Standing, name: str, person: Person) -> Any:
        from app.concepts_flow import labeller
        from curation.concepts import ConceptError

        try:
            return now.next_unlabelled(labeller(self.services, person, name or ""), place.after)
        except ConceptError:
            return None

    def _jobs(self, dataset: str | None) -> str:
        from app.annotate_panels import jobs_panel
        from app.annotating import jobs_now
        from app.concepts_flow import KINDS, MOST_JOBS

        views = jobs_now(self.services, KINDS, dataset=dataset or "", most=MOST_JOBS)
        return f"<h2>Jobs</h2>{jobs_panel(views)}" if views else ""


def _placed(work: str, link: Mapping[str, str], place: Place) -> str:
    """The work, with what its address says; every turn is another text, so that the browser hears of each."""
    return f'<div class="flow" data-place="{escape(dumps(link))}" data-turn="{place.turn}">{work}</div>'


def build(app: gr.Blocks, services: Services) -> None:
    """Lay the page out inside the current Blocks and wire its events."""
    page = ConceptsPage(services)
    _wire(app, page, _lay_out(services))


def _lay_out(services: Services) -> Parts:
    with gr.Row(elem_classes="page-head"):
        html(f'<h1>Novel concepts</h1><p class="lead">{LEAD}</p>')
        dataset = gr.Dropdown([], label="data set", elem_id="dataset", min_width=170, scale=0)
        name = gr.Textbox(
            label="you label as",
            placeholder="your name",
            visible=not services.people.required,
            elem_id="labeller",
            min_width=140,
            scale=0,
        )
    with gr.Row(elem_classes="columns concepts"):
        with gr.Column(elem_classes="card inputs", min_width=240):
            html("<h2>Steps</h2>")
            steps = gr.HTML(js_on_load=ON_ASK, apply_default_css=False, elem_id="steps")
            jobs = gr.HTML(js_on_load=ON_JOB, apply_default_css=False, elem_id="jobs")
        with gr.Column(elem_classes="card work", min_width=320):
            forms = []
            for step in STEPS:
                with gr.Column(visible=step == "pictures", elem_classes="step-form") as form:
                    made = _FORMS[step]()
                forms.append((form, made))
            work = gr.HTML(BEGIN, js_on_load=SCRIPT, apply_default_css=False, elem_id="work")
    source, new_name, bring = forms[0][1]
    training, shards, checkpoint, distance, nearest, compare, itself = forms[1][1]
    classes, licence, use, save = forms[2][1]
    version_name, freeze = forms[5][1]
    version, evaluated, evaluate = forms[6][1]
    shown = Shown(steps, work, gr.State(Place()), jobs, [form for form, _ in forms])
    fields = Fields(training, checkpoint, classes, licence, use, version, evaluated)
    return Parts(
        dataset, name, shown, fields, source, new_name, bring, shards, distance, nearest, compare, itself, save,
        version_name, freeze, evaluate,
    )  # fmt: skip


def _picture_form() -> tuple[Any, ...]:
    html(
        '<h2>Pictures</h2><p class="quiet">A folder of pictures with <code>metadata.csv</code> (file_name, found_at, '
        "found_on), <code>metadata.jsonl</code>, or a JSON beside each picture.</p>"
    )
    with gr.Row(elem_classes="form-row"):
        source = gr.Textbox(label="folder on this machine", placeholder="/data/fair-2026", elem_id="source")
        new_name = gr.Textbox(label="data set (empty: the chosen one)", placeholder="fair-2026", elem_id="name")
        bring = gr.Button("Import", variant="primary", elem_id="bring")
    return source, new_name, bring


def _leak_form() -> tuple[Any, ...]:
    html('<h2>Leak check</h2><p class="quiet">Is any picture in the training data already?</p>')
    with gr.Row(elem_classes="form-row"):
        training = gr.Dropdown([], label="training data", elem_id="training")
        shards = gr.Textbox(label="or a folder of shards", placeholder="/data/cc3m", elem_id="shards")
        checkpoint = gr.Dropdown([NO_EMBEDDINGS], value="", label="embeddings of", elem_id="embeddings")
    with gr.Row(elem_classes="form-row"):
        distance = gr.Slider(0, 20, value=8, step=1, label="looks differ in at most, bits", buttons=[])
        nearest = gr.Slider(0.5, 1, value=0.9, step=0.01, label="least cosine of embeddings", buttons=[])
        compare = gr.Button("Compare", variant="primary", elem_id="compare")
        itself = gr.Button("Duplicates within", elem_id="itself")
    return training, shards, checkpoint, distance, nearest, compare, itself


def _class_form() -> tuple[Any, ...]:
    html(
        '<h2>Classes</h2><p class="quiet">A line each, <code>name: description; description</code>, or a JSON of '
        "DCLIP or CuPL.</p>"
    )
    classes = gr.Textbox(label="classes", lines=6, max_lines=14, elem_id="classes")
    with gr.Row(elem_classes="form-row"):
        licence = gr.Textbox(label="licence of the pictures", placeholder="CC-BY-4.0", elem_id="licence")
        use = gr.Textbox(label="intended use", placeholder="evaluation only", elem_id="use")
        save = gr.Button("Save", variant="primary", elem_id="save")
    return classes, licence, use, save


def _label_form() -> tuple[Any, ...]:
    html('<h2>Labels</h2><p class="quiet">What does the picture show? Nobody sees what another person said.</p>')
    return ()


def _agreement_form() -> tuple[Any, ...]:
    html('<h2>Agreement</h2><p class="quiet">How far two people agree; where they do not, somebody decides.</p>')
    return ()


def _freeze_form() -> tuple[Any, ...]:
    html("<h2>Freeze</h2>")
    with gr.Row(elem_classes="form-row"):
        version_name = gr.Textbox(label="name of the version", placeholder="v1", elem_id="version-name")
        freeze = gr.Button("Freeze and export", variant="primary", elem_id="freeze")
    return version_name, freeze


def _evaluate_form() -> tuple[Any, ...]:
    html('<h2>Evaluate</h2><p class="quiet">How often is the right class the best of all?</p>')
    with gr.Row(elem_classes="form-row"):
        version = gr.Dropdown([], label="version", elem_id="version")
        evaluated = gr.Dropdown([], label="checkpoint", elem_id="evaluated")
        evaluate = gr.Button("Evaluate", variant="primary", elem_id="evaluate")
    return version, evaluated, evaluate


_FORMS = {
    "pictures": _picture_form,
    "leaks": _leak_form,
    "classes": _class_form,
    "labels": _label_form,
    "agreement": _agreement_form,
    "freeze": _freeze_form,
    "evaluate": _evaluate_form,
}


def _wire(app: gr.Blocks, page: ConceptsPage, parts: Parts) -> None:
    shown = [parts.shown.steps, parts.shown.work, parts.shown.place, parts.shown.jobs, *parts.shown.forms]
    entered = [*shown, *parts.fields]
    here = [parts.shown.place, parts.dataset, parts.name]
    fields = parts.fields
    app.load(page.open, None, [parts.dataset, parts.name, parts.shown.place], **LIGHT).then(
        page.enter, here, entered, **TURNS
    )
    parts.dataset.input(page.choose, [parts.dataset, parts.name], entered, **TURNS)
    for stated in (parts.name.submit, parts.name.blur):
        stated(page.show, here, shown, **TURNS)
    parts.shown.steps.click(page.go, here, entered, **(TURNS | EVERY))
    parts.shown.work.click(page.ask, here, shown, **(TURNS | EVERY))
    parts.bring.click(
        page.bring, [parts.source, parts.new_name, parts.dataset], [parts.dataset, parts.shown.jobs], **LIGHT
    ).success(page.choose, [parts.dataset, parts.name], entered, **TURNS)
    looks = [fields.training, parts.shards, parts.distance, parts.nearest, fields.checkpoint]
    parts.compare.click(page.compare, [parts.dataset, *looks], parts.shown.jobs, **LIGHT)
    parts.itself.click(page.itself, [parts.dataset, parts.distance], parts.shown.jobs, **LIGHT)
    parts.save.click(page.save, [*here, fields.classes, fields.licence, fields.use], shown, **TURNS)
    parts.freeze.click(page.freeze, [*here, parts.version_name], entered, **TURNS)
    parts.evaluate.click(page.evaluate, [parts.dataset, fields.version, fields.evaluated], parts.shown.jobs, **LIGHT)
    parts.shown.jobs.click(page.order, parts.dataset, parts.shown.jobs, **(LIGHT | EVERY))
    gr.Timer(TICK_SECONDS).tick(page.tick, [parts.dataset, parts.shown.jobs], parts.shown.jobs, **LIGHT)
    parts.shown.jobs.change(page.show, here, shown, **TURNS)  # what a job did is seen in the steps and the work

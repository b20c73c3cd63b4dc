"""Lay out the page Novel concepts: the steps at the left, and the form and the work of the open one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr

from app.ui.annotations_beside import beside_field
from app.ui.changing_choice import ChangingChoice
from app.ui.drafts import draft_field, draft_fields_script
from app.ui.events import ON_ASK, ON_JOB, html, script
from app.ui.html import empty_state, heading, page_head

TITLE = "Novel concepts"
LEAD = "A test set of things that no model has seen: checked for leaks, labelled by two people, frozen, evaluated."
SCRIPT = script(Path(__file__).with_name("page.js"))
CLASSES_LEAD = (
    'A line each, “name: description; description”, or JSON: {"name": "text"}, {"name": ["text", …]} as of DCLIP and '
    'CuPL, or with facts: {"name": {"descriptions": ["text"], "brand": "…", "product class": "…", '
    '"release date": "2026-09"}}. Facts can also be written in the list below, class by class.'
)
STEPS = ("pictures", "leaks", "classes", "labels", "agreement", "freeze", "evaluate")
NO_EMBEDDINGS = ("contents and looks only", "")
NO_SET = empty_state("No set yet", "Choose a data set above, or import a folder of found pictures.")


class ConceptsOutputs(NamedTuple):
    """The outputs of every answer; as components, and as their values. forms: one a step, of STEPS."""

    steps: Any
    work: Any
    place: Any
    jobs: Any
    forms: Sequence[Any]

    def flat(self) -> list[Any]:
        """Return them as Gradio takes them."""
        return [*self[:-1], *self.forms]


class ConceptsFields(NamedTuple):
    """The fields that are filled when a step is entered; as components, and as their values."""

    training: Any = None
    checkpoint: Any = None
    classes: Any = None
    licence: Any = None
    use: Any = None
    version: Any = None
    evaluated: Any = None


class ClassForm(NamedTuple):
    """The texts of the form of the step Classes."""

    classes: str = ""
    licence: str = ""
    use: str = ""


@dataclass(frozen=True, kw_only=True)
class ConceptsComponents:
    """The components that events come from or go to."""

    dataset: Any
    name: Any
    outputs: ConceptsOutputs
    fields: ConceptsFields
    source: Any
    new_name: Any
    start_import: Any
    beside: Any
    import_note: Any
    shards: Any
    distance: Any
    nearest: Any
    compare: Any
    duplicates: Any
    save: Any
    version_name: Any
    freeze: Any
    evaluate: Any


def lay_out(place: Any, *, signs_in: bool) -> ConceptsComponents:
    """Lay the page out inside the current Blocks.

    Args: place: where a person begins. signs_in: labels bear the name of the account, so nobody states one.
    """
    with gr.Row(elem_classes="page-head"):
        html(page_head(TITLE, LEAD))
        dataset = gr.Dropdown([], label="data set", elem_id="dataset", min_width=170, scale=0)
        name = gr.Textbox(
            label="you label as",
            placeholder="your name",
            visible=not signs_in,
            elem_id="labeller",
            min_width=140,
            scale=0,
        )
    with gr.Row(elem_classes="columns concepts"):
        with gr.Column(elem_classes="card inputs", min_width=240):
            html(heading("Steps"))
            steps = gr.HTML(js_on_load=ON_ASK, apply_default_css=False, elem_id="steps")
            jobs = gr.HTML(js_on_load=ON_JOB, apply_default_css=False, elem_id="jobs")
        with gr.Column(elem_classes="card work", min_width=320):
            forms: list[gr.Column] = []
            fields: dict[str, Any] = {}
            for step in STEPS:
                with gr.Column(visible=step == "pictures", elem_classes="step-form") as form:
                    fields |= _FORMS[step]()
                forms.append(form)
            work = gr.HTML(NO_SET, js_on_load=SCRIPT, apply_default_css=False, elem_id="work")
    return ConceptsComponents(
        dataset=dataset,
        name=name,
        outputs=ConceptsOutputs(steps, work, gr.State(place), jobs, forms),
        fields=ConceptsFields(**{each: fields.pop(each) for each in ConceptsFields._fields}),
        **fields,
    )


def _picture_form() -> dict[str, Any]:
    advice = (
        "A folder of pictures with metadata.csv (file_name, found_at, found_on), metadata.jsonl, or a JSON beside "
        "each picture."
    )
    html(heading("Pictures", advice))
    with gr.Row(elem_classes="form-row"):
        fields = {
            "source": gr.Textbox(label="folder on this machine", placeholder="/data/fair-2026", elem_id="source"),
            "new_name": gr.Textbox(label="data set (empty: the chosen one)", placeholder="fair-2026", elem_id="name"),
            "start_import": gr.Button("Import", variant="primary", elem_id="import"),
        }
    return fields | {"beside": beside_field(), "import_note": html(elem_id="note-import")}


def _leak_form() -> dict[str, Any]:
    html(heading("Leak check", "Is any picture in the training data already?"))
    with gr.Row(elem_classes="form-row"):
        training = ChangingChoice([], label="training data", elem_id="training")
        shards = gr.Textbox(label="or a folder of shards", placeholder="/data/cc3m", elem_id="shards")
        checkpoint = ChangingChoice([NO_EMBEDDINGS], value="", label="embeddings of", elem_id="embeddings")
    with gr.Row(elem_classes="form-row"):
        return {
            "training": training,
            "shards": shards,
            "checkpoint": checkpoint,
            "distance": gr.Slider(0, 20, value=8, step=1, label="looks differ in at most, bits", buttons=[]),
            "nearest": gr.Slider(0.5, 1, value=0.9, step=0.01, label="least cosine of embeddings", buttons=[]),
            "compare": gr.Button("Compare", variant="primary", elem_id="compare"),
            "duplicates": gr.Button("Find duplicates", elem_id="duplicates"),
        }


def _class_form() -> dict[str, Any]:
    html(heading("Classes", CLASSES_LEAD))
    draft_fields_script()
    classes = draft_field(label="classes", lines=6, max_lines=14, elem_id="classes", of_dataset=True)
    with gr.Row(elem_classes="form-row"):
        return {
            "classes": classes,
            "licence": gr.Textbox(label="licence of the pictures", placeholder="CC-BY-4.0", elem_id="licence"),
            "use": gr.Textbox(label="intended use", placeholder="evaluation only", elem_id="use"),
            "save": gr.Button("Save", variant="primary", elem_id="save"),
        }


def _label_form() -> dict[str, Any]:
    html(heading("Labels", "What does the picture show? Nobody sees another person's labels."))
    return {}


def _agreement_form() -> dict[str, Any]:
    html(heading("Agreement", "How far two people agree; where they do not, somebody decides."))
    return {}


def _freeze_form() -> dict[str, Any]:
    html(heading("Freeze"))
    with gr.Row(elem_classes="form-row"):
        return {
            "version_name": gr.Textbox(label="name of the version", placeholder="v1", elem_id="version-name"),
            "freeze": gr.Button("Freeze and export", variant="primary", elem_id="freeze"),
        }


def _evaluate_form() -> dict[str, Any]:
    html(heading("Evaluate", "How often does the right class score best?"))
    with gr.Row(elem_classes="form-row"):
        return {
            "version": ChangingChoice([], label="version", elem_id="version"),
            "evaluated": ChangingChoice([], label="checkpoint", elem_id="evaluated"),
            "evaluate": gr.Button("Evaluate", variant="primary", elem_id="evaluate"),
        }


_FORMS = {
    "pictures": _picture_form,
    "leaks": _leak_form,
    "classes": _class_form,
    "labels": _label_form,
    "agreement": _agreement_form,
    "freeze": _freeze_form,
    "evaluate": _evaluate_form,
}

"""Make the filter controls of the Curate page, and go from their values to a query, to an address and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode

import gradio as gr

from app.ui.changing_choice import ChangingChoice

if TYPE_CHECKING:
    from app.curate.actions import CurateQuery

STATUSES = ["pending", "accepted", "rejected", "deleted"]
SORTS = [
    ("newest first", "newest"),
    ("lowest score first", "lowest_score"),
    ("largest disagreement first", "disagreement"),
    ("outliers first", "outliers"),
]
LIKENESS = [("the most like first", "newest"), *SORTS[1:]]  # while a search by likeness is on
ANY, ANY_RUN = ("any", ""), 0


@dataclass(frozen=True)
class FilterControl:
    """The control of one filter, or of the data set, the order or the selection on the map.

    name: a field of CurateFilter or CurateQuery. neutral: the value that filters nothing. restore: value -> update,
    where the control must be given more than the value. make: None of the data set, which is in the navigation.
    drawer: whether it is under "More filters".
    """

    name: str
    make: Callable[[], Any] | None
    neutral: Any = ""
    restore: Callable[[Any], Any] = lambda value: value
    drawer: bool = False


def _share(name: str, label: str, neutral: float, *, step: float = 0.01) -> FilterControl:
    """Return the control of a bound between 0 and 1."""
    options: dict[str, Any] = {"value": neutral, "step": step, "label": label, "buttons": [], "elem_id": name}
    return FilterControl(name, lambda: gr.Slider(0, 1, **options), neutral, drawer=True)


def _with_choice(neutral: Any, label: str) -> Callable[[Any], Any]:
    """Return a function that restores a dropdown whose choices are not loaded yet."""
    return lambda value: gr.Dropdown(choices=[("any", neutral), (label.format(value), value)], value=value)


CONTROLS = (
    FilterControl("dataset", None),
    FilterControl(
        "statuses",
        lambda: gr.CheckboxGroup(STATUSES, value=STATUSES[:3], label="verdict", elem_id="statuses"),
        STATUSES[:3],
        list,
    ),
    FilterControl(
        "sort", lambda: gr.Dropdown(SORTS, value="newest", label="order", elem_id="sort", filterable=False), "newest"
    ),
    FilterControl(
        "words", lambda: gr.Textbox(label="words in the description", placeholder="red lid*", elem_id="words")
    ),
    FilterControl(
        "source",
        lambda: ChangingChoice([ANY], value="", label="source", elem_id="source"),
        restore=_with_choice(ANY[1], "{}"),
        drawer=True,
    ),
    FilterControl(
        "tag",
        lambda: ChangingChoice([ANY], value="", label="tag", elem_id="tag"),
        restore=_with_choice(ANY[1], "{}"),
        drawer=True,
    ),
    FilterControl(
        "run_id",
        lambda: ChangingChoice([("any", ANY_RUN)], value=ANY_RUN, label="found by run", elem_id="run"),
        ANY_RUN,
        _with_choice(ANY_RUN, "run {}"),
        drawer=True,
    ),
    _share("min_score", "lowest score", 0),
    _share("max_score", "highest score", 1),
    _share("min_disagreement", "least disagreement", 0, step=0.05),
    FilterControl(
        "phash",
        lambda: gr.Textbox(label="duplicates of (perceptual hash)", placeholder="any", elem_id="phash"),
        drawer=True,
    ),
    FilterControl("selection", lambda: gr.State("")),
)
"""In the order of the page."""


def query_of(values: Sequence[Any]) -> CurateQuery:
    """Return the query of the controls' values."""
    from app.curate.actions import CurateQuery
    from db.queries.curate_filter import CurateFilter

    pairs = zip(CONTROLS, values, strict=True)
    given = {control.name: "" if value in (None, control.neutral) else value for control, value in pairs}
    dataset, sort, selection = (given.pop(name) for name in ("dataset", "sort", "selection"))
    filters = CurateFilter.from_values(given)
    return CurateQuery(dataset=dataset, filters=filters, sort=sort or "newest", selection=selection)


def query_at(filters: Any) -> CurateQuery:
    """Return the query of filters as the page's script sends them back: `address`, see address_of, and `selection`."""
    from app.curate.actions import CurateQuery
    from db.queries.curate_filter import CurateFilter

    given = filters if isinstance(filters, Mapping) else {}
    parameters = dict(parse_qsl(str(given.get("address") or "")))
    filters, selection = CurateFilter.from_address(parameters), str(given.get("selection") or "")
    return CurateQuery(
        dataset=parameters.get("dataset", ""), filters=filters, sort=_sort_of(parameters), selection=selection
    )


def _sort_of(parameters: Mapping[str, str]) -> str:
    """Return the order that an address names; the first where it names none that there is."""
    orders = [order for _, order in SORTS]
    return parameters["sort"] if parameters.get("sort") in orders else orders[0]


def address_of(values: Sequence[Any], *, with_dataset: bool = True) -> str:
    """Return the address parameters of the controls that somebody has set; the selection on the map has none."""
    query = query_of(values)
    dataset = {"dataset": query.dataset} if query.dataset and with_dataset else {}
    sort = {"sort": query.sort} if query.sort != "newest" else {}
    return urlencode(dataset | query.filters.to_address() | sort)


def restored_controls(parameters: Mapping[str, str], dataset: Any) -> list[Any]:
    """Return the controls as an address has them; what has no meaning there is left neutral."""
    from db.queries.curate_filter import CurateFilter

    values = vars(CurateFilter.from_address(parameters)) | {"dataset": dataset, "sort": _sort_of(parameters)}
    given = ((control, values.get(control.name)) for control in CONTROLS)
    return [control.neutral if value in (None, "") else control.restore(value) for control, value in given]


def changed_controls(values: Sequence[Any]) -> list[FilterControl]:
    """Return the controls, but the data set's, that an update sets: what hides one of them must be open."""
    pairs = zip(CONTROLS, values, strict=True)
    return [control for control, value in pairs if control.make and value != control.neutral]

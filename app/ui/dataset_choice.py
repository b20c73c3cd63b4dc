"""Choose the data set that pages work on: one field in the navigation, kept in the address and in the browser."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import gradio as gr

from app.services import Services
from app.ui.changing_choice import ChangingChoice
from app.ui.events import LIGHT, choose_linked
from app.ui.html import empty_state

COOKIE = "grain-dataset"
NO_DATASET = empty_state("No data set yet", "It appears here once pictures are imported.")
KEEP = f"""(name) => {{
  if (!name) return;
  const kept = encodeURIComponent(name), query = new URLSearchParams(location.search);
  document.cookie = `{COOKIE}=${{kept}}; path=/; max-age=31536000; samesite=lax`;
  if (query.get("dataset") !== name) {{
    query.set("dataset", name);
    history.replaceState(history.state, "", `${{location.pathname}}?${{query}}`);
  }}
  for (const link of document.querySelectorAll("#side-bar a[data-carries]")) link.search = `?dataset=${{kept}}`;
}}"""
"""Each tab carries its own choice along its links; the cookie is for an address without one."""


class DatasetNames:
    """The handler of the field."""

    def __init__(self, services: Services) -> None:
        """services: what it calls."""
        self.services = services

    def offer(self) -> gr.Dropdown:
        """Offer the data sets that there are now: one may have been renamed since the page was opened."""
        from app.ui.jobs_list import dataset_names

        return gr.Dropdown(choices=dataset_names(self.services))


def dataset_field(services: Services) -> gr.Dropdown:
    """Lay out the choice of the data set; what a person chooses stays chosen on all pages."""
    field = ChangingChoice([], label="data set", elem_id="dataset")
    field.change(None, field, None, js=KEEP, api_visibility="private")
    field.focus(DatasetNames(services).offer, None, field, **LIGHT)
    return field


@dataclass(frozen=True)
class DatasetChoice:
    """The names of all data sets, and the chosen one; None where there is none."""

    names: list[str]
    chosen: str | None

    @property
    def field(self) -> gr.Dropdown:
        """Return the update of the field."""
        return gr.Dropdown(choices=self.names, value=self.chosen)


def open_dataset(services: Services, request: gr.Request) -> DatasetChoice:
    """Choose the data set of the address, else the one of this browser, else the one that was made last."""
    from app.ui.jobs_list import dataset_names

    names, kept = dataset_names(services), kept_dataset(request)
    first = [kept] if kept in names else last_imported(services)
    return DatasetChoice(names, choose_linked([*first, *names], request.query_params.get("dataset"), "data set"))


def kept_dataset(request: gr.Request) -> str:
    """Return the name that this browser keeps; "" for none."""
    with suppress(KeyError, AttributeError):  # a request that the API's client made has no cookies
        return unquote(request.cookies.get(COOKIE, ""))
    return ""


def last_imported(services: Services) -> list[str]:
    """Return the name of the data set that was made last; [] where there is none.

    One that is called after another, "NAME · …", is a sample of that and does not count.
    """
    from db.engine import reading
    from db.queries.data_set_queries import list_datasets

    with reading(services.engine) as session:
        names = [dataset.name for dataset in sorted(list_datasets(session), key=lambda each: each.id)]
    return [name for name in names if not any(name.startswith(f"{other} · ") for other in names)][-1:]


def refreshed_dataset(services: Services, now: str | None, known: list[str], *, who: str) -> tuple[Any, list[str]]:
    """Update the list after an import: a new data set that this person imports is chosen, else the choice stays.

    Args:    now: what is chosen. known: the names that were there before. who: name of the person.
    Returns: the update, and the names that are there.
    """
    from app.ui.jobs_list import dataset_names
    from db.engine import reading
    from db.queries.job_queries import job_page

    names = dataset_names(services)
    if names == known:
        return gr.skip(), known
    with reading(services.engine) as session:
        mine = [job.config.get("dataset") for job in job_page(session, kind="import", limit=5) if job.owner == who]
    new = [name for name in mine if name in names and name not in known]
    value = new[0] if new else now if now in names else next(iter(names), None)
    return gr.Dropdown(choices=names, value=value), names

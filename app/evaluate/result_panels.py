"""Draw a chosen result of the Evaluate page: all of its panels and plots."""

from __future__ import annotations

from app.evaluate import panels, picture_panels, plots
from app.evaluate.layout import NO_PLOT, NO_RESULT, ResultCards, ResultPanels
from app.evaluate.results import EvaluationResult, find_pair, model_of
from app.ui.plots import empty_figure


def no_result() -> ResultPanels:
    """Return what the page shows while nothing is evaluated."""
    texts = dict.fromkeys(ResultPanels._fields, "")
    plot = empty_figure(NO_PLOT)
    plots = dict.fromkeys(("leads_plot", "deltas", "alpha", "grounding", "calibration"), plot)
    return ResultPanels(**texts | {"table": NO_RESULT} | plots)


def draw_result(result: EvaluationResult, number: int, *, one: str, other: str) -> ResultPanels:
    """Draw one data set of a result. number: of the data set. one, other: rows to compare."""
    data, details = result.metrics["data_sets"][number], result.details["data_sets"][number]
    compared = find_pair(details["deltas"], one, other)
    has_classes = bool(data["rows"])
    leads = data.get("leads", [])
    no_deltas = "Choose two rows" if has_classes else "No classes to compare"
    rows = {"one": one, "other": other}
    return ResultPanels(
        head=panels.experiment_head(result.metrics)
        + panels.failures_panel(result.metrics.get("failures", []))
        + panels.head_panel(data),
        table=panels.table_panel(data),
        others=panels.measures_panel(data) + panels.across_panel(result.metrics),
        leads=panels.leads_panel(data),
        leads_plot=plots.leads(leads, panels.first_model(leads) if leads else ""),
        pair=panels.pair_panel(data, one, other) if has_classes else "",
        deltas=plots.deltas(compared) if compared else empty_figure(no_deltas),
        apart=picture_panels.apart_panel(result, number, **rows) if has_classes else "",
        examples=picture_panels.examples_panel(result, number, **rows) if has_classes else "",
        confusion=picture_panels.confusion_panel(result, number, one) if has_classes else panels.NO_CLASSES,
        alpha=plots.alpha(details["sweeps"]),
        grounding=plots.grounding(details["grounding"]),
        calibration=plots.calibration(details["rows"], list(dict.fromkeys((one, other)))),
        effects=picture_panels.effects_panel(result, number, model_of(one)) if has_classes else panels.NO_CLASSES,
        costs=panels.costs_panel(data),
    )


def no_cards(evaluations: bool) -> ResultCards:
    """Return which cards are there while no result is chosen. evaluations: whether there is any to choose."""
    return ResultCards(evaluations, *[False] * (len(ResultCards._fields) - 1))


def filled_cards(result: EvaluationResult, number: int, *, one: str) -> ResultCards:
    """Return which cards have something to show of a data set. one: the row whose descriptions are told of."""
    data, details = result.metrics["data_sets"][number], result.details["data_sets"][number]
    has_classes = bool(data["rows"])
    return ResultCards(
        controls=True,
        files=True,
        leads=bool(data.get("leads")),
        pair=bool(data["pairs"]),
        alpha=bool(details["sweeps"]),
        grounding=bool(details["grounding"]),
        calibration=has_classes,
        confusion=bool(details["rows"].get(one, {}).get("confused")),
        effects=bool(details["effects"].get(model_of(one))),
        costs=True,
    )

"""The templates that all pages share, with hostile text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from app.core.example_data import ExampleDataSet
from app.core.templates import environment
from app.main import Page
from app.ui.frames import regions_frame
from app.ui.html import (
    command_block,
    command_details,
    empty_state,
    heading,
    history,
    notice,
    page_head,
    render,
)
from app.ui.jobs_list import JobView, jobs_panel
from app.ui.regions import versions_table
from db.models import Job
from db.queries.run_queries import FailureGroup, StageTally
from grain.structures import Region
from tests.support.hostile import HOSTILE

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MACROS = """{% import "ui/templates/macros.html" as ui %}
{{ ui.finding(text) }}{{ ui.table((text, text), ((text, text),), kind=text) }}{{ ui.meter(text, 1, 2, text, text) }}
{{ ui.headline(text, text, text, kind=text) }}{{ ui.bar(0.5, text, kind=text, title=text) }}{{ ui.swatch(1) }}
{{ ui.page_head(text, text) }}{{ ui.heading(text) }}{{ ui.note(text) }}
{{ ui.boxed_thumbnail("data:,", 2, 1, ((0, 0, 1, 1, text),), text) }}
{{ ui.thumbnail("", text) }}{{ ui.thumbnail("data:,", text) }}
{% call ui.figure("data:,", 2, 1, text) %}{{ text }}{% endcall %}
{{ ui.plot_text((text, text)) }}{{ ui.hover_text((text,)) }}{{ ui.plot_label({"color": text, "dash": ""}, (text,)) }}
"""


def macros() -> str:
    return environment().from_string(MACROS).render(text=HOSTILE)


def jobs() -> str:
    facts: dict[str, Any] = {
        "kind": HOSTILE,
        "owner": HOSTILE,
        "config": {"dataset": HOSTILE},
        "message": HOSTILE,
        "argv": [],
    }
    made = [
        Job(id=1, state="failed", exit_reason=HOSTILE, done=1, total=2, **facts),
        Job(id=2, state="running", done=1, total=2, started_at=NOW, **facts),
    ]
    counts: dict[str, Any] = dict.fromkeys(StageTally.__dataclass_fields__, 1) | {"stage": HOSTILE}
    reasons: dict[str, Any] = dict.fromkeys(FailureGroup.__dataclass_fields__, 1) | {
        "stage": HOSTILE,
        "reason": HOSTILE,
    }
    return jobs_panel([JobView(job, [StageTally(**counts)], [FailureGroup(**reasons)], (), HOSTILE) for job in made])


NAMED_PAGE = Page(HOSTILE, "annotate", lambda: None)
CASES: Mapping[str, Sequence[Callable[[], str]]] = {
    "ui/templates/macros.html": (
        macros,
        lambda: notice(HOSTILE),
        lambda: empty_state(HOSTILE, HOSTILE),
        lambda: page_head(HOSTILE, HOSTILE, (HOSTILE, "/annotate")),
        lambda: heading(HOSTILE, HOSTILE),
        lambda: regions_frame("data:,", [Region((0, 0, 1, 1), HOSTILE, 0.5, 9)], width=2, height=1),
        lambda: command_block(HOSTILE),
        lambda: command_details([HOSTILE]),
        lambda: versions_table({HOSTILE: HOSTILE}, {HOSTILE: 1}, left=HOSTILE, right=HOSTILE),
        lambda: history([(HOSTILE, HOSTILE, NOW)]),
    ),
    "ui/templates/first_example.html": (
        lambda: render(
            "ui/templates/first_example.html", examples=[ExampleDataSet(HOSTILE, HOSTILE, HOSTILE, {}, "sample")]
        ),
    ),
    "ui/templates/jobs.html": (jobs,),
    "ui/templates/navigation.html": (
        lambda: render("ui/templates/navigation.html", pages=[NAMED_PAGE], here="annotate", sign_out="/logout"),
    ),
}

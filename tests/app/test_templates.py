"""Every template of the pages is rendered with hostile text; none lets it become markup."""

from __future__ import annotations

import re
import runpy
from collections.abc import Callable

import pytest

from app.core.templates import ROOMS, environment
from app.ui.html import empty_state
from tests.support.hostile import HOSTILE, MARK, must_be_harmless
from tests.support.paths import ROOT

TEMPLATES = sorted(file.relative_to(ROOMS).as_posix() for file in ROOMS.glob("*/templates/*.html"))


def cases() -> dict[str, list[Callable[[], str]]]:
    """Template -> what renders it with hostile text: CASES of each tests/app/<page>/hostile_cases.py."""
    found: dict[str, list[Callable[[], str]]] = {}
    for file in sorted((ROOT / "tests" / "app").glob("*/hostile_cases.py")):
        for template, renderings in runpy.run_path(str(file))["CASES"].items():
            assert template not in found, f"{template} has cases in two files"
            found[template] = list(renderings)
    return found


CASES = cases()
OWN_TAGS: dict[str, dict[str, int]] = {
    "access/templates/sign_in.html": {"meta": 2, "style": 1, "form": 1},
    "curate/templates/selection.html": {"form": 1},
}
"""Template -> tags that are forbidden elsewhere -> how many of them it has itself."""


def test_every_template_has_a_case() -> None:
    assert TEMPLATES and sorted(CASES) == TEMPLATES


@pytest.mark.parametrize("template", sorted(CASES))
def test_hostile_text_stays_text(template: str) -> None:
    assert CASES[template]
    for rendering in CASES[template]:
        html = rendering()
        found = must_be_harmless(html, own=OWN_TAGS.get(template, {}))
        shown = "".join(found.text) + "".join(value for _, value in found.attributes)
        assert MARK in shown, "the case shows no hostile text"


@pytest.mark.parametrize("template", TEMPLATES)
def test_no_template_switches_escaping_off(template: str) -> None:
    source = (ROOMS / template).read_text(encoding="utf-8")
    assert not re.search(r"\|\s*safe\b|autoescape|<script", source)
    assert not re.search(r"=\{\{", source), "an attribute's value needs quotes"


def test_a_missing_value_is_an_error_and_not_an_empty_place() -> None:
    with pytest.raises(Exception, match="undefined"):
        environment().from_string("{{ nothing }}").render()


def test_the_check_notices_text_that_became_markup() -> None:
    with pytest.raises(AssertionError):
        must_be_harmless(f"<p>{HOSTILE}</p>")


def test_what_is_typed_is_set_apart_and_stays_text() -> None:
    html = empty_state("None", "Run `python -m x <script>` or `y`, <b>now</b>: 5 ` left")
    assert "<code>python -m x &lt;script&gt;</code> or <code>y</code>, &lt;b&gt;now&lt;/b&gt;: 5 ` left" in html

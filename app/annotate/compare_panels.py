"""Prepare what the Annotate page shows of a comparison of prompts, for the templates."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from app.annotate.compare_actions import ClaimToJudge
from app.core.thumbnails import thumbnail_address
from app.ui.claims import SIGNS, marked, span_of
from app.ui.html import render, render_macro, thousands
from curation.audit.prompt_comparison import PromptComparison, PromptResult, TwiceDescribed, share_words

NAMES = {"two-stage-1": "two questions", "single-stage-1": "one question"}
LEAST_JUDGED = 10  # claims, before a rate is shown: of one or two it would say nothing
ALL_JUDGED = "You have judged all claims of the sample."


def comparison_panel(found: PromptComparison | None, home: Path) -> str:
    """Render both prompts side by side; "" where there is no comparison yet."""
    if found is None:
        return ""
    rows: list[tuple[str, Callable[[PromptResult], str]]] = [
        ("pictures described", _described),
        ("descriptions a picture", lambda each: f"{each.descriptions / max(1, each.described):.1f}"),
        ("claims", lambda each: thousands(each.claims)),
        ("claims a picture", lambda each: f"{each.claims / max(1, each.described):.1f}"),
        ("hallucination rate, auditor", _auditor),
        ("hallucination rate, people", _people),
        ("claims judged by people", lambda each: f"{thousands(each.judged)} of {thousands(each.drawn)}"),
        ("seconds a picture", lambda each: f"{each.seconds:.2f}" if each.seconds else "–"),
        ("tokens a picture", lambda each: f"{each.tokens:,.0f}" if each.tokens else "–"),
    ]
    return render(
        "annotate/templates/comparison.html",
        finding=_finding(found),
        heads=("", *(NAMES.get(each.prompts, each.prompts) for each in found.results)),
        rows=[(name, *(cell(each) for each in found.results)) for name, cell in rows],
        doubts=found.doubts,
        names=[NAMES.get(each.prompts, each.prompts) for each in found.results],
        examples=[_example(each, home, judged=found.decided) for each in found.examples],
        audit=f"/audit?dataset={quote(found.sample)}",
        left=sum(each.drawn - each.judged for each in found.results),
    )


def _finding(found: PromptComparison) -> str:
    """Say what the numbers tell."""
    if found.same:
        return (
            f"This describer asks no question, so both columns are the same sentences on {found.pictures:,} pictures: "
            "choose a model or a server to compare prompts."
        )
    if found.difference is None:
        return f"Both prompts on the same {found.pictures:,} pictures; no source that counts, so no rate."
    words = share_words(found.difference, sign=True)
    if found.difference.low <= 0 <= found.difference.high:
        return (
            f"{found.pictures:,} pictures do not tell the prompts apart: two questions less one, {words} unsupported."
        )
    fewer = "fewer" if found.difference.value < 0 else "more"
    return f"Two questions give {fewer} unsupported claims than one: {words}, on {found.pictures:,} pictures."


def _described(result: PromptResult) -> str:
    problems = f", {thousands(result.problems)} not" if result.problems else ""
    return f"{thousands(result.described)}{problems}"


def _auditor(result: PromptResult) -> str:
    return "–" if result.unsupported is None else share_words(result.unsupported)


def _people(result: PromptResult) -> str:
    rate, least = result.people, min(LEAST_JUDGED, result.drawn)
    if rate is None or rate.claims < least:
        return f"once {least} claims are judged" if result.drawn else "–"
    return f"{rate.value:.1%} [{rate.low:.1%}, {rate.high:.1%}]"


def _example(compared: TwiceDescribed, home: Path, *, judged: bool) -> tuple[str, str, list[list[str]]]:
    """Return a picture, where it is on Curate, and what each prompt said. judged: claims are marked by verdict."""
    image = compared.image
    texts = [
        [marked(text, [span_of(row.claim) for row in rows] if judged else []) for text, rows in some]
        for some in compared.texts
    ]
    return thumbnail_address(home, image.sha256), f"/curate?image={image.id}", texts


def claim_panel(asked: ClaimToJudge | None) -> str:
    """Render a claim to judge, without whose it is and what the auditor says."""
    if asked is None:
        return render_macro("note", ALL_JUDGED)
    claim, text = asked.row.claim, asked.row.text
    return render(
        "annotate/templates/claim_to_judge.html",
        asked=asked,
        before=text[: claim.span_start],
        after=text[claim.span_end :],
        verdicts=list(SIGNS.items()),
    )

"""What the Audit page says, as HTML. Everything that a person or a model wrote is escaped."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from app.auditing import Claims, Opened, Report
from app.draw import mark_of
from app.panels import deeds, empty_state, notice
from curation.audit import AuditConfig, command_line
from curation.combine import Judged, reasons
from curation.describings import Describing
from curation.evidence import Evidence
from curation.judges import evidence_of
from curation.measure import CurvePoint, Rate
from db.audit_queries import ClaimRow, GroupCount, Touched
from db.models import Annotation, AuditedClaim, ClaimVerdict, Verdict

SIGNS: dict[Verdict, str] = {"supported": "✓", "unsupported": "✗", "cannot tell": "?"}
KEYS_OF: dict[Verdict, str] = {"supported": "S", "unsupported": "U", "cannot tell": "C"}
SOURCES = {"detector": "detector, logit", "likeness": "GRAIN, cosine × 10", "asked": "asked, probability of yes"}
SCALES = {"detector": (-10.0, 5.0), "likeness": (-2.0, 8.0), "asked": (0.0, 1.0)}  # of the bars


def claims_panel(found: Claims, chosen: int | None = None) -> str:
    """A page of claims, each marked in its sentence."""
    if not found.rows:
        return empty_state("No claims here", "Change the filters, or audit the data set first.")
    return f'<ol class="claims">{"".join(_claim(row, chosen) for row in found.rows)}</ol>'


def _claim(row: ClaimRow, chosen: int | None) -> str:
    claim = row.claim
    lit = ' aria-current="true"' if claim.id == chosen else ""
    return (
        f'<li><button type="button" class="claim" data-id="{claim.id}"{lit} data-ask="{ask(do="open", id=claim.id)}">'
        f"<span>{marked(row.text, [span_of(claim)])}</span>"
        f'<span class="quiet">{claim.kind} · {verdict_of(claim)} {_likely(claim)}</span></button></li>'
    )


@dataclass(frozen=True)
class Span:
    """Words of a description that carry a claim, half open, and what it counts as. chosen: the one that is open."""

    start: int
    end: int
    kind: str
    counts: Verdict
    chosen: bool = False


def span_of(claim: AuditedClaim, chosen: int | None = None) -> Span:
    """A kept claim's."""
    counts = claim.settled or claim.verdict
    return Span(claim.span_start, claim.span_end, claim.kind, counts, claim.id == chosen)


def marked(text: str, spans: Sequence[Span]) -> str:
    """A description with the words of its claims marked. Overlapping spans are cut at the one before."""
    parts, at = [], 0
    for one in sorted(spans, key=lambda each: (each.start, each.end)):
        start, end = max(at, one.start), max(at, one.end)
        if start >= end:
            continue
        lit = " chosen" if one.chosen else ""
        parts.append(escape(text[at:start]))
        parts.append(
            f'<mark class="{one.counts.replace(" ", "-")}{lit}" title="{one.kind}: {one.counts}">'
            f"{escape(text[start:end])}<sup>{SIGNS[one.counts]}</sup></mark>"
        )
        at = end
    return "".join(parts) + escape(text[at:])


def judged_panel(rows: Sequence[tuple[str, Sequence[Judged]]]) -> str:
    """Descriptions of one picture with their claims judged, and why."""
    counts = Counter(one.verdict for _, judged in rows for one in judged)
    finding = ", ".join(f"{counts[verdict]} {verdict}" for verdict in SIGNS)
    return f'<p class="finding">Claims: {finding}.</p><ol class="claims">{"".join(map(_judged, rows))}</ol>'


def _judged(row: tuple[str, Sequence[Judged]]) -> str:
    text, judged = row
    if not judged:
        return f'<li class="claim">{escape(text)}<span class="quiet">It claims nothing that can be checked.</span></li>'
    spans = [Span(one.claim.start, one.claim.end, one.claim.kind, one.verdict) for one in judged]
    why = "".join(
        f"<li><b>{escape(one.claim.words(text))}</b>: {one.verdict}. {escape(' '.join(reasons(one.evidence)))}</li>"
        for one in judged
    )
    return (
        f'<li class="claim"><span>{marked(text, spans)}</span><details class="quiet"><summary>why</summary>'
        f"<ul>{why}</ul></details></li>"
    )


def verdict_of(claim: AuditedClaim) -> str:
    """What a claim counts as, and who says so."""
    counts = claim.settled or claim.verdict
    who = "people" if claim.settled else "auditor"
    return f'<b class="sign {counts.replace(" ", "-")}">{SIGNS[counts]} {counts}</b> <span class="quiet">({who})</span>'


def _likely(claim: AuditedClaim) -> str:
    return "" if claim.probability is None else f"· {claim.probability:.0%} likely"


def claim_panel(opened: Opened, said: str = "", blind: bool = False) -> str:
    """One claim to judge: the picture with its region, the sentence, the evidence, what people say.

    Args: blind: the auditor's verdict and the others' are not shown: this one is asked for an opinion of its own.
    """
    claim, image = opened.row.claim, opened.row.image
    head = (
        f'<div class="audited" data-id="{claim.id}" data-text="{escape(opened.row.text)}" '
        f'data-sample="{"" if opened.sample is None else opened.sample}">'
    )
    sentence = _plain(opened.row.text, claim) if blind else _told(opened)
    frame = notice(opened.problem) if opened.problem else _frame(opened)
    position = "" if opened.sample is None else f'<p class="quiet">number {opened.sample + 1} of the sample</p>'
    rest = "" if blind else f"{_others(opened)}{_evidence(claim)}{_people(opened.said)}"
    return (
        f'{head}<p class="said" role="status">{escape(said)}</p>{position}<blockquote>{sentence}</blockquote>'
        f"<p>Does the picture support the {claim.kind} “<b>{escape(claim.words)}</b>”?</p>{_buttons(claim, blind)}"
        f'{frame}{rest}<p class="quiet"><a href="/curate?picture={image.id}">this picture on Curate</a></p></div>'
    )


def _told(opened: Opened) -> str:
    return marked(opened.row.text, [span_of(row.claim, opened.row.claim.id) for row in opened.siblings])


def _plain(text: str, claim: AuditedClaim) -> str:
    start, end = claim.span_start, claim.span_end
    return f"{escape(text[:start])}<mark>{escape(text[start:end])}</mark>{escape(text[end:])}"


def _buttons(claim: AuditedClaim, blind: bool) -> str:
    pressed = "" if blind else claim.settled
    buttons = "".join(
        f'<button type="button" class="{verdict.replace(" ", "-")}" aria-pressed="{str(verdict == pressed).lower()}" '
        f'data-ask="{ask(do="decide", id=claim.id, verdict=verdict)}">{sign} {verdict} <kbd>{KEYS_OF[verdict]}</kbd>'
        "</button>"
        for verdict, sign in SIGNS.items()
    )
    return f'<div class="judging" role="group" aria-label="Verdict">{buttons}</div>'


def _frame(opened: Opened) -> str:
    image = opened.row.image
    boxes = "".join(_box(index, region) for index, region in enumerate(opened.regions))
    return (
        f'<div class="frame" style="--ratio:{image.width / image.height:.5f}">'
        f'<img src="{opened.uri}" alt="The picture, upright"><svg viewBox="0 0 1 1" preserveAspectRatio="none" '
        f'role="img" aria-label="Where the description was found">{boxes}</svg></div>'
    )


def _box(index: int, region: Annotation) -> str:
    mark = mark_of(0)
    place = f'x="{region.x1}" y="{region.y1}" width="{region.x2 - region.x1}" height="{region.y2 - region.y1}"'
    faded = "" if index == 0 else " faded"
    return (
        f'<g class="region{faded}"><title>{escape(region.text)}</title><rect class="casing" {place}/>'
        f'<rect class="line" {place} stroke="{mark.color}"/></g>'
    )


def _others(opened: Opened) -> str:
    rows = [row.claim for row in opened.siblings]
    if len(rows) < 2:
        return ""
    buttons = "".join(
        f'<button type="button" aria-pressed="{str(row.id == opened.row.claim.id).lower()}" '
        f'data-ask="{ask(do="open", id=row.id)}">{SIGNS[row.settled or row.verdict]} {escape(row.words)}</button>'
        for row in rows
    )
    return f'<div class="reviews" role="group" aria-label="Claims of this description">{buttons}</div>'


def _evidence(claim: AuditedClaim) -> str:
    if not claim.evidence:
        return '<p class="quiet">No source could say anything about it.</p>'
    found = evidence_of(claim)
    rows = "".join(_source(each) for each in found)
    why = "".join(f"<li>{escape(sentence)}</li>" for sentence in reasons(found))
    return (
        f'<h3>Evidence {verdict_by_auditor(claim)}</h3><table class="evidence"><thead><tr><th>source</th>'
        f"<th>the claim</th><th>best counterfactual</th></tr></thead><tbody>{rows}</tbody></table>"
        f'<ul class="quiet">{why}</ul>'
    )


def verdict_by_auditor(claim: AuditedClaim) -> str:
    """The auditor's own, whatever people say."""
    likely = "" if claim.probability is None else f", {claim.probability:.0%} likely to hold"
    return f'<span class="quiet">auditor: {claim.verdict}{likely}</span>'


def _source(one: Evidence) -> str:
    other = one.counter_text or ("the denial" if one.source == "asked" else "–")
    return (
        f"<tr><th>{SOURCES[one.source]}</th><td>{_bar(one.source, one.score)}</td>"
        f'<td>{_bar(one.source, one.counter)}<span class="quiet">{escape(other)}</span></td></tr>'
    )


def _bar(source: str, value: float | None) -> str:
    if value is None:
        return '<span class="quiet">not asked</span>'
    low, high = SCALES[source]
    share = 100 * min(max((value - low) / (high - low), 0.0), 1.0)
    return f'<span class="bar grain"><i style="width:{share:.0f}%"></i><span class="number">{value:.2f}</span></span>'


def _people(said: Sequence[ClaimVerdict]) -> str:
    if not said:
        return '<p class="quiet">Nobody has judged it yet.</p>'
    rows = deeds((each.who, f"{each.verdict} {each.note}".strip(), each.at) for each in said)
    return f'<ul class="people">{rows}</ul>'


def touched_panel(found: Touched) -> str:
    """What a rule would do."""
    if not found.claims:
        return '<p class="quiet">No claim matches the filters.</p>'
    return (
        f"<p><b>{found.claims:,}</b> claims match, in <b>{found.descriptions:,}</b> descriptions; "
        f"<b>{found.regions:,}</b> regions of these are not yet rejected.</p>"
    )


GROUP_NAMES = {
    "kind": "by kind of claim",
    "prompts": "by prompts",
    "stages": "by questions asked",
    "describer": "by describer",
    "subject": "by subject",
}


def command_panel(config: AuditConfig) -> str:
    """The run from a terminal."""
    return f'<div class="code"><pre>{escape(shlex.join(["python", *command_line(config)]))}</pre></div>'


def report_panel(found: Report, threshold: float) -> str:
    """How often descriptions hallucinate, as people say, and how good the auditor is."""
    auditor = _counts(found.counts) + _describings(found.describings)
    if not found.drawn:
        return f'{auditor}<p class="quiet">Nobody was asked yet: draw a sample and judge it.</p>'
    head = f'<p class="quiet">{found.judged:,} of {found.drawn:,} claims of the sample are judged.</p>'
    if found.rate is None:
        return f"{auditor}{head}"
    quality, people = found.quality, found.agreement
    how = "" if found.unseen else ", cross-validated"
    agreed = "–" if people.kappa is None else f"{people.kappa:.2f}"
    spread = "" if people.kappa is None else f"{people.interval} of "
    figures = "".join(
        f'<div class="verdict"><span class="who">{name}</span><b>{value}</b><span class="number">{aside}</span></div>'
        for name, value, aside in (
            ("hallucination rate, people", *_rate(found.rate)),
            (f"auditor's precision{how}", *_rate(quality.precision)),
            (f"auditor's recall{how}", *_rate(quality.recall)),
            ("auditor cannot tell", *_rate(quality.cannot_tell)),
            ("two people agree, κ", agreed, f"{spread}{people.pictures} claims"),
        )
    )
    tables = "".join(
        _rates(GROUP_NAMES[group], rates) for group, rates in found.rates.items() if len(rates) > 1 or group == "kind"
    )
    return f'<div class="verdicts">{figures}</div>{_drop(found.curve, threshold)}{head}{_judge(found)}{tables}{auditor}'


def _judge(found: Report) -> str:
    """Which judge judges, and what it is worth on claims that it was not fitted on."""
    if found.fitted is None:
        return '<p class="quiet">The judge was fitted elsewhere: fit one once enough of the sample is judged.</p>'
    fitted = found.fitted
    rows = "".join(
        f"<tr><th>{name}</th><td>{_rate(before)[0]}</td><td>{_rate(now)[0]}</td><td>{_rate(now)[1]}</td></tr>"
        for name, before, now in (
            ("precision", fitted.before.precision, fitted.held_out.precision),
            ("recall", fitted.before.recall, fitted.held_out.recall),
            ("cannot tell", fitted.before.cannot_tell, fitted.held_out.cannot_tell),
        )
    )
    since = "The figures above count claims drawn since." if found.unseen else "Draw more to measure it anew."
    return (
        '<table class="costs"><thead><tr><th>this data set’s own judge</th><th>judge before</th>'
        f"<th>cross-validated</th><th>95 % interval</th></tr></thead><tbody>{rows}</tbody></table>"
        f'<p class="quiet">Fitted on {fitted.supported + fitted.unsupported:,} judged claims on {fitted.pictures:,} '
        f"pictures; on pictures that it was not fitted on, its probabilities are off by {fitted.off:.1%} on average. "
        f"{since}</p>"
    )


def _rate(rate: Rate | None) -> tuple[str, str]:
    if rate is None:
        return "–", "nothing to go by yet"
    return f"{rate.value:.1%}", f"[{rate.low:.1%}, {rate.high:.1%}] of {rate.claims}"


def _rates(name: str, rates: Mapping[str, Rate]) -> str:
    rows = "".join(
        f"<tr><th>{escape(value) or 'none'}</th><td>{_rate(rate)[0]}</td><td>{_rate(rate)[1]}</td></tr>"
        for value, rate in rates.items()
    )
    return (
        f'<table class="costs"><thead><tr><th>{name}</th><th>unsupported</th><th>95 % interval</th></tr></thead>'
        f"<tbody>{rows}</tbody></table>"
    )


def _counts(counts: Sequence[GroupCount]) -> str:
    rows = "".join(
        f"<tr><th>{escape(each.group)}</th><td>{each.supported:,}</td><td>{each.unsupported:,}</td>"
        f"<td>{each.cannot_tell:,}</td></tr>"
        for each in counts
    )
    if not rows:
        return ""
    return (
        '<table class="costs"><thead><tr><th>the auditor says</th><th>supported</th><th>unsupported</th>'
        f"<th>cannot tell</th></tr></thead><tbody>{rows}</tbody></table>"
    )


def _describings(found: Sequence[Describing]) -> str:
    """One describing against another, where there are two."""
    if len(found) < 2:
        return ""
    rows = "".join(
        f"<tr><th>{escape(each.totals.describer)}</th><td>{escape(each.totals.prompts) or 'no question'}</td>"
        f"<td>{each.totals.claims:,}</td><td>{each.totals.share_unsupported:.1%}</td><td>{_rate(each.rate)[0]}</td>"
        f"<td>{_rate(each.rate)[1]}</td></tr>"
        for each in found
    )
    return (
        '<div class="scroll"><table class="costs"><thead><tr><th>audited describings, the latest first</th><th>prompts'
        "</th><th>claims</th><th>auditor’s unsupported</th><th>rate, people</th><th>95 % interval</th></tr></thead>"
        f"<tbody>{rows}</tbody></table></div>"
    )


def _drop(curve: Sequence[CurvePoint], threshold: float) -> str:
    below = [point for point in curve if point.threshold <= threshold]
    if not below:
        return ""
    point = below[-1]
    return (
        f'<p class="finding">Dropping claims at most {threshold:.0%} likely drops {point.dropped:.1%} of all: '
        f"{point.precision:.0%} of these are unsupported, and {point.recall:.0%} of all unsupported are among them.</p>"
    )


def ask(**wanted: Any) -> str:
    """What a button sends, for an attribute."""
    return escape(json.dumps(wanted, ensure_ascii=False))

"""Convert pictures with their regions to Label Studio's JSON and back. Pure: client.py talks to the server.

A task carries in `data` what was pushed, a result carries in `meta` what its annotator was shown; the editor gives both
back untouched. So ids, versions, scores and exact boxes return, and every decision says what it was made upon.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple, get_args
from xml.sax.saxutils import quoteattr

from curation.files.records import (
    CLASS,
    Box,
    DescriptionRecord,
    PictureRecord,
    RegionRecord,
    Review,
    Status,
    description_to_json,
    descriptions_from_json,
    facts_of,
    parse_box,
    picture_from,
    to_json,
)
from user_errors import UserError

Template = Literal["regions", "novel"]
"""regions: judge boxes and their descriptions. novel: also say what product the picture shows."""
FACTS = (CLASS, "name", "brand", "release date")  # of a novel concept, as PictureRecord.facts calls them
SLOTS = 4  # descriptions a region that a new project has room for
MOST_SLOTS = 32
OURS = "grain"  # key of what is ours in `data` and `meta`
MODEL_VERSION = "GRAIN data set"  # of every prediction that is pushed: annotators are shown those of one version alone
STILL = 1e-3  # percent of the picture's side: a box that came back nearer than this was not moved
SETTLED = timedelta(seconds=10)  # after a push it has arrived there, and clocks differ by less
VERDICTS: dict[Status, str] = {"accepted": "right", "rejected": "wrong"}
REVIEWS: dict[Review, str] = {"reviewed": "everything is marked", "empty": "nothing to mark"}
SINGLE = ("caption", "review", *(f"fact_{name.replace(' ', '_')}" for name in FACTS))
Json = dict[str, Any]


class LabelStudioError(UserError):
    """Label Studio cannot be used, or says what cannot be taken; one sentence."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The content of one annotation. seen: the picture as shown to the annotator. annotated: as it should be now.

    Regions of both are matched by `key`; one that is only in seen was deleted, one that is only in annotated is
    new. left: what could not be taken, a sentence each; the rest of the annotation is valid without it.
    """

    seen: PictureRecord
    annotated: PictureRecord
    seen_keys: tuple[str, ...]
    annotated_keys: tuple[str, ...]
    left: tuple[str, ...] = ()


def labeling_config(template: Template, slots: int = SLOTS) -> str:
    """Write the project's form, with room for so many descriptions a region, each with a verdict of its own.

    Raises: ValueError: no such template, or no sensible number of slots.
    """
    if template not in get_args(Template):
        raise ValueError(f"expected a template of {', '.join(get_args(Template))}, got {template!r}")
    if not 1 <= slots <= MOST_SLOTS:
        raise ValueError(f"slots must be from 1 to {MOST_SLOTS}, got {slots}")
    facts = FACTS if template == "novel" else ()
    return "\n".join(
        [
            "<View>",
            '  <Header value="$name" size="5"/>',
            '  <Image name="image" value="$image" zoom="true" zoomControl="true" rotateControl="false"/>',
            '  <Rectangle name="box" toName="image" strokeWidth="2" canRotate="false"/>',
            '  <View visibleWhen="region-selected">',
            *(line for slot in range(1, slots + 1) for line in _slot(slot)),
            "  </View>",
            *(_text_area(_fact(name), name.capitalize()) for name in facts),
            _text_area("caption", "Caption of the whole picture"),
            '  <Choices name="review" toName="image" choice="single-radio" showInline="true" required="true" '
            'requiredMessage="Say whether everything is marked, or there is nothing to mark.">',
            *(f"    <Choice value={quoteattr(words)}/>" for words in REVIEWS.values()),
            "  </Choices>",
            "</View>",
        ]
    )


def template_of(config: str) -> Template:
    """Tell the template that a form was made from."""
    return "novel" if f'name="{_fact(FACTS[0])}"' in config else "regions"


def slots_for(records: Sequence[PictureRecord]) -> int:
    """Return for how many descriptions a region the form must have room."""
    return max([SLOTS, *(len(region.descriptions) for record in records for region in record.regions)])


def digest(record: PictureRecord) -> str:
    """Hash what is pushed of a record: a picture whose digest is there already need not be pushed."""
    return hashlib.sha256(f"{MODEL_VERSION} {to_json(record)}".encode()).hexdigest()[:16]


def to_data(
    record: PictureRecord, address: str, before: Mapping[str, Any] | None = None, *, at: datetime | None = None
) -> Json:
    """Make a task's data.

    Args:   address: where the editor finds the picture. before: the data that the task has now, if there is one.
            at: the moment of this push.
    Raises: LabelStudioError: a region has more descriptions than any form has room for.
    """
    crowded = max([0, *(len(region.descriptions) for region in record.regions)])
    if crowded > MOST_SLOTS:
        raise LabelStudioError(
            f"{record.file_name} has a region with {crowded} descriptions: Label Studio can show {MOST_SLOTS}."
        )
    old = _mine(before)
    push = int(old.get("push", 0)) + 1
    stamp: Json = {"since": push, "at": at.isoformat() if at else ""}
    regions = {_key(region, index): _state(region) for index, region in enumerate(record.regions)}
    fields = {name: {"value": value} for name, value in _fields(record).items()}
    return {
        "image": address,
        "name": record.file_name,
        OURS: {
            "picture": facts_of(record),
            "regions": _stamped(regions, old.get("regions", {}), stamp),
            "fields": _stamped(fields, old.get("fields", {}), stamp),
            "push": push,
            "digest": digest(record),
        },
    }


def to_prediction(record: PictureRecord, *, template: Template, push: int = 0) -> Json:
    """Make the prediction that the editor shows at first.

    Args: push: of the task's data; 0 where the picture's regions were never pushed.
    """
    scores = [each.score for region in record.regions for each in region.descriptions if each.score is not None]
    prediction: Json = {
        "model_version": MODEL_VERSION,
        "result": to_results(record, template=template, push=push),
    }
    if scores:
        prediction["score"] = _unit(sum(scores) / len(scores))
    return prediction


def to_results(record: PictureRecord, *, template: Template, push: int = 0) -> list[Json]:
    """Convert a picture's regions, caption, facts and review to Label Studio's results."""
    results = []
    for index, region in enumerate(record.regions):
        results += _region_results(region, key=_key(region, index), record=record, push=push)
    texts = _texts(record, template)
    results += [_alone(name, "textarea", {"text": [text]}, push=push) for name, text in texts.items() if text]
    if record.review in REVIEWS:
        results.append(_alone("review", "choices", {"choices": [REVIEWS[record.review]]}, push=push))
    return results


def from_results(
    results: Sequence[Mapping[str, Any]],
    data: Mapping[str, Any],
    *,
    template: Template,
    who: str,
    began: datetime | None = None,
) -> Reading:
    """Read one annotation back.

    Args:   data: of its task. who: the annotator's name. began: when they began it; None for after all pushes.
    Raises: LabelStudioError: a task or an annotation that is not in our form.
    """
    mine = _mine(data)
    try:
        shown = picture_from(mine["picture"], regions=())
        regions, alone, others, left = _grouped(results)
        review = _review(alone.get("review"))
        pushes = [int(meta["push"]) for meta in (_mine(result.get("meta")) for result in results) if "push" in meta]
        seen_push = max(pushes, default=None)
        metas = {key: _mine(parts["box"].get("meta")) for key, parts in regions.items()}
        # a copy that the annotator made has its original's meta, but another id: it is a region of its own
        states = {key: meta["region"] for key, meta in metas.items() if meta.get("key") == key}
        # one that began with nothing speaks of the regions that were pushed only if it says that the picture is done
        speaks = bool(pushes) or review != "open"
        pushed = {
            key: state
            for key, state in mine["regions"].items()
            if key in states or (speaks and _was_seen(state, push=seen_push, began=began))
        }
        seen = {key: _region(state) for key, state in {**pushed, **states}.items()}
        annotated = {key: seen[key] for key in others if key in seen}  # what is drawn otherwise is not deleted
        for key, parts in regions.items():
            region, problem = _read_region(parts, seen.get(key), who=who)
            left += [problem] * bool(problem)
            if region is not None:
                annotated[key] = region
        fields = mine.get("fields", {})
        unseen = {name for name, one in fields.items() if not _was_seen(one, push=seen_push, began=began)}
        seen_alone = {
            name: _text_shown(alone.get(name), "" if name in unseen else text)
            for name, text in _texts(shown, template).items()
        }
        seen_review: Review = "open" if "review" in unseen else shown.review
        annotated_alone = {name: _text(alone.get(name)) for name in seen_alone}
    except LabelStudioError:
        raise
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise LabelStudioError(
            "The task or its annotation is not in the form that GRAIN pushed: push it again."
        ) from error
    return Reading(
        seen=_picture(shown, texts=seen_alone, review=seen_review, regions=seen),
        annotated=_picture(shown, texts=annotated_alone, review=review, regions=annotated),
        seen_keys=tuple(seen),
        annotated_keys=tuple(annotated),
        left=tuple(left),
    )


def _fields(record: PictureRecord) -> dict[str, str]:
    """Return what any form asks of the whole picture, by the field's name."""
    return {**_texts(record, "novel"), "review": record.review}


def _stamped(states: Mapping[str, Json], known: Mapping[str, Json], stamp: Json) -> dict[str, Json]:
    """Add to each state when it was first pushed as it is now. known: states of the push before. stamp: of this one."""
    found = {}
    for key, state in states.items():
        old = known.get(key, {})
        unchanged = {name: value for name, value in old.items() if name not in stamp} == state
        found[key] = {**state, **({"at": ""} | old if unchanged else stamp)}
    return found


def _was_seen(state: Mapping[str, Any], *, push: int | None, began: datetime | None) -> bool:
    """Return whether an annotator saw a state that was pushed.

    Args: push: the last one that the results remember. began: where they remember none, when the annotation began; an
          unknown moment of a later push than the first counts as not seen.
    """
    if push is not None:
        return int(state["since"]) <= push
    if began is None or state["since"] == 1:
        return True
    return bool(state.get("at")) and datetime.fromisoformat(state["at"]) + SETTLED <= began


def _texts(record: PictureRecord, template: Template) -> dict[str, str]:
    """Return the texts that the form asks of the whole picture, by the field's name."""
    facts = {_fact(name): record.facts.get(name, "") for name in FACTS} if template == "novel" else {}
    return {"caption": record.caption, **facts}


def _picture(
    shown: PictureRecord, *, texts: Mapping[str, str], review: Review, regions: Mapping[str, RegionRecord]
) -> PictureRecord:
    """Replace a picture's words and regions; drop a fact without words, unless it was shown as such."""
    asked = {name: texts[_fact(name)] for name in FACTS if _fact(name) in texts}
    facts = {name: asked.get(name, text) for name, text in {**shown.facts, **asked}.items()}
    facts = {name: text for name, text in facts.items() if text or shown.facts.get(name) == ""}
    return replace(shown, caption=texts["caption"], review=review, facts=facts, regions=tuple(regions.values()))


def _slot(slot: int) -> list[str]:
    return [
        # the first one stands in the list of regions, so that each can be told from the others
        "  " + _text_area(f"description_{slot}", _slot_words(slot), per_region=True, listed=slot == 1),
        f'    <Choices name="verdict_{slot}" toName="image" perRegion="true" choice="single-radio" showInline="true">',
        *(f'      <Choice value="{word}"/>' for word in VERDICTS.values()),
        "    </Choices>",
    ]


def _slot_words(slot: int) -> str:
    return "Description 1, as in the list of regions" if slot == 1 else f"Description {slot}"


def _text_area(name: str, words: str, *, per_region: bool = False, listed: bool = False) -> str:
    region = 'perRegion="true" ' if per_region else ""
    region += 'displayMode="region-list" ' if listed else ""
    return (
        f'  <Header value={quoteattr(words)} size="6"/>'  # a placeholder would go with the first letter
        f'<TextArea name="{name}" toName="image" {region}editable="true" maxSubmissions="1" rows="1"/>'
    )


def _fact(name: str) -> str:
    return f"fact_{name.replace(' ', '_')}"


def _key(region: RegionRecord, index: int) -> str:
    """Return the region's name in Label Studio: by its id here, or by its place where it has none."""
    return f"r{region.id}" if region.id else f"n{index}"


def _mine(holder: Any) -> Json:
    """Pick what is ours from a task's data or a result's meta; {} where nothing is."""
    mine = holder.get(OURS) if isinstance(holder, Mapping) else None
    return mine if isinstance(mine, dict) else {}


def _state(region: RegionRecord) -> Json:
    """Convert a region to plain JSON."""
    descriptions = [description_to_json(description) for description in region.descriptions]
    return {"xyxy": list(region.xyxy), "id": region.id, "descriptions": descriptions}


def _region(state: Mapping[str, Any]) -> RegionRecord:
    return RegionRecord(parse_box(state["xyxy"]), descriptions_from_json(state["descriptions"]), int(state["id"]))


def _unit(score: float) -> float:
    return min(1.0, max(0.0, score)) if math.isfinite(score) else 0.0


def _percent(xyxy: Box) -> dict[str, float]:
    """Convert a box to percent of the picture's sides, as Label Studio has it; no number is beyond 100."""
    x1, y1, x2, y2 = (min(1.0, max(0.0, value)) * 100 for value in xyxy)
    return {"x": x1, "y": y1, "width": x2 - x1, "height": y2 - y1}


def _region_results(region: RegionRecord, *, key: str, record: PictureRecord, push: int) -> list[Json]:
    """Convert a region to its rectangle and, with its id and geometry, each description and verdict."""
    geometry = {**_percent(region.xyxy), "rotation": 0}
    size = {"original_width": record.width, "original_height": record.height, "image_rotation": 0}
    common = {"id": key, "to_name": "image", **size}
    meta = {OURS: {"key": key, "push": push, "region": _state(region)}}
    results = [{**common, "from_name": "box", "type": "rectangle", "value": geometry, "meta": meta}]
    for slot, description in enumerate(region.descriptions, 1):
        value = {**geometry, "text": [description.text]}
        results.append({**common, "from_name": f"description_{slot}", "type": "textarea", "value": value})
        if description.status in VERDICTS:
            value = {**geometry, "choices": [VERDICTS[description.status]]}
            results.append({**common, "from_name": f"verdict_{slot}", "type": "choices", "value": value})
    return results


def _alone(name: str, kind: str, value: Json, *, push: int) -> Json:
    """Make a result of the whole picture."""
    meta = {OURS: {"push": push, "text": "".join(value.get("text", []))}}
    return {"id": name, "from_name": name, "to_name": "image", "type": kind, "value": value, "meta": meta}


class _Grouped(NamedTuple):
    """Results of regions by region and name, and of the whole picture by name. others: shapes that are no rectangle.

    left: what is none of these, a sentence each.
    """

    regions: dict[str, dict[str, Json]]
    alone: dict[str, Json]
    others: dict[str, str]
    left: list[str]


def _grouped(results: Sequence[Mapping[str, Any]]) -> _Grouped:
    """Group the results of an annotation."""
    regions: dict[str, dict[str, Json]] = {}
    alone: dict[str, Json] = {}
    others: dict[str, str] = {}
    left: list[str] = []
    for result in results:
        kind, name = result.get("type"), str(result.get("from_name"))
        if kind == "relation":
            continue
        if kind == "rectangle":
            regions.setdefault(str(result["id"]), {})["box"] = dict(result)
        elif name in SINGLE:
            alone[name] = dict(result)
        elif kind not in ("textarea", "choices"):
            others[str(result.get("id"))] = str(kind)
    for result in results:
        key, name = str(result.get("id")), str(result.get("from_name"))
        if key in regions and result.get("type") in ("textarea", "choices") and name not in SINGLE:
            regions[key][name] = dict(result)
        elif key not in regions and key not in others and name not in SINGLE and result.get("type") != "relation":
            left.append(f"“{name}” is no field of GRAIN's form: its answer cannot be taken.")
    shapes = Counter(others.values())
    left += [f"{count} × {kind}: only upright boxes can be taken, draw one instead." for kind, count in shapes.items()]
    return _Grouped(regions, alone, others, left)


def _read_region(parts: Mapping[str, Json], seen: RegionRecord | None, *, who: str) -> tuple[RegionRecord | None, str]:
    """Read a region from its results by name, with what could not be taken of it, in a sentence.

    Args:    seen: the region as it was shown, which keeps its box where the one drawn cannot be taken; None for a new
             one.
    Returns: None where nothing of a new region can be taken; and "" where all can.
    """
    problem = ""
    try:
        box = _read_box(parts["box"], seen)
    except LabelStudioError as error:
        words = " ".join(str(part) for part in parts.get("description_1", {}).get("value", {}).get("text", []))
        problem = f"{error} (“{words}”)" if words else str(error)
        if seen is None:
            return None, problem
        box = seen.xyxy
    before = seen.descriptions if seen else ()
    moved = who if seen and box != seen.xyxy else ""
    descriptions: list[DescriptionRecord] = []
    for slot in sorted(int(name.rpartition("_")[2]) for name in parts if name.startswith("description_")):
        status = _status(parts.get(f"verdict_{slot}"))
        for place, text in enumerate(parts[f"description_{slot}"]["value"]["text"]):
            known = before[slot - 1] if place == 0 and slot <= len(before) else None
            descriptions += _read_description(str(text), status, known, who=who, moved=moved)
    return RegionRecord(box, tuple(descriptions), seen.id if seen else 0), problem


def _read_description(
    text: str, status: Status, known: DescriptionRecord | None, *, who: str, moved: str
) -> list[DescriptionRecord]:
    """Read one description as it is now; none where its text was emptied. moved: who moved its box, or ""."""
    if known is not None and text.strip() == known.text.strip():  # the editor trims
        return [replace(known, status=status, editor=who if status != known.status else moved or known.editor)]
    if not text.strip():
        return []
    if known is None:
        return [DescriptionRecord(text.strip(), status, source=f"human:{who}", editor=who)]
    return [replace(known, text=text.strip(), status=status, score=None, editor=who)]


def _read_box(result: Mapping[str, Any], seen: RegionRecord | None) -> Box:
    """Read the box, normalized; exactly the one that was shown where nobody moved it.

    Raises: LabelStudioError: it is turned, or has no area within the picture.
    """
    value = result["value"]
    if value.get("rotation") or result.get("image_rotation"):
        raise LabelStudioError("A box is rotated: draw it upright.")
    x, y, width, height = (float(value[name]) for name in ("x", "y", "width", "height"))
    if seen is not None:
        shown = _percent(seen.xyxy).values()
        if all(abs(one - other) < STILL for one, other in zip((x, y, width, height), shown, strict=True)):
            return seen.xyxy
    x1, y1, x2, y2 = (min(1.0, max(0.0, edge / 100)) for edge in (x, y, x + width, y + height))
    if not (x1 < x2 and y1 < y2):
        raise LabelStudioError("A box has no area within the picture: draw it again or delete it.")
    return x1, y1, x2, y2


def _status(verdict: Mapping[str, Any] | None) -> Status:
    chosen = (verdict or {}).get("value", {}).get("choices", [])
    return next((status for status, word in VERDICTS.items() if word in chosen), "pending")


def _review(choice: Mapping[str, Any] | None) -> Review:
    chosen = (choice or {}).get("value", {}).get("choices", [])
    return next((review for review, words in REVIEWS.items() if words in chosen), "open")


def _text(result: Mapping[str, Any] | None) -> str:
    """Read the text of a result of the whole picture: the one that was shown where only its margins differ."""
    if result is None:
        return ""
    text = "\n".join(str(part) for part in result["value"]["text"]).strip()
    shown = str(_mine(result.get("meta")).get("text", ""))
    return shown if shown.strip() == text else text


def _text_shown(result: Mapping[str, Any] | None, pushed: str) -> str:
    """Return the text that the annotator was shown: what the result remembers, or what was pushed last."""
    return str(_mine((result or {}).get("meta")).get("text", pushed))

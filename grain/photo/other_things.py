"""List what else a description names beside its own thing, and judge it by what is seen of those.

"A man in a red hat" embeds much like "a man": alone, its likeness to a man without one hardly tells. "The head of the
zebra" is most like the zebra.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from grain.box_overlap import iou, share_inside
from grain.photo.colour_words import colour_of
from grain.photo.phrases import described_words, goes_on, head_end, parse_phrase, with_article
from grain.photo.word_lists import DETERMINERS, HEAD_ENDS, PREPOSITIONS
from grain.structures import MIN_PRESENCE, Array, RegionRanking

OWN_WEIGHT, OTHER_WEIGHT = 0.46, 0.78  # of log odds; `python -m benchmarks.composed_phrases` fits them
PALE_WEIGHT = 0.5  # of what the thing's region loses for its colours; `python -m benchmarks.worn_colours` tries others
LEAST_ON = 0.6  # share of a region in another that it is on
SAME_AS_WHOLE = 0.6  # IoU with a thing's region: more is no part of it
MOST_SURE = 0.999  # presence beyond which odds count no more
_STARTS = (DETERMINERS | {"the"}) - {"that"}  # "a sign that says"
_BARE = frozenset(
    "of with in on wearing wears holding holds carrying carries having has near behind riding eating".split()
)
_ENDS = HEAD_ENDS | frozenset(
    "wears has have holds carries rides eats up down out off away back very other each while as like for than".split()
)
_UNSEEN = frozenset("or like as says say saying reads".split())  # what follows need not be there
_TOWARDS = frozenset("at for to toward towards into facing".split())
_NO_THING = frozenset(
    "it them him her other something someone front back top bottom side background foreground distance middle center"
    " centre corner edge flight motion action half fire night day midair line row colour color public view focus detail"
    " pieces turn work play love way own walk ride run jump time moment pose position direction shape style wild shade"
    " picture photo photograph image scene frame shot viewer".split()
)
_PARTS = frozenset(
    "head heads face faces mane tail tails ear ears leg legs foot feet paw paws hoof hooves nose beak wing wings neck"
    " eye eyes mouth tongue teeth hand hands arm arms finger fingers hair fur horn horns shoulder shoulders chest knee"
    " knees elbow elbows wheel wheels tire tires door doors hood bonnet bumper windshield headlight headlights"
    " handlebar handlebars handle seat sleeve sleeves collar spout lid mast sail propeller".split()
)  # sides, ends and tops of things are often boxed as the things are


def part_of(text: str) -> str:
    """Return the thing of which a description means a part, "" for none: "the zebra" of "the head of the zebra"."""
    words = described_words(text)
    end = head_end(words)
    if not words or words[end - 1] not in _PARTS:
        return ""
    if words[end : end + 1] == ["of"]:
        own = words[end + 1 : _thing_end(words, end + 1)] if end + 1 < len(words) else []
        return " ".join(own) if own and own[0] in _STARTS else ""  # "a door of wood"
    place = next((i for i in range(end - 1) if words[i].endswith("'s")), None)
    return "" if place is None else with_article(" ".join(words[: place + 1]).removesuffix("'s"))


def other_things(text: str) -> tuple[str, ...]:
    """Return the noun phrases of a description but the first: "a red hat" of "a man in a red hat", in lower case.

    Left out are what it denies, what is only written or compared, places of the picture, and words that name nothing
    to be seen.
    """
    words = described_words(text)
    end = head_end(words)
    start = next((i for i in range(1, end) if words[i] in DETERMINERS), end)  # "a dog chasing a boy"
    found: list[str] = []
    while start < len(words):
        stop = _thing_end(words, start)
        if stop > start and _is_thing(words, start, stop):
            found.append(" ".join(words[start:stop]))
        start = max(stop, start + 1)
    return tuple(dict.fromkeys(found))


def weigh_others(
    ranked: RegionRanking, others: Sequence[Sequence[str]], presence: Mapping[str, float], *, pale: Mapping[str, Array]
) -> RegionRanking:
    """Judge the presence of descriptions by that of the other things that they name, too.

    Args: others: of each description. presence: of each of them; the least likely one counts. pale: of each [D], the
          logits of at most 0 that its region on each description's own one loses for its colours.
    """
    assert ranked.presence is not None
    weighed, reasons = ranked.presence.copy(), list(ranked.reasons)
    for column, named in enumerate(others):
        if not named:
            continue
        odds = {
            name: OTHER_WEIGHT * _log_odds(presence[name]) + PALE_WEIGHT * float(pale[name][column]) for name in named
        }
        rarest = min(named, key=odds.__getitem__)
        weighed[column] = 1 / (1 + np.exp(-OWN_WEIGHT * _log_odds(weighed[column]) - odds[rarest]))
        if odds[rarest] < 0 and weighed[column] < MIN_PRESENCE and not reasons[column]:
            reasons[column] = f"no sign of {rarest} here"
    return replace(ranked, presence=weighed, reasons=tuple(reasons))


def pale_on(boxes_xyxy: Array, own_rows: NDArray[np.int64], *, fit: Array, colour: Array) -> Array:
    """Return what things lose for their colours where they seem to be on each description's own region, [N, D].

    Args: boxes_xyxy: [Q, 4]. own_rows: [D]. fit: [Q, N], how well regions fit the things whatever their colours.
          colour: [Q, N], the logits of at most 0 that they lose for them.
    """
    lost = []
    for row in own_rows:
        on_it = share_inside(boxes_xyxy, boxes_xyxy[row : row + 1])[:, 0] >= LEAST_ON
        seen = np.where(on_it[:, None], fit, -np.inf).argmax(axis=0)
        lost.append(colour[seen, np.arange(len(seen))])
    return np.stack(lost, axis=1)


def leave_out_owners(
    boxes_xyxy: Array, ranked: RegionRanking, *, owners: Sequence[str], best: Mapping[str, int]
) -> RegionRanking:
    """Keep from taking a thing's own region for a part of it.

    Args: boxes_xyxy: [Q, 4]. owners: of each description part_of. best: the row of each one's best region.
    """
    assert ranked.confidence is not None
    confidence, reasons = ranked.confidence.copy(), list(ranked.reasons)
    for column, owner in enumerate(owners):
        if owner:
            row = best[owner]
            same = iou(boxes_xyxy, boxes_xyxy[row : row + 1])[:, 0] >= SAME_AS_WHOLE
            confidence[same, column] = 0
            if same[ranked.ranking[:, column].argmax()] and not reasons[column]:
                reasons[column] = f"only {owner} as a whole seems to be here"
    return replace(ranked, confidence=confidence, reasons=tuple(reasons))


def leave_out_others(
    boxes_xyxy: Array,
    ranked: RegionRanking,
    *,
    own: Sequence[str],
    others: Sequence[Sequence[str]],
    best: Mapping[str, int],
    confidence: Mapping[str, Array],
) -> RegionRanking:
    """Keep from taking another thing that a description names for one more of its own: "a camera on a tripod".

    Its best region stays. So does what is likelier its own thing: a woman, whose dress is about as large.

    Args: boxes_xyxy: [Q, 4]. own, others: of each description its own thing and the other ones. best: the row of each
          one's best region. confidence: [Q] of each.
    """
    assert ranked.confidence is not None
    left = ranked.confidence.copy()
    for column, named in enumerate(others):
        first = ranked.ranking[:, column].argmax()
        for name in named:
            if parse_phrase(name).core.split()[-1] in own[column].split():
                continue  # "two dogs chasing a dog"
            row = best[name]
            same = iou(boxes_xyxy, boxes_xyxy[row : row + 1])[:, 0] >= SAME_AS_WHOLE
            same &= confidence[name] > confidence[own[column]]
            same[first] = False
            left[same, column] = 0
    return replace(ranked, confidence=left)


def _thing_end(words: Sequence[str], start: int) -> int:
    """Return where the noun phrase ends that begins at a word; start itself where none does."""
    bare = words[start] not in _STARTS
    if bare and (words[start] in _ENDS or words[start - 1] not in _BARE):
        return start
    for i in range(start + 1, len(words)):
        acts = words[i].endswith("ing") and i + 1 < len(words) and words[i + 1] in _STARTS | PREPOSITIONS
        if (words[i] in _ENDS and not goes_on(words, i)) or words[i] in _STARTS or acts:
            return i
    return len(words)


def _is_thing(words: Sequence[str], start: int, stop: int) -> bool:
    """Tell whether words are a noun phrase for something that can be seen."""
    nouns = [word for word in words[start:stop] if word not in _STARTS | {"and"}]
    if not nouns or nouns[-1] in _NO_THING or all(map(colour_of, nouns)):
        return False
    if words[start - 1] in _TOWARDS and nouns[-1] == "camera":  # the one that took the picture
        return False
    return not _UNSEEN & set(words[max(0, start - 2) : stop])


def _log_odds(probability: float | np.float32) -> float:
    likely = float(np.clip(probability, 1 - MOST_SURE, MOST_SURE))
    return float(np.log(likely / (1 - likely)))

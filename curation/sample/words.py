"""Word a product: descriptions of its parts, and captions that mention some of them."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from curation.sample.shapes import SLOTS, Part


def with_article(phrase: str) -> str:
    """Put "a" or "an" before a phrase."""
    return f"{'an' if phrase[0] in 'aeiou' or phrase.startswith('hour') else 'a'} {phrase}"


def descriptions_of(part: Part, *, side: str | None = None) -> tuple[str, ...]:
    """List the wordings of a part, the canonical one first; side ("left", "right") adds one that says where it is."""
    kind, color = part.kind, part.color
    if part.slot == "band":
        return (f"a band of {color} {kind}", f"{color} {kind} around it", f"a belt with {color} {kind}")
    plain = (with_article(f"{color} {kind}"), f"{with_article(kind)} in {color}")
    if part.slot == "body":
        return (*plain, f"{with_article(kind)} painted {color}")
    if part.slot == "top":
        return (*plain, f"{with_article(f'{color} {kind}')} on top")
    if part.slot == "emblem":
        return (*plain, f"{with_article(f'{color} {kind}')} sign")
    if side is None:
        return plain
    return (*plain, f"{with_article(f'{color} {kind}')} on the {side}")


def trained_wordings(part: Part, *, side: str | None = None) -> tuple[str, ...]:
    """List what training in the second edition says of a part: the wordings of `descriptions_of` and one more."""
    return (*descriptions_of(part, side=side), f"its {part.kind} {'are' if part.slot == 'band' else 'is'} {part.color}")


def paraphrases_of(part: Part, *, side: str) -> tuple[str, ...]:
    """List wordings that no training in the second edition says, though it says each of their words."""
    kind, color = part.kind, part.color
    if part.slot == "band":
        return (f"a belt painted with {kind} in {color}", f"around it {color} {kind}")
    place = {"body": "in a photo", "top": "on top of it", "emblem": "on its front", "side": f"on its {side}"}[part.slot]
    return (f"{with_article(kind)} {place}, painted {color}", f"{place} {with_article(f'{color} {kind}')}")


def sentence_of(phrases: Sequence[str]) -> str:
    """Describe a product in one sentence, its body first."""
    *others, last = phrases[1:]
    return f"It is {phrases[0]} with {', '.join(others)} and {last}."


CAPTIONS = (
    "{thing} {place}",
    "a photo of {thing} {place}",
    "a picture of {thing} {place}",
    "{thing} seen {place}",
    "{place}, {thing}",
    "image of {thing}, {place}",
)


def write_caption(parts: dict[str, Part], side: str, *, places: tuple[str, ...], rng: Random, part_share: float) -> str:
    """Write a caption that mentions each part with chance part_share, seen at one of the places."""
    # every choice is drawn whatever the share is, so that data sets of other shares differ only in what is mentioned
    draws = {slot: (rng.random() < part_share, rng.random()) for slot in SLOTS}
    thing = with_article(parts["body"].kind)
    if draws["body"][0]:
        wordings = descriptions_of(parts["body"])
        thing = wordings[int(draws["body"][1] * len(wordings))]
    mentions = []
    for slot in rng.sample(SLOTS, len(SLOTS)):
        if slot != "body" and slot in parts and draws[slot][0]:
            wordings = descriptions_of(parts[slot], side=side)
            mentions.append(wordings[int(draws[slot][1] * len(wordings))])
    if mentions:
        thing += " with " + ", ".join(mentions[:-1]) + (" and " if len(mentions) > 1 else "") + mentions[-1]
    return rng.choice(CAPTIONS).format(thing=thing, place=rng.choice(places))

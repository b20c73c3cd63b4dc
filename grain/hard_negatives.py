"""Make sentences that are nearly true of a picture: its descriptions with one thing exchanged.

Source: Yuksekgonul et al. 2023, "When and why vision-language models behave like bags-of-words", which contrasts
pictures with such hard negatives too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import combinations
from random import Random

from grain.sentences import colour_in, join_phrases

_WORD = re.compile(r"\w+")
_SMALL_WORDS = frozenset("a an and at in of on the to with".split())
_ARTICLE = re.compile(r"\ban?(?= (\w))")


def hard_negative(own: Sequence[str], others: Iterable[str], draw: Random) -> str:
    """Return a picture's descriptions in one sentence with one thing wrong; "" where nothing can be exchanged.

    Two of them exchange their colours, or one gives way to a description of another picture that has half of its words
    or more: whichever can be done, evenly drawn. It may happen to be true of the picture all the same, as a text of
    another picture may.

    Args: own: the picture's descriptions. others: of all pictures, its own too. draw: a seeded source of chance.
    """
    wrong = [texts for texts in (_colours_exchanged(own, draw), _one_replaced(own, others, draw)) if texts]
    return join_phrases(draw.choice(wrong)) if wrong else ""


def _colours_exchanged(own: Sequence[str], draw: Random) -> list[str]:
    colours = {row: colour for row, text in enumerate(own) if (colour := colour_in(text))}
    pairs = [(i, j) for i, j in combinations(colours, 2) if colours[i].casefold() != colours[j].casefold()]
    if not pairs:
        return []
    first, second = draw.choice(pairs)
    texts = list(own)
    for row, other in ((first, second), (second, first)):
        texts[row] = _ARTICLE.sub(_article, texts[row].replace(colours[row], colours[other], 1))
    return texts


def _one_replaced(own: Sequence[str], others: Iterable[str], draw: Random) -> list[str]:
    if not own:
        return []
    row = draw.randrange(len(own))
    words = _words(own[row])
    mine = {text.casefold() for text in own}
    alike = sorted(
        {text for text in others if text.casefold() not in mine and 2 * len(words & _words(text)) >= max(len(words), 1)}
    )
    return [*own[:row], draw.choice(alike), *own[row + 1 :]] if alike else []


@lru_cache(maxsize=4096)
def _words(text: str) -> frozenset[str]:
    return frozenset(_WORD.findall(text.casefold())) - _SMALL_WORDS


def _article(found: re.Match[str]) -> str:
    return "an" if found[1].casefold() in "aeiou" else "a"

"""List the words of descriptions that more than one rule reads: names of colours, and what ends a noun phrase."""

from __future__ import annotations

COLOURS = ("black", "white", "grey", "red", "orange", "yellow", "green", "blue", "purple", "pink", "brown")
PREPOSITIONS = frozenset(
    "next near of under behind beside by at on above below between over from to among around against during into onto"
    " through inside across along past toward towards beneath atop alongside while".split()
)  # what follows is another thing
HEAD_ENDS = PREPOSITIONS | frozenset(
    "with in without and or nor that which who is are holding wearing standing sitting lying riding eating walking"
    " looking running playing being having carrying pushing pulling leading jumping cutting opening climbing throwing"
    " catching kicking driving grazing drinking reading hanging leaning facing covered parked".split()
)
DETERMINERS = frozenset(
    "a an the this that these those some another his her its their one two three four five six seven eight nine ten"
    " several many few".split()
)
BEINGS = frozenset(
    "people person child children kid kids baby babies toddler lady ladies guy guys player players rider riders worker"
    " workers dog dogs puppy puppies cat cats kitten horse horses pony cow cows sheep bird birds bear bears elephant"
    " elephants giraffe giraffes zebra zebras monkey".split()
)  # who can wear something; so can what ends in "man", "women" …


def is_being(word: str) -> bool:
    """Tell whether a lower-case noun means a person or an animal."""
    return word in BEINGS or word.endswith(("man", "men", "boy", "boys", "girl", "girls"))

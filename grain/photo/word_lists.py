"""List the words of descriptions that more than one rule reads: names of colours, and what ends a noun phrase."""

from __future__ import annotations

COLOURS = ("black", "white", "grey", "red", "orange", "yellow", "green", "blue", "purple", "pink", "brown")
HEAD_ENDS = frozenset(
    (
        "with on in next near of under behind beside by at and or that which who is are above below inside between over"
        " from to holding wearing standing sitting lying riding eating walking looking running playing being having"
        " carrying pushing pulling leading jumping cutting opening climbing throwing catching kicking driving grazing"
        " drinking reading hanging leaning facing covered parked through among around against during into onto without"
    ).split()
)

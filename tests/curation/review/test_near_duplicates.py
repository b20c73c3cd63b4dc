"""Copies of one picture, and pictures that only look alike."""

from __future__ import annotations

from curation.review.near_duplicates import MOST_BITS, are_copies, copies_of
from db.models import Image


def picture(number: int, phash: str, sha256: str = "") -> Image:
    return Image(id=number, dataset_id=1, sha256=sha256 or f"{number}", phash=phash, width=1, height=1, location="")


def test_hashes_a_few_bits_apart_are_copies_and_others_are_not() -> None:
    one = picture(1, "0" * 16)
    apart = [picture(2 + bits, f"{(1 << bits) - 1:016x}") for bits in range(8)]
    assert [are_copies(one, other) for other in apart] == [bits <= MOST_BITS for bits in range(8)]
    assert [each.id for each in copies_of(one, [one, *apart])] == [2 + bits for bits in range(MOST_BITS + 1)]


def test_copies_of_copies_are_none() -> None:
    chain = [picture(number, f"{(1 << 3 * number) - 1:016x}") for number in range(4)]
    assert [each.id for each in copies_of(chain[0], chain)] == [1]


def test_the_same_content_is_a_copy_and_without_a_hash_nothing_else_is() -> None:
    assert are_copies(picture(1, "", "a"), picture(2, "", "a"))
    assert not are_copies(picture(1, ""), picture(2, "")) and not are_copies(picture(1, "0" * 16), picture(2, ""))
    assert copies_of(picture(1, ""), []) == []

"""What annotation is worth: which descriptions are wrong, and who leaves them out."""

import numpy as np
import pytest

from benchmarks.annotation_worth import (
    ARMS,
    AUDITED,
    JUDGED,
    MOST_WRONG,
    SOME_WRONG,
    DescribedPicture,
    describe_pool,
    learned_regions,
)
from grain.dense.features import Entity
from grain.dense.train import Picture

PICTURES = 500
Pool = tuple[DescribedPicture, ...]


@pytest.fixture(scope="module")
def pool() -> Pool:
    box = ((0.0, 0.0, 1.0, 1.0),)
    entities = [[Entity(box, (f"{name} {row}",)) for name in ("a man", "a hat")] for row in range(PICTURES)]
    return describe_pool([(f"{row}.jpg", Picture(None, None, row, each)) for row, each in enumerate(entities)])


def test_a_wrong_description_is_one_of_another_picture(pool: Pool) -> None:
    regions = [(row, region) for row, picture in enumerate(pool) for region in picture.regions]
    assert len(regions) == 2 * PICTURES
    assert all(region.text.split()[-1] == str(row) != region.other.split()[-1] for row, region in regions)
    assert len({region.other.split()[-1] for _, region in regions}) > PICTURES / 2, "from all over the pool"


def test_as_many_are_wrong_as_an_arm_says_and_of_more_wrong_ones_the_fewer_are_a_part(pool: Pool) -> None:
    regions = [region for picture in pool for region in picture.regions]
    wrong = {share: [each.written(share) == each.other for each in regions] for share in (0.0, SOME_WRONG, MOST_WRONG)}
    assert not any(wrong[0.0])
    for share in (SOME_WRONG, MOST_WRONG):
        assert np.mean(wrong[share]) == pytest.approx(share, abs=0.05)
    assert all(more for some, more in zip(wrong[SOME_WRONG], wrong[MOST_WRONG], strict=True) if some)


def test_a_person_leaves_out_all_that_is_wrong_and_nothing_else(pool: Pool) -> None:
    for picture in pool:
        kept = learned_regions(picture, JUDGED)
        assert [region.written(MOST_WRONG) for region in kept] == [
            region.text for region in picture.regions if region.written(MOST_WRONG) == region.text
        ]


def test_each_arm_has_a_folder_of_its_own() -> None:
    assert len({arm.name for arm in ARMS}) == len(ARMS) == 11
    assert {AUDITED, JUDGED} <= set(ARMS)

import math
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.annotate.filters import DroppedItem, DropReason, FilterConfig, filter_regions, filter_texts
from grain.structures import Region

LID = (0.1, 0.1, 0.5, 0.5)
LOOSE = FilterConfig(drop_generic=False, drop_whole=False, min_area=0.0, max_aspect=math.inf, most=1000)


def region(xyxy: Sequence[float] = LID, text: str = "a red lid", score: float = 0.5) -> Region:
    x0, y0, x1, y1 = xyxy
    return Region((x0, y0, x1, y1), text, score, 0)


def reasons(
    regions: Sequence[Region], *, width: int = 100, height: int = 100, **settings: float
) -> list[DropReason | None]:
    """Why each region is dropped, None where it stays."""
    result = filter_regions(regions, FilterConfig(**settings), width=width, height=height)  # type: ignore[arg-type]
    why = {id(each.item): each.reason for each in result.dropped}
    return [why.get(id(each)) for each in regions]


# descriptions


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a red lid", None),
        ("红盖", None),
        ("the main object in this photo.", DropReason.GENERIC),
        ("The background", DropReason.GENERIC),
        ("the background is blue", None),
        ("...", DropReason.GENERIC),
        ("a very long one", DropReason.UNREADABLE),
        ("<img onerror=alert(1)>", None),  # text stays text
    ],
)
def test_a_description_is_dropped_for_what_it_says(text: str, reason: DropReason | None) -> None:
    result = filter_texts([text], FilterConfig(), unreadable=["a very long one"])
    assert result.kept == ((text,) if reason is None else ())
    assert result.dropped == (() if reason is None else (DroppedItem(text, reason),))


def test_texts_keep_their_order_and_reasons_are_counted() -> None:
    texts = ["a red lid", "the object", "a blue star", "the thing"]
    result = filter_texts(texts, FilterConfig())
    assert result.kept == ("a red lid", "a blue star")
    assert [each.item for each in result.dropped] == ["the object", "the thing"]
    assert result.counts + filter_texts(texts[:2], FilterConfig()).counts == Counter({DropReason.GENERIC: 3})
    assert filter_texts(texts, LOOSE).kept == tuple(texts)


# boxes


@pytest.mark.parametrize(
    ("xyxy", "reason"),
    [
        (LID, None),
        ((0.5, 0.1, 0.5, 0.4), DropReason.NO_AREA),
        ((0.6, 0.1, 0.5, 0.4), DropReason.NO_AREA),
        ((0.1, math.nan, 0.5, 0.4), DropReason.NO_AREA),
        ((0.1, 0.1, 0.25, 0.35), DropReason.SMALL),  # 0.0375 of the picture
        ((0.0, 0.0, 0.9, 0.95), DropReason.LARGE),  # 0.855
        ((0.0, 0.015, 0.985, 1.0), DropReason.WHOLE_PICTURE),
        ((0.0, 0.03, 0.8, 1.0), None),
        ((0.0, 0.0, 1.0, 0.04), DropReason.THIN),  # 200 × 4 pixels, 50 to 1
        ((0.4, 0.0, 0.46, 1.0), None),  # 12 × 100 pixels
        ((0.4, 0.0, 0.445, 1.0), DropReason.THIN),  # 9 × 100 pixels
    ],
)
def test_a_box_is_dropped_for_its_shape(xyxy: tuple[float, float, float, float], reason: DropReason | None) -> None:
    settings = {"min_area": 0.04, "max_area": 0.8, "max_aspect": 10.0}
    assert reasons([region(xyxy)], width=200, height=100, **settings) == [reason]


def test_the_best_regions_of_a_picture_stay_and_of_equal_ones_the_first() -> None:
    rows = [region(score=score) for score in (0.2, 0.9, 0.5, 0.5)]
    many = DropReason.MANY
    assert reasons(rows, most=2) == [many, None, None, many]
    assert reasons([region((0.5, 0.1, 0.5, 0.4), score=1.0), *rows], most=1) == [
        DropReason.NO_AREA,
        many,
        None,
        many,
        many,
    ]


def test_nothing_gives_nothing() -> None:
    for result in (filter_texts([], FilterConfig()), filter_regions([], FilterConfig(), width=1, height=1)):
        assert (result.kept, result.dropped, result.counts) == ((), (), Counter())


coordinate = st.integers(0, 8).map(lambda n: n / 8)
any_region = st.builds(
    region,
    st.tuples(coordinate, coordinate, coordinate, coordinate),
    st.sampled_from(["a red lid", "Red lid", "a star", "the object", "x"]),
    st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]),
)
any_config = st.builds(
    FilterConfig,
    min_area=st.sampled_from([0.0, 0.1]),
    max_area=st.sampled_from([0.5, 1.0]),
    max_aspect=st.sampled_from([1.5, 20.0]),
    drop_whole=st.booleans(),
    most=st.integers(1, 5),
)


@given(st.lists(any_region, max_size=12), any_config)
def test_kept_and_dropped_are_what_was_given_and_filtering_again_drops_nothing(
    regions: list[Region], config: FilterConfig
) -> None:
    result = filter_regions(regions, config, width=160, height=90)
    parts = [*result.kept, *(each.item for each in result.dropped)]
    assert sorted(map(id, parts)) == sorted(map(id, regions))
    order = [id(each) for each in regions]
    for part in (result.kept, [each.item for each in result.dropped]):
        rows = [order.index(id(each)) for each in part]
        assert rows == sorted(rows)
    again = filter_regions(result.kept, config, width=160, height=90)
    assert (again.kept, again.dropped) == (result.kept, ())
    assert len(result.kept) <= config.most


@given(st.lists(any_region, max_size=12))
def test_the_loosest_settings_drop_only_what_is_no_box(regions: list[Region]) -> None:
    result = filter_regions(regions, LOOSE, width=160, height=90)
    assert {each.reason for each in result.dropped} <= {DropReason.NO_AREA}
    assert all(x0 < x1 and y0 < y1 for x0, y0, x1, y1 in (each.xyxy for each in result.kept))


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"min_area": -0.1}, r"min_area must lie in \[0, 1\], got -0.1"),
        ({"max_area": math.nan}, r"max_area must lie in \[0, 1\], got nan"),
        ({"most": 0}, "most must be at least 1, got 0"),
        ({"max_aspect": 0.5}, "max_aspect must be at least 1, got 0.5"),
        ({"min_area": 0.5, "max_area": 0.2}, r"min_area \(0.5\) must not exceed max_area \(0.2\)"),
    ],
)
def test_settings_that_nothing_could_meet_are_refused(settings: dict[str, float], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        FilterConfig(**settings)  # type: ignore[arg-type]


def test_a_picture_without_area_and_a_single_text_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 × 1 pixel, got 0 × 9"):
        filter_regions([region()], FilterConfig(), width=0, height=9)
    with pytest.raises(ValueError, match="got a single text: write"):
        filter_texts("a lid", FilterConfig())

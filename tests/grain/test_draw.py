import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageColor

from grain.draw import GAP, PALETTE, LabelledBox, color_of, draw_boxes, ink_on, place_labels

Rectangle = tuple[float, float, float, float]
WHOLE = (0.0, 0.0, 200.0, 100.0)


def test_a_label_lies_above_its_box_or_inside_where_there_is_no_room() -> None:
    assert place_labels([(50, 40, 90, 80)], [(30, 10)], width=200, height=100) == [(50, 40 - 10 - GAP)]
    assert place_labels([WHOLE], [(30, 10)], width=200, height=100) == [(0, GAP)]
    assert place_labels([(190, 40, 200, 80)], [(30, 10)], width=200, height=100) == [(170, 28)], "moved inside"


def test_labels_of_one_box_keep_apart() -> None:
    places = place_labels([(50, 40, 90, 80)] * 6, [(60, 10)] * 6, width=200, height=100)
    assert len({y for _, y in places}) == 6 and overlaps(places, [(60, 10)] * 6) == 0


@given(
    st.lists(st.tuples(st.integers(0, 180), st.integers(0, 80), st.integers(1, 100), st.integers(1, 60)), max_size=8),
    st.integers(5, 90),
)
def test_a_label_that_fits_is_inside_the_picture_and_few_labels_keep_apart(
    corners: list[tuple[int, int, int, int]], width: int
) -> None:
    boxes = [(x, y, min(200, x + w), min(100, y + h)) for x, y, w, h in corners]
    sizes = [(float(width), 9.0)] * len(boxes)
    places = place_labels(boxes, sizes, width=200, height=100)
    assert all(0 <= x <= 200 - width and 0 <= y <= 91 for x, y in places)
    if len(boxes) <= 3:
        assert overlaps(places, sizes) == 0


def overlaps(places: list[tuple[float, float]], sizes: list[tuple[float, float]]) -> int:
    rectangles = [(x, y, x + w, y + h) for (x, y), (w, h) in zip(places, sizes, strict=True)]
    pairs = [(one, other) for index, one in enumerate(rectangles) for other in rectangles[:index]]
    return sum(min(a[2], b[2]) > max(a[0], b[0]) and min(a[3], b[3]) > max(a[1], b[1]) for a, b in pairs)


def test_no_labels_no_places_and_no_boxes_leave_the_picture_as_it_is() -> None:
    assert place_labels([], [], width=200, height=100) == []
    image = Image.new("RGB", (20, 10), "blue")
    drawn = draw_boxes(image, [])
    assert drawn.tobytes() == image.tobytes() and drawn is not image
    assert draw_boxes(Image.new("RGB", (5000, 100)), []).size == (2048, 41)


def test_a_box_has_its_colour_and_its_label_letters_that_are_read_on_it() -> None:
    image = Image.new("RGB", (400, 300), "gray")
    for color in PALETTE:
        drawn = draw_boxes(image, [LabelledBox((0.25, 0.5, 0.75, 0.9), "a lid 0.50", color)])
        paper, ink = ImageColor.getrgb(color), ImageColor.getrgb(ink_on(color))
        assert drawn.getpixel((100, 200)) == paper
        label = drawn.crop((100, 120, 200, 149))
        counts = {value: count for count, value in label.getcolors(label.width * label.height) or []}
        assert counts[paper] > 300 and counts.get(ink, 0) > 0, color
    assert image.getpixel((100, 200)) == (128, 128, 128), "the picture itself is not drawn on"


def test_more_descriptions_than_colours_begin_again() -> None:
    assert color_of(0) == color_of(len(PALETTE)) != color_of(1)
    with pytest.raises(ValueError):
        place_labels([WHOLE], [], width=200, height=100)

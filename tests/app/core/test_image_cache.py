from __future__ import annotations

import base64
import io

from PIL import Image

from app.core.data_uri import picture_uri


def test_a_picture_for_the_page_is_small_and_inside_it() -> None:
    uri = picture_uri(Image.new("RGB", (4000, 2000)))
    head, _, data = uri.partition(",")
    assert head == "data:image/jpeg;base64"
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (1280, 640)

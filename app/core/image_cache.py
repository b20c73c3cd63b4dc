"""Keep the images that pages show: decoded once for everybody, the next few in advance."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

from PIL import Image

from app.core.data_uri import SHOWN_SIDE, file_uri, picture_jpeg
from curation.files.decode import RefusedError
from curation.files.images import PictureReader
from db.models import Image as Picture

KEPT_PICTURES = 24


class Pictures:
    """The last few are kept; files are opened by one process."""

    def __init__(self) -> None:
        self._reader: PictureReader | None = None
        self._kept: OrderedDict[int, tuple[Image.Image, bytes]] = OrderedDict()
        self._turn = threading.Lock()

    def get(self, row: Picture) -> tuple[Image.Image, str]:
        """Return the image, reduced, and its data URI.

        Raises: RefusedError: it is gone or has changed.
        """
        image, jpeg = self._read(row)
        return image, file_uri("image/jpeg", jpeg)

    def jpeg(self, row: Picture) -> bytes:
        """Return the image, reduced, as a JPEG.

        Raises: RefusedError: as of get.
        """
        return self._read(row)[1]

    def _read(self, row: Picture) -> tuple[Image.Image, bytes]:
        with self._turn:
            found = self._kept.pop(row.id, None)
            if found is None:
                self._reader = self._reader or PictureReader(processes=1, side=SHOWN_SIDE)
                image = self._reader.open_image(row)
                found = image, picture_jpeg(image)
            self._kept[row.id] = found
            while len(self._kept) > KEPT_PICTURES:
                self._kept.popitem(last=False)
            return found

    def prefetch(self, rows: Sequence[Picture]) -> None:
        """Decode some images in the background; errors surface when their turn comes."""
        new = [row for row in rows if row.id not in self._kept]
        if new:
            threading.Thread(target=self._read_ahead, args=(new,), daemon=True).start()

    def _read_ahead(self, rows: Sequence[Picture]) -> None:
        for row in rows:
            try:
                self.get(row)
            except RefusedError:
                continue

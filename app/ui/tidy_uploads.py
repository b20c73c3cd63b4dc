"""Remove what a broken upload left, and refuse what would fill the memory: Gradio does neither.

A disk that ran full, or a visitor who left in the middle, would leave the part that came, for a day. What comes beside
the files is kept in memory, however long it is.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from gradio import route_utils
from starlette.datastructures import FormData
from starlette.formparsers import MultiPartException

MOST_FIELD_BYTES = 2**20  # of all that an upload has beside its files; browsers send nothing


class TidyParser(route_utils.GradioMultiPartParser):
    """Gradio's parser of uploads, which also ends tidily and keeps little in memory."""

    _field_bytes = 0

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        """Take a piece of a part.

        Raises: MultiPartException: the parts that are no files are too long.
        """
        if self._current_part.file is None:
            self._field_bytes += end - start
            if self._field_bytes > MOST_FIELD_BYTES:
                # Gradio answers with 413 by the words "maximum allowed size"
                raise MultiPartException(f"Fields exceed their maximum allowed size of {MOST_FIELD_BYTES} bytes.")
        super().on_part_data(data, start, end)

    async def parse(self) -> FormData:
        """Parse an upload; whatever ends it early, its files are removed."""
        try:
            return await super().parse()
        except BaseException:
            for file in self._files_to_close_on_error:
                with suppress(OSError):
                    file.close()
                with suppress(OSError):
                    Path(file.name).unlink()
            raise


def tidy_uploads() -> None:
    """Have Gradio's upload route use TidyParser; it takes its parser from its module."""
    route_utils.GradioMultiPartParser = TidyParser  # type: ignore[misc]

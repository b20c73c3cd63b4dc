"""Remove what a broken upload left: Gradio does so only when the message itself is at fault.

A disk that ran full, or a visitor who left in the middle, would leave the part that came, for a day.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from gradio import route_utils
from starlette.datastructures import FormData


class TidyParser(route_utils.GradioMultiPartParser):
    """Gradio's parser of uploads, which also ends tidily."""

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

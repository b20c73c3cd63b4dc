"""Provide the image field. Gradio's own opens the file before a handler sees it; this one passes only its path."""

from __future__ import annotations

from abc import ABCMeta
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.component_meta import ComponentMeta
from gradio.data_classes import FileData, ImageData, ListFiles
from gradio.processing_utils import save_file_to_cache

NOT_A_FILE = "Send the picture as an uploaded file: addresses and data: URLs are not fetched."


class NoStub(ComponentMeta):
    """Gradio writes a .pyi beside the source of every component class, at import; not into our folder."""

    def __new__(cls, name: str, bases: tuple[type, ...], attributes: dict[str, Any]) -> NoStub:
        """Create the class and nothing else."""
        return ABCMeta.__new__(cls, name, bases, attributes)


class TextsField(gr.Textbox, metaclass=NoStub):
    """A parameter of an endpoint that takes a text, or a list or an object of texts."""

    is_template = True

    def preprocess(self, payload: Any) -> Any:
        """Return what was sent."""
        return payload

    def api_info(self) -> dict[str, Any]:
        """Return the schema that HTTP and MCP clients read."""
        texts = {"type": "array", "items": {"type": "string"}}
        return {"anyOf": [{"type": "string"}, texts, {"type": "object", "additionalProperties": texts}]}


class UploadedFiles(gr.File, metaclass=NoStub):
    """gr.File whose files stay unopened and uncopied: app/core/uploads.py reads them."""

    is_template = True

    def preprocess(self, payload: ListFiles | FileData | None) -> list[str]:
        """Return the paths of the uploaded files; Gradio has made sure that they were uploaded.

        Raises: gr.Error: something else was sent.
        """
        files = list(payload) if isinstance(payload, ListFiles) else [payload] if payload else []
        if not all(each.path for each in files):
            raise gr.Error(NOT_A_FILE, print_exception=False)
        return [each.path for each in files]

    async def async_move_resource_to_block_cache(self, url_or_file_path: str | Path | None) -> str | None:
        """Refuse addresses, as UploadedPicture does."""
        return await super().async_move_resource_to_block_cache(_no_address(url_or_file_path))


@dataclass(frozen=True)
class NamedUpload:
    """An uploaded file. name: as the browser sent it, which nothing vouches for; Gradio leaves out signs in its own."""

    path: Path
    name: str


class NamedUploads(UploadedFiles):
    """Uploaded files with the names that they have where they come from, for what other files say of them by name."""

    def get_block_name(self) -> str:
        """Return the name of the component that the browser draws: Gradio would take its parent, which is ours."""
        return "file"

    def preprocess(self, payload: ListFiles | FileData | None) -> list[NamedUpload]:  # type: ignore[override]
        """Return the uploaded files.

        Raises: gr.Error: as UploadedFiles.
        """
        files = list(payload) if isinstance(payload, ListFiles) else [payload] if payload else []
        paths = super().preprocess(payload)
        return [NamedUpload(Path(path), each.orig_name or "") for path, each in zip(paths, files, strict=True)]


class UploadedPicture(gr.Image, metaclass=NoStub):
    """gr.Image to look at. What a browser or an API client sent stays unopened: app/core/uploads.py reads it."""

    is_template = True  # the browser draws it as its parent

    def preprocess(self, payload: ImageData | None) -> str | None:
        """Return the path of the uploaded file; Gradio has made sure that it was uploaded.

        Raises: gr.Error: something else was sent.
        """
        if payload is None:
            return None
        if not payload.path:
            raise gr.Error(NOT_A_FILE, print_exception=False)
        return payload.path

    def postprocess(self, value: str | Path | None) -> ImageData | None:  # type: ignore[override]
        """Show a file of ours: a copy of it is served, never the place where it lies."""
        if not value:
            return None
        return ImageData(path=save_file_to_cache(value, cache_dir=self.GRADIO_CACHE), orig_name=Path(value).name)

    async def async_move_resource_to_block_cache(self, url_or_file_path: str | Path | None) -> str | None:
        """Refuse addresses: Gradio would fetch them here, before preprocess.

        Raises: gr.Error: it is an address.
        """
        return await super().async_move_resource_to_block_cache(_no_address(url_or_file_path))


def _no_address(url_or_file_path: str | Path | None) -> str | Path | None:
    if str(url_or_file_path).lower().startswith(("http:", "https:")):
        raise gr.Error(NOT_A_FILE, print_exception=False)
    return url_or_file_path

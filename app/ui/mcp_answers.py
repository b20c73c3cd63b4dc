"""Answer MCP calls in JSON and as structured content: Gradio writes a result as Python would print it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import gradio.mcp
from gradio_client.utils import is_file_obj_with_meta

PlainServer = gradio.mcp.GradioMCPServer
A_FILE = "a data URI, as data:image/jpeg;base64,…"
NOT_FETCHED = f"Send a file as {A_FILE}: addresses and paths are not read."


class JsonServer(PlainServer):
    """Gradio's MCP server, whose tools answer objects and lists as JSON and take files as data URIs alone."""

    _file_data_tool_description = f" A file is sent as {A_FILE}."

    def simplify_filedata_schema(self, schema: dict[str, Any]) -> tuple[dict[str, Any], list[list[str | int]]]:
        """Return a tool's schema, which says how a file is sent, and where in it files are."""
        simple, files = super().simplify_filedata_schema(schema)
        for name in {str(place[0]) for place in files if len(place) == 1}:
            simple["properties"][name]["format"] = A_FILE
        return simple, files

    def convert_strings_to_filedata(self, value: Any, filedata_positions: list[list[str | int]]) -> Any:
        """Take the files out of a call.

        Raises: ValueError: one is no data URI.
        """
        for name in (place[0] for place in filedata_positions if len(place) == 1):
            if isinstance(sent := value.get(name), str) and not sent.startswith("data:"):
                raise ValueError(NOT_FETCHED)
        return super().convert_strings_to_filedata(value, filedata_positions)

    def create_mcp_server(self) -> Any:
        """Make the server; every JSON answer of a tool is there as structured content too."""
        server = super().create_mcp_server()
        call = server.request_handlers[self.types.CallToolRequest]

        async def structured(request: Any) -> Any:
            answer: Any = await call(request)
            answer.root.structuredContent = _structure(answer.root.content)
            return answer

        server.request_handlers[self.types.CallToolRequest] = structured
        return server

    def postprocess_output_data(self, data: Any, root_url: str) -> list[Any]:
        """Write JSON as JSON, and files as Gradio does."""
        if any(not isinstance(each, dict | list) or is_file_obj_with_meta(each) for each in data):
            return super().postprocess_output_data(data, root_url)
        return [self.types.TextContent(type="text", text=json.dumps(each, ensure_ascii=False)) for each in data]


def _structure(content: Sequence[Any]) -> dict[str, Any] | None:
    """Return the one JSON answer as an object; None for an error's sentence, or a file."""
    texts = [each.text for each in content if each.type == "text"]
    try:
        [value] = [json.loads(text) for text in texts]
    except ValueError:  # no JSON, or not just one
        return None
    return value if isinstance(value, dict) else {"result": value}


def answer_mcp_in_json() -> None:
    """Have Gradio's launch use JsonServer; it takes its server from its module."""
    gradio.mcp.GradioMCPServer = JsonServer  # type: ignore[misc]

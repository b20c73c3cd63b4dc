"""Answer calls of programs: check their values, and turn a person's errors into errors of the API."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from inspect import getdoc, signature
from typing import Any, get_args

import gradio as gr
from pydantic import ConfigDict, ValidationError, validate_call

from user_errors import sentence

CONTINUED = re.compile(r"\n {8,}(?=\S)")  # the next line of what is said of a parameter


@contextmanager
def api_errors() -> Iterator[None]:
    """Raise a person's errors as errors of the API."""
    try:
        yield
    except ValueError as error:
        raise gr.Error(sentence(error), print_exception=False) from error


def checked(action: Callable[..., Any]) -> Callable[..., Any]:
    """Check the values of a call against the action's types before it runs.

    Raises: gr.Error: one is of another type; the sentence names it.
    """
    validated = validate_call(config=ConfigDict(arbitrary_types_allowed=True))(action)

    @wraps(action)
    def call(*values: Any, **named: Any) -> Any:
        try:
            return validated(*values, **named)
        except ValidationError as error:
            names = list(signature(action).parameters)
            first = error.errors()[0]
            name, got = first["loc"][0], repr(first["input"])[:40]
            field = names[name] if isinstance(name, int) else name
            expected = first["msg"].replace("Input should be", "expected").partition(",")[0]
            raise gr.Error(f"{field}: {expected}, got {got}: correct it.", print_exception=False) from error

    # Gradio reads one line of each parameter
    call.__doc__ = CONTINUED.sub(" ", getdoc(action) or "")
    return call


def verdict_names(named: str) -> list[str]:
    """Read names of verdicts with commas between, each once.

    Raises: ValueError: one is none.
    """
    from db.models import Status  # the first page does not wait for it

    found, known = list(dict.fromkeys(each.strip() for each in named.split(","))), get_args(Status)
    if unknown := [each for each in found if each not in known]:
        raise ValueError(f"Expected verdicts among {', '.join(known)}, got {unknown[0][:40]!r}: correct it.")
    return found

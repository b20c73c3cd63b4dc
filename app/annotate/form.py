"""Name the fields of the Annotate page and their choices; nothing heavy is imported, so that the page opens at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, NamedTuple, Self, get_args, get_type_hints

from app.core.page_values import check_names
from curation.annotate.annotator_settings import DescriberSettings, LocalizerSettings
from curation.annotate.describe import DescribeConfig
from curation.annotate.localize import LocalizeConfig
from curation.annotate.prompts import PROMPTS
from curation.annotate.registry import DESCRIBERS, LOCALIZERS, label_choices
from user_errors import UserError

DESCRIBER_CHOICES = label_choices(DESCRIBERS.values())
LOCALIZER_CHOICES = label_choices(LOCALIZERS.values())
PROMPT_CHOICES = list(PROMPTS)
PRECISION_CHOICES, ATTENTION_CHOICES, DEVICE_CHOICES = (
    list(get_args(get_type_hints(DescriberSettings)[name])) for name in ("precision", "attention", "device_map")
)
AUDITOR_CHOICES = [("what works offline", "offline"), ("OWLv2 on this machine, with photo’s checkpoint", "owlv2")]
CONVENTION_CHOICES = list(get_args(get_type_hints(LocalizerSettings)["convention"]))


class AnnotateForm(NamedTuple):
    """The choices of a person; as components, and as their values: texts, and numbers from threshold on."""

    dataset: Any
    describer: Any
    describer_model: Any
    server: Any
    vocabulary: Any
    prompts: Any
    localizer: Any
    localizer_model: Any
    convention: Any
    precision: Any
    attention: Any
    device_map: Any
    threshold: Any
    most_of_text: Any
    wrong: Any
    shifted: Any
    batch: Any
    concurrency: Any
    timeout_seconds: Any
    tokens: Any
    picture_side: Any

    @classmethod
    def of(cls, values: tuple[Any, ...]) -> Self:
        """Read the values of components: Gradio sends an empty text, and an empty number, as None."""
        return cls(
            *(
                ("" if isinstance(default, str) else default) if value is None else value
                for value, default in zip(values, DEFAULTS, strict=True)
            )
        )

    @classmethod
    def read(cls, named: Mapping[str, Any]) -> Self:
        """Read values by name, as programs give them; those that are left out have their default.

        Raises: UserError: there is no such field, or it takes a value of another type.
        """
        check_names((name for name in named if name != "dataset"), cls._fields[1:])
        for name, value in named.items():
            wanted = str if isinstance(getattr(DEFAULTS, name), str) else (int, float)
            if isinstance(value, bool) or not isinstance(value, wanted):
                kind = "a text" if wanted is str else "a number"
                raise UserError(f"Expected {kind} for {name}, got {str(value)[:40]!r}: correct it.")
        return cls(**(DEFAULTS._asdict() | dict(named)))


_OF_DESCRIBER: dict[str, Any] = {each.name: each.default for each in fields(DescriberSettings)}
DEFAULTS = AnnotateForm(
    dataset="",
    describer="photo",
    describer_model="",
    server="",
    vocabulary="",
    prompts=PROMPT_CHOICES[0],
    localizer="photo",
    localizer_model="",
    convention="auto",
    precision="auto",
    attention="auto",
    device_map="one",
    threshold=LocalizeConfig().threshold,
    most_of_text=LocalizeConfig().most_of_text,
    wrong=0.0,
    shifted=0.0,
    batch=_OF_DESCRIBER["batch"],
    concurrency=_OF_DESCRIBER["concurrency"],
    timeout_seconds=_OF_DESCRIBER["timeout_seconds"],
    tokens=DescribeConfig().stage2_tokens,
    picture_side=_OF_DESCRIBER["picture_side"],
)
"""What the page begins with, and what a program leaves out."""

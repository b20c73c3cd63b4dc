"""Name the fields of the Annotate page and their choices; nothing heavy is imported, so that the page opens at once."""

from __future__ import annotations

from typing import Any, NamedTuple

from curation.annotate.prompts import PROMPTS
from curation.annotate.registry import DESCRIBERS, LOCALIZERS, label_choices

DESCRIBER_CHOICES = label_choices(DESCRIBERS.values())
LOCALIZER_CHOICES = label_choices(LOCALIZERS.values())
PROMPT_CHOICES = list(PROMPTS)


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
    threshold: Any
    most_of_text: Any
    wrong: Any
    shifted: Any

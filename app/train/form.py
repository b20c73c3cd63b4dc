"""Make the form of a training from the fields of TrainConfig: names, units and defaults are the dataclass's own."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from grain.config import PRESETS
from grain.train_config import MINIMUMS, TrainConfig
from user_errors import UserError

CHOSEN_ELSEWHERE = ("data", "out", "init", "name", "mix", "zero_shot")  # by the page's own fields
LOSSES = "losses."
FIRST = (
    *("preset", "clip", "lock_image", "lock_text"),
    *("losses.image_caption", "losses.box", "losses.region_description"),
    *("images", "batch_size", "learning_rate"),
)
"""Fields outside "advanced"."""
GROUPS: Mapping[str, tuple[str, ...]] = {
    "Data": (
        "caption_source",
        "hard_negatives",
        "max_regions",
        "regions",
        "sampling",
        "flip",
        "smallest_crop",
        "colors",
    ),
    "Model": ("queries", "add_pooled", "adapter_rank", "region_rule"),
    "Optimisation": (
        *("final_learning_rate", "warmup_images", "towers_rate", "decoder_rate", "heads_rate"),
        *("weight_decay", "clip_norm", "average", "patience", "seed"),
    ),
    "Losses": ("losses.box_scale", "losses.symmetric", "losses.gathered"),
    "Hardware": ("precision", "pieces", "recompute", "compile", "workers"),
    "Evaluation": ("evaluate_images", "held_out_images"),
    "Checkpoints and logging": ("checkpoint_images", "keep", "stored", "tracker", "twin"),
}
"""Fields of "advanced", by the title that they stand under."""
CHOICES = {"preset": tuple(PRESETS)}  # a str to the command line, so that its error can list them
MOST_CHARACTERS = 200
THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d*)?")
MOST = {"learning_rate": 1.0, "final_learning_rate": 1.0, "workers": 256.0, "weight_decay": 10.0, "max_regions": 1000.0}
MOST |= {"adapter_rank": 1024.0, "towers_rate": 100.0, "decoder_rate": 100.0, "heads_rate": 100.0}
"""What a person may write on the page: beyond it a number is a slip. The command line takes any."""


@dataclass(frozen=True)
class FormField:
    """One field. name: dotted, as the flag. about: its docstring, with the unit. least: the smallest number."""

    name: str
    about: str
    kind: Literal["switch", "choice", "whole", "number", "text"]
    default: Any
    choices: tuple[str, ...] = ()
    optional: bool = False
    least: float = 0

    @property
    def default_text(self) -> str:
        """Return its default as its control of the form holds it."""
        if self.kind == "switch":
            return str(self.default).lower()
        return "" if self.default is None else f"{self.default:g}" if self.kind == "number" else str(self.default)

    @property
    def label(self) -> str:
        """Return its name in words."""
        words = self.name.removeprefix(LOSSES).replace("_", " ")
        return f"loss weight: {words}" if self.name != words and self.kind == "number" and "." in self.name else words


@cache
def form_fields() -> tuple[FormField, ...]:
    """Return all fields but those that the page chooses, in the order of the dataclass."""
    return tuple(each for each in _fields(TrainConfig, "") if each.name not in CHOSEN_ELSEWHERE)


def config_from(values: Mapping[str, Any], *, data: Path, out: Path, init: str | None, **others: Any) -> TrainConfig:
    """Return the configuration of a form; fields that it lacks have their defaults.

    Args:   others: of CHOSEN_ELSEWHERE.
    Raises: UserError: a value is of another kind, or there is no such field.
    """
    known = {each.name: each for each in form_fields()}
    if unknown := sorted(set(values) - set(known)):
        raise UserError(f"There is no field {unknown[0][:60]!r}: reload the page.")
    given = {name: _value(known[name], value) for name, value in values.items()}
    nested = {key.removeprefix(LOSSES): value for key, value in given.items() if key.startswith(LOSSES)}
    plain = {key: value for key, value in given.items() if not key.startswith(LOSSES)}
    defaults = TrainConfig(data, out)
    losses = type(defaults.losses)(**nested)
    try:
        return TrainConfig(data=data, out=out, init=init, losses=losses, **others, **plain)
    except ValueError as error:
        raise UserError(f"{error}.") from error


def values_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the form's values of a kept configuration, without fields that this version does not know."""
    flat = {key: value for key, value in config.items() if not isinstance(value, Mapping)}
    flat |= {f"{LOSSES}{key}": value for key, value in dict(config.get("losses") or {}).items()}
    return {each.name: flat[each.name] for each in form_fields() if each.name in flat}


def _fields(kind: type, prefix: str) -> Iterator[FormField]:
    hints, abouts = get_type_hints(kind), _docstrings(kind)
    for each in fields(kind):
        hint, name = hints[each.name], prefix + each.name
        if is_dataclass(hint) and isinstance(hint, type):
            yield from _fields(hint, f"{name}.")
            continue
        default = None if each.default is MISSING else each.default
        options = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
        base = next(option for option in options if option is not NoneType)
        choices = CHOICES.get(name) or (get_args(base) if get_origin(base) is Literal else ())
        yield FormField(
            name=name,
            about=abouts.get(each.name, ""),
            kind="choice" if choices else _KINDS.get(base, "text"),
            default=default,
            choices=choices,
            optional=NoneType in options,
            least=MINIMUMS.get(name, 0),
        )


_KINDS: dict[Any, Literal["switch", "whole", "number", "text"]] = {bool: "switch", int: "whole", float: "number"}


def _docstrings(kind: type) -> dict[str, str]:
    """Return the docstring below each field of a dataclass."""
    [body] = [node.body for node in ast.parse(textwrap.dedent(inspect.getsource(kind))).body if hasattr(node, "body")]
    found = {}
    for node, after in pairwise(body):
        text = after.value if isinstance(after, ast.Expr) else None
        if isinstance(node, ast.AnnAssign) and isinstance(text, ast.Constant) and isinstance(node.target, ast.Name):
            found[node.target.id] = " ".join(str(text.value).split())
    return found


def _value(each: FormField, value: object) -> Any:
    """Return a value that the browser sends as the dataclass holds it."""
    text = str(value).strip() if isinstance(value, str | int | float) else ""
    if each.kind == "switch":
        if not isinstance(value, bool):
            raise UserError(f"{each.label}: expected on or off, got {text[:60]!r}: set it again.")
        return value
    if value is None or (not text and each.optional):
        return None if each.optional else each.default
    if each.kind == "choice":
        if text not in each.choices:
            raise UserError(f"{each.label}: expected one of {', '.join(each.choices)}, got {text[:60]!r}: choose one.")
        return text
    if each.kind == "text":
        if len(text) > MOST_CHARACTERS or not text.isprintable():
            raise UserError(f"{each.label}: expected one line of at most {MOST_CHARACTERS} characters: shorten it.")
        return text
    return _numeric(each, text)


def _plain(text: str) -> str:
    """Return a number without the commas between its thousands.

    Raises: ValueError: a comma stands elsewhere, as in 1,5 (whether it is 1.5 or 15 nobody knows) and in 0,001.
    """
    if "," in text and not THOUSANDS.fullmatch(text):
        raise ValueError
    return text.replace(",", "")


def _numeric(each: FormField, text: str) -> int | float:
    what = "a whole number" if each.kind == "whole" else "a number"
    try:
        number = float(_plain(text))
        if not each.least <= number < float("inf"):  # nan neither
            raise ValueError
        integer = int(number)
        if each.kind == "whole" and integer != number:
            raise ValueError
    except ValueError as error:
        expected = f"{what}, {each.least:g} or more"
        advice = "write 1.5 with a point, 1,000 with a comma" if "," in text else "correct it"
        raise UserError(f"{each.label}: expected {expected}, got {text[:60]!r}: {advice}.") from error
    if number > (most := MOST.get(each.name, float("inf"))):
        raise UserError(f"{each.label}: expected at most {most:,g}, got {text[:60]!r}: take less.")
    return integer if each.kind == "whole" else number

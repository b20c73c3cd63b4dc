"""Run a command line from a settings dataclass, and write the command line of a settings dataclass.

Every command of the house goes through `run_command`; every job that is queued is a `command_line`. Both read the same
dataclass, so that what is shown, what is queued and what a person types are one thing.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

import tyro

from user_errors import DiskFullError, is_disk_full

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Settings = TypeVar("Settings")
Setting = tuple[str, Any, Any, Any]  # flag without its dashes, type, value, default (dataclasses.MISSING: required)
SAME_COMMAND = "stopped: the same command resumes"
SAFE = "the same command resumes"


def run_command(
    main: Callable[[Settings], int | None],
    config_type: type[Settings],
    *,
    module: str,
    description: str | None = None,
    stopped: str = SAME_COMMAND,
) -> None:
    """Parse the flags of `python -m MODULE`, call main, and end errors with one sentence.

    Args:
        main: returns an exit code, or None for 0.
        description: for --help; by default the docstring of the dataclass.
        stopped: what Ctrl-C ends with.
    """
    with exit_sentence(module, stopped=stopped):
        code = main(tyro.cli(config_type, prog=f"python -m {module}", description=description))
    if code:
        sys.exit(code)


@contextmanager
def exit_sentence(module: str, *, stopped: str = SAME_COMMAND) -> Iterator[None]:
    """End the process with `MODULE: sentence`, without a traceback, at a ValueError, an OSError or Ctrl-C."""
    try:
        yield
    except OSError as error:
        sys.exit(f"{module}: {DiskFullError.on(error.filename, SAFE) if is_disk_full(error) else error}")
    except ValueError as error:  # UserError is one
        sys.exit(f"{module}: {error}")
    except KeyboardInterrupt:
        sys.exit(f"{module}: {stopped}")


def command_line(config: DataclassInstance, module: str) -> list[str]:
    """Return the words that run a module with these settings, after the name of Python."""
    return ["-m", module, *flags_of(config)]


def flags_of(config: DataclassInstance) -> list[str]:
    """Return the flags that differ from the defaults, as words of a command line that tyro reads back.

    A value is in one word with its flag, so that it may begin with a dash; fields of a nested dataclass are
    `--outer.inner`, switches `--x` and `--no-x`, tuples `--x a b`. Positional fields come last.

    Raises: ValueError: an item of a tuple, after the first, begins with a dash: no command line can say that.
    """
    flags: list[str] = []
    positional: list[str] = []
    needed, after_tuple = 0, False
    for name, kind, value, default in _settings(config, dataclasses.MISSING):
        if tyro.conf.Positional in getattr(kind, "__metadata__", ()):
            positional.append(str(value))
            needed = len(positional) if value != default else needed
        elif value != default:
            flags += _flag(name, value, switch=kind is bool and isinstance(default, bool))
            after_tuple = isinstance(value, tuple)
    positional = positional[:needed]
    if positional and (after_tuple or any(word.startswith("-") for word in positional)):
        flags.append("--")
    return flags + positional


def _settings(config: DataclassInstance, defaults: Any, prefix: str = "") -> Iterator[Setting]:
    """Yield every field, those of nested dataclasses in their place. defaults: a dataclass like config, or MISSING."""
    kinds = get_type_hints(type(config), include_extras=True)
    for field in dataclasses.fields(config):
        value, name = getattr(config, field.name), prefix + field.name.replace("_", "-")
        default = _default(field) if defaults is dataclasses.MISSING else getattr(defaults, field.name)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            yield from _settings(value, default, f"{name}.")
        elif field.init:
            yield name, kinds[field.name], value, default


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return dataclasses.MISSING if field.default is tyro.MISSING else field.default


def _flag(name: str, value: Any, *, switch: bool) -> list[str]:
    if switch:
        outer, dot, inner = name.rpartition(".")
        return [f"--{name}" if value else f"--{outer}{dot}no-{inner}"]
    if not isinstance(value, tuple):
        return [f"--{name}={value}"]
    if dashed := [item for item in value[1:] if isinstance(item, str) and item.startswith("-")]:
        raise ValueError(f"expected no item of {name} to begin with a dash, got {dashed[0][:60]!r}: rename it")
    items = [f"./{item}" if isinstance(item, Path) and not item.is_absolute() else str(item) for item in value]
    return [f"--{name}={items[0]}", *items[1:]] if items and items[0].startswith("-") else [f"--{name}", *items]

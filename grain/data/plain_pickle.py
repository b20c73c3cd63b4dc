"""Read a pickle that holds plain values alone, without unpickling it: RefCOCO is published as nothing else.

A pickle is a program. This one is run by a reader of our own that knows only the instructions that make texts, numbers,
lists, tuples and dictionaries: no name is looked up, no object made and nothing called, whatever is in the file.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from user_errors import UserError

MOST_BYTES = 128 * 2**20  # the published files have up to 20 MB
VALUES = frozenset(
    "INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE "
    "SHORT_BINUNICODE BINUNICODE8".split()
)
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
EMPTY: Mapping[str, Callable[[], Any]] = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
SILENT = frozenset({"PROTO", "FRAME"})


def read_plain_pickle(path: Path) -> Any:
    """Read a pickle of plain values.

    Raises: UserError: it cannot be read, is too large, is cut off, or holds anything else.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise UserError(
                f"{path.name} has more than {MOST_BYTES // 2**20} MB, which is no published file: get it again"
            )
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): put the published file there") from error
    reader = _PlainReader()
    try:
        for code, argument, _ in pickletools.genops(content):
            reader.run(code.name, argument)
        return reader.result()
    except (ValueError, IndexError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"{path.name} is no whole pickle of plain values ({error}): get the published file again"
        ) from error


class _PlainReader:
    """The stack and the memory of one pickle. marks: places of the stack from which values are collected."""

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memory: dict[int, Any] = {}

    def run(self, code: str, argument: Any) -> None:
        """Run one instruction.

        Raises: UserError: it is none that makes a plain value.
        """
        if code in VALUES:
            self._stack.append(argument)
        elif code in CONSTANTS:
            self._stack.append(CONSTANTS[code])
        elif code in EMPTY:
            self._stack.append(EMPTY[code]())
        elif code == "MARK":
            self._marks.append(len(self._stack))
        elif code in ("LIST", "TUPLE", "DICT"):
            self._collect(code)
        elif code in TUPLES:
            self._stack.append(tuple(self._take(TUPLES[code])))
        elif code in ("APPEND", "APPENDS"):
            added = self._take(1) if code == "APPEND" else self._since_mark()
            self._top(list).extend(added)
        elif code in ("SETITEM", "SETITEMS"):
            added = self._take(2) if code == "SETITEM" else self._since_mark()
            self._top(dict).update(zip(added[::2], added[1::2], strict=True))
        elif code in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            self._memory[len(self._memory) if argument is None else argument] = self._stack[-1]
        elif code in ("GET", "BINGET", "LONG_BINGET"):
            self._stack.append(self._memory[argument])
        elif code != "STOP" and code not in SILENT:
            raise UserError(
                f"expected a pickle of texts, numbers, lists and dictionaries, got the instruction {code}, which may "
                "run code: do not open this file, get the published one"
            )

    def result(self) -> Any:
        """Return the one value that is left.

        Raises: ValueError: none or several are.
        """
        if len(self._stack) != 1 or self._marks:
            raise ValueError("expected one value at its end")
        return self._stack[0]

    def _collect(self, code: str) -> None:
        items = self._since_mark()
        if code == "DICT":
            self._stack.append(dict(zip(items[::2], items[1::2], strict=True)))
        else:
            self._stack.append(items if code == "LIST" else tuple(items))

    def _top(self, kind: type) -> Any:
        if not isinstance(self._stack[-1], kind):
            raise ValueError(f"a {type(self._stack[-1]).__name__} where a {kind.__name__} is filled")
        return self._stack[-1]

    def _take(self, count: int) -> list[Any]:
        taken = self._stack[-count:]
        if len(self._stack) - count < (self._marks[-1] if self._marks else 0):
            raise ValueError("fewer values than an instruction takes")
        del self._stack[-count:]
        return taken

    def _since_mark(self) -> list[Any]:
        if not self._marks:
            raise ValueError("an end without a beginning")
        at = self._marks.pop()
        taken = self._stack[at:]
        del self._stack[at:]
        return taken

"""Write files and folders whole or not at all: a temporary beside the target, fsync, rename, fsync of the folder.

A full disk is a DiskFullError, and whatever else keeps a file from being written a WriteError. Either way the temporary
is removed and what was there before is unchanged.
"""

from __future__ import annotations

import os
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from user_errors import FULL, DiskFullError, WriteError

Sync = Literal["all", "content", "none"]
"""What outlasts a power cut. all: the file and its name. content: the file, perhaps without its name; for what can be
made again. none: nothing yet; for a caller that syncs many files at once, or for what is soon replaced."""

TEMPORARY, EARLIER = ".tmp", ".old"
NAME_CHARACTERS = 50  # of the target, in a temporary's name: no name may have more than 255 bytes
CODE_IN_TEXT = re.compile(r"\(os error (\d+)\)")  # of libraries written in Rust, such as safetensors


def write_atomically(target: Path, content: bytes | str, *, sync: Sync = "all") -> None:
    """Write a file whole or not at all, making its folder where there is none.

    Raises: DiskFullError, WriteError.
    """
    with atomic_file(target, sync=sync) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def atomic_file(target: Path, *, sync: Sync = "all") -> Iterator[Path]:
    """Yield a temporary path beside a file, whose place it takes on leaving.

    Raises: DiskFullError, WriteError.
    """
    temporary = _temporary(target)
    with _errors_of(target):
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            if sync != "none":
                _flush(temporary)
            temporary.replace(target)
            if sync == "all":
                _flush(target.parent)
        finally:
            temporary.unlink(missing_ok=True)


def keep_name(target: Path) -> None:
    """Have the name of a file that was renamed outlast a power cut.

    Raises: DiskFullError, WriteError.
    """
    with _errors_of(target):
        _flush(target.parent)


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Yield a temporary folder beside another, whose place it takes on leaving, with all that is in it.

    A kill between the two renames leaves the earlier folder under another name: `clean_leftovers` brings it back.
    Raises: DiskFullError, WriteError.
    """
    temporary, earlier = _temporary(target), target.with_name(f".{target.name}{EARLIER}")
    with _errors_of(target):
        try:
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
            yield temporary
            for path in [*temporary.rglob("*"), temporary]:
                _flush(path)
            if target.exists():
                shutil.rmtree(earlier, ignore_errors=True)
                target.rename(earlier)
            temporary.rename(target)
            _flush(target.parent)
            shutil.rmtree(earlier, ignore_errors=True)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def clean_leftovers(folder: Path) -> None:
    """Remove what a killed writer left in a folder; bring back a folder caught between two renames."""
    for path in folder.glob(f".*{EARLIER}"):
        target = folder / path.name.removeprefix(".").removesuffix(EARLIER)
        if target.exists():
            shutil.rmtree(path)
        else:
            path.rename(target)
    for path in folder.glob(f".*{TEMPORARY}"):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def is_temporary(name: str) -> bool:
    """Tell whether a file of this name is one that is being written, or was left by a killed writer."""
    return name.startswith(".") and name.endswith(TEMPORARY)


def _temporary(target: Path) -> Path:
    """Return a path that no other process or thread writes to."""
    return target.with_name(f".{target.name[:NAME_CHARACTERS]}.{os.getpid()}.{threading.get_ident()}{TEMPORARY}")


@contextmanager
def _errors_of(target: Path) -> Iterator[None]:
    """Turn what the system or a library raises into a person's sentence."""
    try:
        yield
    except Exception as error:
        code = _error_code(error)
        if code in FULL:
            raise DiskFullError.on(target.parent) from error
        if code is None and not isinstance(error, OSError):
            raise
        reason = error.strerror if isinstance(error, OSError) and _lies_beside(error.filename, target) else error
        raise WriteError(
            f"{target} could not be written ({reason}): correct that and try again; what was there before is unchanged"
        ) from error


def _lies_beside(file: object, target: Path) -> bool:
    """Tell whether an error's file is the target or its temporary, which need no second mention."""
    return isinstance(file, str) and Path(file).parent == target.parent


def _error_code(error: Exception) -> int | None:
    if isinstance(error, OSError):
        return error.errno
    found = CODE_IN_TEXT.search(str(error))
    return int(found[1]) if found else None


def _flush(path: Path) -> None:
    if path.is_dir() and os.name != "posix":  # elsewhere a folder cannot be opened
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

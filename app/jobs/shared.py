"""Keep folders in sync with a shared URL (file, s3, gs, …) that clusters read and write through fsspec."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec

from user_errors import UserError

PART = ".part"  # what is being written
SECRET_FREE = "a URL without a password in it: give credentials as the cluster's own environment does"


class Shared:
    """A folder under a URL. Names are paths below it, the same ones as below GRAIN_HOME."""

    def __init__(self, url: str) -> None:
        """url: as fsspec reads it.

        Raises: UserError: no such kind of URL, or it holds a password.
        """
        if "@" in url:
            raise UserError(f"expected {SECRET_FREE}")
        try:
            self._fs, self._root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise UserError(f"expected a URL that fsspec can open, got {url!r}: {error}") from error
        self._sent: dict[str, Any] = {}
        self._got: dict[str, Any] = {}

    def is_folder(self, folder: Path) -> bool:
        """Return whether it is a folder of this machine: then nothing needs to be copied."""
        return "file" in _protocols(self._fs) and Path(self._root).resolve() == folder.resolve()

    def send(self, folder: Path, name: str, *, last: str) -> None:
        """Upload a folder in place of an earlier one of its name, unless that is the same by the content of one file.

        Args:   last: that file: it is removed there first and sent after all others, so that where it is, they are.
        Raises: OSError.
        """
        if self._is_same(folder / last, f"{name}/{last}"):
            return
        self._fs.invalidate_cache()
        top, mark = self._at(name), self._at(f"{name}/{last}")
        for path in sorted(self._fs.find(top), key=lambda path: path != mark):
            if path == mark or not (folder / path[len(top) :].lstrip("/")).is_file():
                self._fs.rm(path)
                self._sent.pop(path, None)
        self.push(folder, name, last=last)

    def _is_same(self, file: Path, name: str) -> bool:
        """Return whether a file is there with the same content."""
        try:
            return bool(self._fs.cat_file(self._at(name)) == file.read_bytes())
        except FileNotFoundError:
            return False

    def push(self, folder: Path, name: str, *, last: str = "") -> None:
        """Upload what changed since the last time, and remove there what was removed here.

        Args:   last: a file that is sent after all others, so that where it is, they are.
        Raises: OSError.
        """
        here = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
        for below in sorted(here, key=lambda below: below == last):
            try:
                facts = here[below].stat()
                mark, target = (facts.st_size, facts.st_mtime_ns), self._at(f"{name}/{below}")
                if below.endswith((".tmp", PART)) or self._sent.get(target) == mark:
                    continue
                self._put(here[below], target)
                self._sent[target] = mark
            except FileNotFoundError:  # an older state that has been dropped meanwhile
                continue
        prefix = self._at(name) + "/"
        for gone in [known for known in self._sent if known.startswith(prefix) and known[len(prefix) :] not in here]:
            del self._sent[gone]
            if self._fs.exists(gone):
                self._fs.rm(gone)

    def pull(self, name: str, folder: Path, *, wanted: Callable[[str], bool] = lambda below: True) -> None:
        """Download what changed since the last time; nothing here is removed.

        Args:   wanted: by path below the folder.
        Raises: OSError.
        """
        top = self._at(name)
        self._fs.invalidate_cache()
        for path, facts in self._fs.find(top, detail=True).items():
            below, mark = path[len(top) :].lstrip("/"), _mark(facts)
            if below.endswith((".tmp", PART)) or not wanted(below) or self._got.get(path) == mark:
                continue
            if ".." in Path(below).parts:
                raise UserError(f"expected names below {name}, got {below!r}")
            target = folder / below
            target.parent.mkdir(parents=True, exist_ok=True)
            part = target.with_name(f".{target.name}{PART}")
            self._fs.get_file(path, str(part))
            part.replace(target)
            self._got[path] = mark

    def _put(self, file: Path, target: str) -> None:
        if "file" not in _protocols(self._fs):  # object stores write whole or not at all
            self._fs.put_file(str(file), target)
            return
        self._fs.makedirs(str(Path(target).parent), exist_ok=True)
        self._fs.put_file(str(file), target + PART)
        Path(target + PART).replace(target)

    def _at(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}"


def _protocols(fs: Any) -> tuple[str, ...]:
    return (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)


def _mark(facts: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(str(facts.get(key)) for key in ("size", "mtime", "ETag", "LastModified", "updated", "created"))

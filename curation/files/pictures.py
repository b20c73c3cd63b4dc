"""Decode pictures that nobody vouches for: bytes -> an upright RGB picture, or one sentence why not.

They are read by curation/files/decode.py in processes of their own; this one never gives hostile bytes to a decoder.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from queue import LifoQueue
from types import TracebackType
from typing import IO, Self, TypeVar

from PIL import Image

from curation.files.decode import Limits, RefusedError, check_size, strip_rows
from curation.files.import_limits import picture_limits

__all__ = [
    "DecoderPool",
    "Limits",
    "PictureDecoder",
    "RefusedError",
    "UprightPicture",
    "in_order",
    "read_file",
    "read_picture",
]

Item = TypeVar("Item")
Result = TypeVar("Result")

# -I: neither the environment nor the working directory has a say in what is imported
PROGRAM = (
    "import sys; sys.path.append(sys.argv[1]); from curation.files.decode import *; main(Limits.from_json(sys.argv[2]))"
)
ROOT = Path(__file__).parents[2]
PATIENCE = 5  # wall seconds allowed for each second of processor time: the machine may be busy
START_S = 60.0  # wall seconds until a process that holds no picture yet says that it is ready
HEADER_BYTES = 4096
AHEAD = 4  # files a worker that are under way at once


@dataclass(frozen=True)
class UprightPicture:
    """width, height: of the whole upright picture. image: upright RGB, the whole or reduced."""

    width: int
    height: int
    image: Image.Image


class _LostError(RefusedError):
    """The process is gone or spent: whether the file or one before it is at fault is not known."""


class PictureDecoder:
    """One decoding process, started when it is needed; for one thread at a time.

    A file that ends it, or that it cannot read for want of memory, is tried once more in a new process if there were
    others before it: no picture's fate depends on its neighbours.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        """limits: for each picture."""
        self._limits = limits or picture_limits()
        self._process: subprocess.Popen[bytes] | None = None

    def read(self, content: bytes, side: int = 0) -> UprightPicture:
        """Read one file.

        Args:   content: any bytes. side: the longest side that is wanted, in pixels; 0 for the whole picture.
        Raises: RefusedError: no picture, or one that takes too much; one sentence says why.
        """
        check_size(len(content), self._limits)
        used = self._process is not None
        try:
            return self._ask(content, side)
        except _LostError:
            if not used:
                raise
        return self._ask(content, side)

    def close(self) -> None:
        """End the process; a later read starts another."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            with suppress(OSError):  # what was not yet sent goes nowhere
                pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _ask(self, content: bytes, side: int) -> UprightPicture:
        process = self._process or self._start()
        assert process.stdin is not None and process.stdout is not None
        answered = False
        try:
            with _killed_after(PATIENCE * self._limits.seconds, process):
                with suppress(OSError):  # it is gone: its answer says so
                    process.stdin.write(json.dumps({"bytes": len(content), "side": side}).encode() + b"\n")
                    process.stdin.write(content)
                    process.stdin.flush()
                picture = self._receive(process.stdout)
            answered = True
            return picture
        except RefusedError as error:
            answered = not isinstance(error, _LostError)
            raise
        finally:
            if not answered:
                self.close()

    def _start(self) -> subprocess.Popen[bytes]:
        """Start a process, ready or gone: a picture's time does not hold what Python takes to start."""
        command = [sys.executable, "-I", "-c", PROGRAM, str(ROOT), self._limits.to_json()]
        pipe = subprocess.PIPE
        self._process = process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL)
        assert process.stdout is not None
        with _killed_after(START_S, process):
            process.stdout.readline(HEADER_BYTES)
        return process

    def _receive(self, stream: IO[bytes]) -> UprightPicture:
        try:  # the process that says so has read hostile bytes: nothing of it is believed
            header = json.loads(stream.readline(HEADER_BYTES))
            refusal, spent = str(header.get("refusal", "")), bool(header.get("spent"))
            sizes = [int(header.get(name, 0)) for name in ("width", "height", "across", "down")]
        except (ValueError, TypeError, AttributeError) as error:  # ended by the system before it could say anything
            raise _LostError(
                f"This picture could not be read within {self._limits.seconds:g} s and "
                f"{self._limits.memory_bytes / 2**20:.0f} MB: save it again as a plain JPEG or PNG."
            ) from error
        if refusal:
            raise (_LostError if spent else RefusedError)(refusal)
        width, height, across, down = sizes
        most = self._limits.side
        if not (0 < across <= width <= most and 0 < down <= height <= most and across * down <= self._limits.pixels):
            raise _LostError("This picture came out in an impossible size: save it again as a plain JPEG or PNG.")
        return UprightPicture(width, height, _assemble(stream, across, down))


class DecoderPool:
    """Decoders, as many as there are threads to wait for them; `read` is for any number of threads."""

    def __init__(self, limits: Limits | None = None, processes: int | None = None) -> None:
        """processes: at the same time; None for one a core."""
        self.limits = limits or picture_limits()
        self.processes = processes or usable_cores()
        # last in, first out: one thread alone keeps to one process
        self._idle: LifoQueue[PictureDecoder] = LifoQueue()
        for _ in range(self.processes):
            self._idle.put(PictureDecoder(self.limits))

    def read(self, content: bytes, side: int = 0) -> UprightPicture:
        """Decode pictures as PictureDecoder.read does."""
        decoder = self._idle.get()
        try:
            return decoder.read(content, side)
        finally:
            self._idle.put(decoder)

    def close(self) -> None:
        """End the processes, once no thread reads any more."""
        for _ in range(self.processes):
            decoder = self._idle.get()
            decoder.close()
            self._idle.put(decoder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def read_picture(path: str | Path, limits: Limits | None = None) -> Image.Image:
    """Read one file.

    Args:   path: any file that somebody sent; its name and extension are not believed.
    Returns: RGB, upright (EXIF applied), the first frame of an animation, transparent pixels on white.
    Raises:  RefusedError: it is not let in; one sentence that says why and what to do.
    """
    limits = limits or picture_limits()
    content = read_file(Path(path), limits)
    with PictureDecoder(limits) as decoder:
        return decoder.read(content).image


def read_file(path: Path, limits: Limits) -> bytes:
    """Read a plain file's bytes, never more than the limits allow.

    Raises: RefusedError: nothing there, too many bytes, or it cannot be read.
    """
    try:
        check_size(path.stat().st_size if path.is_file() else 0, limits)
        with path.open("rb") as file:
            content = file.read(limits.file_bytes + 1)  # it may have grown since
    except OSError as error:
        raise RefusedError(f"This file cannot be read ({error.strerror}): see to its permissions.") from error
    check_size(len(content), limits)
    return content


def in_order(
    work: Callable[[Item], Result], items: Iterable[Item], threads: ThreadPoolExecutor, *, ahead: int
) -> Iterator[Result]:
    """Yield what `work` makes of each item, in their order, with at most `ahead` items taken before they are asked for.

    The first `ahead` are begun at once, so that they are ready when somebody asks.
    """
    rest = iter(items)
    return _results(work, rest, threads, under_way=deque(threads.submit(work, item) for item in islice(rest, ahead)))


def _results(
    work: Callable[[Item], Result],
    items: Iterator[Item],
    threads: ThreadPoolExecutor,
    *,
    under_way: deque[Future[Result]],
) -> Iterator[Result]:
    try:
        while under_way:
            yield under_way.popleft().result()
            under_way.extend(threads.submit(work, item) for item in islice(items, 1))
    finally:
        for future in under_way:
            future.cancel()


@contextmanager
def _killed_after(seconds: float, process: subprocess.Popen[bytes]) -> Iterator[None]:
    """End what is done inside by then: the process is killed, and its pipe says so."""
    watchdog = threading.Timer(seconds, process.kill)
    watchdog.start()
    try:
        yield
    finally:
        watchdog.cancel()


def usable_cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _assemble(stream: IO[bytes], width: int, height: int) -> Image.Image:
    image = Image.new("RGB", (width, height))
    for top in range(0, height, rows := strip_rows(width)):
        count = min(rows, height - top)
        strip = stream.read(3 * width * count)
        if len(strip) < 3 * width * count:
            raise _LostError("Reading this picture was cut short: save it again as a plain JPEG or PNG.")
        image.paste(Image.frombytes("RGB", (width, count), strip), (0, top))
    return image

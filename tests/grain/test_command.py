"""One way from settings to a command line and back, and from an error to a sentence."""

import errno
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
import tyro
from hypothesis import given
from hypothesis import strategies as st

from grain.command import command_line, exit_sentence, flags_of, run_command
from grain.train_config import LossWeights, TrainConfig
from tests.support.paths import ROOT
from user_errors import UserError

HOSTILE = ("-x", "--name", "a\nb", "$(touch x)", "; rm -rf /", "'\"`", "", " ", "--", "a=b", "=", "é中", "-1")


@dataclass(frozen=True)
class Inner:
    size: float = 1.0
    on: bool = True
    tags: tuple[str, ...] = ("a",)


@dataclass(frozen=True)
class Settings:
    """Count things."""

    name: str
    files: tuple[Path, ...] = ()
    inner: Inner = field(default_factory=lambda: Inner(size=3.0))
    two_words: bool = False
    quick: bool = True
    sure: bool | None = None
    limit: int | None = 5
    kind: Literal["a", "b"] = "a"
    home: Path | None = None


@dataclass(frozen=True)
class Placed:
    source: tyro.conf.Positional[Path]
    target: tyro.conf.Positional[str] = "here"
    dataset: str = tyro.MISSING
    statuses: tuple[str, ...] = ("accepted",)
    ready: bool = field(kw_only=True)


EACH = [
    Settings("n"),
    Settings("n", inner=Inner()),
    Settings("n", inner=Inner(size=-0.5, on=False, tags=("x", "y"))),
    Settings("n", inner=Inner(tags=())),
    Settings("n", two_words=True, quick=False, sure=False, limit=None, kind="b", home=Path("-h")),
    Settings("n", files=(Path("-a"), Path("-b"), Path("/c d"))),
    Placed(Path("/p"), dataset="d", ready=True),
    Placed(Path("-p"), "--target", dataset="d", ready=False),
    Placed(Path("/p"), dataset="d", ready=True, statuses=("accepted", "pending")),
    Placed(Path("/p"), "", dataset="d", ready=True, statuses=()),
    TrainConfig(Path("/d"), Path("/o"), name="-x; $(rm)\n", losses=LossWeights(box=0.5, symmetric=False)),
]


@pytest.mark.parametrize("config", EACH, ids=range(len(EACH)))
def test_settings_come_back_from_their_command_line(config: Settings | Placed | TrainConfig) -> None:
    assert tyro.cli(type(config), args=flags_of(config)) == config


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_value_comes_back_wherever_it_is(text: str) -> None:
    for config in (
        Settings(text, inner=Inner(tags=(text, "after"))),
        Placed(Path("/p", text), text, dataset=text, ready=True, statuses=(text,)),
        Placed(Path("/p"), "last", dataset=text, ready=True, statuses=(text,)),
    ):
        assert tyro.cli(type(config), args=flags_of(config)) == config


@given(st.text(), st.text(), st.floats(allow_nan=False), st.integers(), st.tuples(st.booleans(), st.booleans()))
def test_any_settings_come_back(name: str, tag: str, size: float, limit: int, switches: tuple[bool, bool]) -> None:
    config = Settings(name, inner=Inner(size, switches[0], (tag,)), quick=switches[1], limit=limit)
    assert tyro.cli(Settings, args=flags_of(config)) == config


def test_only_what_differs_from_the_defaults_is_written_and_each_value_is_one_word() -> None:
    assert flags_of(Settings("n")) == ["--name=n"]
    assert flags_of(Settings("-n", inner=Inner(on=False), two_words=True, quick=False)) == [
        "--name=-n", "--inner.size=1.0", "--inner.no-on", "--two-words", "--no-quick"
    ]  # fmt: skip
    assert flags_of(Settings("n", inner=Inner(3.0, tags=("x", "y z")))) == ["--name=n", "--inner.tags", "x", "y z"]
    assert flags_of(Placed(Path("/p"), dataset="d", ready=True)) == ["--dataset=d", "--ready=True", "/p"]
    assert flags_of(EACH[-1]) == [
        "--data=/d",
        "--out=/o",
        "--losses.box=0.5",
        "--losses.no-symmetric",
        "--name=-x; $(rm)\n",
    ]
    assert flags_of(TrainConfig(Path("/d"), Path("/o"), clip=True)) == ["--data=/d", "--out=/o", "--clip"]
    assert command_line(Settings("n", limit=6), "a.b") == ["-m", "a.b", "--name=n", "--limit=6"]


def test_an_item_that_no_command_line_can_say_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no item of inner\.tags to begin with a dash, got '-b': rename it"):
        flags_of(Settings("n", inner=Inner(tags=("a", "-b"))))


def _run(error: BaseException | None, *, code: int | None = None) -> None:
    def main(config: Settings) -> int | None:
        if error is not None:
            raise error
        return code

    run_command(main, Settings, module="a.b")


FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/x")


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (UserError("expected a cat, got a dog: bring a cat"), "a.b: expected a cat, got a dog: bring a cat"),
        (ValueError("no such name"), "a.b: no such name"),
        (FileNotFoundError(errno.ENOENT, "No such file", "/x"), "a.b: [Errno 2] No such file: '/x'"),
        (FULL, "a.b: The disk is full: free some space on /x and try again; the same command resumes."),
        (
            OSError(errno.EFBIG, "big"),
            "a.b: The disk is full: free some space and try again; the same command resumes.",
        ),
        (KeyboardInterrupt(), "a.b: stopped: the same command resumes"),
    ],
)
def test_what_a_person_can_mend_ends_in_a_sentence(
    error: BaseException, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["b.py", "--name=n"])
    with pytest.raises(SystemExit) as end:
        _run(error)
    assert end.value.code == sentence


def test_a_bug_keeps_its_traceback_and_a_code_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["b.py", "--name=n"])
    with pytest.raises(KeyError):
        _run(KeyError("a"))
    _run(None)
    with pytest.raises(SystemExit) as end:
        _run(None, code=3)
    assert end.value.code == 3


def test_another_sentence_may_be_given_for_a_stop() -> None:
    with (
        pytest.raises(SystemExit, match=r"^a: begin again$"),
        exit_sentence("a", stopped="begin again"),
    ):
        raise KeyboardInterrupt


def test_help_names_the_module_and_says_what_it_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["b.py", "--help"])
    with pytest.raises(SystemExit) as end:
        _run(None)
    assert end.value.code == 0
    shown = capsys.readouterr().out
    assert "python -m a.b" in shown and "Count things." in shown and "--inner.no-on" in shown


def test_it_imports_nothing_heavy() -> None:
    program = "import sys, grain.command; sys.exit(bool({'torch', 'gradio', 'pandas'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0

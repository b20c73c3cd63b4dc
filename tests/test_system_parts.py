"""What a machine lacks, and what is slow, is left out and told; CI leaves out nothing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tests.support.system_parts import SLOW, find_chromium, leave_out, summary

LACKING = """
import pytest
from tests.support.system_parts import leave_out

@pytest.mark.parametrize("number", range(3))
def test_a_page(number): leave_out("Chromium")
def test_a_cluster(): leave_out("Slurm")
def test_a_sum(): assert 1 + 1 == 2
"""
SLOW_ONES = """
import pathlib
import pytest

@pytest.fixture(scope="module")
def server(): pathlib.Path(__file__).with_name("started").touch()

@pytest.mark.slow
@pytest.mark.parametrize("number", range(2))
def test_a_journey(server, number): pass
def test_a_sum(): assert 1 + 1 == 2
"""


def test_what_was_left_out_is_one_line_with_the_way_to_get_it() -> None:
    reasons = ["('x.py', 3, 'Skipped: needs Chromium, which is not here: apt-get …')"] * 2 + ["Skipped: no pyarrow"]
    assert summary(reasons) == "Left out: 2 that need Chromium (apt-get install chromium)."
    assert summary([SLOW, *reasons, SLOW]).endswith("chromium); 2 slow ones (`make test-all` runs all).")
    assert summary([]) == ""


def run_pytest(*words: str, ci: str) -> subprocess.CompletedProcess[str]:
    """Run pytest with the plugin and without the fixtures of this folder."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml")]
    command += [f"--rootdir={ROOT}", "-p", "tests.support.left_out", *words]
    environment = os.environ | {"CI": ci, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize(("ci", "code", "words"), [("", 0, "1 passed, 4 skipped"), ("true", 1, "4 failed, 1 passed")])
def test_a_run_on_a_bare_machine(tmp_path: Path, ci: str, code: int, words: str) -> None:
    (tmp_path / "test_lacking.py").write_text(LACKING)
    ended = run_pytest(f"--confcutdir={tmp_path}", str(tmp_path), ci=ci)
    assert (ended.returncode, words in ended.stdout) == (code, True), ended.stdout + ended.stderr
    left_out = "Left out: 3 that need Chromium (apt-get install chromium); 1 that need Slurm" in ended.stdout
    assert left_out is (ci != "true")


@pytest.mark.parametrize(
    ("named", "words", "ci", "counts"),
    [
        (".", "-n1 --dist=loadfile", "", "1 passed, 2 skipped"),
        (".", "--slow", "", "3 passed"),
        (".", "", "true", "3 passed"),
        ("test_slow.py", "-n1 --dist=loadfile", "", "3 passed"),
        ("test_slow.py::test_a_journey[1]", "", "", "1 passed"),
    ],
)
def test_slow_tests_run_where_they_are_asked_for(tmp_path: Path, named: str, words: str, ci: str, counts: str) -> None:
    (tmp_path / "test_slow.py").write_text(SLOW_ONES)
    ended = run_pytest(f"--confcutdir={tmp_path}", *words.split(), str(tmp_path / named), ci=ci)
    assert (ended.returncode, counts in ended.stdout) == (0, True), ended.stdout + ended.stderr
    left_out = "Left out: 2 slow ones (`make test-all` runs all)." in ended.stdout
    assert left_out is ("skipped" in counts)
    assert (tmp_path / "started").exists() is ("skipped" not in counts)


def test_a_chromium_is_found_by_its_names_or_where_playwright_put_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_chromium() == "" and find_chromium(str(tmp_path / "nowhere")) == ""
    own = tmp_path / "chrome"
    own.touch()
    assert find_chromium(str(own)) == str(own)
    named = tmp_path / "chromium-browser"
    named.touch(mode=0o755)
    assert find_chromium(str(own)) == str(named)


def test_every_skip_goes_through_one_door() -> None:
    files = {
        file.relative_to(ROOT).as_posix(): file.read_text(encoding="utf-8") for file in (ROOT / "tests").rglob("*.py")
    }
    assert len(files) > 200
    skips = re.compile(r"pytest\.(skip|importorskip|xfail)\b|mark\.(skip|skipif|xfail)\b")
    doors = {"tests/support/system_parts.py", "tests/support/left_out.py"}  # a part that is not here; a slow test
    assert {path for path, source in files.items() if skips.search(source)} == doors


def test_in_ci_nothing_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="apt-get install slurm-wlm"):
        leave_out("Slurm")

"""A machine that lacks a part of the system runs the other tests, and says what it left out; CI leaves out nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tests.support.system_parts import find_chromium, leave_out, summary

LACKING = """
import pytest
from tests.support.system_parts import leave_out

@pytest.mark.parametrize("number", range(3))
def test_a_page(number): leave_out("Chromium")
def test_a_cluster(): leave_out("Slurm")
def test_a_sum(): assert 1 + 1 == 2
"""


def test_what_was_left_out_is_one_line_with_the_way_to_get_it() -> None:
    reasons = ["('x.py', 3, 'Skipped: needs Chromium, which is not here: apt-get …')"] * 2 + ["Skipped: no pyarrow"]
    assert summary(reasons) == "Left out: 2 that need Chromium (apt-get install chromium)."
    assert summary([]) == ""


@pytest.mark.parametrize(("ci", "code", "words"), [("", 0, "1 passed, 4 skipped"), ("true", 1, "4 failed, 1 passed")])
def test_a_run_on_a_bare_machine(tmp_path: Path, ci: str, code: int, words: str) -> None:
    (tmp_path / "test_lacking.py").write_text(LACKING)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml")]
    command += ["--confcutdir", str(tmp_path), f"--rootdir={ROOT}", "-p", "tests.support.left_out", str(tmp_path)]
    environment = os.environ | {"CI": ci, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (ended.returncode, words in ended.stdout) == (code, True), ended.stdout + ended.stderr
    left_out = "Left out: 3 that need Chromium (apt-get install chromium); 1 that need Slurm" in ended.stdout
    assert left_out is (ci != "true")


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


def test_in_ci_nothing_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="apt-get install slurm-wlm"):
        leave_out("Slurm")

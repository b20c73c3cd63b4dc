"""A plugin of pytest that leaves out slow tests, and says at the end what was left out and how to get it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.system_parts import SLOW, summary


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the slow tests too")


@pytest.hookimpl(tryfirst=True)  # before its fixtures are made
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leave out a slow test, unless slow ones are asked for, its file is named, or CI runs."""
    if item.get_closest_marker("slow") and not _is_asked_for(item):
        pytest.skip(SLOW)


def _is_asked_for(item: pytest.Item) -> bool:
    if item.config.getoption("--slow") or os.environ.get("CI") == "true":
        return True
    folder = item.config.invocation_params.dir
    return item.path in {(folder / Path(argument.split("::")[0])).resolve() for argument in item.config.args}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in one line what was left out, and how to get it."""
    reports = terminalreporter.stats.get("skipped", [])
    if line := summary(str(report.longrepr) for report in reports):
        terminalreporter.write_line(line, yellow=True)

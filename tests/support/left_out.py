"""A plugin of pytest that says at the end what was left out on this machine, and how to get it."""

from __future__ import annotations

import pytest

from tests.support.system_parts import summary


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in one line what was left out on this machine, and how to get it."""
    reports = terminalreporter.stats.get("skipped", [])
    if line := summary(str(report.longrepr) for report in reports):
        terminalreporter.write_line(line, yellow=True)

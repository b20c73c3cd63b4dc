"""Nothing phones home: no program of ours calls another machine, and no library keeps notes about people."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from gradio_client import Client, handle_file
from PIL import Image

from curation.ingest.ingest import ingest
from curation.sample.world import WorldConfig, write_world
from db.engine import open_engine
from no_telemetry import VARIABLES
from tests.support.fake_app import app_at
from tests.support.network_watch import destinations, left_the_machine, watching
from tests.support.paths import ROOT
from tests.support.waiting import PATIENCE_S, until

PREDICTOR = """
import sys
from PIL import Image
from grain import Predictor
photo = Predictor.from_pretrained("grain/checkpoints/photo")
found = photo.predict(Image.open(sys.argv[1]), ["a cup"], {"cup": ["a cup"]})
print(len(found.descriptions))
"""
PROGRAMS = {
    "Predictor": ["-c", PREDICTOR, "{picture}"],
    "a command": ["-m", "grain.predict", "{picture}", "--description", "a cup"],
    "Ray": ["-c", "from curation.scale.cluster import connect; connect(cpus=1)"],
}


@pytest.fixture
def plain_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A person's environment: a home folder of its own, and none of the variables that silence libraries."""
    for name in (*VARIABLES, "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    home = tmp_path / "person"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    return home


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    Image.new("RGB", (320, 240), (200, 30, 30)).save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


def notes_about_people(home: Path) -> list[Path]:
    """What a library keeps to recognise a machine again."""
    return [path for path in home.rglob("*") if path.name in ("deviceid", "onnxruntime.db") or "telemetry" in path.name]


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_calls_nobody(name: str, picture: Path, plain_environment: Path, tmp_path: Path) -> None:
    words = [word.format(picture=picture) if word == "{picture}" else word for word in PROGRAMS[name]]
    command = [*watching(tmp_path / "calls"), sys.executable, *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S * 5)
    assert done.returncode == 0, done.stderr
    assert left_the_machine(tmp_path / "calls") == set()
    assert notes_about_people(plain_environment) == []


@pytest.mark.slow
def test_a_training_and_its_evaluation_call_nobody(plain_environment: Path, tmp_path: Path) -> None:
    data, run = tmp_path / "data", tmp_path / "run"
    write_world(WorldConfig(out=data, images=64, held_out_images=8, classes=2, novel_images_per_class=2))
    trained = ["--images=32", "--batch-size=16", "--warmup-images=16", "--checkpoint-images=16"]
    trained += ["--evaluate-images=32", "--held-out-images=8", "--workers=1", "--tracker=tensorboard"]
    launched = ["-m", "accelerate.commands.launch", "--num_processes=1", "--num_machines=1"]  # as the Train page does
    launched += ["--mixed_precision=no", "--dynamo_backend=no", "--cpu", "-m", "grain.train"]
    commands = {
        "training": [*launched, f"--data={data}", f"--out={run}", *trained],
        "evaluation": ["-m", "grain.evaluate", f"--models={run}/final", f"--data-sets={data}", f"--out={tmp_path}/e"],
    }
    for name, words in commands.items():
        command = [*watching(tmp_path / name), sys.executable, *words]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S * 5)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / name).exists() and left_the_machine(tmp_path / name) == set()
    assert list(run.rglob("events.out.tfevents.*")), "the tracker kept nothing, so it was not watched"
    assert notes_about_people(plain_environment) == []


@pytest.mark.slow
def test_the_app_and_its_jobs_call_nobody(picture: Path, plain_environment: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    engine = open_engine(f"sqlite:///{home / 'grain.sqlite'}")
    world = WorldConfig(out=home / "drawn", images=0, held_out_images=2, classes=1, novel_images_per_class=0)
    ingest(engine, write_world(world), dataset="drawn", home=home)
    engine.dispose()
    before = set(home.rglob("*"))
    with app_at(home, before=watching(tmp_path / "calls")) as (address, _):
        client = Client(address, verbose=False, analytics_enabled=False, httpx_kwargs={"timeout": PATIENCE_S})
        client.predict(handle_file(picture), "a cup", api_name="/ground")
        job = client.predict("drawn", describer="photo", localizer="photo", api_name="/annotate")
        state = [job["state"]]

        def ended() -> bool:
            state[0] = client.predict(job["job"], api_name="/job")["state"]
            return state[0] not in ("queued", "running")

        until(ended, lambda: state[0])
        assert state == ["done"]
    assert destinations(tmp_path / "calls"), "the watch saw nothing at all"
    written = [path for path in home.rglob("*") if path not in before and not path.is_symlink()]
    assert len(written) > 5
    assert [path for path in written if path.stat().st_mode & 0o077] == [], "others of this machine may read it"
    assert left_the_machine(tmp_path / "calls") == set()
    assert notes_about_people(plain_environment) == []


def test_the_watch_sees_a_call_and_a_name_query(tmp_path: Path) -> None:
    program = """
import socket
for place in (("192.0.2.7", 443), ("127.0.0.53", 53), ("127.0.0.1", 9)):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.connect(place)
with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as out:
    out.connect_ex(("2001:db8::1", 443))
"""
    subprocess.run([*watching(tmp_path / "calls"), sys.executable, "-c", program], check=True, env=dict(os.environ))
    seen = {("192.0.2.7", 443), ("127.0.0.53", 53), ("2001:db8::1", 443)}
    assert left_the_machine(tmp_path / "calls") == seen
    assert destinations(tmp_path / "calls") - seen == {("127.0.0.1", 9)}

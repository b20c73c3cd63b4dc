"""What a job asks of a cluster: read once, and shown and submitted as the same flags."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from submitit.slurm.slurm import _make_sbatch_string

from app.jobs.resources import FIELDS, ClusterResources, read_resources
from app.jobs.slurm import enter
from app.services import Services
from app.train import actions as train_actions
from app.train.plan import TrainRequest, plan_run
from app.train.runs import form_of
from tests.app.train.test_actions import ADA
from tests.support.fake_app import fake_services
from tests.support.still_services import StillServices
from user_errors import UserError

FORM = {"name": "first", "data": "world:2000", "start": "scratch", "where": "slurm", "processes": 2}
FORM |= {"fields": {"workers": "8"}, "partition": "gpu,long", "account": "vision", "hours": "1.5", "memory_gb": "64"}


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    services = fake_services(tmp_path, StillServices, slurm=True, ray_address="http://127.0.0.1:1", cluster_hours=7)
    yield services
    services.engine.dispose()


def test_slurm_gets_the_very_flags_that_are_shown(services: Services, tmp_path: Path) -> None:
    plan = plan_run(services, TrainRequest.read(FORM), "curator")
    shown = shlex.split(plan.command.splitlines()[-1])
    flags = dict(word.removeprefix("--").split("=", 1) for word in shown[1 : shown.index("python")])
    assert shown[0] == "srun" and flags == {
        "nodes": "1", "ntasks-per-node": "1", "cpus-per-task": "18", "time": "90", "partition": "gpu,long",
        "account": "vision", "gpus-per-node": "2", "mem": "64G",
    }  # fmt: skip
    job = services.jobs.get(train_actions.queue(services, ADA, TrainRequest.read(FORM)))
    assert job is not None and shown[shown.index("python") + 1 :] == job.argv[1:]
    kept = ClusterResources.of(job.config["asked"]["resources"])
    asked: dict[str, Any] = {name.replace("-", "_"): value for name, value in kept.sbatch().items()}
    script = _make_sbatch_string("true", tmp_path, **asked)
    written = dict(re.findall(r"^#SBATCH --([\w-]+)=(.+)$", script, re.MULTILINE))
    assert {name: written[name] for name in flags} == flags
    again = form_of(services, job.id)
    assert {name: again[name] for name in FIELDS} == {name: FORM.get(name, "") for name in FIELDS}


def test_ray_gets_the_very_flags_that_are_shown(services: Services) -> None:
    plan = plan_run(services, TrainRequest.read(FORM | {"where": "ray", "cpus": "6"}), "curator")
    words = "ray job submit --entrypoint-num-cpus=6 --entrypoint-num-gpus=2 --entrypoint-memory=68719476736 -- python"
    assert plan.command.splitlines()[-1].startswith(words)
    assert plan.resources.ray() == {
        "entrypoint_num_cpus": 6, "entrypoint_num_gpus": 2, "entrypoint_memory": 64 * 2**30
    }  # fmt: skip
    here = plan_run(services, TrainRequest.read(FORM | {"where": "cpu", "processes": 1}), "curator")
    assert here.command.splitlines()[-1].startswith("python -m accelerate")


def test_what_a_form_leaves_empty_comes_from_the_settings_then_is_counted(services: Services) -> None:
    bare = {name: value for name, value in FORM.items() if name not in FIELDS}
    found = plan_run(services, TrainRequest.read(bare), "curator").resources
    assert found == ClusterResources(gpus=2, cpus=18, memory_gb=0, hours=7.0)
    assert "mem" not in found.sbatch() and "partition" not in found.sbatch()
    assert read_resources({}, {"cpus": 4, "account": "a"}, gpus=0, workers=8) == ClusterResources(cpus=4, account="a")
    assert read_resources({}, {}, gpus=0, workers=0) == ClusterResources()
    assert ClusterResources.of(None) == ClusterResources()


@pytest.mark.parametrize(
    ("field", "text", "sentence"),
    [
        ("hours", "1,5", "hours: expected a number above 0, at most 8,760, got '1,5'"),
        ("hours", "-1", "hours: expected a number above 0"),
        ("hours", "0", "hours: expected a number above 0, at most 8,760, got '0'"),
        ("hours", "nan", "hours: expected a number above 0"),
        ("cpus", "2.5", "cpus: expected a whole number above 0, at most 1,024, got '2.5'"),
        ("cpus", "5000", "cpus: expected a whole number above 0, at most 1,024"),
        ("memory_gb", "lots", "memory: expected a whole number above 0"),
        ("partition", "gpu; rm -rf", "partition: expected a name of letters"),
        ("account", "$(reboot)", "account: expected a name of letters"),
    ],
)
def test_what_no_cluster_gives_is_refused_in_one_sentence(field: str, text: str, sentence: str) -> None:
    with pytest.raises(UserError, match=re.escape(sentence)):
        read_resources({field: text}, {}, gpus=1, workers=0)


def test_a_batch_script_goes_to_a_folder_of_any_name(tmp_path: Path) -> None:
    folder = tmp_path / "our grain; $(touch here) 'x'"
    folder.mkdir()
    shown = subprocess.run(["bash", "-c", f"{enter(folder)} && pwd"], capture_output=True, text=True, check=True)
    assert Path(shown.stdout.strip()) == folder and not list(folder.iterdir())

"""Jobs on a real local Ray and a real one-node Slurm, and the folders that they share with this machine."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from app.jobs.cluster import ClusterJob
from app.jobs.launch import Pace, RunnerConfig
from app.jobs.node import Order, run
from app.jobs.ray import address_of
from app.jobs.runner import Runner
from app.jobs.shared import Shared
from db.engine import Engine, open_engine, reading, transaction
from db.models import Job
from db.queries.job_queries import enqueue_job, get_job, request_cancel, requeue_job
from grain.checkpoint import checkpoint_folder
from tests.support.fake_app import free_port
from tests.support.paths import ROOT
from tests.support.system_parts import leave_out
from tests.support.waiting import PATIENCE_S, until
from user_errors import UserError

PROGRAM = str(ROOT / "tests" / "support" / "job_programs.py")
PACE = Pace(heartbeat_s=0.2, lease_s=60.0, tick_s=0.05, cancel_grace_s=60.0)


# shared folders


def test_a_folder_is_sent_fetched_and_kept_the_same(tmp_path: Path) -> None:
    here, there, back = tmp_path / "here", tmp_path / "there", tmp_path / "back"
    (here / "deep").mkdir(parents=True)
    (here / "a").write_text("one")
    (here / "deep" / "b").write_text("two")
    (here / "c.tmp").write_text("half")
    shared = Shared(f"file://{there}")
    shared.push(here, "runs/x", last="a")
    shared.pull("runs/x", back)
    assert sorted(p.relative_to(back).as_posix() for p in back.rglob("*") if p.is_file()) == ["a", "deep/b"]
    (here / "a").write_text("1111")
    (here / "deep" / "b").unlink()
    shared.push(here, "runs/x")
    shared.pull("runs/x", back, wanted=lambda below: not below.startswith("deep/"))
    assert (back / "a").read_text() == "1111"
    assert [path.name for path in (there / "runs" / "x").rglob("*") if path.is_file()] == ["a"]
    assert shared.is_folder(there) and not shared.is_folder(here)


class JobAtOnce(ClusterJob):
    """A job that is over as soon as it is sent."""

    def start(self, order: Order) -> None:
        """Take it."""

    def look(self) -> int:
        return 0

    def output(self) -> str:
        return ""

    def end(self, *, force: bool) -> None:
        """It has ended."""


def send_from(home: Path, start: Path) -> None:
    """Send a training that starts from a checkpoint."""
    train = {"data": str(home / "worlds" / "1"), "out": str(home / "runs" / "x"), "init": str(start)}
    row = Job(id=1, token=1, kind="train", owner="ada", argv=["python"], config={"train": train, "asked": {}})
    job = JobAtOnce(row, home / "jobs" / "1")
    job.submit()
    until(lambda: job.poll() is not None, "it is over")
    assert job.poll() == 0, job.tail()


def test_a_start_that_was_promoted_again_is_sent_again_and_nothing_else_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, there = tmp_path / "home", tmp_path / "shared"
    monkeypatch.setenv("GRAIN_SHARED_URL", f"file://{there}")
    start, data = home / "checkpoints" / "mine", home / "worlds" / "1"
    data.mkdir(parents=True)
    (home / "jobs" / "1").mkdir(parents=True)
    (data / "manifest.json").write_text("{}")

    def promote(weights: str, *also: str) -> None:
        with checkpoint_folder(start) as place:
            for name in ("model.safetensors", "config.json", *also):
                (place / name).write_text(weights)

    promote("old", "tuned.safetensors")
    send_from(home, start)
    stamp = (there / "worlds" / "1" / "manifest.json").stat().st_mtime_ns
    assert (there / "checkpoints" / "mine" / "tuned.safetensors").read_text() == "old"
    promote("new")
    send_from(home, start)
    sent = there / "checkpoints" / "mine"
    assert (sent / "model.safetensors").read_text() == "new"
    assert {path.name for path in sent.iterdir()} == {path.name for path in start.iterdir()}, "nothing of the old one"
    assert (there / "worlds" / "1" / "manifest.json").stat().st_mtime_ns == stamp, "what is there is not sent again"


def test_a_folder_whose_sending_broke_is_not_taken_for_a_whole_one(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there" / "mine"
    here.mkdir()
    for name in ("a", "manifest.json"):
        (here / name).write_text("old")
    Shared(f"file://{tmp_path / 'there'}").send(here, "mine", last="manifest.json")
    for name in ("a", "manifest.json"):
        (here / name).write_text("new")
    (there / "a.part").mkdir()  # so that the file cannot be written
    with pytest.raises(OSError):
        Shared(f"file://{tmp_path / 'there'}").send(here, "mine", last="manifest.json")
    assert not (there / "manifest.json").exists(), "neither the old one nor the new one"
    (there / "a.part").rmdir()
    Shared(f"file://{tmp_path / 'there'}").send(here, "mine", last="manifest.json")
    assert {path.name: path.read_text() for path in there.iterdir()} == {"a": "new", "manifest.json": "new"}


@pytest.mark.parametrize("url", ["nothing-like://x", "s3://key:secret@bucket"])
def test_a_url_that_cannot_be_or_holds_a_password_is_refused(url: str) -> None:
    with pytest.raises(UserError) as refused:
        Shared(url)
    assert "secret" not in str(refused.value)


def test_a_node_fetches_runs_and_sends_back(tmp_path: Path) -> None:
    home, url = tmp_path / "home", f"file://{tmp_path / 'shared'}"
    (home / "worlds" / "1").mkdir(parents=True)
    (home / "worlds" / "1" / "manifest.json").write_text("{}")
    Shared(url).push(home / "worlds" / "1", "worlds/1")
    argv = ("python", PROGRAM, "write_run", f"{home}/worlds/1", f"{home}/runs/x", "1")
    verdict, handler = tmp_path / "verdict", signal.getsignal(signal.SIGTERM)
    order = Order(str(home), url, argv, ("worlds/1",), "runs/x", str(verdict))
    assert run(order.to_json()) == 0 == int(verdict.read_text())
    assert (tmp_path / "shared" / "runs" / "x" / "metrics.jsonl").read_text().count("\n") == 1
    assert not (home / "runs").exists()
    failing = Order(str(home), url, ("python", PROGRAM, "fail", "3"), (), "runs/y", str(verdict))
    assert run(failing.to_json()) == 3 == int(verdict.read_text())
    assert signal.getsignal(signal.SIGTERM) is handler, "a signal that comes later is not for a process that has ended"


def test_a_node_outlives_a_store_that_takes_nothing_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("app.jobs.node.SEND_S", 0.01)
    home, sent, verdict = tmp_path / "home", tmp_path / "shared" / "runs" / "x", tmp_path / "verdict"
    (sent / "metrics.jsonl").mkdir(parents=True)  # so that the file cannot be written
    (tmp_path / "shared" / "worlds" / "1").mkdir(parents=True)
    (tmp_path / "shared" / "worlds" / "1" / "manifest.json").write_text("{}")
    argv = ("python", PROGRAM, "write_run", f"{home}/worlds/1", f"{home}/runs/x", "1")
    order = Order(str(home), f"file://{tmp_path / 'shared'}", argv, ("worlds/1",), "runs/x", str(verdict))
    thread, refused = threading.Thread(target=run, args=(order.to_json(),), daemon=True), list[str]()

    def is_refused() -> bool:
        refused.append(capfd.readouterr().err)
        return "metrics.jsonl" in "".join(refused)

    thread.start()
    until(is_refused, "the node to say that it cannot send")
    (sent / "metrics.jsonl").rmdir()
    thread.join(PATIENCE_S)
    assert verdict.read_text() == "0"
    assert (sent / "metrics.jsonl").read_text().count("\n") == 1


def test_a_job_hears_that_its_time_limit_is_near_and_leaves_its_verdict(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "worlds" / "1").mkdir(parents=True)
    (home / "worlds" / "1" / "manifest.json").write_text("{}")
    argv = ("python", PROGRAM, "write_run", f"{home}/worlds/1", f"{home}/runs/x", str(10**9))
    verdict, log = tmp_path / "verdict", home / "runs" / "x" / "metrics.jsonl"
    order = Order(str(home), f"file://{home}", argv, (), "runs/x", str(verdict))
    environment = os.environ | {"GRAIN_NODE": order.to_json()}
    with subprocess.Popen([sys.executable, "-m", "app.jobs.node"], cwd=ROOT, env=environment) as node:
        until(log.exists, "it writes")
        parent = psutil.Process(node.pid)
        for process in (*parent.children(recursive=True), parent):  # Slurm sends it to all of them
            process.send_signal(signal.SIGUSR2)
    assert int(verdict.read_text()) == -signal.SIGTERM, "the job itself was asked to end, and its end was waited for"


def test_an_exposed_ray_is_refused_without_a_token() -> None:
    assert address_of({"GRAIN_RAY_ADDRESS": "http://127.0.0.1:8265"}) == "http://127.0.0.1:8265"
    assert address_of({"GRAIN_RAY_ADDRESS": "http://10.0.0.7:8265", "RAY_AUTH_TOKEN_PATH": "/t"})
    with pytest.raises(UserError, match="exposed Ray runs anybody's code"):
        address_of({"GRAIN_RAY_ADDRESS": "http://10.0.0.7:8265"})
    with pytest.raises(UserError, match="expected GRAIN_RAY_ADDRESS"):
        address_of({"GRAIN_RAY_ADDRESS": "ray:8265; rm"})


# clusters: the same three things of each


class Place:
    """A home with a queue, whose jobs go to one cluster."""

    def __init__(self, folder: Path, backend: str) -> None:
        self.home, self.backend = folder / "home", backend
        (self.home / "worlds" / "1").mkdir(parents=True)
        (self.home / "worlds" / "1" / "manifest.json").write_text("{}")
        self.engine: Engine = open_engine(f"sqlite:///{self.home}/grain.sqlite")
        self.config = RunnerConfig(self.home, {backend: 1}, PACE)

    def enqueue(self, name: str, rows: int) -> int:
        data, out = f"{self.home}/worlds/1", f"{self.home}/runs/{name}"
        config = {"train": {"data": data, "out": out, "init": None}, "asked": {"processes": 0}}
        argv = [sys.executable, PROGRAM, "write_run", data, out, str(rows)]
        options: dict[str, Any] = {"kind": "train", "owner": "ada", "config": config, "device": self.backend}
        with transaction(self.engine) as session:
            return enqueue_job(session, argv=argv, backend=self.backend, **options).id

    def job(self, number: int) -> Job:
        with reading(self.engine) as session:
            job = get_job(session, job_id=number)
            assert job is not None
            return job

    def rows(self, name: str) -> int:
        file = self.home / "runs" / name / "metrics.jsonl"
        return file.read_text().count("\n") if file.exists() else 0

    def cancel(self, number: int, runner: threading.Thread) -> None:
        with transaction(self.engine) as session:
            request_cancel(session, job_id=number)
        runner.join(PATIENCE_S)
        assert self.job(number).state == "cancelled"

    def background(self) -> tuple[Runner, threading.Thread]:
        runner = Runner(self.engine, self.config)
        thread = threading.Thread(target=runner.run, daemon=True)
        thread.start()
        return runner, thread


def check_a_cluster(place: Place) -> None:
    """A job runs through; another outlives its runner, is found again, and is cancelled."""
    done = place.enqueue("first", 2)
    Runner(place.engine, place.config).run()
    assert (place.job(done).state, place.job(done).exit_reason) == ("done", "ok")
    assert place.rows("first") == 2 and place.job(done).done == 2

    endless = place.enqueue("endless", 10**9)
    runner, thread = place.background()
    until(lambda: place.rows("endless") > 0, "the endless one has written")
    runner.stop()
    thread.join(PATIENCE_S)
    assert (place.job(endless).state, bool(place.job(endless).external_id)) == ("queued", True)
    seen, name = place.rows("endless"), place.job(endless).external_id
    _, thread = place.background()
    until(lambda: place.rows("endless") > seen, "another runner has found it again")
    assert place.job(endless).external_id == name
    place.cancel(endless, thread)


def _look_at_the_environment_again() -> None:
    """Ray keeps within a process whether it wants a token; other tests start a cluster without one."""
    from ray._private.authentication_test_utils import reset_auth_token_state

    reset_auth_token_state()


@pytest.fixture(scope="module")
def ray_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Ray with its job server, for whoever has the token, on this machine alone."""
    token = tmp_path_factory.mktemp("ray") / "token"
    token.write_text(secrets.token_hex(32))
    temporary = Path(tempfile.gettempdir()) / f"r{os.getpid()}"  # Ray's sockets want a short path
    port, dashboard = free_port(), free_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        # the cluster's `python` is the one that Ray itself runs in
        patch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
        if "ray" in sys.modules:
            _look_at_the_environment_again()
        ray = str(Path(sys.executable).with_name("ray"))
        start = [ray, "start", "--head", "--node-ip-address=127.0.0.1", f"--port={port}", "--num-cpus=2", "--block"]
        start += ["--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}", f"--temp-dir={temporary}"]
        start += [f"--dashboard-agent-listen-port={free_port()}"]  # its usual one may be that of another test's Ray
        with subprocess.Popen(
            start, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        ) as head:
            try:
                until(lambda: _answers(dashboard), "Ray's job server answers")
                patch.setenv("GRAIN_RAY_ADDRESS", f"http://127.0.0.1:{dashboard}")
                yield f"http://127.0.0.1:{dashboard}"
            finally:
                family = psutil.Process(head.pid).children(recursive=True)
                head.send_signal(signal.SIGTERM)
                for process in psutil.wait_procs(family, timeout=20)[1]:
                    process.kill()
                head.kill()
                shutil.rmtree(temporary, ignore_errors=True)
    _look_at_the_environment_again()


@pytest.mark.slow
def test_a_job_on_ray(ray_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAIN_SHARED_URL", f"file://{tmp_path / 'shared'}")
    check_a_cluster(Place(tmp_path, "ray"))


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A Slurm of one node, on loopback, with a key of its own."""
    needed = ("slurmctld", "slurmd", "munged", "sbatch")
    missing = [name for name in needed if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") is None]
    if missing or os.geteuid() != 0:
        leave_out("Slurm")
    folder = tmp_path_factory.mktemp("slurm")
    folder.chmod(0o755)
    socket_file, key, conf = folder / "munge.socket", folder / "munge.key", folder / "slurm.conf"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o400)
    ports = [free_port(), free_port()]
    conf.write_text(SLURM_CONF.format(host=socket.gethostname().split(".")[0], folder=folder, ports=ports))
    munge = ["munged", "--foreground", "--force", f"--socket={socket_file}", f"--key-file={key}"]
    munge += [f"--{name}-file={folder}/munge.{name}" for name in ("pid", "log", "seed")]
    daemons = [munge, ["slurmctld", "-D", "-f", str(conf)], ["slurmd", "-D", "-f", str(conf)]]
    started: list[subprocess.Popen[bytes]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{os.environ['PATH']}:/usr/sbin")
        patch.setenv("SLURM_CONF", str(conf))
        try:
            for words in daemons:
                log = (folder / f"{words[0]}.txt").open("wb")
                started.append(subprocess.Popen(words, stdout=log, stderr=log))
                if words is munge:
                    until(socket_file.exists, "munge is there")
            until(lambda: b"idle" in _said("sinfo", "--noheader", "--format", "%T"), "the node is idle")
            yield
        finally:
            for process in reversed(started):
                process.terminate()
                process.wait(PATIENCE_S)


@pytest.mark.slow
def test_a_job_on_slurm(slurm: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAIN_SHARED_URL", f"file://{tmp_path / 'home'}")  # one folder of all machines
    check_a_cluster(Place(tmp_path, "slurm"))


@pytest.mark.slow
def test_a_job_that_slurm_is_about_to_end_saves_and_is_submitted_again(
    slurm: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAIN_SHARED_URL", f"file://{tmp_path / 'home'}")
    place = Place(tmp_path, "slurm")
    job = place.enqueue("long", 10**9)
    _, thread = place.background()
    until(lambda: place.rows("long") > 0, "it has written")
    first = place.job(job).external_id
    [number] = (place.home / "jobs" / str(job) / "slurm" / first).glob("number")
    assert b"Requeue=0" in _said("scontrol", "show", "job", number.read_text()), "or Slurm would start it again as well"
    subprocess.run(["scancel", "--signal=USR2", number.read_text()], check=True)  # as 90 s before its time limit
    thread.join(PATIENCE_S)
    ended = place.job(job)
    assert (ended.state, ended.external_id) == ("interrupted", "") and ended.retry_at
    assert ended.exit_reason.startswith("killed by signal 15 (SIGTERM)"), "the training was asked to save"
    seen = place.rows("long")
    with transaction(place.engine) as session:
        requeue_job(session, job_id=job)
    _, thread = place.background()
    until(lambda: place.rows("long") > seen, "it goes on in a job of its own")
    assert place.job(job).external_id not in ("", first)
    place.cancel(job, thread)


@pytest.mark.slow
def test_work_whose_runner_was_killed_before_it_kept_its_number_is_found_by_name(
    slurm: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAIN_SHARED_URL", f"file://{tmp_path / 'home'}")
    place = Place(tmp_path, "slurm")
    job = place.enqueue("long", 10**9)
    runner, thread = place.background()
    until(lambda: place.rows("long") > 0, "it has written")
    runner.stop()
    thread.join(PATIENCE_S)
    [number] = (place.home / "jobs" / str(job) / "slurm").glob("*/number")
    first = number.read_text()
    number.unlink()
    seen = place.rows("long")
    _, thread = place.background()
    until(lambda: number.is_file() and place.rows("long") > seen, "another runner has found it")
    assert (number.read_text(), _said("squeue", "--noheader", "--format", "%A").decode().split()) == (first, [first])
    place.cancel(job, thread)


SLURM_CONF = """ClusterName=grain
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SchedulerType=sched/backfill
SelectType=select/linear
ReturnToService=2
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
MailProg=/bin/true
NodeName={host} NodeAddr=127.0.0.1 CPUs=1 RealMemory=512 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def _said(*words: str) -> bytes:
    return subprocess.run(words, capture_output=True).stdout


def _answers(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0

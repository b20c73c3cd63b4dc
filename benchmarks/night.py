"""A night's run with nobody there: poison, errors, outages, kills; and how soon a killed runner's queue moves."""

from __future__ import annotations

import base64
import io
import json
import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import psutil
from PIL import Image as Pictures
from sqlmodel import select

from app.jobs.processes import Worker
from benchmarks.app_start import AS_IS, running_app
from benchmarks.rows import Benchmark, Finding
from curation.annotate.registry import DescriberChoice, LocalizerChoice
from curation.annotate.settings import AnnotateConfig, command_line
from curation.ingest.ingest import ingest
from db.engine import Engine, open_engine, reading, transaction
from db.models import Image, Job, StageResult
from db.queries.job_queries import enqueue_job, get_job
from db.queries.stage_result_queries import descriptions_of

SEED = 0
PICTURES, POISON_SHARE, ERROR_SHARE = 1000, 0.03, 0.05
ERRORS = (429, 500, 502, 503)
ANSWER_S = 0.4  # that the server takes for an answer
OUTAGES, OUTAGE_S = 2, 60.0
KILLED = ("worker", "runner", "worker", "runner", "app", "worker", "runner", "worker", "runner", "worker")
BETWEEN_S = (20.0, 40.0)  # from one kill or outage to the next
MOST_S = 3000.0  # for the whole night
GRID, BLOCK = 4, 16  # a picture shows its number as so many times so many black and white blocks of so many pixels
RUNNER_KILLS, MOST_MOVE_S = 10, 15.0
LOOK_S = 0.1
COUNT = (
    "import sys, time, pathlib\n"
    "from job_progress import report_progress\n"
    "kept = pathlib.Path(sys.argv[1])\n"
    "while True:\n"
    "    count = len(kept.read_bytes()) + 1 if kept.exists() else 1\n"
    "    kept.open('ab').write(b'.')\n"
    "    report_progress(count, 10**6, '')\n"
    "    time.sleep(0.05)\n"
)  # a job that gets on for as long as it lives


@dataclass
class NightServer:
    """A server in OpenAI's schema that drops the connection on poison, errs on a share of requests, and can be gone.

    answered: picture -> lists of descriptions that it was sent. errors, drops: requests.
    """

    poison: frozenset[int]
    answered: Counter[int] = field(default_factory=Counter)
    errors: int = 0
    drops: int = 0
    port: int = 0
    _chance: random.Random = field(default_factory=lambda: random.Random(SEED))
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _server: ThreadingHTTPServer | None = None

    def start(self) -> None:
        """Listen, on the same port as before."""
        self._server = _QuietServer(("127.0.0.1", self.port), _handler(self))
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        """Be gone: connections are refused."""
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()
        self._server = None

    def reply(self, body: dict[str, Any]) -> tuple[int, bytes]:
        """Return status and body; 0 to drop the connection."""
        number = number_of(body)
        question = body["messages"][-1]["content"][-1]["text"]
        with self._lock:
            if number in self.poison:
                self.drops += 1
                return 0, b""
            if self._chance.random() < ERROR_SHARE:
                self.errors += 1
                return self._chance.choice(ERRORS), b"{}"
            listed = "noun phrases" in question
            self.answered[number] += listed
        text = f"- {sheet(number)}\n- a white block" if listed else f"{sheet(number)} fills the picture."
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
        return 200, json.dumps({"choices": [choice], "usage": {}}).encode()


class _QuietServer(ThreadingHTTPServer):
    """A server that says nothing of those who were killed while they asked."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """See BaseServer."""


def _handler(night: NightServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            time.sleep(ANSWER_S)
            code, answer = night.reply(body)
            if night._server is not self.server or not code:  # gone meanwhile, or poison
                self.close_connection = True
                return
            with suppress(OSError):  # the client was killed
                self.send_response(code)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


def draw_number(number: int) -> Pictures.Image:
    """Draw a picture that shows a number in black and white blocks."""
    bits = [(number >> bit) & 1 for bit in range(GRID * GRID)]
    blocks = np.array(bits, np.uint8).reshape(GRID, GRID) * 255
    return Pictures.fromarray(np.kron(blocks, np.ones((BLOCK, BLOCK), np.uint8)))


def number_of(body: dict[str, Any]) -> int:
    """Read the number that a request's picture shows; -1 for the plain picture of a probe."""
    content = body["messages"][0]["content"]
    data = next(part["image_url"]["url"] for part in content if part["type"] == "image_url").partition(",")[2]
    small = Pictures.open(io.BytesIO(base64.b64decode(data))).convert("L").resize((GRID, GRID), Pictures.Resampling.BOX)
    values = np.asarray(small).reshape(-1)
    if np.all(abs(values.astype(int) - 128) < 32):
        return -1
    return sum(1 << bit for bit, value in enumerate(values) if value > 128)


def sheet(number: int) -> str:
    """Return what is said of a picture, another text for each."""
    return f"a sheet of number {number}"


def night_run() -> Finding:
    """Annotate through the app's own queue; nobody opens a page, starts the app again or presses a button."""
    chance = random.Random(SEED)
    poison = frozenset(chance.sample(range(1, PICTURES + 1), round(POISON_SHARE * PICTURES)))
    server = NightServer(poison)
    server.start()
    with TemporaryDirectory() as place, _home(Path(place)) as (home, engine):
        folder = Path(place) / "sheets"
        folder.mkdir()
        for number in range(1, PICTURES + 1):
            draw_number(number).save(folder / f"{number:05d}.png")
        ingest(engine, folder, dataset="sheets", home=home)
        describer = DescriberChoice("server", model="night", server=f"http://127.0.0.1:{server.port}/v1")
        config = AnnotateConfig("sheets", describer, LocalizerChoice("photo"))
        with running_app(AS_IS, home) as (app, _):
            job = _queue(engine, command_line(config))
            began = time.monotonic()
            moved = _night(engine, job, server=server, app=app, chance=chance)
            until(lambda: _job(engine, job).state in ("done", "failed"), MOST_S)
        seconds, ended = time.monotonic() - began, _job(engine, job)
        detail, wrong = _count(engine, poison)
    server.stop()
    detail |= {
        "state of the job": ended.state,
        "seconds, with the outages": round(seconds),
        "outages": f"{OUTAGES} of {OUTAGE_S:g} s, the port closed",
        "kills": ", ".join(f"{KILLED.count(each)} of the {each}" for each in dict.fromkeys(KILLED)),
        "attempts of the job": ended.attempts,
        "longest time from a kill to a living worker, s": round(max(moved), 1),
        "requests answered with an error": server.errors,
        "requests dropped": server.drops,
        "lists sent twice, lost by a kill": server.answered.total() - len(server.answered),
        "a request takes, s": ANSWER_S,
    }
    return Finding(float(wrong), wrong == 0 and ended.state == "done" and len(moved) == len(KILLED), detail)


def _night(engine: Engine, job: int, *, server: NightServer, app: int, chance: random.Random) -> list[float]:
    """Kill and close as the night has it; return the seconds from each kill until a worker was alive again."""
    moved = []
    acts = [*KILLED]
    for outage in range(OUTAGES):
        acts.insert((outage + 1) * len(KILLED) // (OUTAGES + 1) + outage, "outage")
    for act in acts:
        time.sleep(chance.uniform(*BETWEEN_S))
        if act == "outage":
            server.stop()
            time.sleep(OUTAGE_S)
            server.start()
        else:
            moved.append(_kill_one(engine, job, act, app))
    return moved


def _kill_one(engine: Engine, job: int, what: str, app: int) -> float:
    """Kill the worker or the runner of a job, or the app; return the seconds until a worker lives.

    Raises: ValueError: the job is over, so that nothing is left to kill.
    """
    until(lambda: _alive(_job(engine, job)), MOST_S)
    row = _job(engine, job)
    if row.state != "running":
        raise ValueError(f"the job was {row.state} before all kills: {row.exit_reason}")
    pid = {"worker": row.process_group, "runner": Worker.read(row.worker).pid, "app": app}[what]
    assert pid
    os.kill(pid, signal.SIGKILL)
    began = time.monotonic()
    new = row.attempts + (what != "app")
    until(lambda: (now := _job(engine, job)).attempts >= new and _alive(now), MOST_S)
    return time.monotonic() - began


def _count(engine: Engine, poison: frozenset[int]) -> tuple[dict[str, Any], int]:
    """Return what came of the pictures, and how many are not as they should be."""
    with reading(engine) as session:
        numbers = {image.id: int(Path(image.location).stem) for image in session.exec(select(Image)).all()}
        rows = session.exec(select(StageResult)).all()
        described = [row for row in rows if row.stage == "describe"]
        texts = descriptions_of(session, image_ids=list(numbers), recipe=described[0].recipe if described else "")
    of_each = Counter((row.stage, row.state, numbers[row.image_id]) for row in rows)
    good = [number for number in numbers.values() if number not in poison]
    once = [number for number in good if of_each["describe", "done", number] == 1]
    right = {number for image, number in numbers.items() if [t.text for t in texts[image]][:1] == [sheet(number)]}
    boxed = [number for number in good if of_each["localize", "done", number] == 1]
    named = [row for row in described if row.state == "failed" and numbers[row.image_id] in poison and row.reason]
    detail = {
        "pictures": len(numbers),
        "good pictures": len(good),
        "described once": len(once),
        "with the words of their own picture": len(right),
        "boxes looked for once": len(boxed),
        "poison pictures": len(poison),
        "of these named as failed": len(named),
        "their reason": "; ".join(sorted({row.reason for row in named})),
        "results in all": len(described),
    }
    wrong = (len(good) - len(once)) + (len(good) - len(right)) + (len(good) - len(boxed))
    return detail, wrong + (len(poison) - len(named)) + abs(len(described) - len(numbers))


def runner_killed() -> Finding:
    """Kill the runner of a job that gets on; nobody opens a page."""
    seconds = []
    with TemporaryDirectory() as place, _home(Path(place)) as (home, engine), running_app(AS_IS, home):
        job = _queue(engine, ["-c", COUNT, str(Path(place) / "kept")])
        for _ in range(RUNNER_KILLS):
            until(lambda: _alive(_job(engine, job)) and _job(engine, job).done > _job(engine, job).retry_done, MOST_S)
            seconds.append(_kill_one(engine, job, "runner", 0))
    ordered = sorted(seconds)
    detail = {"kills": len(seconds), "median, s": float(np.median(ordered)), "shortest, s": ordered[0]}
    return Finding(ordered[-1], ordered[-1] <= MOST_MOVE_S, detail)


@contextmanager
def _home(place: Path) -> Iterator[tuple[Path, Engine]]:
    """A GRAIN_HOME and its database; what is left running in its name is killed, each by its number."""
    home = place / "home"
    home.mkdir()
    engine = open_engine(f"sqlite:///{home / 'grain.sqlite'}")
    try:
        yield home, engine
    finally:
        engine.dispose()
        while left := _processes_of(home):  # one that is killed may have started another just before
            for process in left:
                process.kill()
            psutil.wait_procs(left)


def _processes_of(home: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            mine = process.environ().get("GRAIN_HOME") == str(home)
            found += [process] if mine and process.status() != psutil.STATUS_ZOMBIE else []
    return found


def _queue(engine: Engine, words: list[str]) -> int:
    with transaction(engine) as session:
        argv = [sys.executable, *words]
        return enqueue_job(session, kind="annotate", owner="night", config={}, argv=argv).id


def _job(engine: Engine, number: int) -> Job:
    with reading(engine) as session:
        job = get_job(session, job_id=number)
        assert job is not None
        return job


def _alive(job: Job) -> bool:
    """Return whether a job's process lives, or the job has ended."""
    if job.state in ("done", "failed", "cancelled"):
        return True
    return job.state == "running" and bool(job.process_group) and psutil.pid_exists(job.process_group or 0)


def until(holds: Callable[[], bool], most_s: float) -> None:
    """Wait until something holds.

    Raises: ValueError: it did not in time.
    """
    end = time.monotonic() + most_s
    while not holds():
        if time.monotonic() > end:
            raise ValueError(f"nothing moved for {most_s:g} s")
        time.sleep(LOOK_S)


BENCHMARKS = (
    Benchmark(
        "night_run",
        f"{PICTURES:,} pictures against a server with {POISON_SHARE:.0%} poison, {ERROR_SHARE:.0%} errors, {OUTAGES} "
        f"outages of a minute, {len(KILLED)} kills, no page and no person: pictures not as they should be",
        "0: done, every good one described once, the poison named",
        "pictures",
        SEED,
        night_run,
    ),
    Benchmark(
        "runner_killed",
        f"from the kill of a job's runner until its work goes on, no page open: the longest of {RUNNER_KILLS}",
        f"≤ {MOST_MOVE_S:g} s",
        "s",
        SEED,
        runner_killed,
    ),
)

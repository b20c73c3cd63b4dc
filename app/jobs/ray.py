"""Jobs on a Ray cluster, by its job server. An exposed Ray runs anybody's code: loopback, or a token."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from urllib.parse import urlsplit

from app.jobs.cluster import ClusterError, ClusterJob
from app.jobs.local import ROOT
from app.jobs.node import ORDER, Order
from app.settings import is_loopback
from db.models import Job

ADDRESS = "GRAIN_RAY_ADDRESS"
TOKENS = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")  # Ray's own; no word or log ever holds one
# as in a .gitignore; a bare ".*" would match the root itself, and nothing would be sent
NOT_SENT = ["/.?*", "/docs", "/tests", "/data", "/runs", "/grain/checkpoints", "__pycache__", "/app/examples"]


def address_of(environment: dict[str, str]) -> str:
    """The job server's address.

    Raises: ClusterError: there is none, or it is not this machine and no token is set.
    """
    address = environment.get(ADDRESS, "")
    host = urlsplit(address).hostname
    if not host or urlsplit(address).scheme not in ("http", "https"):
        raise ClusterError(f"expected {ADDRESS} as http://HOST:8265, got {address!r}: set it")
    if not is_loopback(host) and not any(environment.get(name) for name in TOKENS):
        raise ClusterError(
            f"{ADDRESS} is not this machine and no token is set: an exposed Ray runs anybody's code, so start it with "
            f"RAY_AUTH_MODE=token and set {TOKENS[1]}"
        )
    return address


class RayJob(ClusterJob):
    """A Backend. Ray knows the job by our name for it."""

    def __init__(self, job: Job, folder: Path) -> None:
        """folder: the job's.

        Raises: ClusterError: as address_of.
        """
        super().__init__(job, folder)
        address = address_of(dict(os.environ))
        if any(os.environ.get(name) for name in TOKENS):
            os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        from ray.dashboard.modules.job.sdk import JobSubmissionClient

        try:
            self._client = JobSubmissionClient(address)
        except (ConnectionError, RuntimeError) as error:
            raise ClusterError(f"no Ray job server answers at {address}: start one with `ray start --head`") from error

    def start(self, order: Order) -> None:
        """Ray's entry point is a shell's line, so that it holds no word of the job's."""
        environment = {ORDER: order.to_json()}
        self._client.submit_job(
            entrypoint=shlex.join(["python", "-m", "app.jobs.node"]),
            submission_id=self.name,
            runtime_env={"working_dir": str(ROOT), "excludes": NOT_SENT, "env_vars": environment},
            entrypoint_num_cpus=1,
            entrypoint_num_gpus=self.gpus,
        )

    def look(self) -> int | None:
        """By Ray's own word."""
        try:
            info = self._client.get_job_info(self.name)
        except RuntimeError as error:
            if "404" in str(error) or "does not exist" in str(error):
                raise LookupError(self.name) from error
            raise
        if not info.status.is_terminal():
            return None
        codes = {"SUCCEEDED": 0, "STOPPED": -15}
        return codes.get(str(info.status.value), info.driver_exit_code or 1)

    def output(self) -> str:
        """What the job server keeps."""
        return str(self._client.get_job_logs(self.name))

    def end(self, *, force: bool) -> None:
        """Ray sends SIGTERM, and kills a little later by itself."""
        self._client.stop_job(self.name)

"""Run jobs on a Ray cluster, by its job server. An exposed Ray runs anybody's code: loopback, or a token."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from urllib.parse import urlsplit

from app.core.settings import ROOT, is_loopback
from app.jobs.cluster import ClusterJob
from app.jobs.node import ORDER, Order
from db.models import Job
from user_errors import UserError

ADDRESS = "GRAIN_RAY_ADDRESS"
TOKENS = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")  # Ray's own; no word or log ever holds one
# as in a .gitignore; a bare ".*" would match the root itself, and nothing would be sent
NOT_SENT = [
    *("/.?*", "/docs", "/tests", "/data", "/runs", "__pycache__"),
    *("/grain/checkpoints", "/app/ground/example_pictures"),
]


def address_of(environment: dict[str, str]) -> str:
    """Return the job server's address.

    Raises: UserError: there is none, or it is not this machine and no token is set.
    """
    address = environment.get(ADDRESS, "")
    host = urlsplit(address).hostname
    if not host or urlsplit(address).scheme not in ("http", "https"):
        raise UserError(f"expected {ADDRESS} as http://HOST:8265, got {address!r}: set it")
    if not is_loopback(host) and not any(environment.get(name) for name in TOKENS):
        raise UserError(
            f"{ADDRESS} is not this machine and no token is set: an exposed Ray runs anybody's code, so start it with "
            f"RAY_AUTH_MODE=token and set {TOKENS[1]}"
        )
    return address


class RayJob(ClusterJob):
    """A Backend. Ray knows the job by our name for it."""

    def __init__(self, job: Job, folder: Path) -> None:
        """folder: the job's.

        Raises: UserError: as address_of.
        """
        super().__init__(job, folder)
        address = address_of(dict(os.environ))
        if any(os.environ.get(name) for name in TOKENS):
            os.environ.setdefault("RAY_AUTH_MODE", "token")
        from ray.dashboard.modules.job.sdk import JobSubmissionClient

        try:
            self._client = JobSubmissionClient(address)
        except (ConnectionError, RuntimeError) as error:
            raise UserError(f"no Ray job server answers at {address}: start one with `ray start --head`") from error

    def start(self, order: Order) -> None:
        """Submit it. Ray's entry point is a shell's line, so it holds no word of the job's."""
        environment = {ORDER: order.to_json()}
        self._client.submit_job(
            entrypoint=shlex.join(["python", "-m", "app.jobs.node"]),
            submission_id=self.name,
            runtime_env={"working_dir": str(ROOT), "excludes": NOT_SENT, "env_vars": environment},
            **self.resources.ray(),
        )

    def look(self) -> int | None:
        """Return its exit code by Ray's own status."""
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
        """Return the output that the job server keeps."""
        return str(self._client.get_job_logs(self.name))

    def end(self, *, force: bool) -> None:
        """Stop it: Ray sends SIGTERM, and kills a little later."""
        self._client.stop_job(self.name)

"""What a deployment takes from here: the lock, the container's file and its compose file, the health route."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from importlib.metadata import distributions
from ipaddress import ip_address, ip_network
from pathlib import Path

import httpx
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from app.access.rules import UPLOAD
from app.core.settings import Settings
from app.label_studio.server import environment
from app.main import build_app, launch_options
from curation.label_studio.access import APP_VARIABLE, PAGE_VARIABLE, TOKEN_VARIABLE, URL_VARIABLE, VARIABLES
from curation.label_studio.dataset_sync import pictures_folder
from db.engine import DatabaseError
from tests.support.fake_app import fake_services
from tests.support.house import House, house
from tests.support.paths import ROOT
from tests.support.system_parts import leave_out
from tests.support.waiting import PATIENCE_S

__all__ = ["house"]  # a fixture

DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())
BIN = Path(sys.executable).parent


def locked() -> dict[str, tuple[str, int]]:
    """Each package of the lock: its version, and how many hashes it has."""
    found: dict[str, tuple[str, int]] = {}
    for entry in re.split(r"\n(?=\S)", (ROOT / "requirements.lock").read_text()):
        if pin := re.match(r"([\w.-]+)(?:\[[\w, -]+\])?==(\S+)", entry):
            found[canonicalize_name(pin[1])] = (pin[2], entry.count("--hash=sha256:"))
    return found


def test_the_lock_holds_every_requirement_in_its_range_with_hashes() -> None:
    pins = locked()
    assert len(pins) > 100 and all(hashes for _, hashes in pins.values())
    lines = [line for name in ("requirements.txt", "requirements-postgres.txt") for line in (ROOT / name).open()]
    wanted = [Requirement(line.partition("#")[0].strip()) for line in lines if re.match(r"[A-Za-z]", line)]
    assert len(wanted) > 25
    assert [str(each) for each in wanted if not each.specifier.contains(pins[canonicalize_name(each.name)][0])] == []


def test_the_lock_names_the_extras_that_packages_ask_of_one_another() -> None:
    # pip takes a locked package for another one where somebody asks for it with an extra that the lock does not name
    lines = re.findall(r"^([\w.-]+)(?:\[([\w, -]+)\])?==", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    named = {canonicalize_name(name): set(extras.replace(" ", "").split(",")) for name, extras in lines}
    installed = [each for each in distributions() if canonicalize_name(each.metadata["Name"]) in named]
    wanted = [Requirement(line) for each in installed for line in each.requires or () if "extra ==" not in line]
    asked = [each for each in wanted if each.extras and (each.marker is None or each.marker.evaluate())]
    assert len(installed) > 100 and asked
    assert [str(each) for each in asked if not each.extras <= named[canonicalize_name(each.name)]] == []


def test_the_dockerfile_copies_each_file_once_and_all_that_the_app_stands_on() -> None:
    copied = [word for line in re.findall(r"^COPY (.+) \S+$", DOCKERFILE, re.MULTILINE) for word in line.split()]
    assert sorted(copied) == sorted(set(copied))
    assert set(copied) >= {file.name for file in ROOT.glob("*.py")} | {"app", "configs", "curation", "db", "grain"}


def test_the_dockerfile_is_clean() -> None:
    if not shutil.which("hadolint", path=str(BIN)):
        leave_out("hadolint")
    done = subprocess.run([BIN / "hadolint", ROOT / "Dockerfile"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_container_has_all_that_the_app_imports_and_nothing_of_ours_besides() -> None:
    copied = {word for line in re.findall(r"^COPY (.*) \S+$", DOCKERFILE, re.MULTILINE) for word in line.split()}
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert copied == allowed
    assert all((ROOT / name).exists() for name in copied)
    modules = {path.stem for path in ROOT.glob("*.py")} | {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert {Path(name).stem for name in copied} - {"requirements", "configs"} == modules - {
        "tests",
        "benchmarks",
        "docs",
    }


def test_the_containers_command_starts_the_app_as_no_root_with_a_home_of_its_own() -> None:
    assert json.loads(re.search(r"^CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)[1]) == ["python", "app.py"]  # type: ignore[index]
    assert re.search(r"^USER [1-9]\d*$", DOCKERFILE, re.MULTILINE)
    told = dict(re.findall(r"(GRAIN_\w+)=(\S+)", DOCKERFILE))
    assert set(told) == {"GRAIN_HOME", "GRAIN_HOST"}
    settings = Settings(home=told["GRAIN_HOME"], host=told["GRAIN_HOST"])
    assert settings.needs_accounts, "it listens to the network"
    assert f"VOLUME {told['GRAIN_HOME']}" in DOCKERFILE


def test_the_compose_file_fits_its_schema_and_names_settings_that_there_are() -> None:
    checker = [str(BIN / "check-jsonschema"), "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*checker, str(ROOT / "deploy" / "compose.yaml")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    known = {f"GRAIN_{field}".upper() for field in Settings.model_fields}
    named = {name for name in COMPOSE["services"]["app"]["environment"] if not name.startswith("GRAIN_KEY_")}
    assert named <= known | {*VARIABLES}
    assert COMPOSE["services"]["app"].get("ports") is None, "only the proxy is seen from outside"
    proxy = COMPOSE["services"]["proxy"]["networks"]["inside"]["ipv4_address"]
    assert COMPOSE["services"]["app"]["environment"]["GRAIN_PROXIES"] == proxy, "nobody else inside is believed"
    subnet = ip_network(COMPOSE["networks"]["inside"]["ipam"]["config"][0]["subnet"])
    assert ip_address(proxy) in subnet and proxy != str(subnet[1]), "the first one is the gateway's"


def test_the_proxy_leaves_uploads_to_the_app_and_limits_all_other_requests() -> None:
    ours, labels = (ROOT / "deploy" / "Caddyfile").read_text().split("{$LABELS_ADDRESS}")
    assert f"@other not path {UPLOAD}\n\trequest_body @other {{\n\t\tmax_size 100MB" in ours
    assert ours.count("max_size") == labels.count("max_size") == 1


def test_label_studio_in_a_container_sees_what_is_pushed_to_it_and_is_as_closed_as_our_own() -> None:
    services = COMPOSE["services"]
    ours, theirs = services["app"]["environment"], services["label-studio"]["environment"]
    own = environment(Path("/data/label-studio"), token="t", password="p")
    switches = {name: value for name, value in own.items() if value in ("true", "false", "")}
    root = "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT"
    assert len(switches) > 6 and (switches | {root: own[root]}).items() <= theirs.items()
    [shared] = {each.split(":")[0] for each in services["app"]["volumes"]} & {
        each.split(":")[0] for each in services["label-studio"]["volumes"]
    }
    assert f"{shared}:{own[root]}" in services["app"]["volumes"] and own[root] in DOCKERFILE
    assert f"{shared}:{own[root]}:ro" in services["label-studio"]["volumes"]
    assert pictures_folder(Path("/data")).is_relative_to(own[root])
    assert theirs["LABEL_STUDIO_USER_TOKEN"] == ours[TOKEN_VARIABLE]
    assert theirs["LABEL_STUDIO_HOST"] == theirs["CSRF_TRUSTED_ORIGINS"] == ours[PAGE_VARIABLE]
    for address, name in ((ours[URL_VARIABLE], "label-studio:8080"), (ours[APP_VARIABLE], "app:7860")):
        assert f"http://{name}" in address
        assert f"reverse_proxy {name}" in (ROOT / "deploy" / "Caddyfile").read_text()


@pytest.mark.slow
def test_the_health_route_needs_no_login_and_says_whether_the_database_answers(house: House, tmp_path: Path) -> None:
    answer = house.visitor().get("health")
    assert (answer.status_code, answer.json()) == (200, {"database": True})
    assert house.visitor().post("health").status_code == 405

    def gone(url: str) -> None:
        raise DatabaseError("it is not there; its address is a secret")

    services = fake_services(tmp_path)
    services._connect = gone  # type: ignore[assignment]
    app = build_app(services)
    app.launch(**launch_options(services))
    try:
        answer = httpx.get(f"{app.local_url}health", timeout=PATIENCE_S)
        assert (answer.status_code, answer.json()) == (503, {"database": False})
    finally:
        app.close()

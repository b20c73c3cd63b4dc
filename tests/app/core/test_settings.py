import os
import socket
import subprocess
import sys
from pathlib import Path
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined] # it has no types

import httpx
import pytest

from app.core.settings import Settings, load_settings, prepare_gradio
from app.services import open_database
from curation.files.home import database_url, home_folder
from curation.files.import_limits import most_pictures, picture_limits
from tests.support.fake_app import app_at
from tests.support.paths import ROOT
from tests.support.waiting import PATIENCE_MS
from user_errors import UserError


@pytest.fixture(autouse=True)
def _no_settings_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("GRAIN_"):
            monkeypatch.delenv(name)


def test_without_any_variable_the_app_listens_on_loopback_and_keeps_all_under_one_folder() -> None:
    settings = load_settings()
    assert (settings.host, settings.port) == ("127.0.0.1", 7860)
    assert settings.home == Path("~/.grain").expanduser()
    assert settings.database == f"sqlite:///{settings.home}/grain.sqlite"
    for folder in (settings.pictures, settings.checkpoints, settings.cache):
        assert folder.parent == settings.home


def test_variables_are_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {"HOME": str(tmp_path), "HOST": "0.0.0.0", "PORT": "81", "UPLOAD_PIXELS": "99"}.items():
        monkeypatch.setenv(f"GRAIN_{name}", value)
    monkeypatch.setenv("GRAIN_DATABASE_URL", "sqlite:////elsewhere/x.sqlite")
    settings = load_settings()
    assert (settings.home, settings.host, settings.port) == (tmp_path, "0.0.0.0", 81)
    assert settings.database == "sqlite:////elsewhere/x.sqlite"
    assert settings.limits.pixels == 99


@pytest.mark.parametrize("name", ["", "~/pictures", "pictures", "/srv/grain"])
def test_the_app_and_the_commands_find_the_same_home_and_database(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("GRAIN_HOME", name)
    settings = load_settings()
    assert settings.home == home_folder() == Path(name or "~/.grain").expanduser().absolute()
    assert settings.database == database_url(home_folder()) == f"sqlite:///{settings.home}/grain.sqlite"


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("GRAIN_PORT", "abc", "expected a valid integer"),
        ("GRAIN_PORT", "0", "expected greater than or equal to 1"),
        ("GRAIN_PORT", "70000", "expected less than or equal to 65535"),
        ("GRAIN_UPLOAD_SECONDS", "0", "expected greater than 0"),
        ("GRAIN_UPLOAD_SECONDS", "inf", "expected less than or equal to 86400"),
        ("GRAIN_MODEL_SECONDS", "inf", "expected less than or equal to 86400"),
        ("GRAIN_MODEL_SECONDS", "1e10", "expected less than or equal to 86400"),
        ("GRAIN_CLUSTER_HOURS", "inf", "expected less than or equal to 8784"),
        ("GRAIN_UPLOAD_MEMORY_BYTES", "9" * 20, "expected less than or equal to 17592186044416"),
    ],
)
def test_a_wrong_variable_is_named_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, expected: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(UserError) as caught:
        load_settings()
    assert str(caught.value) == f"{name}: {expected}, got {value!r}: correct or unset it"


@pytest.mark.parametrize("proxies", ["localhost", "proxy", "10.0.0.1/8", "127.0.0.1, caddy:443", "*"])
def test_a_proxy_that_would_be_ignored_is_refused(monkeypatch: pytest.MonkeyPatch, proxies: str) -> None:
    monkeypatch.setenv("GRAIN_PROXIES", proxies)
    with pytest.raises(UserError, match="GRAIN_PROXIES: expected addresses and networks"):
        load_settings()


def test_addresses_and_networks_of_proxies_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAIN_PROXIES", "127.0.0.1, 10.0.0.0/8,::1,")
    assert load_settings().proxies == "127.0.0.1, 10.0.0.0/8,::1,"


@pytest.mark.parametrize("value", ["100_000_000", "100.0", "-1", "1e8", "x", "9" * 30])
def test_what_imports_refuse_is_refused_at_the_start_in_the_same_words(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    for name, read in (("PIXELS", picture_limits), ("BYTES", picture_limits), ("PICTURES", most_pictures)):
        monkeypatch.setenv(f"GRAIN_IMPORT_{name}", value)
        refused = []
        for ask in (load_settings, read):
            with pytest.raises(UserError, match=f"GRAIN_IMPORT_{name}: expected a whole number of") as caught:
                ask()
            refused.append(str(caught.value))
        assert refused[0] == refused[1]
        monkeypatch.delenv(f"GRAIN_IMPORT_{name}")


def test_what_the_app_takes_imports_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAIN_IMPORT_PIXELS", " 100000000 ")
    monkeypatch.setenv("GRAIN_IMPORT_BYTES", "")
    settings, limits = load_settings(), picture_limits()
    assert (settings.import_pixels, settings.import_bytes) == (limits.pixels, limits.file_bytes) == (10**8, 25_000_000)


def test_a_wrong_list_of_servers_is_one_sentence_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAIN_SERVERS", "vllm=http://me:hidden@127.0.0.1/v1")
    with pytest.raises(UserError, match="holds a password: put it into GRAIN_KEY_NAME") as caught:
        load_settings()
    assert "hidden" not in str(caught.value)


def test_a_home_that_is_a_file_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setenv("GRAIN_HOME", str(file))
    with pytest.raises(UserError, match="expected a folder for GRAIN_HOME, got the file"):
        load_settings()


def test_the_password_of_a_database_is_not_shown() -> None:
    assert "secret" not in repr(Settings(database_url="postgresql://me:secret@host/db"))


def test_a_wrong_variable_ends_the_app_with_that_sentence_and_no_traceback() -> None:
    done = subprocess.run(
        [sys.executable, "app.py"], cwd=ROOT, env={**os.environ, "GRAIN_PORT": "x"}, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.startswith("app.py: GRAIN_PORT: expected a valid integer, got 'x'")
    assert "Traceback" not in done.stderr


def test_an_argument_is_refused_and_what_takes_its_place_is_named() -> None:
    """It was ignored: an app that was asked for another port served on its own."""
    done = subprocess.run([sys.executable, "app.py", "--port", "7862"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("app.py: expected no arguments, got '--port': settings are environment variables")


def test_a_taken_port_is_told_in_a_sentence(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        environment = {**os.environ, "GRAIN_PORT": port, "GRAIN_HOME": str(tmp_path)}
        done = subprocess.run([sys.executable, "app.py"], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"app.py: GRAIN_PORT: 127.0.0.1:{port} cannot be listened on: stop what runs there or choose another"
    )
    assert "Traceback" not in done.stderr


def start(home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Start the app with a port that is no port of ours, so that it ends at once after it has prepared its home."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        told = os.environ | {"GRAIN_HOME": str(home), "GRAIN_PORT": str(taken.getsockname()[1])} | environment
        return subprocess.run([sys.executable, "app.py"], cwd=ROOT, env=told, capture_output=True, text=True)


def test_home_is_closed_to_the_other_users_of_the_machine(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o755)
    assert "cannot be listened on" in start(home).stderr
    open_database(f"sqlite:///{tmp_path / 'other' / 'grain.sqlite'}").dispose()
    assert [oct((tmp_path / name).stat().st_mode & 0o777) for name in ("home", "other")] == ["0o700", "0o700"]


@pytest.mark.slow
def test_the_app_starts_behind_a_proxy_that_does_not_know_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setenv("no_proxy", "intranet.example")
    with app_at(tmp_path / "home") as (address, _), httpx.Client(trust_env=False) as client:
        assert client.get(f"{address}health", timeout=PATIENCE_MS / 1000).status_code == 200


@pytest.mark.parametrize(
    ("named", "direct", "through"),
    [
        ({}, ["127.0.0.1", "localhost", "10.0.0.7"], ["hub.example"]),
        ({"NO_PROXY": "a.example, b.example"}, ["a.example", "b.example", "localhost"], ["hub.example"]),
        ({"no_proxy": "a.example", "NO_PROXY": "b.example"}, ["a.example", "b.example", "127.0.0.1"], ["hub.example"]),
        ({"NO_PROXY": "*"}, ["hub.example", "127.0.0.1"], []),
    ],
)
def test_hosts_that_are_asked_directly_still_are_and_this_machine_is_one_of_them(
    monkeypatch: pytest.MonkeyPatch, named: dict[str, str], direct: list[str], through: list[str]
) -> None:
    for name in ("no_proxy", "NO_PROXY", "GRADIO_TEMP_DIR", "FORWARDED_ALLOW_IPS"):
        monkeypatch.setenv(name, named.get(name, ""))  # put back after the test
    prepare_gradio(Settings(host="10.0.0.7"))
    kept = dict(os.environ)
    prepare_gradio(Settings(host="10.0.0.7"))
    assert dict(os.environ) == kept, "a second start adds nothing"
    assert all(proxy_bypass_environment(host) for host in direct)
    assert not any(proxy_bypass_environment(host) for host in through)


@pytest.mark.parametrize("inside", ["", "made/by/the/app"])
def test_a_home_that_cannot_be_written_is_one_sentence(read_only_disk: Path, inside: str) -> None:
    told = start(read_only_disk / inside)
    assert told.returncode == 1 and told.stdout == ""
    assert told.stderr.startswith("app.py: GRAIN_HOME: expected a folder of your own to write to, got ")
    assert told.stderr.count("\n") == 1

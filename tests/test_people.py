"""Who is let in and how far: passwords, sessions, roles, files, other sites; over real HTTP against the real app."""

from __future__ import annotations

import ast
import asyncio
import base64
import http.client
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote, urlsplit

import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AuthenticationError
from PIL import Image
from playwright.sync_api import Browser, expect
from starlette.types import Message

from app.accounts import IDLE_LASTS, KEY_PREFIX, SESSION_LASTS, People, PeopleError, Person, who
from app.gate import Files, Gate
from app.login import COOKIE, TRIES_LAST, TRIES_OF_A_NAME, WAIT, WRONG, Tries, own_path
from app.main import Pages, build_app, launch_options
from app.rules import event_name
from app.services import Services
from app.settings import Settings, SettingsError
from db.engine import open_engine, reading
from db.job_queries import job_page
from tests.fake_app import fake_services, free_port

ROOT = Path(__file__).parents[1]
NAMES = {"vera": "viewer", "carl": "curator", "ada": "admin"}
START = datetime(2026, 1, 1, tzinfo=UTC)
HTML = {"accept": "text/html"}


def password(name: str) -> str:
    return f"correct horse {name}"


@dataclass
class Clock:
    """A clock that a test moves."""

    now: datetime = START

    def __call__(self) -> datetime:
        return self.now


@dataclass
class House:
    """The running app, where people must sign in."""

    url: str
    app: Pages
    services: Services
    clock: Clock = field(default_factory=Clock)

    @property
    def people(self) -> People:
        return self.services.people

    def visitor(self, **headers: str) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers=headers, timeout=30)

    def signed_in(self, name: str) -> httpx.Client:
        visitor = self.visitor()
        answer = visitor.post("login", data={"username": name, "password": password(name)})
        assert (answer.status_code, answer.json()) == (200, {"success": True})
        return visitor

    def event(self, name: str) -> int:
        """The number of the first event with that handler."""
        return next(i for i, event in self.app.fns.items() if event.fn and event_name(event.fn).endswith(name))


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("house")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("GRADIO_TEMP_DIR", str(folder / "cache"))
        services, clock = fake_services(folder), Clock()
        services.people = People(lambda: services.engine, required=True, clock=clock)
        for name, role in NAMES.items():
            services.people.add(name, password(name), role)  # type: ignore[arg-type]
        app = build_app(services)
        app.launch(**launch_options(services), prevent_thread_lock=True, quiet=True)
        yield House(app.local_url, app, services, clock)
        app.close()


@pytest.fixture
def people(tmp_path: Path) -> People:
    engine = open_engine(f"sqlite:///{tmp_path / 'grain.sqlite'}")
    return People(lambda: engine, required=True, clock=Clock())


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    Image.new("RGB", (80, 60), (200, 40, 40)).save(path)
    return path


def upload(visitor: httpx.Client, picture: Path) -> str:
    [path] = visitor.post("gradio_api/upload", files={"files": ("photo.jpg", picture.read_bytes())}).json()
    return str(path)


def set_off(visitor: httpx.Client, event: int, *data: object) -> str:
    """What the page's queue answers to an event."""
    body = {"data": data, "fn_index": event, "session_hash": f"session{event}"}
    joined = visitor.post("gradio_api/queue/join", json=body)
    assert joined.status_code == 200, joined.text
    return visitor.get("gradio_api/queue/data", params={"session_hash": f"session{event}"}).text


def raw(house: House, target: str, cookie: str, method: str = "GET") -> int:
    """The status of a request whose target is sent as it is written."""
    connection = http.client.HTTPConnection(urlsplit(house.url).netloc, timeout=20)
    connection.request(method, target, headers={"cookie": cookie})
    status = connection.getresponse().status
    connection.close()
    return status


# ------------------------------------------------------------------------------------------------ signing in and out


def test_without_a_login_pages_lead_to_the_form_and_everything_else_is_refused(house: House) -> None:
    stranger = house.visitor()
    answer = stranger.get("annotate?x=1", headers=HTML)
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=/annotate%3Fx%3D1")
    refused = {
        path: stranger.request(method, path, json={}).status_code
        for method, path in [
            ("GET", ""),
            ("GET", "config"),
            ("GET", "gradio_api/info"),
            ("GET", "gradio_api/file=/etc/passwd"),
            ("GET", "gradio_api/queue/data?session_hash=x"),
            ("GET", "gradio_api/heartbeat/x"),
            ("GET", "gradio_api/vibe-code"),
            ("GET", "nowhere"),
            ("POST", "gradio_api/upload"),
            ("POST", "gradio_api/queue/join"),
            ("POST", "gradio_api/call/ground"),
            ("POST", "gradio_api/run/ground"),
            ("POST", "gradio_api/cancel"),
            ("POST", "gradio_api/mcp/"),
            ("POST", "gradio_api/component_server"),
        ]
    }
    assert set(refused.values()) == {401} and len(refused) == 15


def test_a_person_signs_in_sees_the_page_and_signs_out(house: House) -> None:
    browser = house.visitor(accept="text/html")
    form = browser.get("login?next=/annotate")
    assert form.status_code == 200 and 'value="/annotate"' in form.text and "--paper" in form.text
    fields = {"username": "vera", "password": password("vera"), "next": "/annotate"}
    answer = browser.post("login", data=fields, headers={"origin": house.url.rstrip("/")})
    assert (answer.status_code, answer.headers["location"]) == (303, "/annotate")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=lax" in cookie and "secure" not in cookie and "max-age=43200" in cookie
    page = browser.get("annotate")
    assert page.status_code == 200 and "Sign out" in page.text
    assert page.headers["cache-control"] == "private, no-cache"
    token = browser.cookies[COOKIE]
    assert browser.get("logout").status_code == 200 and browser.get("annotate").status_code == 200, "asked, not done"
    assert browser.post("logout").headers["location"] == "/login"
    again = house.visitor(cookie=f"{COOKIE}={token}")
    assert again.get("config").status_code == 401, "the token is dead, not only forgotten by the browser"


def test_a_cookie_that_came_over_https_stays_there(house: House) -> None:
    fields = {"username": "vera", "password": password("vera")}
    answer = house.visitor().post("login", data=fields, headers={"x-forwarded-proto": "https"})  # a proxy in front
    assert "secure" in answer.headers["set-cookie"].lower()


def test_a_wrong_password_an_unknown_name_and_a_dismissed_person_are_answered_alike(house: House) -> None:
    house.people.add("dora", password("dora"), "viewer")
    house.people.deactivate("dora")
    tried = [("vera", "wrong password"), ("nobody", password("vera")), ("dora", password("dora")), ("", "")]
    answers = [house.visitor().post("login", data={"username": n, "password": p}, headers=HTML) for n, p in tried]
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.text for answer in answers}) == 1 and WRONG in answers[0].text
    assert all("set-cookie" not in answer.headers for answer in answers)


class Counting:
    """A hasher that counts how often it worked, and with which parameters."""

    def __init__(self, hasher: object) -> None:
        self.hasher, self.seen = hasher, []

    def verify(self, hashed: str, password: str) -> bool:
        self.seen.append(hashed.rsplit("$", 2)[0])
        return self.hasher.verify(hashed, password)  # type: ignore[attr-defined, no-any-return]

    def hash(self, password: str) -> str:
        return self.hasher.hash(password)  # type: ignore[attr-defined, no-any-return]


def test_an_unknown_name_costs_the_same_work_as_a_wrong_password(people: People) -> None:
    people.add("vera", password("vera"), "viewer")
    counting = people.hasher = Counting(people.hasher)  # type: ignore[misc, assignment]
    for name in ("vera", "nobody"):
        assert people.sign_in(name, "wrong password") is None
    first, second = counting.seen
    assert first == second and first.startswith("$argon2id$")


def test_after_five_tries_a_name_waits_also_with_the_right_password(house: House) -> None:
    house.people.add("tess", password("tess"), "viewer")
    house.clock.now += TRIES_LAST
    right = {"username": "tess", "password": password("tess")}
    for _ in range(TRIES_OF_A_NAME):
        assert house.visitor().post("login", data={**right, "password": "guess"}).status_code == 401
    answer = house.visitor().post("login", data=right)
    assert (answer.status_code, answer.json()["detail"], answer.headers["retry-after"]) == (429, WAIT, "300")
    assert house.signed_in("vera"), "others may"
    house.clock.now += TRIES_LAST
    assert house.signed_in("tess")


def test_tries_are_counted_for_a_name_for_an_address_and_before_they_are_made() -> None:
    clock = Clock()
    tries = Tries(clock)
    assert sum(tries.begin("vera", "10.0.0.1") for _ in range(9)) == 5, "however many at once"
    assert tries.begin("vera", "10.0.0.2"), "from elsewhere she may"
    tries = Tries(clock)
    assert sum(tries.begin(f"name{i}", "10.0.0.1") for i in range(50)) == 30
    tries = Tries(clock)
    assert sum(tries.begin("vera", f"10.0.{i}.1") for i in range(150)) == 100
    tries = Tries(clock)
    for _ in range(50):
        assert tries.begin("vera", "10.0.0.1")
        tries.succeeded("vera", "10.0.0.1")


def test_a_form_that_is_too_large_is_not_read(house: House) -> None:
    assert house.visitor().post("login", data={"username": "x" * 20_000}).status_code == 413


@pytest.mark.parametrize(
    ("wanted", "path"),
    [
        ("/annotate?q=1", "/annotate?q=1"),
        ("//evil.example", "/"),
        ("https://evil.example", "/"),
        ("/\\evil.example", "/"),
        ("/\t/evil.example", "/"),
        ("", "/"),
    ],
)
def test_signing_in_leads_to_a_page_of_this_app_only(wanted: str, path: str) -> None:
    assert own_path(wanted) == path


# ------------------------------------------------------------------------------------------------ sessions end


def test_a_session_ends_after_twelve_hours_of_use(house: House) -> None:
    visitor = house.signed_in("vera")
    for _ in range(11):
        house.clock.now += timedelta(hours=1)
        assert visitor.get("config").status_code == 200
    house.clock.now = house.clock.now - timedelta(hours=11) + SESSION_LASTS
    assert visitor.get("config").status_code == 401


def test_a_session_ends_after_two_idle_hours(house: House) -> None:
    visitor = house.signed_in("vera")
    assert visitor.get("config").status_code == 200
    house.clock.now += IDLE_LASTS
    assert visitor.get("config").status_code == 200
    house.clock.now += IDLE_LASTS + timedelta(seconds=1)
    assert [visitor.get("config").status_code for _ in range(2)] == [401, 401]


@pytest.mark.parametrize(
    "end",
    [
        lambda people: people.deactivate("gone"),
        lambda people: people.set_password("gone", "another password"),
    ],
)
def test_a_session_and_a_key_end_when_the_password_changes_or_the_person_goes(
    people: People, end: Callable[[People], None]
) -> None:
    people.add("gone", password("gone"), "curator")
    tokens = [people.sign_in("gone", password("gone")), people.key("gone", 30)]
    assert [people.signed_in(token or "") for token in tokens] == [Person("gone", "curator")] * 2
    end(people)
    assert [people.signed_in(token or "") for token in tokens] == [None, None]


def test_another_role_holds_from_the_next_request_on(people: People) -> None:
    people.add("rose", password("rose"), "viewer")
    token = people.sign_in("rose", password("rose"))
    assert token is not None
    people.set_role("rose", "curator")
    assert people.signed_in(token) == Person("rose", "curator")


def test_a_key_lasts_its_days_and_rest_does_not_end_it(people: People) -> None:
    people.add("bot", password("bot"), "viewer")
    key = people.key("bot", 30)
    assert key.startswith(KEY_PREFIX)
    clock = people.clock
    assert isinstance(clock, Clock)
    clock.now += timedelta(days=29)
    assert people.signed_in(key) == Person("bot", "viewer")
    clock.now += timedelta(days=1)
    assert people.signed_in(key) is None


def test_accounts_that_cannot_be_are_refused_in_a_sentence(people: People) -> None:
    people.add("ada", password("ada"), "admin")
    with pytest.raises(PeopleError, match="expected a password of 10 to 1000 characters, got 9"):
        people.add("eve", "too short", "viewer")
    with pytest.raises(PeopleError, match="which somebody has"):
        people.add("ada", password("ada"), "viewer")
    with pytest.raises(PeopleError, match="is the only admin"):
        people.deactivate("ada")
    with pytest.raises(PeopleError, match="expected the name of an active account, got 'eve'"):
        people.key("eve", 1)
    with pytest.raises(PeopleError, match="expected 1 to 366 days, got 0"):
        people.key("ada", 0)
    for token in ("", "x", "\ud800", "x" * 100_000):
        assert people.signed_in(token) is None


# ------------------------------------------------------------------------------------------------ roles


def test_a_viewer_may_look_and_a_curator_may_change(house: House) -> None:
    viewer, curator = house.signed_in("vera"), house.signed_in("carl")
    writing = ["AnnotatePage.start", "AnnotatePage.draw_sample", "AnnotatePage.bring", "AnnotatePage.ask"]
    for name in writing:
        event = house.app.fns[house.event(name)]
        data = [None] * len(event.inputs)
        assert "needs the role curator; vera has the role viewer" in set_off(viewer, event._id, *data)
        called = viewer.post(f"gradio_api/call/{event.api_name}", json={"data": data}).json()["event_id"]
        told = viewer.get(f"gradio_api/call/{event.api_name}/{called}").text
        assert "event: error" in told and "needs the role curator" in told
        ran = viewer.post(f"gradio_api/run/{event.api_name}", json={"data": data, "fn_index": event._id})
        assert "needs the role curator" in ran.text
    with reading(house.services.engine) as session:
        assert [*job_page(session)] == [], "nothing was started"
    bring = house.event("AnnotatePage.bring")
    assert "needs the role" not in (told := set_off(curator, bring, "", "")) and "process_completed" in told
    assert "process_completed" in set_off(viewer, house.event("AnnotatePage.fields"), "photo", "photo")


def test_a_handler_knows_who_asks() -> None:
    class Inner:
        scope: ClassVar[dict[str, Person]] = {"grain_person": Person("vera", "viewer")}

    class Asked:
        request = Inner()

    assert who(Asked()) == who(Inner()) == Person("vera", "viewer")
    Inner.scope = {}
    with pytest.raises(PermissionError):
        who(Asked())


# ------------------------------------------------------------------------------------------------ other sites


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:1", "https://127.0.0.1.evil.example"]
)
def test_another_site_is_refused_whatever_it_asks(house: House, origin: str) -> None:
    visitor = house.signed_in("ada")
    asked = [
        visitor.post("gradio_api/queue/join", json={}, headers={"origin": origin}),
        visitor.post("gradio_api/call/ground", json={"data": []}, headers={"origin": origin}),
        visitor.post("gradio_api/upload", headers={"origin": origin}),
        visitor.post("gradio_api/mcp/", json={}, headers={"origin": origin}),
        visitor.get("gradio_api/queue/data?session_hash=x", headers={"origin": origin}),
        visitor.get("config", headers={"origin": origin}),
        visitor.post("login", data={}, headers={"origin": origin}),
        visitor.post("logout", headers={"origin": origin}),
    ]
    assert {answer.status_code for answer in asked} == {403}
    assert visitor.get("config").status_code == 200, "and she is still signed in"


def test_a_link_from_another_site_opens_a_page_but_does_nothing(house: House) -> None:
    visitor = house.signed_in("ada")
    link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    assert visitor.get("", headers=link).status_code == 200
    assert visitor.post("logout", headers=link).status_code == 403
    assert visitor.get("", headers={**link, "sec-fetch-dest": "iframe"}).status_code == 403
    assert (
        visitor.get("config", headers={**link, "sec-fetch-mode": "no-cors", "sec-fetch-dest": "script"}).status_code
        == 403
    )
    assert "frame-ancestors 'self'" in visitor.get("").headers["content-security-policy"]


def test_websockets_are_not_spoken(house: House) -> None:
    said: list[Message] = []

    async def say(message: Message) -> None:
        said.append(message)

    async def never(*_: object) -> None:
        raise AssertionError("it went through")

    asyncio.run(Gate(never, house.people)({"type": "websocket", "path": "/"}, never, say))  # type: ignore[arg-type]
    assert said == [{"type": "websocket.close", "code": 1008}]


# ------------------------------------------------------------------------------------------------ files


def test_a_file_is_read_by_whom_it_is_of_and_by_nobody_else(house: House, picture: Path) -> None:
    vera, ada = house.signed_in("vera"), house.signed_in("ada")
    path = upload(vera, picture)
    assert vera.get(f"gradio_api/file={path}").content == picture.read_bytes()
    assert ada.get(f"gradio_api/file={path}").status_code == 403, "not even an admin"
    assert ada.head(f"gradio_api/file={path}").status_code == 403
    payload = {"path": path, "meta": {"_type": "gradio.FileData"}, "orig_name": "x.jpg"}
    for visitor, expected in ((ada, "This file is not yours"), (vera, "regions")):
        event = visitor.post("gradio_api/call/ground", json={"data": [payload, "a", "", "sample", 0, 1]}).json()
        assert expected in visitor.get(f"gradio_api/call/ground/{event['event_id']}").text
    upload(ada, picture)
    assert ada.get(f"gradio_api/file={path}").status_code == 200, "who has the same bytes may have them"


def test_no_spelling_of_a_path_leads_around_the_rule(house: House, picture: Path) -> None:
    vera, carl = house.signed_in("vera"), house.signed_in("carl")
    Image.new("RGB", (80, 60), (1, 2, 3)).save(picture)
    path, root = upload(vera, picture), "/gradio_api/file="
    folder = path.rsplit("/", 2)[0]
    assert folder == os.environ["GRADIO_TEMP_DIR"]
    database = quote(str(house.services.settings.home / "grain.sqlite"))
    spelled = [
        path + ";",
        path + ";.jpg",
        path.replace("/photo.jpg", "/PHOTO.JPG"),
        path.upper(),
        path + "%00",
        path + "/",
        path + "%2f.",
        "/" + path,
        path.replace("/photo.jpg", "/%2e/photo.jpg"),
        path.replace("/photo.jpg", "/./photo.jpg"),
        path.replace("/photo.jpg", "/x/../photo.jpg"),
        path.replace("/photo.jpg", "/%252e/photo.jpg"),
        path.replace("/photo.jpg", "%252fphoto.jpg"),
        path.replace("/photo.jpg", "\\photo.jpg"),
        folder + "/%2e%2e/%2e%2e/etc/passwd",
        folder + "/%252e%252e/%252e%252e/etc/passwd",
        folder + "/..;/..;/etc/passwd",
        "/etc/passwd",
        "file:///etc/passwd",
        "../../../../etc/passwd",
        database,
    ]
    roots = ["/gradio_api/FILE=", "/GRADIO_API/file=", "//gradio_api/file=", "/gradio_api/file/", "/gradio_api;/file="]
    roots += ["/gradio_api/./file=", "/gradio_api/%2e/file=", "/gradio_api/x/../file=", "/gradio_api/file%253d"]
    for visitor in (vera, carl):
        cookie = f"{COOKIE}={visitor.cookies[COOKIE]}"
        asked = [root + each for each in spelled] + [each + path for each in roots]
        statuses = {target: raw(house, target, cookie, method) for target in asked for method in ("GET", "HEAD")}
        assert len(statuses) == 30
        assert {target: status for target, status in statuses.items() if status not in (400, 403, 404)} == {}
    assert raw(house, root + path, f"{COOKIE}={vera.cookies[COOKIE]}") == 200, "and the path itself is right"
    assert raw(house, root + path.replace("photo", "%70hoto"), f"{COOKIE}={vera.cookies[COOKIE]}") == 200


def test_the_oldest_files_are_forgotten_and_not_opened_to_others() -> None:
    files, vera = Files(most=2), Person("vera", "viewer")
    files.give(vera, ["/a", "/b", "/c"])
    assert [files.may_read(vera, path) for path in ("/a", "/b", "/c")] == [False, True, True]
    assert not files.may_read(Person("carl", "admin"), "/c")


# ------------------------------------------------------------------------------------------------ programs


def test_gradio_client_signs_in_with_a_name_or_a_key(house: House, picture: Path) -> None:
    key = house.people.key("vera", 1)
    for options in ({"auth": ("vera", password("vera"))}, {"headers": {"Authorization": f"Bearer {key}"}}):
        client = Client(house.url, verbose=False, analytics_enabled=False, **options)
        answer = client.predict(handle_file(str(picture)), "a red lid", api_name="/ground")
        assert answer["checkpoint"]["name"] == "photo"
        client.close()
    with pytest.raises(AuthenticationError):
        Client(house.url, verbose=False, analytics_enabled=False, auth=("vera", "wrong password"))


def ask_mcp(house: House, method: str, parameters: dict[str, object], **headers: str) -> httpx.Response:
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}
    headers = {"accept": "application/json, text/event-stream", **headers}
    return house.visitor().post("gradio_api/mcp/", json=body, headers=headers)


def test_mcp_asks_for_a_key_and_works_with_one(house: House, picture: Path) -> None:
    uri = "data:image/jpeg;base64," + base64.b64encode(picture.read_bytes()).decode()
    call = {"name": "ground", "arguments": {"picture": uri, "descriptions": "a red lid"}}
    for headers in ({}, {"authorization": "Bearer wrong"}, {"x-grain-inside": ""}, {"x-grain-inside": "guess"}):
        refused = ask_mcp(house, "tools/call", call, **headers)
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
    key = house.people.key("vera", 1)
    answer = ask_mcp(house, "tools/call", call, authorization=f"Bearer {key}").text
    text = json.loads(answer.split("data:", 1)[1])["result"]["content"][0]["text"]
    assert ast.literal_eval(text)["image"] == {"width": 80, "height": 60}
    hidden = {"name": "start_1", "arguments": {}}
    assert "Unknown tool" in ask_mcp(house, "tools/call", hidden, authorization=f"Bearer {key}").text


# ------------------------------------------------------------------------------------------------ secrets


def test_secrets_are_nowhere_but_with_their_owners(house: House, capfd: pytest.CaptureFixture[str]) -> None:
    visitor = house.signed_in("ada")
    key = house.people.key("ada", 1)
    house.visitor().post("login", data={"username": "ada", "password": "a guess of mine"})
    pages = [visitor.get(path).text for path in ("", "annotate", "login", "logout", "config", "gradio_api/info")]
    Client(house.url, verbose=False, analytics_enabled=False, auth=("ada", password("ada"))).close()
    secrets = [password("ada"), "a guess of mine", visitor.cookies[COOKIE], key, key.removeprefix(KEY_PREFIX)]
    files = [file for file in house.services.settings.home.rglob("*") if file.is_file()]
    assert any(file.name == "grain.sqlite" for file in files) and len(pages) == 6
    texts = [
        *(file.read_bytes() for file in files),
        *(page.encode() for page in pages),
        *map(str.encode, capfd.readouterr()),
    ]
    assert [secret for secret in secrets for text in texts if secret.encode() in text] == []
    assert not any(b"$argon2" in page.encode() for page in pages)


# ------------------------------------------------------------------------------------------------ this machine alone


@pytest.mark.parametrize(
    ("host", "login", "needed"),
    [
        ("127.0.0.1", False, False),
        ("::1", False, False),
        ("localhost", False, False),
        ("127.0.0.1", True, True),
        ("0.0.0.0", False, True),
        ("::", False, True),
        ("192.168.0.2", False, True),
        ("localhost.example", False, True),
        ("", False, True),
    ],
)
def test_accounts_are_needed_anywhere_but_on_loopback(host: str, login: bool, needed: bool) -> None:
    assert Settings(host=host, login=login).needs_accounts is needed


def test_on_loopback_there_is_one_person_and_other_names_of_this_machine_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, picture: Path
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "cache"))
    services = fake_services(tmp_path)
    app = build_app(services)
    app.launch(**launch_options(services), prevent_thread_lock=True, quiet=True)
    try:
        visitor = httpx.Client(base_url=app.local_url)
        assert visitor.get("").status_code == 200 and "Sign out" not in visitor.get("").text
        assert visitor.get("login").headers["location"] == visitor.post("logout").headers["location"] == "/"
        assert visitor.get(f"gradio_api/file={upload(visitor, picture)}").status_code == 200
        rebound = {"host": "evil.example:7860", "origin": "http://evil.example:7860"}
        assert visitor.get("config", headers=rebound).status_code == 403, "a name that was pointed at this machine"
        assert (
            visitor.post("gradio_api/queue/join", json={}, headers={"origin": "http://evil.example"}).status_code == 403
        )
        assert not (tmp_path / "home" / "grain.sqlite").exists(), "nobody asked the database"
    finally:
        app.close()


def test_an_app_that_nobody_could_sign_in_to_does_not_start(people: People) -> None:
    with pytest.raises(SettingsError, match=r"add one with `python -m app.people add NAME --role admin`"):
        people.must_exist()
    people.add("ada", password("ada"), "admin")
    people.must_exist()


def test_the_command_line_adds_a_person_whom_the_app_then_lets_in(tmp_path: Path) -> None:
    port = free_port()
    environment = {**os.environ, "GRAIN_HOME": str(tmp_path), "GRAIN_PORT": str(port), "GRAIN_HOST": "0.0.0.0"}

    def run(*words: str, typed: str = "") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *words]
        return subprocess.run(command, cwd=ROOT, env=environment, input=typed, capture_output=True, text=True)

    refused = run("app.py")
    assert refused.returncode == 1 and "Traceback" not in refused.stderr
    assert refused.stderr.splitlines()[-1].startswith(
        "app.py: this app would ask for a login and nobody has an account"
    )
    short = run("-m", "app.people", "add", "ada", "--role", "admin", typed="short\n")
    assert (short.returncode, short.stderr) == (
        1,
        "app.people: expected a password of 10 to 1000 characters, got 5\n",
    )
    added = run("-m", "app.people", "add", "ada", "--role", "admin", typed=f"{password('ada')}\n")
    assert (added.returncode, added.stdout, added.stderr) == (0, "", "")
    assert run("-m", "app.people", "list").stdout == "ada  admin\n"
    key = run("-m", "app.people", "key", "ada", "--days", "1").stdout.strip()
    assert "--password" not in run("-m", "app.people", "--help").stdout
    with subprocess.Popen(
        [sys.executable, "app.py"], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    ) as app:
        try:
            assert app.stdout is not None and any("GRAIN is at" in line for line in app.stdout)
            url = f"http://127.0.0.1:{port}/"
            assert httpx.get(f"{url}config").status_code == 401
            assert httpx.get(f"{url}config", headers={"authorization": f"Bearer {key}"}).status_code == 200
            signed_in = httpx.post(f"{url}login", data={"username": "ada", "password": password("ada")})
            assert httpx.get(f"{url}config", cookies=dict(signed_in.cookies)).status_code == 200
        finally:
            app.kill()


# ------------------------------------------------------------------------------------------------ in a browser


def test_a_person_in_a_browser_signs_in_is_told_what_she_may_not_and_signs_out(house: House, browser: Browser) -> None:
    page = browser.new_context().new_page()
    page.goto(f"{house.url}annotate")
    page.get_by_label("name").fill("vera")
    page.get_by_label("password").fill("wrong password")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_have_text(WRONG)
    page.get_by_label("name").fill("vera")
    page.get_by_label("password").fill(password("vera"))
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Annotate")).to_be_visible()
    page.get_by_text("Import pictures", exact=True).click()
    page.get_by_role("button", name="Draw the sample world").click()
    expect(page.get_by_text("needs the role curator; vera has the role viewer")).to_be_visible()
    page.get_by_role("link", name="Sign out").click()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("password")).to_be_visible()
    page.goto(house.url)
    expect(page).to_have_url(f"{house.url}login?next=/")

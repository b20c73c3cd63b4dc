"""How far each is let: roles, other sites, files, programs, secrets; over real HTTP against the real app."""

from __future__ import annotations

import ast
import asyncio
import base64
import json
import os
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AuthenticationError
from PIL import Image
from starlette.types import Message

from app.accounts import KEY_PREFIX, Person, who
from app.gate import Files, Gate
from app.login import COOKIE
from app.main import build_app, launch_options
from app.settings import Settings
from db.engine import reading
from db.job_queries import job_page
from tests.fake_app import fake_services
from tests.house import House, house, password, people, picture, raw, set_off, upload

__all__ = ["house", "people", "picture"]  # fixtures

# ------------------------------------------------------------------------------------------------ roles


def as_the_page_opens(event: Any) -> list[object]:
    """What its fields hold then."""
    return [each.value if isinstance(each.value, str | int | float | list) else None for each in event.inputs]


def test_a_viewer_may_look_and_a_curator_may_change(house: House) -> None:
    viewer, curator = house.signed_in("vera"), house.signed_in("carl")
    writing = ["AnnotatePage.start", "AnnotatePage.draw_sample", "AnnotatePage.ask", "CuratePage.ask"]
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
    for visitor, name in ((viewer, "AnnotatePage.fields"), (curator, "AnnotatePage.attempt")):
        event = house.app.fns[house.event(name)]
        told = set_off(visitor, event._id, *as_the_page_opens(event))
        assert "needs the role" not in told and "process_completed" in told
    looks = house.app.fns[house.event("CuratePage.look")]
    told = set_off(viewer, looks._id, *as_the_page_opens(looks), asks={"ask": {"do": "show"}})
    assert '"success":true' in told


def test_only_an_admin_imports_what_lies_on_the_server(house: House) -> None:
    bring = house.event("AnnotatePage.bring")
    told = set_off(house.signed_in("carl"), bring, "/etc", "mine")
    assert "needs the role admin; carl has the role curator" in told
    told = set_off(house.signed_in("ada"), bring, "", "")
    assert "needs the role" not in told and "process_completed" in told


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


def program(house: House, **options: Any) -> Client:
    return Client(house.url, verbose=False, analytics_enabled=False, httpx_kwargs={"timeout": 60}, **options)


def test_gradio_client_signs_in_with_a_name_or_a_key(house: House, picture: Path) -> None:
    key = house.people.key("vera", 1)
    for options in ({"auth": ("vera", password("vera"))}, {"headers": {"Authorization": f"Bearer {key}"}}):
        client = program(house, **options)
        answer = client.predict(handle_file(str(picture)), "a red lid", api_name="/ground")
        assert answer["checkpoint"]["name"] == "photo"
        client.close()
    with pytest.raises(AuthenticationError):
        program(house, auth=("vera", "wrong password"))


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
    program(house, auth=("ada", password("ada"))).close()
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
        visitor = httpx.Client(base_url=app.local_url, timeout=60)
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

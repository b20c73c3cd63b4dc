"""How far each is let: roles, other sites, files, programs, secrets; over real HTTP against the real app."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AuthenticationError
from PIL import Image
from starlette.types import Message

from app.access.accounts import KEY_PREFIX, Person, person_of
from app.access.gate import MOST_BODY_BYTES, OTHERS_PAGE, Files, Gate
from app.access.login import COOKIE, TRIES_LAST
from app.access.proxies import TrustedProxies
from app.access.sessions import SessionOwners
from app.core.settings import Settings
from app.curate.editor_routes import MOST_SUGGESTIONS
from app.main import MOST_LOOKS_WAITING, build_app, launch_options
from curation.ingest.ingest import ingest
from db.engine import reading
from db.queries.job_queries import job_page
from tests.support.fake_app import fake_services
from tests.support.house import House, house, mcp_result, password, people, picture, raw, set_off, upload
from tests.support.waiting import PATIENCE_S, until

__all__ = ["house", "people", "picture"]  # fixtures

# ------------------------------------------------------------------------------------------------ roles


def as_the_page_opens(event: Any) -> list[object]:
    """What its fields hold then."""
    return [each.value if isinstance(each.value, str | int | float | list) else None for each in event.inputs]


@pytest.mark.slow
def test_a_viewer_may_look_and_a_curator_may_change(house: House) -> None:
    viewer, curator = house.signed_in("vera"), house.signed_in("carl")
    writing = ["AnnotatePage.start", "FirstExample.begin", "AnnotatePage.control_job"]
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
    for visitor, name in ((viewer, "AnnotatePage.show_fields"), (curator, "AnnotatePage.try_picture")):
        event = house.app.fns[house.event(name)]
        told = set_off(visitor, event._id, *as_the_page_opens(event))
        assert "needs the role" not in told and "process_completed" in told
    for path in ("acts", "suggestions"):
        refused = viewer.post(f"curate/{path}", json={})
        assert (refused.status_code, refused.text) == (403, "This needs the role curator; vera has the role viewer.")
        assert curator.post(f"curate/{path}", json={}).status_code == 200
    for path in ("views", "rest"):
        assert viewer.post(f"curate/{path}", json={}).status_code == 200


def test_only_an_admin_imports_what_lies_on_the_server(house: House) -> None:
    bring = house.event("AnnotatePage.import_pictures")
    told = set_off(house.signed_in("carl"), bring, "/etc", "mine", None)
    assert "needs the role admin; carl has the role curator" in told
    told = set_off(house.signed_in("ada"), bring, "", "", None)
    assert "needs the role" not in told and "process_completed" in told


def test_a_handler_knows_who_asks() -> None:
    class Inner:
        scope: ClassVar[dict[str, Person]] = {"grain_person": Person("vera", "viewer")}

    class Asked:
        request = Inner()

    assert person_of(Asked()) == person_of(Inner()) == Person("vera", "viewer")
    Inner.scope = {}
    with pytest.raises(PermissionError):
        person_of(Asked())


# ------------------------------------------------------------------------------------------------ other sites


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:1", "https://127.0.0.1.evil.example", "http://["]
)
def test_another_site_is_refused_whatever_it_asks(house: House, origin: str) -> None:
    visitor = house.signed_in("ada")
    asked = [
        visitor.post("gradio_api/queue/join", json={}, headers={"origin": origin}),
        visitor.post("gradio_api/call/ground", json={"data": []}, headers={"origin": origin}),
        visitor.post("curate/acts", json={}, headers={"origin": origin}),
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

    async def never(*_: Any) -> None:
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
        statuses = {(each, method): raw(house, each, cookie, method) for each in asked for method in ("GET", "HEAD")}
        assert len(statuses) == 60
        assert {asked: status for asked, status in statuses.items() if status not in (400, 403, 404)} == {}
    assert raw(house, root + path, f"{COOKIE}={vera.cookies[COOKIE]}") == 200, "and the path itself is right"
    assert raw(house, root + path.replace("photo", "%70hoto"), f"{COOKIE}={vera.cookies[COOKIE]}") == 200


def test_the_oldest_files_are_forgotten_and_not_opened_to_others() -> None:
    files, vera = Files(most=2), Person("vera", "viewer")
    files.give(vera, ["/a", "/b", "/c"])
    assert [files.may_read(vera, path) for path in ("/a", "/b", "/c")] == [False, True, True]
    assert not files.may_read(Person("carl", "admin"), "/c")


# ------------------------------------------------------------------------------------------------ programs


def program(house: House, **options: Any) -> Client:
    return Client(house.url, verbose=False, analytics_enabled=False, httpx_kwargs={"timeout": PATIENCE_S}, **options)


@pytest.mark.slow
def test_gradio_client_signs_in_with_a_name_or_a_key(house: House, picture: Path) -> None:
    key = house.people.key("vera", 1)
    for options in ({"auth": ("vera", password("vera"))}, {"headers": {"Authorization": f"Bearer {key}"}}):
        client = program(house, **options)
        answer = client.predict(handle_file(str(picture)), "a red lid", api_name="/ground")
        assert answer["checkpoint"]["name"] == "photo"
        client.close()
    with pytest.raises(AuthenticationError):
        program(house, auth=("vera", "wrong password"))


def ask_mcp(house: House, method: str, parameters: dict[str, Any], **headers: str) -> httpx.Response:
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
    text = mcp_result(ask_mcp(house, "tools/call", call, authorization=f"Bearer {key}"))["content"][0]["text"]
    assert json.loads(text)["image"] == {"width": 80, "height": 60}
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
    app.launch(**launch_options(services))
    try:
        visitor = httpx.Client(base_url=str(app.local_url), timeout=PATIENCE_S)
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


# ------------------------------------------------------------------------------------------------ sessions and events


def joined(visitor: httpx.Client, event: Any, session: str) -> httpx.Response:
    body = {"data": as_the_page_opens(event), "fn_index": event._id, "session_hash": session}
    return visitor.post("gradio_api/queue/join", json=body)


def test_an_event_and_a_session_are_whose_they_are_and_nobody_elses(house: House) -> None:
    owner, other = house.signed_in("vera"), house.signed_in("carl")
    event = house.app.fns[house.event("AnnotatePage.show_fields")]
    session = "session-of-vera"
    begun = joined(owner, event, session)
    assert begun.status_code == 200
    number = begun.json()["event_id"]
    called = owner.post(f"gradio_api/call/{event.api_name}", json={"data": as_the_page_opens(event)}).json()["event_id"]
    cancelling = {"session_hash": session, "fn_index": event._id, "event_id": number}
    refused = [
        other.get("gradio_api/queue/data", params={"session_hash": session}),
        other.get(f"gradio_api/heartbeat/{session}"),
        other.get(f"gradio_api/call/{event.api_name}/{called}"),
        other.get(f"gradio_api/call/v2/{event.api_name}/{number}"),
        other.get("gradio_api/queue/data", params={"session_hash": called}),  # Gradio's own name for such a session
        other.post("gradio_api/cancel", json=cancelling),
        other.post("gradio_api/cancel", json=cancelling | {"session_hash": "session-of-carl"}),
        other.post("gradio_api/reset", json={"event_id": number}),
        other.post("gradio_api/reset/", json={"event_id": called}),
        joined(other, event, session),
        other.post(f"gradio_api/call/{event.api_name}", json={"data": [], "session_hash": session}),
        other.post(f"gradio_api/run/{event.api_name}", json={"data": [], "session_hash": session}),
    ]
    assert [answer.status_code for answer in refused] == [403] * len(refused)
    assert "process_completed" in owner.get("gradio_api/queue/data", params={"session_hash": session}).text
    assert "event: complete" in owner.get(f"gradio_api/call/{event.api_name}/{called}").text


def test_a_body_that_is_no_object_or_too_long_is_refused_in_a_sentence(house: House) -> None:
    visitor = house.signed_in("vera")
    for body, status in ((b"[1, 2]", 422), (b"[" * 100_000, 422), (b"\xff", 422), (b" " * (MOST_BODY_BYTES + 1), 413)):
        for path in ("gradio_api/queue/join", "curate/views"):
            answer = visitor.post(path, content=body, headers={"content-type": "application/json"})
            assert (answer.status_code, "Traceback" in answer.text) == (status, False), body[:10]


def test_what_anothers_page_still_holds_is_refused_and_not_saved_in_the_name_of_who_signed_in_since(
    house: House, picture: Path
) -> None:
    ingest(house.services.engine, picture.parent, dataset="left open", home=house.services.settings.home)
    carl, ada = house.signed_in("carl"), house.signed_in("ada")
    verdict = {"do": "nothing", "act": "left-open", "image": 1, "person": "carl"}
    for what in ("acts", "views", "suggestions", "rest"):
        refused = ada.post(f"curate/{what}", json=verdict)
        assert (refused.status_code, refused.text) == (403, OTHERS_PAGE)
    assert carl.post("curate/acts", json=verdict).status_code == 200, "who opened it goes on"
    assert ada.post("curate/acts", json=verdict | {"person": "ada"}).status_code == 200
    event = house.app.fns[house.event("AnnotatePage.show_fields")]
    asked = {"data": as_the_page_opens(event), "fn_index": event._id, "session_hash": "left-open"}
    assert carl.post("gradio_api/queue/join", json=asked).status_code == 200
    refused = ada.post("gradio_api/queue/join", json=asked)
    assert (refused.status_code, refused.json()) == (403, {"detail": OTHERS_PAGE}), "as Gradio's page can show it"


def test_the_oldest_sessions_are_forgotten() -> None:
    owners = SessionOwners(most=2)
    vera, carl = Person("vera", "viewer"), Person("carl", "curator")
    assert owners.claim(vera, "a") and not owners.claim(carl, "a")
    assert owners.claim(vera, "b") and owners.claim(vera, "a") and owners.claim(vera, "c")  # "b" is the oldest now
    assert not owners.claim(carl, "a") and owners.claim(carl, "b")


# ------------------------------------------------------------------------------------------------ proxies


@pytest.mark.parametrize(
    ("trusted", "peer", "seen"),
    [
        ("", "127.0.0.1", "127.0.0.1"),
        ("127.0.0.1", "127.0.0.1", "203.0.113.9"),
        ("10.0.0.0/8, 192.0.2.1", "10.1.2.3", "203.0.113.9"),
        ("10.0.0.0/8", "192.0.2.1", "192.0.2.1"),
    ],
)
def test_a_forwarded_address_is_believed_only_from_a_configured_proxy(trusted: str, peer: str, seen: str) -> None:
    told: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        told.append((scope["client"][0], scope["scheme"], [name for name, _ in scope["headers"]]))

    forwarded = [
        (b"x-forwarded-for", b"203.0.113.9"),
        (b"x-forwarded-proto", b"https"),
        (b"x-forwarded-host", b"evil.example"),
        (b"forwarded", b"for=203.0.113.9"),
    ]
    scope = {"type": "http", "client": (peer, 1), "scheme": "http", "headers": [(b"host", b"here"), *forwarded]}
    asyncio.run(TrustedProxies(app, trusted)(scope, None, None))  # type: ignore[arg-type]
    believed = seen != peer
    assert told[0][:2] == (seen, "https" if believed else "http")
    assert (b"x-forwarded-host" in told[0][2]) == believed and b"host" in told[0][2]


def test_a_forged_address_does_not_reset_the_count_of_wrong_passwords(house: House) -> None:
    visitor = house.visitor()
    answers = [
        visitor.post(
            "login",
            data={"username": "vera", "password": "wrong"},
            headers={"x-forwarded-for": f"203.0.113.{number}"},
        ).status_code
        for number in range(6)
    ]
    assert answers == [401] * 5 + [429]
    house.clock.now += TRIES_LAST


# ------------------------------------------------------------------------------------------------ the queue


def test_one_person_cannot_fill_what_answers_the_editor(house: House, picture: Path) -> None:
    ingest(house.services.engine, picture.parent, dataset="one", home=house.services.settings.home)
    carl, ada = house.signed_in("carl"), house.signed_in("ada")
    ask = {"image": 1, "checkpoint": "photo", "filters": {"address": "dataset=one"}}

    def suggest(visitor: httpx.Client) -> httpx.Response:
        return visitor.post("curate/suggestions", json=ask)

    with ThreadPoolExecutor() as threads:
        with house.services.model_turn:  # somebody's look takes as long as the test likes
            answers = [threads.submit(suggest, carl) for _ in range(MOST_SUGGESTIONS + 1)]
            refused = next(as_completed(answers)).result()
            assert (refused.status_code, refused.text.split(":")[0]) == (429, "You have 3 requests waiting")
            of_another = threads.submit(suggest, ada)
        statuses = sorted(each.result().status_code for each in [*answers, of_another])
    assert statuses == [200] * (MOST_SUGGESTIONS + 1) + [429]


def ask_ground(visitor: httpx.Client, house: House, picture: Path, session: str) -> httpx.Response:
    event = house.app.fns[house.event("GroundPage.ground")]
    file = {"path": upload(visitor, picture), "meta": {"_type": "gradio.FileData"}}
    data = [file, "a cup", "", "photo", 0.0, 1.0]
    return visitor.post("gradio_api/queue/join", json={"data": data, "fn_index": event._id, "session_hash": session})


def test_one_person_cannot_fill_the_queue_and_what_nobody_waits_for_any_more_is_dropped(
    house: House, picture: Path
) -> None:
    vera, carl = house.signed_in("vera"), house.signed_in("carl")
    with house.services.model_turn:  # somebody's look takes as long as the test likes
        answers = [ask_ground(vera, house, picture, f"many-{number}").status_code for number in range(12)]
        taken = answers.count(200)
        assert MOST_LOOKS_WAITING <= taken <= MOST_LOOKS_WAITING + 1, "one is with the model, the others wait"
        assert set(answers[taken:]) == {429}
        assert "requests waiting: wait until one is answered" in ask_ground(vera, house, picture, "more").text
        assert ask_ground(carl, house, picture, "of-carl").status_code == 200, "others have their places"
        person = Person("vera", "viewer")
        page = house.app.fns[house.event("AnnotatePage.show_fields")]
        assert joined(vera, page, "of-a-page").status_code == 200, "what needs no model is not refused"
        for number in range(taken):
            with vera.stream("GET", "gradio_api/queue/data", params={"session_hash": f"many-{number}"}) as stream:
                next(stream.iter_lines())  # and then she leaves
        until(lambda: house.app.waiting(person) == [], lambda: str(house.app.waiting(person)))
    assert "process_completed" in carl.get("gradio_api/queue/data", params={"session_hash": "of-carl"}).text

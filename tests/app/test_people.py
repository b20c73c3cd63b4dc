"""Who is let in: passwords, sessions, accounts, the command line; over real HTTP against the real app."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, expect

from app.access.accounts import IDLE_LASTS, KEY_PREFIX, SESSION_LASTS, People, Person
from app.access.gate import INSIDER, Files
from app.access.login import (
    COOKIE,
    TRIES_LAST,
    TRIES_OF_A_NAME,
    TRIES_OF_AN_ADDRESS,
    WAIT,
    WRONG,
    LoginAttempts,
    own_path,
)
from app.people import Command, run
from tests.support.browser_fixtures import new_visitor
from tests.support.fake_app import free_port
from tests.support.house import HTML, Clock, House, house, open_house, password, people
from tests.support.paths import ROOT
from tests.support.waiting import PATIENCE_S
from user_errors import UserError

__all__ = ["house", "people"]  # fixtures


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
            ("POST", "curate/acts"),
            ("POST", "curate/views"),
        ]
    }
    assert set(refused.values()) == {401} and len(refused) == 17


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


@pytest.mark.slow
def test_a_cookie_that_came_over_https_stays_there(tmp_path: Path) -> None:
    fields = {"username": "vera", "password": password("vera")}
    with open_house(tmp_path, proxies="127.0.0.1") as house:
        answer = house.visitor().post("login", data=fields, headers={"x-forwarded-proto": "https"})
    cookies = answer.headers.get_list("set-cookie")
    assert len(cookies) == 2 and all("secure" in cookie.lower() for cookie in cookies)


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

    def __init__(self, hasher: Any) -> None:
        self.hasher: Any = hasher
        self.seen: list[Any] = []

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
    tries = LoginAttempts(clock)
    assert sum(tries.begin("vera", "10.0.0.1") for _ in range(9)) == 5, "however many at once"
    assert tries.begin("vera", "10.0.0.2"), "from elsewhere she may"
    tries = LoginAttempts(clock)
    assert sum(tries.begin("vera", "10.0.0.1") + tries.begin("carl", "10.0.0.1") for _ in range(9)) == 10
    assert sum(tries.begin(f"name{i}", "10.0.0.1") for i in range(50)) == 50, "who has not tried yet may try once"
    assert not tries.begin("name0", "10.0.0.1") and tries.begin("name0", "10.0.0.2"), "and no second time from there"
    tries = LoginAttempts(clock)
    assert sum(tries.begin("vera", f"10.0.{i}.1") for i in range(150)) == 100
    tries = LoginAttempts(clock)
    for _ in range(50):
        assert tries.begin("vera", "10.0.0.1")
        tries.succeeded("vera", "10.0.0.1")


def test_a_browser_that_somebody_signed_in_with_is_not_locked_out_by_others() -> None:
    clock = Clock()
    tries = LoginAttempts(clock)
    known = tries.device_cookie("vera")
    assert sum(tries.begin("vera", f"10.0.{i}.1") for i in range(150)) == 100, "an attacker from many addresses"
    assert not tries.begin("vera", "10.0.0.1") and not tries.begin("vera", "10.0.0.1", tries.device_cookie("carl"))
    assert not tries.begin("vera", "10.0.0.1", known[:-1] + ("0" if known[-1] != "0" else "1"))
    assert tries.begin("vera", "10.0.0.1", known)
    tries.succeeded("vera", "10.0.0.1", known)
    assert sum(tries.begin("vera", "10.0.0.1", known) for _ in range(20)) == 5, "and it cannot be used to guess"


@pytest.mark.slow
def test_wrong_passwords_for_one_name_do_not_lock_out_the_others_behind_the_address(house: House) -> None:
    house.clock.now += TRIES_LAST
    attacker = house.visitor()
    for number in range(TRIES_OF_AN_ADDRESS + 5):
        attacker.post("login", data={"username": f"nobody{number}", "password": "x"})
    for _ in range(TRIES_OF_A_NAME):
        attacker.post("login", data={"username": "vera", "password": "x"})
    refused = attacker.post("login", data={"username": "vera", "password": password("vera")})
    assert refused.status_code == 429
    carl = house.signed_in("carl")  # from the same address
    assert sum(carl.post("login", data={"username": "carl", "password": "x"}).status_code == 401 for _ in range(5)) == 5
    house.clock.now += TRIES_LAST


def test_a_form_that_is_too_large_is_not_read(house: House) -> None:
    assert house.visitor().post("login", data={"username": "x" * 20_000}).status_code == 413
    assert house.visitor().post("login", data={f"field{i}": "x" for i in range(17)}).status_code == 413


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
    with pytest.raises(UserError, match="expected a password of 10 to 1000 characters, got 9"):
        people.add("eve", "too short", "viewer")
    with pytest.raises(UserError, match="which somebody has"):
        people.add("ada", password("ada"), "viewer")
    with pytest.raises(UserError, match="is the only admin"):
        people.deactivate("ada")
    with pytest.raises(UserError, match="expected the name of an active account, got 'eve'"):
        people.key("eve", 1)
    with pytest.raises(UserError, match="expected 1 to 366 days, got 0"):
        people.key("ada", 0)
    for token in ("", "x", "\ud800", "x" * 100_000):
        assert people.signed_in(token) is None


def test_a_name_with_spaces_around_it_is_refused_as_nobody_could_sign_in_by_it(people: People) -> None:
    with pytest.raises(UserError, match="without spaces around it, got 'ben '"):
        people.add("ben ", password("ben"), "viewer")
    people.add("ben van dijk", password("ben"), "viewer")


def test_who_was_let_in_no_more_can_be_let_in_again(people: People) -> None:
    people.add("ada", password("ada"), "admin")
    people.add("ben", password("ben"), "viewer")
    people.deactivate("ben")
    for change in (
        lambda: people.set_password("ben", "another password"),
        lambda: people.set_role("ben", "admin"),
    ):
        with pytest.raises(UserError, match="got 'ben', which is let in no more: activate it"):
            change()
    with pytest.raises(UserError, match="which somebody has: activate that account again or choose another name"):
        people.add("ben", password("ben"), "viewer")
    assert people.sign_in("ben", password("ben")) is None
    run(Command("activate", "ben"), people, ask=str)
    assert people.signed_in(people.sign_in("ben", password("ben")) or "") == Person("ben", "viewer")
    with pytest.raises(UserError, match="expected the name of an account, got 'eve'"):
        people.activate("eve")


def test_no_account_shares_the_files_of_the_app_itself(people: People) -> None:
    with pytest.raises(UserError, match="expected a name for the account"):
        people.add(INSIDER.name, password("mcp"), "viewer")
    people.add("mcp", password("mcp"), "viewer")
    files = Files()
    files.give(INSIDER, ["/cache/picture.png"])
    assert not files.may_read(Person("mcp", "viewer"), "/cache/picture.png")


# ------------------------------------------------------------------------------------------------ the first account


def test_an_app_that_nobody_could_sign_in_to_does_not_start(people: People) -> None:
    with pytest.raises(UserError, match=r"add one with `python -m app.people add NAME --role admin`"):
        people.must_exist()
    people.add("ada", password("ada"), "admin")
    people.must_exist()


@pytest.mark.slow
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
            with httpx.Client(base_url=url, timeout=PATIENCE_S) as visitor:
                assert visitor.get("config").status_code == 401
                assert visitor.get("config", headers={"authorization": f"Bearer {key}"}).status_code == 200
                visitor.post("login", data={"username": "ada", "password": password("ada")})
                assert visitor.get("config").status_code == 200, "with the cookie"
        finally:
            app.kill()


# ------------------------------------------------------------------------------------------------ in a browser


@pytest.mark.slow
def test_a_person_in_a_browser_signs_in_is_told_what_she_may_not_and_signs_out(house: House, browser: Browser) -> None:
    page = new_visitor(browser).new_page()
    page.goto(f"{house.url}annotate")
    page.get_by_label("name").fill("vera")
    page.get_by_label("password").fill("wrong password")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_have_text(WRONG)
    page.get_by_label("name").fill("vera")
    page.get_by_label("password").fill(password("vera"))
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Annotate")).to_be_visible()
    expect(page.locator("#signed-in")).to_have_text("vera, viewer: changes and jobs need a curator")
    expect(page.get_by_role("button", name="Start")).to_be_disabled()
    page.get_by_role("link", name="Sign out").click()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("password")).to_be_visible()
    page.goto(house.url)
    expect(page).to_have_url(f"{house.url}login?next=/")

"""The Ground page's endpoint, over HTTP, with gradio_client; and what the server must refuse."""

from __future__ import annotations

import base64
import io
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from app.ui.tidy_uploads import MOST_FIELD_BYTES
from tests.support.fake_app import fake_services, free_port, running
from tests.support.fake_predictor import BOXES_XYXY
from tests.support.house import mcp_result
from tests.support.paths import ROOT
from tests.support.waiting import PATIENCE_S

DESCRIPTIONS, CLASSES = "a red lid\na star", "zorbex: a red lid; a star\nplim: a blue hook"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("app")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("GRADIO_TEMP_DIR", str(folder / "cache"))
        with running(fake_services(folder)) as url:
            yield url


@pytest.fixture(scope="module")
def client(address: str) -> Client:
    return Client(address, verbose=False, analytics_enabled=False, httpx_kwargs={"timeout": PATIENCE_S})


@pytest.fixture(scope="module")
def visitor(address: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=address, timeout=PATIENCE_S) as visitor:
        yield visitor


@pytest.fixture
def picture(tmp_path: Path) -> str:
    """240 × 120 as stored; EXIF says turn: a person sees 120 × 240."""
    exif = Image.Exif()
    exif[274] = 6
    path = tmp_path / "photo.jpg"
    Image.new("RGB", (240, 120), (200, 40, 40)).save(path, exif=exif)
    return str(path)


def grounded(visitor: httpx.Client, payload: dict[str, Any]) -> str:
    """What the endpoint answers about a picture that is given as Gradio's JSON."""
    event = visitor.post("gradio_api/call/ground", json={"data": [payload, "a", "", "sample", 0, 1]}).json()
    return visitor.get(f"gradio_api/call/ground/{event['event_id']}").text


def refusal(client: Client, *arguments: Any) -> str:
    with pytest.raises(AppError) as caught:
        client.predict(*arguments, api_name="/ground")
    sentence = str(caught.value)
    assert sentence.endswith(".") and "\n" not in sentence and "Traceback" not in sentence
    return sentence


def test_one_call_gives_one_json_object(client: Client, picture: str) -> None:
    answer = client.predict(handle_file(picture), DESCRIPTIONS, CLASSES, "sample", -1.0, api_name="/ground")
    assert answer["schema_version"] == 1
    assert answer["image"] == {"width": 120, "height": 240}, "the frame that a person sees"
    assert [region["text"] for region in answer["regions"]] == ["a red lid", "a star"]
    for region in answer["regions"]:
        assert region["xyxy"] == pytest.approx(BOXES_XYXY[region["index"]].tolist())
    assert [len(row) for row in answer["matches"]["scores"]] == [2] * len(BOXES_XYXY)
    assert {row["name"] for row in answer["classes"]} == {"zorbex", "plim"}
    assert answer["checkpoint"] == {
        "name": "sample",
        "trained_on": "made-up words",
        "can_ground": True,
        "grounding_note": "",
        "region_rule": "best_region",
        "alpha": 0.5,
        "recognition_note": "",
    }


def test_the_last_parameters_have_defaults(client: Client, picture: str) -> None:
    answer = client.predict(handle_file(picture), DESCRIPTIONS, api_name="/ground")
    assert answer["checkpoint"]["name"] == "photo" and answer["classes"] == [] and answer["not_found"] == []
    assert all(region["score"] >= 0 for region in answer["regions"])


def test_the_parameters_have_the_names_and_the_order_that_others_rely_on(client: Client) -> None:
    info = client.view_api(print_info=False, return_format="dict")["named_endpoints"]
    pages = {"/data_sets", "/annotation_plan", "/annotate", "/regions", "/decide", "/freeze", "/audit", "/evaluate"}
    pages |= {"/evaluation", "/training_choices", "/train", "/job", "/control_job", "/jobs", "/export"}
    pages |= {"/prompt_comparison", "/compare_prompts", "/import_pictures", "/import_annotations"}
    assert {*info} == {"/ground"} | pages, "nothing else can be called"
    names = [parameter["parameter_name"] for parameter in info["/ground"]["parameters"]]
    assert names == ["picture", "descriptions", "classes", "checkpoint", "threshold", "alpha"]


def test_a_checkpoint_without_a_decoder_recognises_but_does_not_ground(client: Client, picture: str) -> None:
    answer = client.predict(handle_file(picture), DESCRIPTIONS, CLASSES, "sample-clip", api_name="/ground")
    assert (answer["regions"], answer["matches"]["scores"]) == ([], [])
    assert len(answer["classes"]) == 2
    assert answer["checkpoint"]["grounding_note"] == "this checkpoint has no trained decoder"


def test_alpha_and_threshold_are_used(client: Client, picture: str) -> None:
    def scores(alpha: float) -> list[tuple[float, float, float]]:
        rows = client.predict(handle_file(picture), "", CLASSES, "sample", 0.0, alpha, api_name="/ground")["classes"]
        return [(row["score"], row["global_score"], row["region_score"]) for row in rows]

    assert all(score == pytest.approx(whole) for score, whole, _ in scores(1.0))
    assert all(score == pytest.approx(parts) for score, _, parts in scores(0.0))
    hidden = client.predict(handle_file(picture), DESCRIPTIONS, "", "sample", 1.0, api_name="/ground")
    assert hidden["regions"] == [] and hidden["not_found"] == []
    assert hidden["matches"]["answers"] == ["below the threshold"] * 2


def test_bad_input_is_answered_in_one_sentence(client: Client, picture: str, tmp_path: Path) -> None:
    trap = tmp_path / "model.pt"
    trap.write_bytes(pickle.dumps({"weights": 1}))
    assert "not a JPEG, PNG" in refusal(client, handle_file(str(trap)), DESCRIPTIONS)
    assert "nothing to look for" in refusal(client, handle_file(picture), " \n ")
    assert "no picture yet" in refusal(client, None, DESCRIPTIONS)
    assert "cannot be read" in refusal(client, handle_file(picture), DESCRIPTIONS, '{"zorbex": [')
    assert "choose one of photo, sample" in refusal(client, handle_file(picture), DESCRIPTIONS, "", "smaple")
    assert "more than the 64" in refusal(client, handle_file(picture), "\n".join(f"part {i}" for i in range(65)))
    for texts in (("\n".join(["x" * 40_000] * 64), ""), ("", f"{'n' * 501}: a lid"), ("", f"zorbex: {'x' * 200_000}")):
        assert "Expected at most 500 characters in a text, got " in refusal(client, handle_file(picture), *texts)
    assert "Alpha must lie between 0 and 1, got 2" in refusal(
        client, handle_file(picture), DESCRIPTIONS, CLASSES, "sample", 0.0, 2.0
    )


def test_an_address_or_a_data_uri_is_not_fetched(visitor: httpx.Client, picture: str) -> None:
    uri = "data:image/png;base64," + base64.b64encode(Path(picture).read_bytes()).decode()
    for sent in ({"path": "http://127.0.0.1:1/x.png"}, {"path": None, "url": uri}, {"path": "https://example.com/x"}):
        payload = {**sent, "meta": {"_type": "gradio.FileData"}, "orig_name": "x.png"}
        answer = grounded(visitor, payload)
        assert "event: error" in answer and "not fetched" in answer
    assert visitor.get("gradio_api/file=http://example.com/x.png").status_code == 403


def test_a_file_of_the_server_is_not_read(visitor: httpx.Client) -> None:
    example = ROOT / "app" / "ground" / "example_pictures" / "coffee.jpg"
    for path in ("/etc/passwd", str(example), "../../../etc/passwd"):
        payload = {"path": path, "meta": {"_type": "gradio.FileData"}}
        answer = grounded(visitor, payload)
        assert "event: error" in answer and "root:" not in answer
        assert visitor.get(f"gradio_api/file={path}").status_code in (403, 404)


def test_a_file_that_is_too_large_is_cut_off_while_it_is_sent(visitor: httpx.Client) -> None:
    answer = visitor.post("gradio_api/upload", files={"files": ("big.png", bytes(26_000_000))})
    assert answer.status_code == 413


def test_what_is_no_file_is_not_kept_in_memory_however_long(visitor: httpx.Client) -> None:
    picture = {"files": ("a.png", b"a picture")}
    few = visitor.post("gradio_api/upload", files=picture, data={"note": "x" * 1000})
    assert few.status_code == 200 and len(few.json()) == 1
    for much in ({"note": "x" * (MOST_FIELD_BYTES + 1)}, {f"note{i}": "x" * (MOST_FIELD_BYTES // 8) for i in range(9)}):
        answer = visitor.post("gradio_api/upload", files=picture, data=much)
        assert (answer.status_code, answer.text) == (413, "Fields exceed their maximum allowed size of 1048576 bytes.")


def test_an_address_with_a_slash_at_its_end_leads_to_the_page_and_keeps_what_it_asks_for(visitor: httpx.Client) -> None:
    answer = visitor.get("curate/?dataset=a%26b&words=caf%C3%A9")
    assert (answer.status_code, answer.headers["location"]) == (301, "/curate?dataset=a%26b&words=caf%C3%A9")
    assert visitor.get("home/").headers["location"] == "/home"
    assert [visitor.get(f"ground{end}").headers["location"] for end in ("", "/", "?q=1")] == ["/", "/", "/?q=1"]


def test_every_answer_forbids_the_browser_to_load_from_elsewhere(visitor: httpx.Client) -> None:
    for path in ("", "gradio_api/info", "nowhere"):
        policy = visitor.get(path).headers["content-security-policy"]
        assert "default-src 'self'" in policy and "http" not in policy


def test_the_same_over_mcp(visitor: httpx.Client, picture: str) -> None:
    def ask(method: str, parameters: dict[str, Any]) -> dict[str, Any]:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}
        headers = {"accept": "application/json, text/event-stream"}
        return mcp_result(visitor.post("gradio_api/mcp/", json=body, headers=headers))

    listing: Any = ask("tools/list", {})["tools"]
    tools = {tool["name"]: tool["description"] for tool in listing}
    schemas = {tool["name"]: tool["inputSchema"] for tool in listing}
    assert "Find where descriptions are" in tools["ground"] and "the second changes nothing" in tools["decide"]
    uri = "data:image/jpeg;base64," + base64.b64encode(Path(picture).read_bytes()).decode()
    arguments = {"picture": uri, "descriptions": DESCRIPTIONS, "classes": CLASSES}
    answer = ask("tools/call", {"name": "ground", "arguments": arguments})
    text = answer["content"][0]["text"]  # type: ignore[index]
    assert json.loads(text)["image"] == {"width": 120, "height": 240}
    assert answer["structuredContent"] == json.loads(text)
    listed = {"picture": uri, "descriptions": ["a red, round lid"], "classes": {"zorbex": ["a red lid"]}}
    answer = ask("tools/call", {"name": "ground", "arguments": listed})["structuredContent"]
    assert answer["matches"]["descriptions"] == ["a red, round lid"] and answer["classes"][0]["name"] == "zorbex"  # type: ignore[index]
    kinds = schemas["ground"]["properties"]["descriptions"]["anyOf"]
    assert {"type": "array", "items": {"type": "string"}} in kinds and {"type": "string"} in kinds
    assert schemas["ground"]["properties"]["descriptions"]["description"].endswith("or be one in quotes.")
    assert "http" not in json.dumps(schemas["ground"]) + tools["ground"]
    assert schemas["ground"]["properties"]["picture"]["format"].startswith("a data URI")
    for elsewhere in ("https://example.com/a.jpg", "/etc/passwd"):
        refused = ask("tools/call", {"name": "ground", "arguments": arguments | {"picture": elsewhere}})
        assert refused["isError"] and refused["content"][0]["text"].startswith("Send a file as a data URI")  # type: ignore[index]
    refused = ask("tools/call", {"name": "ground", "arguments": arguments | {"descriptions": [], "classes": {}}})
    assert refused["isError"] and "structuredContent" not in refused


@pytest.mark.slow
def test_the_page_is_up_without_torch_and_without_opening_a_database(tmp_path: Path) -> None:
    code = (
        "import sys, httpx\nfrom app.core.settings import load_settings, prepare_gradio\n"
        "settings = load_settings(); prepare_gradio(settings)\n"
        "from app.main import build_app, launch_options\nfrom app.services import Services\n"
        "services = Services(settings); app = build_app(services)\n"
        "app.launch(**launch_options(services))\n"
        "print(httpx.get(app.local_url, timeout=240).status_code, sorted(HEAVY & set(sys.modules)))"
    ).replace("HEAVY", "{'torch', 'open_clip', 'transformers', 'cv2', 'supervision', 'scipy'}")
    environment = {**os.environ, "GRAIN_HOME": str(tmp_path), "GRAIN_PORT": str(free_port())}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "200 []"
    assert not [*tmp_path.rglob("*.sqlite")]


@pytest.mark.slow
def test_python_app_py_serves_the_page(tmp_path: Path) -> None:
    port = free_port()
    environment = {**os.environ, "GRAIN_HOME": str(tmp_path), "GRAIN_PORT": str(port)}
    with subprocess.Popen([sys.executable, "app.py"], cwd=ROOT, env=environment, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            lines = iter(io.TextIOWrapper(process.stdout, "utf-8"))
            assert any(f"127.0.0.1:{port}" in line for line in lines), "it says where it listens"
            assert "GRAIN" in httpx.get(f"http://127.0.0.1:{port}/", timeout=PATIENCE_S).text
        finally:
            process.kill()

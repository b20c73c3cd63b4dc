"""Prose that can be run is run: the file map, the commands, the links, the tables of README and docs."""

import re
import runpy
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from app.settings import Settings
from curation.sample_world import render_scene

ROOT = Path(__file__).parent.parent
NOT_OURS = {".venv", ".git", ".gradio", ".hypothesis", ".bench", "runs", "__pycache__"}


@cache
def our_files() -> dict[str, Path]:
    """Path from the root -> file: what git tracks or would track; without git, what lies here but for caches."""
    listing = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        names = subprocess.run(listing, capture_output=True, text=True, check=True).stdout.split("\0")
    except (OSError, subprocess.CalledProcessError):
        names = [file.relative_to(ROOT).as_posix() for file in ROOT.rglob("*")]
        names = [
            name for name in names if not NOT_OURS & set(Path(name).parts) and not re.match(r"data/|\.\w+_cache/", name)
        ]
    return {name: ROOT / name for name in sorted(names) if (ROOT / name).is_file()}


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def fences(name: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", read(name), re.MULTILINE | re.DOTALL)


DOCS = [name for name in our_files() if name.endswith(".md")]
SHELL_LINES = [
    line.split(" #")[0]
    for name in DOCS
    for block in fences(name, "bash")
    for line in block.splitlines()
    if line.strip()
]
MODULE_LINES = [line for line in SHELL_LINES if line.startswith("python -m ")]
MAKE_LINES = [line for line in SHELL_LINES if line.startswith("make ")]


def test_the_file_map_lists_every_python_file_and_nothing_that_is_not_there() -> None:
    [file_map] = [block for block in fences("README.md", "text") if re.search(r"^app\.py ", block, re.MULTILINE)]
    listed = [line.split()[0] for line in file_map.splitlines() if line.strip()]
    python = {name for name in our_files() if name.endswith(".py")}
    assert len(python) > 50
    assert sorted(name for name in listed if name.endswith(".py")) == sorted(python)
    assert [name for name in listed if not (ROOT / name).exists()] == []


def test_every_line_of_the_file_map_says_what_the_file_is() -> None:
    lines = [line for block in fences("README.md", "text") for line in block.splitlines() if re.match(r"\S+\.py", line)]
    assert len(lines) > 50
    assert [line for line in lines if len(line.split()) < 3 or len(line) > 120] == []


@pytest.mark.filterwarnings("ignore:.*found in sys.modules")
@pytest.mark.parametrize("module", sorted({line.split()[2] for line in MODULE_LINES}))
def test_every_flag_that_the_docs_use_is_in_the_help(
    module: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word for line in MODULE_LINES if line.split()[2] == module for word in shlex.split(line)[3:]]
    flags = {word for word in words if word.startswith("--")}
    assert flags
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "argv", [module, "--help"])
    with pytest.raises(SystemExit) as end:
        # in this process: importing torch again in another one costs seconds a module
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    assert end.value.code in (0, None)
    text = capsys.readouterr().out
    assert [flag for flag in flags if not re.search(rf"{flag}\b", text)] == []


def test_the_docs_show_every_command_line() -> None:
    runnable = {
        name
        for name, file in our_files().items()
        if name.endswith(".py") and 'if __name__ == "__main__"' in file.read_text()
    }
    stages = {
        name.removesuffix(".py").replace("/", ".") for name in runnable if name.split("/")[0] in {"grain", "curation"}
    }
    apart = {"grain.make_photo"}  # `make photo` runs it, in an environment of its own
    assert {line.split()[2] for line in MODULE_LINES} >= stages - apart
    assert len(stages) >= 4


def test_every_make_command_exists_and_says_what_it_does() -> None:
    targets = dict(re.findall(r"^([a-z-]+):.*## (.+)$", read("Makefile"), re.MULTILINE))
    phony = re.search(r"^\.PHONY: (.+)$", read("Makefile"), re.MULTILINE)
    assert phony is not None and set(phony[1].split()) == set(targets)
    assert {"venv", "app", "test", "lint", "bench"} <= set(targets)
    assert len(MAKE_LINES) >= 4
    assert {line.split()[1] for line in MAKE_LINES} <= set(targets)


def test_ci_says_the_words_that_a_person_types() -> None:
    assert read(".ci/run").splitlines()[-2:] == ["make lint", "make test"]


def test_the_library_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    example, _ = fences("README.md", "python")  # the other one: tests/test_api.py
    monkeypatch.chdir(tmp_path)
    render_scene("train", seed=0, index=0).image.save("picture.jpg")
    exec(compile(example, "README.md", "exec"), {"__name__": "readme"})
    assert "magpie" in capsys.readouterr().out


@pytest.mark.parametrize("name", DOCS)
def test_every_link_leads_somewhere(name: str) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", read(name))
    broken = [
        link for link in links if not link.startswith("#") and not ((ROOT / name).parent / link.split("#")[0]).exists()
    ]
    assert broken == []


def test_settings_in_the_readme_are_the_settings_of_the_app() -> None:
    prefix = Settings.model_config["env_prefix"]
    assert set(re.findall(r"`(GRAIN_[A-Z_]+)`", read("README.md"))) == {
        f"{prefix}{field}".upper() for field in Settings.model_fields
    }


def test_every_dependency_has_a_reason_and_a_licence() -> None:
    wanted = re.findall(r"^([A-Za-z][\w.-]*)", read("requirements.txt") + read("requirements-dev.txt"), re.MULTILINE)
    _, table, *_ = read("docs/decisions.md").split("## Dependencies")[1].split("|---|---|---|\n")
    rows = re.findall(r"^\| ([\w.-]+) \| ([^|]{4,}) \| ([^|]{3,}) \|$", table, re.MULTILINE)
    assert [row[0] for row in rows] == wanted
    assert len(wanted) >= 20


PRIVATE_PATH = re.compile(r"(?<![\w.*}])/(?:home|root|work|tmp|Users)/")
ADDRESS = re.compile(r"\w+://(?:[^/\s@]*@)?([\w.-]+\.[a-z]{2,})\b")
HARMLESS = re.compile(r"(^|\.)(example|invalid|test|localhost|example\.(com|org|net))$|^www\.w3\.org$")


def complaints(text: str) -> list[str]:
    """Paths of somebody's machine and hosts that no file of this project needs."""
    hosts = [host for host in ADDRESS.findall(text) if not HARMLESS.search(host)]
    return PRIVATE_PATH.findall(text) + hosts


def test_no_file_names_a_machine() -> None:
    texts = {name: file.read_bytes() for name, file in our_files().items()}
    texts = {name: content.decode("utf-8", errors="replace") for name, content in texts.items() if b"\0" not in content}
    assert len(texts) > 60
    assert {name: found for name, text in texts.items() if (found := complaints(text))} == {}


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("see " + "/ho" + "me/me/data", 1),
        ("open '" + "/tm" + "p/x.png'", 1),
        ("https" + "://packages.some-registry.org/simple", 1),
        ("http" + "://me:secret@db.internal.net/x", 1),
        ("http://127.0.0.1:7860 and http://localhost:80/x and https://host.example/y", 0),
        ("~/.grain, $HOME/work, docs/home/page.md, sqlite:////folder/grain.sqlite", 0),
    ],
)
def test_a_named_machine_is_noticed(text: str, count: int) -> None:
    assert len(complaints(text)) == count

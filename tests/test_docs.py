"""Prose that can be run is run: the file map, the commands, the links, the tables of README and docs."""

import json
import os
import re
import runpy
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from app.access.rules import event_rule
from app.api import Api
from app.core.settings import Settings
from app.ground.page import GroundPage
from app.main import PAGES
from benchmarks.page import benchmark_line
from curation.exchange.formats import FORMATS, IMPORT_FORMATS, LABELS
from curation.label_studio.access import VARIABLES
from curation.sample.scenes import render_scene
from docs.file_map import file_map, first_line, python_files, with_map
from tests.support.paths import ROOT

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


def links_of(name: str) -> list[str]:
    return re.findall(r"\]\(([^)\s]+)\)", read(name))


def leads_somewhere(name: str, link: str) -> bool:
    """Return whether a link of a page leads to a file there is, and where it names a heading, to that heading."""
    path, _, heading = link.partition("#")
    target = os.path.normpath(Path(name).parent / path) if path else name
    if not (ROOT / target).exists():
        return False
    return not heading or heading in map(anchor_of, re.findall(r"^#+ (.+)$", read(target), re.MULTILINE))


def anchor_of(heading: str) -> str:
    """Return a heading as GitHub writes it into addresses."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


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


def test_the_file_map_is_that_of_the_files_there_are() -> None:
    names = python_files()
    page = read("docs/architecture.md")
    assert len(names) > 200
    assert page == with_map(page, file_map(names)), "run `make docs`"


def test_every_line_of_the_file_map_fits_a_screen() -> None:
    assert [name for name in python_files() if not 20 < len(first_line(name)) < 120] == []


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
        name.removesuffix(".py").removesuffix("/__main__").replace("/", ".")
        for name in runnable
        if name.split("/")[0] in {"grain", "curation"}
    }
    apart = {"grain.photo.make_photo"}  # `make photo` runs it, in an environment of its own
    assert {line.split()[2] for line in MODULE_LINES} >= stages - apart
    assert len(stages) >= 4


def test_every_file_and_command_that_the_docs_name_is_there() -> None:
    named = {
        (page, path)
        for page in DOCS
        for path in re.findall(r"`((?:app|benchmarks|configs|curation|db|docs|grain|tests)/[\w./-]+)`", read(page))
        if "NAME" not in path
    }
    modules = {(page, name) for page in DOCS for name in re.findall(r"`python -m ([\w.]+)", read(page))}
    assert len(named) > 60 and len(modules) > 20
    assert [each for each in named if not (ROOT / each[1]).exists()] == []
    ours = {(page, name) for page, name in modules if name.split(".")[0] in ("app", "curation", "grain", "benchmarks")}
    assert [each for each in ours if not is_runnable(each[1])] == []


def is_runnable(module: str) -> bool:
    """Return whether `python -m MODULE` finds a file of ours."""
    path = ROOT / module.replace(".", "/")
    return path.with_suffix(".py").is_file() or (path / "__main__.py").is_file()


def test_every_make_command_exists_and_says_what_it_does() -> None:
    targets = dict(re.findall(r"^([a-z-]+):.*## (.+)$", read("Makefile"), re.MULTILINE))
    phony = re.search(r"^\.PHONY: (.+)$", read("Makefile"), re.MULTILINE)
    assert phony is not None and set(phony[1].split()) == set(targets)
    assert {"venv", "app", "test", "test-all", "lint", "bench"} <= set(targets)
    assert len(MAKE_LINES) >= 4
    assert {line.split()[1] for line in MAKE_LINES} <= set(targets)


def test_ci_says_the_words_that_a_person_types() -> None:
    assert read(".ci/run").splitlines()[-2:] == ["make lint", "make test-all"]


def test_the_library_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    [example] = fences("README.md", "python")  # that of docs/reference/api.md: tests/app/test_api.py
    monkeypatch.chdir(tmp_path)
    render_scene("train", seed=0, index=0).image.save("picture.jpg")
    exec(compile(example, "README.md", "exec"), {"__name__": "readme"})
    assert "magpie" in capsys.readouterr().out


@pytest.mark.parametrize("name", DOCS)
def test_every_link_leads_somewhere(name: str) -> None:
    assert [link for link in links_of(name) if not leads_somewhere(name, link)] == []


def test_a_link_that_leads_nowhere_is_noticed() -> None:
    assert sum(len(links_of(name)) for name in DOCS) > 150
    assert leads_somewhere("README.md", "docs/README.md#the-pages")
    assert not leads_somewhere("README.md", "docs/README.md#no-such-heading")
    assert not leads_somewhere("README.md", "docs/no-such-page.md")


def test_the_index_leads_to_every_page_of_the_docs() -> None:
    linked = {os.path.normpath(f"docs/{link.split('#')[0]}") for link in links_of("docs/README.md")}
    pages = {name for name in DOCS if name.startswith("docs/")} - {"docs/README.md"}
    assert len(pages) >= 20
    assert pages - linked == set()


def test_every_page_of_the_app_has_its_page_in_the_tour() -> None:
    pages = {page.title.lower().replace(" ", "-"): page.title for page in PAGES}
    assert len(pages) >= 8
    assert {Path(name).stem for name in DOCS if name.startswith("docs/pages/")} == set(pages)
    for file, title in pages.items():
        heading, _, picture = read(f"docs/pages/{file}.md").splitlines()[:3]
        assert (heading, picture) == (f"# {title}", f"![The {title} page](../images/{file}.png)")


def test_the_readme_is_for_someone_in_a_hurry() -> None:
    assert len(read("README.md").splitlines()) <= 180
    pictures = [name for name in our_files() if name.startswith("docs/images/") and name.endswith(".png")]
    assert len(pictures) >= 9
    shown = read("README.md") + read("docs/guides/road.md").replace("(../images/", "(docs/images/")
    assert [name for name in pictures if f"({name})" not in shown] == []
    assert [name for name in pictures if (ROOT / name).stat().st_size > 200_000] == []


def test_settings_in_the_docs_are_the_settings_of_the_app() -> None:
    prefix = Settings.model_config["env_prefix"]
    settings = {f"{prefix}{field}".upper() for field in Settings.model_fields} | {*VARIABLES}
    rows = re.findall(r"^\| `(GRAIN_(?!KEY_)[A-Z_]+)` \|", read("docs/reference/settings.md"), re.MULTILINE)
    assert sorted(rows) == sorted(settings)
    named = {name for page in DOCS for name in re.findall(r"\bGRAIN_[A-Z_]+[A-Z]\b", read(page))}
    assert {name for name in named if not name.startswith(("GRAIN_BENCH_", "GRAIN_KEY_"))} == settings


def test_endpoints_in_the_docs_are_those_of_the_app() -> None:
    rows = re.findall(r"^\| `/(\w+)` \| .+ \| (\w+)(?:, .*)? \|$", read("docs/reference/api.md"), re.MULTILINE)
    actions = {name for name in vars(Api) if not name.startswith("_")}
    roles = {name: event_rule(getattr(Api, name)) for name in actions} | {"ground": event_rule(GroundPage.ground)}
    assert len(rows) >= 14
    assert dict(rows) == roles


def test_the_tests_that_the_list_of_faults_names_are_there() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", read("docs/faults.md"))
    assert len(named) > 100
    assert [(file, name) for file, name in named if f"def {name}(" not in read(file)] == []
    rows = re.findall(r"^\| (\d+) \| .* \| (holds|in part|open)[^|]* \|$", read("docs/faults.md"), re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, 44))


def test_formats_in_the_docs_are_those_of_exports() -> None:
    rows = re.findall(
        r"^\| [^|]+ \| `(\w[\w-]*)` \| [^|]+ \| [^|]+ \|$", read("docs/reference/formats.md"), re.MULTILINE
    )
    assert tuple(rows) == FORMATS


def test_layouts_in_the_docs_that_are_only_read_are_those_of_imports() -> None:
    page = read("docs/reference/formats.md")
    rows = re.findall(r"^\| [^|]+ \| `(\w[\w-]*)` \| [^|]+ \|$", page, re.MULTILINE)
    assert rows and (*FORMATS, *rows) == IMPORT_FORMATS
    assert tuple(LABELS) == IMPORT_FORMATS, "the page offers them all"


def test_every_dependency_has_a_reason_and_a_licence() -> None:
    wanted = re.findall(r"^([A-Za-z][\w.-]*)", read("requirements.txt") + read("requirements-dev.txt"), re.MULTILINE)
    _, table, *_ = read("docs/decisions.md").split("## Dependencies")[1].split("|---|---|---|\n")
    rows = re.findall(r"^\| ([\w.-]+) \| ([^|]{4,}) \| ([^|]{3,}) \|$", table, re.MULTILINE)
    assert [row[0] for row in rows] == wanted
    assert len(wanted) >= 20


PRIVATE_PATH = re.compile(r"(?<![\w.*}])/(?:home|root|work|tmp|Users)/")
ADDRESS = re.compile(r"\w+://(?:[^/\s@]*@)?([\w.-]+\.[a-z]{2,})\b")
HARMLESS = re.compile(
    r"(^|\.)(example|invalid|test|localhost|example\.(com|org|net))$|^www\.w3\.org$|^api\.openai\.com$"
)


def complaints(text: str) -> list[str]:
    """Paths of somebody's machine and hosts that no file of this project needs."""
    hosts = [host for host in ADDRESS.findall(text) if not HARMLESS.search(host)]
    return PRIVATE_PATH.findall(text) + hosts


def test_no_file_names_a_machine() -> None:
    files = {name: file.read_bytes() for name, file in our_files().items()}
    texts = {name: content.decode("utf-8", errors="replace") for name, content in files.items() if b"\0" not in content}
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


def test_no_table_is_cut_in_two_by_an_empty_line() -> None:
    tables = 0
    for name in (name for name in our_files() if name.endswith(".md")):
        text = re.sub(r"^```.*?^```", "", read(name), flags=re.MULTILINE | re.DOTALL)
        for block in re.findall(r"(?:^\|.*\n?)+", text, re.MULTILINE):
            assert re.match(r".*\n\|[ :|-]+\|\n", block), f"{name}: a table begins without its head: {block[:80]}"
            tables += 1
    assert tables > 40


def test_the_list_of_pages_names_each_once() -> None:
    links = links_of("docs/README.md")
    assert len(links) > 25
    assert sorted({link for link in links if links.count(link) > 1}) == []


def test_the_evidence_is_what_the_benchmarks_measured() -> None:
    rows = {row["name"]: row for row in json.loads(read("docs/benchmarks.json"))}
    stated = re.findall(r"\| \[`(\w+)`\]\(benchmarks\.md#\w+\) \| (.+) \| (.+) \|", read("docs/evidence.md"))
    assert len(stated) >= 15
    for name, value, holds in stated:
        *_, measured, holding = benchmark_line(rows[name]).strip("| ").split(" | ")
        assert (value, holds) == (measured.strip(), holding.strip("*")), name

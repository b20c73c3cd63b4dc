"""The import table of the house: who may import which room, and the one home of each library."""

import ast
import re
from collections import Counter
from fnmatch import fnmatchcase
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from docs.file_map import parse_python
from tests.support.paths import ROOT

MAY_IMPORT = {
    "grain": [],
    "db": [],
    "curation": [
        "grain.command",
        "grain.structures",
        "grain.texts",
        "grain.boxes",
        "grain.predict",
        "grain.checkpoint",
        "grain.preprocess",
        "grain.photo.denials",
        "grain.photo.photo",
        "grain.photo.phrases",
        "grain.familiarity",
        "grain.zero_shot",
        "grain.time_limit",
        "grain.hub",
        "db",
    ],
    "app": ["grain", "curation", "db"],
    "app.py": ["app"],
    "tests": ["grain", "db", "curation", "app", "benchmarks"],
    "benchmarks": ["grain", "db", "curation", "app"],
}
OURS = {"grain", "db", "curation", "app", "benchmarks", "tests"}
FREE = {"tests", "benchmarks"}  # fakes and peers: any library

SOLE_HOMES = {
    "torch": [
        "grain/",
        "curation/annotate/describe.py",
        "curation/annotate/localize.py",
        "curation/annotate/grounding_dino.py",
    ],
    "torchvision": ["grain/", "curation/annotate/localize.py"],
    "open_clip": [
        "grain/model/towers.py",
        "grain/data/tokenizer.py",
        "grain/data/published_readers.py",
        "grain/photo/make_photo.py",
    ],
    "accelerate": ["grain/train/train.py"],
    "scipy": [
        "grain/train/matching.py",
        "grain/evaluate/metrics.py",
        "grain/evaluate/comparison.py",
        "curation/explore/atlas.py",
    ],
    "yaml": ["grain/config_file.py", "curation/exchange/yolo.py"],
    "onnxruntime": ["grain/photo/", "grain/portable/"],
    "onnx": ["grain/photo/graphs.py"],
    "tf2onnx": ["grain/photo/graphs.py"],
    "efficientnet_lite_pytorch": ["grain/photo/graphs.py"],
    "tokenizers": ["grain/photo/text_encoder.py", "grain/portable/", "grain/data/tokenizer.py"],
    "ftfy": ["grain/portable/texts.py"],
    "inflect": ["grain/photo/phrases.py"],
    "sqlmodel": ["db/"],
    "sqlalchemy": ["db/"],
    "alembic": ["db/"],
    "transformers": [
        "curation/annotate/describe.py",
        "curation/annotate/grounding_dino.py",
        "grain/hub/owl.py",
        "grain/photo/graphs.py",
    ],
    "httpx": [
        "curation/annotate/openai_describer.py",
        "curation/annotate/servers.py",
        "curation/label_studio/client.py",
    ],
    "tenacity": ["curation/annotate/openai_describer.py", "curation/label_studio/client.py"],
    "argon2": ["app/access/accounts.py"],
    "imagehash": ["curation/ingest/ingest.py"],
    "umap": ["curation/explore/atlas.py"],
    "usearch": ["curation/explore/neighbours.py"],
    "pyarrow": ["curation/files/tables.py", "curation/exchange/imagefolder.py", "curation/scale/shard_files.py"],
    "sklearn": ["curation/audit/agreement.py", "curation/audit/claim_judge.py"],
    "label_studio_sdk": ["curation/label_studio/client.py"],
    "ray": ["curation/scale/cluster.py", "app/jobs/ray.py"],
    "submitit": ["app/jobs/slurm.py"],
    "fsspec": ["app/jobs/shared.py"],
    "gradio": [
        "app/main.py",
        "app/api.py",
        "app/*/page.py",
        "app/*/layout.py",
        "app/curate/map_page.py",
        "app/curate/bulk_page.py",
        "app/data/upkeep_page.py",
        "app/annotate/compare_page.py",
        "app/ground/several_page.py",
        "app/ground/send_page.py",
        "app/home/own_pictures_page.py",
        "app/ground/class_lists_page.py",
        "app/ground/more_models_page.py",
        "app/curate/filter_controls.py",
        "app/ui/",
    ],
    "jinja2": ["app/core/templates.py"],
    "markupsafe": ["app/core/templates.py", "app/ui/html.py"],
    "plotly": ["app/ui/plots.py", "app/ground/heatmap.py", "app/train/curves.py", "app/evaluate/plots.py"],
    "supervision": ["grain/draw.py"],
    "subprocess": ["app/jobs/", "app/label_studio/server.py", "curation/files/pictures.py"],
    "psutil": ["app/jobs/"],
}

AT_LEAST = {"grain": 250, "db": 120, "curation": 80, "app": 120, "app.py": 5, "tests": 300, "benchmarks": 120}


@cache
def imports(source: str, path: str) -> list[str]:
    """Every dotted name that a file imports, wherever in it: `from a import b` is a.b, relative ones are resolved."""
    names: list[str] = []
    for node in ast.walk(parse_python(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parents = Path(path).parts[: -node.level] if node.level else ()
            module = ".".join([*parents, *([node.module] if node.module else [])])
            names += [f"{module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call) and called(node).endswith(("import_module", "__import__")):
            names += [ast.literal_eval(node.args[0])]  # a name made at run time fails here: it could not be checked
    return names


def called(call: ast.Call) -> str:
    """The last name of what is called."""
    return str(getattr(call.func, "attr", getattr(call.func, "id", "")))


def violations(source: str, path: str) -> list[str]:
    """Imports of a file that the table forbids, a sentence each."""
    room = path.split("/")[0]
    rooms, found = MAY_IMPORT[room], []
    for name in imports(source, path):
        top = name.split(".")[0]
        if top in OURS and top != room and not any(f"{name}.".startswith(f"{allowed}.") for allowed in rooms):
            found.append(f"{path} imports {name}: {room} may import {', '.join(rooms) or 'no other room'}")
        homes = SOLE_HOMES.get(top, [path])
        if room not in FREE and not any(fnmatchcase(path, f"{home}*") for home in homes):
            found.append(f"{path} imports {top}: its home is {', '.join(homes)}")
    return found


@cache
def python_files() -> dict[str, str]:
    """Path from the root -> source, of every room and the root's app.py."""
    found = [file for room in MAY_IMPORT for file in (*ROOT.glob(room), *ROOT.glob(f"{room}/**/*.py"))]
    return {f.relative_to(ROOT).as_posix(): f.read_text(encoding="utf-8") for f in found if f.suffix == ".py"}


def test_every_room_keeps_to_the_table() -> None:
    checked = Counter(dict.fromkeys(MAY_IMPORT, 0))
    found = []
    for path, source in python_files().items():
        checked[path.split("/")[0]] += len(imports(source, path))
        found += violations(source, path)
    assert found == []
    assert {room: n for room, n in checked.items() if n < AT_LEAST[room]} == {}, "a guard that saw too little"


ROOMS = ("grain", "db", "curation", "app")
PAGES = {
    f"app.{name}" for name in "annotate audit concepts curate data evaluate ground home label_studio train".split()
}


@cache
def modules() -> dict[str, str]:
    """Dotted name -> path, of every Python file of the four rooms."""
    paths = [path for path in python_files() if path.split("/")[0] in ROOMS]
    return {path.removesuffix(".py").removesuffix("/__init__").replace("/", "."): path for path in paths}


@cache
def module_graph() -> dict[str, set[str]]:
    """Module -> the modules of the four rooms that it imports."""
    files, found = python_files(), modules()
    graph = {}
    for module, path in found.items():
        names = imports(files[path], path)
        graph[module] = {name if name in found else name.rpartition(".")[0] for name in names} & found.keys()
    return graph


def sub_room(module: str) -> str:
    """The sub-room of a module, as app.ground; a module beside the sub-rooms is one of its own."""
    return ".".join(module.split(".")[:2])


@cache
def arrows() -> dict[tuple[str, str], int]:
    """From one sub-room to another of the same room -> how many imports."""
    found: Counter[tuple[str, str]] = Counter()
    for module, names in module_graph().items():
        for name in names:
            pair = sub_room(module), sub_room(name)
            if pair[0] != pair[1] and pair[0].split(".")[0] == pair[1].split(".")[0] and "." in pair[1]:
                found[pair] += 1
    return dict(found)


def sub_rooms() -> list[str]:
    """Every folder of Python files right below a room, but for the migrations, which alembic runs."""
    return sorted({sub_room(name) for name, path in modules().items() if path.count("/") > 1} - {"db.migrations"})


def test_no_module_imports_itself_by_a_detour() -> None:
    graph = module_graph()
    assert len(list(TopologicalSorter(graph).static_order())) == len(modules()) > 200


def test_no_sub_room_imports_itself_by_a_detour() -> None:
    graph: dict[str, set[str]] = {}
    for start, end in arrows():
        graph.setdefault(start, set()).add(end)
    assert len(arrows()) > 60
    list(TopologicalSorter(graph).static_order())


def test_pages_meet_by_links_and_never_by_imports() -> None:
    assert set(sub_rooms()) > PAGES
    assert [pair for pair in arrows() if set(pair) <= PAGES] == []


def declared(docstring: str) -> set[str] | None:
    """What a sub-room's docstring says that it may import of its room; None where it does not say."""
    told = re.search(r"May import: ([^.]*(?:\.\w[^.]*)*)\.$", " ".join(docstring.split()))
    if told is None:
        return None
    return set() if told[1] == "nothing else of the room" else set(told[1].split(", "))


def sentences(docstring: str) -> int:
    """Count the sentences of a docstring."""
    return len(re.findall(r"[.!?](?=\s|$)", docstring))


@pytest.mark.parametrize("room", sub_rooms())
def test_a_sub_room_says_what_it_is_for_and_imports_what_it_says(room: str) -> None:
    docstring = ast.get_docstring(parse_python((ROOT / room.replace(".", "/") / "__init__.py").read_text())) or ""
    assert len(docstring) > 40
    assert sentences(docstring) == 2, "one of what it is for, and one of what it may import"
    assert declared(docstring) == {end for start, end in arrows() if start == room}


def test_what_a_docstring_says_is_understood() -> None:
    assert declared("Draw. May import: app.core, app.ui.") == {"app.core", "app.ui"}
    assert declared("Draw.\n\nMay import: nothing else of the room.") == set()
    assert declared("Draw. Imports app.core.") is None
    assert (
        sentences("Draw app.py. May import: app.core, app.ui.") == 2 != sentences("Draw. And more.\n\nMay import: x.")
    )


FORBIDDEN = [
    ("grain/train/train.py", "import db.queries.data_set_queries", "may import no other room"),
    ("grain/train/losses.py", "from app.ui.frames import Box", "may import no other room"),
    ("db/queries/data_set_queries.py", "def f():\n    from grain.structures import Region", "may import no other room"),
    ("curation/exchange/export.py", "from grain import Predictor", "may import grain.command, grain.structures"),
    ("curation/exchange/export.py", "import grain.train", "may import grain.command, grain.structures"),
    ("curation/exchange/export.py", "from grain import data", "may import grain.command, grain.structures"),
    (
        "curation/exchange/export.py",
        "from app.core.settings import Settings",
        "may import grain.command, grain.structures",
    ),
    ("app/main.py", "import benchmarks.run", "may import grain, curation, db"),
    ("app.py", "from grain import Predictor", "may import app"),
    ("benchmarks/run.py", "from tests.fakes import FakePredictor", "may import grain"),
    ("app/ui/frames.py", "import torch.nn.functional as F", "its home is grain/"),
    ("app/services.py", "import importlib\nimportlib.import_module('torch')", "its home is grain/"),
    (
        "grain/model/model.py",
        "try:\n    import open_clip\nexcept ImportError:\n    pass",
        "its home is grain/model/towers.py",
    ),
    ("grain/evaluate/evaluate.py", "from scipy.stats import bootstrap", "its home is grain/train/matching.py"),
    ("app/main.py", "from sqlmodel import select", "its home is db/"),
    ("grain/predict.py", "import gradio as gr", "its home is app/main.py"),
    ("app/ground/page.py", "import subprocess", "its home is app/jobs/"),
]


@pytest.mark.parametrize(("path", "source", "complaint"), FORBIDDEN)
def test_a_forbidden_import_is_caught(path: str, source: str, complaint: str) -> None:
    assert [complaint in line for line in violations(source, path)] == [True]


@pytest.mark.parametrize(
    ("path", "source"),
    [
        (
            "grain/train/train.py",
            "from accelerate import Accelerator\nfrom grain.train.losses import box_loss\nimport json",
        ),
        ("grain/model/model.py", "from .decoder import Decoder\nfrom . import boxes"),
        (
            "curation/exchange/export.py",
            "from grain.structures import Region\nfrom grain import boxes\nfrom db import queries",
        ),
        ("app/ground/page.py", "import gradio as gr\nfrom ..draw import annotate\nfrom grain import Predictor"),
        ("tests/test_x.py", "import torch, gradio, app.main, benchmarks.run"),
    ],
)
def test_an_allowed_import_passes(path: str, source: str) -> None:
    assert violations(source, path) == []


def test_a_relative_import_is_resolved_to_its_room() -> None:
    assert imports("from ...db import queries", "app/ground/page.py") == ["db.queries"]
    assert imports("from . import boxes", "grain/model/model.py") == ["grain.model.boxes"]

"""The import table of the house: who may import which room, and the one home of each library."""

import ast
from collections import Counter
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

MAY_IMPORT = {
    "grain": [],
    "db": [],
    "curation": [
        "grain.structures",
        "grain.boxes",
        "grain.predict",
        "grain.checkpoint",
        "grain.photo",
        "grain.phrases",
        "grain.zero_shot",
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
    "torch": ["grain/", "curation/describe.py", "curation/localize.py"],
    "torchvision": ["grain/", "curation/localize.py"],
    "open_clip": ["grain/towers.py", "grain/tokenizer.py", "grain/published.py", "grain/make_photo.py"],
    "accelerate": ["grain/train.py"],
    "scipy": ["grain/matching.py", "grain/metrics.py", "grain/comparison.py", "curation/atlas.py"],
    "yaml": ["grain/config_file.py"],
    "onnxruntime": ["grain/photo.py", "grain/make_photo.py"],
    "onnx": ["grain/make_photo.py"],
    "tf2onnx": ["grain/make_photo.py"],
    "efficientnet_lite_pytorch": ["grain/make_photo.py"],
    "tokenizers": ["grain/photo.py"],
    "inflect": ["grain/phrases.py"],
    "sqlmodel": ["db/"],
    "sqlalchemy": ["db/"],
    "alembic": ["db/"],
    "transformers": ["curation/describe.py", "curation/localize.py", "grain/make_photo.py"],
    "httpx": ["curation/served.py", "curation/review.py"],
    "tenacity": ["curation/served.py", "curation/review.py"],
    "argon2": ["app/accounts.py"],
    "imagehash": ["curation/ingest.py"],
    "umap": ["curation/atlas.py"],
    "usearch": ["curation/neighbours.py"],
    "pyarrow": ["curation/tables.py", "curation/imagefolder.py", "curation/shard_files.py"],
    "sklearn": ["curation/agreement.py", "curation/combine.py"],
    "label_studio_sdk": ["curation/review.py"],
    "ray": ["curation/cluster.py", "app/jobs/ray.py"],
    "submitit": ["app/jobs/slurm.py"],
    "fsspec": ["app/jobs/shared.py"],
    "gradio": ["app/main.py", "app/pages/"],
    "plotly": ["app/draw.py", "app/curves.py", "app/evaluate_plots.py"],
    "supervision": ["app/draw.py"],
    "subprocess": ["app/jobs/", "app/label_studio_server.py", "curation/pictures.py"],
    "psutil": ["app/jobs/"],
}

AT_LEAST = {"grain": 250, "db": 120, "curation": 80, "app": 120, "app.py": 5, "tests": 300, "benchmarks": 120}


def imports(source: str, path: str) -> list[str]:
    """Every dotted name that a file imports, wherever in it: `from a import b` is a.b, relative ones are resolved."""
    names: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parents = Path(path).parts[: -node.level] if node.level else ()
            module = ".".join([*parents, *([node.module] if node.module else [])])
            names += [f"{module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            names += [ast.literal_eval(node.args[0])]  # a name made at run time fails here: it could not be checked
    return names


def violations(source: str, path: str) -> list[str]:
    """Imports of a file that the table forbids, a sentence each."""
    room = path.split("/")[0]
    rooms, found = MAY_IMPORT[room], []
    for name in imports(source, path):
        top = name.split(".")[0]
        if top in OURS and top != room and not any(f"{name}.".startswith(f"{allowed}.") for allowed in rooms):
            found.append(f"{path} imports {name}: {room} may import {', '.join(rooms) or 'no other room'}")
        homes = SOLE_HOMES.get(top, [path])
        if room not in FREE and not any(path.startswith(home) for home in homes):
            found.append(f"{path} imports {top}: its home is {', '.join(homes)}")
    return found


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


def test_no_module_imports_itself_by_a_detour() -> None:
    files = {path: source for path, source in python_files().items() if path.split("/")[0] not in {*FREE, "app.py"}}
    modules = {path.removesuffix(".py").removesuffix("/__init__").replace("/", "."): path for path in files}
    graph = {}
    for module, path in modules.items():
        names = imports(files[path], path)
        graph[module] = {name if name in modules else name.rpartition(".")[0] for name in names} & modules.keys()
    assert len(list(TopologicalSorter(graph).static_order())) == len(modules) > 30


FORBIDDEN = [
    ("grain/train.py", "import db.queries", "may import no other room"),
    ("grain/losses.py", "from app.draw import annotate", "may import no other room"),
    ("db/queries.py", "def f():\n    from grain.structures import Region", "may import no other room"),
    ("curation/export.py", "from grain import Predictor", "may import grain.structures"),
    ("curation/export.py", "import grain.train", "may import grain.structures"),
    ("curation/export.py", "from grain import data", "may import grain.structures"),
    ("curation/export.py", "from app.settings import Settings", "may import grain.structures"),
    ("app/main.py", "import benchmarks.run", "may import grain, curation, db"),
    ("app.py", "from grain import Predictor", "may import app"),
    ("benchmarks/run.py", "from tests.fakes import FakePredictor", "may import grain"),
    ("app/draw.py", "import torch.nn.functional as F", "its home is grain/"),
    ("app/services.py", "import importlib\nimportlib.import_module('torch')", "its home is grain/"),
    ("grain/model.py", "try:\n    import open_clip\nexcept ImportError:\n    pass", "its home is grain/towers.py"),
    ("grain/evaluate.py", "from scipy.stats import bootstrap", "its home is grain/matching.py"),
    ("app/main.py", "from sqlmodel import select", "its home is db/"),
    ("grain/predict.py", "import gradio as gr", "its home is app/main.py"),
    ("app/pages/ground.py", "import subprocess", "its home is app/jobs/"),
]


@pytest.mark.parametrize(("path", "source", "complaint"), FORBIDDEN)
def test_a_forbidden_import_is_caught(path: str, source: str, complaint: str) -> None:
    assert [complaint in line for line in violations(source, path)] == [True]


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("grain/train.py", "from accelerate import Accelerator\nfrom grain.losses import box_loss\nimport json"),
        ("grain/model.py", "from .decoder import Decoder\nfrom . import boxes"),
        ("curation/export.py", "from grain.structures import Region\nfrom grain import boxes\nfrom db import queries"),
        ("app/pages/ground.py", "import gradio as gr\nfrom ..draw import annotate\nfrom grain import Predictor"),
        ("tests/test_x.py", "import torch, gradio, app.main, benchmarks.run"),
    ],
)
def test_an_allowed_import_passes(path: str, source: str) -> None:
    assert violations(source, path) == []


def test_a_relative_import_is_resolved_to_its_room() -> None:
    assert imports("from ...db import queries", "app/pages/ground.py") == ["db.queries"]
    assert imports("from . import boxes", "grain/model.py") == ["grain.boxes"]

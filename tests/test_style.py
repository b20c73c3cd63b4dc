"""The habits of the house that a program can see: sizes, names, docstrings. Each guard says how much it saw."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cache

from docs.file_map import parse_python
from tests.support.paths import ROOT

ROOMS = ("app", "curation", "db", "grain")
MAX_FILE_LINES, MAX_FUNCTION_LINES, MAX_POSITIONAL = 500, 60, 3
DIALECT = re.compile(  # what names of the program once were, in them or alone; each has a word of the field now
    r"(^|_)(anew|atlases|bring|contenders|deed|describings|disputes|hear|heard|said|served|sighting|steering|tell"
    r"|teller|told)(_|$)"
    r"|^(combine|in_step|looking|second_opinion|wanted_act|whole)$"
)
DIALECT_IN_SENTENCES = re.compile(
    r"\b(anew|whoever|contenders?|describings|sightings?|steering|second opinion|teller|goes on where|command goes on"
    r"|by one another|lost said first|(are|is) let go|take the others along|still a gradient|go round over)\b",
    re.IGNORECASE,
)
JS_INSERTED = r"\$\{(?:[^`{}]|\{[^`{}]*\}|`[^`]*`)*\}"  # what a template inserts, itself with no deeper template
JS_TEXT = re.compile(rf"//[^\n]*|/\*.*?\*/|\"[^\"\n]*\"|'[^'\n]*'|`(?:{JS_INSERTED}|\$(?!\{{)|[^`$])*`", re.DOTALL)
KEPT_NAMES = {  # that stay, and why
    ("app/curate/editor_queue.js", "whole"): "a key of acts that wait in people's browsers",
    ("curation/audit/measure.py", "cannot_tell"): "a verdict, and a key of what lies beside a judge",
    ("curation/files/archives.py", "tell"): "a method that files have",
    ("db/queries/audit_queries.py", "cannot_tell"): "a verdict",
}
QUESTION_WORDS = frozenset(
    "What How Which Who Whose Where Why When Whether Of See Somebody Another All Each Both As".split()
)
VERBS = frozenset(  # that open a docstring; a new one is added here
    """Accept Add Annotate Answer Append Apply Ask Assemble Assign Audit Average Begin Believe Bound Bring Build
    Cache Call Carry Change Check Choose Classify Close Collect Compare Compile Compose Compute Concatenate
    Connect Control Convert Copy Count Create Crop Cut Deactivate Decay Decide Decode Define Delete Derive
    Describe Digest Do Download Draft Draw Drop Edit Embed Empty Encode End Enter Estimate Evaluate Exchange
    Explain Export Extend Fill Filter Find Fit Forbid Forget Freeze Gather Give Go Ground Group Handle Hash Have
    Hold Import Index Insert Join Judge Keep Key Know Lay Lease Leave Let Link List Load Lock Look Make Manage
    Map Mark Match Measure Mend Mirror Mount Move Name Normalize Note Offer Open Order Pack Pad Parse Pause Pick
    Place Plan Poll Prepare Preprocess Print Project Promote Propose Provide Pull Push Put Query Queue Raise
    Rank Read Recognise Record Reduce Refuse Reject Rejudge Release Remember Remove Rename Render Renew Reopen
    Replace Report Request Resample Reset Resize Restore Restrict Resume Return Rotate Run Save Say Score Search
    See Select Send Serve Set Settle Shape Share Show Sign Specify Split Start Stop Store Submit Suggest Sum
    Summarise Swap Synchronize Tag Take Tell Test Tidy Tokenize Trace Train Try Turn Undo Unpack Update Upload
    Use Wait Watch Wire Word Work Write Yield Zip""".split()
)


@cache
def sources() -> dict[str, str]:
    """Path -> source, of the four rooms; migrations keep what they were."""
    files = [file for room in ROOMS for file in (ROOT / room).rglob("*.py")]
    found = {file.relative_to(ROOT).as_posix(): file.read_text(encoding="utf-8") for file in files}
    return {path: source for path, source in found.items() if not path.startswith("db/migrations/versions/")}


@cache
def with_benchmarks() -> dict[str, str]:
    """Path -> source, of the four rooms and the benchmarks."""
    return sources() | {
        file.relative_to(ROOT).as_posix(): file.read_text(encoding="utf-8")
        for file in (ROOT / "benchmarks").glob("*.py")
    }


@cache
def scripts() -> dict[str, str]:
    """Path -> source, of our own JavaScript."""
    files = [file for file in (ROOT / "app").rglob("*.js") if "vendor" not in file.parts]
    return {file.relative_to(ROOT).as_posix(): file.read_text(encoding="utf-8") for file in files}


def nodes() -> Iterator[tuple[str, ast.AST]]:
    """Every node of every file, with its path."""
    for path, source in sources().items():
        for node in ast.walk(parse_python(source)):
            yield path, node


def test_no_file_is_longer_than_can_be_read_in_one_go() -> None:
    lines = {path: source.count("\n") for path, source in sources().items()}
    assert len(lines) > 200
    assert {path: count for path, count in lines.items() if count > MAX_FILE_LINES} == {}


def test_no_function_is_longer_than_a_screen() -> None:
    functions = [
        (f"{path}: {node.name}", (node.end_lineno or 0) - node.lineno + 1)
        for path, node in nodes()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    ]
    assert len(functions) > 2_000
    assert [(name, count) for name, count in functions if count > MAX_FUNCTION_LINES] == []


def test_no_two_classes_of_the_rooms_have_one_name() -> None:
    found: dict[str, list[str]] = defaultdict(list)
    for path, node in nodes():
        if isinstance(node, ast.ClassDef):
            found[node.name].append(path)
    assert len(found) > 300
    assert {name: paths for name, paths in found.items() if len(paths) > 1} == {}


def named_by(source: str, path: str) -> list[str]:
    """The names that a file gives: its own, and of functions, classes, arguments, keywords, variables and fields."""
    if path.endswith(".js"):
        return re.findall(r"[A-Za-z_$][\w$]*", js_code(source))
    found = [path.rpartition("/")[2].removesuffix(".py")]
    for node in ast.walk(parse_python(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.ExceptHandler, ast.MatchAs)):
            found.append(node.name or "")
        elif isinstance(node, (ast.arg, ast.keyword)):
            found.append(node.arg or "")
        elif isinstance(node, ast.alias):
            found.append(node.asname or "")
        elif isinstance(node, (ast.Name, ast.Attribute)) and isinstance(node.ctx, ast.Store):
            found.append(node.id if isinstance(node, ast.Name) else node.attr)
    return found


def js_code(source: str) -> str:
    """JavaScript without its comments and texts; what a template inserts stays."""
    return JS_TEXT.sub(lambda text: " ".join(js_code(each[2:-1]) for each in re.findall(JS_INSERTED, text[0])), source)


def dialect_names(source: str, path: str) -> list[str]:
    """Names of a file that have a word of our own dialect for a word of the field."""
    snake = {name: re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower().strip("_") for name in named_by(source, path)}
    return [name for name, plain in snake.items() if DIALECT.search(plain)]


def test_names_are_words_of_the_field() -> None:
    files = with_benchmarks() | scripts()
    found = {(path, name) for path, source in files.items() for name in dialect_names(source, path)}
    counted = [sum(len(named_by(source, path)) for path, source in each.items()) for each in (files, scripts())]
    assert counted[0] > 60_000 and counted[1] > 9_000 and len(scripts()) > 20
    assert not any("`" in js_code(source) for source in scripts().values()), "a text was taken for code"
    assert found == KEPT_NAMES.keys()


def test_a_name_of_our_own_dialect_is_noticed() -> None:
    source = "class ToldWorld: ...\ndef hear_again(whole, whole_number, retold): ..."
    assert dialect_names(source, "grain/hub/bring.py") == ["bring", "ToldWorld", "hear_again", "whole"]
    bound = "said: int\nself.told = 1\nfor whole, _ in (): ...\nwith a as heard: ...\nf(bring := 1)\nf(tell=1)"
    assert {*dialect_names(bound, "a.py")} == {"said", "told", "whole", "heard", "bring", "tell"}
    assert dialect_names("print(said, a.told)  # whole", "a.py") == [], "not named here"
    script = 'let said = "told"; // whole\nf(`bring ${heard + `tell ${"served"}`} tell`, {tellAll: \'hear\'});'
    assert dialect_names(script, "a.js") == ["said", "heard", "tellAll"]


def test_no_sentence_of_the_program_names_a_class() -> None:
    classes = {node.name for _, node in nodes() if isinstance(node, ast.ClassDef)} - {"McNemar"}  # a person too
    several_words = re.compile(r"\b(?:[A-Z][a-z]+){2,}\b")  # one word alone may be English
    texts = [(path, text) for path, source in sources().items() for text in sentences(source)]
    assert len(texts) > 3_000
    assert [(path, text) for path, text in texts if classes & set(several_words.findall(text))] == []


def sentences(source: str) -> list[str]:
    """The texts of a Python file that have several words and are no docstrings."""
    return [
        child.value
        for node in ast.walk(parse_python(source))
        if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        for child in ast.iter_child_nodes(node)
        if isinstance(child, ast.Constant) and isinstance(child.value, str) and " " in child.value
    ]


def dialect_phrases(texts: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Phrases of our own dialect in texts, each with its path."""
    return [(path, match[0]) for path, text in texts for match in DIALECT_IN_SENTENCES.finditer(text)]


def test_sentences_are_plain_english() -> None:
    texts = [(path, text) for path, source in sources().items() for text in sentences(source)]
    templates = list((ROOT / "app").rglob("templates/*.html"))
    pages = [file for folder in ("guides", "pages", "reference") for file in (ROOT / "docs" / folder).glob("*.md")]
    assert (len(texts) > 3_000, len(templates) > 50, len(pages) > 15) == (True, True, True)
    for file in (*templates, *pages, ROOT / "README.md", ROOT / "CONTRIBUTING.md"):
        texts.append((file.relative_to(ROOT).as_posix(), file.read_text(encoding="utf-8")))
    assert dialect_phrases(texts) == []


def prose(source: str) -> list[str]:
    """The comments of a Python file, as one text, and its docstrings, those of fields too."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    comments = [token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT]
    docstrings = [
        node.value.value
        for node in ast.walk(parse_python(source))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    ]
    return [" ".join(text.split()) for text in (" ".join(comments), *docstrings)]


def test_comments_and_docstrings_are_plain_english() -> None:
    texts = [(path, text) for path, source in with_benchmarks().items() for text in prose(source)]
    assert (len(texts) > 5_000, len(scripts()) > 20) == (True, True)
    assert dialect_phrases([*texts, *scripts().items()]) == []


def test_dialect_in_a_comment_or_docstring_is_noticed() -> None:
    source = 'class A:\n    """Whoever asks."""\n    b: int\n    """Read\n    anew."""  # they are let\n    # go\n'
    phrases = [phrase for _, phrase in dialect_phrases([("a.py", text) for text in prose(source)])]
    assert phrases == ["are let go", "Whoever", "anew"]


def fragments(source: str) -> list[str]:
    """First lines of a file's module and function docstrings that do not begin with a verb."""
    found = []
    for node in ast.walk(parse_python(source)):
        if not isinstance(node, (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        docstring = ast.get_docstring(node)
        if not docstring or getattr(node, "name", "") == "__init__":  # that one explains its parameters
            continue
        if docstring.split()[0].rstrip(",") not in VERBS:
            found.append(docstring.splitlines()[0])
    return found


def test_docstrings_begin_with_a_verb() -> None:
    modules = {path: source for path, source in sources().items() if not path.endswith("__init__.py")}
    assert len(modules) > 200
    assert {path: lines for path, source in modules.items() if (lines := fragments(source))} == {}


def test_a_fragment_is_noticed_and_a_verb_is_not() -> None:
    bad = '"""Tables of runs."""\ndef f():\n    """[T, E] unit length."""'
    assert fragments(bad) == ["Tables of runs.", "[T, E] unit length."]
    assert (
        fragments('"""Draw regions."""\nclass A:\n    """A thing."""\n    def f(self):\n        """Return it."""') == []
    )


def questions(source: str) -> list[str]:
    """Classes of a file whose docstring opens with a word of questions or relations: it should name a thing."""
    opened = [
        (node.name, docstring.split()[0].strip(",.:"))
        for node in ast.walk(parse_python(source))
        if isinstance(node, ast.ClassDef) and (docstring := ast.get_docstring(node))
    ]
    return [name for name, first in opened if first in QUESTION_WORDS]


def test_the_docstring_of_a_class_names_a_thing() -> None:
    found = [(path, name) for path, source in sources().items() for name in questions(source)]
    assert sum(isinstance(node, ast.ClassDef) for _, node in nodes()) > 600
    assert found == []
    assert questions('class A:\n    """What it does."""\nclass B:\n    """A thing."""') == ["A"]


def by_place(source: str) -> list[str]:
    """Functions of a file that take more than MAX_POSITIONAL parameters by place, without self and cls."""
    found = []
    for node in ast.walk(parse_python(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            names = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args)]
            names = names[1:] if names[:1] in (["self"], ["cls"]) else names
            if len(names) > MAX_POSITIONAL:
                found.append(f"{node.name}({', '.join(names)})")
    return found


def handlers(source: str) -> set[str]:
    """Names of what a file hands on without calling it, as events want it, and of the public methods of `Api`."""
    tree = parse_python(source)
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    named = [node for node in ast.walk(tree) if isinstance(node, (ast.Attribute, ast.Name)) and id(node) not in called]
    endpoints = [
        method.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and node.name == "Api"
        for method in node.body
        if isinstance(method, ast.FunctionDef) and not method.name.startswith("_")
    ]
    return {str(getattr(node, "attr", getattr(node, "id", ""))) for node in named} | set(endpoints)


def test_more_than_three_arguments_are_named() -> None:
    pages = re.compile(r"app/(\w+/\w*page\.py|api\.py)$")  # Gradio calls their handlers, and only these, by place
    found = [(path, name) for path, source in sources().items() for name in by_place(source)]
    others = [
        (path, name)
        for path, name in found
        if not (pages.search(path) and name.partition("(")[0] in handlers(sources()[path]))
    ]
    assert len(found) > 20
    assert others == [("app/main.py", "process_api(block_fn, inputs, state, request)")]  # Gradio's own, overridden


def test_a_handler_is_what_is_handed_on_and_not_what_is_called() -> None:
    assert handlers("button.click(page.run, a)\nclass Api:\n    def ask(self): ...\n    def _no(self): ...") >= {
        "run",
        "ask",
    }
    assert "build" not in handlers("page.build(a)") and "_no" not in handlers("class Api:\n    def _no(self): ...")


def test_a_fourth_argument_by_place_is_noticed() -> None:
    assert by_place("def f(self, a, b, c, *, d): ...\ndef g(a, b, c, d): ...") == ["g(a, b, c, d)"]

"""Write the file map of docs/architecture.md from the first line of each file's docstring: `make docs`."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "architecture.md"
START, END = "<!-- file map: made by `make docs` -->\n", "<!-- end of the file map -->\n"
TRIES = 10


def python_files() -> list[str]:
    """List the Python files that git tracks or would track. The tests mirror them and are left out."""
    listing = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.py"]
    found = subprocess.run(listing, capture_output=True, text=True, check=True).stdout.split("\0")
    names = [name for name in found if name and (ROOT / name).is_file()]
    return sorted(name for name in names if not name.startswith("tests/") or name.startswith("tests/support/"))


def parse_python(source: str) -> ast.Module:
    """Parse Python source, again where CPython 3.11 fails since another thread parses too (its issue 106905)."""
    for _ in range(TRIES):
        with suppress(SystemError):
            return ast.parse(source)
    return ast.parse(source)


def first_line(name: str) -> str:
    """Return the first line of a file's docstring.

    Raises: ValueError: the file has no docstring.
    """
    docstring = ast.get_docstring(parse_python((ROOT / name).read_text(encoding="utf-8")))
    if not docstring:
        raise ValueError(f"{name} has no docstring: the file map needs one line that says what the file is for")
    return docstring.splitlines()[0]


def file_map(names: Iterable[str]) -> str:
    """Return the map as Markdown: a heading a folder with what it is for, a line a file."""
    by_folder: dict[str, list[str]] = {}
    for name in names:
        by_folder.setdefault(name.rpartition("/")[0], []).append(name)
    parts = []
    for folder, files in sorted(by_folder.items()):
        package = f"{folder}/__init__.py"
        parts.append(f"### `{folder or '.'}/`\n" + (f"\n{first_line(package)}\n" if package in files else ""))
        rows = [f"| `{file.rpartition('/')[2]}` | {first_line(file)} |" for file in files if file != package]
        parts.append("\n".join(["| file | what it is for |", "|---|---|", *rows, ""]) if rows else "")
    return "\n".join(part for part in parts if part)


def with_map(page: str, found: str) -> str:
    """Return the page's text with the map between its two markers."""
    before, _, rest = page.partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}\n{found}\n{END}{after}"


def main() -> None:
    """Rewrite the map in docs/architecture.md."""
    PAGE.write_text(with_map(PAGE.read_text(encoding="utf-8"), file_map(python_files())), encoding="utf-8")


if __name__ == "__main__":
    main()

"""Rows -> the measured part of docs/benchmarks.md. Rows are kept beside it, so that one can be measured again alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from atomic_files import write_atomically
from benchmarks.rows import ROOT

PAGE, ROWS = ROOT / "docs" / "benchmarks.md", ROOT / "docs" / "benchmarks.json"
BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"
Row = Mapping[str, Any]


def merge(fresh: Sequence[Row], names: Sequence[str], *, page: Path = PAGE, rows: Path = ROWS) -> None:
    """Put fresh rows (there may be none) among the kept ones and rewrite the page.

    Args:   names: the benchmarks there are, in the page's order; rows of others are dropped.
    Raises: ValueError: the page has no block to write into.
    """
    kept = {old["name"]: old for old in json.loads(rows.read_text(encoding="utf-8"))} if rows.is_file() else {}
    kept |= {row["name"]: row for row in fresh}
    ordered = [kept[name] for name in names if name in kept]
    text = with_block(page.read_text(encoding="utf-8"), render(ordered, names))
    write_atomically(rows, json.dumps(ordered, indent=1, ensure_ascii=False) + "\n")
    write_atomically(page, text)


def with_block(text: str, block: str) -> str:
    """The page with what stands between the marks replaced.

    Raises: ValueError: the marks are missing.
    """
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the page has no {BEGIN} … {END}: put both marks where the tables belong")
    return f"{head}{BEGIN}\n{block}{END}{tail}"


def render(rows: Sequence[Row], names: Sequence[str]) -> str:
    """One line a benchmark, those not measured yet too, then a section for each row."""
    found = {row["name"]: row for row in rows}
    lines = ["| benchmark | what | bar | measured | holds |", "|---|---|---|---|---|"]
    lines += [
        benchmark_line(found[name]) if name in found else f"| `{name}` | | | not measured yet | |" for name in names
    ]
    for row in rows:
        lines += ["", *_section(row)]
    return "\n".join([*lines, ""])


def benchmark_line(row: Row) -> str:
    """The row's line in the page's first table."""
    value = "failed" if row["value"] is None else f"{_cell(row['value'])} {row['unit']}"
    holds = {True: "yes", False: "**no**", None: "–"}[row["holds"]]
    return f"| [`{row['name']}`](#{row['name']}) | {row['what']} | {row['bar']} | {value} | {holds} |"


def _section(row: Row) -> list[str]:
    lines = [f"### {row['name']}", "", f"`{row['command']}`, seed {row['seed']}. {_measured_on(row)}"]
    scalars = {key: value for key, value in row["detail"].items() if not _is_table(value) and key != "plot"}
    if scalars:
        lines += ["", *_table([{"detail": key, "": value} for key, value in scalars.items()])]
    for key, value in row["detail"].items():
        if _is_table(value):
            lines += ["", f"{key}:", "", *_table(value)]
    if plot := row["detail"].get("plot"):
        lines += ["", f"![{row['what']}]({plot})"]
    return lines


def _measured_on(row: Row) -> str:
    machine = row["machine"]
    cores, threads = (f"{machine[key]} {key[:-1] if machine[key] == 1 else key}" for key in ("cores", "threads"))
    versions = ", ".join(f"{name} {number}" for name, number in row["versions"].items())
    return f"{machine['cpu']}, {cores}, {threads}, {'bf16' if machine['bf16'] else 'no bf16'}; {versions}."


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _table(records: Sequence[Mapping[str, Any]]) -> list[str]:
    heads = list(records[0])
    body = ["| " + " | ".join(_cell(record[head]) for head in heads) + " |" for record in records]
    return ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|", *body]


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        middle, low, high = (_cell(each) for each in value)
        return f"{middle} [{low}, {high}]"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 10 else f"{value:.1f}" if abs(value) < 1000 else f"{value:.0f}"
    return str(value).replace("|", "\\|").replace("<", "&lt;")

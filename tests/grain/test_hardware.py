"""What a device computes fast, against what the system says of it."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from grain.hardware import multiplies_bf16, uses_bf16


def test_a_processor_multiplies_bfloat16_where_the_system_lists_the_instructions() -> None:
    facts = Path("/proc/cpuinfo")
    listed = "avx512_bf16" in facts.read_text(encoding="utf-8").split() if facts.is_file() else False
    assert multiplies_bf16("cpu") == listed or platform.system() == "Windows"


@pytest.mark.parametrize(("precision", "used"), [("bf16", True), ("no", False), ("fp32", False), ("tf32", False)])
def test_a_precision_that_is_named_is_used_on_any_device(precision: str, used: bool) -> None:
    assert uses_bf16(precision, "cpu") == used


def test_auto_follows_the_device() -> None:
    assert uses_bf16("auto", "cpu") == multiplies_bf16("cpu")

"""What a device computes fast, against what the system says of it."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from grain.hardware import device_name, multiplies_bf16, precision_used, uses_bf16


def test_a_processor_multiplies_bfloat16_where_the_system_lists_instructions_that_are_faster() -> None:
    facts = Path("/proc/cpuinfo")
    listed = facts.read_text(encoding="utf-8").split() if facts.is_file() else []
    fast = "amx_tile" in listed or ("avx512_bf16" in listed and "GenuineIntel" not in listed)
    assert multiplies_bf16("cpu") == fast or platform.system() == "Windows"


@pytest.mark.parametrize(("precision", "used"), [("bf16", True), ("no", False), ("fp32", False), ("tf32", False)])
def test_a_precision_that_is_named_is_used_on_any_device(precision: str, used: bool) -> None:
    assert uses_bf16(precision, "cpu") == used


def test_auto_follows_the_device() -> None:
    assert uses_bf16("auto", "cpu") == multiplies_bf16("cpu")
    assert precision_used("auto", "cpu") == ("bf16" if multiplies_bf16("cpu") else "fp32")


@pytest.mark.parametrize(
    ("precision", "device", "used"),
    [("bf16", "cpu", "bf16"), ("no", "cuda", "fp32"), ("tf32", "cuda", "tf32"), ("tf32", "cpu", "fp32")],
)
def test_what_a_precision_means_is_named_by_its_numbers(precision: str, device: str, used: str) -> None:
    assert precision_used(precision, device) == used


def test_a_processor_is_named_by_its_type() -> None:
    assert device_name("cpu") == device_name("cpu:0") == "cpu", "accelerate numbers the processes of one"

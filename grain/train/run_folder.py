"""Keep the folder of a run: its settings, which later commands must match, its log, and on what it computes."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from atomic_files import write_atomically
from grain.hardware import device_name, precision_used
from grain.run_settings import another_run, changed_settings, plain_settings
from grain.train_config import TrainConfig

METRICS_LOG, HARDWARE = "metrics.jsonl", "hardware.json"
BEFORE = {"regions": "best", "add_pooled": False}  # what older runs did instead
MAY_CHANGE = {"out", "data", "workers", "stored", "recompute", "region_rule"}  # between two commands of one run


@dataclass(frozen=True)
class RunHardware:
    """The device that a run computes on, several as `2 × cpu`, and the precision: bf16, tf32 or fp32."""

    device: str
    precision: str

    def __str__(self) -> str:
        """Return both in words."""
        return f"{self.precision} on {self.device}"


def keep_hardware(folder: Path, hardware: RunHardware) -> None:
    """Write on what a run computes from now on, in place of where it was begun."""
    write_atomically(folder / HARDWARE, json.dumps(asdict(hardware)))


def note_hardware(config: TrainConfig, device: str, *, processes: int = 1) -> None:
    """Print on what a run computes and in which precision, and keep it beside the log. device: of one process."""
    name, kind = device_name(device), device.partition(":")[0]
    name = f"{processes} × {name}" if processes > 1 else name
    hardware = RunHardware(name, precision_used(config.precision, kind))
    keep_hardware(config.out, hardware)
    print(f"computes in {hardware}", flush=True)


def read_hardware(folder: Path) -> RunHardware | None:
    """Return on what a run computes, or did last; None before its first step, of an older one, or damaged."""
    try:
        kept = json.loads((folder / HARDWARE).read_text(encoding="utf-8"))
        return RunHardware(str(kept["device"]), str(kept["precision"]))
    except (OSError, ValueError, LookupError, TypeError):
        return None


DEFAULTS = plain_settings(TrainConfig(Path(), Path()))  # of settings that are younger than a run
PLACES = ("init", "mix", "zero_shot")  # name folders, which a second attempt on a cluster's node finds elsewhere


def claim_folder(config: TrainConfig, *, write: bool) -> None:
    """Write config.json into the run folder, or check that the settings are those of the first command."""
    path = config.out / "config.json"
    settings = plain_settings(config)
    if path.is_file():
        kept = DEFAULTS | BEFORE | json.loads(path.read_text(encoding="utf-8"))
        changed = changed_settings(kept, settings, places=PLACES, may_change=MAY_CHANGE)
        if changed:
            raise ValueError(another_run(config.out, changed))
    elif write:
        write_atomically(path, json.dumps(settings, indent=1))


def log_row(config: TrainConfig, step: int, numbers: Mapping[str, float]) -> None:
    """Append what is known after a step to the log."""
    row = {"step": step, "images": step * config.batch_size, **numbers}
    with (config.out / METRICS_LOG).open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def trim_log(path: Path, step: int, *, finished: bool) -> float:
    """Drop what a killed run logged beyond its last state; returns the best held-out score that is left.

    finished: only the last evaluation is left to do, so it is dropped too.
    """
    if not path.is_file():
        return -math.inf
    lines = path.read_text(encoding="utf-8").splitlines()
    complete = [json.loads(line) for line in lines if line.endswith("}")]  # the last line may have been cut by a kill
    rows = [row for row in complete if row["step"] <= step and ("loss" in row or row["step"] < step or not finished)]
    write_atomically(path, "".join(json.dumps(row) + "\n" for row in rows))
    held_out = [[v for k, v in row.items() if k.startswith("held_out_")] for row in rows]
    return max((sum(values) / len(values) for values in held_out if values), default=-math.inf)

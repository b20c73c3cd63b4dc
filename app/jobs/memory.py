"""Ask the kernel whether it has ended processes for want of memory."""

from __future__ import annotations

import re
from pathlib import Path

CGROUPS, OWN_CGROUP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
WHOLE_MACHINE = Path("/proc/vmstat")
COUNT = re.compile(r"^oom_kill (\d+)$", re.MULTILINE)


def memory_kills() -> int:
    """Return how many processes the kernel has ended for want of memory: of our control group, else of the machine.

    0 where it does not tell.
    """
    for file in (_events_of_our_group(), WHOLE_MACHINE):
        try:
            if found := COUNT.search(file.read_text()):
                return int(found[1])
        except OSError:
            continue
    return 0


def _events_of_our_group() -> Path:
    try:
        found = re.search(r"^0::/(.*)$", OWN_CGROUP.read_text(), re.MULTILINE)
    except OSError:
        found = None
    return CGROUPS / (found[1] if found else "") / "memory.events"

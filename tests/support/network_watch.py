"""Watch a program and all that it starts for calls that leave this machine, name queries included, by strace."""

from __future__ import annotations

import ipaddress
import re
import shutil
from pathlib import Path

from tests.support.system_parts import leave_out

DESTINATION = re.compile(r'sin6?_port=htons\((\d+)\).*?(?:inet_addr\(|inet_pton\(AF_INET6, )"([^"]+)"')
NAME_SERVERS = 53


def watching(recording: Path) -> list[str]:
    """Return the words before a command line that write its network calls to a file; the program stays our child."""
    if shutil.which("strace") is None:
        leave_out("strace")
    calls = "trace=connect,sendto,sendmsg,sendmmsg"
    return ["strace", "-D", "-f", "--seccomp-bpf", "-qq", "-e", calls, "-o", str(recording)]


def destinations(recording: Path) -> set[tuple[str, int]]:
    """Return every address and port that was called."""
    found = DESTINATION.findall(recording.read_text(errors="replace"))
    return {(address.removeprefix("::ffff:"), int(port)) for port, address in found}


def left_the_machine(recording: Path) -> set[tuple[str, int]]:
    """Return the calls beyond loopback, and those that asked a name server, wherever it is."""
    return {
        (address, port)
        for address, port in destinations(recording)
        if not ipaddress.ip_address(address).is_loopback or port == NAME_SERVERS
    }

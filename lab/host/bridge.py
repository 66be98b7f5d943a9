"""The lab's bridge as this computer has it: whether it is there, and whose it is."""

from __future__ import annotations

from pathlib import Path

from clusterproof.lab.core.processes import command_lines
from clusterproof.lab.host.names import NETWORK

INTERFACES = Path("/sys/class/net")


def index(name: str = NETWORK) -> int:
    """Return the kernel's number of the bridge, 0 where there is none; one that is made anew gets another."""
    try:
        return int((INTERFACES / name / "ifindex").read_text())
    except (OSError, ValueError):
        return 0


def served_from(name: str = NETWORK) -> Path | None:
    """Return the state folder of the server whose dnsmasq serves the bridge, None where there is none.

    A server in another network namespace, such as a container's, has a bridge of its own with the same name.
    """
    for pid, argv in command_lines():
        is_dnsmasq = argv and argv[0].rpartition("/")[2] == "dnsmasq" and f"--interface={name}" in argv
        if is_dnsmasq and network_of(pid) in ("", network_of("self")):
            for word in argv:
                folder, found, _ = word.partition(f"/networks/{name}/")
                if found:
                    return Path(folder.partition("=")[2] or folder)
    return None


def network_of(pid: int | str) -> str:
    """Return what identifies the network namespace of a process, empty where that cannot be read."""
    try:
        return str(Path(f"/proc/{pid}/ns/net").readlink())
    except OSError:
        return ""

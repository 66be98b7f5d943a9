"""The lab's bridge as this computer has it: whether it is there, whose it is, and what goes with it."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
from pathlib import Path

from clusterproof.lab.core.processes import command_lines
from clusterproof.lab.host.names import NETWORK

INTERFACES = Path("/sys/class/net")
# Where Incus has its chains (incus/internal/server/firewall/drivers/drivers_nftables.go).
TABLE = ("inet", "incus")


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


def chains(name: str = NETWORK) -> list[str]:
    """Return the nftables chains that an Incus server has made for the bridge; they stay when it is stopped."""
    if shutil.which("nft") is None:
        return []
    with contextlib.suppress(ValueError):
        listed = json.loads(_run("nft", "-j", "list", "chains", TABLE[0]) or "{}").get("nftables", [])
        found = [one["chain"] for one in listed if "chain" in one]
        return [
            chain["name"]
            for chain in found
            if chain.get("table") == TABLE[1] and chain["name"].endswith(f".{name}")
        ]
    return []


def delete_chain(chain: str) -> None:
    """Delete one of ``chains``."""
    _run("nft", "delete", "chain", *TABLE, chain)


def delete(name: str = NETWORK) -> None:
    """Delete the bridge; what fails is seen by looking again."""
    _run("ip", "link", "delete", name)


def _run(*argv: str) -> str:
    """Run a command of this computer; return its output, empty where it fails."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30)
    return done.stdout if done.returncode == 0 else ""

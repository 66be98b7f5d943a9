"""Subnets: which are in use where the lab host is, and one that is not."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import shutil
import subprocess
from collections.abc import Iterable

from clusterproof.lab.core.errors import LabError
from clusterproof.lab.host.names import MARK, NETWORK
from clusterproof.lab.host.server import Server, found_at

PREFIX = 20


def used(host: Server) -> list[ipaddress.IPv4Network]:
    """Return the IPv4 networks that ``host``, and this computer where they are the same, has a part in."""
    subnets = local() if host.local else []
    for network in host.server.get("networks", recursion=1):
        with contextlib.suppress(ValueError):
            address = (network.get("config") or {}).get("ipv4.address", "")
            subnets.append(ipaddress.IPv4Interface(address).network)
        # Also interfaces that the server does not manage: a remote host has routes of its own.
        for target in host.targets():
            state = found_at(host.server, f"networks/{network['name']}/state", **target) or {}
            for address in state.get("addresses") or []:
                if address["family"] == "inet":
                    found = ipaddress.IPv4Interface(f"{address['address']}/{address['netmask']}")
                    subnets.append(found.network)
    # Servers do not list every interface, but they have an address wherever they listen.
    for listening in host.facts["environment"].get("addresses") or []:
        with contextlib.suppress(ValueError):
            subnets.append(ipaddress.IPv4Network(listening.rpartition(":")[0]))
    return subnets


def local() -> list[ipaddress.IPv4Network]:
    """Return the IPv4 networks that this computer has a route or an address for."""
    if shutil.which("ip") is None:
        return []
    routes = json.loads(
        subprocess.run(
            ["ip", "-j", "-4", "route", "show", "table", "all"],
            capture_output=True, check=True, timeout=10,
        ).stdout or b"[]"
    )  # fmt: skip
    found = []
    for route in routes:
        with contextlib.suppress(ValueError):
            found.append(ipaddress.IPv4Network(route.get("dst", ""), strict=False))
    return [network for network in found if network.prefixlen > 0]


def free(taken: Iterable[ipaddress.IPv4Network]) -> ipaddress.IPv4Interface:
    """Return the gateway's address on a private subnet that overlaps none of ``taken``.

    Raises LabError when there is none left.
    """
    taken = list(taken)
    for candidate in ipaddress.IPv4Network("10.176.0.0/12").subnets(new_prefix=PREFIX):
        if not any(candidate.overlaps(network) for network in taken):
            return ipaddress.IPv4Interface(f"{candidate.network_address + 1}/{PREFIX}")
    raise LabError(
        "no private subnet is free for the lab's bridge: every part of 10.176.0.0/12 is routed; "
        f"make a bridge {NETWORK} by hand with {MARK}=true"
    )

"""The lab's project, storage pool and bridge on the lab host: made once, marked, and removed together."""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
from collections.abc import Mapping
from typing import Any

from clusterproof.lab.core import runs
from clusterproof.lab.core.api import ApiError
from clusterproof.lab.core.errors import LabError
from clusterproof.lab.core.waiting import NotObservedError, eventually
from clusterproof.lab.host import bridge, subnets
from clusterproof.lab.host.names import MARK, NETWORK, POOL, PROJECT
from clusterproof.lab.host.server import Server, found_at, is_marked

DESCRIPTION = "members of clusterproof"
# Seconds until a server has made a bridge again.
REVIVED = 20.0
POOL_SIZE = "40GiB"
# Members are thrown away, so that their data need not survive a power cut.
MOUNT_OPTIONS = "user_subvol_rm_allowed,noatime,nobarrier"
_PATHS = (f"networks/{NETWORK}", f"storage-pools/{POOL}", f"projects/{PROJECT}")


def are_there(host: Server) -> bool:
    """Say whether the lab's project and pool are there."""
    return all(found_at(host.server, path) is not None for path in _PATHS[1:])


def make(host: Server) -> ipaddress.IPv4Interface:
    """Make what is missing; return the gateway's address on the bridge. Raises LabError."""
    with runs.lock("host-objects"):
        try:
            return _make(host)
        except ApiError as error:
            raise LabError(f"lab host {host.describe()}: {error}") from error


def remove(host: Server) -> None:
    """Remove the lab's images, bridge, pool and project, and nothing that is not marked. Raises LabError."""
    try:
        marked = [path for path in _PATHS if (found := found_at(host.server, path)) and is_marked(found)]
        if f"projects/{PROJECT}" in marked:
            for image in host.api.get("images", recursion=1):
                host.api.delete(f"images/{image['fingerprint']}", timeout=60)
        for path in marked:
            host.server.delete(path, timeout=120)
    except ApiError as error:
        raise LabError(f"cannot remove the lab from {host.describe()}: {error}") from error


def _make(host: Server) -> ipaddress.IPv4Interface:
    if _marked(host, f"projects/{PROJECT}") is None:
        config = {
            "features.images": "true",
            "features.profiles": "true",
            "features.storage.volumes": "true",
            MARK: "true",
        }
        description = "throwaway clusters of clusterproof"
        host.server.post("projects", {"name": PROJECT, "description": description, "config": config})
    if _complete(host, f"storage-pools/{POOL}") is None:
        _make_pool(host)
    network = _complete(host, f"networks/{NETWORK}")
    if network is None:
        _make_network(host)
        network = host.server.get(f"networks/{NETWORK}")
    elif host.local and not bridge.index():
        _revive_network(host, network["config"])
    return ipaddress.IPv4Interface(network["config"]["ipv4.address"])


def _marked(host: Server, path: str) -> dict[str, Any] | None:
    """Return the lab's own object at ``path``, None where there is none.

    Raises LabError where there is one that the lab did not make.
    """
    found = found_at(host.server, path)
    if found is not None and not is_marked(found):
        kind = path.partition("/")[0].replace("-", " ").removesuffix("s").removeprefix("storage ")
        raise LabError(
            f"the lab host has a {kind} {path.rpartition('/')[2]} that clusterproof did not make; "
            "rename or remove it"
        )
    return found


def _complete(host: Server, path: str) -> dict[str, Any] | None:
    """Return the lab's own object at ``path``; one that is incomplete on a clustered host is removed.

    While it exists on single members only it has the lab's name, but not its mark yet.
    """
    if host.members and (found := found_at(host.server, path)) and found.get("status") != "Created":
        host.server.delete(path, timeout=60)
    return _marked(host, path)


def _make_network(host: Server) -> None:
    config = {
        "ipv4.address": str(subnets.free(subnets.used(host))),
        "ipv4.nat": "true",
        "ipv6.address": "none",
        MARK: "true",
    }
    body = {"name": NETWORK, "type": "bridge"}
    if host.members:
        config |= tunnel(host.facts["environment"]["certificate_fingerprint"])
    try:
        for member in host.members:
            host.server.post("networks", {**body, "config": {}}, target=member)
        body["description"] = DESCRIPTION
        host.server.post("networks", {**body, "config": config}, timeout=60)
    except ApiError as error:
        if "already exists" not in str(error):
            raise
        raise LabError(
            f"the lab host has an interface {NETWORK} that {host.describe()} does not manage; "
            f"if no other lab uses it: ip link delete {NETWORK}"
        ) from error


def _revive_network(host: Server, config: Mapping[str, str]) -> None:
    """Let the server make the bridge again that somebody deleted: it does when a key of its own changes.

    That is how long a lease by DHCP lasts, as members have none.
    """
    lease = "2h" if config.get("ipv4.dhcp.expiry") != "2h" else "1h"
    host.server.patch(f"networks/{NETWORK}", {"config": {"ipv4.dhcp.expiry": lease}})
    try:
        eventually(bridge.index, within=REVIVED)
    except NotObservedError as error:
        raise LabError(
            f"the bridge {NETWORK} is gone and {host.describe()} does not make it again; restart the server"
        ) from error


def _make_pool(host: Server) -> None:
    mark = {MARK: "true"}
    btrfs = {**mark, "btrfs.mount_options": MOUNT_OPTIONS}
    try:
        _make_pool_of(host, "btrfs", btrfs, {"size": POOL_SIZE})
    except ApiError as error:
        # Without btrfs instances are copies instead of clones: slower, with the same results.
        with contextlib.suppress(ApiError):
            host.server.delete(f"storage-pools/{POOL}")
        host.transcript.note("lab", "host", "no btrfs pool, a dir pool instead", reason=str(error))
        _make_pool_of(host, "dir", mark, {})


def _make_pool_of(host: Server, driver: str, config: dict[str, str], per_member: dict[str, str]) -> None:
    """Make the pool; ``per_member`` is the part of its configuration that each member of a cluster has."""
    body = {"name": POOL, "driver": driver}
    for member in host.members:
        host.server.post("storage-pools", {**body, "config": per_member}, target=member)
    config = config if host.members else {**config, **per_member}
    body["description"] = DESCRIPTION
    host.server.post("storage-pools", {**body, "config": config}, timeout=120)


def tunnel(fingerprint: str) -> dict[str, str]:
    """Return the configuration that joins the bridges of a clustered host: VXLAN over multicast.

    ``fingerprint``, of the cluster's certificate, separates two labs in one segment. All bridges have the
    gateway's address; a member uses the one that answers first, and each forwards for all.
    """
    digest = hashlib.sha256(fingerprint.encode()).digest()
    return {
        # The interface is called clusterproof0-x: the kernel takes no longer name.
        "tunnel.x.protocol": "vxlan",
        "tunnel.x.id": str(int.from_bytes(digest[:3], "big") or 1),
        # VXLAN's header has to fit into a packet of the network between the host's members.
        "bridge.mtu": "1400",
    }

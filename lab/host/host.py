"""The lab host: the LXD or Incus server that carries the lab.

Everything the lab makes there lives in a project, a pool and a bridge of its own, and carries the
id of the run that made it.
"""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import json
import os
import random
import shutil
import socket
import subprocess
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from clusterproof.lab.core import processes, runs
from clusterproof.lab.core.api import Api, ApiError, HostApiError
from clusterproof.lab.core.errors import LabError, UsageError
from clusterproof.lab.core.runs import Run
from clusterproof.lab.core.transcript import Transcript
from clusterproof.lab.core.waiting import NotObservedError, eventually
from clusterproof.lab.host.private_server import PrivateServer, daemon_binary

PROJECT = "clusterproof"
POOL = "clusterproof"
NETWORK = "clusterproof0"
MARK = "user.clusterproof"
DESCRIPTION = "members of clusterproof"

# Where packages put the socket of a server that is already on the machine.
SOCKETS = (
    Path("/var/lib/incus/unix.socket"),
    Path("/var/snap/lxd/common/lxd/unix.socket"),
    Path("/var/lib/lxd/unix.socket"),
)
# Client certificates that incus and lxc made for a person.
CLIENT_CONFIGS = (
    Path("~/.config/incus"),
    Path("~/snap/lxd/common/config"),
    Path("~/.config/lxc"),
)
POOL_SIZE = "40GiB"
# Members are thrown away, so that nothing of theirs has to survive a power cut.
MOUNT_OPTIONS = "user_subvol_rm_allowed,noatime,nobarrier"
SUBNET_PREFIX = 20
# Bytes below which a member's disk counts as full.
ROOM = 256 << 20
# How a server says that an instance it is to delete is not stopped, and for how many seconds that is tried.
RUNNING = "Instance is running"
STOPPED = 10.0


@dataclass(frozen=True)
class Where:
    """A lab host's address and what it needs: a socket's path or an https URL."""

    endpoint: str
    private: bool = False
    cert: tuple[Path, Path] | None = None
    server_cert: Path | None = None


def find(wanted: str | None = None) -> Where:
    """Return where the lab host is, starting a private one if there is no other.

    ``wanted`` is an https URL or a socket's path, by default ``LAB_HOST``. Raises UsageError for one
    that cannot be, LabError where there is none and none can be started.
    """
    wanted = wanted or os.environ.get("LAB_HOST")
    if wanted:
        return _named(wanted)
    found = local_server()
    if found:
        return Where(str(found))
    if os.geteuid() != 0 or daemon_binary() is None:
        raise LabError(
            "no lab host: no LXD or Incus server answers on this machine, and "
            + ("a private one needs root" if os.geteuid() else "incusd is not installed")
            + "; run sudo lab/bootstrap and start again as root, or name a server with --lab-host"
        )
    return Where(str(PrivateServer(NETWORK).ensure()), private=True)


def connect(wanted: str | None, run: Run) -> Host:
    """Return the lab host, prepared for ``run``, which this process holds from now on.

    ``wanted`` and errors are as in ``find``; also LabError where the host cannot be used.
    """
    run.hold()
    host = Host(find(wanted), run, Transcript())
    host.prepare()
    return host


def local_server() -> Path | None:
    """Return the socket of the LXD or Incus server of this machine that answers, or None."""
    for path in SOCKETS:
        if path.exists() and os.access(path, os.W_OK):
            with contextlib.suppress(ApiError):
                Api(str(path), name="host", transcript=Transcript(), timeout=20)
                return path
    return None


def _named(wanted: str) -> Where:
    if not wanted.startswith("https://"):
        path = Path(wanted.removeprefix("unix://"))
        if "://" in str(wanted).removeprefix("unix://") or not path.is_absolute():
            raise UsageError(
                f'lab host "{wanted}" is neither an https URL nor a socket\'s absolute path; '
                "write it like https://server:8443 or /var/lib/incus/unix.socket"
            )
        if not path.exists():
            raise LabError(f"lab host {path}: there is no such socket; is the server running?")
        return Where(str(path))
    if not _is_server(wanted):
        raise UsageError(f'lab host "{wanted}" is no https URL of a server; write it like https://server:8443')
    cert, key = os.environ.get("LAB_HOST_CERT"), os.environ.get("LAB_HOST_KEY")
    if cert and key:
        pair = (Path(cert), Path(key))
    else:
        folders = [folder.expanduser() for folder in CLIENT_CONFIGS]
        folder = next((f for f in folders if (f / "client.crt").exists()), None)
        if folder is None:
            raise UsageError(
                f"lab host {wanted} needs a client certificate that it trusts; "
                "name one with LAB_HOST_CERT and LAB_HOST_KEY"
            )
        pair = (folder / "client.crt", folder / "client.key")
    for path in pair:
        if not path.is_file():
            raise UsageError(f"client certificate for lab host {wanted}: there is no file {path}")
    server = os.environ.get("LAB_HOST_SERVER_CERT")
    if server and not Path(server).is_file():
        raise UsageError(f"LAB_HOST_SERVER_CERT: there is no file {server}")
    return Where(wanted, cert=pair, server_cert=Path(server) if server else None)


def _is_server(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False


class Host:
    """A lab host that answers. ``api`` is limited to the lab's project, ``server`` is not.

    Raises LabError where the host does not answer or cannot be used.
    """

    def __init__(self, where: Where, run: Run, transcript: Transcript) -> None:
        self.where = where
        self.run = run
        self.transcript = transcript
        options: dict[str, Any] = {
            "name": "host",
            "transcript": transcript,
            "cert": where.cert,
            "server_cert": where.server_cert,
            "error": HostApiError,
        }
        try:
            self.server = Api(where.endpoint, **options)
            self.api = Api(where.endpoint, **options, project=PROJECT)
            self.facts = self.server.get("")
        except ApiError as error:
            raise LabError(f"lab host: {error}; check --lab-host and that the server runs") from error
        if self.facts.get("auth") != "trusted":
            raise LabError(
                f"lab host {where.endpoint} does not trust this client; add its certificate there, with "
                "incus config trust add-certificate CLIENT.crt or lxc config trust add CLIENT.crt"
            )
        self.gateway = ipaddress.ip_interface("0.0.0.0/0")
        # The machines of a host that is a cluster, by name, and where each is reached; of one machine none.
        clustered = self.facts["environment"].get("server_clustered")
        self.machines = _machines(self.server) if clustered else {}

    @property
    def client(self) -> str:
        """The name of the host's own command line client."""
        return "incus" if self.facts["environment"]["server"] == "incus" else "lxc"

    @property
    def local(self) -> bool:
        """Whether the host is this machine, so that its bridge can be reached from here."""
        return not self.where.endpoint.startswith("https://")

    @property
    def direct(self) -> bool:
        """Whether members can be reached from here by their own addresses.

        Each machine of a cluster has the gateway's address, so that answers may end on another one.
        """
        return self.local and not self.machines

    def address_of(self, machine: str) -> str:
        """Return the address at which the host's ``machine`` is reached from here."""
        return self.machines.get(machine) or urlsplit(self.where.endpoint).hostname or "localhost"

    def describe(self) -> str:
        """Return the host in a few words: ``private incus 6.0.4``."""
        environment = self.facts["environment"]
        kind = "private " if self.where.private else ""
        if self.machines:
            kind += f"cluster of {len(self.machines)} machines with "
        place = "" if self.local else f" at {self.where.endpoint}"
        return f"{kind}{environment['server']} {environment['server_version']}{place}"

    def is_prepared(self) -> bool:
        """Say whether the lab's project and pool are there."""
        return _has(self.server, f"projects/{PROJECT}") and _has(self.server, f"storage-pools/{POOL}")

    def prepare(self) -> None:
        """Make the lab's project, pool and bridge where they are missing. Raises LabError."""
        with runs.lock("host-objects"):
            try:
                self._prepare()
            except ApiError as error:
                raise LabError(f"lab host {self.describe()}: {error}") from error

    def _prepare(self) -> None:
        project = self._ours(f"projects/{PROJECT}")
        if project is None:
            self.server.post(
                "projects",
                {
                    "name": PROJECT,
                    "description": "throwaway clusters of clusterproof",
                    "config": {
                        "features.images": "true",
                        "features.profiles": "true",
                        "features.storage.volumes": "true",
                        MARK: "true",
                    },
                },
            )
        if self._whole(f"storage-pools/{POOL}") is None:
            self._make_pool()
        network = self._whole(f"networks/{NETWORK}")
        if network is None:
            self._make_network()
            network = self.server.get(f"networks/{NETWORK}")
        self.gateway = ipaddress.ip_interface(network["config"]["ipv4.address"])

    def _make_network(self) -> None:
        config = {
            "ipv4.address": str(free_subnet(self._used_subnets())),
            "ipv4.nat": "true",
            "ipv6.address": "none",
            MARK: "true",
        }
        body = {"name": NETWORK, "type": "bridge"}
        if self.machines:
            config |= spanning(self.facts["environment"]["certificate_fingerprint"])
        try:
            for machine in self.machines:
                self.server.post("networks", {**body, "config": {}}, target=machine)
            body["description"] = DESCRIPTION
            self.server.post("networks", {**body, "config": config}, timeout=60)
        except ApiError as error:
            if "already exists" not in str(error):
                raise
            raise LabError(
                f"an interface {NETWORK} is on the lab host that {self.describe()} knows nothing of; "
                f"if no other lab uses it: ip link delete {NETWORK}"
            ) from error

    def _ours(self, path: str) -> dict[str, Any] | None:
        """Return the lab's own thing at ``path``, None where there is none.

        Raises LabError where it is somebody else's.
        """
        found = _found(self.server, path)
        if found is not None and not _is_marked(found):
            kind = path.partition("/")[0].replace("-", " ").removesuffix("s").removeprefix("storage ")
            raise LabError(
                f"the lab host has a {kind} {path.rpartition('/')[2]} that clusterproof did not make; "
                "rename or remove it"
            )
        return found

    def _whole(self, path: str) -> dict[str, Any] | None:
        """Return the lab's own thing at ``path``; what was begun on a cluster and not finished is removed.

        What is only begun on each machine has not got its mark yet, but the lab's name.
        """
        if self.machines and (found := _found(self.server, path)) and found.get("status") != "Created":
            self.server.delete(path, timeout=60)
        return self._ours(path)

    def _make_pool(self) -> None:
        mark = {MARK: "true"}
        try:
            self._make_pool_of("btrfs", {**mark, "btrfs.mount_options": MOUNT_OPTIONS}, {"size": POOL_SIZE})
        except ApiError as error:
            # A kernel or a machine without btrfs: slower copies, the same results.
            with contextlib.suppress(ApiError):
                self.server.delete(f"storage-pools/{POOL}")
            self.transcript.note("lab", "host", "no btrfs pool, a dir pool instead", reason=str(error))
            self._make_pool_of("dir", mark, {})

    def _make_pool_of(self, driver: str, config: dict[str, str], own: dict[str, str]) -> None:
        """Make the pool; ``own`` is what each machine of a cluster is told by itself."""
        body = {"name": POOL, "driver": driver}
        for machine in self.machines:
            self.server.post("storage-pools", {**body, "config": own}, target=machine)
        config = config if self.machines else {**config, **own}
        body["description"] = DESCRIPTION
        self.server.post("storage-pools", {**body, "config": config}, timeout=120)

    def _used_subnets(self) -> list[ipaddress.IPv4Network]:
        used = local_subnets() if self.local else []
        for network in self.server.get("networks", recursion=1):
            with contextlib.suppress(ValueError):
                address = (network.get("config") or {}).get("ipv4.address", "")
                used.append(ipaddress.IPv4Interface(address).network)
            # Also interfaces that the server does not manage: a host elsewhere has routes of its own.
            for where in self._each_machine():
                state_now = _found(self.server, f"networks/{network['name']}/state", **where) or {}
                for address in state_now.get("addresses") or []:
                    if address["family"] == "inet":
                        found = ipaddress.IPv4Interface(f"{address['address']}/{address['netmask']}")
                        used.append(found.network)
        # Servers do not tell of every interface; where they listen they have an address.
        for listening in self.facts["environment"].get("addresses") or []:
            with contextlib.suppress(ValueError):
                used.append(ipaddress.IPv4Network(listening.rpartition(":")[0]))
        return used

    def _each_machine(self) -> list[dict[str, str]]:
        """Return the parameters that ask each machine of a cluster in turn; of one machine none are needed."""
        return [{"target": machine} for machine in self.machines] or [{}]

    # Images

    def has_image(self, fingerprint: str) -> bool:
        """Say whether the lab's project has the image."""
        return _has(self.api, f"images/{fingerprint}")

    # Instances and volumes

    def instances(self) -> list[dict[str, Any]]:
        """Return the instances of the lab's project, those of all runs."""
        found: list[dict[str, Any]] = self.api.get("instances", recursion=1)
        return found

    def reserve_address(self) -> str:
        """Return an address of the bridge that no other member has. Raises LabError when all are taken."""
        network = self.gateway.network
        # Members of other machines' runs may be on this bridge too: a random place seldom meets them.
        count = network.num_addresses - 4
        start = random.randrange(count)  # noqa: S311 - no secret
        for step in range(count):
            address = str(network.network_address + 2 + (start + step) % count)
            if self.run.reserve(address):
                return address
        raise LabError(f"every address of {network} is in use; free them with clusterproof sweep")

    def delete_instance(self, name: str) -> None:
        """Stop and delete an instance; it may be gone already. Raises LabError."""

        def deleted() -> bool:
            with contextlib.suppress(ApiError):
                self.api.put(
                    f"instances/{name}/state", {"action": "stop", "force": True, "timeout": 20}, timeout=30
                )
            try:
                self.api.delete(f"instances/{name}", timeout=60)
            except ApiError as error:
                # Now and then a server takes an instance for stopped when it is to stop it, and then not.
                if RUNNING in str(error):
                    return False
                if error.status != 404:  # noqa: PLR2004
                    raise LabError(f"cannot delete instance {name}: {error}") from error
            return True

        try:
            eventually(deleted, within=STOPPED)
        except NotObservedError as error:
            raise LabError(f"cannot delete instance {name}: it still runs after {STOPPED:g} s") from error

    def delete_volume(self, name: str) -> None:
        """Delete a custom volume of the lab's pool; it may be gone already. Raises LabError."""
        try:
            self.api.delete(f"storage-pools/{POOL}/volumes/custom/{name}", timeout=60)
        except ApiError as error:
            if error.status != 404:  # noqa: PLR2004
                raise LabError(f"cannot delete volume {name}: {error}") from error

    def volumes(self) -> list[dict[str, Any]]:
        """Return the custom volumes of the lab's project, those of all runs."""
        found: list[dict[str, Any]] = self.api.get(
            f"storage-pools/{POOL}/volumes/custom", recursion=1
        )
        return found

    def check_room(self) -> None:
        """Raise LabError where the host does not answer or the pool is as good as full."""
        for where in self._each_machine():
            try:
                space = self.api.get(f"storage-pools/{POOL}/resources", **where)["space"]
            except ApiError as error:
                raise LabError(f"the lab host is gone: {error}") from error
            if space["total"] - space["used"] < ROOM:
                place = f"{where['target']} of {self.describe()}" if where else self.describe()
                raise LabError(
                    f"the lab's pool on {place} is full: {space['used'] >> 20} of "
                    f"{space['total'] >> 20} MiB; clusterproof sweep frees what is not in use"
                )
        if self.where.private:
            runs.check_room(ROOM)

    # Sweeping

    def delete_run(self, run_id: str) -> int:
        """Delete every instance and volume of run ``run_id``; return how many there were."""
        if not self.is_prepared():
            return 0
        instances = [i["name"] for i in self.instances() if i["config"].get(f"{MARK}.run") == run_id]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(self.delete_instance, instances))
        volumes = [v["name"] for v in self.volumes() if v["config"].get(f"{MARK}.run") == run_id]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(self.delete_volume, volumes))
        return len(instances) + len(volumes)

    def runs(self) -> set[str]:
        """Return the ids of the runs that have something on the host and were made by this machine."""
        return {
            thing["config"][f"{MARK}.run"]
            for thing in [*self.instances(), *self.volumes()]
            if thing["config"].get(f"{MARK}.owner") == owner()
        }

    def sweep(self) -> list[str]:
        """Delete what dead runs of this machine left; return a line for each.

        Raises LabError, after trying all, where something could not be deleted.
        """
        swept, kept = self._sweep()
        if kept and self.where.private and not self._others():
            # A pool that became read-only when its disk was full can be written after a new start.
            server = PrivateServer(NETWORK)
            server.stop()
            server.ensure()
            again, kept = self._sweep()
            swept += again
        if kept:
            raise LabError("not everything could be swept: " + "; ".join(kept))
        return swept

    def _sweep(self) -> tuple[list[str], list[str]]:
        """Delete what can be deleted; return a line for each run, and why others are still there."""
        swept, kept = [], []
        known = {run.id for run in Run.known()}
        for run_id in sorted(self.runs() | known):
            run = Run(run_id)
            if run_id == self.run.id or run.alive():
                continue
            try:
                count = processes.end_all(run.folder) + self.delete_run(run_id)
            except LabError as error:
                kept.append(str(error))
                continue
            run.forget_if_dead()
            if count:
                swept.append(f"run {run_id}: {count} instances, volumes and processes removed")
        return swept, kept

    def _others(self) -> list[Run]:
        return [run for run in Run.known() if run.id != self.run.id and run.alive()]

    def idle(self) -> bool:
        """Say whether nothing but this process uses the lab on this host."""
        return not self._others() and not (self.is_prepared() and self.instances())

    def dismantle(self) -> None:
        """Remove the lab's images, bridge, pool and project; nothing of anybody else is touched."""
        try:
            paths = (f"networks/{NETWORK}", f"storage-pools/{POOL}", f"projects/{PROJECT}")
            ours = [path for path in paths if (found := _found(self.server, path)) and _is_marked(found)]
            if paths[-1] in ours:
                for image in self.api.get("images", recursion=1):
                    self.api.delete(f"images/{image['fingerprint']}", timeout=60)
            for path in ours:
                self.server.delete(path, timeout=120)
        except ApiError as error:
            raise LabError(f"cannot dismantle the lab on {self.describe()}: {error}") from error


def release(host: Host) -> int:
    """End the use of ``host`` by its run; return how many things had to be cleared away.

    A private server that nobody else uses is stopped. Raises LabError.
    """
    cleared = processes.end_all(host.run.folder) + host.delete_run(host.run.id)
    if host.where.private:
        PrivateServer(NETWORK).stop(host.idle)
    host.run.forget()
    return cleared


def owner() -> str:
    """Return a name of this machine that survives reboots, so that only its own runs are swept."""
    with contextlib.suppress(OSError):
        machine = Path("/etc/machine-id").read_text().strip()
        if machine:
            return f"{machine[:12]}:{runs.folder()}"
    return f"{socket.gethostname()}:{runs.folder()}"


def local_subnets() -> list[ipaddress.IPv4Network]:
    """Return the IPv4 networks that this machine has a route or an address for."""
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


def free_subnet(used: Iterable[ipaddress.IPv4Network]) -> ipaddress.IPv4Interface:
    """Return the gateway's address on a private subnet that overlaps none of ``used``.

    Raises LabError when there is none left.
    """
    taken = list(used)
    for candidate in ipaddress.IPv4Network("10.176.0.0/12").subnets(new_prefix=SUBNET_PREFIX):
        if not any(candidate.overlaps(network) for network in taken):
            return ipaddress.IPv4Interface(f"{candidate.network_address + 1}/{SUBNET_PREFIX}")
    raise LabError(
        "no private subnet is free for the lab's bridge: every part of 10.176.0.0/12 is routed; "
        f"make a bridge {NETWORK} by hand with {MARK}=true"
    )


def spanning(cluster: str) -> dict[str, str]:
    """Return what makes the bridges of all machines of a cluster one network: VXLAN over multicast.

    ``cluster`` is the fingerprint of its certificate: two labs in one segment do not meet. All bridges have
    the gateway's address. A member keeps to the one that answers it first, and each passes on for all.
    """
    digest = hashlib.sha256(cluster.encode()).digest()
    return {
        # The interface is called clusterproof0-x: a longer name would be none for the kernel.
        "tunnel.x.protocol": "vxlan",
        "tunnel.x.id": str(int.from_bytes(digest[:3], "big") or 1),
        # What VXLAN adds has to fit into a packet of the machines' own network.
        "bridge.mtu": "1400",
    }


def _machines(server: Api) -> dict[str, str]:
    """Return by name where the members of the cluster that ``server`` is in are reached."""
    return {
        member["server_name"]: urlsplit(member["url"]).hostname or ""
        for member in server.get("cluster/members", recursion=1)
    }


def _is_marked(found: dict[str, Any]) -> bool:
    return (found.get("config") or {}).get(MARK) == "true"


def _found(api: Api, path: str, **where: str) -> dict[str, Any] | None:
    """Return what is at ``path``, None where there is nothing."""
    try:
        found: dict[str, Any] = api.get(path, **where)
    except ApiError as error:
        if error.status == 404:  # noqa: PLR2004 - HTTP's own number
            return None
        raise
    return found


def _has(api: Api, path: str) -> bool:
    return _found(api, path) is not None

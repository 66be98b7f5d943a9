"""The lab host: the LXD or Incus server that carries the lab, and the instances and volumes on it.

Everything that the lab makes there is in its own project and carries the id of the run that made it.
"""

from __future__ import annotations

import contextlib
import ipaddress
import random
from dataclasses import dataclass
from typing import Any

from clusterproof.lab.core import runs
from clusterproof.lab.core.api import ApiError
from clusterproof.lab.core.errors import LabError
from clusterproof.lab.core.runs import Run
from clusterproof.lab.core.transcript import Transcript
from clusterproof.lab.core.waiting import NotObservedError, eventually
from clusterproof.lab.host import bridge, objects
from clusterproof.lab.host.endpoint import Endpoint, find
from clusterproof.lab.host.names import POOL
from clusterproof.lab.host.private_server import PrivateServer
from clusterproof.lab.host.server import NOT_FOUND, Server, found_at

# Bytes below which the disk that holds the members counts as full.
ROOM = 256 << 20
# Server error for deleting a running instance, and how long (s) to retry.
RUNNING = "Instance is running"
STOPPED = 10.0


@dataclass(frozen=True)
class _Incarnation:
    """What tells a server and a bridge from those in its place: a process's id, an interface's number."""

    server: int = 0
    bridge: int = 0


class Host(Server):
    """The lab host, used by ``run``; ``gateway`` is its address on the lab's bridge once it is prepared.

    Raises LabError where the server does not answer or cannot be used.
    """

    def __init__(self, endpoint: Endpoint, run: Run, transcript: Transcript) -> None:
        super().__init__(endpoint, transcript)
        self.run = run
        self.gateway = ipaddress.IPv4Interface("0.0.0.0/0")
        self._prepared = _Incarnation()

    def prepare(self) -> None:
        """Make the lab's project, pool and bridge where they are missing. Raises LabError."""
        self.gateway = objects.make(self)
        self._prepared = self._incarnation()

    def is_prepared(self) -> bool:
        """Say whether the lab's project and pool are there."""
        return objects.are_there(self)

    def lost(self) -> str:
        """Return what of the lab was lost since it was prepared, in one clause; empty where nothing was.

        A server or bridge that took the place of another one counts, too: members may have missed it meanwhile.
        """
        try:
            now = self._incarnation()
            there = self.is_prepared()
        except ApiError as error:
            ended = self.endpoint.private and PrivateServer().pid() is None
            return "the lab's private server has ended" if ended else f"the lab host does not answer: {error}"
        read_only = self.endpoint.private and PrivateServer().is_read_only()
        faults = {
            "the lab's project or pool is gone": not there,
            "the lab's pool cannot be written any more": read_only,
            "the lab host was started anew": now.server != self._prepared.server,
            "the lab's bridge is gone": self._prepared.bridge and not now.bridge,
            "the lab's bridge was made anew": now.bridge != self._prepared.bridge,
        }
        return next((fault for fault, seen in faults.items() if seen), "")

    def _incarnation(self) -> _Incarnation:
        # Any member of a clustered host may answer.
        server = 0 if self.members else self.server.get("")["environment"].get("server_pid", 0)
        return _Incarnation(server, bridge.index() if self.local else 0)

    def has_image(self, fingerprint: str) -> bool:
        """Say whether the lab's project has the image."""
        return found_at(self.api, f"images/{fingerprint}") is not None

    def instances(self) -> list[dict[str, Any]]:
        """Return the instances in the lab's project, those of all runs."""
        found: list[dict[str, Any]] = self.api.get("instances", recursion=1)
        return found

    def volumes(self) -> list[dict[str, Any]]:
        """Return the custom volumes in the lab's project, those of all runs."""
        found: list[dict[str, Any]] = self.api.get(f"storage-pools/{POOL}/volumes/custom", recursion=1)
        return found

    def delete_instance(self, name: str) -> None:
        """Stop and delete an instance; does nothing where it is gone. Raises LabError."""

        def deleted() -> bool:
            with contextlib.suppress(ApiError):
                self.api.put(
                    f"instances/{name}/state", {"action": "stop", "force": True, "timeout": 20}, timeout=30
                )
            try:
                self.api.delete(f"instances/{name}", timeout=60)
            except ApiError as error:
                # The server sometimes reports an instance as stopped and then refuses to delete it as running.
                if RUNNING in str(error):
                    return False
                if error.status != NOT_FOUND:
                    raise LabError(f"cannot delete instance {name}: {error}") from error
            return True

        try:
            eventually(deleted, within=STOPPED)
        except NotObservedError as error:
            raise LabError(f"cannot delete instance {name}: it still runs after {STOPPED:g} s") from error

    def delete_volume(self, name: str) -> None:
        """Delete a custom volume of the lab's pool; does nothing where it is gone. Raises LabError."""
        try:
            self.api.delete(f"storage-pools/{POOL}/volumes/custom/{name}", timeout=60)
        except ApiError as error:
            if error.status != NOT_FOUND:
                raise LabError(f"cannot delete volume {name}: {error}") from error

    def reserve_address(self) -> str:
        """Return an address on the bridge that no other member has. Raises LabError when all are taken."""
        network = self.gateway.network
        # Runs on other computers may use this bridge, too, and reserve elsewhere: start at a random place.
        count = network.num_addresses - 4
        start = random.randrange(count)  # noqa: S311 - no secret
        for step in range(count):
            address = str(network.network_address + 2 + (start + step) % count)
            if self.run.reserve(address):
                return address
        raise LabError(f"every address of {network} is in use; free them with clusterproof sweep")

    def free(self) -> int | None:
        """Return how many bytes of the pool are free, None where only the server knows."""
        return PrivateServer().free() if self.endpoint.private else None

    def check_room(self) -> None:
        """Raise LabError where the host does not answer, lost what the lab has there, or its pool is full."""
        if reason := self.lost():
            raise LabError(f"the lab was not sound: {reason}")
        for target in self.targets():
            try:
                space = self.api.get(f"storage-pools/{POOL}/resources", **target)["space"]
            except ApiError as error:
                raise LabError(f"the lab host is gone: {error}") from error
            if space["total"] - space["used"] < ROOM:
                place = f"{target['target']} of {self.describe()}" if target else self.describe()
                raise LabError(
                    f"the lab's pool on {place} is full: {space['used'] >> 20} of "
                    f"{space['total'] >> 20} MiB are used; clusterproof sweep frees what dead runs left"
                )
        if self.endpoint.private:
            runs.check_room(ROOM)


def connect(wanted: str | None, run: Run) -> Host:
    """Return the lab host, prepared for ``run``, which this process holds from now on.

    ``wanted`` and errors are as in ``find``; also LabError where the host cannot be used.
    """
    run.hold()
    host = Host(find(wanted), run, Transcript())
    host.prepare()
    return host

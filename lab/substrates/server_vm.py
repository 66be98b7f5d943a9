"""VMs that the lab host runs, where it is an LXD or Incus server that can (experimental).

They are made, started and removed like its containers, and entered over ssh like the lab's own QEMU VMs.
"""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clusterproof.lab.core import runs
from clusterproof.lab.core.api import ApiError
from clusterproof.lab.core.errors import LabError
from clusterproof.lab.host import upload
from clusterproof.lab.host.host import Host
from clusterproof.lab.images import bootdisk
from clusterproof.lab.images.image import Image
from clusterproof.lab.substrates import preseeds, qemu
from clusterproof.lab.substrates.machine import PORT
from clusterproof.lab.substrates.qemu_vm import arguments, disk_of
from clusterproof.lab.substrates.server_instance import Instance, forwarded_port
from clusterproof.lab.substrates.ssh_access import SSH, Guest, Interface, make_keys

# Seconds for which the host's answer whether a VM runs is reused: it is needed several times a second.
FRESH = 5.0


def why_not(host: Host) -> str | None:
    """Return why ``host`` does not run members as VMs, None where it does."""
    if host.endpoint.private:
        return "the lab host is a private server, which runs containers only"
    reason = cannot(host.facts["environment"])
    return f"{host.describe()} {reason}" if reason else None


def cannot(facts: Mapping[str, Any]) -> str | None:
    """Return why the server with these ``facts`` runs no VMs for the lab, None where it does."""
    if "qemu" not in facts["driver"]:
        return "runs no VMs"
    if facts.get("server_clustered"):
        return "runs VMs, but not for the lab, because it is a cluster"
    return None


class ServerVMs:
    """The substrate whose machines are VMs that ``host`` runs."""

    name = "vm"

    def __init__(self, host: Host) -> None:
        self.host = host
        self._keys = make_keys(host.run)

    def machine(self, name: str, image: Image, number: int) -> ServerVM:  # noqa: ARG002
        """Return the VM ``name``, which does not exist yet."""
        return ServerVM(self.host, name, image, self._keys)

    def check_room(self) -> None:
        """Raise LabError where the host does not answer, lost what the lab has there, or its pool is full."""
        self.host.check_room()


class ServerVM(Instance, Guest):
    """A member's machine as a VM that the lab host runs."""

    # The host's API does not report whether it emulates the processors.
    emulated = False

    def __init__(self, host: Host, name: str, image: Image, keys: Path) -> None:
        Instance.__init__(self, host, name, image)
        Guest.__init__(self, host.run, name, image, keys)
        if host.direct:
            self._enter_by(self.address, SSH)
        else:
            self._enter_by(host.address_of(""), forwarded_port())
        self._looked = 0.0

    def start(self) -> None:
        """Start the VM and wait until it has booted. Raises LabError after four minutes."""
        self._state("start", timeout=60)
        self.should_run = True
        self._wait_until_booted()

    def stop(self, *, force: bool = False, timeout: float = 60) -> None:
        """Shut the VM down, or cut its power with ``force``."""
        self.should_run = False
        if not force:
            self._power_off(timeout)
        elif self.running():
            super().stop(force=True, timeout=timeout)

    def console(self) -> str:
        """Return the output of the VM's serial console, where the host keeps it."""
        try:
            output = self.host.api.raw(f"instances/{self.name}/console")
        except ApiError:
            return ""
        return output.decode(errors="replace")

    def _volume_form(self) -> dict[str, Any]:
        return {"content_type": "block"}

    def _document(self, **common: object) -> dict[str, Any]:
        mac = _mac(self.address)
        gateway = self.host.gateway
        inside = Interface(mac, f"{self.address}/{gateway.network.prefixlen}", str(gateway.ip))
        seed = self._seed([inside], str(gateway.ip))
        return preseeds.document(
            "member-vm",
            **common,
            fingerprint=on_host(self.image, self.host),
            cpus=qemu.CPUS,
            memory=qemu.MEMORY,
            mac=mac,
            user_data=seed["user-data"],
            network_config=seed["network-config"],
            forwards=self._forwards(),
        )

    def _forwards(self) -> list[tuple[str, str, int]]:
        """Return what a remote host forwards: a name, the address and port it listens on, the VM's port."""
        if self.host.direct:
            return []
        address = socket.gethostbyname(self.host.address_of(""))
        return [
            ("ssh", f"{address}:{self._port}", SSH),
            ("api", f"{address}:{self._forwarded}", PORT),
        ]

    def _check_alive(self) -> None:
        if not self.should_run or time.monotonic() - self._looked < FRESH:
            return
        if not self.running():
            raise LabError(f"member {self.name} is gone: its VM does not run")
        self._looked = time.monotonic()


def on_host(image: Image, host: Host) -> str:
    """Return the fingerprint of the disk of ``image`` on ``host``, uploading it if it is missing.

    Raises LabError.
    """
    files = disk_of(image)
    with runs.lock(f"import-{image.digest}"):
        disk = bootdisk.of(files, arguments(image))
        return upload.give(disk, bootdisk.metadata(files, image.build.name), host, virtual_machine=True)


def _mac(address: str) -> str:
    """Return a MAC address that no other member on the bridge has."""
    return "52:54:" + ":".join(f"{byte:02x}" for byte in ipaddress.IPv4Address(address).packed)

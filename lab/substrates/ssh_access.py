"""Access to VMs over ssh, with keys that are made for them."""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from clusterproof.lab.core import runs
from clusterproof.lab.core.errors import LabError
from clusterproof.lab.core.known_secrets import register
from clusterproof.lab.core.waiting import NotObservedError, eventually
from clusterproof.lab.images.image import Image
from clusterproof.lab.substrates import seed
from clusterproof.lab.substrates.machine import (
    BOOTED,
    PATIENCE,
    CommandTimeoutError,
    Result,
    check_limit,
    limited,
)
from clusterproof.lab.substrates.ssh import Connection, make_key

BOOT = 240.0
SSH = 22
# cloud-init works on in the background, and a VM that is saved meanwhile would resume in the middle of that.
# Its own ``status --wait`` takes seconds on an emulated processor just when that is busiest.
SETTLED = "until [ -e /run/cloud-init/result.json ]; do sleep 0.2; done"
# Seconds to wait for the banner of a VM that may still be booting, and the least part of the time so far: a VM
# that boots slowly also answers slowly.
BANNER, BANNER_PART = 2.0, 0.1
# The name of a VM's key in known_hosts, whatever the VM's address is.
ALIAS = "member"
SSH_COMMAND = "ssh.json"


class Interface(NamedTuple):
    """A network interface, identified by its MAC address; ``address`` is in CIDR notation."""

    mac: str
    address: str
    gateway: str | None = None


class Guest:
    """What is common to all VMs: how they are entered and waited for.

    ``name`` ends with the member's name, ``keys`` is a folder with the VM's ssh keys, and ``folder`` holds its
    files on this computer.
    """

    substrate = "vm"

    def __init__(self, run: runs.Run, name: str, image: Image, keys: Path) -> None:
        self.name = name
        self.image = image
        self.keys = keys
        self.folder = vms(run) / name
        # Whether it runs unless something other than the scenario stopped it.
        self.should_run = False
        self._port = 0
        self._ssh = Connection("", 0, keys, self._check_alive)

    def running(self) -> bool:
        """Say whether the VM runs."""
        raise NotImplementedError

    def console(self) -> str:
        """Return the output of the VM's serial console."""
        raise NotImplementedError

    def execute(self, argv: list[str], *, timeout: float, stdin: bytes | None = None) -> Result:
        """Run ``argv`` as root in the VM."""
        began = time.monotonic()
        result = self._ssh.run(limited(argv, timeout), timeout=timeout + PATIENCE, stdin=stdin)
        return check_limit(self.name, argv, result, time.monotonic() - began, timeout)

    def read(self, path: str) -> bytes:
        """Return a file's content. Raises FileNotFoundError."""
        try:
            return self._ssh.read(path, timeout=60)
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{self.name} has no file {path}") from error

    def write(self, path: str, content: bytes, mode: int = 0o644) -> None:
        """Write a file, owned by root."""
        try:
            self._ssh.write(path, content, mode, timeout=60)
        except FileNotFoundError as error:
            raise LabError(f"cannot write {path} of member {self.name}: its folder is missing") from error

    def _seed(
        self, interfaces: Sequence[Interface], resolver: str, user_data: str = ""
    ) -> dict[str, str]:
        """Return the files of the VM's NoCloud seed by name; ``user_data`` takes the place of the lab's own."""
        return seed.seed(
            self.keys,
            user_data=user_data,
            name=self.name.rpartition("-")[2],
            interfaces=interfaces,
            resolver=resolver,
        )

    def _enter_by(self, address: str, port: int) -> None:
        """Enter the VM at this address and port from now on."""
        self._ssh.close()
        self._port = port
        self._ssh = Connection(address, port, self.keys, self._check_alive)
        argv = [
            "ssh", "-i", str(self.keys / "client"), "-p", str(port),
            "-o", f"UserKnownHostsFile={self.keys / 'known_hosts'}", "-o", f"HostKeyAlias={ALIAS}",
            f"root@{address}",
        ]  # fmt: skip
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / SSH_COMMAND).write_text(json.dumps(argv))

    def _wait_until_booted(self, *, settled: bool = True) -> None:
        """Wait until the system is up and, if ``settled``, cloud-init has ended."""
        self._wait_for(BOOT, "did not boot", BOOTED, *([SETTLED] if settled else []))

    def _wait_for(self, within: float, otherwise: str, *commands: str) -> None:
        """Wait until ssh answers and each of ``commands``, for the shell, has succeeded."""
        began = time.monotonic()
        try:
            eventually(
                lambda: self._ssh.answers(max(BANNER, BANNER_PART * (time.monotonic() - began))),
                within=within,
                what="ssh answers",
            )
            for command in commands:
                left = max(10.0, within - (time.monotonic() - began))
                done = self.execute(["sh", "-c", command], timeout=left)
                if not done.ok:
                    raise LabError(f"member {self.name} {otherwise}: {done.stderr.strip() or done.rc}")
        except (NotObservedError, CommandTimeoutError) as error:
            console = " | ".join(self.console().strip().splitlines()[-2:]) or "empty"
            raise LabError(
                f"member {self.name} {otherwise} within {within:g} s; its console: {console}"
            ) from error

    def _power_off(self, timeout: float) -> None:
        """Shut the VM's system down."""
        self.execute(["systemctl", "poweroff"], timeout=timeout)
        try:
            eventually(lambda: not self.running(), within=timeout, what="power off")
        except NotObservedError as error:
            raise LabError(f"VM {self.name} did not shut down: {error}") from error

    def _check_alive(self) -> None:
        """Raise LabError where the VM is gone or frozen; called repeatedly while ssh is awaited."""
        raise NotImplementedError


def vms(run: runs.Run) -> Path:
    """Return the folder that holds one folder for each VM of ``run``."""
    return run.folder / "vms"


def ssh_commands(run: runs.Run) -> dict[str, list[str]]:
    """Return the ssh command lines that enter the VMs of ``run``, by member's name."""
    return {
        path.parent.name.rpartition("-")[2]: json.loads(path.read_text())
        for path in sorted(vms(run).glob(f"*/{SSH_COMMAND}"))
    }


def make_keys(run: runs.Run, folder: Path | None = None) -> Path:
    """Return a folder with ssh keys for the VMs of one cluster: ``folder`` where it exists, else a new one."""
    folder = folder or run.folder / f"keys-{os.getpid()}-{random.randrange(1 << 32):08x}"  # noqa: S311
    if folder.exists():
        for name in ("client", "host"):
            register((folder / name).read_text())
        return folder
    client, host = make_key(), make_key()
    folder.mkdir(parents=True, mode=0o700)
    for name, text in (
        ("client", client.private),
        ("client.pub", client.public),
        ("host", host.private),
        ("host.pub", host.public),
        ("known_hosts", f"{ALIAS} {host.public}\n"),
    ):
        path = folder / name
        path.touch(mode=0o600)
        path.write_text(text)
    return folder

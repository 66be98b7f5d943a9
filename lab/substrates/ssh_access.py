"""Virtual machines as they are entered: over ssh, with keys that are made for them."""

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
# cloud-init goes on working in the background; saved in the middle of it, a machine would continue with it.
# Its own command waits for it as well, but costs an emulated processor seconds just when it has none to spare.
SETTLED = "until [ -e /run/cloud-init/result.json ]; do sleep 0.2; done"
# Seconds to wait for a word from a machine that may not be up yet: these, or a part of the time it has taken
# so far, as one that boots slowly also answers slowly.
WORD, SLOW = 2.0, 0.1
# By which name known_hosts has a machine's own key, wherever the machine is reached.
ALIAS = "member"
ENTER = "enter.json"


class Interface(NamedTuple):
    """A network interface, known by its address in Ethernet; ``address`` has the length of its prefix."""

    mac: str
    address: str
    gateway: str | None = None


class Guest:
    """What is common to virtual machines of every kind: how they are entered and waited for.

    ``name`` ends with the member's name, ``keys`` is a folder with the keys to the machine, and what belongs
    to it on this machine is in ``folder``.
    """

    substrate = "vm"

    def __init__(self, run: runs.Run, name: str, image: Image, keys: Path) -> None:
        self.name = name
        self.image = image
        self.keys = keys
        self.folder = machines(run) / name
        # Whether it runs unless something that is not the scenario stopped it.
        self.should_run = False
        self._port = 0
        self._ssh = Connection("", 0, keys, self._check_alive)

    def running(self) -> bool:
        """Say whether the machine runs."""
        raise NotImplementedError

    def console(self) -> str:
        """Return what the machine has said on its serial console."""
        raise NotImplementedError

    def execute(self, argv: list[str], *, timeout: float, stdin: bytes | None = None) -> Result:
        """Run ``argv`` as root in the machine."""
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
        """Return by name the files of the machine's NoCloud seed, with ``user_data`` of somebody else's."""
        return seed.seed(
            self.keys,
            user_data=user_data,
            name=self.name.rpartition("-")[2],
            interfaces=interfaces,
            resolver=resolver,
        )

    def _enter_by(self, address: str, port: int) -> None:
        """Enter the machine by this address and port from now on."""
        self._ssh.close()
        self._port = port
        self._ssh = Connection(address, port, self.keys, self._check_alive)
        argv = [
            "ssh", "-i", str(self.keys / "client"), "-p", str(port),
            "-o", f"UserKnownHostsFile={self.keys / 'known_hosts'}", "-o", f"HostKeyAlias={ALIAS}",
            f"root@{address}",
        ]  # fmt: skip
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / ENTER).write_text(json.dumps(argv))

    def _wait_until_booted(self, *, settled: bool = True) -> None:
        """Wait until the system is up, and where it is to be ``settled``, cloud-init has ended."""
        self._wait_for(BOOT, "did not boot", BOOTED, *([SETTLED] if settled else []))

    def _wait_for(self, within: float, otherwise: str, *commands: str) -> None:
        """Wait until ssh answers and each of ``commands``, of the shell, has succeeded."""
        began = time.monotonic()
        try:
            eventually(
                lambda: self._ssh.answers(max(WORD, SLOW * (time.monotonic() - began))),
                within=within,
                what="ssh answers",
            )
            for command in commands:
                left = max(10.0, within - (time.monotonic() - began))
                done = self.execute(["sh", "-c", command], timeout=left)
                if not done.ok:
                    raise LabError(f"member {self.name} {otherwise}: {done.stderr.strip() or done.rc}")
        except (NotObservedError, CommandTimeoutError) as error:
            said = " | ".join(self.console().strip().splitlines()[-2:]) or "nothing"
            raise LabError(
                f"member {self.name} {otherwise} within {within:g} s; its console says: {said}"
            ) from error

    def _power_off(self, timeout: float) -> None:
        """Let the system of the machine end, in order."""
        self.execute(["systemctl", "poweroff"], timeout=timeout)
        try:
            eventually(lambda: not self.running(), within=timeout, what="power off")
        except NotObservedError as error:
            raise LabError(f"machine {self.name} did not shut down: {error}") from error

    def _check_alive(self) -> None:
        """Raise LabError where the machine is gone, or stands still; asked all the while ssh is waited for."""
        raise NotImplementedError


def machines(run: runs.Run) -> Path:
    """Return the folder that has one for each virtual machine of ``run``."""
    return run.folder / "machines"


def entering(run: runs.Run) -> dict[str, list[str]]:
    """Return by member's name the command lines that enter the virtual machines of ``run``."""
    return {
        path.parent.name.rpartition("-")[2]: json.loads(path.read_text())
        for path in sorted(machines(run).glob(f"*/{ENTER}"))
    }


def make_keys(run: runs.Run, folder: Path | None = None) -> Path:
    """Return a folder with the keys to the machines of one cluster, those in ``folder`` if they are there."""
    folder = folder or run.folder / f"keys-{os.getpid()}-{random.randrange(1 << 32):08x}"  # noqa: S311
    if folder.exists():
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

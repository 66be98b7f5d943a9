"""The VM substrate: a member is a QEMU machine of our own on this machine, with KVM or without.

The machines of a cluster share a network of their own, which nothing else sees, so that clusters with the
same addresses can run side by side. Each has a second interface, by which it reaches the world and is
reached from here, through ports of the loopback device.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from lab import acceleration, cloud_init, qemu, rootfs, state
from lab.errors import LabError
from lab.image import Image
from lab.machine import BOOTED, GRACE, CommandTimeoutError, Result, check_limit, limited
from lab.processes import Process
from lab.ssh import Connection, make_key
from lab.waiting import NotObservedError, eventually

BOOT = 240.0
# After going on from saved memory a machine only has to notice.
WAKE = 30.0
STATE_SIZE = 16 << 30
SSH = 22
# The port by which the product's API is reached from here: images/vm/.../clusterproof-forward.
API = 18443
NETWORK = "10.99.0"
# The addresses by which QEMU's own network leads out.
OUTER_ADDRESS, OUTER_GATEWAY = "10.0.2.15/24", "10.0.2.2"
# An emulated processor's own clock runs too fast or too slow where the machine was busy as it was measured.
ARGUMENTS = (
    "console=ttyS0 quiet panic=1 net.ifnames=0 mitigations=off tsc=unstable clocksource=hpet ds=nocloud "
    "clusterproof.state={state_dir} clusterproof.address={address}"
)
# Where a port for a segment is drawn from: multicast, so that no other listener is disturbed.
SEGMENTS = (20_000, 59_999)
ATTEMPTS = 3
# Seconds to wait for a place for a cluster; others hold theirs for minutes.
PATIENCE = 600.0
# Bytes below which this machine's disk counts as full.
ROOM = 1 << 30
# cloud-init goes on working in the background; saved in the middle of it, a machine would resume it.
SETTLED = "cloud-init status --wait >/dev/null || test -e /run/cloud-init/result.json"


def why_not() -> str | None:
    """Return why this machine cannot run virtual machines, or None where it can."""
    if platform.machine() != "x86_64":
        return f"virtual machines are made for x86_64, this is {platform.machine()}"
    if missing := qemu.missing_tools():
        return f"{', '.join(missing)} is not installed; run lab/bootstrap --vm"
    return None


@contextlib.contextmanager
def slot(within: float = PATIENCE) -> Iterator[None]:
    """Hold one of this machine's places for a cluster of virtual machines: one for every two processors.

    More at once starve each other until the products believe that members are offline. Raises LabError where
    none is free ``within`` seconds.
    """
    locks = [state.lock(f"vm-{number}") for number in range(max(1, (os.cpu_count() or 1) // 2))]

    def take() -> FileLock | None:
        for lock in locks:
            with contextlib.suppress(Timeout):
                lock.acquire(timeout=0)
                return lock
        return None

    try:
        held = eventually(take, within=within, every=0.5)
    except NotObservedError as error:
        raise LabError(
            f"other runs have used this machine's places for virtual machines for {within:g} s"
        ) from error
    assert held is not None
    try:
        yield
    finally:
        held.release()


class VirtualMachines:
    """The substrate of one cluster: ``keys`` is a folder with the keys to its machines, made where missing."""

    name = "vm"

    def __init__(self, run: state.Run, keys: Path | None = None) -> None:
        self.run = run
        self.keys = keys or run.folder / f"keys-{os.getpid()}-{random.randrange(1 << 32):08x}"  # noqa: S311
        self.segment = qemu.Segment(random.randint(*SEGMENTS))  # noqa: S311 - no secret
        if not self.keys.exists():
            _make_keys(self.keys)

    def machine(self, name: str, image: Image, number: int) -> VirtualMachine:
        """Return the machine called ``name``, the ``number``-th (from 1) of its cluster; it is not made yet."""
        return VirtualMachine(self.run, name, image, number, self.segment, self.keys)

    def resume(self, name: str, image: Image, address: str) -> VirtualMachine:  # noqa: ARG002
        """Return a machine that another process of this machine made and left running."""
        return VirtualMachine.found(self.run, name, image)

    @staticmethod
    def check_room() -> None:
        """Raise LabError where this machine's disk is as good as full."""
        state.check_room(ROOM)


class VirtualMachine:
    """A member's machine as a process of QEMU; what belongs to it is in ``folder``."""

    substrate = "vm"

    def __init__(
        self, run: state.Run, name: str, image: Image, number: int, segment: qemu.Segment, keys: Path
    ) -> None:
        self.name = name
        self.image = image
        self.number = number
        self.segment = segment
        self.keys = keys
        self.address = f"{NETWORK}.{number}"
        self.folder = run.folder / "machines" / name
        self.should_run = False
        self._qemu = qemu.Qemu(Process(run.folder, name), self.folder)
        self._ports = (0, 0)
        self._ssh = self._connection()

    @classmethod
    def found(cls, run: state.Run, name: str, image: Image) -> VirtualMachine:
        """Return the machine that another process started. Raises LabError where there is none."""
        try:
            known = json.loads((run.folder / "machines" / name / "machine.json").read_text())
        except OSError as error:
            raise LabError(f"run {run.id} has no machine {name}") from error
        machine = cls(run, name, image, known["number"], qemu.Segment(known["segment"]), Path(known["keys"]))
        machine._use_ports(tuple(known["ports"]))
        return machine

    def create(self) -> None:
        """Make the machine's disks and its seed; it is not started yet."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._make_root()
            with (self.folder / "state.img").open("wb") as disk:
                disk.truncate(STATE_SIZE)
            _tool(["mke2fs", "-q", "-t", "ext4", "-L", "state", "-m", "0", str(self.folder / "state.img")])
            cloud_init.make_seed(
                self.folder / "seed.iso",
                name=self.name.rpartition("-")[2],
                keys=self.keys,
                address=f"{self.address}/24",
                cluster_mac=qemu.cluster_mac(self.number),
                outer_mac=qemu.outer_mac(self.number),
                outer_address=OUTER_ADDRESS,
                outer_gateway=OUTER_GATEWAY,
            )
        except OSError as error:
            raise LabError(f"cannot make machine {self.name}: {error}") from error

    def start(self) -> None:
        """Boot the machine and wait until its system is up. Raises LabError after four minutes."""
        self._launch(None)
        self._wait_for(BOOT, "did not boot", BOOTED, SETTLED)

    def go_on(self, saved: Path) -> None:
        """Let the machine go on from what ``save`` has left in the folder ``saved``, which stays as it is.

        Raises LabError.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for name in ("seed.iso", "console.log"):
                shutil.copy(saved / name, self.folder / name)
        except OSError as error:
            raise LabError(f"cannot make machine {self.name}: {error}") from error
        _overlay(self.folder / "root.qcow2", saved / "root.qcow2", "qcow2")
        _overlay(self.folder / "state.qcow2", saved / "state.img", "raw")
        self._launch(saved / "memory")
        self._wait_for(WAKE, "did not wake up")

    def pause(self) -> None:
        """Stop the machine's processors and clock; only saving is possible then."""
        self.should_run = False
        self._ssh.close()
        self._qemu.pause()

    def save(self, into: Path) -> None:
        """End the paused machine, its memory and disks being in the folder ``into`` then. Raises LabError."""
        into.mkdir()
        self._qemu.save(into / "memory")
        for name in ("root.qcow2", "state.img", "seed.iso", "console.log"):
            (self.folder / name).rename(into / name)

    def stop(self, *, force: bool = False, timeout: float = 60) -> None:
        """Shut the machine down, or cut its power with ``force``."""
        self.should_run = False
        if not force:
            self.execute(["systemctl", "poweroff"], timeout=timeout)
            try:
                eventually(lambda: not self.running(), within=timeout, what="power off")
            except NotObservedError as error:
                raise LabError(f"machine {self.name} did not shut down: {error}") from error
        self._ssh.close()
        self._qemu.end()

    def freeze(self) -> None:
        """Let QEMU stand still."""
        self._qemu.process.signal(signal.SIGSTOP)

    def reimage(self, image: Image) -> None:
        """Make the first disk anew from ``image``, keeping the second one; the machine is not started."""
        self.stop(force=True)
        self.image = image
        self._make_root()

    def destroy(self) -> None:
        """End the machine and remove its disks."""
        self.stop(force=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def emulated(self) -> bool:
        """Whether the machine runs without KVM."""
        return acceleration.chosen(disk_of(self.image)) == "tcg"

    @property
    def endpoint(self) -> str:
        """The URL of the product's API, as it is reached from here."""
        return f"https://127.0.0.1:{self._ports[1]}"

    def running(self) -> bool:
        """Say whether QEMU runs, and does not stand still."""
        return self._qemu.running() and not self._qemu.process.stands_still()

    def execute(self, argv: list[str], *, timeout: float, stdin: bytes | None = None) -> Result:
        """Run ``argv`` as root in the machine."""
        began = time.monotonic()
        result = self._ssh.run(limited(argv, timeout), timeout=timeout + 3 * GRACE, stdin=stdin)
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

    def console(self) -> str:
        """Return what the machine has said on its serial console."""
        try:
            return (self.folder / "console.log").read_text(errors="replace")
        except OSError:
            return ""

    def ssh_command(self) -> list[str]:
        """Return the command line that enters the machine."""
        return [
            "ssh", "-i", str(self.keys / "client"), "-p", str(self._ports[0]),
            "-o", f"UserKnownHostsFile={self.keys / 'known_hosts'}", "-o", "HostKeyAlias=member",
            "root@127.0.0.1",
        ]  # fmt: skip

    def _make_root(self) -> None:
        disk = self.folder / "root.qcow2"
        disk.unlink(missing_ok=True)
        _overlay(disk, disk_of(self.image).rootfs, "raw")

    def _launch(self, memory: Path | None) -> None:
        files = disk_of(self.image)
        disks = [qemu.Disk(self.folder / "root.qcow2", "qcow2")]
        overlay = self.folder / "state.qcow2"
        disks.append(
            qemu.Disk(overlay, "qcow2") if overlay.exists() else qemu.Disk(self.folder / "state.img", "raw")
        )
        disks.append(qemu.Disk(self.folder / "seed.iso", "raw", read_only=True))
        for attempt in range(1, ATTEMPTS + 1):
            ports = (qemu.free_port(), qemu.free_port())
            spec = qemu.Spec(
                files.kernel, files.initrd, self._arguments(),
                acceleration.chosen(files), tuple(disks), self.number, self.segment,
                ((ports[0], SSH), (ports[1], API)), incoming=memory,
            )  # fmt: skip
            try:
                self._qemu.start(spec)
                break
            except LabError as error:
                # Another process can have taken the port that was free a moment ago.
                if attempt == ATTEMPTS or "host forwarding" not in str(error):
                    raise
        self._use_ports(ports)
        known = {"number": self.number, "segment": self.segment.port, "keys": str(self.keys), "ports": ports}
        (self.folder / "machine.json").write_text(json.dumps(known))
        self.should_run = True

    def _arguments(self) -> str:
        return ARGUMENTS.format(state_dir=self.image.facts.state_dir, address=self.address)

    def _wait_for(self, within: float, otherwise: str, *commands: str) -> None:
        """Wait until ssh answers and each of ``commands``, of the shell, has succeeded."""
        began = time.monotonic()
        try:
            eventually(self._ssh.answers, within=within, what="ssh answers")
            for command in commands:
                left = max(10.0, within - (time.monotonic() - began))
                done = self.execute(["sh", "-c", command], timeout=left)
                if not done.ok:
                    raise LabError(f"member {self.name} {otherwise}: {done.stderr.strip() or done.rc}")
        except (NotObservedError, CommandTimeoutError) as error:
            raise LabError(
                f"member {self.name} {otherwise} within {within:g} s; its console says: {self._last_words()}"
            ) from error

    def _connection(self) -> Connection:
        return Connection(self._ports[0], self.keys / "client", self.keys / "host.pub", self._check_alive)

    def _use_ports(self, ports: tuple[int, int]) -> None:
        self._ssh.close()
        self._ports = ports
        self._ssh = self._connection()

    def _check_alive(self) -> None:
        if not self._qemu.running():
            raise LabError(f"member {self.name} is gone: QEMU has ended: {self._qemu.why_ended()}")
        if not self.running():
            raise LabError(f"member {self.name} stands still: QEMU was stopped by a signal")

    def _last_words(self) -> str:
        return " | ".join(self.console().strip().splitlines()[-2:]) or "nothing"


def disk_of(image: Image) -> rootfs.RootfsImage:
    """Return the disk and the kernel of ``image``. Raises LabError where they are missing."""
    found = rootfs.read(state.folder() / "images" / image.digest, rootfs.VM)
    if found is None:
        raise LabError(f"the disk of {image.build.name} is missing or damaged; run python -m lab bake")
    return found


def _make_keys(folder: Path) -> None:
    client, host = make_key(), make_key()
    folder.mkdir(parents=True, mode=0o700)
    for name, text in (
        ("client", client.private),
        ("client.pub", client.public),
        ("host", host.private),
        ("host.pub", host.public),
        ("known_hosts", f"member {host.public}\n"),
    ):
        path = folder / name
        path.touch(mode=0o600)
        path.write_text(text)


def _overlay(disk: Path, base: Path, form: str) -> None:
    """Make ``disk``, which holds what differs from ``base``."""
    _tool([qemu.IMAGE_TOOL, "create", "-q", "-f", "qcow2", "-b", str(base), "-F", form, str(disk)])


def _tool(argv: list[str]) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0:
        raise LabError(f"{argv[0]} failed: {done.stderr.strip() or done.returncode}")

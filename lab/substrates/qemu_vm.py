"""The VM substrate: a member is a QEMU machine of our own on this machine, with KVM or without.

The machines of a cluster share a network of their own, which nothing else sees, so that clusters with the
same addresses can run side by side. Each has a second interface, by which it reaches the world and is
reached from here, through ports of the loopback device.
"""

from __future__ import annotations

import contextlib
import os
import platform
import random
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from clusterproof.lab.core import runs
from clusterproof.lab.core.errors import LabError
from clusterproof.lab.core.processes import Process, run_tool
from clusterproof.lab.core.waiting import NotObservedError, eventually
from clusterproof.lab.images.image import Image
from clusterproof.lab.images.kinds import VM
from clusterproof.lab.images.rootfs import RootfsImage, read
from clusterproof.lab.substrates import acceleration, qemu, seed
from clusterproof.lab.substrates.ssh_access import SSH, Guest, Interface, make_keys

# After going on from saved memory a machine only has to notice.
WAKE = 30.0
STATE_SIZE = 16 << 30
# The port by which the product's API is reached from here: images/vm/.../clusterproof-forward.
API = 18443
NETWORK = "10.99.0"
# The addresses by which QEMU's own network leads out.
OUTER_ADDRESS, OUTER_GATEWAY, OUTER_RESOLVER = "10.0.2.15/24", "10.0.2.2", "10.0.2.3"
# An emulated processor's own clock runs too fast or too slow where the machine was busy as it was measured.
# What the kernel does lest somebody breaks in, or to test itself, is a fifteenth of booting and forming.
ARGUMENTS = (
    "console=ttyS0 quiet panic=1 net.ifnames=0 tsc=unstable clocksource=hpet "
    "mitigations=off audit=0 init_on_alloc=0 hardened_usercopy=off randomize_kstack_offset=off "
    "cryptomgr.notests ds=nocloud clusterproof.state={state_dir}"
)
# Where a port for a segment is drawn from: multicast, so that no other listener is disturbed.
SEGMENTS = (20_000, 59_999)
ATTEMPTS = 3
# Seconds to wait for a place for a cluster; others hold theirs for minutes.
PATIENCE = 600.0
# Bytes below which this machine's disk counts as full.
ROOM = 1 << 30


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
    locks = [runs.lock(f"vm-{number}") for number in range(max(1, (os.cpu_count() or 1) // 2))]

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

    def __init__(self, run: runs.Run, keys: Path | None = None) -> None:
        self.run = run
        self.keys = make_keys(run, keys)
        self.segment = qemu.Segment(random.randint(*SEGMENTS))  # noqa: S311 - no secret

    def machine(self, name: str, image: Image, number: int) -> VirtualMachine:
        """Return the machine called ``name``, the ``number``-th (from 1) of its cluster; it is not made yet."""
        return VirtualMachine(self.run, name, image, number, self.segment, self.keys)

    @staticmethod
    def check_room() -> None:
        """Raise LabError where this machine's disk is as good as full."""
        runs.check_room(ROOM)


class VirtualMachine(Guest):
    """A member's machine as a process of QEMU, the ``number``-th (from 1) of its cluster."""

    def __init__(
        self,
        run: runs.Run,
        name: str,
        image: Image,
        number: int,
        segment: qemu.Segment,
        keys: Path,
        user_data: str = "",
    ) -> None:
        super().__init__(run, name, image, keys)
        # What cloud-init is to do at the first start, which is then not waited for.
        self._user_data = user_data
        self.number = number
        self.segment = segment
        self.address = f"{NETWORK}.{number}"
        self._qemu = qemu.Qemu(Process(run.folder, name), self.folder)
        self._api_port = 0

    def create(self) -> None:
        """Make the machine's disks and its seed; it is not started yet."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._make_root()
            with (self.folder / "state.img").open("wb") as disk:
                disk.truncate(STATE_SIZE)
            # The machine would do it itself, in more time where it is emulated.
            run_tool(["mke2fs", "-q", "-t", "ext4", "-L", "state", "-m", "0", str(self.folder / "state.img")])
            networks = [
                Interface(qemu.cluster_mac(self.number), f"{self.address}/24"),
                Interface(qemu.outer_mac(self.number), OUTER_ADDRESS, OUTER_GATEWAY),
            ]
            files = self._seed(networks, OUTER_RESOLVER, self._user_data)
            seed.make_disk(self.folder / "seed.iso", files)
        except OSError as error:
            raise LabError(f"cannot make machine {self.name}: {error}") from error

    def start(self) -> None:
        """Boot the machine and wait until its system is up. Raises LabError after four minutes."""
        self._launch(None)
        self._wait_until_booted(settled=not self._user_data)

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
            self._power_off(timeout)
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

    def export(self, disk: Path) -> None:
        """Write the first disk of the machine, which is stopped, to ``disk`` (raw). Raises LabError."""
        source = self.folder / "root.qcow2"
        run_tool([qemu.IMAGE_TOOL, "convert", "-f", "qcow2", "-O", "raw", str(source), str(disk)], timeout=600)

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
        return f"https://127.0.0.1:{self._api_port}"

    def running(self) -> bool:
        """Say whether QEMU runs, and does not stand still."""
        return self._qemu.running() and not self._qemu.process.stopped()

    def console(self) -> str:
        """Return what the machine has said on its serial console."""
        try:
            return (self.folder / "console.log").read_text(errors="replace")
        except OSError:
            return ""

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
                files.kernel, files.initrd, f"{arguments(self.image)} clusterproof.address={self.address}",
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
        self._enter_by("127.0.0.1", ports[0])
        self._api_port = ports[1]
        self.should_run = True

    def _check_alive(self) -> None:
        if not self._qemu.running():
            raise LabError(f"member {self.name} is gone: QEMU has ended: {self._qemu.why_ended()}")
        if not self.running():
            raise LabError(f"member {self.name} stands still: QEMU was stopped by a signal")


def arguments(image: Image) -> str:
    """Return the kernel's command line for a machine with ``image``."""
    return ARGUMENTS.format(state_dir=image.facts.state_dir)


def disk_of(image: Image) -> RootfsImage:
    """Return the disk and the kernel of ``image``. Raises LabError where they are missing."""
    found = read(runs.folder() / "images" / image.digest, VM)
    if found is None:
        raise LabError(f"the disk of {image.build.name} is missing or damaged; run clusterproof bake")
    return found


def _overlay(disk: Path, base: Path, form: str) -> None:
    """Make ``disk``, which holds what differs from ``base``."""
    run_tool([qemu.IMAGE_TOOL, "create", "-q", "-f", "qcow2", "-b", str(base), "-F", form, str(disk)])

"""The VM substrate: a member is a QEMU VM on this computer, with or without KVM.

The VMs of a cluster share an isolated network, so that clusters with the same addresses can run side by side.
Each has a second interface, to QEMU's user network, by which it reaches the internet and is reached from here
through ports of the loopback device.
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
from clusterproof.lab.substrates.machine import Watched
from clusterproof.lab.substrates.ssh_access import SSH, Guest, Interface, make_keys

# Seconds until a VM that was resumed from saved memory has to answer.
WAKE = 30.0
STATE_SIZE = 16 << 30
# The VM's port that leads to the product's API: images/vm/.../clusterproof-forward.
API = 18443
NETWORK = "10.99.0"
# The addresses of QEMU's user network.
OUTER_ADDRESS, OUTER_GATEWAY, OUTER_RESOLVER = "10.0.2.15/24", "10.0.2.2", "10.0.2.3"
# The TSC of an emulated processor is calibrated wrongly on a busy host. Hardening and self-tests of the kernel
# take a fifteenth of the time for booting and forming.
ARGUMENTS = (
    "console=ttyS0 quiet panic=1 net.ifnames=0 tsc=unstable clocksource=hpet "
    "mitigations=off audit=0 init_on_alloc=0 hardened_usercopy=off randomize_kstack_offset=off "
    "cryptomgr.notests ds=nocloud clusterproof.state={state_dir}"
)
# The range of multicast ports for segments.
SEGMENTS = (20_000, 59_999)
ATTEMPTS = 3
# Seconds to wait for a slot: other clusters hold theirs for minutes.
PATIENCE = 600.0
# Bytes below which the disk counts as full.
ROOM = 1 << 30


def why_not() -> str | None:
    """Return why this computer cannot run VMs for the lab, None where it can."""
    if platform.machine() != "x86_64":
        return f"VMs are made for x86_64, and this computer is {platform.machine()}"
    if missing := qemu.missing_tools():
        return f"{', '.join(missing)} is not installed; run lab/bootstrap --vm"
    return None


@contextlib.contextmanager
def slot(within: float = PATIENCE) -> Iterator[None]:
    """Hold one of this computer's slots for a cluster of VMs: there is one for every two processors.

    More clusters at once starve each other until the products take members for offline. Raises LabError where
    no slot is free ``within`` seconds.
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
            f"other runs have held all slots for clusters of VMs for {within:g} s; wait for them to end"
        ) from error
    assert held is not None
    try:
        yield
    finally:
        held.release()


class VirtualMachines:
    """The substrate of one cluster; ``keys`` is a folder with ssh keys for its VMs, made where missing."""

    name = "vm"

    def __init__(self, run: runs.Run, keys: Path | None = None) -> None:
        self.run = run
        self.keys = make_keys(run, keys)
        self.segment = qemu.Segment(random.randint(*SEGMENTS))  # noqa: S311 - no secret

    def machine(self, name: str, image: Image, number: int) -> VirtualMachine:
        """Return VM ``name``, the ``number``-th (from 1) of its cluster, which does not exist yet."""
        return VirtualMachine(self.run, name, image, number, self.segment, self.keys)

    @staticmethod
    def check_room() -> None:
        """Raise LabError where the disk below the lab's folder is full."""
        runs.check_room(ROOM)


class VirtualMachine(Guest):
    """A member's machine as a QEMU process, the ``number``-th (from 1) of its cluster."""

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
        # What cloud-init is to do at the first boot, which ``start`` does not wait for.
        self._user_data = user_data
        self.number = number
        self.segment = segment
        self.address = f"{NETWORK}.{number}"
        self._qemu = qemu.Qemu(Process(run.folder, name), self.folder)
        self._api_port = 0

    def create(self) -> None:
        """Make the VM's disks and its seed, without starting it."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._make_root()
            with (self.folder / "state.img").open("wb") as disk:
                disk.truncate(STATE_SIZE)
            # Made here because an emulated VM takes longer to do so.
            run_tool(["mke2fs", "-q", "-t", "ext4", "-L", "state", "-m", "0", str(self.folder / "state.img")])
            networks = [
                Interface(qemu.cluster_mac(self.number), f"{self.address}/24"),
                Interface(qemu.outer_mac(self.number), OUTER_ADDRESS, OUTER_GATEWAY),
            ]
            files = self._seed(networks, OUTER_RESOLVER, self._user_data)
            seed.make_disk(self.folder / "seed.iso", files)
        except OSError as error:
            raise LabError(f"cannot make VM {self.name}: {error}") from error

    def start(self) -> None:
        """Boot the VM and wait until its system is up. Raises LabError after four minutes."""
        self._launch(None)
        self._wait_until_booted(settled=not self._user_data)

    def resume(self, saved: Path) -> None:
        """Resume the VM from the folder that ``save`` wrote, which is not changed. Raises LabError."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for name in ("seed.iso", "console.log"):
                shutil.copy(saved / name, self.folder / name)
        except OSError as error:
            raise LabError(f"cannot make VM {self.name}: {error}") from error
        _overlay(self.folder / "root.qcow2", saved / "root.qcow2", "qcow2")
        _overlay(self.folder / "state.qcow2", saved / "state.img", "raw")
        self._launch(saved / "memory")
        self._wait_for(WAKE, "did not resume")

    def pause(self) -> None:
        """Stop the VM's processors and clock; only ``save`` is possible then."""
        self.should_run = False
        self._ssh.close()
        self._qemu.pause()

    def save(self, into: Path) -> None:
        """Save the memory and disks of the paused VM to the folder ``into``, and end it. Raises LabError."""
        into.mkdir()
        self._qemu.save(into / "memory")
        for name in ("root.qcow2", "state.img", "seed.iso", "console.log"):
            (self.folder / name).rename(into / name)

    def stop(self, *, force: bool = False, timeout: float = 60) -> None:
        """Shut the VM down, or cut its power with ``force``."""
        self.should_run = False
        if not force:
            self._power_off(timeout)
        self._ssh.close()
        self._qemu.end()

    def freeze(self) -> None:
        """Stop QEMU with a signal."""
        self._qemu.process.signal(signal.SIGSTOP)

    def reimage(self, image: Image) -> None:
        """Replace the first disk by one of ``image``, keeping the second one, without starting the VM."""
        self.stop(force=True)
        self.image = image
        self._make_root()

    def export(self, disk: Path) -> None:
        """Write the first disk of the stopped VM to ``disk`` (raw). Raises LabError."""
        source = self.folder / "root.qcow2"
        run_tool([qemu.IMAGE_TOOL, "convert", "-f", "qcow2", "-O", "raw", str(source), str(disk)], timeout=600)

    def destroy(self) -> None:
        """End the VM and remove its disks."""
        self.stop(force=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def emulated(self) -> bool:
        """Whether the VM runs without KVM."""
        return acceleration.chosen(disk_of(self.image)) == "tcg"

    @property
    def endpoint(self) -> str:
        """The URL at which the product's API is reached from here."""
        return f"https://127.0.0.1:{self._api_port}"

    def running(self) -> bool:
        """Say whether QEMU runs and is not stopped by a signal."""
        return self._qemu.running() and not self._qemu.process.stopped()

    @staticmethod
    def watched() -> Watched | None:
        """Return None: its processes and its network are its own kernel's."""
        return None

    def console(self) -> str:
        """Return the output of the VM's serial console."""
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
                # Another process may have taken the port since it was found free.
                if attempt == ATTEMPTS or "host forwarding" not in str(error):
                    raise
        self._enter_by("127.0.0.1", ports[0])
        self._api_port = ports[1]
        self.should_run = True

    def _check_alive(self) -> None:
        if not self._qemu.running():
            raise LabError(f"member {self.name} is gone: QEMU has ended: {self._qemu.why_ended()}")
        if not self.running():
            raise LabError(f"member {self.name} is frozen: QEMU was stopped by a signal")


def arguments(image: Image) -> str:
    """Return the kernel's command line for a VM with ``image``."""
    return ARGUMENTS.format(state_dir=image.facts.state_dir)


def disk_of(image: Image) -> RootfsImage:
    """Return the disk and the kernel of ``image``. Raises LabError where they are missing."""
    found = read(runs.folder() / "images" / image.digest, VM)
    if found is None:
        raise LabError(f"the disk of {image.build.name} is missing or damaged; run clusterproof bake")
    return found


def _overlay(disk: Path, base: Path, form: str) -> None:
    """Make the qcow2 overlay ``disk`` over ``base``, whose format is ``form``."""
    run_tool([qemu.IMAGE_TOOL, "create", "-q", "-f", "qcow2", "-b", str(base), "-F", form, str(disk)])

"""QEMU: one VM as a process, controlled through its monitor (QMP)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shlex
import shutil
import socket
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qemu.qmp import QMPClient, QMPError

from clusterproof.lab.core.errors import LabError
from clusterproof.lab.core.processes import Process
from clusterproof.lab.core.waiting import NotObservedError, eventually

# Its errors are raised as exceptions here and need not be logged, too.
logging.getLogger("qemu.qmp").setLevel(logging.CRITICAL)

BINARY = "qemu-system-x86_64"
IMAGE_TOOL = "qemu-img"
MEMORY = 1024
CPUS = 2
TIMEOUT = 20.0
# Bytes per second for saving and restoring a VM's memory; in effect, the speed of the disk.
UNLIMITED = 1 << 40

# Programs use the widest vector instructions that a processor has. Emulated, these are slower than plain ones:
# booting and forming a cluster of one took 67 s of processor time with them and 52 s without.
NARROW = ",".join(f"-{feature}" for feature in ("avx", "avx2", "f16c", "fma", "bmi1", "bmi2", "adx"))
ACCELERATORS = {
    "kvm": ["-accel", "kvm", "-cpu", "host"],
    "tcg": ["-accel", "tcg,thread=multi", "-cpu", f"max,{NARROW}"],
}


@dataclass(frozen=True)
class Disk:
    """A disk of a VM; ``format`` is raw or qcow2. Disks appear as /dev/vda, /dev/vdb ... in their order."""

    path: Path
    format: str
    read_only: bool = False


@dataclass(frozen=True)
class Segment:
    """A network among VMs of this computer only, which is multicast to ``port`` of the loopback device."""

    port: int


@dataclass(frozen=True)
class Spec:
    """The hardware of a VM: ``forwards`` are pairs of a loopback port and the VM's port that it leads to.

    ``number`` (from 1) is unique among the VMs of a segment. ``memory`` is in MiB. ``incoming`` is a file with
    saved memory, which the VM resumes from instead of booting.
    """

    kernel: Path
    initrd: Path
    arguments: str
    accelerator: str
    disks: tuple[Disk, ...] = ()
    number: int = 1
    segment: Segment | None = None
    forwards: tuple[tuple[int, int], ...] = ()
    memory: int = MEMORY
    cpus: int = CPUS
    incoming: Path | None = None


def cluster_mac(number: int) -> str:
    """Return the MAC address of a VM's interface in its segment."""
    return f"52:54:00:63:00:{number:02x}"


def outer_mac(number: int) -> str:
    """Return the MAC address of a VM's interface to QEMU's user network."""
    return f"52:54:00:63:01:{number:02x}"


def command(spec: Spec) -> list[str]:
    """Return QEMU's command line for ``spec``; the files that QEMU writes are in its working folder."""
    argv = [
        BINARY, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-M", "q35",
        *ACCELERATORS[spec.accelerator], "-smp", str(spec.cpus), "-m", str(spec.memory),
        "-kernel", str(spec.kernel), "-initrd", str(spec.initrd), "-append", spec.arguments,
        # The clock stops while the VM is saved, so that no member of a restored cluster seems long overdue.
        "-rtc", "base=utc,clock=vm",
        "-chardev", "file,id=console,path=console.log,append=on", "-serial", "chardev:console",
        "-qmp", "unix:qmp.sock,server=on,wait=off",
        "-device", "virtio-rng-pci",
    ]  # fmt: skip
    for number, disk in enumerate(spec.disks):
        read_only = ",readonly=on" if disk.read_only else ""
        argv += [
            "-drive",
            f"id=disk{number},if=none,format={disk.format},cache=unsafe{read_only},file={_escape(disk.path)}",
            "-device", f"virtio-blk-pci,drive=disk{number}",
        ]  # fmt: skip
    if spec.segment:
        forwards = "".join(f",hostfwd=tcp:127.0.0.1:{here}-:{there}" for here, there in spec.forwards)
        argv += [
            "-netdev", f"socket,id=cluster,mcast=230.99.99.1:{spec.segment.port},localaddr=127.0.0.1",
            "-device", f"virtio-net-pci,netdev=cluster,mac={cluster_mac(spec.number)}",
            "-netdev", f"user,id=outer{forwards}",
            "-device", f"virtio-net-pci,netdev=outer,mac={outer_mac(spec.number)}",
        ]  # fmt: skip
    if spec.incoming:
        argv += ["-incoming", "defer"]
    return argv


def _escape(path: Path) -> str:
    return str(path).replace(",", ",,")


class Qemu:
    """The QEMU process of a VM, with the working folder ``folder``. Raises LabError where it fails."""

    def __init__(self, process: Process, folder: Path) -> None:
        self.process = process
        self.folder = folder

    def start(self, spec: Spec) -> None:
        """Start the VM: it boots, or resumes from saved memory."""
        (self.folder / "qmp.sock").unlink(missing_ok=True)
        self.process.start(command(spec), cwd=self.folder)
        if spec.incoming:
            with self._monitor() as call:
                call("migrate-set-parameters", {"max-bandwidth": UNLIMITED})
                call("migrate-incoming", {"uri": f"exec:cat {shlex.quote(str(spec.incoming))}"})
                self._wait_migrated(call)
                call("cont")

    def running(self) -> bool:
        """Say whether the process runs."""
        return self.process.pid() is not None

    def why_ended(self) -> str:
        """Return the last output of a process that has ended."""
        return self.process.tail() or "no output"

    def pause(self) -> None:
        """Stop the VM's processors and clock."""
        with self._monitor() as call:
            call("stop")

    def save(self, path: Path, timeout: float = 120) -> None:
        """Save the memory of a paused VM to ``path`` and end the VM; its disks are consistent then."""
        with self._monitor(timeout) as call:
            call("migrate-set-parameters", {"max-bandwidth": UNLIMITED})
            call("migrate", {"uri": f"exec:cat > {shlex.quote(str(path))}"})
            self._wait_migrated(call, timeout)
            call("quit")
        self.end()

    def end(self) -> None:
        """Cut the VM's power; what it had written to its disks is on them."""
        if self.running():
            with contextlib.suppress(LabError), self._monitor(5) as call:
                call("quit")
            with contextlib.suppress(NotObservedError):
                eventually(lambda: not self.running(), within=5, every=0.02)
        self.process.end()

    @staticmethod
    def _wait_migrated(call: Any, timeout: float = TIMEOUT) -> None:  # noqa: ANN401
        seen = eventually(
            lambda: call("query-migrate"),
            lambda seen: seen.get("status") in ("completed", "failed", "cancelled"),
            within=timeout,
            every=0.05,
            what="the VM's memory is saved or restored",
        )
        if seen["status"] != "completed":
            raise LabError(f"the VM's memory could not be saved or restored: {seen.get('error-desc', seen)}")

    @contextlib.contextmanager
    def _monitor(self, timeout: float = TIMEOUT) -> Iterator[Any]:
        """Yield a function that sends a command to the VM's monitor and returns the answer."""
        folder = os.open(self.folder, os.O_RDONLY)
        # The path of a socket is limited to 107 bytes, and the folder's may be longer.
        address = f"/proc/self/fd/{folder}/qmp.sock"
        try:
            monitor = eventually(
                lambda: self._connect(address), within=TIMEOUT, every=0.05, what="the VM's monitor answers"
            )
            try:
                yield lambda name, arguments=None: monitor.ask(name, arguments, timeout)
            finally:
                monitor.close()
        except (QMPError, OSError, EOFError, TimeoutError, NotObservedError) as error:
            raise self._failed(f"its monitor failed: {type(error).__name__}: {error}") from error
        finally:
            os.close(folder)

    def _connect(self, address: str) -> _Monitor:
        if not self.running():
            raise self._failed("it did not start")
        try:
            return _Monitor(address, TIMEOUT)
        except (QMPError, OSError) as error:
            raise AssertionError(str(error) or type(error).__name__) from error

    def _failed(self, why: str) -> LabError:
        ended = "" if self.running() else f"; QEMU has ended: {self.why_ended()}"
        return LabError(f"VM {self.process.name}: {why}{ended}")


class _Monitor:
    """A connection to a monitor, with a time limit (seconds) on everything.

    A QEMU that hangs still accepts a connection and then sends nothing, and the synchronous client of qemu.qmp
    (``qemu.qmp.legacy``) has no time limit for connecting and closing.
    """

    def __init__(self, address: str, timeout: float) -> None:
        self._loop = asyncio.new_event_loop()
        self._client = QMPClient()
        try:
            self._do(self._client.connect(address), timeout)
        except BaseException:
            self.close()
            raise

    def ask(self, name: str, arguments: dict[str, object] | None, timeout: float) -> object:
        return self._do(self._client.execute(name, arguments), timeout)

    def close(self) -> None:
        with contextlib.suppress(QMPError, OSError, EOFError):
            self._do(self._client.disconnect(), TIMEOUT)
        self._loop.close()

    def _do(self, what: Coroutine[Any, Any, Any], timeout: float) -> Any:  # noqa: ANN401
        return self._loop.run_until_complete(asyncio.wait_for(what, timeout))


def missing_tools() -> list[str]:
    """Return the tools that have to be installed before a VM can be made."""
    return [tool for tool in (BINARY, IMAGE_TOOL, "mke2fs", "xorriso") if shutil.which(tool) is None]


def free_port() -> int:
    """Return a port on the loopback device that nothing listens on."""
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port

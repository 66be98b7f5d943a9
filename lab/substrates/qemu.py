"""QEMU: one virtual machine as a process, controlled through its monitor (QMP)."""

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

# What its own log would say is raised here.
logging.getLogger("qemu.qmp").setLevel(logging.CRITICAL)

BINARY = "qemu-system-x86_64"
IMAGE_TOOL = "qemu-img"
MEMORY = 1024
CPUS = 2
TIMEOUT = 20.0
# What leaves a machine's memory or comes into it, bytes each second: as fast as the disk is.
UNLIMITED = 1 << 40

# Programs use what the widest registers offer wherever a processor has them; emulated, that takes longer than
# doing without: booting and forming a cluster of one took 67 s of processor time with them and 52 s without.
NARROW = ",".join(f"-{feature}" for feature in ("avx", "avx2", "f16c", "fma", "bmi1", "bmi2", "adx"))
ACCELERATORS = {
    "kvm": ["-accel", "kvm", "-cpu", "host"],
    "tcg": ["-accel", "tcg,thread=multi", "-cpu", f"max,{NARROW}"],
}


@dataclass(frozen=True)
class Disk:
    """A disk of a machine; ``format`` is raw or qcow2. Disks appear as /dev/vda, /dev/vdb ... in their order."""

    path: Path
    format: str
    read_only: bool = False


@dataclass(frozen=True)
class Segment:
    """A network of some machines of this host's alone: what they send goes to a port of the loopback device."""

    port: int


@dataclass(frozen=True)
class Spec:
    """What a machine is: ``forwards`` are pairs of a loopback port and the machine's port that it leads to.

    ``number`` (from 1) tells the machine from others of its segment. ``memory`` is in MiB. ``incoming`` is a
    machine's saved memory, to go on from instead of booting.
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
    """Return the address of a machine's interface in its segment."""
    return f"52:54:00:63:00:{number:02x}"


def outer_mac(number: int) -> str:
    """Return the address of a machine's interface that leads out."""
    return f"52:54:00:63:01:{number:02x}"


def command(spec: Spec) -> list[str]:
    """Return QEMU's command line for ``spec``; files it writes are in its working folder."""
    argv = [
        BINARY, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-M", "q35",
        *ACCELERATORS[spec.accelerator], "-smp", str(spec.cpus), "-m", str(spec.memory),
        "-kernel", str(spec.kernel), "-initrd", str(spec.initrd), "-append", spec.arguments,
        # The machine's clock stands still with it: nobody in a restored cluster was away for long.
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
    """A machine's process; its working folder is ``folder``. Every failure is a LabError."""

    def __init__(self, process: Process, folder: Path) -> None:
        self.process = process
        self.folder = folder

    def start(self, spec: Spec) -> None:
        """Start the machine: it boots, or goes on from saved memory and then runs."""
        (self.folder / "qmp.sock").unlink(missing_ok=True)
        self.process.start(command(spec), cwd=self.folder)
        if spec.incoming:
            with self._monitor() as call:
                call("migrate-set-parameters", {"max-bandwidth": UNLIMITED})
                call("migrate-incoming", {"uri": f"exec:cat {shlex.quote(str(spec.incoming))}"})
                self._wait_migrated(call)
                call("cont")

    def running(self) -> bool:
        """Say whether the process lives."""
        return self.process.pid() is not None

    def why_ended(self) -> str:
        """Return what is known of the end of a process that is gone."""
        return self.process.tail() or "it said nothing"

    def pause(self) -> None:
        """Stop the machine's processors and clock."""
        with self._monitor() as call:
            call("stop")

    def save(self, path: Path, timeout: float = 120) -> None:
        """Write the memory of a paused machine to ``path`` and end the machine; its disks are then whole."""
        with self._monitor(timeout) as call:
            call("migrate-set-parameters", {"max-bandwidth": UNLIMITED})
            call("migrate", {"uri": f"exec:cat > {shlex.quote(str(path))}"})
            self._wait_migrated(call, timeout)
            call("quit")
        self.end()

    def end(self) -> None:
        """Cut the machine's power; what it had written to its disks is on them."""
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
            what="the machine's memory is written or read",
        )
        if seen["status"] != "completed":
            raise LabError(f"the machine's memory could not be written or read: {seen.get('error-desc', seen)}")

    @contextlib.contextmanager
    def _monitor(self, timeout: float = TIMEOUT) -> Iterator[Any]:
        """Yield what sends a command to the machine's monitor and returns its answer."""
        folder = os.open(self.folder, os.O_RDONLY)
        # A socket's path is short by definition, the folder's may be long.
        address = f"/proc/self/fd/{folder}/qmp.sock"
        try:
            monitor = eventually(
                lambda: self._connect(address), within=TIMEOUT, every=0.05, what="the machine's monitor answers"
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
        return LabError(f"machine {self.process.name}: {why}{ended}")


class _Monitor:
    """A connection to a monitor; a machine that hangs accepts one as well, and then says nothing."""

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
    """Return what has to be installed before a machine can be made."""
    return [tool for tool in (BINARY, IMAGE_TOOL, "mke2fs", "xorriso") if shutil.which(tool) is None]


def free_port() -> int:
    """Return a port of the loopback device that nothing listens on."""
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port

"""The inventory: what this lab has on this computer, whose it is, and the removal of what nobody uses any more.

Only what bears the lab's mark is listed: names that begin with its tag, paths below its folder, and what goes
with the bridge while no server of another lab serves that.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from filelock import FileLock, Timeout

from clusterproof.lab.core import processes, runs
from clusterproof.lab.core.errors import LabError
from clusterproof.lab.core.runs import Run
from clusterproof.lab.core.waiting import NotObservedError, eventually
from clusterproof.lab.host import bridge, loop_devices
from clusterproof.lab.host.host import Host
from clusterproof.lab.host.names import MARK, NETWORK, PROJECT, run_of
from clusterproof.lab.host.private_server import PrivateServer
from clusterproof.lab.images.leftovers import clear_leftovers, mounts_below

MOUNTS = Path("/proc/self/mountinfo")
SERVER = "the private server"
BAKING = "baking"
# LXC's cgroups of a container and of its monitor.
_CGROUPS = ("lxc.payload.", "lxc.monitor.")
# Seconds until killed processes are gone.
ENDED = 10.0


@dataclass(frozen=True, order=True)
class Item:
    """A thing of the lab; ``owner`` made it: a run, the private server or baking. ``used`` while that lives."""

    owner: str
    kind: str
    name: str
    used: bool

    def __str__(self) -> str:
        """Say what it is."""
        return f"{self.kind} {self.name}"


def take(host: Host | None = None) -> list[Item]:
    """Return what the lab has here; with ``host`` also its instances and volumes there. Raises LabError."""
    found = {item for kind in _KINDS for item in kind.find()}
    if host is not None:
        found.update(_on_host(host))
    return sorted(found)


def unused(host: Host | None = None) -> list[Item]:
    """Return what of ``take`` belongs to nobody who lives."""
    return [item for item in take(host) if not item.used]


def clear() -> list[str]:
    """Remove what nobody uses any more on this computer; return a line for each owner.

    What is on a server is deleted by ``sweeping``, before this. A line says so where something is still there.
    """
    before = [item for kind in _KINDS for item in kind.clear()]
    left = set(unused())
    lines = []
    for owner, items in groupby(sorted(before), lambda item: item.owner):
        every = list(items)
        still = [item for item in every if item in left]
        gone = [item for item in every if item not in left]
        if gone:
            lines.append(f"{owner} left {summary(gone)}: removed")
        if still:
            lines.append(f"{owner} left {summary(still)}: STILL THERE")
    return lines


def summary(items: Iterable[Item], most: int = 3) -> str:
    """Return how many there are of each kind, with the names of the first ones."""
    parts = []
    for kind, group in groupby(sorted(items, key=lambda item: item.kind), lambda item: item.kind):
        names = [item.name for item in group]
        shown = ", ".join(names[:most]) + (", ..." if len(names) > most else "")
        plural = "" if len(names) == 1 else "es" if kind.endswith("s") else "s"
        parts.append(f"{len(names)} {kind}{plural} ({shown})")
    return ", ".join(parts)


class _Kind:
    """One kind of thing: how it is found, and how it is removed."""

    name = ""

    def find(self) -> Iterator[Item]:
        """Yield what there is."""
        raise NotImplementedError

    def remove(self, name: str) -> None:
        """Remove one; what fails is seen by looking again."""
        raise NotImplementedError

    def clear(self) -> list[Item]:
        """Remove what nobody uses; return what that was."""
        found = [item for item in self.find() if not item.used]
        for item in found:
            with contextlib.suppress(OSError, LabError, subprocess.SubprocessError):
                self.remove(item.name)
        return found

    def of_run(self, end: str, name: str) -> Item:
        """Return the item ``name`` of the run whose id ends with ``end``."""
        known = next((run for run in Run.known() if run.id.endswith(f"-{end}")), None)
        return Item(f"run {known.id if known else f'...-{end}'}", self.name, name, bool(known and known.alive()))

    def of_server(self, name: str) -> Item:
        """Return the item ``name`` of the private server, which is in use while a run is."""
        return Item(SERVER, self.name, name, any(run.alive() for run in Run.known()))


class _Processes(_Kind):
    """The private server, what it started, and the background processes of runs."""

    name = "process"

    def find(self) -> Iterator[Item]:
        server = PrivateServer()
        for pid in {*server.survivors(), server.pid()} - {None}:
            yield self.of_server(str(pid))
        for run in Run.known():
            for process in processes.of_run(run.folder):
                if number := process.pid():
                    yield Item(f"run {run.id}", self.name, f"{number} {process.name}", run.alive())

    def remove(self, name: str) -> None:
        pid = int(name.partition(" ")[0])
        os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(NotObservedError):
            eventually(lambda: not processes.began(pid), within=ENDED, every=0.02)


class _Cgroups(_Kind):
    """Cgroups of members' containers, with the processes that a killed monitor left in them."""

    name = "cgroup"

    def find(self) -> Iterator[Item]:
        for root in _cgroup2():
            for start in _CGROUPS:
                for path in root.glob(f"{start}{PROJECT}_cp-*"):
                    if end := run_of(path.name.removeprefix(f"{start}{PROJECT}_")):
                        yield self.of_run(end, str(path))

    def remove(self, name: str) -> None:
        top = Path(name)
        kill = top / "cgroup.kill"
        if kill.exists():
            kill.write_text("1")
        below = sorted(top.rglob("*/"), key=lambda path: len(path.parts), reverse=True)
        for path in [*(path for path in below if path.is_dir()), top]:
            _emptied(path)
            path.rmdir()


class _Interfaces(_Kind):
    """The host's ends of members' network interfaces."""

    name = "interface"

    def find(self) -> Iterator[Item]:
        for path in bridge.INTERFACES.glob("cp*"):
            if end := run_of(path.name):
                yield self.of_run(end, path.name)

    def remove(self, name: str) -> None:
        bridge.delete(name)


class _Mounts(_Kind):
    """What is mounted below the lab's folder: by baking, as the private server has mounts of its own."""

    name = "mount"

    def find(self) -> Iterator[Item]:
        images = runs.folder() / "images"
        for point in mounts_below(runs.folder(), MOUNTS):
            partial = Path(point).relative_to(runs.folder().resolve()).parts[1:2]
            identity = partial[0].partition(".")[0] if partial else ""
            yield Item(BAKING, self.name, point, _is_held(images / f"{identity}.lock"))

    def remove(self, name: str) -> None:  # noqa: ARG002 - all below one folder at once
        clear_leftovers(runs.folder() / "images")


class _Loops(_Kind):
    """Loop devices of files below the lab's folder: the private server's pool."""

    name = "loop device"

    def find(self) -> Iterator[Item]:
        for device in loop_devices.below(runs.folder()):
            yield self.of_server(device)

    def remove(self, name: str) -> None:
        loop_devices.detach(name)


class _Bridges(_Kind):
    """The lab's bridge."""

    name = "bridge"

    def find(self) -> Iterator[Item]:
        if bridge.index() and _has_bridge():
            yield self.of_server(NETWORK)

    def remove(self, name: str) -> None:
        bridge.delete(name)


class _Chains(_Kind):
    """Chains of nftables that the private server made for the bridge."""

    name = "nftables chain"

    def find(self) -> Iterator[Item]:
        for chain in bridge.chains() if _has_bridge() else ():
            yield self.of_server(chain)

    def remove(self, name: str) -> None:
        bridge.delete_chain(name)


# In the order in which they have to be removed.
_KINDS: tuple[_Kind, ...] = (
    _Processes(), _Cgroups(), _Interfaces(), _Mounts(), _Loops(), _Bridges(), _Chains(),
)  # fmt: skip


def _on_host(host: Host) -> Iterator[Item]:
    if not host.is_prepared():
        return
    listings: list[tuple[str, Callable[[], list[dict[str, object]]]]] = [
        ("instance", host.instances), ("volume", host.volumes),
    ]  # fmt: skip
    for kind, listed in listings:
        for found in listed():
            config = found["config"]
            if isinstance(config, dict) and config.get(f"{MARK}.owner") == runs.owner():
                run = Run(config[f"{MARK}.run"])
                yield Item(f"run {run.id}", kind, str(found["name"]), run.alive())


def _has_bridge() -> bool:
    """Say whether the bridge is the private server's of this lab, as far as one of its own was ever started."""
    server = PrivateServer()
    return server.folder.is_dir() and server.bridge_of_another() is None


def _cgroup2() -> list[Path]:
    """Return where cgroup v2 is mounted."""
    fields = [line.split(" ") for line in MOUNTS.read_text(errors="replace").splitlines()]
    return [Path(field[4]) for field in fields if field[field.index("-") + 1] == "cgroup2"]


def _emptied(cgroup: Path) -> None:
    """Wait until no process is in ``cgroup``."""
    with contextlib.suppress(NotObservedError, OSError):
        eventually(lambda: not (cgroup / "cgroup.procs").read_text(), within=ENDED, every=0.02)


def _is_held(path: Path) -> bool:
    with contextlib.suppress(OSError):
        if not path.exists():
            return False
        try:
            with FileLock(path, timeout=0):
                return False
        except Timeout:
            return True
    return False

"""The doctor: what this computer can run, what it cannot, and what would change that."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clusterproof.lab import prune
from clusterproof.lab.baking import bake
from clusterproof.lab.builds import catalogue
from clusterproof.lab.core import runs
from clusterproof.lab.core.api import ApiError
from clusterproof.lab.core.errors import LabError
from clusterproof.lab.core.kept import Kept
from clusterproof.lab.core.transcript import Transcript
from clusterproof.lab.host import endpoint, inventory
from clusterproof.lab.host.capabilities import CAPABILITIES, Capability, missing
from clusterproof.lab.host.private_server import INOTIFY, INOTIFY_NEEDED, PrivateServer, daemon_binary
from clusterproof.lab.images import rootfs
from clusterproof.lab.images.kinds import VM
from clusterproof.lab.images.making import TOOLS
from clusterproof.lab.substrates import acceleration, qemu_vm, server_vm

BOOTSTRAP = "sudo lab/bootstrap"
NEEDED_DISK = 8 << 30
# With less than this not even one build can be baked.
LEAST_DISK = 1 << 30
NEEDED_MEMORY = 4 << 30


@dataclass(frozen=True)
class Finding:
    """The result of one check; ``vital`` where no cluster can be made without it.

    ``remedy`` is the command that would change it, empty where there is nothing to do.
    """

    subject: str
    found: str
    ok: bool = True
    vital: bool = False
    remedy: str = ""

    @property
    def sign(self) -> str:
        """What stands before it: that something can be done about it is no fault, and not all right either."""
        return "MISSING" if not self.ok else "note" if self.remedy else "ok"


def examine(wanted: str | None = None) -> list[Finding]:
    """Examine this computer without changing it; ``wanted`` is the lab host to use, as in ``endpoint.find``."""
    return list(_findings(wanted))


def _findings(wanted: str | None) -> Iterator[Finding]:
    root = os.geteuid() == 0
    yield Finding("python", f"{sys.version.split()[0]}, {'root' if root else 'not root'}")
    private = endpoint.chosen(wanted) is None and endpoint.local_server() is None
    yield _private_server(root=root) if private else _lab_host(wanted)
    absent = {tool: package for tool, package in TOOLS.items() if shutil.which(tool) is None}
    unbaked = [entry.name for entry in catalogue.load().select() if bake.baked(entry) is None]
    yield Finding(
        "baking",
        "mmdebstrap and what it needs" if not absent else f"not installed: {', '.join(absent)}",
        ok=not absent and root,
        vital=bool(unbaked),
        remedy=BOOTSTRAP if absent else "" if root else "run it as root (sudo)",
    )
    for_vms = [
        entry.name
        for entry in catalogue.load().select()
        if rootfs.find(entry, bake.folder(), kind=VM) is None
    ]
    yield Finding(
        "images",
        "of containers: " + (f"not baked yet: {', '.join(unbaked)}" if unbaked else "all builds are baked"),
        remedy="clusterproof bake" if unbaked else "",
    )
    yield Finding(
        "images of VMs",
        f"made from those when they are needed: {', '.join(for_vms)}" if for_vms else "all builds have one",
    )
    yield _disk()
    yield _old()
    yield _memory()
    yield _btrfs()
    yield _inotify(private=private and root and daemon_binary() is not None)
    vms = _vms()
    yield vms
    for name, capability in sorted(CAPABILITIES.items()):
        yield _capability(name, capability, vms)
    kept = Kept.every()
    mine = [one.name for one in kept if one.mine]
    dead = [run.id for run in runs.Run.known() if not run.alive()]
    yield Finding(
        "clusters left by up",
        "; ".join(map(str, kept)) or "none",
        remedy=f"clusterproof down {mine[0]}" if mine else "",
    )
    yield Finding(
        "dead runs", ", ".join(dead) or "none", remedy="clusterproof sweep" if dead else ""
    )
    left = inventory.unused()
    yield Finding(
        "left behind", inventory.summary(left) or "nothing", remedy="clusterproof sweep" if left else ""
    )


def _vms() -> Finding:
    """Check whether members can be virtual machines, and how fast they would be."""
    subject = "virtual machines"
    if reason := qemu_vm.why_not():
        return Finding(subject, reason, ok=False, remedy=f"{BOOTSTRAP} --vm")
    how = {
        "kvm": "with KVM",
        "tcg": "by software emulation: no VM boots with KVM here",
        None: "with KVM or without, which the first VM will show",
    }
    return Finding(subject, f"QEMU {acceleration.version()}, {how[acceleration.known()]}")


def _capability(name: str, capability: Capability, vms: Finding) -> Finding:
    """Report which substrate a scenario that needs ``name`` runs on."""
    if "container" in capability.substrates:
        asked = "; a member is probed, and a virtual machine tried next" if capability.probe else ""
        return Finding(name, f"in containers{asked}")
    if not vms.ok:
        return Finding(name, capability.why_not, ok=False, remedy=vms.remedy)
    if reason := missing((name,), "vm"):
        return Finding(name, reason, ok=False, remedy=f"{BOOTSTRAP} --vm")
    return Finding(name, f"in virtual machines: {capability.why_not}")


def _lab_host(wanted: str | None) -> Finding:
    """Check the server that is named, else the one of this computer."""
    subject = "lab host"
    try:
        found = endpoint.find(wanted)
        facts: dict[str, Any] = found.api(Transcript()).get("")["environment"]
    except (LabError, ApiError) as error:
        return Finding(subject, str(error), ok=False, vital=True, remedy="check --lab-host")
    vms = "" if server_vm.cannot(facts) else "; it runs virtual machines"
    if endpoint.chosen(wanted):
        return Finding(subject, f"{facts['server']} {facts['server_version']} at {found.url}{vms}")
    return Finding(subject, f"the server of this computer at {found.url}, in a project of its own{vms}")


def _private_server(*, root: bool) -> Finding:
    """Check whether a private server can be started, for want of another one."""
    subject = "lab host"
    binary = daemon_binary()
    if binary and root:
        state = "running" if PrivateServer().running() else "started when it is needed"
        return Finding(subject, f"a private incusd ({binary}), {state}")
    return Finding(
        subject,
        "no LXD or Incus server answers" + ("" if binary else ", and incusd is not installed"),
        ok=False,
        vital=True,
        remedy="run it as root (sudo)" if binary else BOOTSTRAP,
    )


def _disk() -> Finding:
    place = runs.folder()
    there = next(path for path in (place, *place.parents) if path.exists())
    if not there.is_dir() or _holds_no_files(there):
        why = "holds no files" if there.is_dir() else "is no folder"
        return Finding(
            "disk", f"{place} cannot be a folder: {there} {why}",
            ok=False, vital=True, remedy="name another folder with LAB_DIR",
        )  # fmt: skip
    if not os.access(there, os.W_OK | os.X_OK):
        return Finding(
            "disk", f"{there} cannot be written", ok=False, vital=True,
            remedy="run it as root (sudo), or name another folder with LAB_DIR",
        )  # fmt: skip
    free = shutil.disk_usage(there).free
    return Finding(
        "disk",
        f"{free >> 30} GiB free below {place}, {NEEDED_DISK >> 30} needed for all builds",
        ok=free >= NEEDED_DISK,
        vital=free < LEAST_DISK,
        remedy="" if free >= NEEDED_DISK else "free some, or name another folder with LAB_DIR",
    )


def _holds_no_files(folder: Path) -> bool:
    """Say whether ``folder`` is the kernel's own, like those below /proc, which have no room at all."""
    facts = os.statvfs(folder)
    return facts.f_blocks == 0


def _old() -> Finding:
    found = prune.surplus(prune.KEEP, Path("out"))
    size = sum(one.size for one in found)
    return Finding(
        "to prune",
        f"{size >> 20} MiB in {len(found)} old images, golden clusters and runs" if found else "nothing",
        remedy="clusterproof prune" if found else "",
    )


def _memory() -> Finding:
    fields = dict(
        line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines() if ":" in line
    )
    available = int(fields["MemAvailable"].split()[0]) << 10
    return Finding(
        "memory",
        f"{available >> 30} GiB available, {NEEDED_MEMORY >> 30} needed for two clusters of three at once",
        ok=available >= NEEDED_MEMORY,
        remedy="" if available >= NEEDED_MEMORY else "run one worker: clusterproof qualify -n 0",
    )


def _btrfs() -> Finding:
    known = "btrfs" in Path("/proc/filesystems").read_text() or any(
        Path("/lib/modules").glob(f"{os.uname().release}/kernel/fs/btrfs/*")
    )
    tool = shutil.which("mkfs.btrfs") is not None
    return Finding(
        "btrfs",
        "members are clones" if known and tool else "not available: members are copies, which is slower",
        ok=known and tool,
        remedy="" if tool else BOOTSTRAP,
    )


def _inotify(*, private: bool) -> Finding:
    limit = int(INOTIFY.read_text()) if INOTIFY.exists() else 0
    enough = limit >= INOTIFY_NEEDED
    later = "; the private incusd raises it when it starts" if private and not enough else ""
    return Finding(
        "inotify instances",
        f"{limit} for each user{later}",
        ok=enough or private,
        remedy="" if enough or private else f"sudo sysctl -w fs.inotify.max_user_instances={INOTIFY_NEEDED}",
    )

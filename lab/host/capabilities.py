"""What a scenario may need of the lab, and which substrates offer it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass


@dataclass(frozen=True)
class Capability:
    """Something that not every substrate has; ``why_not`` completes "... is missing: ".

    Where a substrate has it on some hosts only, ``probe`` is a shell command that succeeds in a member
    that has it. ``tools`` are programs that this machine needs for it.
    """

    substrates: frozenset[str]
    why_not: str
    probe: str | None = None
    tools: tuple[str, ...] = ()


CEPH = ("ceph-mon", "ceph-mgr", "ceph-osd", "ceph-mds", "ceph-authtool", "monmaptool", "ceph")


CAPABILITIES: dict[str, Capability] = {
    "container-instances": Capability(frozenset({"container", "vm", "existing"}), ""),
    # Without the controller a limit is accepted and silently not applied, on sound builds too.
    "cpu-limits": Capability(
        frozenset({"container", "vm"}),
        "members on this host have one CPU, or no cpuset controller of the second kind of control groups",
        probe="test $(nproc) -gt 1 && grep -qw cpuset /sys/fs/cgroup/cgroup.controllers",
    ),
    "loop-devices": Capability(
        frozenset({"container", "vm"}),
        "members on this host may not use loop devices",
        probe='test -b "$(losetup --find)"',
    ),
    "vm-instances": Capability(
        frozenset({"vm"}), "a nested container has no KVM and no vhost_vsock; it takes the vm substrate"
    ),
    "cephfs": Capability(
        frozenset({"vm"}),
        "a nested container has no CephFS kernel client; it takes the vm substrate",
        tools=CEPH,
    ),
    "ceph-rbd": Capability(
        frozenset({"vm"}), "a nested container cannot map RBD images; it takes the vm substrate", tools=CEPH
    ),
}


def missing(names: tuple[str, ...], substrate: str) -> str | None:
    """Return why ``substrate`` cannot carry a scenario that needs ``names``, or None if it can."""
    for name in names:
        capability = CAPABILITIES[name]
        if substrate not in capability.substrates:
            return f"{name}: {capability.why_not}"
        if absent := [tool for tool in capability.tools if shutil.which(tool) is None]:
            return f"{name}: {', '.join(absent)} is not installed; run lab/bootstrap --vm"
    return None


def probes(names: tuple[str, ...]) -> dict[str, str]:
    """Return, by the name of the capability, what decides in a member whether it has it."""
    return {name: probe for name in names if (probe := CAPABILITIES[name].probe)}

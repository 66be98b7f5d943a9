"""Capabilities: what a scenario may need of the lab, and which substrates have it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass


@dataclass(frozen=True)
class Capability:
    """A capability and the ``substrates`` that have it; ``why_not`` is the reason that users see for the others.

    Where a substrate has it on some hosts only, ``probe`` is a shell command that succeeds in a member that has
    it. ``tools`` are programs that have to be installed on this computer.
    """

    substrates: frozenset[str]
    why_not: str
    probe: str | None = None
    tools: tuple[str, ...] = ()


CEPH = ("ceph-mon", "ceph-mgr", "ceph-osd", "ceph-mds", "ceph-authtool", "monmaptool", "ceph")


CAPABILITIES: dict[str, Capability] = {
    "container-instances": Capability(frozenset({"container", "vm", "existing"}), ""),
    # Without the controller every build accepts a limit and silently does not apply it.
    "cpu-limits": Capability(
        frozenset({"container", "vm"}),
        "members have a single CPU, or the cgroup v2 cpuset controller is not delegated to them",
        probe="test $(nproc) -gt 1 && grep -qw cpuset /sys/fs/cgroup/cgroup.controllers",
    ),
    "loop-devices": Capability(
        frozenset({"container", "vm"}),
        "members may not use loop devices on this host",
        probe='test -b "$(losetup --find)"',
    ),
    "vm-instances": Capability(
        frozenset({"vm"}), "a nested container has no KVM and no vhost_vsock; it needs the vm substrate"
    ),
    "cephfs": Capability(
        frozenset({"vm"}),
        "a nested container has no CephFS kernel client; it needs the vm substrate",
        tools=CEPH,
    ),
    "ceph-rbd": Capability(
        frozenset({"vm"}), "a nested container cannot map RBD images; it needs the vm substrate", tools=CEPH
    ),
}


def missing(names: tuple[str, ...], substrate: str) -> str | None:
    """Return why ``substrate`` cannot run a scenario that needs ``names``, None where it can."""
    for name in names:
        capability = CAPABILITIES[name]
        if substrate not in capability.substrates:
            return f"{name}: {capability.why_not}"
        if absent := [tool for tool in capability.tools if shutil.which(tool) is None]:
            return f"{name}: {', '.join(absent)} is not installed; run lab/bootstrap --vm"
    return None


def probes(names: tuple[str, ...]) -> dict[str, str]:
    """Return the probes of those capabilities in ``names`` that have one, by name."""
    return {name: probe for name in names if (probe := CAPABILITIES[name].probe)}

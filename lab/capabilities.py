"""What a scenario may need of the lab, and which substrates offer it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Capability:
    """Something that not every substrate has; ``why_not`` completes "... is missing: "."""

    substrates: frozenset[str]
    why_not: str


CAPABILITIES: dict[str, Capability] = {
    "container-instances": Capability(frozenset({"container", "vm"}), ""),
    "vm-instances": Capability(
        frozenset({"vm"}), "a nested container has no KVM and no vhost_vsock; it takes the vm substrate"
    ),
    "cephfs": Capability(
        frozenset({"vm"}), "a nested container has no CephFS kernel client; it takes the vm substrate"
    ),
}


def missing(names: tuple[str, ...], substrate: str) -> str | None:
    """Return why ``substrate`` cannot carry a scenario that needs ``names``, or None if it can."""
    for name in names:
        if substrate not in CAPABILITIES[name].substrates:
            return f"{name}: {CAPABILITIES[name].why_not}"
    return None

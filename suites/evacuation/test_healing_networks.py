"""Healing a dead member must not stop the leader's networks (lxc/incus#2976, canonical/lxd#16642).

With ``cluster.healing_threshold`` the leader evacuates a member that is gone for good. Evacuating ends with
stopping the networks of the machine on which it runs, which in this case is the leader, and not the member
that is evacuated: the leader's instances lost their network.

That the dead member is Evacuated, and the bridge, which was there on the leader, is gone there, proves the
bug.
"""

import pytest

from clusterproof import Cluster, Member, Shown, SymptomWatch, eventually

pytestmark = [pytest.mark.documents("incus-2976"), pytest.mark.applies_to("extension:cluster_healing")]

NETWORK = {"name": "br1", "type": "bridge"}
CONFIG = {"ipv4.address": "none", "ipv6.address": "none"}
# Seconds, the fewest that the product lets it be.
THRESHOLDS = {"cluster.offline_threshold": "20", "cluster.healing_threshold": "20"}


def has_bridge(member: Member) -> bool:
    """Say whether the bridge br1 is there on ``member``."""
    return bool(member.inspect.file("/sys/class/net/br1").exists)


def make_network(cluster: Cluster) -> None:
    """A bridge on every member, none of which is healed yet."""
    client = cluster.client()
    for member in cluster.members:
        client.post("networks", NETWORK, target=member.name)
    client.post("networks", {**NETWORK, "config": CONFIG})
    assert all(has_bridge(member) for member in cluster.members)


def test_heal(cluster: Cluster, symptom: SymptomWatch) -> None:
    """A member that does not lead loses its power, and the leader evacuates it."""
    make_network(cluster)
    leader = cluster.leader()
    asked, dead = [leader, next(member for member in cluster.members if member is not leader)]
    cluster.client(asked).patch("", {"config": THRESHOLDS})
    dead.kill()
    with symptom("the leader's networks stay"):
        eventually(
            lambda: cluster.statuses(asked)[dead.name],
            lambda status: status == "Evacuated",
            within=300,
            every=1,
            what=f"{dead.name} is healed",
        )
        if not has_bridge(leader):
            raise Shown("leader's networks stopped by healing", leader=leader.name, healed=dead.name)

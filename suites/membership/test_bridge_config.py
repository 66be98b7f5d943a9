"""A member must join with the networks as the cluster has them (canonical/lxd#13931, lxc/incus#338).

A bridge that is created gets addresses for what its configuration leaves open. A joiner filled in the
cluster's bridge in that way, too, where an address had been removed on purpose, and then refused its own
work, because it was not what the cluster has: nobody could join any more.

That the product reports the network's configuration as a mismatch, although the join says nothing of it,
proves the bug.
"""

import pytest

from clusterproof import Cluster, SymptomWatch

pytestmark = [pytest.mark.documents("lxd-13931"), pytest.mark.members(2)]

NETWORK = {"name": "br1", "type": "bridge"}
NONE = {"ipv4.address": "none", "ipv6.address": "none"}


def make_network(unjoined: Cluster) -> None:
    """The first member is a cluster with a bridge of which the key ``ipv6.address`` was unset."""
    first = unjoined.members[0]
    unjoined.bootstrap(first)
    client = unjoined.client()
    client.post("networks", NETWORK, target=first.name)
    client.post("networks", {**NETWORK, "config": NONE})
    first.client("network", "unset", "br1", "ipv6.address")
    assert "ipv6.address" not in client.get("networks/br1")["config"]


def test_join(unjoined: Cluster, symptom: SymptomWatch) -> None:
    """A member joins."""
    make_network(unjoined)
    with symptom("the member joins"):
        unjoined.join(unjoined.members[1])
        unjoined.wait_online()


@pytest.mark.role("workaround")
def test_join_with_addresses(unjoined: Cluster, symptom: SymptomWatch) -> None:
    """A member joins once the network says that it has no IPv6 address."""
    make_network(unjoined)
    unjoined.members[0].client("network", "set", "br1", "ipv6.address=none")
    with symptom("the member joins"):
        unjoined.join(unjoined.members[1])
        unjoined.wait_online()

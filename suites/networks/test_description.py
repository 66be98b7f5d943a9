"""The description of a network must not be lost as it is created (canonical/lxd#15962, lxc/incus#2407).

In a cluster a network is defined member by member and then created for all of them. The description that the
last request gives was stored only where that request defined the network as well.

That the network is created and has the configuration of the request, but no description, proves the bug.
"""

import pytest

from clusterproof import Cluster, Shown, SymptomWatch

pytestmark = [pytest.mark.documents("lxd-15962"), pytest.mark.members(1)]

CONFIG = {"ipv4.address": "none", "ipv6.address": "none"}
HELLO = "hello"


def create_network(cluster: Cluster) -> None:
    """Define the network br1 on the only member and create it, with a description."""
    network = {"name": "br1", "type": "bridge"}
    cluster.client().post("networks", network, target=cluster.members[0].name)
    cluster.client().post("networks", {**network, "description": HELLO, "config": CONFIG})


def check_description(cluster: Cluster) -> None:
    """The network is there, with its configuration and description."""
    seen = cluster.client().get("networks/br1")
    assert seen["status"] == "Created"
    assert CONFIG.items() <= seen["config"].items()
    if not seen["description"]:
        raise Shown("network created without its description", description=seen["description"])
    assert seen["description"] == HELLO


def test_create(cluster: Cluster, symptom: SymptomWatch) -> None:
    """The request that creates a network gives its description."""
    create_network(cluster)
    with symptom("the network has the description"):
        check_description(cluster)


@pytest.mark.role("workaround")
def test_describe_later(cluster: Cluster, symptom: SymptomWatch) -> None:
    """The description is given once the network is there."""
    create_network(cluster)
    cluster.client().patch("networks/br1", {"description": HELLO})
    with symptom("the network has the description"):
        check_description(cluster)

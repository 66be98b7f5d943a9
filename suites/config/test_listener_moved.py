"""Changing ``core.https_address`` must not take the cluster's listener away (lxc/incus#3722).

A new cluster has one address for both: ``core.https_address`` covers ``cluster.https_address``, and one
listener serves the two. When ``core.https_address`` moved to another port, that listener went with it and
none was opened for the cluster: the other members lose this one until its daemon is restarted.

That nothing listens at the cluster's address while the daemon answers on its socket proves that it is
this bug and not a daemon that is down.
"""

import pytest

from clusterproof import PORT, Cluster, Member, SymptomWatch
from clusterproof.suites.config.listeners import check_listener, listener

pytestmark = [pytest.mark.documents("incus-3722"), pytest.mark.members(1)]

ANOTHER = PORT + 1000


def set_address(cluster: Cluster, address: str) -> Member:
    """The member, listening for its cluster, gets another ``core.https_address``."""
    member = cluster.members[0]
    config = cluster.client().get("")["config"]
    assert config["core.https_address"] == config["cluster.https_address"] == f"{member.address}:{PORT}"
    assert listener(member) == "answers"
    member.client("config", "set", f"core.https_address={address}")
    return member


def test_change_port(cluster: Cluster, symptom: SymptomWatch) -> None:
    """``core.https_address`` is changed to another port."""
    member = set_address(cluster, f"{cluster.members[0].address}:{ANOTHER}")
    with symptom("the cluster's address still answers"):
        check_listener(member)


@pytest.mark.role("workaround")
def test_change_port_and_restart(cluster: Cluster, symptom: SymptomWatch) -> None:
    """``core.https_address`` is changed to another port, and the daemon is restarted."""
    member = set_address(cluster, f"{cluster.members[0].address}:{ANOTHER}")
    member.daemon.restart(wait=True)
    with symptom("the cluster's address still answers"):
        check_listener(member)

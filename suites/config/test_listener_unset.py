"""Unsetting ``core.https_address`` must not take the cluster's listener away (canonical/lxd#18180).

While ``core.https_address`` covers ``cluster.https_address``, one listener serves both. When the first was
unset, as is done to keep clients out, that listener was closed and none opened for the cluster: the member
is lost to its cluster until its daemon is restarted.

That nothing listens at the cluster's address while the daemon answers on its socket proves that it is
this bug and not a daemon that is down.
"""

import pytest

from clusterproof import PORT, Cluster, Member, SymptomWatch
from clusterproof.suites.config.listeners import check_listener, listener

pytestmark = [pytest.mark.documents("lxd-18180"), pytest.mark.members(1)]


def unset_address(cluster: Cluster) -> Member:
    """The member's ``core.https_address`` covers its cluster's address and is unset."""
    member = cluster.members[0]
    member.client("config", "set", f"core.https_address=:{PORT}")
    assert cluster.client().get("")["config"]["cluster.https_address"] == f"{member.address}:{PORT}"
    assert listener(member) == "answers"
    member.client("config", "unset", "core.https_address")
    return member


def test_unset(cluster: Cluster, symptom: SymptomWatch) -> None:
    """``core.https_address`` is unset."""
    member = unset_address(cluster)
    with symptom("the cluster's address still answers"):
        check_listener(member)


@pytest.mark.role("workaround")
def test_unset_and_restart(cluster: Cluster, symptom: SymptomWatch) -> None:
    """``core.https_address`` is unset, and the daemon is restarted."""
    member = unset_address(cluster)
    member.daemon.restart(wait=True)
    with symptom("the cluster's address still answers"):
        check_listener(member)

"""A server that listens at all its addresses can join a cluster (lxc/incus#2218).

The address of a member within the cluster must be a single one, and is given when it joins. Where the
server's own ``core.https_address`` was a wildcard, as in ``:8443``, the join was refused because of that
one.

That the product reports that wildcard addresses are not allowed, although the join names an address, proves
the bug.
"""

import pytest

from clusterproof import PORT, Cluster, SymptomWatch

pytestmark = [pytest.mark.documents("incus-2218"), pytest.mark.members(2)]


def join(unjoined: Cluster, listen: str, symptom: SymptomWatch) -> None:
    """The second server, which listens at ``listen``, joins the cluster of the first."""
    first, joiner = unjoined.members
    unjoined.bootstrap(first)
    joiner.daemon.start(wait=True)
    joiner.client("config", "set", f"core.https_address={listen}")
    with symptom("the server joins"):
        unjoined.join(joiner)
        unjoined.wait_online()


def test_wildcard(unjoined: Cluster, symptom: SymptomWatch) -> None:
    """The joiner listens at all its addresses."""
    join(unjoined, f":{PORT}", symptom)


@pytest.mark.role("workaround")
def test_single_address(unjoined: Cluster, symptom: SymptomWatch) -> None:
    """The joiner listens at the address that it will have in the cluster."""
    join(unjoined, f"{unjoined.members[1].address}:{PORT}", symptom)
